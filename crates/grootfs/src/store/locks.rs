//! Locks between processes: `flock(2)` on files of the store, as in the original (contract 3.3).
//!
//! A lock belongs to an open file and goes with it, so a killed process leaves none behind.
//!
//! | who | key | mode | held |
//! |---|---|---|---|
//! | create | [`GLOBAL`] | shared | until the image and its dependency file are written |
//! | create, each missing layer | its chain id | exclusive | while the layer is pulled |
//! | clean | [`GLOBAL`] | exclusive | while unused volumes are found and renamed |
//! | delete-store | [`GLOBAL`] | exclusive | to the end |
//! | create, delete of one image | the directory `images/<id>` itself | exclusive | while it is made or moved |
//!
//! Rule against deadlocks: wait for a layer lock only while holding no other layer lock.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Error;
use super::layout::Layout;
use crate::error::PathError;
use crate::interrupt::Interrupt;

/// Key of the lock between those who use volumes and those who take them away.
pub const GLOBAL: &str = "global-groot-lock";

/// Pauses between two looks at a lock: short at first, never so long that a person notices.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Together with others.
    Shared,
    /// Alone.
    Exclusive,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Waits for a lock.
pub fn acquire(layout: &Layout, key: &str, mode: Mode) -> Result<Lock, Error> {
    let file = open(layout, key)?;
    let operation = match mode {
        Mode::Shared => FlockOperation::LockShared,
        Mode::Exclusive => FlockOperation::LockExclusive,
    };
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failure(layout, key, "flock", errno.into())),
        }
    }
}

/// Waits for a lock, but not longer than nobody asks to stop; then `None`.
pub fn acquire_unless(
    layout: &Layout,
    key: &str,
    mode: Mode,
    interrupt: &Interrupt,
) -> Result<Option<Lock>, Error> {
    let file = open(layout, key)?;
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    // flock(2) cannot wait for two things at once, so it is asked again and again.
    let mut pause = SHORTEST_PAUSE;
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(Some(Lock { _file: file })),
            Err(Errno::WOULDBLOCK) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(failure(layout, key, "flock", errno.into())),
        }
        if interrupt.wait(pause) {
            return Ok(None);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Takes a lock exclusively if nobody holds it; `None` otherwise. Never waits.
pub fn try_acquire(layout: &Layout, key: &str) -> Result<Option<Lock>, Error> {
    let file = open(layout, key)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failure(layout, key, "flock", errno.into())),
    }
}

fn open(layout: &Layout, key: &str) -> Result<File, Error> {
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(layout.lock(key))
        .map_err(|error| failure(layout, key, "open", error))?;
    give_to_owner(layout, &file).map_err(|error| failure(layout, key, "chown", error))?;
    Ok(file)
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
