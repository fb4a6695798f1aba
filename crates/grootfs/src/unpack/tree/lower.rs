//! Deletions in a tree that holds the files of the layers below.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, fstat, unlinkat};
use rustix::io::Errno;

use super::super::path::EntryPath;
use super::Tree;

/// Most directories that are remembered as cleared; see [`Tree::clear_lower`].
const MOST_CLEARED: usize = 64 * 1024;

impl Tree<'_> {
    /// Removes what lower layers have at a name, and keeps what this layer wrote there.
    pub fn remove_lower(&mut self, directory: &EntryPath, name: &OsStr) -> Result<(), Errno> {
        let parent = match self.open_to_change(directory) {
            // A directory that no lower layer has: nothing to delete.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            other => other?,
        };
        let Some(found) = self.stat(&parent, name)? else { return Ok(()) };
        let inode = fstat(parent.fd())?.st_ino;
        let is_directory = FileType::from_raw_mode(found.st_mode).is_dir();
        if is_directory {
            self.clear_lower(&directory.join(name.as_bytes()))?;
        }
        if self.own.has(inode, name.as_bytes(), &found) {
            return Ok(());
        }
        self.open.clear();
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(parent.fd(), name, flags) {
            // This layer wrote something into it.
            Err(Errno::NOTEMPTY) => Ok(()),
            Ok(()) if is_directory => {
                self.times.forget(&directory.join(name.as_bytes()));
                Ok(())
            }
            other => other,
        }
    }

    /// Removes what lower layers have in a directory, and keeps what this layer wrote.
    pub fn clear_lower(&mut self, path: &EntryPath) -> Result<(), Errno> {
        let mut directories: Vec<EntryPath> = vec![path.clone()];
        // Those that the layers below have: removed at the end, if nothing is left in them.
        let mut lower: Vec<EntryPath> = Vec::new();
        // By paths and not by open directories, so that no depth uses up our descriptors.
        while let Some(path) = directories.pop() {
            let directory = match self.open_to_change(&path) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                other => other?,
            };
            let inode = fstat(directory.fd())?.st_ino;
            if self.cleared.contains(&inode) {
                continue;
            }
            if self.cleared.len() < MOST_CLEARED {
                self.cleared.insert(inode);
            }
            let names = groot_sys::fs::names(directory.fd()).map_err(|error| error.errno())?;
            for name in names {
                let name = name.to_bytes();
                let os = OsStr::from_bytes(name);
                let Some(found) = self.stat(&directory, os)? else { continue };
                let own = self.own.has(inode, name, &found);
                if FileType::from_raw_mode(found.st_mode).is_dir() {
                    directories.push(path.join(name));
                    if !own {
                        lower.push(path.join(name));
                    }
                } else if !own {
                    unlinkat(directory.fd(), os, AtFlags::empty())?;
                }
            }
        }
        self.open.clear();
        // Parents were found before their children.
        for path in lower.into_iter().rev() {
            let (parent, name) = path.split();
            match unlinkat(self.open_to_change(&parent)?.fd(), name, AtFlags::REMOVEDIR) {
                Ok(()) => {
                    self.open.retain(|open| open.path != path);
                    self.times.forget(&path);
                }
                Err(Errno::NOTEMPTY) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
