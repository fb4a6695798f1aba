//! A file system that counts nothing: everything works but limits, and asking for one says what to do.

use super::*;
use crate::fixture::assert_contains;

on_both_drivers!(limits_are_refused);
with_projects!(counted_only);

fn mount(fixture: &Fixture, options: &str) {
    let point = fixture.mount_point();
    let device = run(Command::new("findmnt").args(["-no", "SOURCE"]).arg(&point)).success();
    // A loop device that unmounting detaches would be gone.
    let file = run(Command::new("losetup").args(["-nO", "BACK-FILE", device.trim()])).success();
    run(Command::new("umount").arg(&point)).success();
    run(Command::new("mount").args(["-o", options, file.trim()]).arg(&point)).success();
}

fn turn_off(fixture: &Fixture) {
    if fixture.is_overlay() {
        mount(fixture, "loop,noquota");
    } else {
        run(Command::new("btrfs").args(["quota", "disable"]).arg(fixture.mount_point())).success();
    }
}

fn limits_are_refused(fixture: &Fixture) {
    turn_off(fixture);
    let url = image_of(fixture, 10);
    let rootfs = fixture.create(&url, "y").rootfs();
    let point = fixture.mount_point();
    let point = point.display();
    let remedy = if !fixture.is_overlay() {
        format!(
            "quotas of the btrfs at {point} are off: `btrfs quota enable {point}` turns them on"
        )
    } else if groot_sys::project_quota::kernel_has_xfs_quotas() {
        format!(
            "the XFS at {point} is mounted without the option pquota; a remount cannot add it: umount \
             {point} && mount -o pquota <device> {point}"
        )
    } else {
        format!(
            "this kernel was built without quotas of XFS (CONFIG_XFS_QUOTA), so the XFS at {point} \
             holds no limits: use another kernel, or the driver btrfs"
        )
    };
    let expected = format!("disk limits are not available: {remedy}");
    for limit in ["--disk-limit-size-bytes=8388608", "--inode-limit=100"] {
        if limit.starts_with("--inode") && !fixture.is_overlay() {
            continue;
        }
        for more in [&[] as &[&str], &["--without-mount"]] {
            let text = fixture.fails_cleanly(&[&["create", limit], more, &[&url, "x"]].concat());
            assert_contains(&text, &expected);
        }
        assert_contains(&fixture.fails_cleanly(&["limit", limit, "y"]), &expected);
    }
    // Not even what cannot be pulled is looked for.
    let nowhere = fixture.scratch("nowhere").display().to_string();
    let limit = ["create", "--disk-limit-size-bytes", "8388608"];
    let text = fixture.fails_cleanly(&[&limit as &[&str], &[&nowhere, "x"]].concat());
    assert!(!text.is_empty());
    write(&rootfs.join("file"), MIB);
    assert_eq!(fixture.grootfs.ok(&["delete", "y"]), "Image y deleted\n");
    fixture.grootfs.ok(&["clean"]);
    assert!(fixture.names("volumes").is_empty());
}

/// Counting without refusing is no limit either, and `stats` still counts.
fn counted_only(fixture: &Fixture) {
    mount(fixture, "loop,pqnoenforce");
    let url = image_of(fixture, 10);
    let rootfs = fixture.create(&url, "y").rootfs();
    write(&rootfs.join("file"), MIB);
    sync(fixture);
    let stats = Stats::of(fixture, "y");
    assert!((MIB..MIB + 65536).contains(&stats.exclusive), "{stats:?}");
    let limit = ["create", "--disk-limit-size-bytes", "8388608", &url, "x"];
    assert_contains(&fixture.fails_cleanly(&limit), "mount option pqnoenforce");
    delete_all(fixture);
}
