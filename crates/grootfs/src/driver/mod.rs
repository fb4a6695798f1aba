//! How the kernel shares layers between root file systems.
//!
//! A driver knows paths of the store (`store::layout`) and system calls, and nothing about
//! images, registries or tars. There are two: [`overlay_xfs`] keeps each layer by itself and
//! mounts them on top of each other; [`btrfs`] keeps each layer as a snapshot of the one below.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::PathError;
use crate::idmap::Owner;
use crate::observe::Log;
use crate::store::layout::{ImagePaths, Layout};

pub mod btrfs;
pub mod faults;
mod files;
pub mod helper;
pub mod limit;
pub mod look;
pub mod overlay_xfs;
mod projects;
mod quota_groups;
mod short_name;
mod told;

use faults::Faults;
pub(crate) use files::{read_number, remove_tree, rewrite_number, unmount};
use helper::Helpers;
use limit::{Limit, TooSmall, Usage};
pub use told::Told;

/// How btrfs counts.
pub use drax::Mode as QuotaMode;

/// Which driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Overlay over XFS.
    OverlayXfs,
    /// Snapshots of btrfs.
    Btrfs,
}

impl Kind {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OverlayXfs => "overlay-xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The file system that it needs, as the kernel calls it.
    pub fn filesystem(self) -> &'static str {
        match self {
            Self::OverlayXfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The driver that a store was made with; `None` when that cannot be seen.
    pub fn of_store(layout: &Layout) -> Option<Self> {
        if layout.links().is_dir() {
            return Some(Self::OverlayXfs);
        }
        // After a reboot a file system of the store's own is not mounted yet; its file tells.
        let mounted = groot_sys::mount::is_mount_point(layout.root()).unwrap_or(false);
        if !mounted && let Ok(Some(found)) = groot_sys::probe::superblock(&layout.backing_file()) {
            return Self::of_filesystem(found);
        }
        let magic = groot_sys::fs::filesystem_type(layout.root()).ok()?;
        (magic == groot_sys::fs::BTRFS_MAGIC).then_some(Self::Btrfs)
    }

    /// The driver that uses a file system of this name.
    fn of_filesystem(name: &str) -> Option<Self> {
        match name {
            "xfs" => Some(Self::OverlayXfs),
            "btrfs" => Some(Self::Btrfs),
            _ => None,
        }
    }

    /// The driver for a store. The helpers are what users other than root set limits with; their runs are
    /// logged.
    pub fn driver(self, layout: &Layout, helpers: &Helpers, log: &Log) -> Box<dyn Driver> {
        let layout = layout.clone();
        match self {
            Self::OverlayXfs => Box::new(overlay_xfs::OverlayXfs::new(layout, helpers.tardis(log))),
            Self::Btrfs => Box::new(btrfs::Btrfs::new(layout, helpers.drax(log))),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "overlay-xfs" => Ok(Self::OverlayXfs),
            "btrfs" => Ok(Self::Btrfs),
            _ => Err(Error::UnknownDriver(name.to_owned())),
        }
    }
}

/// Why a driver failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is no driver's.
    #[error("filesystem driver not supported: {0} (supported: overlay-xfs, btrfs)")]
    UnknownDriver(String),
    /// The store lies on a file system that the driver cannot use.
    #[error(
        "Store path filesystem ({}) is incompatible with requested driver ({driver} needs {needs})",
        path.display()
    )]
    WrongFilesystem {
        /// What was looked at.
        path: PathBuf,
        /// Which driver.
        driver: Kind,
        /// What it needs.
        needs: &'static str,
    },
    /// A file operation.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A system call.
    #[error("{action}")]
    System {
        /// What was being done, in the contract's words.
        action: String,
        /// The call and the kernel's answer.
        source: groot_sys::Error,
    },
    /// A layer that should be in the store is not.
    #[error("base volume path does not exist: {} (`grootfs check` says what else is missing)", .0.display())]
    VolumeMissing(PathBuf),
    /// A device of the store is something else.
    #[error(
        "the whiteout device file is not a valid device {}; remove it and run init-store again",
        .0.display()
    )]
    NotAWhiteoutDevice(PathBuf),
    /// Something that cannot be counted.
    #[error("{0}")]
    Usage(String),
    /// The file system holds no limits: what is missing, and what mends it.
    #[error("disk limits are not available: {0}")]
    NoLimits(String),
    /// A limit that the image alone exceeds.
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
    /// A limit could not be set on a new root.
    #[error("applying disk limits")]
    ApplyingLimits(#[source] Box<Error>),
    /// A project of XFS.
    #[error(transparent)]
    Project(#[from] tardis::Error),
    /// A set-uid helper.
    #[error("{why}")]
    Helper {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Whether it failed for want of room.
    pub fn is_no_room(&self) -> bool {
        matches!(self, Self::Path(error) if error.is_no_room())
    }
}

/// Names what was being done when a system call failed.
pub(crate) trait Doing<T> {
    /// Names the action.
    fn doing(self, action: impl Into<String>) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, groot_sys::Error> {
    fn doing(self, action: impl Into<String>) -> Result<T, Error> {
        self.map_err(|source| Error::System { action: action.into(), source })
    }
}

/// What a root file system is made of.
#[derive(Debug)]
pub struct NewRoot<'a> {
    /// Where it goes; the directory is there and empty.
    pub paths: &'a ImagePaths,
    /// Chain ids of its layers, base first; never empty.
    pub volumes: &'a [String],
    /// Bytes of its layers together.
    pub layers_size: u64,
    /// Whether to mount it, or to say how it is mounted.
    pub mount: bool,
    /// Who owns its root directory.
    pub owner: Owner,
    /// What it may hold.
    pub limit: Limit,
    /// Whether its layers have marks for overlays that users mount, to be looked for.
    pub user_marks: bool,
    /// Where it is told what was lost and has been made again.
    pub log: &'a Log,
}

/// A new limit for a root file system; `None` leaves what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Bytes, and what they count; 0 bytes lift the limit.
    pub bytes: Option<(u64, limit::Scope)>,
    /// Inodes; 0 lifts the limit.
    pub inodes: Option<u64>,
}

/// Something that the runtime is to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// The root file system itself, made by the runtime from these parts.
    Overlay {
        /// Layer directories, topmost first.
        lower: Vec<PathBuf>,
        /// Upper directory.
        upper: PathBuf,
        /// Work directory.
        work: PathBuf,
        /// Whether it is mounted with `userxattr`.
        user_xattrs: bool,
    },
    /// The root file system itself, bound from this directory.
    Bind(PathBuf),
}

