//! Deletions in a tree that holds one layer, as overlay reads them.
//!
//! Overlay looks for marks of deletions only in directories that it merges. In one that hides those
//! of the layers below, a mark would be listed as a name that cannot be opened; so none is left.
//!
//! That a directory is opaque says `trusted.overlay.opaque`, which only root of the machine may write and
//! read. An overlay that is mounted in a user namespace (`userxattr`) reads `user.overlay.opaque` instead.
//! The layers of a store with id mappings have both.

use std::ffi::{CStr, OsStr};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, XattrFlags, fgetxattr, fsetxattr, unlinkat};
use rustix::io::Errno;

use super::super::path::EntryPath;
use super::super::whiteout::is_mark;
use super::Tree;

/// What overlay reads.
const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// What overlay reads where a user mounted it.
const USER_OPAQUE: &CStr = c"user.overlay.opaque";

/// Most opaque directories that are remembered: far more than images have, and their paths fit into memory.
const MOST_OPAQUE: usize = 64 * 1024;

impl Tree<'_> {
    /// Lets a directory hide those of the layers below.
    pub fn hide_lower(&mut self, path: &EntryPath) -> Result<(), Errno> {
        self.remove_marks(path)?;
        let directory = self.open(path)?;
        self.set_opaque(directory.fd(), path)
    }

    /// The same; but a directory that is there only because of deletions in it is removed, and
    /// `true` returned.
    pub fn hide_or_remove(&mut self, path: &EntryPath) -> Result<bool, Errno> {
        self.remove_marks(path)?;
        if self.remove_undescribed(path)? {
            return Ok(true);
        }
        let directory = self.open(path)?;
        self.set_opaque(directory.fd(), path).map(|()| false)
    }

    /// Lets a directory hide the directories of lower layers at the same path.
    pub fn set_opaque(&mut self, directory: BorrowedFd<'_>, path: &EntryPath) -> Result<(), Errno> {
        let refused = match fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty()) {
            Ok(()) => false,
            Err(Errno::PERM) => true,
            Err(errno) => return Err(errno),
        };
        if !refused && !self.maps_ids {
            return Ok(());
        }
        fsetxattr(directory, USER_OPAQUE, b"y", XattrFlags::empty())?;
        self.opaque.for_users = true;
        if refused {
            if self.opaque.unmarked.len() >= MOST_OPAQUE {
                return Err(Errno::NFILE);
            }
            self.opaque.unmarked.insert(path.clone());
        }
        Ok(())
    }

    /// Whether a directory, or one that it lies in, hides those of the layers below.
    pub fn is_hidden(&mut self, path: &EntryPath) -> Result<bool, Errno> {
        let mut at = path.clone();
        loop {
            if is_opaque(self.open(&at)?.fd())? {
                return Ok(true);
            }
            if at.is_root() {
                return Ok(false);
            }
            at = at.split().0;
        }
    }

    /// Removes the marks below a directory, and directories that only held marks. Does not look
    /// into those that are opaque already: there are none.
    fn remove_marks(&mut self, path: &EntryPath) -> Result<(), Errno> {
        let mut directories = vec![path.clone()];
        let mut below = Vec::new();
        while let Some(path) = directories.pop() {
            let directory = self.open_to_change(&path)?;
            if is_opaque(directory.fd())? {
                continue;
            }
            for name in groot_sys::fs::names(directory.fd()).map_err(|error| error.errno())? {
                let os = OsStr::from_bytes(name.to_bytes());
                let Some(found) = self.stat(&directory, os)? else { continue };
                if is_mark(&found) {
                    unlinkat(directory.fd(), os, AtFlags::empty())?;
                } else if FileType::from_raw_mode(found.st_mode).is_dir() {
                    let path = path.join(name.to_bytes());
                    directories.push(path.clone());
                    below.push(path);
                }
            }
        }
        // Parents were found before their children.
        for path in below.iter().rev() {
            self.remove_undescribed(path)?;
        }
        Ok(())
    }

    /// Removes a directory if it is empty and no entry describes it.
    fn remove_undescribed(&mut self, path: &EntryPath) -> Result<bool, Errno> {
        if !self.undescribed.contains(path) {
            return Ok(false);
        }
        let (parent, name) = path.split();
        match unlinkat(self.open_to_change(&parent)?.fd(), name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.open.retain(|open| open.path != *path);
                self.undescribed.remove(path);
                self.times.forget(path);
                Ok(true)
            }
            Err(Errno::NOTEMPTY) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// Whether a directory hides those of the layers below.
pub fn is_opaque(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    for name in [OPAQUE, USER_OPAQUE] {
        match fgetxattr(directory, name, &mut [0_u8; 0][..]) {
            Ok(_) => return Ok(true),
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}
