//! The directory tree that a layer is written into.
//!
//! Every path is resolved inside the layer's root ([`groot_sys::resolve`]): links, `..` and absolute
//! targets stay inside, as in a chroot. The last component is never followed: what is there is
//! replaced.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use groot_sys::resolve;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Uid, fchmod, fchown, fgetxattr, fstat, mkdirat, statat,
};
use rustix::io::Errno;

use super::own::Own;
use super::path::EntryPath;
use super::tar::Time;
use super::times::Times;
use super::{Error, OnDisk, Opaque, Target, attributes};
use crate::idmap::Owner;

mod lower;
mod overlay;

pub use overlay::is_opaque;

/// Directories that are kept open: neighbours in an archive are neighbours in the tree.
const MOST_OPEN: usize = 32;

/// Most directories that are remembered as made without an entry; see [`Tree::undescribed`].
const MOST_UNDESCRIBED: usize = 64 * 1024;

/// An open directory of the tree.
#[derive(Debug, Clone)]
pub struct Directory {
    fd: Rc<OwnedFd>,
    /// Whether new files get its group and mode, and not what they are made with.
    inherits: bool,
}

impl Directory {
    /// For `*at` calls.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether what is made in it may have another group or mode than it was made with: because of a
    /// set-gid bit, or a default ACL.
    pub fn inherits(&self) -> bool {
        self.inherits
    }
}

#[derive(Debug)]
struct Open {
    path: EntryPath,
    directory: Directory,
    /// Whether its time is remembered.
    touched: bool,
}

