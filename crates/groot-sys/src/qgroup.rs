//! Quota groups of btrfs: what a subvolume holds, and what it may hold.

use std::fmt::Write as _;
use std::fs;
use std::os::fd::BorrowedFd;

use crate::btrfs::{Key, number, search, set, sync, update};
use crate::btrfs_abi as abi;
use crate::{Call, Errno, Result};

/// Turns quota groups on for the whole file system. Where they are on already, they stay as they are. `EINVAL` where
/// the kernel knows no simple ones.
pub fn enable(fd: BorrowedFd<'_>, simple: bool) -> Result<()> {
    let (cmd, name) = match simple {
        false => (abi::QUOTA_CTL_ENABLE, "ENABLE"),
        true => (abi::QUOTA_CTL_ENABLE_SIMPLE, "ENABLE_SIMPLE_QUOTA"),
    };
    let mut args = abi::QuotaCtl { cmd, status: 0 };
    update::<{ abi::QUOTA_CTL }, _>(fd, &mut args)
        .call("ioctl", || format!("BTRFS_IOC_QUOTA_CTL, {name}"))
}

/// How a file system counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Off,
    /// Every reference to an extent: a snapshot refers to all that it shares.
    Full,
    /// Simple quotas (Linux 6.7): an extent belongs to the subvolume that wrote it, for ever. What a
    /// snapshot shares is not its own.
    Simple,
}

/// Whether this kernel knows simple quotas. No where no btrfs was used yet.
pub fn kernel_has_simple_quotas() -> bool {
    fs::exists("/sys/fs/btrfs/features/simple_quota").unwrap_or(false)
}

/// How the file system counts that `fd` lies on. Needs no privilege.
pub fn mode(fd: BorrowedFd<'_>) -> Result<Mode> {
    let mut args = abi::FsInfo { head: [0; 2], fsid: [0; 16], rest: [0; 124] };
    update::<{ abi::FS_INFO }, _>(fd, &mut args).call("ioctl", || "BTRFS_IOC_FS_INFO".into())?;
    let mut name = String::with_capacity(36);
    for (position, byte) in args.fsid.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            name.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    // The directory is there while quotas are on, the file since simple quotas exist.
    let directory = format!("/sys/fs/btrfs/{name}/qgroups");
    match fs::read_to_string(format!("{directory}/mode")) {
        Ok(text) if text.trim() == "squota" => Ok(Mode::Simple),
        Ok(_) => Ok(Mode::Full),
        Err(_) if fs::exists(&directory).unwrap_or(false) => Ok(Mode::Full),
        Err(_) => Ok(Mode::Off),
    }
}

/// What a quota group holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QgroupUsage {
    /// Bytes that can be reached from the subvolume; simple quotas: that it has written.
    pub referenced: u64,
    /// Bytes that only this subvolume reaches; simple quotas: that it has written.
    pub exclusive: u64,
}

/// What a quota group may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QgroupLimits {
    /// Most bytes that can be reached from the subvolume.
    pub referenced: Option<u64>,
    /// Most bytes that only this subvolume reaches.
    pub exclusive: Option<u64>,
}

/// Sets both limits of the quota group of a subvolume; `None` takes one away. `ENOTCONN` while
/// quotas are off.
pub fn set_limits(fd: BorrowedFd<'_>, id: u64, limits: QgroupLimits) -> Result<()> {
    let args = abi::QgroupLimit {
        qgroupid: id,
        flags: abi::LIMIT_REFERENCED | abi::LIMIT_EXCLUSIVE,
        // All ones take the limit away.
        max_referenced: limits.referenced.unwrap_or(u64::MAX),
        max_exclusive: limits.exclusive.unwrap_or(u64::MAX),
        reserved: [0; 2],
    };
    set::<{ abi::QGROUP_LIMIT }, _>(fd, args)
        .call("ioctl", || format!("BTRFS_IOC_QGROUP_LIMIT, 0/{id}, {limits:?}"))
}

/// The limits of the quota group of a subvolume. `ENOENT` while quotas are off.
pub fn limits(fd: BorrowedFd<'_>, id: u64) -> Result<QgroupLimits> {
    let show = || format!("BTRFS_IOC_TREE_SEARCH, limits of 0/{id}");
    let key = Key { objectid: 0, kind: abi::QGROUP_LIMIT_KEY };
    let args = search(fd, abi::QUOTA_TREE, key, id, id, 1).call("ioctl", show)?;
    if args.key.nr_items == 0 {
        return Ok(QgroupLimits::default());
    }
    Ok(limits_at(&args, abi::SEARCH_HEADER))
}

