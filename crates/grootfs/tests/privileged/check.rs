//! `check`: what is wrong with a store, and what is done about it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::command::run;
use testkit::image::Image;
use testkit::layer::Layer;

use crate::fixture::{Driver, Fixture, assert_contains, two_layers};

on_both_drivers!(
    whole_stores,
    contents,
    one_layer_is_pulled_again,
    left_overs,
    half_images,
    missing_layers,
    access,
    damaged_volumes,
);

/// What `check --json` prints, whether something was found or not.
#[track_caller]
pub fn check(fixture: &Fixture, options: &[&str]) -> Value {
    let arguments = [&["check", "--json"], options].concat();
    let output = fixture.grootfs.run(&arguments);
    let is_success = output.code == Some(0);
    let text = if is_success { output.success() } else { output.failure() };
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["is_whole"], is_success, "{text}");
    found
}

/// What `check --repair` found and did.
#[track_caller]
pub fn repair(fixture: &Fixture) -> Value {
    check(fixture, &["--repair"])
}

/// The kinds of what was found.
pub fn kinds(found: &Value) -> Vec<String> {
    let findings = found["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["kind"].as_str().unwrap().to_owned()).collect()
}

/// A store in which nothing is wrong.
#[track_caller]
pub fn whole(fixture: &Fixture) {
    let found = check(fixture, &[]);
    assert_eq!(found["findings"], Value::Array(Vec::new()));
}

fn whole_stores(fixture: &Fixture) {
    assert_eq!(fixture.grootfs.ok(&["check"]), "checked 0 layers and 0 images: 0 problems\n");
    let (url, _) = fixture.oci("image", &two_layers());
    fixture.create(&url, "x");
    fixture.grootfs.ok(&["create", "--without-mount", &url, "bare"]);
    let before = fixture.listing();
    let text = fixture.grootfs.ok(&["check", "--verify"]);
    assert_contains(&text, "checked 2 layers and 2 images: 0 problems");
    before.assert_same(&fixture.listing());
    fixture.grootfs.ok(&["settle"]);
    let text = fixture.grootfs.ok(&["check", "--verify"]);
    let expected = "checked 2 layers and 2 images: 0 problems; 2 layers as before\n";
    assert_eq!(text, expected);
    let text = fixture.grootfs.ok(&["check", "--repair"]);
    assert_eq!(text, "checked 2 layers and 2 images: 0 problems left, 0 repaired\n");
    before.assert_same(&fixture.listing());
    fixture.grootfs.ok(&["delete", "x"]);
    fixture.grootfs.ok(&["delete", "bare"]);
    whole(fixture);
    fixture.grootfs.ok(&["clean"]);
    whole(fixture);
    assert_contains(&fixture.grootfs.fails(&["check", "x"]), "invalid arguments");
}

type Change = fn(&Path);

/// Only `--verify` looks at the files of a layer.
fn contents(fixture: &Fixture) {
    let image = two_layers();
    let (url, _) = fixture.oci("image", &image);
    fixture.create(&url, "x");
    fixture.grootfs.ok(&["settle"]);
    let base = fixture.path(&format!("volumes/{}", image.chain_ids()[0]));
    let changes: [(&str, Change); 4] = [
        ("bytes in files instead of 11", |base| fs::write(base.join("etc/kept"), "").unwrap()),
        ("2 files instead of 3", |base| fs::remove_file(base.join("etc/kept")).unwrap()),
        ("a name, mode, owner", |base| {
            fs::set_permissions(base.join("etc"), fs::Permissions::from_mode(0o777)).unwrap();
        }),
        ("4 files instead of 3", |base| fs::write(base.join("etc/new"), "").unwrap()),
    ];
    for (words, change) in changes {
        change(&base);
        whole(fixture);
        let found = check(fixture, &["--verify"]);
        assert_eq!(kinds(&found), ["volume_content"]);
        assert_contains(found["findings"][0]["problem"].as_str().unwrap(), words);
        assert_eq!(found["verified_layers"], 1);
        let repaired = check(fixture, &["--verify", "--repair"]);
        assert_contains(&repaired.to_string(), "\"is_repaired\":true");
        fixture.create(&url, "again");
        fixture.grootfs.ok(&["delete", "again"]);
        fixture.grootfs.ok(&["delete", "x"]);
        fixture.create(&url, "x");
        fixture.grootfs.ok(&["clean"]);
        fixture.grootfs.ok(&["settle"]);
        let found = check(fixture, &["--verify"]);
        assert_eq!(
            (&found["findings"], &found["verified_layers"]),
            (&Value::Array(Vec::new()), &2.into())
        );
    }
}

fn one_layer_is_pulled_again(fixture: &Fixture) {
    let image = two_layers();
    let mut layout = fixture.layout("image");
    let written = layout.add(&image, Some("latest"));
    let url = layout.url("latest");
    let right = fixture.create(&url, "first").tree();
    fixture.grootfs.ok(&["settle"]);
    let base = image.chain_ids()[0].clone();
    let file = fixture.path(&format!("volumes/{base}/etc/kept"));
    fs::write(&file, "evil").unwrap();
    let mut text = fixture.grootfs.run(&["check", "--verify", "--repair"]).failure();
    assert_contains(&text, &format!("volumes/{base}: "));
    assert_contains(&text, "; repaired\n");
    assert_contains(&text, "first");
    assert!(!file.exists());
    // The root that stands on it keeps its files, whatever is cleaned.
    fixture.grootfs.ok(&["clean"]);
    let rootfs = fixture.path("images/first/rootfs");
    assert!(rootfs.join("etc/kept").exists());
    assert_eq!(fs::read_to_string(rootfs.join("etc/changed")).unwrap(), "new");
    // Only the blob of this layer is read.
    let top = layout.blob(&written.layers[1]);
    let aside = fixture.scratch("blob");
    fs::rename(&top, &aside).unwrap();
    let second = fixture.create(&url, "second");
    right.assert_same(&second.tree());
    fs::rename(&aside, &top).unwrap();
    if fixture.is_overlay() {
        text = fixture.grootfs.run(&["check"]).failure();
        assert_contains(&text, "these images stand on it: first");
        assert_eq!(fixture.names("quarantine").len(), 2);
    }
    fixture.grootfs.ok(&["delete", "first"]);
    fixture.grootfs.ok(&["clean"]);
    whole(fixture);
    if fixture.is_overlay() {
        assert!(fixture.names("quarantine").is_empty());
    }
    right.assert_same(&second.tree());
}

fn left_overs(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let unused = Image::new().layer(&Layer::new().file("unused", "u"));
    let (other, _) = fixture.oci("unused", &unused);
    fixture.create(&url, "x");
    fixture.create(&other, "y");
    fixture.grootfs.ok(&["delete", "y"]);
    whole(fixture);
    let before = fixture.listing();
    let volume = two_layers().chain_ids()[1].clone();
    for name in [format!("{volume}-incomplete-1510099200000000000-77"), format!("gc.{volume}")] {
        let path = fixture.path(&format!("volumes/{name}"));
        if fixture.is_overlay() {
            fs::create_dir(&path).unwrap();
        } else {
            run(Command::new("btrfs").args(["subvolume", "create"]).arg(&path)).success();
        }
        fs::write(path.join("file"), "x").unwrap();
    }
    fs::write(fixture.path("meta/volume-absent"), "{\"Size\":1}\n").unwrap();
    fs::write(fixture.path("meta/dependencies/image:absent.json"), "[]").unwrap();
    fs::write(fixture.path("tmp/pull-1-2"), "[\"x\"]").unwrap();
    fs::write(fixture.path("locks/absent.lock"), "").unwrap();
    fs::create_dir_all(fixture.path("tmp/gc.image-1-77-y/rootfs/deep/er")).unwrap();
    let old = fixture.path("tmp/new-1-2");
    fs::write(&old, "").unwrap();
    run(Command::new("touch").args(["--date", "2 hours ago"]).arg(&old)).success();
    // This one may still be renamed.
    fs::write(fixture.path("tmp/new-3-4"), "").unwrap();
    let mut expected = vec!["unfinished_volume", "unfinished_volume", "unfinished_image"];
    expected.extend(["leftover"; 5]);
    if fixture.is_overlay() {
        let stray = fixture.path("l/stray");
        std::os::unix::fs::symlink("/nowhere/absent", &stray).unwrap();
        let touch = ["--no-dereference", "--date", "2 hours ago"];
        run(Command::new("touch").args(touch).arg(&stray)).success();
        expected.push("leftover");
    }
    let found = check(fixture, &[]);
    assert_eq!(kinds(&found), expected, "{found}");
    let repaired = repair(fixture);
    assert_eq!(
        (&repaired["is_whole"], &repaired["repaired"]),
        (&true.into(), &expected.len().into())
    );
    whole(fixture);
    fs::remove_file(fixture.path("tmp/new-3-4")).unwrap();
    // Layers that nobody uses are no mistake, and stay.
    before.assert_same(&fixture.listing());
}

fn half_images(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    fixture.create(&url, "x");
    fs::create_dir(fixture.path("images/stray")).unwrap();
    fs::write(fixture.path("images/file"), "").unwrap();
    let found = repair(fixture);
    assert_eq!(found["is_whole"], false);
    let kinds = kinds(&found);
    assert!(kinds.contains(&"image_type".to_owned()), "{found}");
    assert!(kinds.contains(&"image_dependencies".to_owned()), "{found}");
    assert!(kinds.contains(&"image_part".to_owned()), "{found}");
    assert!(!found.to_string().contains("\"is_repaired\":true"), "{found}");
    // What it says to do helps.
    fixture.grootfs.ok(&["delete", "stray"]);
    fs::remove_file(fixture.path("images/file")).unwrap();
    whole(fixture);
}

fn missing_layers(fixture: &Fixture) {
    let image = two_layers();
    let (url, _) = fixture.oci("image", &image);
    fixture.grootfs.ok(&["create", "--without-mount", &url, "x"]);
    let volume = fixture.path(&format!("volumes/{}", image.chain_ids()[1]));
    fs::rename(&volume, fixture.path("tmp/moved")).unwrap();
    let found = check(fixture, &[]);
    assert!(kinds(&found).contains(&"image_volume".to_owned()), "{found}");
    fs::rename(fixture.path("tmp/moved"), &volume).unwrap();
    whole(fixture);
}

fn access(fixture: &Fixture) {
    let volumes = fixture.path("volumes");
    fs::set_permissions(&volumes, fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::chown(fixture.path("images"), Some(7), Some(7)).unwrap();
    let found = check(fixture, &[]);
    assert_eq!(kinds(&found), ["part_access", "part_access"]);
    assert_contains(&found.to_string(), "has mode 0777");
    assert_contains(&found.to_string(), "belongs to 7:7 instead of 0:0");
    assert_eq!(repair(fixture)["is_whole"], true);
    whole(fixture);
    // A link in place of a directory is followed by nobody.
    let tmp = fixture.path("tmp");
    fs::remove_dir(&tmp).unwrap();
    std::os::unix::fs::symlink(fixture.scratch(""), &tmp).unwrap();
    let found = repair(fixture);
    assert_eq!((kinds(&found), &found["is_whole"]), (vec!["part_type".to_owned()], &false.into()));
}

fn damaged_volumes(fixture: &Fixture) {
    let image = two_layers();
    let (url, _) = fixture.oci("image", &image);
    fixture.create(&url, "x");
    fixture.grootfs.ok(&["delete", "x"]);
    let volume = fixture.path(&format!("volumes/{}", image.chain_ids()[1]));
    fs::rename(&volume, fixture.path("tmp/gc.image-1-1-moved")).unwrap();
    if fixture.is_overlay() {
        fs::write(&volume, "no directory").unwrap();
    } else {
        fs::create_dir(&volume).unwrap();
    }
    let found = check(fixture, &[]);
    assert!(kinds(&found).contains(&"volume_damaged".to_owned()), "{found}");
    assert_eq!(repair(fixture)["is_whole"], true);
    whole(fixture);
    let spec = fixture.create(&url, "x");
    assert_eq!(fs::read_to_string(spec.rootfs().join("etc/changed")).unwrap(), "new");
}

/// Somebody at work is nothing wrong.
#[test]
fn privileged_overlay_xfs_while_others_work() {
    beside_others(&Fixture::new(Driver::OverlayXfs));
}

#[test]
fn privileged_btrfs_while_others_work() {
    beside_others(&Fixture::new(Driver::Btrfs));
}

fn beside_others(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..12 {
                let id = format!("x{round}");
                fixture.grootfs.ok(&["create", &url, &id]);
                fixture.grootfs.ok(&["delete", &id]);
                fixture.grootfs.ok(&["clean"]);
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut rounds = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            whole(fixture);
            rounds += 1;
            if rounds % 3 == 0 {
                assert_eq!(repair(fixture)["is_whole"], true);
            }
        }
        assert!(rounds > 0);
    });
}

