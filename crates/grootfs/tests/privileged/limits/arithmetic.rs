//! What limit the kernel gets for the one that is asked for (contract 4.9), and what is written down.

use std::fs;

use super::*;
use crate::fixture::assert_contains;

with_projects!(on_overlay);
with_quota_groups!(on_btrfs, limits_are_not_inherited);

/// The least that overlay-xfs sets.
const LEAST: u64 = 262_144;

fn number_in(fixture: &Fixture, id: &str, name: &str) -> u64 {
    fs::read_to_string(fixture.path(&format!("images/{id}/{name}"))).unwrap().parse().unwrap()
}

fn create(fixture: &Fixture, options: &[&str], limit: u64) -> Stats {
    let limit = limit.to_string();
    let options = [&["--disk-limit-size-bytes", &limit], options].concat();
    create_with(fixture, &options, &image_of(fixture, 10), "x");
    Stats::of(fixture, "x")
}

fn on_overlay(fixture: &Fixture) {
    let url = image_of(fixture, 10);
    fixture.create(&url, "y");
    let image = number_in(fixture, "y", "image_info");
    assert_eq!(image, 10 * 65536);
    assert!(!fixture.path("images/y/image_quota").exists());
    assert_eq!(Stats::of(fixture, "y").committed, 0);
    let excluding: &[&str] = &["--exclude-image-from-quota"];
    // What is asked for, what is written down, what the kernel holds: whole blocks.
    for (options, asked, written, held) in [
        (excluding, 8 * MIB, 8 * MIB, 8 * MIB),
        (excluding, 8_870_807, 8_870_807, 8_871_936),
        (excluding, 1, LEAST, LEAST),
        (&[], 8 * MIB, 8 * MIB - image, 8 * MIB - image),
        (&[], image + LEAST + 4096, LEAST + 4096, LEAST + 4096),
        (&[], image + 1, LEAST, LEAST),
        (&[], image, LEAST, LEAST),
        (&["--exclude-image-from-quota=false"], image, LEAST, LEAST),
    ] {
        let stats = create(fixture, options, asked);
        assert_eq!(number_in(fixture, "x", "image_quota"), written, "{asked} {options:?}");
        assert_eq!((stats.quota, stats.committed), (held, image + held), "{asked} {options:?}");
        assert_eq!(stats.total, image + stats.exclusive);
        // The files that describe the root are its own, the image is not.
        assert!(stats.exclusive <= 16384, "{stats:?}");
        fixture.grootfs.ok(&["delete", "x"]);
    }
    below_the_image(fixture, image);
    delete_all(fixture);
}

/// Nothing is made, and the error shows the sum.
fn below_the_image(fixture: &Fixture, image: u64) {
    let limit = (image - 1).to_string();
    let url = image_of(fixture, 10);
    let text = fixture.fails_cleanly(&["create", "--disk-limit-size-bytes", &limit, &url, "x"]);
    assert_contains(&text, &format!("layers exceed disk quota {image}/{limit} bytes"));
    let text = fixture.fails_cleanly(&["limit", "--disk-limit-size-bytes", &limit, "y"]);
    let chain = &fixture.names("volumes")[0];
    assert_contains(
        &text,
        &format!(
            "disk limit is smaller than volume size: the limit is 639 KiB ({limit} bytes), the image \
             holds 640 KiB ({image} bytes), 1 bytes more"
        ),
    );
    assert_contains(&text, &format!("{chain} 640 KiB ({image} bytes)"));
}

fn on_btrfs(fixture: &Fixture) {
    let url = image_of(fixture, 10);
    fixture.create(&url, "y");
    let none = Stats::of(fixture, "y");
    assert_eq!((none.quota, none.committed), (0, 0));
    // Files, and the nodes that describe them.
    let image = none.total;
    assert!((10 * 65536..10 * 65536 + 8 * 16384).contains(&image), "{none:?}");
    for (limit, committed, options) in [
        (8 * MIB, 8 * MIB, &[] as &[&str]),
        (image, image, &[]),
        (8 * MIB, image + 8 * MIB, &["--exclude-image-from-quota"]),
        (8_870_807, 8_870_807, &[]),
    ] {
        let stats = create(fixture, options, limit);
        assert_eq!(stats.quota, limit, "{options:?}");
        // The root's own node is no longer shared.
        assert!(stats.committed.abs_diff(committed) <= 16384, "{stats:?} {committed}");
        assert_eq!(stats.total, image);
        fixture.grootfs.ok(&["delete", "x"]);
    }
    let limit = (image - 1).to_string();
    let text = fixture.fails_cleanly(&["create", "--disk-limit-size-bytes", &limit, &url, "x"]);
    assert_contains(&text, "disk limit is smaller than volume size: the limit is ");
    assert_contains(&text, &format!("({image} bytes), 1 bytes more"));
    assert_contains(&text, &fixture.names("volumes")[0]);
    // The blob alone is larger than this.
    let text = fixture.fails_cleanly(&["create", "--disk-limit-size-bytes", "100", &url, "x"]);
    assert_contains(&text, "layers exceed disk quota ");
    delete_all(fixture);
}

/// What somebody has set on a layer by hand is not the limit of a root.
fn limits_are_not_inherited(fixture: &Fixture) {
    let url = image_of(fixture, 10);
    fixture.grootfs.ok(&["pull", &url]);
    let volume = fixture.path("volumes").join(&fixture.names("volumes")[0]);
    for flag in [&[] as &[&str], &["-e"]] {
        let mut command = Command::new("btrfs");
        run(command.args(["qgroup", "limit"]).args(flag).arg("5M").arg(&volume)).success();
    }
    let rootfs = fixture.create(&url, "none").rootfs();
    assert_eq!(Stats::of(fixture, "none").quota, 0);
    write(&rootfs.join("file"), 8 * MIB);
    for (id, options) in [("with", &[] as &[&str]), ("without", &["--exclude-image-from-quota"])] {
        let options = [&["--disk-limit-size-bytes", "16777216"], options].concat();
        let rootfs = create_with(fixture, &options, &url, id).rootfs();
        assert_eq!(Stats::of(fixture, id).quota, 16 * MIB);
        write(&rootfs.join("file"), 8 * MIB);
    }
    delete_all(fixture);
}
