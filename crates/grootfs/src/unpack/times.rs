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

/// Directories whose time has to be set.
#[derive(Debug, Default)]
pub struct Times(HashMap<EntryPath, Time>);

impl Times {
    /// An entry says which time a directory has.
    pub fn described(&mut self, path: &EntryPath, time: Time) {
        self.0.insert(path.clone(), time);
    }

    /// A directory is about to change: remembers the time that it has now.
    pub fn touched(&mut self, path: &EntryPath, found: &Stat) {
        if !self.0.contains_key(path) {
            let nanoseconds = u32::try_from(found.st_mtime_nsec).unwrap_or(0);
            let time = Time { seconds: found.st_mtime, nanoseconds };
            self.0.insert(path.clone(), time);
        }
    }

    /// Whether so many are remembered that they have to be set before more come.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }

    /// Takes all of them, neighbours beside each other.
    pub fn take(&mut self) -> Vec<(EntryPath, Time)> {
        let mut times: Vec<(EntryPath, Time)> = self.0.drain().collect();
        times.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        times
    }
}
