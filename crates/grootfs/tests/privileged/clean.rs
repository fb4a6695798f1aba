//! `clean`: what no image uses, and what killed processes left (contract 7.4).

use std::fs;
use std::process::Command;
use std::time::Duration;

use testkit::command::{Grootfs, run, start};
use testkit::image::Image;
use testkit::layer::Layer;

use crate::fixture::{Driver, Fixture, assert_contains, two_layers};

on_both_drivers!(
    unused_layers_go,
    thresholds,
    left_overs_go,
    with_create,
    stray_images,
    ignored_images,
    keeps_what_was_used_last,
    thresholds_that_are_never_reached,
);

fn unused_layers_go(fixture: &Fixture) {
    assert_eq!(fixture.grootfs.ok(&["clean"]), "clean completed\n");
    let empty = fixture.listing();
    let base = Layer::new().file("base", "b");
    let one = Image::new().layer(&base).layer(&Layer::new().file("one", "1"));
    let two = Image::new().layer(&base).layer(&Layer::new().file("two", "2"));
    for (name, image) in [("one", &one), ("two", &two)] {
        let (url, _) = fixture.oci(name, image);
        fixture.create(&url, name);
    }
    let before = fixture.listing();
    assert_eq!(fixture.grootfs.ok(&["clean"]), "clean completed\n");
    before.assert_same(&fixture.listing());
    fixture.grootfs.ok(&["delete", "one"]);
    assert_eq!(fixture.grootfs.ok(&["clean"]), "clean completed\n");
    let mut expected = two.chain_ids();
    expected.sort();
    assert_eq!(fixture.names("volumes"), expected);
    // What is left still works.
    let file = fixture.path("images/two/rootfs/base");
    assert_eq!(fs::read_to_string(file).unwrap(), "b");
    fixture.grootfs.ok(&["delete", "two"]);
    fixture.grootfs.ok(&["clean"]);
    empty.assert_same(&fixture.listing());
    if !fixture.is_overlay() {
        no_stale_quota_groups(fixture);
    }
}

/// Nothing but the file system's own subvolume is left, neither as subvolume nor as quota group.
fn no_stale_quota_groups(fixture: &Fixture) {
    let mount = fixture.mount_point();
    let list = run(Command::new("btrfs").args(["subvolume", "list"]).arg(&mount)).success();
    assert_eq!(list, "");
    // Their content is removed behind our back. On newer kernels their groups go with it, on others
    // with the next clean.
    fixture.wait_for_destroyed_subvolumes();
    fixture.grootfs.ok(&["clean"]);
    let groups = run(Command::new("btrfs").args(["qgroup", "show"]).arg(&mount)).success();
    let groups: Vec<&str> = groups.lines().filter(|line| line.starts_with("0/")).collect();
    assert_eq!(groups.len(), 1, "{groups:?}");
}

/// So many layers that a look at all of them takes longer than a clean may hold the lock at a time: it still
/// goes on, and a root made meanwhile keeps its layer.
#[test]
fn privileged_overlay_xfs_thousands_of_unused_layers() {
    let fixture = Fixture::new(Driver::OverlayXfs);
    let (url, _) = fixture.oci("image", &two_layers());
    fixture.create(&url, "x");
    let used = fixture.names("volumes");
    for number in 0..8000 {
        let name = format!("{number:064x}");
        fs::create_dir(fixture.path(&format!("volumes/{name}"))).unwrap();
        let metadata = fixture.path(&format!("meta/volume-{name}"));
        fs::write(metadata, "{\"Size\":1000}\n").unwrap();
    }
    // The layer of a root that is there only by its record, as of one made in this moment.
    let kept = format!("{:064x}", 1500);
    fs::create_dir(fixture.path("images/now")).unwrap();
    let record = fixture.path("meta/dependencies/image:now.json");
    fs::write(record, format!("[\"{kept}\"]")).unwrap();
    let clean = start(&mut fixture.grootfs.command(&["clean"]));
    assert_eq!(clean.finish(Duration::from_secs(60)).success(), "clean completed\n");
    let mut expected = [used, vec![kept]].concat();
    expected.sort();
    assert_eq!(fixture.names("volumes"), expected);
}

fn thresholds(fixture: &Fixture) {
    let image = Image::new().layer(&Layer::new().file("f", [1; 5000]));
    let (url, _) = fixture.oci("image", &image);
    fixture.create(&url, "x");
    fixture.grootfs.ok(&["delete", "x"]);
    let below = "threshold not reached: skipping clean\n";
    assert_eq!(fixture.grootfs.ok(&["clean", "--threshold-bytes", "5001"]), below);
    assert_eq!(fixture.names("volumes").len(), 1);
    assert_eq!(fixture.grootfs.ok(&["clean", "--threshold-bytes", "5000"]), "clean completed\n");
    assert!(fixture.names("volumes").is_empty());
}

