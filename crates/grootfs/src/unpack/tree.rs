//! The directory tree that a layer is written into.
//!
//! Every path is resolved by the kernel inside the layer's root (`openat2(2)`, `RESOLVE_IN_ROOT`):
//! links, `..` and absolute targets stay inside, as in a chroot. The last component is never
//! followed: what is there is replaced.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, XattrFlags, fchown, fsetxattr,
    fstat, mkdirat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use super::path::EntryPath;
use super::{Error, OnDisk, Target};
use crate::idmap::Owner;

/// How often a resolution is tried again that a rename elsewhere on the system has disturbed.
const TRIES: u32 = 128;

/// An open directory of the tree.
#[derive(Debug, Clone)]
pub struct Directory {
    fd: Rc<OwnedFd>,
    inode: u64,
}

impl Directory {
    /// For `*at` calls.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The tree, and what this layer has written to it.
#[derive(Debug)]
pub struct Tree<'a> {
    root: BorrowedFd<'a>,
    on_disk: OnDisk<'a>,
    /// Who owns directories that no entry describes.
    owner: Owner,
    /// The directory of the last entry: neighbours in an archive are neighbours in the tree.
    last: Option<(EntryPath, Directory)>,
    /// Hashes of (inode of the directory, name) of what this layer wrote, where lower layers are in the
    /// same tree. Hashes, so that memory stays small; keyed at random, so that nobody finds two
    /// names with the same one.
    written: Option<HashSet<u64>>,
    hashes: RandomState,
}

impl<'a> Tree<'a> {
    /// The tree of a target.
    pub fn new(target: &Target<'a>) -> Self {
        let root_id = |found: Option<u32>| found.unwrap_or(0);
        Self {
            root: target.root,
            on_disk: target.on_disk,
            owner: Owner {
                uid: root_id(target.mappings.host_uid(0)),
                gid: root_id(target.mappings.host_gid(0)),
            },
            last: None,
            written: matches!(target.on_disk, OnDisk::Plain).then(HashSet::new),
            hashes: RandomState::new(),
        }
    }

