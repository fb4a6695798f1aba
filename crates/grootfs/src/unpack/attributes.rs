//! Owners, modes, times and extended attributes.

use std::os::fd::BorrowedFd;

use rustix::fs::{
    Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, fchmod, fchown, flistxattr,
    fremovexattr, fsetxattr, futimens,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::Error;
use super::path::EntryPath;
use super::tar::{Entry, Time};
use crate::idmap::{IdMappings, Owner};

/// `system.posix_acl_*` (`struct posix_acl_xattr_header` of <linux/posix_acl_xattr.h>): version,
/// then entries of tag, permissions and id.
const ACL_VERSION: [u8; 4] = 2_u32.to_le_bytes();
const ACL_USER: u16 = 0x02;
const ACL_GROUP: u16 = 0x08;

/// `security.capability` (<linux/capability.h>): revision 2 is for the first user namespace,
/// revision 3 names the root of another one.
const CAPABILITY_2: u32 = 0x0200_0000;
const CAPABILITY_3: u32 = 0x0300_0000;
const CAPABILITY_REVISION: u32 = 0xff00_0000;

/// Longest list of names that the kernel gives out (`XATTR_LIST_MAX` of <linux/limits.h>).
const LARGEST_LIST: usize = 64 * 1024;

/// The host owner of an entry; an id that no mapping covers is an error that names it.
pub fn owner(entry: &Entry, path: &EntryPath, mappings: &IdMappings) -> Result<Owner, Error> {
    let unmapped =
        |kind, id| Error::Unmapped { path: path.show(), uid: entry.uid, gid: entry.gid, kind, id };
    let uid = u32::try_from(entry.uid).ok().and_then(|id| mappings.host_uid(id));
    let gid = u32::try_from(entry.gid).ok().and_then(|id| mappings.host_gid(id));
    // The last id means "do not change" to chown(2).
    Ok(Owner {
        uid: uid.filter(|id| *id != u32::MAX).ok_or(unmapped("user", entry.uid))?,
        gid: gid.filter(|id| *id != u32::MAX).ok_or(unmapped("group", entry.gid))?,
    })
}

/// What the kernel gave to something that was just made.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    owner: Owner,
    umask: u32,
}

impl Made {
    /// Looks at this process once.
    pub fn by_us() -> Self {
        let owner = Owner { uid: geteuid().as_raw(), gid: getegid().as_raw() };
        Self { owner, umask: umask() }
    }

    /// The mode to make something with, so that often nothing has to be changed afterwards.
    pub fn mode(entry: &Entry) -> Mode {
        Mode::from_raw_mode(entry.mode & 0o777)
    }

    /// Whether it has the right owner already.
    fn has_owner(&self, owner: Owner) -> bool {
        self.owner == owner
    }

    /// Whether it has the right mode already, if it was made with [`Made::mode`].
    fn has_mode(&self, entry: &Entry) -> bool {
        entry.mode & 0o7000 == 0 && entry.mode & self.umask == 0
    }

    /// Whether there is nothing to be done after it was made.
    pub fn is_right(&self, entry: &Entry, owner: Owner) -> bool {
        self.has_owner(owner) && self.has_mode(entry) && entry.xattrs.is_empty()
    }
}

/// The permission bits that the kernel takes away; all of them where it does not tell (before
/// Linux 4.7). umask(2) itself can only be asked by changing it, for all threads.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    value.and_then(|value| u32::from_str_radix(value.trim(), 8).ok()).unwrap_or(0o777)
}

/// Gives an open file or directory the attributes of its entry, but not a directory its time: that
/// changes again when its children come. `made` says what it has already, if it is new and inherits
/// nothing from its directory.
pub fn apply(
    fd: BorrowedFd<'_>,
    entry: &Entry,
    path: &EntryPath,
    owner: Owner,
    made: Option<Made>,
    target: (&IdMappings, &mut dyn FnMut(String)),
) -> Result<(), Error> {
    let (mappings, warn) = target;
    if made.is_none() {
        // Before the mode: under an ACL, chmod(2) changes the ACL's mask in place of the group's bits.
        clear(fd).map_err(|errno| Error::entry("removing xattrs of", path, errno))?;
    }
    if !made.is_some_and(|made| made.has_owner(owner)) {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        fchown(fd, Some(uid), Some(gid)).map_err(|errno| {
            Error::entry_with("chowning file", format!("{}:{}", owner.uid, owner.gid), path, errno)
        })?;
    }
    // After chown(2), which takes set-id bits away.
    if !made.is_some_and(|made| made.has_mode(entry)) {
        fchmod(fd, Mode::from_raw_mode(entry.mode & 0o7777))
            .map_err(|errno| Error::entry("chmoding file", path, errno))?;
    }
    for (name, value) in &entry.xattrs {
        let Some(value) = translate(name, value, mappings) else {
            warn(format!("extended attribute `{}` is left out", super::path::show(name)));
            continue;
        };
        match fsetxattr(fd, name.as_slice(), &value, XattrFlags::empty()) {
            Ok(()) => {}
            // ACCESS: a default ACL of something that is no directory.
            Err(Errno::NOTSUP | Errno::PERM | Errno::INVAL | Errno::ACCESS) => {
                warn(format!(
                    "extended attribute `{}` cannot be set here",
                    super::path::show(name)
                ));
            }
            Err(errno) => {
                let name = super::path::show(name);
                return Err(Error::entry_with("setting xattr", name, path, errno));
            }
        }
    }
    Ok(())
}

