//! What this layer wrote itself, as opposed to what the layers below left in the same tree.
//!
//! A deletion concerns the layers below only, wherever it stands among the entries. On btrfs the
//! number of an inode tells: they only grow, so everything above the number that was next when the
//! layer began is the layer's own, however many files it has. Hard links to older files, which no
//! builder makes, and older directories that it describes are remembered by name; so is everything on other file systems.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, Stat, fstat, fstatfs, openat};
use rustix::io::Errno;

use super::OnDisk;

/// Most names that are remembered: what a layer needs more for is no honest layer, and each takes
/// some 16 bytes.
const MOST_NAMES: usize = 4 << 20;

/// Knows what the layer wrote.
#[derive(Debug)]
pub struct Own {
    /// Inodes above this one are the layer's; `None` where numbers tell nothing.
    above: Option<u64>,
    /// Hashes of (inode of the directory, name). Hashes, so that memory stays small; keyed at
    /// random, so that nobody finds two names with the same one.
    names: HashSet<u64>,
    hashes: RandomState,
    /// Whether the layer has the tree for itself, so that nobody ever asks.
    alone: bool,
}

impl Own {
    /// Begins a layer.
    pub fn new(root: BorrowedFd<'_>, on_disk: OnDisk<'_>) -> Self {
        let alone = matches!(on_disk, OnDisk::Overlay { .. });
        let above = if alone { None } else { next_inode(root) };
        Self { above, names: HashSet::new(), hashes: RandomState::new(), alone }
    }

    /// Remembers that the layer made something new.
    pub fn made(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        if self.alone || self.above.is_some() { Ok(()) } else { self.remember(parent, name) }
    }

    /// Remembers that the layer gave a file one more name, or describes a directory that was there.
    pub fn claimed(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        file: &Stat,
    ) -> Result<(), Errno> {
        let is_new = self.above.is_some_and(|above| file.st_ino > above);
        if self.alone || is_new { Ok(()) } else { self.remember(parent, name) }
    }

    fn remember(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        if self.names.len() >= MOST_NAMES {
            return Err(Errno::NFILE);
        }
        self.names.insert(self.hashes.hash_one((fstat(parent)?.st_ino, name.as_bytes())));
        Ok(())
    }

    /// Whether the layer wrote what was found at a name.
    pub fn has(&self, parent_inode: u64, name: &[u8], found: &Stat) -> bool {
        self.above.is_some_and(|above| found.st_ino > above)
            || self.names.contains(&self.hashes.hash_one((parent_inode, name)))
    }
}

/// The number that btrfs gave to the last file before this layer's first.
fn next_inode(root: BorrowedFd<'_>) -> Option<u64> {
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
    let kind = fstatfs(root).ok()?.f_type as i64;
    if kind != groot_sys::fs::BTRFS_MAGIC {
        return None;
    }
    // A file without a name; it goes away when it is closed.
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(root, ".", flags, Mode::RUSR | Mode::WUSR).ok()?;
    Some(fstat(&file).ok()?.st_ino)
}
