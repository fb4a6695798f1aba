//! The built program on real file systems: loop-mounted XFS and btrfs, real mounts, `runc`.
//!
//! Run as root. Every test has a file system and a store of its own, and most run on both drivers.
//! As another user, or where a tool is missing, they fail and say why.

#![expect(clippy::unwrap_used, reason = "a panic is the failure that the test reports")]

/// Makes two tests of each function that takes a [`fixture::Fixture`]: one a driver. In front of the
/// names may stand how the fixture is made (`without_store:`).
macro_rules! on_both_drivers {
    ($($name:ident),+ $(,)?) => {
        on_both_drivers!(new: $($name),+);
    };
    ($make:ident: $($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::fixture::{Driver, Fixture};

            #[test]
            fn privileged_overlay_xfs() {
                super::$name(&Fixture::$make(Driver::OverlayXfs));
            }

            #[test]
            fn privileged_btrfs() {
                super::$name(&Fixture::$make(Driver::Btrfs));
            }
        }
    )+};
}

/// The same for tests that need limits.
///
/// XFS holds limits only on some kernels. The test of overlay-xfs has a name of its own, so that other
/// kernels can leave it out (`.config/nextest.toml`); where it is asked for and cannot run, it fails.
macro_rules! with_limits {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::fixture::{Driver, Fixture};

            #[test]
            fn privileged_overlay_xfs_quota() {
                super::$name(&Fixture::with_limits(Driver::OverlayXfs));
            }

            #[test]
            fn privileged_btrfs() {
                super::$name(&Fixture::with_limits(Driver::Btrfs));
            }
        }
    )+};
}

/// Tests that only overlay-xfs with limits can run.
macro_rules! with_projects {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::fixture::{Driver, Fixture};

            #[test]
            fn privileged_overlay_xfs_quota() {
                super::$name(&Fixture::with_limits(Driver::OverlayXfs));
            }
        }
    )+};
}

/// Tests that only btrfs can run.
macro_rules! with_quota_groups {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::fixture::{Driver, Fixture};

            #[test]
            fn privileged_btrfs() {
                super::$name(&Fixture::with_limits(Driver::Btrfs));
            }
        }
    )+};
}

mod against_the_model;
mod at_once;
mod backing_file;
mod bad_images;
mod bad_requests;
mod base_directory;
mod bundle;
mod cache;
mod check;
mod clean;
mod configuration;
mod crash;
mod delete;
mod delete_store;
mod df;
mod doctor;
mod fixture;
mod healing;
mod hostile;
mod init_store;
mod limits;
mod logs;
mod many_layers;
mod mappings;
mod matrix;
mod metrics;
mod plain_user;
mod plain_user_refused;
mod registry;
mod rename_race;
mod run;
mod stats;
mod tar;
mod tree;
mod undescribed;
mod without_mount;
