//! Directories that a layer only passes through: it has files in them, but no entry for them.
//!
//! On overlay such a directory lies over that of the layers below and hides its mode, owner and
//! time. So it gets those of the directory that it hides.

use std::os::fd::{AsFd, OwnedFd};

use groot_sys::resolve::{directory_beneath, directory_in_root};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, fchmod, fchown,
    fstat, futimens, statat,
};
use rustix::io::Errno;

use super::{Error, Puller};
use crate::driver::VolumeTree;
use crate::unpack::{EntryPath, is_opaque};

/// What a volume says about a path.
enum Found {
    /// A directory, and its attributes.
    Directory(Box<Stat>),
    /// Nothing: the layers below may know more.
    Nothing,
    /// Something that hides whatever the layers below have.
    Hidden,
}

impl Puller<'_> {
    /// Makes directories of a volume under construction look like those that they hide in the
    /// volumes below, which are all there; the topmost of these first in the list.
    pub(super) fn look_like_below(
        &self,
        name: &str,
        undescribed: &[EntryPath],
        below: &[&str],
    ) -> Result<(), Error> {
        let open = |name: &str| {
            self.driver
                .open_volume(name)
                .map_err(|error| Error::Volume { blob: name.to_owned(), source: error.into() })
        };
        let volume = open(name)?;
        let below: Vec<VolumeTree> =
            below.iter().map(|name| open(name)).collect::<Result<_, _>>()?;
        for path in undescribed {
            copy_attributes(&volume.root, &below, path).map_err(|errno| {
                let path = path.show();
                Error::BaseDirectory(format!("taking over the mode of directory `{path}`: {errno}"))
            })?;
        }
        Ok(())
    }
}

fn copy_attributes(volume: &OwnedFd, below: &[VolumeTree], path: &EntryPath) -> Result<(), Errno> {
    for lower in below {
        let like = match find(&lower.root, path)? {
            Found::Directory(like) => like,
            Found::Nothing => continue,
            Found::Hidden => return Ok(()),
        };
        // Where a later entry has put something else in its place, a link above all, there is nothing
        // to be done.
        let Some(directory) = open_without_links(volume, path)? else { return Ok(()) };
        let (uid, gid) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
        fchown(&directory, Some(uid), Some(gid))?;
        fchmod(&directory, Mode::from_raw_mode(like.st_mode & 0o7777))?;
        let nanoseconds = like.st_mtime_nsec.try_into().unwrap_or(0);
        return futimens(
            &directory,
            &Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: like.st_mtime, tv_nsec: nanoseconds },
            },
        );
    }
    Ok(())
}

/// Opens a directory of a volume; `None` where there is none at exactly this path.
pub fn open_without_links(root: &OwnedFd, path: &EntryPath) -> Result<Option<OwnedFd>, Errno> {
    let mut at = directory_in_root(root.as_fd(), ".".as_ref()).map_err(|error| error.errno())?;
    for name in path.components() {
        let name = std::os::unix::ffi::OsStrExt::from_bytes(name);
        at = match directory_beneath(at.as_fd(), name) {
            Ok(found) => found,
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Ok(None);
            }
            Err(error) => return Err(error.errno()),
        };
    }
    Ok(Some(at))
}

/// Walks down a path as overlay does in one of its layers.
fn find(root: &OwnedFd, path: &EntryPath) -> Result<Found, Errno> {
    let mut at = directory_in_root(root.as_fd(), ".".as_ref()).map_err(|error| error.errno())?;
    let mut opaque = false;
    for name in path.components() {
        let name = std::os::unix::ffi::OsStrExt::from_bytes(name);
        match statat(&at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) if opaque => return Ok(Found::Hidden),
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            // A whiteout, a link, a file: nothing below it is seen.
            Ok(found) if !FileType::from_raw_mode(found.st_mode).is_dir() => {
                return Ok(Found::Hidden);
            }
            other => other.map(drop)?,
        }
        at = directory_beneath(at.as_fd(), name).map_err(|error| error.errno())?;
        opaque |= is_opaque(at.as_fd())?;
    }
    Ok(Found::Directory(Box::new(fstat(&at)?)))
}
