//! Kills, power cuts, full disks, errors of the kernel: what a store is afterwards.
//!
//! Everything here is short in `hack/test` and long in `hack/soak`. What makes it long are variables:
//!
//! | variable | meaning | without it |
//! |---|---|---|
//! | `GROOTFS_SEED` | where chance begins; every test prints its own | another one each time |
//! | `GROOTFS_KILLS` | something happens to every so many-th system call of a command; 1 for all | a dozen calls |
//! | `GROOTFS_SOAK_SECONDS` | how long processes are killed at random | a few seconds |
//! | `GROOTFS_POWER_CUTS` | how often the power goes, on each file system | 3 |

#![expect(clippy::print_stdout, reason = "numbers and seeds are what a soak is asked for")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use testkit::command::run;
use testkit::tree::Tree;

use crate::fixture::Fixture;

mod chance;
mod faults;
mod full;
mod kills;
mod power;
mod soak;
mod stores;

/// A number in the environment.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Locks of the store itself: their files stay.
const LOCKS: [&str; 4] =
    ["global-groot-gate", "global-groot-lock", "groot-gc-lock", "groot-settle-lock"];

/// A store before anything happened in it.
struct Before {
    tree: Tree,
    images: Vec<String>,
    mounts: Vec<PathBuf>,
}

impl Before {
    /// What is to be found again.
    fn of(fixture: &Fixture) -> Self {
        fixture.grootfs.ok(&["clean"]);
        // While there is room for it.
        File::create(fixture.path("locks/groot-settle-lock.lock")).unwrap();
        let (images, mounts) = (fixture.names("images"), fixture.mounts());
        Self { tree: fixture.listing(), images, mounts }
    }

    /// Deletes every image that was not there, cleans, and finds nothing of what happened.
    #[track_caller]
    fn assert_restored(&self, fixture: &Fixture, what: &str) {
        for id in fixture.names("images").iter().filter(|id| !self.images.contains(id)) {
            assert_eq!(fixture.grootfs.ok(&["delete", id]), format!("Image {id} deleted\n"));
        }
        // A process that writes layers to disk lives in the background, and is not what is looked at here.
        let settle = File::open(fixture.path("locks/groot-settle-lock.lock")).unwrap();
        settle.lock().unwrap();
        // One clean a moment after the kill, another one later.
        assert_eq!(fixture.grootfs.ok(&["clean"]), "clean completed\n");
        age(fixture);
        assert_eq!(fixture.grootfs.ok(&["clean"]), "clean completed\n");
        let found = self.tree.diff(&fixture.listing());
        assert!(found.0.is_empty(), "{what}: a clean has left in the store:\n{found}");
        let volumes = fixture.names("volumes");
        let is_strange = |name: &&String| {
            let key = name.strip_suffix(".lock").unwrap_or(name).to_owned();
            !LOCKS.contains(&key.as_str()) && !volumes.contains(&key)
        };
        let locks = fixture.names("locks");
        let strange: Vec<&String> = locks.iter().filter(is_strange).collect();
        assert!(strange.is_empty(), "{what}: locks of dead layers are left: {strange:?}");
        assert_eq!(fixture.mounts(), self.mounts, "{what}: mounts");
    }

    /// What a file system takes a moment to take away, or to give out again.
    #[track_caller]
    fn assert_nothing_stale(&self, fixture: &Fixture) {
        if fixture.is_overlay() {
            return;
        }
        let mount = fixture.mount_point();
        let btrfs =
            |arguments: &[&str]| run(Command::new("btrfs").args(arguments).arg(&mount)).success();
        // A commit wakes up who removes the content of destroyed subvolumes.
        btrfs(&["filesystem", "sync"]);
        btrfs(&["subvolume", "sync"]);
        fixture.grootfs.ok(&["clean"]);
        let subvolumes = btrfs(&["subvolume", "list"]).lines().count();
        let groups = btrfs(&["qgroup", "show"]);
        let groups = groups.lines().filter(|line| line.starts_with("0/")).count();
        let expected = self.images.len() + fixture.names("volumes").len();
        // The file system's own subvolume has a group and is in no list.
        assert_eq!((subvolumes, groups), (expected, expected + 1), "subvolumes, quota groups");
    }
}

/// Makes what killed processes left a minute older than it may become: `clean` leaves small files alone that
/// somebody may be about to rename.
fn age(fixture: &Fixture) {
    for directory in ["tmp", "l"] {
        let Ok(entries) = fs::read_dir(fixture.path(directory)) else { continue };
        entries.for_each(|entry| make_old(&entry.unwrap().path()));
    }
}

fn make_old(path: &Path) {
    let old = SystemTime::now() - Duration::from_secs(120);
    let since = old.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = Timespec { tv_sec: i64::try_from(since.as_secs()).unwrap(), tv_nsec: 0 };
    let times = Timestamps { last_access: at, last_modification: at };
    match rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW) {
        // A detached process may have renamed it.
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => panic!("{}: {errno}", path.display()),
    }
}
