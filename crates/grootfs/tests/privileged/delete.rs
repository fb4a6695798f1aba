//! `delete`, and what it must not touch (contract 7.1, 7.3, D1).

use std::fs;
use std::process::Command;

use serde_json::Value;
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
    long_listing,
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

fn long_listing(fixture: &Fixture) {
    assert_eq!(fixture.grootfs.ok(&["list", "--json"]), "");
    assert_eq!(fixture.grootfs.ok(&["list", "--long"]), "Store empty\n");
    let text = fixture.grootfs.fails(&["list", "--long", "--json"]);
    assert_eq!(text, "--long and --json cannot be used together\n");
    let (url, _) = fixture.oci("image", &two_layers());
    let longest = "x".repeat(244);
    fixture.create(&url, &longest);
    let limited = fixture.has_quotas() || !fixture.is_overlay();
    let limit: &[&str] = if limited { &["--disk-limit-size-bytes", "8388608"] } else { &[] };
    fixture.grootfs.ok(&[&["create"], limit, &[url.as_str(), "a"]].concat());
    fs::write(fixture.path("images/a/rootfs/big"), vec![1; 1 << 20]).unwrap();
    let origin = fixture.path("meta/dependencies/from:a.json");
    let name = url.replace("oci://", "oci:");
    let json: Vec<Value> = fixture
        .grootfs
        .ok(&["list", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json.len(), 2);
    let a = json.iter().find(|image| image["id"] == "a").unwrap();
    assert_eq!(a["path"], fixture.path("images/a").to_str().unwrap());
    assert_eq!((&a["image"], &a["layers"]), (&name.as_str().into(), &2.into()));
    assert!(a["created"].as_str().unwrap().starts_with("20"), "{a}");
    if limited {
        assert!(a["limit_bytes"].as_u64().unwrap() > 8_000_000, "{a}");
        assert!(a["used_bytes"].as_u64().unwrap() >= 1 << 20, "{a}");
    }
    let table = fixture.grootfs.ok(&["list", "--long"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.starts_with("ID "), "{table}");
    // What is there in its place is not waited for.
    fs::remove_file(&origin).unwrap();
    run(Command::new("mkfifo").arg(&origin)).success();
    assert!(fixture.grootfs.ok(&["list", "--json"]).contains("\"id\":\"a\""));
    fixture.grootfs.ok(&["delete", "a"]);
    assert!(!origin.exists());
    // What a killed process left.
    fs::write(&origin, "{}").unwrap();
    fixture.grootfs.ok(&["clean"]);
    assert!(!origin.exists());
    assert!(fixture.path(&format!("meta/dependencies/from:{longest}.json")).exists());
}
