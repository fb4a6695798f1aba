//! Locks between processes: `flock(2)` on files of the store, as in the original (contract 3.3).
//!
//! A lock belongs to an open file and goes with it, so a killed process leaves none behind.
//!
//! | who | key | mode | held |
//! |---|---|---|---|
//! | create, pull | [`GLOBAL`] | shared | while it looks which layers are there, and again until the image and its dependency file are written; not while layers come in (see [`super::intents`]) |
//! | create, each missing layer | its chain id | exclusive | while the layer is pulled |
//! | clean | `groot-gc-lock` | exclusive | to the end: one clean at a time |
//! | clean | [`GLOBAL`] | exclusive | while unused volumes are found and renamed, a slice at a time |
//! | delete-store | [`GLOBAL`] | exclusive | to the end |
//! | limit | [`GLOBAL`] | shared | to the end |
//! | settle | [`SETTLE`] | exclusive | to the end: one sync at a time |
//! | settle | [`GLOBAL`] | shared | while it takes the mark from a layer, one at a time |
//! | create, delete, limit of one image | the directory `images/<id>` itself | exclusive | while it is made, moved or changed |
//!
//! Rule against deadlocks: wait for a layer lock only while holding no other lock.
//!
//! `flock` is not fair: under a stream of shared holders nobody gets the global lock exclusively.
//! So everybody passes through a gate in front of it, and who wants it alone closes the gate, but
//! never for longer than [`GATE_CLOSED`] at a time.
//!
//! A disk may be too full for the file of a lock, and then a clean is needed most. The store of the original has
//! the file of [`GLOBAL`] only; for the two others that a clean takes, a directory of the store stands in
//! ([`stand_in`]).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Error;
use super::layout::Layout;
use crate::error::{PathError, is_no_room};
use crate::interrupt::Interrupt;

/// Key of the lock between those who use volumes and those who take them away.
pub const GLOBAL: &str = "global-groot-lock";

/// Key of the lock between cleans; the name is that of the later releases (contract B5).
pub const CLEAN: &str = "groot-gc-lock";

/// Key of the lock between processes that write layers to disk.
pub const SETTLE: &str = "groot-settle-lock";

/// Key of the gate in front of [`GLOBAL`].
const GATE: &str = "global-groot-gate";

/// How long the gate is closed at most, and how long it is open until it is closed again: creates wait
/// no longer than the first.
const GATE_CLOSED: Duration = Duration::from_millis(40);
const GATE_OPEN: Duration = Duration::from_millis(80);

/// Pauses between two looks at a lock: short at first, never so long that a person notices.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Together with others.
    Shared,
    /// Alone.
    Exclusive,
}

/// How long somebody waits for a lock.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Longest time.
    pub limit: Duration,
    /// What ends it early.
    pub interrupt: Interrupt,
}

impl Patience {
    /// For a lock that nobody holds for long: a minute, after which something is wrong.
    pub fn short(interrupt: &Interrupt) -> Self {
        Self::of(Duration::from_secs(60), interrupt)
    }

    /// A time of one's own.
    pub fn of(limit: Duration, interrupt: &Interrupt) -> Self {
        Self { limit, interrupt: interrupt.clone() }
    }

