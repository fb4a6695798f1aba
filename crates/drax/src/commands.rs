//! The four commands.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use drax::{Mode, Quota};
use groot_sys::qgroup::{self, QgroupLimits};
use groot_sys::setuid::Caller;
use groot_sys::{btrfs, mountinfo};

use crate::subvolume;
use crate::words::{Words, Wrong};

/// Flags for every command.
const GLOBAL: [&str; 2] = ["btrfs-bin", "log-timestamp-format"];

fn only(words: &Words, flags: &[&'static str], values: usize) -> Result<(), Wrong> {
    words.only(&[&GLOBAL, flags].concat(), values)
}

/// `limit`: sets what an image may hold.
pub fn limit(caller: Caller, words: &Words) -> Result<Vec<u8>, Wrong> {
    only(words, &["volume-path", "disk-limit-bytes", "exclude-image-from-quota"], 0)?;
    let path = words.required("volume-path")?;
    words.required("disk-limit-bytes")?;
    let bytes = words.number("disk-limit-bytes")?.filter(|bytes| *bytes > 0);
    let limits = if words.is_on("exclude-image-from-quota")? {
        QgroupLimits { referenced: None, exclusive: bytes }
    } else {
        QgroupLimits { referenced: bytes, exclusive: None }
    };
    let subvolume = subvolume::of_image(caller, path)?;
    require_quotas(subvolume.fd.as_fd())?;
    drax::limit(subvolume.fd.as_fd(), limits)
        .map_err(|error| Wrong::Other(format!("setting quota to {}: {error}", path.display())))?;
    Ok(Vec::new())
}

/// `stats`: what an image holds and may hold.
pub fn stats(caller: Caller, words: &Words) -> Result<Vec<u8>, Wrong> {
    only(words, &["volume-path", "force-sync", "json"], 0)?;
    let path = words.required("volume-path")?;
    let as_json = words.is_on("json")?;
    let sync = words.is_on("force-sync")?;
    let subvolume = subvolume::of_image(caller, path)?;
    let fd = subvolume.fd.as_fd();
    require_quotas(fd)?;
    if sync {
        btrfs::sync(fd).map_err(|error| Wrong::Other(format!("syncing filesystem: {error}")))?;
    }
    let failed = |error: &dyn fmt::Display| {
        Wrong::Other(format!("qgroup usage: {}: {error}", path.display()))
    };
    let id = btrfs::subvolume_id(fd).map_err(|error| failed(&error))?;
    let quota = drax::quota(fd).map_err(|error| failed(&error))?;
    Ok(if as_json { json(quota) } else { table(id, quota) }.into_bytes())
}

/// What `btrfs qgroup show --raw -F` of btrfs-progs 4 prints: callers read the last two columns of
/// the last line.
fn table(id: u64, quota: Quota) -> String {
    let row = |group: &str, referenced: &str, exclusive: &str| {
        format!("{group:<8} {referenced:>12} {exclusive:>12} \n")
    };
    [
        row("qgroupid", "rfer", "excl"),
        row("--------", "----", "----"),
        row(&format!("0/{id}"), &quota.referenced.to_string(), &quota.exclusive.to_string()),
    ]
    .concat()
}

fn json(quota: Quota) -> String {
    format!(
        "{{\"referenced\":{},\"exclusive\":{},\"referenced_limit\":{},\"exclusive_limit\":{}}}",
        quota.referenced,
        quota.exclusive,
        quota.limits.referenced.unwrap_or(0),
        quota.limits.exclusive.unwrap_or(0)
    )
}

/// `list`: the subvolumes of an image or a layer, in the order in which they can be destroyed.
pub fn list(caller: Caller, words: &Words) -> Result<Vec<u8>, Wrong> {
    only(words, &[], 1)?;
    let path = words
        .values
        .first()
        .ok_or_else(|| Wrong::other("missing path argument: give `list <path>`"))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for subvolume in subvolume::all(caller, path)? {
        let nested = btrfs::nested_subvolumes(subvolume.fd.as_fd())
            .map_err(|error| Wrong::Other(format!("list subvolumes: {error}")))?;
        paths.extend(nested.into_iter().map(|below| subvolume.path.join(below)));
        paths.push(subvolume.path);
    }
    paths.sort_by(|one, other| other.as_os_str().cmp(one.as_os_str()));
    let lines: Vec<&[u8]> = paths.iter().map(|path| path.as_os_str().as_bytes()).collect();
    Ok(lines.join(&b'\n'))
}

/// `destroy`: removes quota groups whose subvolumes are gone.
///
/// The group of the subvolume itself goes when the subvolume does: at once on Linux 6.10 and later,
/// with the next call of this before. Taking it away earlier, as the original tried, would lift
/// the limit from something that may still be written to; kernels refuse it too.
pub fn destroy(caller: Caller, words: &Words) -> Result<Vec<u8>, Wrong> {
    only(words, &["volume-path"], 0)?;
    let path: &OsStr = words.required("volume-path")?;
    for subvolume in subvolume::all(caller, path)? {
        qgroup::remove_stale(subvolume.fd.as_fd())
            .map_err(|error| Wrong::Other(format!("{}: {error}", path.display())))?;
    }
    Ok(Vec::new())
}

/// Quotas cost every writer something, so they are the administrator's to turn on.
fn require_quotas(fd: BorrowedFd<'_>) -> Result<(), Wrong> {
    if drax::mode(fd).map_err(Wrong::other)? != Mode::Off {
        return Ok(());
    }
    let mount = mountinfo::of(fd).map_err(Wrong::other)?;
    let point = mount.map_or_else(|| PathBuf::from("<mount point>"), |mount| mount.point);
    let point = point.display();
    Err(Wrong::Other(format!(
        "{point} has no quotas: they are not enabled. Do `btrfs quota enable {point}` as root"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_old_programs() {
        let quota = Quota { referenced: 16384, exclusive: 4096, ..Quota::default() };
        assert_eq!(
            table(257, quota),
            "qgroupid         rfer         excl \n\
             --------         ----         ---- \n\
             0/257           16384         4096 \n"
        );
    }

    #[test]
    fn json_has_numbers_only() {
        let limits = QgroupLimits { referenced: Some(7), exclusive: None };
        let quota = Quota { referenced: 1, exclusive: 2, limits };
        assert_eq!(
            json(quota),
            r#"{"referenced":1,"exclusive":2,"referenced_limit":7,"exclusive_limit":0}"#
        );
    }
}
