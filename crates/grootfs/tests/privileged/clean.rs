//! `clean`: what no image uses, and what killed processes left (contract 7.4).

use std::fs;
use std::process::Command;
use std::time::Duration;

use testkit::command::{run, start};
use testkit::image::Image;
use testkit::layer::Layer;

use crate::fixture::{Driver, Fixture, assert_contains, two_layers};

on_both_drivers!(unused_layers_go, thresholds, left_overs_go, with_create, stray_images);

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
