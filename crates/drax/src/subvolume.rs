//! From a path to the subvolume that it means.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use groot_sys::btrfs::is_subvolume;
use groot_sys::resolve::directory_beneath;
use groot_sys::setuid::Caller;
use groot_sys::setuid::store::{self, Area, Place};
use rustix::io::Errno;

use crate::words::Wrong;

/// The root of an image that is mounted, or the place where it would be.
const ROOT: &str = "rootfs";

/// The root of an image that somebody else is to mount (`--without-mount`).
const SNAPSHOT: &str = "snapshot";

/// A subvolume of a store, open, and its path.
#[derive(Debug)]
pub struct Subvolume {
    /// Its top.
    pub fd: OwnedFd,
    /// Where it is, in the words of the caller.
    pub path: PathBuf,
    area: Area,
}

/// The subvolumes that a path means: the root of an image, or a layer. An image may have
/// none.
pub fn all(caller: Caller, path: &OsStr) -> Result<Vec<Subvolume>, Wrong> {
    let shown = path.display();
    let place = store::open(caller, path).map_err(|refusal| {
        Wrong::Other(if refusal.is_missing() {
            format!("`{shown}` is not a btrfs volume: {refusal}")
        } else {
            refusal.to_string()
        })
    })?;
    let error = |error: groot_sys::Error| Wrong::Other(format!("{shown}: {error}"));
    let top = PathBuf::from(path);
    if place.area == Area::Volumes {
        if !place.below.is_empty() {
            return Err(Wrong::Other(format!("{shown}: not a layer: give <store>/volumes/<id>")));
        }
        let found = is_subvolume(place.item.as_fd()).map_err(error)?;
        return Ok(if found {
            vec![Subvolume { fd: place.item, path: top, area: Area::Volumes }]
        } else {
            Vec::new()
        });
    }
    let place = Some(place).filter(|place| place.area == Area::Images);
    let (place, image, names) = place.and_then(|place| wanted(place, &top)).ok_or_else(|| {
        Wrong::Other(format!("{shown}: not the root of an image: give <store>/images/<id>/rootfs"))
    })?;
    let mut found = Vec::new();
    for name in names {
        let fd = match directory_beneath(place.item.as_fd(), OsStr::new(name)) {
            // Not there, or something is mounted on it: no subvolume of this store.
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::XDEV) => continue,
            other => other.map_err(error)?,
        };
        if is_subvolume(fd.as_fd()).map_err(error)? {
            found.push(Subvolume { fd, path: image.join(name), area: Area::Images });
        }
    }
    Ok(found)
}

/// The image's path, and the names in it that may be the subvolume. Who does not mount still says
/// `rootfs`, as the original did, and means `snapshot`.
fn wanted(place: Place, path: &Path) -> Option<(Place, &Path, &'static [&'static str])> {
    let (image, names): (&Path, &[&str]) = match place.below.as_slice() {
        [] => (path, &[ROOT, SNAPSHOT]),
        [name] if name == ROOT => (path.parent()?, &[ROOT, SNAPSHOT]),
        [name] if name == SNAPSHOT => (path.parent()?, &[SNAPSHOT]),
        _ => return None,
    };
    Some((place, image, names))
}

/// The one subvolume that a path means; an image's, because a limit on a layer would be one on
/// nothing.
pub fn of_image(caller: Caller, path: &OsStr) -> Result<Subvolume, Wrong> {
    let shown = path.display();
    all(caller, path)?.into_iter().find(|found| found.area == Area::Images).ok_or_else(|| {
        Wrong::Other(format!(
            "`{shown}` is not a btrfs volume: it is no subvolume that `grootfs create` has made"
        ))
    })
}
