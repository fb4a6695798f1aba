//! Limits of inodes: overlay-xfs has them, btrfs does not.

use std::fs::{self, File};

use super::*;
use crate::fixture::assert_contains;

with_projects!(any_kind_of_file_counts, empty_files, low_limits);
with_quota_groups!(btrfs_has_none);

fn create(fixture: &Fixture, limit: u64, id: &str) -> PathBuf {
    let url = image_of(fixture, 10);
    create_with(fixture, &["--inode-limit", &limit.to_string()], &url, id).rootfs()
}

fn inodes(fixture: &Fixture, id: &str) -> (u64, u64) {
    sync(fixture);
    Stats::of(fixture, id).inodes.unwrap()
}

fn any_kind_of_file_counts(fixture: &Fixture) {
    let rootfs = create(fixture, 100, "x");
    let (used, limit) = inodes(fixture, "x");
    assert_eq!(limit, 100);
    // The image's ten files do not count.
    assert!(used < 10, "{used}");
    let made = until_refused(|n| {
        let path = rootfs.join(n.to_string());
        match n % 3 {
            0 => File::create(path).map(drop),
            1 => fs::create_dir(path),
            _ => Ok(rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into())?),
        }
    });
    // One is made in the work directory and renamed, so that the last may be out of reach.
    assert!((99..=100).contains(&(used + made)), "{used} {made}");
    assert!(inodes(fixture, "x").0 <= 100);
    // Names of one file are one inode, and a deleted one makes room.
    for number in 0..20 {
        fs::hard_link(rootfs.join("0"), rootfs.join(format!("link-{number}"))).unwrap();
    }
    fs::remove_file(rootfs.join("3")).unwrap();
    sync(fixture);
    File::create(rootfs.join("again")).unwrap();
    // A copy of a file of the image is an inode of this root.
    until_refused(|n| fs::write(rootfs.join(format!("image/{n}")), "changed"));
    // Both limits hold at once; one is changed without the other.
    fixture.grootfs.ok(&["limit", "x", "--disk-limit-size-bytes", "8388608"]);
    let stats = Stats::of(fixture, "x");
    assert_eq!(stats.inodes.unwrap().1, 100);
    assert_eq!(stats.committed, 8 * MIB);
    fixture.grootfs.ok(&["limit", "x", "--inode-limit", "200"]);
    let stats = Stats::of(fixture, "x");
    assert_eq!((stats.inodes.unwrap().1, stats.committed), (200, 8 * MIB));
    File::create(rootfs.join("more")).unwrap();
    delete_all(fixture);
}

/// No content at all, and still no end of it without a limit.
fn empty_files(fixture: &Fixture) {
    const LIMIT: u64 = 10_000;
    let rootfs = create(fixture, LIMIT, "x");
    let (used, _) = inodes(fixture, "x");
    let made = until_refused(|n| File::create(rootfs.join(n.to_string())).map(drop));
    assert!((LIMIT - 1..=LIMIT).contains(&(used + made)), "{used} {made}");
    assert!(inodes(fixture, "x").0 <= LIMIT);
    delete_all(fixture);
}

/// A root that is limited to nothing is still made, mounted and deleted.
fn low_limits(fixture: &Fixture) {
    let rootfs = create(fixture, 1, "x");
    let made = until_refused(|n| File::create(rootfs.join(n.to_string())).map(drop));
    assert!(made < 16, "{made}");
    assert_eq!(fs::read_dir(rootfs.join("image")).unwrap().count(), 10);
    delete_all(fixture);
}

fn btrfs_has_none(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    fixture.create(&url, "y");
    let text = "disk limits are not available: btrfs has no limits of inodes; the driver overlay-xfs has them\n";
    let refused = fixture.fails_cleanly(&["create", "--inode-limit", "5", &url, "x"]);
    assert_contains(&refused, text);
    assert_contains(&fixture.fails_cleanly(&["limit", "--inode-limit", "5", "y"]), text);
    // Nothing asked for is nothing missing.
    create_with(fixture, &["--inode-limit", "0"], &url, "x");
    fixture.grootfs.ok(&["limit", "--inode-limit", "0", "y"]);
    delete_all(fixture);
}