/// The tree, and what this layer has written to it.
#[derive(Debug)]
pub struct Tree<'a> {
    root: BorrowedFd<'a>,
    on_disk: OnDisk<'a>,
    /// Who owns directories that no entry describes.
    owner: Owner,
    /// The last one was used last.
    open: Vec<Open>,
    /// What the layer wrote.
    pub own: Own,
    times: Times,
    /// Directories that were made because something lies in them.
    undescribed: HashSet<EntryPath>,
    /// Whether the store maps ids, so that its layers are for users too.
    maps_ids: bool,
    /// Directories that hide those of the layers below.
    pub opaque: Opaque,
    /// Inodes of directories in which nothing of the layers below is left: a layer may ask for
    /// that as often as it likes, and have as many files of its own there.
    cleared: HashSet<u64>,
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
            open: Vec::with_capacity(MOST_OPEN),
            own: Own::new(target.root, target.on_disk),
            times: Times::default(),
            undescribed: HashSet::new(),
            maps_ids: !target.mappings.is_empty(),
            opaque: Opaque::default(),
            cleared: HashSet::new(),
        }
    }

    /// How deletions are written.
    pub fn on_disk(&self) -> OnDisk<'a> {
        self.on_disk
    }

    /// Opens an existing directory.
    pub fn open(&mut self, path: &EntryPath) -> Result<Directory, Errno> {
        if let Some(position) = self.open.iter().rposition(|open| open.path == *path) {
            let found = self.open.remove(position);
            let directory = found.directory.clone();
            self.open.push(found);
            return Ok(directory);
        }
        let directory = Directory { fd: Rc::new(self.resolve(path)?), inherits: true };
        if self.open.len() >= MOST_OPEN {
            self.open.remove(0);
        }
        self.open.push(Open { path: path.clone(), directory: directory.clone(), touched: false });
        Ok(directory)
    }

    fn resolve(&self, path: &EntryPath) -> Result<OwnedFd, Errno> {
        let (parent, name) = path.split();
        let from = self.open.iter().rfind(|open| open.path == parent && !path.is_root());
        if let Some(from) = from {
            match resolve::directory_beneath(from.directory.fd(), name) {
                // A link leads somewhere else in the tree.
                Err(error) if matches!(error.errno(), Errno::NOTDIR | Errno::LOOP) => {}
                other => return other.map_err(|error| error.errno()),
            }
        }
        resolve::directory_in_root(self.root, path.as_path()).map_err(|error| error.errno())
    }

    /// Opens a directory in order to change what is in it.
    pub fn open_to_change(&mut self, path: &EntryPath) -> Result<Directory, Errno> {
        let mut directory = self.open(path)?;
        if let Some(open) = self.open.last_mut()
            && !open.touched
        {
            let found = fstat(directory.fd())?;
            self.times.touched(path, &found);
            let sets_group = Mode::from_raw_mode(found.st_mode).contains(Mode::SGID);
            open.directory.inherits = sets_group || has_default_acl(directory.fd())?;
            open.touched = true;
            directory = open.directory.clone();
        }
        if self.times.is_full() {
            self.set_times()?;
        }
        Ok(directory)
    }

    /// The same; makes the directory and its parents where they are missing.
    pub fn open_or_make(&mut self, path: &EntryPath) -> Result<Directory, Error> {
        let made = self.open_or_make_unless(path, false)?;
        made.ok_or_else(|| Error::entry("creating directory", path, Errno::NOTDIR))
    }

    /// The same, but where something else stands in the way that this layer wrote, that stays:
    /// below it nothing of the layers below can be seen, and there is nothing to delete.
    pub fn open_or_make_around(&mut self, path: &EntryPath) -> Result<Option<Directory>, Error> {
        self.open_or_make_unless(path, true)
    }

    fn open_or_make_unless(
        &mut self,
        path: &EntryPath,
        taken: bool,
    ) -> Result<Option<Directory>, Error> {
        match self.open_to_change(path) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.make_parents(path, taken),
            Err(errno) => Err(Error::entry("creating directory", path, errno)),
        }
    }

    /// Walks down and makes what is missing (contract D2.22): 0755, owned by the mapped root. With
    /// `unless_taken`, stops in front of what is there and no directory.
    fn make_parents(
        &mut self,
        path: &EntryPath,
        unless_taken: bool,
    ) -> Result<Option<Directory>, Error> {
        let mut at = EntryPath::default();
        let failed = |at: &EntryPath, errno| Error::entry("creating directory", at, errno);
        let mut directory = self.open_to_change(&at).map_err(|errno| failed(&at, errno))?;
        for name in path.components() {
            let next = at.join(name);
            let name = OsStr::from_bytes(name);
            directory = match self.open_to_change(&next) {
                Ok(directory) => directory,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
                    if unless_taken
                        && self.stat(&directory, name).map_err(|e| failed(&next, e))?.is_some() =>
                {
                    return Ok(None);
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self
                    .make_parent(&directory, &next, name)
                    .and_then(|()| self.open_to_change(&next))
                    .map_err(|errno| failed(&next, errno))?,
                Err(errno) => return Err(failed(&next, errno)),
            };
            at = next;
        }
        Ok(Some(directory))
    }

    fn make_parent(
        &mut self,
        parent: &Directory,
        path: &EntryPath,
        name: &OsStr,
    ) -> Result<(), Errno> {
        if !self.make_directory(parent, path, name, Mode::from_raw_mode(0o755))? {
            return Ok(());
        }
        let made = resolve::directory_beneath(parent.fd(), name).map_err(|error| error.errno())?;
        let (uid, gid) = (Uid::from_raw(self.owner.uid), Gid::from_raw(self.owner.gid));
        fchown(&made, Some(uid), Some(gid))?;
        // The umask may have taken bits away.
        fchmod(&made, Mode::from_raw_mode(0o755))?;
        if self.undescribed.len() < MOST_UNDESCRIBED {
            self.undescribed.insert(path.clone());
        }
        Ok(())
    }

    /// Makes a directory in place of whatever is there and no directory; returns whether it did.
    pub fn make_directory(
        &mut self,
        parent: &Directory,
        path: &EntryPath,
        name: &OsStr,
        mode: Mode,
    ) -> Result<bool, Errno> {
        match mkdirat(parent.fd(), name, mode) {
            Ok(()) => {
                self.own.made(parent.fd(), name)?;
                return Ok(true);
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let Some(found) = self.stat(parent, name)? else { return Err(Errno::EXIST) };
        if FileType::from_raw_mode(found.st_mode).is_dir() {
            self.own.claimed(parent.fd(), name, &found)?;
            return Ok(false);
        }
        self.remove(parent, name)?;
        mkdirat(parent.fd(), name, mode)?;
        self.own.made(parent.fd(), name)?;
        // What was there, a whiteout or a file, hid the files of lower layers; they would be seen
        // again through a new directory unless that is opaque.
        if matches!(self.on_disk, OnDisk::Overlay { .. }) {
            let made =
                resolve::directory_beneath(parent.fd(), name).map_err(|error| error.errno())?;
            self.set_opaque(made.as_fd(), path)?;
        }
        Ok(true)
    }

    /// An entry describes a directory.
    pub fn described(&mut self, path: &EntryPath, time: Time) -> Result<(), Errno> {
        if !self.undescribed.is_empty() {
            self.undescribed.remove(path);
        }
        // What it hands on may have changed.
        self.open.retain(|open| open.path != *path);
        self.times.described(path, time);
        if self.times.is_full() { self.set_times() } else { Ok(()) }
    }

    /// Directories that no entry describes, parents first. On overlay they stand for those of the
    /// layers below, and should look like them.
    pub fn undescribed(&mut self) -> Vec<EntryPath> {
        let mut paths: Vec<EntryPath> = std::mem::take(&mut self.undescribed).into_iter().collect();
        paths.sort();
        paths
    }

    /// Sets the times of all directories that have changed.
    pub fn set_times(&mut self) -> Result<(), Errno> {
        for (path, remembered) in self.times.take() {
            let (parent, name) = path.split();
            let opened = if path.is_root() {
                self.resolve(&path)
            } else {
                self.open(&parent).and_then(|parent| {
                    resolve::directory_beneath(parent.fd(), name).map_err(|error| error.errno())
                })
            };
            let directory = match opened {
                // A later entry may have put something else in its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => continue,
                other => other?,
            };
            if let Some(inode) = remembered.inode
                && fstat(&directory)?.st_ino != inode
            {
                continue;
            }
            attributes::set_time(directory.as_fd(), remembered.time)?;
        }
        self.open.clear();
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
        let found = self.stat(parent, name)?;
        let is_file = |found: Stat| FileType::from_raw_mode(found.st_mode).is_file();
        if !found.is_some_and(is_file) {
            let is_parent = |open: &&Open| Rc::ptr_eq(&open.directory.fd, &parent.fd);
            if let Some(open) = self.open.iter().find(is_parent) {
                self.times.forget(&open.path.join(name.as_bytes()));
            }
            // Paths may lead somewhere else now.
            self.open.clear();
        }
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
        self.own.made(parent.fd(), name)?;
        Ok(made)
    }
}

fn has_default_acl(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    match fgetxattr(directory, c"system.posix_acl_default", &mut [0_u8; 0][..]) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
        Err(errno) => Err(errno),
    }
}
