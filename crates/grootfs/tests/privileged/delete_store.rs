//! `delete-store` (contract 7.5, B2).

use std::fs;
use std::process::Command;

use testkit::command::{Grootfs, run};
use testkit::filesystem::{Scratch, loop_devices_below, mounts_below, require_root};
use testkit::image::{Image, OciLayout};
use testkit::layer::Layer;

use crate::fixture::{Driver, Fixture, PROGRAM, assert_contains, two_layers};

on_both_drivers!(on_a_file_system_that_is_there, not_a_store);

fn on_a_file_system_that_is_there(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    for id in ["a", "b"] {
        fixture.create(&url, id);
    }
    fixture.grootfs.ok(&["create", "--without-mount", &url, "c"]);
    assert_eq!(fixture.grootfs.ok(&["delete-store"]), "");
    assert!(!fixture.grootfs.store().exists());
    assert_eq!(mounts_below(&fixture.mount_point()), [fixture.mount_point()]);
    if !fixture.is_overlay() {
        let mut list = Command::new("btrfs");
        list.args(["subvolume", "list"]).arg(fixture.mount_point());
        assert_eq!(run(&mut list).success(), "");
    }
    // Again, and from the beginning.
    assert_eq!(fixture.grootfs.ok(&["delete-store"]), "");
    fixture.grootfs.ok(&["init-store"]);
    fixture.create(&url, "a");
}

fn not_a_store(fixture: &Fixture) {
    let place = fixture.scratch("precious");
    fs::create_dir_all(place.join("images")).unwrap();
    fs::write(place.join("file"), "kept").unwrap();
    let other = fixture.grootfs.clone().with(&["--store", place.to_str().unwrap()]);
    let text = other.fails(&["delete-store"]);
    assert_contains(&text, "refusing to delete possibly corrupted store");
    assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "kept");
}

fn with_a_backing_file(driver: Driver) {
    require_root();
    let scratch = Scratch::new();
    let grootfs = Grootfs::new(PROGRAM, scratch.join("store")).with(&["--driver", driver.name()]);
    grootfs.ok(&["init-store", "--store-size-bytes", "335544320"]);
    let mut layout = OciLayout::new(scratch.join("layout"));
    layout.add(&Image::new().layer(&Layer::new().file("f", "x")), Some("latest"));
    grootfs.ok(&["create", &layout.url("latest"), "x"]);
    assert_eq!(grootfs.ok(&["delete-store"]), "");
    assert!(!grootfs.store().exists());
    assert!(mounts_below(scratch.path()).is_empty());
    assert!(loop_devices_below(scratch.path()).is_empty());
    // The file stays, as the original's documents say; with an empty file system.
    assert!(scratch.join("store.backing-store").exists());
    grootfs.ok(&["init-store"]);
    assert_eq!(grootfs.ok(&["list"]), "Store empty\n");
}

#[test]
fn privileged_with_a_backing_file_overlay_xfs() {
    with_a_backing_file(Driver::OverlayXfs);
}

#[test]
fn privileged_with_a_backing_file_btrfs() {
    with_a_backing_file(Driver::Btrfs);
}
