//! Disk limits of root file systems on btrfs, by quota groups.
//!
//! Every subvolume has a quota group of its own number; limits are set on that one. `grootfs` calls
//! this library when it runs as root. For other users there is the set-uid program of the same
//! name, which calls it after it has checked everything.

use std::os::fd::BorrowedFd;

use groot_sys::Result;
use groot_sys::qgroup::{self, QgroupLimits};
pub use groot_sys::qgroup::{Mode, mode};

/// What a subvolume holds, and what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Bytes that can be reached from it; with simple quotas, those that it has written.
    pub referenced: u64,
    /// Bytes that only it reaches; with simple quotas, those that it has written.
    pub exclusive: u64,
    /// Its limits.
    pub limits: QgroupLimits,
}

/// Sets the limit of a subvolume and takes away the other one. A subvolume that holds more already
/// keeps it, and gets no more.
pub fn limit(subvolume: BorrowedFd<'_>, limits: QgroupLimits) -> Result<()> {
    let id = groot_sys::btrfs::subvolume_id(subvolume)?;
    qgroup::set_limits(subvolume, id, limits)
}

/// The numbers of all subvolumes of the file system that have a limit, with it.
pub fn all_limits(filesystem: BorrowedFd<'_>) -> Result<Vec<(u64, QgroupLimits)>> {
    qgroup::all_limits(filesystem)
}

/// The number of a subvolume.
pub fn number(subvolume: BorrowedFd<'_>) -> Result<u64> {
    groot_sys::btrfs::subvolume_id(subvolume)
}

/// What a subvolume holds as of the last commit; [`groot_sys::btrfs::sync`] makes one.
pub fn quota(subvolume: BorrowedFd<'_>) -> Result<Quota> {
    let id = groot_sys::btrfs::subvolume_id(subvolume)?;
    let usage = qgroup::usage(subvolume, id)?;
    let limits = qgroup::limits(subvolume, id)?;
    Ok(Quota { referenced: usage.referenced, exclusive: usage.exclusive, limits })
}