/// Project ids and limits: where the kernel has quotas of XFS.
#[test]
fn privileged_overlay_xfs_projects() {
    let fixture = &Fixture::new(Driver::OverlayXfs);
    if !fixture.has_quotas() {
        // This kernel counts nothing; the tests in a kernel of its own do.
        return;
    }
    let (url, _) = fixture.oci("image", &two_layers());
    for id in ["x", "y"] {
        fixture.grootfs.ok(&["create", "--disk-limit-size-bytes", "20000000", &url, id]);
    }
    whole(fixture);
    let id = fixture.names("projectids").first().unwrap().clone();
    let file = fixture.path("images/x/image_quota");
    let limit = || fs::read_to_string(&file).unwrap().parse::<u64>().unwrap();
    let right = limit();
    for wrong in ["1", "", "much"] {
        fs::write(&file, wrong).unwrap();
        assert_eq!(kinds(&check(fixture, &[])), ["image_limit"]);
        assert_eq!(repair(fixture)["is_whole"], true);
        // The kernel's, which counts in blocks.
        assert!(limit().abs_diff(right) < 65536);
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(kinds(&check(fixture, &[])), ["image_limit"]);
    assert_eq!(repair(fixture)["is_whole"], true);
    assert!(limit().abs_diff(right) < 65536);
    fs::create_dir(fixture.path("projectids/77777")).unwrap();
    fs::remove_dir(fixture.path(&format!("projectids/{id}"))).unwrap();
    let found = check(fixture, &[]);
    assert_eq!(kinds(&found), ["project", "project"], "{found}");
    assert_eq!(repair(fixture)["is_whole"], true);
    assert_eq!(fixture.names("projectids").len(), 2);
    whole(fixture);
    // Two images in one project.
    let set = format!("project -s -p {} {id}", fixture.path("images/y").display());
    run(Command::new("xfs_quota").args(["-x", "-c", &set]).arg(fixture.mount_point())).success();
    let found = repair(fixture);
    let text = found.to_string();
    assert_contains(&text, "several images have it: images/x, images/y");
    assert_eq!(found["is_whole"], false);
}
