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

mod against_the_model;
mod at_once;
mod backing_file;
mod bad_images;
mod bad_requests;
mod base_directory;
mod cache;
mod clean;
mod configuration;
mod delete;
mod delete_store;
mod df;
mod fixture;
mod hostile;
mod init_store;
mod many_layers;
mod mappings;
mod metrics;
mod registry;
mod rename_race;
mod run;
mod stats;
mod tar;
mod tree;
mod undescribed;
mod without_mount;