    /// The error when it ends: names the lock as `key`, and who holds what is at `path`.
    fn ended(&self, key: &str, path: &Path) -> Error {
        Error::LockTimeout { key: key.to_owned(), after: self.limit, holder: holder(path) }
    }
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the global lock together with others.
pub fn global_shared(layout: &Layout, patience: &Patience) -> Result<Lock, Error> {
    let _gate = acquire(layout, GATE, Mode::Shared, patience).map_err(|e| of_global(layout, e))?;
    acquire(layout, GLOBAL, Mode::Shared, patience)
}

/// Takes the global lock alone.
pub fn global_exclusive(layout: &Layout, patience: &Patience) -> Result<Lock, Error> {
    let until = Instant::now() + patience.limit;
    loop {
        let gate = acquire(layout, GATE, Mode::Exclusive, patience)
            .map_err(|error| of_global(layout, error))?;
        let closed = Patience::of(GATE_CLOSED, &patience.interrupt);
        match acquire(layout, GLOBAL, Mode::Exclusive, &closed) {
            Err(Error::LockTimeout { key, holder, .. }) if Instant::now() >= until => {
                return Err(Error::LockTimeout { key, after: patience.limit, holder });
            }
            Err(Error::LockTimeout { .. }) => {}
            other => return other,
        }
        drop(gate);
        if patience.interrupt.wait(GATE_OPEN) {
            return Err(Error::Interrupted);
        }
    }
}

/// An error at the gate is one of the lock behind it, whose texts people know.
fn of_global(layout: &Layout, error: Error) -> Error {
    match error {
        Error::Lock { source: PathError { operation, error, .. }, .. } => {
            failure(layout, GLOBAL, operation, error)
        }
        Error::LockTimeout { after, holder, .. } => {
            Error::LockTimeout { key: GLOBAL.to_owned(), after, holder }
        }
        other => other,
    }
}

/// Waits for a lock, for some time.
pub fn acquire(layout: &Layout, key: &str, mode: Mode, patience: &Patience) -> Result<Lock, Error> {
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    let mut waiting = Waiting::new(patience);
    loop {
        let place = open(layout, key)?;
        if let Some(lock) = try_lock(layout, key, place, operation)? {
            return Ok(lock);
        }
        waiting.pause(key, &layout.lock(key))?;
    }
}

/// Waits for the lock of a layer, which is held as long as a download takes. A thread waits in the kernel, so that
/// the lock is had as soon as it is free: many may wait for one layer, and looks take the time of who builds it.
pub fn acquire_layer(layout: &Layout, key: &str, patience: &Patience) -> Result<Lock, Error> {
    let operation = FlockOperation::NonBlockingLockExclusive;
    let since = Instant::now();
    loop {
        if let Some(lock) = try_lock(layout, key, open(layout, key)?, operation)? {
            return Ok(lock);
        }
        let left = patience.limit.saturating_sub(since.elapsed());
        match wait_in_thread(open(layout, key)?, left, &patience.interrupt) {
            Waited::Locked(place) => {
                // Otherwise its file was taken away meanwhile.
                if let Some(lock) = try_lock(layout, key, place, operation)? {
                    return Ok(lock);
                }
            }
            Waited::Failed(errno) => return Err(failure(layout, key, "flock", errno.into())),
            Waited::Stopped => return Err(Error::Interrupted),
            Waited::TooLong => return Err(patience.ended(key, &layout.lock(key))),
            Waited::NoThread => return acquire(layout, key, Mode::Exclusive, patience),
        }
    }
}

/// How waiting in the kernel ended.
enum Waited {
    Locked(Place),
    Failed(Errno),
    Stopped,
    TooLong,
    NoThread,
}

/// The thread is not to be stopped: it ends with the process, or lets go of the lock when it has it.
fn wait_in_thread(place: Place, limit: Duration, interrupt: &Interrupt) -> Waited {
    let (sender, ended) = mpsc::channel();
    let stop = sender.clone();
    let waiting = move || {
        let locked = loop {
            match flock(&place.file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        let waited = locked.map_or_else(Waited::Failed, |()| Waited::Locked(place));
        // Nobody may be there any more.
        drop(sender.send(waited));
    };
    if Builder::new().spawn(waiting).is_err() {
        return Waited::NoThread;
    }
    interrupt.on_stop(move || drop(stop.send(Waited::Stopped)));
    ended.recv_timeout(limit).unwrap_or(Waited::TooLong)
}

/// Somebody who waits for a lock. flock(2) cannot wait for two things at once, so it is asked again and again.
pub(super) struct Waiting<'a> {
    patience: &'a Patience,
    since: Option<Instant>,
}

impl<'a> Waiting<'a> {
    /// Has not waited yet.
    pub fn new(patience: &'a Patience) -> Self {
        Self { patience, since: None }
    }

    /// Waits a moment; an error when that has been long enough, which names the lock as `key` and who holds it.
    pub fn pause(&mut self, key: &str, path: &Path) -> Result<(), Error> {
        let Patience { limit, ref interrupt } = *self.patience;
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        if waited >= limit {
            return Err(self.patience.ended(key, path));
        }
        // A thirty-second of what it has waited already is what anybody waits too long: some 130 looks of 20 us in
        // the first second.
        let pause = (waited / 32).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        if interrupt.wait(pause) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Takes a lock exclusively if nobody holds it; `None` otherwise. Never waits.
pub fn try_acquire(layout: &Layout, key: &str) -> Result<Option<Lock>, Error> {
    loop {
        let place = open(layout, key)?;
        match try_lock(layout, key, place, FlockOperation::NonBlockingLockExclusive) {
            // Taken, or taken away under us; the second is told from the first by looking again.
            Ok(None) if !is_held(layout, key)? => {}
            other => return other,
        }
    }
}

/// Whether a key is not that of a layer.
pub fn is_of_store(key: &str) -> bool {
    [GLOBAL, GATE, CLEAN, SETTLE].contains(&key)
}

/// Removes the file of a lock that nobody holds and nobody will want soon.
pub fn forget(layout: &Layout, key: &str) -> Result<(), Error> {
    // Whoever opened the file before finds out, when he has it, that it is gone.
    let Some(_lock) = try_acquire(layout, key)? else { return Ok(()) };
    match std::fs::remove_file(layout.lock(key)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failure(layout, key, "unlink", error))
        }
        _ => Ok(()),
    }
}

/// Whether somebody holds a lock at this moment.
pub fn is_held(layout: &Layout, key: &str) -> Result<bool, Error> {
    let file = match File::open(layout.lock(key)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(|error| failure(layout, key, "open", error))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(failure(layout, key, "flock", errno.into())),
    }
}

/// What a lock is taken on.
struct Place {
    path: PathBuf,
    file: File,
}

/// What stands in for the file of a lock for which there is no room. While it does, another process may find room
/// for the file, and both hold the lock: two cleans at the same time get in each other's way, and no more.
fn stand_in(layout: &Layout, key: &str) -> Option<PathBuf> {
    match key {
        GATE => Some(layout.locks()),
        CLEAN => Some(layout.tmp()),
        _ => None,
    }
}

/// Takes the lock if it is free, and if its file is still the one that others will open.
fn try_lock(
    layout: &Layout,
    key: &str,
    Place { path, file }: Place,
    operation: FlockOperation,
) -> Result<Option<Lock>, Error> {
    loop {
        match flock(&file, operation) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failure(layout, key, "flock", errno.into())),
        }
    }
    let opened = file.metadata().map_err(|error| failure(layout, key, "fstat", error))?;
    let same = std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.ino() == opened.ino() && found.dev() == opened.dev());
    Ok(same.then_some(Lock { _file: file }))
}

