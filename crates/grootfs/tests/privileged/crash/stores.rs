//! `init-store` and `delete-store` that are killed at their N-th system call, formatters included.

use std::fs;
use std::process::Command;

use testkit::command::{Grootfs, run};
use testkit::filesystem::{Scratch, loop_devices_below, mounts_below, require_root};
use testkit::image::OciLayout;

use super::kills::{Call, at_calls, calls_of, injected_with_children};
use crate::fixture::{Driver, PROGRAM, two_layers};

/// Bytes of a file system of the store's own; XFS takes no less than 300 MiB.
const SIZE: &str = "335544320";

/// How many calls are tried where nobody asks for more: formatting takes its time.
const SOME: usize = 6;

/// A place for a store with a backing file, and an image.
struct Place {
    // Dropped last.
    scratch: Scratch,
    driver: Driver,
    url: String,
}

impl Place {
    fn new(driver: Driver) -> Self {
        require_root();
        let scratch = Scratch::new();
        let mut layout = OciLayout::new(scratch.join("image"));
        layout.add(&two_layers(), Some("latest"));
        let url = layout.url("latest");
        Self { scratch, driver, url }
    }

    fn grootfs(&self) -> Grootfs {
        let driver = ["--driver", self.driver.name()];
        Grootfs::new(PROGRAM, self.scratch.join("store/path")).with(&driver)
    }

    fn init(&self) -> Command {
        self.grootfs().command(&["init-store", "--store-size-bytes", SIZE])
    }

    /// A root can be made; on btrfs it can be limited too.
    #[track_caller]
    fn assert_works(&self, what: &str) {
        let grootfs = self.grootfs();
        let output = grootfs.run(&["create", &self.url, "x"]);
        assert_eq!(output.code, Some(0), "{what}: {}", output.report());
        let changed = fs::read_to_string(grootfs.path("images/x/rootfs/etc/changed"));
        assert_eq!(changed.unwrap(), "new", "{what}");
        if self.driver == Driver::Btrfs {
            let limit = ["limit", "--disk-limit-size-bytes", "50000000", "x"];
            let output = grootfs.run(&limit);
            assert_eq!(output.code, Some(0), "{what}: {}", output.report());
        }
        assert_eq!(mounts_below(grootfs.store())[0], grootfs.store(), "{what}");
        assert_eq!(loop_devices_below(self.scratch.path()).len(), 1, "{what}");
    }

    /// Takes everything away that was made.
    #[track_caller]
    fn remove(&self, what: &str) {
        let output = self.grootfs().run(&["delete-store"]);
        assert_eq!(output.code, Some(0), "{what}: {}", output.report());
        assert!(!self.grootfs().store().exists(), "{what}: the store is left");
        assert!(mounts_below(self.scratch.path()).is_empty(), "{what}: mounts are left");
        let devices = loop_devices_below(self.scratch.path());
        assert!(devices.is_empty(), "{what}: loop devices are left: {devices:?}");
        fs::remove_dir_all(self.scratch.join("store")).unwrap();
    }
}

/// Formatters are killed as well: a machine that goes down does not spare them.
fn killed_at(command: &Command, call: &Call) -> bool {
    let output = injected_with_children(command, call, "signal=KILL");
    match output.code {
        None => true,
        Some(0) => false,
        // The formatter was, and we say so.
        Some(_) => {
            let text = output.failure();
            assert!(text.contains("filesystem: signal: 9"), "{text}");
            true
        }
    }
}

fn init_store(driver: Driver) {
    let place = Place::new(driver);
    let test = format!("init-store {}", driver.name());
    fs::create_dir(place.scratch.join("store")).unwrap();
    let calls = calls_of(&place.init(), &[]);
    place.remove(&test);
    at_calls(&test, &calls, SOME, |call| {
        let what = format!("{test} killed at {call:?}");
        fs::create_dir(place.scratch.join("store")).unwrap();
        let killed = killed_at(&place.init(), call);
        let again = run(&mut place.init());
        assert_eq!(again.code, Some(0), "{what}: {}", again.report());
        place.assert_works(&what);
        place.remove(&what);
        !killed
    });
}

fn delete_store(driver: Driver) {
    let place = Place::new(driver);
    let test = format!("delete-store {}", driver.name());
    let victim = place.grootfs().command(&["delete-store"]);
    let make = |what: &str| {
        fs::create_dir_all(place.scratch.join("store")).unwrap();
        run(&mut place.init()).success();
        place.assert_works(what);
    };
    make(&test);
    let calls = calls_of(&victim, &[]);
    at_calls(&test, &calls, SOME, |call| {
        let what = format!("{test} killed at {call:?}");
        make(&what);
        let killed = killed_at(&victim, call);
        place.remove(&what);
        !killed
    });
}

#[test]
fn privileged_init_store_overlay_xfs() {
    init_store(Driver::OverlayXfs);
}

#[test]
fn privileged_init_store_btrfs() {
    init_store(Driver::Btrfs);
}

#[test]
fn privileged_delete_store_overlay_xfs() {
    delete_store(Driver::OverlayXfs);
}

#[test]
fn privileged_delete_store_btrfs() {
    delete_store(Driver::Btrfs);
}
