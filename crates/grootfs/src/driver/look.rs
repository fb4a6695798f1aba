//! A look into a root file system that may not be mounted yet.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{Doing, Error, Mount, files};
use crate::error::AtPath;
use crate::store::layout::ImagePaths;

/// Lets somebody look into a new root. One that the runtime is going to mount is mounted for this
/// moment, at its own place, from where `delete` takes it away should we be killed.
pub fn into<T>(
    paths: &ImagePaths,
    mount: Option<&Mount>,
    look: impl FnOnce(BorrowedFd<'_>) -> T,
) -> Result<T, Error> {
    let rootfs = paths.rootfs();
    let (lower, upper, work) = match mount {
        None => return Ok(look(open(&rootfs)?.as_fd())),
        Some(Mount::Bind(source)) => return Ok(look(open(source)?.as_fd())),
        Some(Mount::Overlay { lower, upper, work }) => (lower, upper, work),
    };
    let base = paths.dir();
    let overlay = groot_sys::mount::Overlay { base, lower, upper, work, target: &rootfs };
    groot_sys::mount::overlay(&overlay).doing("mounting overlay")?;
    // Closed before the mount goes.
    let seen = open(&rootfs).map(|root| look(root.as_fd()));
    files::unmount(&rootfs)?;
    seen
}

fn open(directory: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, directory, flags, Mode::empty()).at("open", directory)?)
}