/// Where a layer is written: its directory, and how deletions are written there.
#[derive(Debug)]
pub struct VolumeTree {
    /// The open root directory of the layer.
    pub root: OwnedFd,
    /// Overlay: the device that whiteouts are links to. Otherwise the layers below are in the tree.
    pub whiteout_device: Option<OwnedFd>,
}

/// How layers become root file systems. No method takes a lock; the caller holds what
/// `store::locks` asks for.
pub trait Driver: Faults + fmt::Debug + Send + Sync {
    /// Which driver this is.
    fn kind(&self) -> Kind;

    /// Whether a layer is written on top of its parent, so that parents must be there first.
    fn stacks_volumes(&self) -> bool;

    /// Fails when the file system at `path` is not the driver's.
    fn check_filesystem(&self, path: &Path) -> Result<(), Error>;

    /// Makes a file system in a file or on a device. Destroys what was there.
    fn format(&self, device: &Path, tools: Option<&Path>) -> Result<(), Error>;

    /// Mounts the store's own file system from a device.
    fn mount_store(&self, device: &Path) -> Result<(), Error>;

    /// Lets the store's own file system take so many bytes of its device, which has them.
    fn grow(&self, bytes: u64) -> Result<(), Error>;

    /// Turns on what limits need, on a file system that was made for this store. `simple` asks for quotas that
    /// count less and cost less; what is on already stays.
    fn enable_limits(&self, simple: bool) -> Result<(), Error>;

    /// How the file system counts what limits are for; `None` where there is one way only, or it cannot be seen.
    fn quotas(&self) -> Option<QuotaMode>;

