//! `stats` without limits (contract 7.2, B5).

use std::fs;

use serde_json::Value;
use testkit::image::Image;
use testkit::layer::Layer;

use crate::fixture::{Fixture, assert_contains};

on_both_drivers!(what_is_held, of_all, what_is_not_there);

/// Bytes of the image's file: well above what file systems round to.
const IMAGE: u64 = 2 << 20;

fn usage(fixture: &Fixture, id: &str) -> (u64, u64) {
    let text = fixture.grootfs.ok(&["stats", id]);
    let json: Value = serde_json::from_str(&text).unwrap();
    let number = |key: &str| json["disk_usage"][key].as_u64().unwrap();
    let (total, exclusive) = (number("total_bytes_used"), number("exclusive_bytes_used"));
    // Inodes only where somebody counts them.
    let inodes = match json["disk_usage"].get("inodes_used") {
        Some(used) => format!(",\"inodes_used\":{used},\"inode_limit\":0"),
        None => String::new(),
    };
    assert_eq!(inodes.is_empty(), !fixture.is_overlay() || !fixture.has_limits());
    assert_eq!(
        text,
        format!(
            "{{\"disk_usage\":{{\"total_bytes_used\":{total},\"exclusive_bytes_used\":{exclusive},\
             \"quota_size_bytes\":0,\"committed_space_bytes\":0{inodes}}}}}\n"
        )
    );
    (total, exclusive)
}

fn what_is_held(fixture: &Fixture) {
    // Random-looking, so that no file system stores it smaller.
    let mut state = 1_u32;
    let bytes: Vec<u8> = (0..IMAGE)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let image = Image::new().layer(&Layer::new().file("f", &bytes));
    let (url, _) = fixture.oci("image", &image);
    let spec = fixture.create(&url, "x");
    let (total, exclusive) = usage(fixture, "x");
    assert_eq!(usage(fixture, &fixture.path("images/x").display().to_string()), (total, exclusive));
    if fixture.is_overlay() && !fixture.has_limits() {
        // Nobody counts what is written.
        assert_eq!((total, exclusive), (IMAGE, 0));
        return;
    }
    assert!((IMAGE..IMAGE + (1 << 20)).contains(&total), "{total}");
    assert!(exclusive < 1 << 20, "{exclusive}");
    let added = 1 << 20;
    fs::write(spec.rootfs().join("more"), &bytes[..added]).unwrap();
    let (total_after, exclusive_after) = usage(fixture, "x");
    let added = added as u64;
    assert!((added..added + (1 << 18)).contains(&(total_after - total)), "{total_after}");
    assert!((added..added + (1 << 18)).contains(&(exclusive_after - exclusive)));
    // Nor without mount (contract D29).
    fixture.grootfs.ok(&["create", "--without-mount", &url, "y"]);
    assert_eq!(usage(fixture, "y").0, total);
}

/// A line for each root, with its name in front; what `stats` says about it alone.
fn of_all(fixture: &Fixture) {
    assert_eq!(fixture.grootfs.ok(&["stats", "--all"]), "");
    let (url, _) = fixture.oci("image", &Image::new().layer(&Layer::new().file("f", "content")));
    let ids = ["a", "b", "c"];
    for id in ids {
        fixture.create(&url, id);
    }
    let mut expected: Vec<String> = ids
        .iter()
        .map(|id| {
            fixture.grootfs.ok(&["stats", id]).replacen('{', &format!("{{\"id\":\"{id}\","), 1)
        })
        .collect();
    let all = fixture.grootfs.ok(&["stats", "--all"]);
    let mut lines: Vec<&str> = all.split_inclusive('\n').collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected);
    // One that cannot be measured is left out, the others are there.
    fixture.grootfs.ok(&["delete", "c"]);
    fs::write(fixture.path("images/c"), "a file").unwrap();
    assert_eq!(fixture.grootfs.ok(&["stats", "--all"]).lines().count(), 2);
}

fn what_is_not_there(fixture: &Fixture) {
    for id in ["x", "../images/x", "", ".."] {
        assert_contains(
            &fixture.fails_cleanly(&["stats", id]),
            &format!("Image `{id}` not found."),
        );
    }
    let text = fixture.fails_cleanly(&["stats", "/elsewhere/images/x"]);
    assert_eq!(text, "path `/elsewhere/images/x` is outside store path\n");
}