fn open(layout: &Layout, key: &str) -> Result<Place, Error> {
    let path = layout.lock(key);
    let opened =
        OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path);
    let error = match opened {
        Ok(file) => {
            give_to_owner(layout, &file).map_err(|error| failure(layout, key, "chown", error))?;
            return Ok(Place { path, file });
        }
        Err(error) => error,
    };
    if is_no_room(&error)
        && let Some(path) = stand_in(layout, key)
        && let Ok(file) = File::open(&path)
    {
        return Ok(Place { path, file });
    }
    Err(failure(layout, key, "open", error))
}

/// What root makes in the store of a user, the user must be able to lock too.
fn give_to_owner(layout: &Layout, file: &File) -> io::Result<()> {
    if !crate::userns::is_root() {
        return Ok(());
    }
    let (directory, found) = (std::fs::metadata(layout.locks())?, file.metadata()?);
    let (uid, gid) = (directory.uid(), directory.gid());
    if (found.uid(), found.gid()) == (uid, gid) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(uid), Some(gid))
}

fn failure(layout: &Layout, key: &str, operation: &'static str, error: io::Error) -> Error {
    let source = PathError { operation, path: layout.lock(key), error };
    Error::Lock { key: key.to_owned(), source }
}

/// The process that holds the lock of a file or directory, where `/proc/locks` tells.
fn holder(path: &Path) -> Option<u32> {
    let file = std::fs::metadata(path).ok()?;
    holder_in(&std::fs::read_to_string("/proc/locks").ok()?, file.dev(), file.ino())
}

