//! Simple quotas of btrfs (Linux 6.7): the same limits and numbers, though the kernel counts otherwise.

use std::fs;

use testkit::container::run_in;
use testkit::image::busybox;

use super::*;
use crate::fixture::assert_contains;

with_quota_groups!(limits_and_numbers, changes, the_runtime_mounts, below_the_image);

const LIMIT: u64 = 4 * MIB;

fn simple(fixture: &Fixture) {
    testkit::filesystem::enable_simple_quotas(&fixture.mount_point());
}

fn full(fixture: &Fixture, id: &str, limit: u64) -> Stats {
    fill(&fixture.path(&format!("images/{id}/rootfs")));
    sync(fixture);
    let stats = Stats::of(fixture, id);
    assert!(stats.exclusive <= limit + tolerance(fixture), "{stats:?}");
    assert!(stats.exclusive >= limit - MIB, "{stats:?}");
    stats
}

fn limits_and_numbers(fixture: &Fixture) {
    simple(fixture);
    let url = image_of(fixture, 32);
    let image = 2 * MIB;
    fixture.create(&url, "none");
    let none = Stats::of(fixture, "none");
    assert_eq!((none.quota, none.committed), (0, 0));
    assert_eq!(none.total, image + none.exclusive);
    // A snapshot has a node of its own.
    assert!(none.exclusive <= 2 * 16384, "{none:?}");
    // Without the image all of the limit is for what is written.
    create_limited(fixture, LIMIT, &url, "without");
    let stats = full(fixture, "without", LIMIT);
    assert_eq!((stats.quota, stats.committed), (LIMIT, image + LIMIT));
    assert_eq!(stats.total, image + stats.exclusive);
    let before = blocks_below(&fixture.path("images/none/rootfs"));
    let written = blocks_below(&fixture.path("images/without/rootfs")) - before;
    assert!(stats.exclusive.abs_diff(written) <= 8 * 16384, "{stats:?} {written}");
    // With it what the image leaves.
    let limit = LIMIT.to_string();
    create_with(fixture, &["--disk-limit-size-bytes", &limit], &url, "with");
    let stats = full(fixture, "with", LIMIT - image);
    assert_eq!((stats.quota, stats.committed), (LIMIT - image, LIMIT));
    assert!(stats.total <= LIMIT + tolerance(fixture), "{stats:?}");
    // Just the image.
    let limit = image.to_string();
    create_with(fixture, &["--disk-limit-size-bytes", &limit], &url, "least");
    assert_eq!(Stats::of(fixture, "least").quota, 262_144);
    assert_eq!(fixture.grootfs.ok(&["stats", "--all"]).lines().count(), 4);
    delete_all(fixture);
}

fn changes(fixture: &Fixture) {
    simple(fixture);
    let url = image_of(fixture, 32);
    let image = 2 * MIB;
    let rootfs = fixture.create(&url, "x").rootfs();
    write(&rootfs.join("before"), 3 * MIB);
    sync(fixture);
    let limit = |bytes: u64, options: &[&str]| {
        let bytes = bytes.to_string();
        let arguments = [&["limit", "--disk-limit-size-bytes", &bytes], options, &["x"]].concat();
        fixture.grootfs.ok(&arguments);
        let stats = Stats::of(fixture, "x");
        (stats.quota, stats.committed)
    };
    let excluding: &[&str] = &["--exclude-image-from-quota"];
    assert_eq!(limit(LIMIT, excluding), (LIMIT, image + LIMIT));
    assert_eq!(limit(2 * LIMIT, &[]), (2 * LIMIT - image, 2 * LIMIT));
    full(fixture, "x", 2 * LIMIT - image);
    // Below what is held: nothing more, and after deleting again something.
    assert_eq!(limit(LIMIT, excluding), (LIMIT, image + LIMIT));
    assert!(is_refusal(&fs::write(rootfs.join("more"), [1; 65536]).unwrap_err()));
    for name in ["before", "fill-65536"] {
        fs::remove_file(rootfs.join(name)).unwrap();
    }
    sync(fixture);
    full(fixture, "x", LIMIT);
    assert_eq!(limit(0, &[]), (0, 0));
    write(&rootfs.join("free"), 16 * MIB);
    delete_all(fixture);
}

fn the_runtime_mounts(fixture: &Fixture) {
    simple(fixture);
    let (url, _) = fixture.oci("image", &Image::new().layer(&busybox()));
    let limit = LIMIT.to_string();
    let options =
        ["--without-mount", "--disk-limit-size-bytes", &limit, "--exclude-image-from-quota"];
    let spec = create_with(fixture, &options, &url, "x");
    let fills = ["/bin/dd", "if=/dev/zero", "of=/root/file", "bs=64k"];
    assert_eq!(run_in(&spec.line, &fills).code, Some(1));
    sync(fixture);
    let stats = Stats::of(fixture, "x");
    assert_eq!(stats.quota, LIMIT);
    assert!((LIMIT - MIB..=LIMIT + tolerance(fixture)).contains(&stats.exclusive), "{stats:?}");
    delete_all(fixture);
}

fn below_the_image(fixture: &Fixture) {
    simple(fixture);
    let url = image_of(fixture, 32);
    let limit = (2 * MIB - 1).to_string();
    fixture.grootfs.ok(&["pull", &url]);
    let text = fixture.fails_cleanly(&["create", "--disk-limit-size-bytes", &limit, &url, "x"]);
    assert_contains(&text, "disk limit is smaller than volume size: the limit is ");
    assert_contains(&text, "2 MiB (2097152 bytes), 1 bytes more");
    delete_all(fixture);
}
