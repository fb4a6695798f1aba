//! Structures and numbers of <linux/btrfs.h> and <linux/btrfs_tree.h>.

use rustix::ioctl::{Opcode, opcode};

/// Group of all ioctls of btrfs.
const MAGIC: u8 = 0x94;

/// `struct btrfs_ioctl_vol_args`
#[repr(C)]
pub struct VolArgs {
    pub fd: i64,
    pub name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`
#[repr(C)]
pub struct VolArgsV2 {
    pub fd: i64,
    pub transid: u64,
    pub flags: u64,
    pub unused: [u64; 4],
    pub name: [u8; 4040],
}

/// `struct btrfs_ioctl_ino_lookup_args`
#[repr(C)]
pub struct InoLookup {
    pub treeid: u64,
    pub objectid: u64,
    pub name: [u8; 4080],
}

/// `struct btrfs_ioctl_ino_lookup_user_args`
#[repr(C)]
pub struct InoLookupUser {
    pub dirid: u64,
    pub treeid: u64,
    pub name: [u8; 256],
    pub path: [u8; 3824],
}

/// One entry of [`SubvolRootref`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Rootref {
    pub treeid: u64,
    pub dirid: u64,
}

/// `struct btrfs_ioctl_get_subvol_rootref_args`
#[repr(C)]
pub struct SubvolRootref {
    pub min_treeid: u64,
    pub rootref: [Rootref; 255],
    pub num_items: u8,
    pub align: [u8; 7],
}

/// `struct btrfs_ioctl_quota_ctl_args`
#[repr(C)]
pub struct QuotaCtl {
    pub cmd: u64,
    pub status: u64,
}

/// `struct btrfs_ioctl_qgroup_create_args`
#[repr(C)]
pub struct QgroupCreate {
    pub create: u64,
    pub qgroupid: u64,
}

/// `struct btrfs_ioctl_qgroup_limit_args`
#[repr(C)]
pub struct QgroupLimit {
    pub qgroupid: u64,
    pub flags: u64,
    pub max_referenced: u64,
    pub max_exclusive: u64,
    pub reserved: [u64; 2],
}

/// `struct btrfs_ioctl_fs_info_args`, of which only the identity is of use here.
#[repr(C)]
pub struct FsInfo {
    pub head: [u64; 2],
    pub fsid: [u8; 16],
    pub rest: [u64; 124],
}

/// `struct btrfs_ioctl_search_key`
#[repr(C)]
pub struct SearchKey {
    pub tree_id: u64,
    pub min_objectid: u64,
    pub max_objectid: u64,
    pub min_offset: u64,
    pub max_offset: u64,
    pub min_transid: u64,
    pub max_transid: u64,
    pub min_type: u32,
    pub max_type: u32,
    pub nr_items: u32,
    pub unused: u32,
    pub unused64: [u64; 4],
}

/// `struct btrfs_ioctl_search_args`
#[repr(C)]
pub struct SearchArgs {
    pub key: SearchKey,
    pub buf: [u8; 4096 - 104],
}

/// Bytes of `struct btrfs_ioctl_search_header` in front of each found item.
pub const SEARCH_HEADER: usize = 32;

/// `BTRFS_FIRST_FREE_OBJECTID`: the inode number of every subvolume's root.
pub const FIRST_FREE_OBJECTID: u64 = 256;
/// `BTRFS_ROOT_TREE_OBJECTID`
pub const ROOT_TREE: u64 = 1;
/// `BTRFS_ROOT_ITEM_KEY`
pub const ROOT_ITEM_KEY: u32 = 132;
/// `BTRFS_QUOTA_TREE_OBJECTID`
pub const QUOTA_TREE: u64 = 8;
/// `BTRFS_QGROUP_INFO_KEY`
pub const QGROUP_INFO_KEY: u32 = 242;
/// `BTRFS_QGROUP_LIMIT_KEY`
pub const QGROUP_LIMIT_KEY: u32 = 244;
/// `BTRFS_QGROUP_LIMIT_MAX_RFER`
pub const LIMIT_REFERENCED: u64 = 1;
/// `BTRFS_QGROUP_LIMIT_MAX_EXCL`
pub const LIMIT_EXCLUSIVE: u64 = 2;
/// Bits of a quota group's number that are that of its subvolume; the level is above them.
pub const QGROUP_LEVEL_SHIFT: u32 = 48;
/// `BTRFS_QUOTA_CTL_ENABLE`
pub const QUOTA_CTL_ENABLE: u64 = 1;
/// `BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA`
pub const QUOTA_CTL_ENABLE_SIMPLE: u64 = 4;

pub const RESIZE: Opcode = opcode::write::<VolArgs>(MAGIC, 3);
pub const SYNC: Opcode = opcode::none(MAGIC, 8);
pub const SUBVOL_CREATE: Opcode = opcode::write::<VolArgs>(MAGIC, 14);
pub const SNAP_DESTROY: Opcode = opcode::write::<VolArgs>(MAGIC, 15);
pub const TREE_SEARCH: Opcode = opcode::read_write::<SearchArgs>(MAGIC, 17);
pub const INO_LOOKUP: Opcode = opcode::read_write::<InoLookup>(MAGIC, 18);
pub const SNAP_CREATE_V2: Opcode = opcode::write::<VolArgsV2>(MAGIC, 23);
pub const FS_INFO: Opcode = opcode::read::<FsInfo>(MAGIC, 31);
pub const QUOTA_CTL: Opcode = opcode::read_write::<QuotaCtl>(MAGIC, 40);
pub const QGROUP_CREATE: Opcode = opcode::write::<QgroupCreate>(MAGIC, 42);
pub const QGROUP_LIMIT: Opcode = opcode::read::<QgroupLimit>(MAGIC, 43);
pub const GET_SUBVOL_ROOTREF: Opcode = opcode::read_write::<SubvolRootref>(MAGIC, 61);
pub const INO_LOOKUP_USER: Opcode = opcode::read_write::<InoLookupUser>(MAGIC, 62);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<VolArgs>(), 4096);
        assert_eq!(size_of::<VolArgsV2>(), 4096);
        assert_eq!(size_of::<InoLookup>(), 4096);
        assert_eq!(size_of::<InoLookupUser>(), 4096);
        assert_eq!(size_of::<SubvolRootref>(), 4096);
        assert_eq!(size_of::<QgroupCreate>(), 16);
        assert_eq!(size_of::<QgroupLimit>(), 48);
        assert_eq!(size_of::<FsInfo>(), 1024);
        assert_eq!(size_of::<SearchKey>(), 104);
        assert_eq!(size_of::<SearchArgs>(), 4096);
    }
}
