//! The commands, and who may change which project: an image that has no project of its own
//! ([`Projects::own`]) gets a new one, whoever calls.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use groot_sys::mountinfo;
use groot_sys::project_quota::{Limits, Quota, State, kernel_has_xfs_quotas, kernel_needs_device};
use groot_sys::setuid::Caller;
use groot_sys::setuid::store::{self, Area, Place};
use rustix::fs::{FileType, Mode, XattrFlags, fsetxattr, fstat, lstat, mkdir};
use rustix::io::Errno;
use tardis::Projects;

use crate::image_info;
use crate::words::{Words, Wrong};

/// A flag for every command.
const LOG_FORMAT: &str = "log-timestamp-format";

/// What overlay takes for "nothing of the layers below shows through".
const OPAQUE: &str = "trusted.overlay.opaque";

/// `limit`: sets what an image may hold.
pub fn limit(caller: Caller, words: &Words) -> Result<String, Wrong> {
    words.only(&[LOG_FORMAT, "disk-limit-bytes", "inode-limit", "image-path"], 0)?;
    let path = words.required("image-path")?;
    words.required("disk-limit-bytes")?;
    let limits = Limits {
        bytes: words.number("disk-limit-bytes")?.unwrap_or(0),
        inodes: words.number("inode-limit")?.unwrap_or(0),
    };
    let shown = path.display();
    let place = image(caller, path)?;
    let failed =
        |error: &dyn fmt::Display| Wrong::Other(format!("setting quota to {shown}: {error}"));
    let device = device_directory(place.store.as_fd()).map_err(|error| failed(&error))?;
    let projects = Projects::new(place.store.as_fd(), &device);
    require_quotas(&projects, place.store.as_fd()).map_err(|error| failed(&error))?;
    let current = own_project(&projects, &place).map_err(|error| failed(&error))?;
    let id = match current {
        Some((id, _)) => id,
        // There is nothing to lift.
        None if limits == Limits::default() => return Ok(String::new()),
        None => {
            projects.assign(place.item.as_fd()).map_err(|error| Wrong::Other(error.to_string()))?
        }
    };
    // Not so in the original's roots, nor where somebody was killed who was at it.
    if !tardis::is_marked(place.item.as_fd(), id) {
        let all = if caller.is_root() {
            tardis::adopt(place.item.as_fd(), id)
        } else {
            tardis::adopt_from(caller.uid(), place.item.as_fd(), id)
        };
        all.and_then(|()| tardis::mark(place.item.as_fd(), id)).map_err(|error| failed(&error))?;
    }
    projects.limit(id, limits).map_err(|error| failed(&error))?;
    Ok(String::new())
}

/// The project that an image has and may keep.
fn own_project(
    projects: &Projects<'_>,
    place: &Place,
) -> Result<Option<(u32, Quota)>, tardis::Error> {
    let image = place.item.as_fd();
    let Some(id) = projects.own(image)? else { return Ok(None) };
    Ok(Some((id, projects.quota(id)?)))
}

/// `release`: takes the project from an image that is being removed.
pub fn release(caller: Caller, words: &Words) -> Result<String, Wrong> {
    words.only(&[LOG_FORMAT, "image-path"], 0)?;
    let path = words.required("image-path")?;
    let shown = path.display();
    let place = place(caller, path, &[Area::Images, Area::Removed])?;
    let failed =
        |error: &dyn fmt::Display| Wrong::Other(format!("releasing quota of {shown}: {error}"));
    let device = device_directory(place.store.as_fd()).map_err(|error| failed(&error))?;
    let projects = Projects::new(place.store.as_fd(), &device);
    projects.end(place.item.as_fd()).map_err(|error| failed(&error))?;
    Ok(String::new())
}

/// `stats`: what an image holds and may hold.
pub fn stats(caller: Caller, words: &Words) -> Result<String, Wrong> {
    words.only(&[LOG_FORMAT, "volume-path"], 0)?;
    let path = words.required("volume-path")?;
    let shown = path.display();
    let place = image(caller, path)?;
    let layers = caller
        .with_own_rights(|| image_info::of(place.item.as_fd()))
        .map_err(|error| Wrong::Other(error.to_string()))?
        .map_err(|error| {
            let name = image_info::NAME;
            Wrong::Other(format!("reading image info {shown}: open {shown}/{name}: {error}"))
        })?;
    let failed = |error: &dyn fmt::Display| {
        Wrong::Other(format!("listing quota usage {shown}: getting quota {shown}: {error}"))
    };
    let device = device_directory(place.store.as_fd()).map_err(|error| failed(&error))?;
    let projects = Projects::new(place.store.as_fd(), &device);
    let id = projects.of(place.item.as_fd()).map_err(|error| failed(&error))?;
    let quota = match id {
        Some(id) => projects.quota(id).map_err(|error| failed(&error))?,
        None => Quota::default(),
    };
    Ok(json(layers, quota))
}

