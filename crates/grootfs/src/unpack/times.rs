//! Times of directories, which change with every child that comes or goes: they are set when the
//! layer has done with them, and never more than so many are remembered.
//!
//! A directory that no entry describes keeps the time that it had. That is also what makes it
//! possible to forget: what was set is read again when a later entry goes back there.

use std::collections::HashMap;

use rustix::fs::Stat;

use super::path::EntryPath;
use super::tar::Time;

/// Directories that are remembered at once; a path and a time take some hundred bytes.
const MOST: usize = 4096;

/// What is remembered of a directory.
#[derive(Debug, Clone, Copy)]
pub struct Remembered {
    /// Its time.
    pub time: Time,
    /// Its inode, where that is known: a link may lead to another directory by the same path.
    pub inode: Option<u64>,
}

/// Directories whose time has to be set.
#[derive(Debug, Default)]
pub struct Times(HashMap<EntryPath, Remembered>);

impl Times {
    /// An entry says which time a directory has.
    pub fn described(&mut self, path: &EntryPath, time: Time) {
        let inode = self.0.get(path).and_then(|found| found.inode);
        self.0.insert(path.clone(), Remembered { time, inode });
    }

    /// A directory is about to change: remembers the time that it has now.
    pub fn touched(&mut self, path: &EntryPath, found: &Stat) {
        if let Some(remembered) = self.0.get_mut(path) {
            remembered.inode = Some(found.st_ino);
            return;
        }
        let nanoseconds = u32::try_from(found.st_mtime_nsec).unwrap_or(0);
        let time = Time { seconds: found.st_mtime, nanoseconds };
        self.0.insert(path.clone(), Remembered { time, inode: Some(found.st_ino) });
    }

    /// A directory is removed, with all below it.
    pub fn forget(&mut self, path: &EntryPath) {
        self.0.retain(|other, _| !other.is_at_or_below(path));
    }

    /// Whether so many are remembered that they have to be set before more come.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    /// Takes all of them, neighbours beside each other.
    pub fn take(&mut self) -> Vec<(EntryPath, Remembered)> {
        let mut times: Vec<(EntryPath, Remembered)> = self.0.drain().collect();
        times.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        times
    }
}
