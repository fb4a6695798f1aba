//! Deletions in a tree that holds one layer, as overlay reads them.
//!
//! Overlay looks for marks of deletions only in directories that it merges. In one that hides those
//! of the layers below, a mark would be listed as a name that cannot be opened; so none is left.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, XattrFlags, fgetxattr, fsetxattr, unlinkat};
use rustix::io::Errno;

use super::super::path::EntryPath;
use super::super::whiteout::is_mark;
use super::Tree;

const OPAQUE: &std::ffi::CStr = c"trusted.overlay.opaque";

impl Tree<'_> {
    /// Lets a directory hide those of the layers below.
    pub fn hide_lower(&mut self, path: &EntryPath) -> Result<(), Errno> {
        self.remove_marks(path)?;
        let directory = self.open(path)?;
        set_opaque(directory.fd())
    }

    /// The same; but a directory that is there only because of deletions in it is removed, and
    /// `true` returned.
    pub fn hide_or_remove(&mut self, path: &EntryPath) -> Result<bool, Errno> {
        self.remove_marks(path)?;
        if self.remove_undescribed(path)? {
            return Ok(true);
        }
        let directory = self.open(path)?;
        set_opaque(directory.fd()).map(|()| false)
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

fn is_opaque(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    match fgetxattr(directory, OPAQUE, &mut [0_u8; 0][..]) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Lets a directory hide the directories of lower layers at the same path.
pub fn set_opaque(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    fsetxattr(directory.as_fd(), OPAQUE, b"y", XattrFlags::empty())
}