    /// How deletions are written.
    pub fn on_disk(&self) -> OnDisk<'a> {
        self.on_disk
    }

    /// Opens an existing directory.
    pub fn open(&self, path: &EntryPath) -> Result<Directory, Errno> {
        let fd = open_in_root(self.root, path.as_path())?;
        let inode = fstat(&fd)?.st_ino;
        Ok(Directory { fd: Rc::new(fd), inode })
    }

    /// Opens a directory; makes it and its parents where they are missing.
    pub fn open_or_make(&mut self, path: &EntryPath) -> Result<Directory, Error> {
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return Ok(directory.clone());
        }
        let directory = match self.open(path) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.make_parents(path)?,
            Err(errno) => return Err(Error::entry("creating directory", path, errno)),
        };
        self.last = Some((path.clone(), directory.clone()));
        Ok(directory)
    }

    /// Walks down and makes what is missing (contract D2.22): 0755, owned by the mapped root.
    fn make_parents(&mut self, path: &EntryPath) -> Result<Directory, Error> {
        let mut at = EntryPath::default();
        let failed = |at: &EntryPath, errno| Error::entry("creating directory", at, errno);
        let mut directory = self.open(&at).map_err(|errno| failed(&at, errno))?;
        for name in path.components() {
            let next = at.join(name);
            directory = match self.open(&next) {
                Ok(directory) => directory,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self
                    .make_directory(&directory, OsStr::from_bytes(name))
                    .and_then(|()| self.open(&next))
                    .map_err(|errno| failed(&next, errno))?,
                Err(errno) => return Err(failed(&next, errno)),
            };
            at = next;
        }
        Ok(directory)
    }

    /// Makes a directory in place of whatever is there and no directory.
    pub fn make_directory(&mut self, parent: &Directory, name: &OsStr) -> Result<(), Errno> {
        // Its files stay visible through a new directory unless that is opaque.
        let mut opaque = false;
        if let Some(found) = self.stat(parent, name)? {
            if FileType::from_raw_mode(found.st_mode).is_dir() {
                return Ok(());
            }
            opaque = is_whiteout(&found) && matches!(self.on_disk, OnDisk::Overlay { .. });
            self.remove(parent, name)?;
        }
        mkdirat(parent.fd(), name, Mode::from_raw_mode(0o755))?;
        let made = open_beneath(parent.fd(), name)?;
        fchown(&made, Some(Uid::from_raw(self.owner.uid)), Some(Gid::from_raw(self.owner.gid)))?;
        // The umask may have taken bits away.
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
        if opaque {
            set_opaque(made.as_fd())?;
        }
        self.wrote(parent, name);
        Ok(())
    }

    /// What is at a name, which is not followed.
    pub fn stat(&self, parent: &Directory, name: &OsStr) -> Result<Option<Stat>, Errno> {
        match statat(parent.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Removes what is at a name, with everything below it.
    pub fn remove(&mut self, parent: &Directory, name: &OsStr) -> Result<(), Errno> {
        self.last = None;
        groot_sys::fs::remove_tree(parent.fd(), name).map_err(|error| error.errno())
    }

    /// Runs something that makes a file; where the name is taken, clears it and runs it again.
    pub fn replace<T>(
        &mut self,
        parent: &Directory,
        name: &OsStr,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let made = match make() {
            Err(Errno::EXIST) => {
                self.remove(parent, name)?;
                make()?
            }
            other => other?,
        };
        self.wrote(parent, name);
        Ok(made)
    }

    /// Remembers that this layer wrote something.
    pub fn wrote(&mut self, parent: &Directory, name: &OsStr) {
        let hash = self.hashes.hash_one((parent.inode, name.as_bytes()));
        if let Some(written) = &mut self.written {
            written.insert(hash);
        }
    }

    fn has_written(&self, inode: u64, name: &[u8]) -> bool {
        let hash = self.hashes.hash_one((inode, name));
        self.written.as_ref().is_some_and(|written| written.contains(&hash))
    }

    /// Removes what lower layers have at a name, and keeps what this layer wrote there.
    pub fn remove_lower(&mut self, directory: &EntryPath, name: &OsStr) -> Result<(), Errno> {
        let parent = match self.open(directory) {
            // A directory that no lower layer has: nothing to delete.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other?,
        };
        let Some(found) = self.stat(&parent, name)? else { return Ok(()) };
        let written = self.has_written(parent.inode, name.as_bytes());
        if FileType::from_raw_mode(found.st_mode).is_dir() {
            self.clear_lower(&directory.join(name.as_bytes()))?;
        }
        if written {
            return Ok(());
        }
        self.last = None;
        let is_directory = FileType::from_raw_mode(found.st_mode).is_dir();
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(parent.fd(), name, flags) {
            // This layer wrote something into it.
            Err(Errno::NOTEMPTY) => Ok(()),
            other => other,
        }
    }

    /// Removes what lower layers have in a directory, and keeps what this layer wrote.
    pub fn clear_lower(&mut self, path: &EntryPath) -> Result<(), Errno> {
        self.last = None;
        let mut directories: Vec<(EntryPath, u64)> = vec![(path.clone(), 0)];
        // By paths and not by open directories, so that no depth uses up our descriptors.
        let mut next = 0;
        while let Some((path, _)) = directories.get(next).cloned() {
            next += 1;
            let directory = match self.open(&path) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                other => other?,
            };
            let names = groot_sys::fs::names(directory.fd()).map_err(|error| error.errno())?;
            for name in names {
                let name = name.to_bytes();
                let os = OsStr::from_bytes(name);
                let Some(found) = self.stat(&directory, os)? else { continue };
                if FileType::from_raw_mode(found.st_mode).is_dir() {
                    directories.push((path.join(name), directory.inode));
                } else if !self.has_written(directory.inode, name) {
                    unlinkat(directory.fd(), os, AtFlags::empty())?;
                }
            }
        }
        for (path, parent_inode) in directories.into_iter().skip(1).rev() {
            let (parent, name) = path.split();
            if self.has_written(parent_inode, name.as_bytes()) {
                continue;
            }
            match unlinkat(self.open(&parent)?.fd(), name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOTEMPTY) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// Whether this is what overlay takes for a deletion.
pub fn is_whiteout(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode).is_char_device() && found.st_rdev == 0
}

/// Lets a directory hide the directories of lower layers at the same path.
pub fn set_opaque(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    fsetxattr(directory, c"trusted.overlay.opaque", b"y", XattrFlags::empty())
}

fn open_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let mut tries = 0;
    loop {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
            other => return other,
        }
    }
}

/// Opens a directory by one name that is no link.
pub fn open_beneath(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(parent, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_XDEV)
}
