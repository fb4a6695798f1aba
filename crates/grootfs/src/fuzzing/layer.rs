//! One layer into a directory, by rules that the first byte of the input chooses.

use std::io::Cursor;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::idmap::{IdMapping, IdMappings};
use crate::unpack::{self, Limits, OnDisk, Target};

/// Bytes and entries that one layer may have; a fuzzer is not to fill the disk.
const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 1000 };

/// Where the layer goes.
#[derive(Debug, Clone, Copy)]
pub struct Disk<'a> {
    /// The volume, a directory that is open; `home/app` must be in it.
    pub root: BorrowedFd<'a>,
    /// A 0:0 character device on the same file system; without it nothing is unpacked as on overlay.
    pub whiteout_device: Option<BorrowedFd<'a>>,
}

/// Unpacks a layer. Bits of the first byte: 1 as on overlay, 2 with mapped owners, 4 below a base
/// directory; the rest is the tar. What lies outside of the root is for the caller to look at.
///
/// On btrfs a layer is unpacked twice, so that the second time everything is there already.
pub fn unpack(disk: Disk<'_>, bytes: &[u8]) {
    let Some((rules, archive)) = bytes.split_first() else { return };
    let archive = super::mend(archive);
    let all = |host| IdMappings {
        uids: vec![IdMapping { ns: 0, host, size: 65_536 }],
        gids: vec![IdMapping { ns: 0, host, size: 65_536 }],
    };
    let mappings = if rules & 2 == 0 { IdMappings::default() } else { all(100_000) };
    let overlay = disk.whiteout_device.filter(|_| rules & 1 != 0);
    let target = Target {
        root: disk.root,
        on_disk: match overlay {
            Some(whiteout_device) => OnDisk::Overlay { whiteout_device },
            None => OnDisk::Plain,
        },
        mappings: &mappings,
        base_directory: (rules & 4 != 0).then_some(Path::new("/home/app")),
        limits: LIMITS,
    };
    for _ in 0..if overlay.is_some() { 1 } else { 2 } {
        let Ok(unpacked) = unpack::unpack(&mut Cursor::new(&archive), &target) else { return };
        assert!(unpacked.bytes <= LIMITS.bytes && unpacked.entries <= LIMITS.entries);
    }
}
