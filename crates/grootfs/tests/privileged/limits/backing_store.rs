//! Limits on the file system that `init-store` makes, and after a reboot.

use std::fs;
use std::process::Command;

use testkit::command::{Grootfs, run};
use testkit::filesystem::{Scratch, require_root};
use testkit::image::{Compression, write_tar};
use testkit::layer::Layer;

use super::{MIB, is_refusal};
use crate::fixture::{Driver, PROGRAM, assert_contains};

#[test]
fn privileged_overlay_xfs_quota() {
    limits_hold_again(Driver::OverlayXfs);
}

#[test]
fn privileged_btrfs() {
    limits_hold_again(Driver::Btrfs);
}

fn limits_hold_again(driver: Driver) {
    require_root();
    let scratch = Scratch::new();
    let grootfs = Grootfs::new(PROGRAM, scratch.join("store")).with(&["--driver", driver.name()]);
    let init = ["init-store", "--store-size-bytes", "335544320"];
    grootfs.ok(&init);
    let tar = scratch.join("image.tar");
    write_tar(&tar, &Layer::new().file("file", "content"), Compression::None);
    let limit = ["--disk-limit-size-bytes", "4194304", "--exclude-image-from-quota"];
    let create = [&["create", "--without-mount"], &limit as &[&str], &[tar.to_str().unwrap(), "x"]];
    grootfs.ok(&create.concat());
    let written = match driver {
        Driver::OverlayXfs => grootfs.path("images/x/diff"),
        Driver::Btrfs => grootfs.path("images/x/snapshot"),
    };
    for round in 0..2 {
        let refused = fs::write(written.join("large"), vec![1; 6 << 20]).unwrap_err();
        assert!(is_refusal(&refused), "round {round}: {refused}");
        assert!(fs::metadata(written.join("large")).unwrap().len() < 5 * MIB);
        let stats = grootfs.ok(&["stats", "x"]);
        assert_contains(&stats, "\"quota_size_bytes\":4194304");
        if round == 0 {
            // What a reboot does to the store, and what is run after it.
            run(Command::new("umount").arg(grootfs.store())).success();
            grootfs.ok(&init);
        }
    }
    assert_eq!(grootfs.ok(&["delete", "x"]), "Image x deleted\n");
}
