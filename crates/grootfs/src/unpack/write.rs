//! Entries become files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use groot_sys::resolve::directory_beneath;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, ftruncate, linkat, mknodat, openat,
    symlinkat, utimensat,
};
use rustix::io::{Errno, pwrite, write};

use super::attributes::Made;
use super::path::{self, EntryPath};
use super::tar::{Archive, Entry, Extent, Kind};
use super::tree::{Directory, Tree};
use super::{Error, Target, Unpacked, attributes, whiteout};
use crate::idmap::Owner;

/// Different warnings that are kept of one layer; the rest would only fill the log.
const MOST_WARNINGS: usize = 20;

/// Writes the entries of one layer.
pub struct Writer<'a> {
    target: &'a Target<'a>,
    /// The root of the layer: of the tree, or the base directory.
    top: EntryPath,
    tree: Tree<'a>,
    bytes: u64,
    entries: u64,
    /// What was left out, and how often.
    warnings: BTreeMap<String, u64>,
    made: Made,
}

impl<'a> Writer<'a> {
    /// Begins a layer.
    pub fn new(target: &'a Target<'a>) -> Result<Self, Error> {
        Ok(Self {
            target,
            top: EntryPath::clean(target.base_directory, b"")?,
            tree: Tree::new(target),
            bytes: 0,
            entries: 0,
            warnings: BTreeMap::new(),
            made: Made::by_us(),
        })
    }

    /// Writes all entries.
    pub fn write_all(mut self, archive: &mut Archive<'_>) -> Result<Unpacked, Error> {
        while let Some(entry) = archive.next()? {
            self.entries += 1;
            if self.entries > self.target.limits.entries {
                return Err(Error::TooManyEntries(self.target.limits.entries));
            }
            self.write(&entry, archive)?;
        }
        self.tree.set_times().map_err(|errno| {
            Error::entry("setting the modtime for file", &EntryPath::default(), errno)
        })?;
        let warnings = self
            .warnings
            .into_iter()
            .map(
                |(warning, count)| {
                    if count == 1 { warning } else { format!("{warning} ({count} times)") }
                },
            )
            .collect();
        let undescribed = self.tree.undescribed();
        let opaque = self.tree.opaque;
        Ok(Unpacked { bytes: self.bytes, entries: self.entries, warnings, opaque, undescribed })
    }

    fn warn(&mut self, warning: String) {
        let room = self.warnings.len() < MOST_WARNINGS;
        if let Some(count) = self.warnings.get_mut(&warning) {
            *count += 1;
        } else if room {
            self.warnings.insert(warning, 1);
        }
    }

    fn write(&mut self, entry: &Entry, archive: &mut Archive<'_>) -> Result<(), Error> {
        let path = EntryPath::clean(self.target.base_directory, &entry.path)?;
        if path.is_in_note() {
            return Ok(());
        }
        if path == self.top {
            return self.root(entry, &path);
        }
        let (directory, name) = path.split();
        if let Some(whiteout) = whiteout::parse(name) {
            return whiteout::apply(&mut self.tree, &directory, &whiteout);
        }
        match entry.kind {
            Kind::Device => self.warn("devices are left out".to_owned()),
            Kind::Other(flag) => self.warn(format!(
                "entries of type `{}` are left out",
                char::from(flag).escape_default()
            )),
            _ => {
                let parent = self.tree.open_or_make(&directory)?;
                self.write_named(entry, &path, &parent, name, archive)?;
            }
        }
        Ok(())
    }

    fn write_named(
        &mut self,
        entry: &Entry,
        path: &EntryPath,
        parent: &Directory,
        name: &OsStr,
        archive: &mut Archive<'_>,
    ) -> Result<(), Error> {
        match entry.kind {
            Kind::File => self.file(entry, path, parent, name, archive),
            Kind::Directory => self.directory(entry, path, parent, name),
            Kind::HardLink => self.hard_link(entry, path, parent, name),
            Kind::Symlink => self.symlink(entry, path, parent, name),
            Kind::Fifo => self.fifo(entry, path, parent, name),
            Kind::Device | Kind::Other(_) => Ok(()),
        }
    }