    /// Makes the driver's own parts of a store. May be repeated.
    fn configure_store(&self, owner: Option<Owner>) -> Result<(), Error>;

    /// Makes an empty volume, or one with the content of its parent. Not atomic: the name must be
    /// one of an incomplete volume.
    fn create_volume(&self, parent: Option<&str>, name: &str) -> Result<(), Error>;

    /// Opens a volume for writing.
    fn open_volume(&self, name: &str) -> Result<VolumeTree, Error>;

    /// Marks directories of a volume, given by their paths in it, as hiding those of the layers below. For users
    /// other than root: root does it while it unpacks. May be repeated.
    fn mark_opaque(&self, name: &str, directories: &[&Path]) -> Result<(), Error>;

    /// Gives an incomplete volume its final name. Atomic; where the final name is taken already,
    /// that volume stays and this call succeeds.
    fn publish_volume(&self, from: &str, to: &str) -> Result<(), Error>;

    /// Renames a volume that nobody uses any more; it is no layer afterwards. Atomic.
    fn retire_volume(&self, name: &str, garbage: &str) -> Result<(), Error>;

    /// Removes a volume of any name. May be repeated; a volume that is not there is success.
    fn destroy_volume(&self, name: &str) -> Result<(), Error>;

    /// Makes a root file system. Not atomic: on failure the caller destroys the rest.
    ///
    /// Returns what the runtime has to mount, if it was not mounted here.
    fn create_root(&self, root: &NewRoot<'_>) -> Result<Option<Mount>, Error>;

    /// Unmounts a root file system. May be repeated.
    fn unmount_root(&self, paths: &ImagePaths) -> Result<(), Error>;

    /// Removes an unmounted root file system with its directory. May be repeated.
    fn destroy_root(&self, paths: &ImagePaths) -> Result<(), Error>;

    /// Removes what the file system itself keeps about volumes and roots that were destroyed. May
    /// be repeated; what is still being removed is left for the next time.
    fn sweep(&self) -> Result<(), Error>;

    /// Fails when the file system holds no limits: [`Error::NoLimits`] says what is missing.
    fn check_limits(&self) -> Result<(), Error>;

    /// Changes the limit of a root file system that is in use. One that holds more already keeps it and
    /// gets no more.
    fn set_limit(&self, paths: &ImagePaths, change: &Change) -> Result<(), Error>;

    /// Brings the numbers up to date that `usage` reads; once before any number of roots.
    fn count(&self) -> Result<(), Error>;

    /// What a root file system holds and may hold. Costs the same whatever it holds.
    fn usage(&self, paths: &ImagePaths) -> Result<Usage, Error>;

    /// Bytes that the limits of these roots promise; `None` where nobody but root can know. One that is gone
    /// promises nothing.
    fn promised(&self, roots: &[ImagePaths]) -> Result<Option<u64>, Error>;

    /// The volumes that a mounted root is made of, as the kernel tells: for a root of which nothing else is
    /// known. None where a root does not need its volumes any more.
    fn volumes_of(&self, paths: &ImagePaths) -> Result<Vec<String>, Error>;

    /// Removes what killed processes have left of volumes other than these, which are all that are there.
    fn remove_leftovers(&self, volumes: &[String]) -> Result<(), Error>;

    /// Gives back what roots had that are gone, when these are all that are there. The caller makes
    /// sure that none is being made.
    fn reclaim(&self, roots: &[ImagePaths]) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unmounted_store_shows_its_driver_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("store"));
        assert_eq!(Kind::of_store(&layout), None);
        let mut btrfs = vec![0; 0x20000];
        btrfs[0x10040..0x10048].copy_from_slice(b"_BHRfS_M");
        for (bytes, expected) in [
            (vec![0; 4096], None),
            (b"XFSB".to_vec(), Some(Kind::OverlayXfs)),
            (btrfs, Some(Kind::Btrfs)),
            (b"my diary".to_vec(), None),
        ] {
            std::fs::write(layout.backing_file(), bytes).unwrap();
            assert_eq!(Kind::of_store(&layout), expected);
        }
    }
}
