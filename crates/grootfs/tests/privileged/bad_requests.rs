//! Requests that cannot be met: a clear text, exit code 1, nothing left in the store.

use std::fs;

use crate::fixture::{Fixture, assert_contains, two_layers};

on_both_drivers!(bad_ids, taken_ids, stores_that_are_not_whole, unknown_schemes);

fn bad_ids(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let long = "x".repeat(245);
    for (id, part) in [
        ("a/b", "id `a/b` contains invalid characters: `/`"),
        ("/", "id `/` contains invalid characters: `/`"),
        ("../x", "contains invalid characters: `/`"),
        (".", "id `.` "),
        ("..", "id `..` "),
        ("", "id `` "),
        ("a\nb", "id `a\\nb` contains invalid characters: `\\n`"),
        (&long, "too long"),
    ] {
        let text = fixture.fails_cleanly(&["create", &url, id]);
        assert_contains(&text, part);
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    // Nothing was pulled for them.
    assert!(fixture.names("volumes").is_empty());
    // The longest one that is allowed, and odd but harmless ones.
    for id in [&long[1..], "...", "a b", "-1", "ünï"] {
        let arguments = ["create", "--", &url, id];
        fixture.grootfs.ok(&arguments);
        assert_eq!(fixture.grootfs.ok(&["delete", "--", id]), format!("Image {id} deleted\n"));
    }
}

fn taken_ids(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    fixture.create(&url, "x");
    let before = fixture.listing();
    let text = fixture.grootfs.fails(&["create", &url, "x"]);
    assert_eq!(text, "image for id `x` already exists\n");
    before.assert_same(&fixture.listing());
}

fn stores_that_are_not_whole(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let start = "Store path is not initialized. Please run init-store.";
    // What else may be missing is made again: see `healing`.
    for part in ["images", "volumes", "meta/dependencies", "meta/namespace.json"] {
        let (path, aside) = (fixture.path(part), fixture.scratch("aside"));
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
        } else {
            fs::copy(&path, &aside).unwrap();
            fs::remove_file(&path).unwrap();
        }
        let text = fixture.fails_cleanly(&["create", &url, "x"]);
        assert!(text.starts_with(start), "{text}");
        assert_contains(&text, &path.display().to_string());
        // init-store completes it.
        fixture.grootfs.ok(&["init-store"]);
    }
    fixture.create(&url, "x");
    let namespace = fixture.path("meta/namespace.json");
    fs::write(&namespace, "{\"uid-map").unwrap();
    let text = fixture.grootfs.fails(&["create", &url, "y"]);
    assert_contains(&text, "invalid namespace file");
    let nowhere = fixture.grootfs.clone().with(&["--store", "/no/such/store"]);
    assert!(nowhere.fails(&["create", &url, "x"]).starts_with(start));
}

fn unknown_schemes(fixture: &Fixture) {
    for url in ["foo://bar", "http://host/image", "file:///image.tar"] {
        let text = fixture.fails_cleanly(&["create", url, "x"]);
        let scheme = url.split(':').next().unwrap();
        assert_contains(&text, &format!("unsupported image url scheme `{scheme}`"));
    }
}
