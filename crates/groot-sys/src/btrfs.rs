//! Subvolumes of btrfs, and searches in its trees.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{fstat, fstatfs};
use rustix::ioctl::{NoArg, Opcode, Setter, Updater, ioctl};

use crate::btrfs_abi as abi;
use crate::fs::BTRFS_MAGIC;
use crate::{Call, Errno, Result};

/// Nested subvolumes that are listed at most; more are nobody's honest work.
const MOST_NESTED: usize = 1 << 16;

/// Makes an empty subvolume in a directory.
pub fn create_subvolume(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let show = || format!("BTRFS_IOC_SUBVOL_CREATE, {}", name.display());
    let args = abi::VolArgs { fd: 0, name: name_bytes(name).call("ioctl", show)? };
    set::<{ abi::SUBVOL_CREATE }, _>(parent, args).call("ioctl", show)
}

/// Makes a writable snapshot of a subvolume in a directory.
pub fn snapshot(source: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let show = || format!("BTRFS_IOC_SNAP_CREATE_V2, {}", name.display());
    let args = abi::VolArgsV2 {
        fd: i64::from(source.as_raw_fd()),
        transid: 0,
        flags: 0,
        unused: [0; 4],
        name: name_bytes(name).call("ioctl", show)?,
    };
    set::<{ abi::SNAP_CREATE_V2 }, _>(parent, args).call("ioctl", show)
}

/// Destroys a subvolume that holds no other one.
pub fn destroy_subvolume(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let show = || format!("BTRFS_IOC_SNAP_DESTROY, {}", name.display());
    let args = abi::VolArgs { fd: 0, name: name_bytes(name).call("ioctl", show)? };
    set::<{ abi::SNAP_DESTROY }, _>(parent, args).call("ioctl", show)
}

/// Whether a directory is the root of a subvolume.
pub fn is_subvolume(fd: BorrowedFd<'_>) -> Result<bool> {
    let inode = fstat(fd).call("fstat", String::new)?.st_ino;
    if inode != abi::FIRST_FREE_OBJECTID {
        return Ok(false);
    }
    #[allow(clippy::unnecessary_cast)]
    let kind = fstatfs(fd).call("fstatfs", String::new)?.f_type as i64;
    Ok(kind == BTRFS_MAGIC)
}

/// The number of the subvolume that a file lies in.
pub fn subvolume_id(fd: BorrowedFd<'_>) -> Result<u64> {
    let mut args =
        abi::InoLookup { treeid: 0, objectid: abi::FIRST_FREE_OBJECTID, name: [0; 4080] };
    update::<{ abi::INO_LOOKUP }, _>(fd, &mut args)
        .call("ioctl", || "BTRFS_IOC_INO_LOOKUP".into())?;
    Ok(args.treeid)
}

/// Paths of all subvolumes inside a subvolume, relative to it, each after those inside it.
/// A directory that is no subvolume's root has none that belong to it.
pub fn nested_subvolumes(fd: BorrowedFd<'_>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !is_subvolume(fd)? {
        return Ok(found);
    }
    let mut to_visit = children(fd)?;
    while let Some(path) = to_visit.pop() {
        if found.len() + to_visit.len() > MOST_NESTED {
            return Err(Errno::OVERFLOW).call("ioctl", || "BTRFS_IOC_GET_SUBVOL_ROOTREF".into());
        }
        // What lies between may be swapped for links by whoever owns it.
        let child = crate::resolve::directory_in_root(fd, &path)?;
        let below = children(std::os::fd::AsFd::as_fd(&child))?;
        to_visit.extend(below.into_iter().map(|inner| path.join(inner)));
        found.push(path);
    }
    // A parent was found before its children.
    found.reverse();
    Ok(found)
}

/// Paths of the subvolumes directly inside a subvolume, relative to it.
fn children(fd: BorrowedFd<'_>) -> Result<Vec<PathBuf>> {
    let show = || "BTRFS_IOC_GET_SUBVOL_ROOTREF".to_owned();
    let mut children = Vec::new();
    let mut args = abi::SubvolRootref {
        min_treeid: 0,
        rootref: [abi::Rootref { treeid: 0, dirid: 0 }; 255],
        num_items: 0,
        align: [0; 7],
    };
    loop {
        let more = match update::<{ abi::GET_SUBVOL_ROOTREF }, _>(fd, &mut args) {
            Ok(()) => false,
            // There are more than fit; `min_treeid` says where to go on.
            Err(Errno::OVERFLOW) => true,
            Err(errno) => return Err(errno).call("ioctl", show),
        };
        for child in args.rootref.iter().take(usize::from(args.num_items)) {
            children.push(path_of(fd, *child)?);
        }
        if !more || children.len() > MOST_NESTED {
            return Ok(children);
        }
    }
}

