//! Limits of a root that the runtime mounts (contract D2.29).

use testkit::container::run_in;
use testkit::image::busybox;

use super::*;

with_limits!(the_runtime_mounts);

const LIMIT: u64 = 4 * MIB;

fn the_runtime_mounts(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &Image::new().layer(&busybox()));
    let limit = LIMIT.to_string();
    let options =
        ["--without-mount", "--disk-limit-size-bytes", &limit, "--exclude-image-from-quota"];
    let spec = create_with(fixture, &options, &url, "x");
    assert!(fixture.mounts().is_empty());
    let empty = Stats::of(fixture, "x");
    assert_eq!(empty.quota, LIMIT);
    // Two files that describe it on XFS, a node on btrfs.
    assert!(empty.exclusive <= 16384, "{empty:?}");
    let fills = ["/bin/dd", "if=/dev/zero", "of=/root/file", "bs=64k"];
    let output = run_in(&spec.line, &fills);
    assert_eq!(output.code, Some(1), "{}", output.report());
    sync(fixture);
    let full = Stats::of(fixture, "x");
    assert!(full.exclusive <= LIMIT + tolerance(fixture), "{full:?}");
    assert!(full.exclusive >= LIMIT - MIB, "{full:?}");
    assert_eq!(full.total - full.exclusive, empty.total - empty.exclusive);
    // Mounted or not, it is the same root that `limit` and `stats` speak of.
    fixture.grootfs.ok(&[
        "limit",
        "--disk-limit-size-bytes",
        "8388608",
        "--exclude-image-from-quota",
        "x",
    ]);
    assert_eq!(Stats::of(fixture, "x").quota, 8 * MIB);
    let fills = "dd if=/dev/zero of=/root/more bs=64k count=48";
    run_in(&spec.line, &["/bin/sh", "-c", fills]).success();
    let all = fixture.grootfs.ok(&["stats", "--all"]);
    let line = serde_json::from_str(&all).unwrap();
    assert_eq!(Stats::parse(&line), Stats::of(fixture, "x"));
    delete_all(fixture);
}
