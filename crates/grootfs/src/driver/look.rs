//! A look into a root file system that may not be mounted yet.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{Doing, Error, Mount};
use crate::error::AtPath;
use crate::store::layout::ImagePaths;

/// Lets somebody look into a new root. One that the runtime is going to mount is mounted for this moment, where
/// nobody else sees it, and from where the kernel takes it away.
pub fn into<T: Send>(
    paths: &ImagePaths,
    mount: Option<&Mount>,
    look: impl FnOnce(BorrowedFd<'_>) -> T + Send,
) -> Result<T, Error> {
    let rootfs = paths.rootfs();
    let (lower, upper, work, user_xattrs) = match mount {
        None => return Ok(look(open(&rootfs)?.as_fd())),
        Some(Mount::Bind(source)) => return Ok(look(open(source)?.as_fd())),
        Some(Mount::Overlay { lower, upper, work, user_xattrs }) => {
            (lower, upper, work, user_xattrs)
        }
    };
    let (base, user_xattrs) = (paths.dir(), *user_xattrs);
    let overlay =
        groot_sys::mount::Overlay { base, lower, upper, work, target: &rootfs, user_xattrs };
    let seen = groot_sys::mount::apart(|| {
        groot_sys::mount::overlay(&overlay)?;
        Ok(open(&rootfs).map(|root| look(root.as_fd())))
    });
    seen.doing("mounting overlay")?
}

fn open(directory: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, directory, flags, Mode::empty()).at("open", directory)?)
}