/// Our own fields come after the original's two: people read those by their place.
fn json(layers: u64, quota: Quota) -> String {
    let limit = quota.limits.bytes;
    let committed = if limit == 0 { 0 } else { limit.saturating_add(layers) };
    format!(
        "{{\"disk_usage\":{{\"total_bytes_used\":{},\"exclusive_bytes_used\":{},\
         \"quota_size_bytes\":{limit},\"committed_space_bytes\":{committed},\
         \"inodes_used\":{},\"inode_limit\":{}}}}}",
        quota.bytes.saturating_add(layers),
        quota.bytes,
        quota.inodes,
        quota.limits.inodes
    )
}

/// `handle-opqwhiteouts`: marks directories of layers as opaque.
pub fn opaque_whiteouts(caller: Caller, words: &Words) -> Result<String, Wrong> {
    words.only(&[LOG_FORMAT, "opaque-path"], 0)?;
    words.required("opaque-path")?;
    for path in words.all("opaque-path") {
        let shown = path.display();
        let failed =
            |error: &dyn fmt::Display| Wrong::Other(format!("set xattr for {shown}: {error}"));
        let place = store::open(caller, path).map_err(|error| failed(&error))?;
        if place.area != Area::Volumes {
            return Err(failed(&"only directories in <store>/volumes/<id> can be opaque"));
        }
        let directory = place.open_end().map_err(|error| failed(&error))?;
        fsetxattr(&directory, OPAQUE, b"y", XattrFlags::empty())
            .map_err(|errno| failed(&std::io::Error::from(errno)))?;
    }
    Ok(String::new())
}

/// Opens an image.
fn image(caller: Caller, path: &OsStr) -> Result<Place, Wrong> {
    place(caller, path, &[Area::Images])
}

/// Opens an image in one of these parts of its store.
fn place(caller: Caller, path: &OsStr, areas: &[Area]) -> Result<Place, Wrong> {
    let shown = path.display();
    let place = store::open(caller, path).map_err(|refusal| {
        Wrong::Other(if refusal.is_missing() {
            format!("image path ({shown}) doesn't exist: stat {refusal}")
        } else {
            refusal.to_string()
        })
    })?;
    if !areas.contains(&place.area) || !place.below.is_empty() {
        return Err(Wrong::Other(format!("{shown}: not an image: give <store>/images/<id>")));
    }
    Ok(place)
}

/// Quotas cannot be turned on by us; says how it is done.
fn require_quotas(projects: &Projects<'_>, store: BorrowedFd<'_>) -> Result<(), String> {
    let state = projects.state().map_err(|error| error.to_string())?;
    if state == State::Enforced {
        return Ok(());
    }
    let mount = mountinfo::of(store).map_err(|error| error.to_string())?;
    let (point, kind) = mount.map_or_else(
        || ("the store's file system".to_owned(), String::new()),
        |mount| (mount.point.display().to_string(), mount.kind),
    );
    if !kind.is_empty() && kind != "xfs" {
        return Err(format!(
            "{point} has no project quotas: it is {kind}, and tardis limits only what lies on XFS"
        ));
    }
    if !kernel_has_xfs_quotas() {
        return Err(format!(
            "{point} has no project quotas: this kernel was built without them (CONFIG_XFS_QUOTA); use another \
             kernel, or the driver btrfs"
        ));
    }
    let what = match state {
        State::Counted => "counts projects and holds no limits: it is mounted with `pqnoenforce`",
        _ => "has no project quotas: it is mounted without the option `pquota`",
    };
    Err(format!(
        "{point} {what}. Unmount it and mount it again with `-o pquota`; remounting cannot turn \
         project quotas on"
    ))
}

/// Where the device node may be made that old kernels are asked with. In the store its owner could
/// swap it for a link to another device while we ask.
fn device_directory(store: BorrowedFd<'_>) -> Result<PathBuf, String> {
    let device = fstat(store).map_err(|errno| errno.to_string())?.st_dev;
    let path = PathBuf::from(format!("/run/tardis-{device:x}"));
    if kernel_needs_device() {
        make_private(&path).map_err(|error| {
            format!("creating backing fs block device {}: {error}", path.display())
        })?;
    }
    Ok(path)
}

fn make_private(path: &Path) -> std::io::Result<()> {
    match mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let about = lstat(path)?;
    let directory = FileType::from_raw_mode(about.st_mode).is_dir();
    if directory && about.st_uid == 0 && about.st_mode & 0o077 == 0 {
        return Ok(());
    }
    Err(std::io::Error::other("not a directory that is root's alone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_fields_come_first() {
        let quota = Quota { bytes: 8192, inodes: 4, limits: Limits { bytes: 1024, inodes: 9 } };
        assert_eq!(
            json(100, quota),
            r#"{"disk_usage":{"total_bytes_used":8292,"exclusive_bytes_used":8192,"quota_size_bytes":1024,"committed_space_bytes":1124,"inodes_used":4,"inode_limit":9}}"#
        );
        let unlimited = json(u64::MAX, Quota { bytes: 1, ..Quota::default() });
        assert!(unlimited.contains(r#""total_bytes_used":18446744073709551615,"#));
        assert!(unlimited.contains(r#""committed_space_bytes":0,"#));
    }
}