/// Finds it in a table with lines like `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`.
fn holder_in(table: &str, device: u64, inode: u64) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [_, "FLOCK", _, _, pid, found, ..] if *found == place => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(directory: &tempfile::TempDir) -> Layout {
        let layout = Layout::new(directory.path().to_owned());
        std::fs::create_dir(layout.locks()).unwrap();
        layout
    }

    fn patience(milliseconds: u64) -> Patience {
        Patience::of(Duration::from_millis(milliseconds), &Interrupt::default())
    }

    #[test]
    fn waiting_ends_and_names_the_holder() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(&directory);
        let held = acquire(&layout, "a/b", Mode::Exclusive, &patience(0)).unwrap();
        assert!(is_held(&layout, "a/b").unwrap());
        assert!(try_acquire(&layout, "a/b").unwrap().is_none());
        let error = acquire(&layout, "a/b", Mode::Shared, &patience(5)).unwrap_err().to_string();
        assert!(
            error.starts_with("timed out waiting for the 'a/b' file lock after '5ms'"),
            "{error}"
        );
        drop(held);
        assert!(!is_held(&layout, "a/b").unwrap());
        assert!(try_acquire(&layout, "a/b").unwrap().is_some());
    }

    #[test]
    fn the_lock_of_a_layer_is_had_when_it_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(&directory);
        let held = acquire_layer(&layout, "a", &patience(0)).unwrap();
        let error = acquire_layer(&layout, "a", &patience(5)).unwrap_err().to_string();
        assert!(
            error.starts_with("timed out waiting for the 'a' file lock after '5ms'"),
            "{error}"
        );
        let stopped = patience(60_000);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| acquire_layer(&layout, "a", &patience(60_000)));
            let interrupted = scope.spawn(|| acquire_layer(&layout, "a", &stopped));
            stopped.interrupt.stop();
            assert!(matches!(interrupted.join().unwrap(), Err(Error::Interrupted)));
            assert!(!waiting.is_finished());
            // Who comes next finds the file that others will open.
            std::fs::rename(layout.lock("a"), layout.lock("b")).unwrap();
            drop(held);
            let lock = waiting.join().unwrap().unwrap();
            assert!(try_acquire(&layout, "a").unwrap().is_none());
            drop(lock);
        });
    }

    #[test]
    fn a_lock_whose_file_is_gone_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(&directory);
        let opened_before = open(&layout, "x").unwrap();
        forget(&layout, "x").unwrap();
        assert!(!layout.lock("x").exists());
        let operation = FlockOperation::NonBlockingLockExclusive;
        assert!(try_lock(&layout, "x", opened_before, operation).unwrap().is_none());
        let held = try_acquire(&layout, "x").unwrap();
        forget(&layout, "x").unwrap();
        assert!(layout.lock("x").exists() && held.is_some());
    }

    #[test]
    fn directories_stand_in_for_files() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(&directory);
        std::fs::create_dir(layout.tmp()).unwrap();
        let lock = |key| {
            let path = stand_in(&layout, key).unwrap();
            let place = Place { file: File::open(&path).unwrap(), path };
            try_lock(&layout, key, place, FlockOperation::NonBlockingLockExclusive).unwrap()
        };
        let held = lock(CLEAN);
        assert!(held.is_some() && lock(CLEAN).is_none());
        // One process holds both.
        assert!(lock(GATE).is_some());
        drop(held);
        assert!(lock(CLEAN).is_some());
        // Without the original's own file it would be kept out of nothing.
        assert_eq!(stand_in(&layout, GLOBAL), None);
    }

    #[test]
    fn alone_among_many() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(&directory);
        let stop = Interrupt::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (layout, stop) = (&layout, &stop);
                scope.spawn(move || {
                    // Always three of four hold it.
                    while !stop.is_stopped() {
                        let lock = global_shared(layout, &patience(5000)).unwrap();
                        std::thread::sleep(Duration::from_millis(4));
                        drop(lock);
                    }
                });
            }
            for _ in 0..20 {
                drop(global_exclusive(&layout, &patience(5000)).unwrap());
            }
            stop.stop();
        });
    }

    #[test]
    fn holders_are_found() {
        let table = "1: FLOCK  ADVISORY  WRITE 77 08:01:5678 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 78 08:01:5678 0 EOF\n\
                     2: POSIX  ADVISORY  READ 79 08:01:5679 0 EOF\n";
        let device = rustix::fs::makedev(8, 1);
        assert_eq!(holder_in(table, device, 5678), Some(77));
        assert_eq!(holder_in(table, device, 5679), None);
        assert_eq!(holder_in("garbage", device, 1), None);
    }
}