fn left_overs_go(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    fixture.create(&url, "x");
    let before = fixture.listing();
    let volume = two_layers().chain_ids()[1].clone();
    let make = |name: &str| {
        let path = fixture.path(&format!("volumes/{name}"));
        if fixture.is_overlay() {
            fs::create_dir(&path).unwrap();
        } else {
            run(Command::new("btrfs").args(["subvolume", "create"]).arg(&path)).success();
        }
        fs::write(path.join("file"), "x").unwrap();
    };
    // As kills at several moments leave them.
    make(&format!("{volume}-incomplete-1510099200000000000-77"));
    make(&format!("gc.{volume}"));
    fs::write(fixture.path(&format!("meta/volume-gc.{volume}")), "{\"Size\":1}\n").unwrap();
    make("0000000000000000000000000000000000000000000000000000000000000000");
    let aside = fixture.path("tmp/gc.image-1510099200000000000-77-y");
    fs::create_dir_all(aside.join("rootfs/deep/er")).unwrap();
    assert_eq!(fixture.grootfs.ok(&["clean"]), "clean completed\n");
    before.assert_same(&fixture.listing());
}

fn with_create(fixture: &Fixture) {
    let (old, _) = fixture.oci("old", &Image::new().layer(&Layer::new().file("old", "o")));
    let image = two_layers();
    let (url, _) = fixture.oci("image", &image);
    fixture.create(&old, "old");
    fixture.grootfs.ok(&["delete", "old"]);
    fixture.grootfs.ok(&["create", "--with-clean", &url, "x"]);
    let mut expected = image.chain_ids();
    expected.sort();
    assert_eq!(fixture.names("volumes"), expected);
}

/// An image directory without a dependency file must not switch cleaning off (contract D51).
fn stray_images(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    fixture.create(&url, "x");
    fixture.grootfs.ok(&["delete", "x"]);
    fs::create_dir(fixture.path("images/stray")).unwrap();
    fixture.grootfs.ok(&["clean"]);
    assert!(fixture.names("volumes").is_empty());
    assert_contains(&fixture.grootfs.ok(&["list"]), "images/stray");
    assert_eq!(fixture.grootfs.ok(&["delete", "stray"]), "Image stray deleted\n");
    assert!(fixture.names("images").is_empty());
}

/// The program with a configuration file, whose section `clean` this is.
fn configured(fixture: &Fixture, clean: &str) -> Grootfs {
    let file = fixture.scratch("config.yml");
    fs::write(&file, format!("clean:\n{clean}")).unwrap();
    fixture.grootfs.clone().with(&["--config", file.to_str().unwrap()])
}

/// The line of a dry run that tells of a layer.
#[track_caller]
fn line_of<'a>(text: &'a str, layer: &str) -> &'a str {
    text.lines().find(|line| line.contains(layer)).unwrap_or_else(|| panic!("{layer}: {text}"))
}

/// Two images of one layer each, made and deleted: their arguments and layers.
fn two_unused(fixture: &Fixture) -> [(String, String); 2] {
    [1, 2].map(|number| {
        let image = Image::new().layer(&Layer::new().file("f", [number; 5000]));
        let (url, _) = fixture.oci(&format!("image-{number}"), &image);
        fixture.create(&url, "x");
        fixture.grootfs.ok(&["delete", "x"]);
        (url, image.chain_ids()[0].clone())
    })
}

fn ignored_images(fixture: &Fixture) {
    let [(_, goes), (url, stays)] = two_unused(fixture);
    let grootfs = configured(fixture, &format!("  ignore_images: [\"{url}\"]\n"));
    let before = fixture.listing();
    let text = grootfs.ok(&["clean", "--dry-run"]);
    before.assert_same(&fixture.listing());
    assert_contains(line_of(&text, &goes), "no image uses it");
    assert_contains(line_of(&text, &stays), "has it, which clean.ignore_images names");
    assert_contains(&text, "a clean would remove 1 of 2 layers");
    assert_eq!(grootfs.ok(&["clean"]), "clean completed\n");
    assert_eq!(fixture.names("volumes"), [stays]);
    assert_eq!(fixture.grootfs.ok(&["clean"]), "clean completed\n");
    assert_eq!(fixture.names("volumes"), [""; 0]);
}

fn keeps_what_was_used_last(fixture: &Fixture) {
    let [(url, used), (_, unused)] = two_unused(fixture);
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for layer in [&used, &unused] {
        let metadata = fixture.path(&format!("meta/volume-{layer}"));
        fs::File::options().append(true).open(metadata).unwrap().set_modified(hour_ago).unwrap();
    }
    // The older one is used again.
    fixture.create(&url, "x");
    fixture.grootfs.ok(&["delete", "x"]);
    let grootfs = configured(fixture, "  threshold_bytes: 6000\n  keep_recent: true\n");
    let text = grootfs.ok(&["clean", "--dry-run"]);
    assert_contains(line_of(&text, &unused), "no image uses it");
    assert_contains(line_of(&text, &used), "the threshold is met without it");
    assert_eq!(grootfs.ok(&["clean"]), "clean completed\n");
    assert_eq!(fixture.names("volumes"), [used]);
}

fn thresholds_that_are_never_reached(fixture: &Fixture) {
    let grootfs =
        configured(fixture, "  threshold_bytes: 999999999999\n").with(&["--log-level", "error"]);
    for command in ["clean", "init-store"] {
        let output = grootfs.run(&[command]);
        assert_contains(&output.stderr, "nothing will ever be cleaned");
        assert_eq!(output.code, Some(0), "{}", output.report());
    }
}