fn path_of(fd: BorrowedFd<'_>, child: abi::Rootref) -> Result<PathBuf> {
    let mut args = abi::InoLookupUser {
        dirid: child.dirid,
        treeid: child.treeid,
        name: [0; 256],
        path: [0; 3824],
    };
    update::<{ abi::INO_LOOKUP_USER }, _>(fd, &mut args)
        .call("ioctl", || format!("BTRFS_IOC_INO_LOOKUP_USER, {}", child.treeid))?;
    let text = |bytes: &[u8]| {
        let text = CStr::from_bytes_until_nul(bytes).map(CStr::to_bytes).unwrap_or_default();
        OsStr::from_bytes(text).to_owned()
    };
    Ok(Path::new(&text(&args.path)).join(text(&args.name)))
}

/// Lets the file system that a directory lies on take all of its (first) device.
pub fn grow(fd: BorrowedFd<'_>) -> Result<()> {
    let show = || "BTRFS_IOC_RESIZE, max".to_owned();
    let args = abi::VolArgs { fd: 0, name: name_bytes(OsStr::new("max")).call("ioctl", show)? };
    set::<{ abi::RESIZE }, _>(fd, args).call("ioctl", show)
}

/// Writes everything of the file system to disk; brings quota numbers up to date.
pub fn sync(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: BTRFS_IOC_SYNC takes no argument.
    unsafe { ioctl(fd, NoArg::<{ abi::SYNC }>::new()) }.call("ioctl", || "BTRFS_IOC_SYNC".into())
}

/// The first two parts of a key of btrfs' trees.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) objectid: u64,
    pub(crate) kind: u32,
}

/// Items of a key between two offsets, as many as fit or are asked for.
pub(crate) fn search(
    fd: BorrowedFd<'_>,
    tree: u64,
    key: Key,
    first: u64,
    last: u64,
    items: u32,
) -> std::result::Result<abi::SearchArgs, Errno> {
    let mut args = abi::SearchArgs {
        key: abi::SearchKey {
            tree_id: tree,
            min_objectid: key.objectid,
            max_objectid: key.objectid,
            min_offset: first,
            max_offset: last,
            min_transid: 0,
            max_transid: u64::MAX,
            min_type: key.kind,
            max_type: key.kind,
            nr_items: items,
            unused: 0,
            unused64: [0; 4],
        },
        buf: [0; 4096 - 104],
    };
    update::<{ abi::TREE_SEARCH }, _>(fd, &mut args)?;
    Ok(args)
}

/// Eight bytes of what was found, little-endian as btrfs has them.
pub(crate) fn number(args: &abi::SearchArgs, at: usize) -> Option<u64> {
    let bytes = args.buf.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// A name for one of btrfs' fixed fields; one component, with room for the final NUL.
fn name_bytes<const SIZE: usize>(name: &OsStr) -> std::result::Result<[u8; SIZE], Errno> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(Errno::INVAL);
    }
    let mut field = [0; SIZE];
    let room = field.get_mut(..bytes.len()).filter(|_| bytes.len() < SIZE);
    room.ok_or(Errno::NAMETOOLONG)?.copy_from_slice(bytes);
    Ok(field)
}

pub(crate) fn set<const OPCODE: Opcode, T>(
    fd: BorrowedFd<'_>,
    args: T,
) -> std::result::Result<(), Errno> {
    // SAFETY: every opcode in `abi` is made from the structure that the kernel reads for it, and
    // this crate passes that structure; it lives until the call returns.
    unsafe { ioctl(fd, Setter::<OPCODE, T>::new(args)) }
}

pub(crate) fn update<const OPCODE: Opcode, T>(
    fd: BorrowedFd<'_>,
    args: &mut T,
) -> std::result::Result<(), Errno> {
    // SAFETY: as in `set`; the kernel also writes into the structure, and every bit pattern is a
    // valid value of its integer fields.
    unsafe { ioctl(fd, Updater::<OPCODE, T>::new(args)) }
}