/// Takes away what an entry would have to say itself: extended attributes of the same directory in the
/// layers below, and ACLs that were inherited when it was made.
fn clear(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut few = [0_u8; 1024];
    let mut many = Vec::new();
    let names = match flistxattr(fd, &mut few[..]) {
        Ok(length) => few.get(..length),
        Err(Errno::NOTSUP) => return Ok(()),
        Err(Errno::RANGE) => {
            many.resize(LARGEST_LIST, 0);
            let length = flistxattr(fd, &mut many[..])?;
            many.get(..length)
        }
        Err(errno) => return Err(errno),
    };
    let names = names.unwrap_or_default().split(|byte| *byte == 0);
    for name in names.filter(|name| may_come_from_an_image(name)) {
        match fremovexattr(fd, name) {
            // Removing one may take another away: two names of one ACL on XFS.
            Ok(()) | Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Whether [`translate`] writes extended attributes of this name.
fn may_come_from_an_image(name: &[u8]) -> bool {
    match name {
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        _ => name.starts_with(b"user.") && !name.starts_with(b"user.overlay."),
    }
}

/// Sets the time of the last change; the time of the last access stays.
pub fn set_time(fd: BorrowedFd<'_>, time: Time) -> Result<(), Errno> {
    futimens(fd, &timestamps(time))
}

/// The same for calls that take a name.
pub fn timestamps(time: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() },
    }
}

/// What is written for an extended attribute of the image; `None` for those that are not.
///
/// `user.*` as it is; file capabilities and ACLs with their ids mapped. `trusted.*` belongs to the
/// host (overlay's own marks among them), `security.*` to the host's security modules.
fn translate(name: &[u8], value: &[u8], mappings: &IdMappings) -> Option<Vec<u8>> {
    match name {
        b"security.capability" => capability(value, mappings),
        b"system.posix_acl_access" | b"system.posix_acl_default" => acl(value, mappings),
        _ if name.starts_with(b"user.") && name.len() <= 255 && !name.contains(&0) => {
            // What overlay mounted by a user would take for its own marks.
            (!name.starts_with(b"user.overlay.")).then(|| value.to_vec())
        }
        _ => None,
    }
}

fn capability(value: &[u8], mappings: &IdMappings) -> Option<Vec<u8>> {
    let magic = u32::from_le_bytes(value.get(..4)?.try_into().ok()?);
    let body = value.get(4..20)?;
    if !matches!(magic & CAPABILITY_REVISION, CAPABILITY_2 | CAPABILITY_3) {
        return None;
    }
    let root = mappings.host_uid(0)?;
    if root == 0 {
        let magic = magic & !CAPABILITY_REVISION | CAPABILITY_2;
        return Some([&magic.to_le_bytes(), body].concat());
    }
    let magic = magic & !CAPABILITY_REVISION | CAPABILITY_3;
    Some([&magic.to_le_bytes(), body, &root.to_le_bytes()].concat())
}

fn acl(value: &[u8], mappings: &IdMappings) -> Option<Vec<u8>> {
    let (version, entries) = value.split_at_checked(4)?;
    if version != ACL_VERSION || entries.len() % 8 != 0 {
        return None;
    }
    let mut out = version.to_vec();
    for entry in entries.chunks_exact(8) {
        let (head, id) = entry.split_at_checked(4)?;
        let id = u32::from_le_bytes(id.try_into().ok()?);
        let tag = u16::from_le_bytes(head.get(..2)?.try_into().ok()?);
        let id = match tag {
            ACL_USER => mappings.host_uid(id)?,
            ACL_GROUP => mappings.host_gid(id)?,
            _ => id,
        };
        out.extend_from_slice(head);
        out.extend_from_slice(&id.to_le_bytes());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mappings() -> IdMappings {
        let list = vec!["0:5000:1".parse().unwrap(), "1:100000:65000".parse().unwrap()];
        IdMappings { uids: list.clone(), gids: list }
    }

    #[test]
    fn xattrs_by_rule() {
        let none = IdMappings::default();
        let cap2 = [&0x0200_0001_u32.to_le_bytes()[..], &[7; 16]].concat();
        let cap3 = [&0x0300_0001_u32.to_le_bytes()[..], &[7; 16], &9_u32.to_le_bytes()].concat();
        let mapped =
            [&0x0300_0001_u32.to_le_bytes()[..], &[7; 16], &5000_u32.to_le_bytes()].concat();
        let acl = |id: u32| {
            [
                &2_u32.to_le_bytes()[..],
                &2_u16.to_le_bytes(),
                &6_u16.to_le_bytes(),
                &id.to_le_bytes(),
            ]
            .concat()
        };
        for (name, value, mappings, expected) in [
            ("user.x", b"v".to_vec(), &none, Some(b"v".to_vec())),
            ("user.overlay.opaque", b"y".to_vec(), &none, None),
            ("trusted.overlay.opaque", b"y".to_vec(), &none, None),
            ("security.selinux", b"y".to_vec(), &none, None),
            ("security.capability", cap2.clone(), &none, Some(cap2.clone())),
            ("security.capability", cap3, &none, Some(cap2.clone())),
            ("security.capability", cap2, &mappings(), Some(mapped)),
            ("security.capability", b"short".to_vec(), &none, None),
            ("system.posix_acl_access", acl(33), &mappings(), Some(acl(100_032))),
            ("system.posix_acl_access", acl(70_000), &mappings(), None),
        ] {
            assert_eq!(translate(name.as_bytes(), &value, mappings), expected, "{name}");
        }
    }
}
