//! Project quotas of XFS: which project a file belongs to, and what a project may hold.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, fstat};
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use crate::{Call, Errno, Result};

/// Bytes of the unit in which XFS counts blocks (`BBSIZE`).
const SECTOR: u64 = 512;

/// `struct fsxattr` of <linux/fs.h>
#[repr(C)]
#[derive(Clone, Copy)]
struct FsXattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// `FS_XFLAG_PROJINHERIT`: what is made in a directory belongs to the directory's project.
const PROJINHERIT: u32 = 0x200;
const FSGETXATTR: Opcode = opcode::read::<FsXattr>(b'X', 31);
const FSSETXATTR: Opcode = opcode::write::<FsXattr>(b'X', 32);

/// `struct fs_disk_quota` of <linux/dqblk_xfs.h>
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct DiskQuota {
    version: i8,
    flags: i8,
    fieldmask: u16,
    id: u32,
    blk_hardlimit: u64,
    blk_softlimit: u64,
    ino_hardlimit: u64,
    ino_softlimit: u64,
    bcount: u64,
    icount: u64,
    itimer: i32,
    btimer: i32,
    iwarns: u16,
    bwarns: u16,
    itimer_hi: i8,
    btimer_hi: i8,
    rtbtimer_hi: i8,
    padding2: i8,
    rtb_hardlimit: u64,
    rtb_softlimit: u64,
    rtbcount: u64,
    rtbtimer: i32,
    rtbwarns: u16,
    padding3: i16,
    padding4: [u8; 8],
}

/// `struct fs_quota_statv` of <linux/dqblk_xfs.h>, of which only the flags are of use here.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct QuotaState {
    version: i8,
    pad1: u8,
    flags: u16,
    rest: [u32; 1 + 3 * 6 + 3 + 3],
    pad2: [u64; 7],
}

/// `PRJQUOTA`
const PROJECT: u32 = 2;
const XGETQUOTA: u32 = command(3);
const XSETQLIM: u32 = command(4);
const XGETQSTATV: u32 = command(8);
/// `FS_DQ_ISOFT | FS_DQ_IHARD | FS_DQ_BSOFT | FS_DQ_BHARD`
const ALL_LIMITS: u16 = 0xf;
/// `FS_PROJ_QUOTA`
const PROJECT_FLAG: i8 = 2;
/// `FS_QUOTA_PDQ_ACCT` and `FS_QUOTA_PDQ_ENFD`
const COUNTED: u16 = 1 << 4;
const ENFORCED: u16 = 1 << 5;

/// `QCMD(XQM_CMD(number), PRJQUOTA)`
const fn command(number: u32) -> u32 {
    (((b'X' as u32) << 8) + number) << 8 | PROJECT
}

/// The project that a file or directory belongs to; 0 is none.
pub fn project_id(fd: BorrowedFd<'_>) -> Result<u32> {
    Ok(attributes(fd)?.projid)
}

/// Gives a file or directory to a project; what is made in a directory from now on follows it.
/// What is there already stays where it is.
pub fn set_project_id(fd: BorrowedFd<'_>, id: u32) -> Result<()> {
    let mut attributes = attributes(fd)?;
    attributes.projid = id;
    let directory =
        rustix::fs::FileType::from_raw_mode(fstat(fd).call("fstat", String::new)?.st_mode)
            == rustix::fs::FileType::Directory;
    if directory {
        attributes.xflags |= PROJINHERIT;
    }
    // SAFETY: FS_IOC_FSSETXATTR reads the structure that it is made of.
    unsafe { ioctl(fd, Setter::<FSSETXATTR, FsXattr>::new(attributes)) }
        .call("ioctl", || format!("FS_IOC_FSSETXATTR, project {id}"))
}

fn attributes(fd: BorrowedFd<'_>) -> Result<FsXattr> {
    // SAFETY: FS_IOC_FSGETXATTR fills the structure that it is made of; every bit pattern is valid.
    unsafe { ioctl(fd, Getter::<FSGETXATTR, FsXattr>::new()) }
        .call("ioctl", || "FS_IOC_FSGETXATTR".into())
}

/// What a project may hold; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes on disk. XFS counts sectors of 512 bytes and rounds to whole blocks.
    pub bytes: u64,
    /// Files, directories and everything else that has an inode.
    pub inodes: u64,
}

/// What a project holds, and what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Bytes on disk, reserved ones too.
    pub bytes: u64,
    /// Files, directories and everything else that has an inode.
    pub inodes: u64,
    /// The hard limits.
    pub limits: Limits,
}

/// What a mounted file system does with project quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing: it was mounted without `pquota`, or the kernel cannot.
    Off,
    /// It counts and never refuses (`pqnoenforce`).
    Counted,
    /// It counts and refuses.
    Enforced,
}

/// The project quotas of one file system.
#[derive(Debug)]
pub struct ProjectQuotas<'a> {
    /// Something open on the file system.
    fd: BorrowedFd<'a>,
    /// Where the device node is, or is made, that kernels before 5.14 have to be asked with.
    special: PathBuf,
}

