//! `delete`, and what it must not touch (contract 7.1, 7.3, D1).

use std::fs;
use std::process::Command;

use testkit::command::run;
use testkit::filesystem::mounts_below;

use crate::fixture::{Fixture, assert_contains, two_layers};

on_both_drivers!(
    nothing_is_left,
    by_path,
    not_outside_of_the_store,
    look_alike_ids,
    what_a_container_leaves,
    listing,
    roots_in_use,
);

fn nothing_is_left(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    fixture.create(&url, "one");
    fixture.grootfs.ok(&["delete", "one"]);
    let before = fixture.listing();
    fixture.create(&url, "two");
    fs::write(fixture.path("images/two/rootfs/etc/new"), "x").unwrap();
    assert_eq!(fixture.grootfs.ok(&["delete", "two"]), "Image two deleted\n");
    before.assert_same(&fixture.listing());
    assert!(fixture.mounts().is_empty(), "{:?}", fixture.mounts());
    assert_eq!(fixture.names("volumes").len(), 2);
    // Again, and what never was: Garden asks both of its stores to delete every container.
    for id in ["two", "never"] {
        let text = format!("Image `{id}` not found. Skipping delete.\n");
        assert_eq!(fixture.grootfs.ok(&["delete", id]), text);
    }
    // The id is free again.
    fixture.create(&url, "two");
}

fn by_path(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    for ending in ["", "/", "/rootfs", "/rootfs/"] {
        fixture.create(&url, "x");
        let path = format!("{}{ending}", fixture.path("images/x").display());
        assert_eq!(fixture.grootfs.ok(&["delete", &path]), "Image x deleted\n", "{path}");
        assert!(fixture.names("images").is_empty());
        assert!(fixture.mounts().is_empty());
    }
}

fn not_outside_of_the_store(fixture: &Fixture) {
    let image = two_layers();
    let (url, _) = fixture.oci("image", &image);
    fixture.create(&url, "x");
    let before = fixture.listing();
    let volume = &image.chain_ids()[0];
    for id in [
        format!("../volumes/{volume}"),
        "../images/x".into(),
        "x/".into(),
        "x/rootfs".into(),
        "./x".into(),
        ".".into(),
        "..".into(),
        String::new(),
        "x\n".into(),
    ] {
        let text = fixture.grootfs.ok(&["delete", &id]);
        assert_eq!(text, format!("Image `{id}` not found. Skipping delete.\n"));
        before.assert_same(&fixture.listing());
    }
    let store = fixture.grootfs.store().display().to_string();
    for path in [
        format!("{store}/volumes/{volume}"),
        format!("{store}/images/../volumes/{volume}"),
        format!("{store}/images"),
        format!("{store}/images/x/diff"),
        format!("{store}x/images/x"),
        "/elsewhere/images/x".into(),
    ] {
        let text = fixture.grootfs.ok(&["delete", &path]);
        assert_eq!(text, format!("path `{path}` is outside store path\n"));
        before.assert_same(&fixture.listing());
    }
}

fn look_alike_ids(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let ids = ["img1", "img10", "img", "img1.x", "1"];
    for id in ids {
        fixture.create(&url, id);
    }
    if !fixture.is_overlay() {
        let nested = fixture.path("images/img10/rootfs/nested");
        run(Command::new("btrfs").args(["subvolume", "create"]).arg(nested)).success();
    }
    let trees: Vec<_> = ids
        .iter()
        .filter(|id| **id != "img1")
        .map(|id| {
            (id, fixture.listing().without(|path, _| !path.starts_with(format!("images/{id}"))))
        })
        .collect();
    fixture.grootfs.ok(&["delete", "img1"]);
    assert!(!fixture.path("images/img1").exists());
    for (id, before) in trees {
        let prefix = format!("images/{id}");
        before.assert_same(&fixture.listing().without(|path, _| !path.starts_with(&prefix)));
    }
    assert_eq!(fixture.mounts().len(), if fixture.is_overlay() { ids.len() - 1 } else { 0 });
}

/// Subvolumes, immutable-looking modes and mounts that a container or a person made inside.
fn what_a_container_leaves(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let spec = fixture.create(&url, "x");
    let deep = spec.rootfs().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    if !fixture.is_overlay() {
        for name in ["a/b/outer", "a/b/outer/inner", "top"] {
            let path = spec.rootfs().join(name);
            run(Command::new("btrfs").args(["subvolume", "create"]).arg(path)).success();
        }
        let from = spec.rootfs().join("top");
        let to = spec.rootfs().join("read-only");
        run(Command::new("btrfs").args(["subvolume", "snapshot", "-r"]).arg(from).arg(to))
            .success();
    }
    // Mounted twice over each other.
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(spec.rootfs())).success();
    assert_eq!(fixture.grootfs.ok(&["delete", "x"]), "Image x deleted\n");
    assert!(fixture.names("images").is_empty() && fixture.names("tmp").is_empty());
    assert!(mounts_below(fixture.grootfs.store()).is_empty());
}

/// A mount that somebody uses cannot go; then nothing of the image is taken away.
fn roots_in_use(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let spec = fixture.create(&url, "x");
    let file = fs::File::open(spec.rootfs().join("etc/kept")).unwrap();
    if fixture.is_overlay() {
        let text = fixture.fails_cleanly(&["delete", "x"]);
        assert_contains(&text, "device or resource busy");
        assert_contains(&text, &spec.rootfs().display().to_string());
        assert_eq!(fs::read_to_string(spec.rootfs().join("etc/changed")).unwrap(), "new");
        // Its layers stay, too.
        fixture.grootfs.ok(&["clean"]);
        assert_eq!(fixture.names("volumes").len(), 2);
        drop(file);
    }
    assert_eq!(fixture.grootfs.ok(&["delete", "x"]), "Image x deleted\n");
    assert!(fixture.names("images").is_empty() && fixture.names("tmp").is_empty());
}

fn listing(fixture: &Fixture) {
    assert_eq!(fixture.grootfs.ok(&["list"]), "Store empty\n");
    let (url, _) = fixture.oci("image", &two_layers());
    for id in ["b", "a", "c c"] {
        fixture.create(&url, id);
    }
    let text = fixture.grootfs.ok(&["list"]);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let path = |id: &str| fixture.path(&format!("images/{id}")).display().to_string();
    assert_eq!(lines, [path("a"), path("b"), path("c c")]);
    fixture.grootfs.ok(&["delete", "b"]);
    assert_eq!(fixture.grootfs.ok(&["list"]).lines().count(), 2);
}
