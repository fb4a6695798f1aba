//! `init-store --store-size-bytes`: a file system of the store's own (contract 3.6, B2, D1.2).

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::command::{Grootfs, Running, TIME_LIMIT, run, start};
use testkit::filesystem::{Scratch, loop_devices_below, mounts_below, require_root};

use crate::fixture::{Driver, Fixture, PROGRAM, assert_contains};

/// Bytes of the file system. The formatters of today refuse less than 300 MiB (XFS).
const SIZE: &str = "335544320";

struct Place {
    scratch: Scratch,
    grootfs: Grootfs,
    init: [&'static str; 3],
}

impl Place {
    fn new(driver: Driver) -> Self {
        require_root();
        let scratch = Scratch::new();
        let grootfs =
            Grootfs::new(PROGRAM, scratch.join("store")).with(&["--driver", driver.name()]);
        Self { scratch, grootfs, init: ["init-store", "--store-size-bytes", SIZE] }
    }

    fn backing_file(&self) -> PathBuf {
        self.scratch.join("store.backing-store")
    }

    fn loop_devices(&self) -> Vec<PathBuf> {
        loop_devices_below(self.scratch.path())
    }

    /// What a reboot does to the store.
    fn unmount(&self) {
        run(Command::new("umount").arg(self.grootfs.store())).success();
        assert!(self.loop_devices().is_empty(), "{:?}", self.loop_devices());
        assert!(mounts_below(self.scratch.path()).is_empty());
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(mounts_below(self.scratch.path()), [self.grootfs.store()]);
        assert_eq!(self.loop_devices().len(), 1);
        let file = fs::metadata(self.backing_file()).unwrap();
        assert_eq!((file.mode() & 0o7777, file.len().to_string().as_str()), (0o600, SIZE));
        let store = fs::metadata(self.grootfs.store()).unwrap();
        assert_eq!(store.mode() & 0o7777, 0o700);
    }
}

fn made_once(driver: Driver) {
    let place = Place::new(driver);
    assert_eq!(place.grootfs.ok(&place.init), "");
    place.check();
    let id = filesystem_id(place.grootfs.store());
    fs::write(place.grootfs.path("images/marker"), "still here").unwrap();
    // Again while it is mounted, with the size, with a smaller one, without one.
    for again in
        [&place.init[..], &["init-store", "--store-size-bytes", "300000000"], &["init-store"]]
    {
        assert_eq!(place.grootfs.ok(again), "");
        place.check();
    }
    // Again after a reboot.
    for again in
        [&place.init[..], &["init-store", "--store-size-bytes", "300000000"], &["init-store"]]
    {
        place.unmount();
        assert_eq!(place.grootfs.ok(again), "");
        place.check();
        let marker = fs::read_to_string(place.grootfs.path("images/marker")).unwrap();
        assert_eq!(marker, "still here");
        assert_eq!(filesystem_id(place.grootfs.store()), id);
    }
}

/// Several at the same time, as on a machine that starts: one makes the file system, the others find it.
fn made_by_several(driver: Driver) {
    let place = Place::new(driver);
    let running: Vec<Running> =
        (0..5).map(|_| start(&mut place.grootfs.command(&place.init))).collect();
    for one in running {
        assert_eq!(one.finish(TIME_LIMIT).success(), "");
    }
    place.check();
}

#[test]
fn privileged_made_by_several_overlay_xfs() {
    made_by_several(Driver::OverlayXfs);
}

#[test]
fn privileged_made_by_several_btrfs() {
    made_by_several(Driver::Btrfs);
}

/// The loop device goes around the cache of the file system below.
#[test]
fn privileged_direct_io() {
    let place = Place::new(Driver::Btrfs);
    let direct = || {
        let device = place.loop_devices().remove(0);
        let name = device.file_name().unwrap().to_str().unwrap().to_owned();
        fs::read_to_string(format!("/sys/block/{name}/loop/dio")).unwrap().trim() == "1"
    };
    place.grootfs.ok(&place.init);
    assert!(!direct());
    place.unmount();
    place.grootfs.ok(&[&place.init[..], &["--with-direct-io"]].concat());
    assert!(direct());
    place.check();
}

/// How the kernel counts on the btrfs of a store.
fn quotas_of(store: &Path) -> String {
    let findmnt = run(Command::new("findmnt").args(["--noheadings", "--output=UUID"]).arg(store));
    let id = findmnt.success();
    fs::read_to_string(format!("/sys/fs/btrfs/{}/qgroups/mode", id.trim())).unwrap().trim().into()
}

/// Simple quotas are turned on where a file system is made, and nowhere else.
#[test]
fn privileged_simple_quotas() {
    let place = Place::new(Driver::Btrfs);
    let simple = [&place.init[..], &["--with-simple-quotas"]].concat();
    place.grootfs.ok(&simple);
    assert_eq!(quotas_of(place.grootfs.store()), "squota");
    place.unmount();
    place.grootfs.ok(&place.init);
    assert_eq!(quotas_of(place.grootfs.store()), "squota");
    place.grootfs.ok(&["delete-store", "--with-backing-file"]);
    // One with full quotas keeps them, and says so.
    place.grootfs.ok(&place.init);
    let log = place.scratch.join("log");
    let logged = ["--log-file", log.to_str().unwrap()];
    place.grootfs.ok(&[&logged[..], &simple].concat());
    assert_eq!(quotas_of(place.grootfs.store()), "qgroup");
    assert_contains(&fs::read_to_string(&log).unwrap(), "keeps the quotas that it has");
    place.check();
}

/// Nobody else's file system is changed, and the other driver has nothing of the kind.
#[test]
fn privileged_simple_quotas_are_refused() {
    let place = Place::new(Driver::OverlayXfs);
    let error = place.grootfs.fails(&[&place.init[..], &["--with-simple-quotas"]].concat());
    assert_contains(&error, "only the driver btrfs has them");
    assert!(!place.backing_file().exists());
    let fixture = Fixture::without_store(Driver::Btrfs);
    let error = fixture.grootfs.fails(&["init-store", "--with-simple-quotas"]);
    assert_contains(&error, "a file system that was there");
}

/// A larger size, while it is in use and after a reboot: everything in it stays, and there is more room.
fn grows(driver: Driver) {
    let place = Place::new(driver);
    place.grootfs.ok(&place.init);
    let file = place.grootfs.path("images/marker");
    fs::write(&file, "still here").unwrap();
    let mut room = free(place.grootfs.store());
    for (size, reboot) in [("500000000", false), ("700000000", true)] {
        if reboot {
            place.unmount();
        }
        place.grootfs.ok(&["init-store", "--store-size-bytes", size]);
        assert_eq!(fs::metadata(place.backing_file()).unwrap().len().to_string(), size);
        let more = free(place.grootfs.store());
        assert!(more > room + 100_000_000, "{size}: {room} {more}");
        room = more;
        assert_eq!(fs::read_to_string(&file).unwrap(), "still here");
    }
    fs::write(place.grootfs.path("images/large"), vec![1; 450_000_000]).unwrap();
    place.grootfs.ok(&["delete-store", "--with-backing-file"]);
    assert!(!place.backing_file().exists() && !place.grootfs.store().exists());
    assert!(place.loop_devices().is_empty());
}

fn free(path: &Path) -> u64 {
    let line =
        run(Command::new("stat").args(["--file-system", "--format=%a %S"]).arg(path)).success();
    let (blocks, size) = line.trim().split_once(' ').unwrap();
    blocks.parse::<u64>().unwrap() * size.parse::<u64>().unwrap()
}

#[test]
fn privileged_grows_overlay_xfs() {
    grows(Driver::OverlayXfs);
}

#[test]
fn privileged_grows_btrfs() {
    grows(Driver::Btrfs);
}

/// Its UUID: a new one when it is formatted again.
fn filesystem_id(path: &Path) -> String {
    run(Command::new("findmnt").args(["--noheadings", "--output", "UUID"]).arg(path)).success()
}

#[test]
fn privileged_made_once_overlay_xfs() {
    made_once(Driver::OverlayXfs);
}

#[test]
fn privileged_made_once_btrfs() {
    made_once(Driver::Btrfs);
}

fn never_reformats(driver: Driver) {
    // What is in the file before, and what the answer must contain.
    type Fill = fn(&Path);
    let cases: [(&str, Fill); 3] = [
        ("text", |file| fs::write(file, "somebody's notes\n").unwrap()),
        ("late data", |file| {
            let file = fs::File::create(file).unwrap();
            file.set_len(400 << 20).unwrap();
            file.write_all_at(b"somebody's data", 300 << 20).unwrap();
        }),
        ("another file system", |file| {
            fs::File::create(file).unwrap().set_len(16 << 20).unwrap();
            run(Command::new("mkfs.ext4").arg("-q").arg(file)).success();
        }),
    ];
    for (name, fill) in cases {
        let place = Place::new(driver);
        let file = place.backing_file();
        fill(&file);
        let before = Content::of(&file);
        let text = place.grootfs.fails(&place.init);
        assert_contains(&text, &file.display().to_string());
        assert_eq!(Content::of(&file), before, "{name}: {text}");
        assert!(place.loop_devices().is_empty(), "{name}");
        assert!(mounts_below(place.scratch.path()).is_empty(), "{name}");
        assert!(!place.grootfs.path("meta").exists(), "{name}");
    }
}

/// Length and digest of a file.
#[derive(Debug, PartialEq, Eq)]
struct Content(u64, String);

impl Content {
    fn of(file: &Path) -> Self {
        let sum = run(Command::new("sha256sum").arg(file)).success();
        Self(fs::metadata(file).unwrap().len(), sum)
    }
}

#[test]
fn privileged_never_reformats_overlay_xfs() {
    never_reformats(Driver::OverlayXfs);
}

#[test]
fn privileged_never_reformats_btrfs() {
    never_reformats(Driver::Btrfs);
}

#[test]
fn privileged_the_other_drivers_file_system_stays() {
    let place = Place::new(Driver::Btrfs);
    place.grootfs.ok(&place.init);
    let id = filesystem_id(place.grootfs.store());
    place.unmount();
    let other = place.grootfs.clone().with(&["--driver", "overlay-xfs"]);
    let text = other.fails(&place.init);
    assert_contains(&text, "btrfs");
    assert!(place.loop_devices().is_empty());
    place.grootfs.ok(&place.init);
    assert_eq!(filesystem_id(place.grootfs.store()), id);
}

#[test]
fn privileged_an_empty_file_is_used() {
    let place = Place::new(Driver::OverlayXfs);
    // What a killed init-store leaves: a file of the right size without content.
    let file = fs::File::create(place.backing_file()).unwrap();
    file.set_len(SIZE.parse().unwrap()).unwrap();
    place.grootfs.ok(&place.init);
    assert_eq!(mounts_below(place.scratch.path()), [place.grootfs.store()]);
}

#[test]
fn privileged_too_small() {
    for driver in [Driver::OverlayXfs, Driver::Btrfs] {
        let place = Place::new(driver);
        let text = place.grootfs.fails(&["init-store", "--store-size-bytes", "209715199"]);
        assert_contains(&text, "store size must be at least 200Mb");
        assert!(!place.backing_file().exists());
        assert!(!place.grootfs.store().exists());
    }
}

#[test]
fn privileged_a_failed_format_can_be_repeated() {
    let place = Place::new(Driver::OverlayXfs);
    // 200 MiB is enough for us, and too little for the formatter.
    let text = place.grootfs.fails(&["init-store", "--store-size-bytes", "209715200"]);
    assert_contains(&text, "Formatting XFS filesystem: exit status 1");
    assert!(place.loop_devices().is_empty());
    place.grootfs.ok(&place.init);
    place.check();
}