impl<'a> ProjectQuotas<'a> {
    /// The quotas of the file system that `fd` lies on. `special` is where a block device node may be
    /// made when the kernel needs one; nothing else may make files there.
    pub fn new(fd: BorrowedFd<'a>, special: PathBuf) -> Self {
        Self { fd, special }
    }

    /// Whether projects are counted and limits are held.
    pub fn state(&self) -> Result<State> {
        let mut state = QuotaState { version: 1, ..QuotaState::default() };
        match self.call(XGETQSTATV, 0, &mut state) {
            // Quotas are off, the kernel was built without them, or the file system has none.
            Err(Errno::NOSYS | Errno::OPNOTSUPP) => Ok(State::Off),
            other => {
                other.call("quotactl", || "Q_XGETQSTATV".into())?;
                Ok(match state.flags & (COUNTED | ENFORCED) {
                    0 | ENFORCED => State::Off,
                    COUNTED => State::Counted,
                    _ => State::Enforced,
                })
            }
        }
    }

    /// What a project holds and may hold; all zero for one that was never used.
    pub fn get(&self, id: u32) -> Result<Quota> {
        let mut found = DiskQuota::default();
        match self.call(XGETQUOTA, id, &mut found) {
            Err(Errno::NOENT) => return Ok(Quota::default()),
            other => other.call("quotactl", || format!("Q_XGETQUOTA, project {id}"))?,
        }
        Ok(Quota {
            bytes: found.bcount.saturating_mul(SECTOR),
            inodes: found.icount,
            limits: Limits {
                bytes: found.blk_hardlimit.saturating_mul(SECTOR),
                inodes: found.ino_hardlimit,
            },
        })
    }

    /// Sets what a project may hold. A project that holds more already keeps it, and gets no more.
    pub fn set(&self, id: u32, limits: Limits) -> Result<()> {
        // Less than a sector is not nothing: that would be no limit.
        let sectors = (limits.bytes / SECTOR).max(u64::from(limits.bytes > 0));
        let mut wanted = DiskQuota {
            version: 1,
            flags: PROJECT_FLAG,
            fieldmask: ALL_LIMITS,
            id,
            blk_hardlimit: sectors,
            blk_softlimit: sectors,
            ino_hardlimit: limits.inodes,
            ino_softlimit: limits.inodes,
            ..DiskQuota::default()
        };
        self.call(XSETQLIM, id, &mut wanted)
            .call("quotactl", || format!("Q_XSETQLIM, project {id}, {} bytes", limits.bytes))
    }

    fn call<T>(&self, command: u32, id: u32, data: &mut T) -> std::result::Result<(), Errno> {
        // SAFETY: each command above goes with the structure that the kernel reads or fills for it;
        // it lives until the call returns.
        let result = unsafe {
            libc::syscall(libc::SYS_quotactl_fd, self.fd.as_raw_fd(), command, id, &raw mut *data)
        };
        match last(result) {
            // The same number says that there is no such call, and that there are no quotas.
            Err(Errno::NOSYS) if kernel_needs_device() => {}
            other => return other,
        }
        let special = self.device_node()?;
        let special = CString::new(special.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
        // SAFETY: as above; `special` is a string that ends in NUL and lives until the call returns.
        let result = unsafe {
            libc::syscall(
                libc::SYS_quotactl,
                libc::c_long::from(command),
                special.as_ptr(),
                id,
                &raw mut *data,
            )
        };
        last(result)
    }

    /// The node of the device that the file system lies on, made when it is not there.
    fn device_node(&self) -> std::result::Result<&Path, Errno> {
        let device = fstat(self.fd)?.st_dev;
        let is_it = |found: &rustix::fs::Stat| {
            rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::BlockDevice
                && found.st_rdev == device
        };
        match rustix::fs::lstat(&self.special) {
            Ok(found) if is_it(&found) => return Ok(&self.special),
            // The number of a loop device is another one after a reboot.
            Ok(_) => rustix::fs::unlink(&self.special)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        match rustix::fs::mknodat(
            CWD,
            &self.special,
            rustix::fs::FileType::BlockDevice,
            mode,
            device,
        ) {
            Ok(()) | Err(Errno::EXIST) => Ok(&self.special),
            Err(errno) => Err(errno),
        }
    }
}

fn last(result: libc::c_long) -> std::result::Result<(), Errno> {
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Whether the running kernel has quotas of XFS at all.
pub fn kernel_has_xfs_quotas() -> bool {
    Path::new("/proc/fs/xfs/xqm").exists()
}

/// Whether the kernel has to be asked with a device node (before Linux 5.14).
pub fn kernel_needs_device() -> bool {
    // SAFETY: no descriptor has the number -1, so the kernel looks at nothing else.
    let result = unsafe { libc::syscall(libc::SYS_quotactl_fd, -1, XGETQSTATV, 0, 0) };
    last(result) == Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<FsXattr>(), 28);
        assert_eq!(size_of::<DiskQuota>(), 112);
        assert_eq!(size_of::<QuotaState>(), 160);
        assert_eq!((FSGETXATTR, FSSETXATTR), (0x801c_581f, 0x401c_5820));
        assert_eq!(XGETQUOTA, 0x0058_0302);
    }
}
