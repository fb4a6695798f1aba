//! The size of an XFS.

use std::os::fd::BorrowedFd;

use rustix::fs::fstatfs;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use crate::{Call, Result};

/// `struct xfs_fsop_geom_v1` of <xfs/xfs_fs.h>
#[repr(C)]
#[derive(Clone, Copy)]
struct Geometry {
    blocksize: u32,
    rtextsize: u32,
    agblocks: u32,
    agcount: u32,
    logblocks: u32,
    sectsize: u32,
    inodesize: u32,
    imaxpct: u32,
    datablocks: u64,
    rtblocks: u64,
    rtextents: u64,
    logstart: u64,
    uuid: [u8; 16],
    sunit: u32,
    swidth: u32,
    version: i32,
    flags: u32,
    logsectsize: u32,
    rtsectsize: u32,
    dirblocksize: u32,
}

/// `struct xfs_growfs_data`
#[repr(C)]
#[derive(Clone, Copy)]
struct Grow {
    newblocks: u64,
    imaxpct: u32,
}

const FSGEOMETRY_V1: Opcode = opcode::read::<Geometry>(b'X', 100);
const FSGROWFSDATA: Opcode = opcode::write::<Grow>(b'X', 110);

/// Lets the file system that a directory lies on take so many bytes of its device. What it has already it
/// keeps.
pub fn grow(fd: BorrowedFd<'_>, bytes: u64) -> Result<()> {
    // SAFETY: XFS_IOC_FSGEOMETRY_V1 fills the structure that it is made of; every bit pattern is
    // valid.
    let geometry = unsafe { ioctl(fd, Getter::<FSGEOMETRY_V1, Geometry>::new()) }
        .call("ioctl", || "XFS_IOC_FSGEOMETRY_V1".into())?;
    let block = u64::try_from(fstatfs(fd).call("fstatfs", String::new)?.f_bsize).unwrap_or(4096);
    let newblocks = bytes / block.max(1);
    if newblocks <= geometry.datablocks {
        return Ok(());
    }
    let args = Grow { newblocks, imaxpct: geometry.imaxpct };
    // SAFETY: XFS_IOC_FSGROWFSDATA reads the structure that it is made of.
    unsafe { ioctl(fd, Setter::<FSGROWFSDATA, Grow>::new(args)) }
        .call("ioctl", || format!("XFS_IOC_FSGROWFSDATA, {newblocks} blocks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<Geometry>(), 112);
        assert_eq!(size_of::<Grow>(), 16);
        assert_eq!((FSGEOMETRY_V1, FSGROWFSDATA), (0x8070_5864, 0x4010_586e));
    }
}