    /// The root of the layer itself is always a directory; an archive can only describe it.
    fn root(&mut self, entry: &Entry, path: &EntryPath) -> Result<(), Error> {
        if entry.kind != Kind::Directory {
            return Err(Error::Refused {
                path: path::show(&entry.path),
                why: "the root of a layer can only be a directory".to_owned(),
            });
        }
        let root = self
            .tree
            .open(path)
            .map_err(|errno| Error::entry("creating directory", path, errno))?;
        let owner = attributes::owner(entry, path, self.target.mappings)?;
        self.attributes(root.fd(), entry, path, owner, None)?;
        self.described(entry, path)
    }

    fn described(&mut self, entry: &Entry, path: &EntryPath) -> Result<(), Error> {
        self.tree
            .described(path, entry.mtime)
            .map_err(|errno| Error::entry("setting the modtime for file", path, errno))
    }

    fn attributes(
        &mut self,
        fd: std::os::fd::BorrowedFd<'_>,
        entry: &Entry,
        path: &EntryPath,
        owner: Owner,
        made: Option<Made>,
    ) -> Result<(), Error> {
        let mappings = self.target.mappings;
        let mut warn = |warning| self.warn(warning);
        attributes::apply(fd, entry, path, owner, made, (mappings, &mut warn))
    }

    /// What a new file in a directory has by itself.
    fn made_in(&self, parent: &Directory) -> Option<Made> {
        (!parent.inherits()).then_some(self.made)
    }

    fn file(
        &mut self,
        entry: &Entry,
        path: &EntryPath,
        parent: &Directory,
        name: &OsStr,
        archive: &mut Archive<'_>,
    ) -> Result<(), Error> {
        let owner = attributes::owner(entry, path, self.target.mappings)?;
        // Holes take no room.
        let stored = match &entry.extents {
            None => entry.size,
            Some(extents) => extents.iter().map(|extent| extent.length).sum(),
        };
        let within = self.bytes.checked_add(stored);
        self.bytes = within
            .filter(|bytes| *bytes <= self.target.limits.bytes)
            .ok_or(Error::TooManyBytes(self.target.limits.bytes))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = self
            .tree
            .replace(parent, name, || {
                openat(parent.fd(), name, flags | OFlags::CLOEXEC, Made::mode(entry))
            })
            .map_err(|errno| Error::entry("creating file", path, errno))?;
        match &entry.extents {
            None => copy(archive, &file, path)?,
            Some(extents) => copy_extents(archive, &file, extents, entry.size, path)?,
        }
        self.attributes(file.as_fd(), entry, path, owner, self.made_in(parent))?;
        attributes::set_time(file.as_fd(), entry.mtime)
            .map_err(|errno| Error::entry("setting the modtime for file", path, errno))
    }

    fn directory(
        &mut self,
        entry: &Entry,
        path: &EntryPath,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), Error> {
        let failed = |errno| Error::entry("creating directory", path, errno);
        let owner = attributes::owner(entry, path, self.target.mappings)?;
        let is_new =
            self.tree.make_directory(parent, path, name, Made::mode(entry)).map_err(failed)?;
        let made = self.made_in(parent).filter(|_| is_new);
        if !made.is_some_and(|made| made.is_right(entry, owner)) {
            let directory =
                directory_beneath(parent.fd(), name).map_err(|error| failed(error.errno()))?;
            self.attributes(directory.as_fd(), entry, path, owner, made)?;
        }
        self.described(entry, path)
    }

    fn symlink(
        &mut self,
        entry: &Entry,
        path: &EntryPath,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), Error> {
        let owner = attributes::owner(entry, path, self.target.mappings)?;
        let target = OsStr::from_bytes(&entry.link);
        self.tree.replace(parent, name, || symlinkat(target, parent.fd(), name)).map_err(
            |errno| {
                let link = format!("`{}` ->", path::show(&entry.link));
                Error::entry_with("create symlink", link, path, errno)
            },
        )?;
        self.name_attributes(entry, path, parent, name, owner)
    }