/// The limits in a found item: struct btrfs_qgroup_limit_item is flags, referenced, exclusive, ...
fn limits_at(args: &abi::SearchArgs, at: usize) -> QgroupLimits {
    let field = |index: usize| number(args, at + index * 8).unwrap_or(0);
    let set = |flag: u64, index: usize| (field(0) & flag != 0).then(|| field(index));
    QgroupLimits {
        referenced: set(abi::LIMIT_REFERENCED, 1),
        exclusive: set(abi::LIMIT_EXCLUSIVE, 2),
    }
}

/// The numbers of all subvolumes that have a limit, with it; none while quotas are off.
pub fn all_limits(fd: BorrowedFd<'_>) -> Result<Vec<(u64, QgroupLimits)>> {
    let mut found = Vec::new();
    items(fd, abi::QGROUP_LIMIT_KEY, |id, args, at| {
        let limits = limits_at(args, at);
        if limits != QgroupLimits::default() {
            found.push((id, limits));
        }
    })?;
    Ok(found)
}

/// What the quota group of a subvolume holds, as of the last commit. `ENOENT` while quotas are off.
pub fn usage(fd: BorrowedFd<'_>, id: u64) -> Result<QgroupUsage> {
    let show = || format!("BTRFS_IOC_TREE_SEARCH, qgroup 0/{id}");
    let key = Key { objectid: 0, kind: abi::QGROUP_INFO_KEY };
    let args = search(fd, abi::QUOTA_TREE, key, id, id, 1).call("ioctl", show)?;
    if args.key.nr_items == 0 {
        return Err(Errno::NOENT).call("ioctl", show);
    }
    // struct btrfs_qgroup_info_item: generation, referenced, its compressed size, exclusive, ...
    let field = |index: usize| number(&args, abi::SEARCH_HEADER + index * 8).unwrap_or(0);
    Ok(QgroupUsage { referenced: field(1), exclusive: field(3) })
}

/// Removes quota groups whose subvolumes are gone; returns how many.
///
/// Kernels before 6.10 keep the group of a destroyed subvolume for ever, and let it be removed only
/// when the content is gone and counted off. May be repeated; what is not ready is left.
pub fn remove_stale(fd: BorrowedFd<'_>) -> Result<usize> {
    let mut stale = Vec::new();
    for id in qgroups(fd)? {
        if !subvolume_exists(fd, id)? {
            stale.push(id);
        }
    }
    if stale.is_empty() {
        return Ok(0);
    }
    // A subvolume that is being made has its group first. After this its making is over.
    sync(fd)?;
    let mut removed = 0;
    for id in stale {
        if subvolume_exists(fd, id)? {
            continue;
        }
        let args = abi::QgroupCreate { create: 0, qgroupid: id };
        match set::<{ abi::QGROUP_CREATE }, _>(fd, args) {
            Ok(()) => removed += 1,
            Err(Errno::BUSY | Errno::NOENT) => {}
            other => other.call("ioctl", || format!("BTRFS_IOC_QGROUP_CREATE, remove 0/{id}"))?,
        }
    }
    Ok(removed)
}

/// Numbers of all quota groups of subvolumes; none while quotas are off.
fn qgroups(fd: BorrowedFd<'_>) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    items(fd, abi::QGROUP_INFO_KEY, |id, _, _| found.push(id))?;
    Ok(found)
}

/// Takes all items of a kind that belong to subvolumes: number, and where the item is.
fn items(
    fd: BorrowedFd<'_>,
    kind: u32,
    mut take: impl FnMut(u64, &abi::SearchArgs, usize),
) -> Result<()> {
    let show = || "BTRFS_IOC_TREE_SEARCH, quota tree".to_owned();
    let last = (1 << abi::QGROUP_LEVEL_SHIFT) - 1;
    let mut first = abi::FIRST_FREE_OBJECTID;
    loop {
        let key = Key { objectid: 0, kind };
        let args = match search(fd, abi::QUOTA_TREE, key, first, last, u32::MAX) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.call("ioctl", show)?,
        };
        let mut at = 0;
        for _ in 0..args.key.nr_items {
            // struct btrfs_ioctl_search_header: transid, objectid, offset, type and length.
            let (Some(offset), Some(lengths)) = (number(&args, at + 16), number(&args, at + 24))
            else {
                return Ok(());
            };
            take(offset, &args, at + abi::SEARCH_HEADER);
            first = offset + 1;
            at += abi::SEARCH_HEADER + (lengths >> 32) as usize;
        }
        if args.key.nr_items == 0 {
            return Ok(());
        }
    }
}

/// Whether a subvolume, or something of it that is still being removed, is there.
fn subvolume_exists(fd: BorrowedFd<'_>, id: u64) -> Result<bool> {
    let key = Key { objectid: id, kind: abi::ROOT_ITEM_KEY };
    let args = search(fd, abi::ROOT_TREE, key, 0, u64::MAX, 1)
        .call("ioctl", || format!("BTRFS_IOC_TREE_SEARCH, subvolume {id}"))?;
    Ok(args.key.nr_items > 0)
}