    fn fifo(
        &mut self,
        entry: &Entry,
        path: &EntryPath,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), Error> {
        let owner = attributes::owner(entry, path, self.target.mappings)?;
        let failed = |errno| Error::entry("creating fifo", path, errno);
        // Ours to open, whatever its mode will be.
        let mode = Mode::RUSR | Mode::WUSR;
        self.tree
            .replace(parent, name, || mknodat(parent.fd(), name, FileType::Fifo, mode, 0))
            .map_err(failed)?;
        // By descriptor, as ACLs need one; a reader that does not wait needs no writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fifo = openat(parent.fd(), name, flags, Mode::empty()).map_err(failed)?;
        self.attributes(fifo.as_fd(), entry, path, owner, None)?;
        attributes::set_time(fifo.as_fd(), entry.mtime)
            .map_err(|errno| Error::entry("setting the modtime for file", path, errno))
    }

    /// Owner and time of something that cannot be opened.
    fn name_attributes(
        &self,
        entry: &Entry,
        path: &EntryPath,
        parent: &Directory,
        name: &OsStr,
        owner: Owner,
    ) -> Result<(), Error> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        chownat(parent.fd(), name, Some(uid), Some(gid), flags).map_err(|errno| {
            Error::entry_with("chowning link", format!("{}:{}", owner.uid, owner.gid), path, errno)
        })?;
        utimensat(parent.fd(), name, &attributes::timestamps(entry.mtime), flags)
            .map_err(|errno| Error::entry("setting the modtime for file", path, errno))
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        path: &EntryPath,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), Error> {
        let target = EntryPath::clean(self.target.base_directory, &entry.link)?;
        if target == *path {
            // A file that links to itself is there already, or it is nowhere.
            return Ok(());
        }
        let failed = |errno| {
            let link = format!("`{}`", path::show(&entry.link));
            Error::entry_with("creating hard link to", format!("{link} at"), path, errno)
        };
        let (directory, target_name) = target.split();
        let from = self.tree.open(&directory).map_err(failed)?;
        let found = self.tree.stat(&from, target_name).map_err(failed)?;
        // What this layer deletes is not there.
        let found = found.filter(|found| !whiteout::is_mark(found));
        let found = found.ok_or(Errno::NOENT).map_err(failed)?;
        if FileType::from_raw_mode(found.st_mode).is_dir() {
            return Err(failed(Errno::ISDIR));
        }
        // Replacing may remove the directory that the target lies in.
        let below =
            |inner: &EntryPath| inner.components().zip(path.components()).all(|(a, b)| a == b);
        if target.components().count() > path.components().count() && below(&target) {
            return Err(Error::Refused {
                path: path.show(),
                why: "a hard link in place of the directory that holds its target".to_owned(),
            });
        }
        self.tree
            .replace(parent, name, || {
                linkat(from.fd(), target_name, parent.fd(), name, AtFlags::empty())
            })
            .and_then(|()| self.tree.own.claimed(parent.fd(), name, &found))
            .map_err(failed)
    }
}

/// Writes the content of an entry.
fn copy(archive: &mut Archive<'_>, file: &OwnedFd, path: &EntryPath) -> Result<(), Error> {
    loop {
        let bytes = archive.content()?;
        if bytes.is_empty() {
            return Ok(());
        }
        match write(file, bytes) {
            Ok(length) => archive.consume(length),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::entry("writing to file", path, errno)),
        }
    }
}

/// Writes the stretches of a file with holes; the holes stay holes.
fn copy_extents(
    archive: &mut Archive<'_>,
    file: &OwnedFd,
    extents: &[Extent],
    size: u64,
    path: &EntryPath,
) -> Result<(), Error> {
    let failed = |errno| Error::entry("writing to file", path, errno);
    ftruncate(file, size).map_err(failed)?;
    for extent in extents {
        let (mut offset, mut left) = (extent.offset, extent.length);
        while left > 0 {
            let bytes = archive.content()?;
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let bytes = bytes.get(..length).unwrap_or_default();
            if bytes.is_empty() {
                return Err(Error::UnexpectedEof);
            }
            match pwrite(file, bytes, offset) {
                Ok(written) => {
                    archive.consume(written);
                    offset += written as u64;
                    left -= written as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
    Ok(())
}
