//! Layers as snapshots of each other on btrfs.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;

use super::helper::Helper;
use super::limit::Usage;
use super::quota_groups::{self, QuotaGroups};
use super::{Change, Doing, Driver, Error, Kind, Mount, NewRoot, QuotaMode, VolumeTree, files};
use crate::error::{AtPath, PathError};
use crate::idmap::Owner;
use crate::store::layout::{ImagePaths, Layout};
use crate::userns;

mod faults;

/// The driver.
#[derive(Debug)]
pub struct Btrfs {
    layout: Layout,
    drax: Helper,
}

impl Btrfs {
    /// A driver for one store; `drax` sets limits for users other than root.
    pub fn new(layout: Layout, drax: Helper) -> Self {
        Self { layout, drax }
    }

    fn quota_groups(&self) -> QuotaGroups {
        QuotaGroups::new(&self.layout, &self.drax)
    }

    fn snapshot(&self, volume: &str, target: &Path) -> Result<(), Error> {
        let source = self.layout.volume(volume);
        let Some(source_fd) = files::open_existing(&source)? else {
            return Err(Error::VolumeMissing(source));
        };
        let (parent, name) = split(target)?;
        let parent_fd = files::open_directory(parent)?;
        groot_sys::btrfs::snapshot(source_fd.as_fd(), parent_fd.as_fd(), name).doing(format!(
            "creating btrfs snapshot from `{}` to `{}`",
            source.display(),
            target.display()
        ))
    }
}

impl Driver for Btrfs {
    fn kind(&self) -> Kind {
        Kind::Btrfs
    }

    fn stacks_volumes(&self) -> bool {
        true
    }

    fn check_filesystem(&self, path: &Path) -> Result<(), Error> {
        files::require_filesystem(path, groot_sys::fs::BTRFS_MAGIC, self.kind(), "a btrfs mount")
    }

    fn format(&self, device: &Path, tools: Option<&Path>) -> Result<(), Error> {
        let program = tools.map_or_else(|| PathBuf::from("mkfs.btrfs"), |t| t.join("mkfs.btrfs"));
        files::run_formatter("BTRFS", Command::new(program).arg("-f").arg(device))
    }

    fn mount_store(&self, device: &Path) -> Result<(), Error> {
        groot_sys::mount::filesystem(
            device,
            self.layout.root(),
            "btrfs",
            "user_subvol_rm_allowed,noatime",
        )
        .doing("mounting the store")
    }

    fn grow(&self, _bytes: u64) -> Result<(), Error> {
        let root = files::open_directory(self.layout.root())?;
        groot_sys::btrfs::grow(root.as_fd()).doing("growing the store's file system")
    }

    fn enable_limits(&self, simple: bool) -> Result<(), Error> {
        let root = files::open_directory(self.layout.root())?;
        match groot_sys::qgroup::enable(root.as_fd(), simple) {
            Err(error) if simple && error.errno() == Errno::INVAL => Err(Error::NoLimits(
                "this kernel has no simple quotas, Linux 6.7 was the first: leave --with-simple-quotas \
                 (init.with_simple_quotas) out"
                    .into(),
            )),
            other => other.doing("enabling btrfs quotas"),
        }
    }

    fn quotas(&self) -> Option<QuotaMode> {
        drax::mode(files::open_directory(self.layout.root()).ok()?.as_fd()).ok()
    }

    fn configure_store(&self, _owner: Option<Owner>) -> Result<(), Error> {
        Ok(())
    }

    fn create_volume(&self, parent: Option<&str>, name: &str) -> Result<(), Error> {
        let target = self.layout.volume(name);
        if let Some(parent) = parent {
            return self.snapshot(parent, &target);
        }
        let volumes = files::open_directory(&self.layout.volumes())?;
        groot_sys::btrfs::create_subvolume(volumes.as_fd(), OsStr::new(name))
            .doing(format!("creating btrfs volume `{}`", target.display()))?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).at("chmod", &target)?;
        Ok(())
    }

    fn open_volume(&self, name: &str) -> Result<VolumeTree, Error> {
        let root = files::open_directory(&self.layout.volume(name))?;
        Ok(VolumeTree { root, whiteout_device: None })
    }

    fn mark_opaque(&self, _name: &str, _directories: &[&Path]) -> Result<(), Error> {
        // What a layer hides is gone from its snapshot.
        Ok(())
    }

    fn publish_volume(&self, from: &str, to: &str) -> Result<(), Error> {
        let target = self.layout.volume(to);
        if target.is_dir() {
            return self.destroy_volume(from);
        }
        files::rename(&self.layout.volume(from), &target)
    }

    fn retire_volume(&self, name: &str, garbage: &str) -> Result<(), Error> {
        files::rename(&self.layout.volume(name), &self.layout.volume(garbage))
    }

    fn destroy_volume(&self, name: &str) -> Result<(), Error> {
        destroy_subvolumes(&self.layout.volume(name))
    }

    fn create_root(&self, root: &NewRoot<'_>) -> Result<Option<Mount>, Error> {
        let paths = root.paths;
        let Some(top) = root.volumes.last() else {
            return Err(Error::Usage(
                "an image without layers has no root: nothing was made".into(),
            ));
        };
        let target = if root.mount { paths.rootfs() } else { paths.snapshot() };
        self.snapshot(top, &target)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).at("chmod", &target)?;
        files::chown(&target, Some(root.owner))?;
        self.quota_groups().begin(paths, &target, root)?;
        if root.mount {
            return Ok(None);
        }
        files::make_directory(&paths.rootfs(), 0o755, Some(root.owner))?;
        Ok(Some(Mount::Bind(target)))
    }

    fn unmount_root(&self, paths: &ImagePaths) -> Result<(), Error> {
        // The snapshot is no mount, but the runtime or a person may have bound something here.
        files::unmount(&paths.rootfs())
    }

    fn destroy_root(&self, paths: &ImagePaths) -> Result<(), Error> {
        destroy_subvolumes(&paths.rootfs())?;
        destroy_subvolumes(&paths.snapshot())?;
        files::remove_tree(paths.dir())
    }

    fn sweep(&self) -> Result<(), Error> {
        self.quota_groups().sweep(&self.layout)
    }

    fn check_limits(&self) -> Result<(), Error> {
        quota_groups::mode(self.layout.root()).map(drop)
    }

    fn set_limit(&self, paths: &ImagePaths, change: &Change) -> Result<(), Error> {
        if change.inodes.is_some_and(|inodes| inodes > 0) {
            return Err(quota_groups::no_inode_limits());
        }
        match change.bytes {
            Some((bytes, scope)) => {
                self.quota_groups().change(paths, &subvolume(paths), bytes, scope)
            }
            None => Ok(()),
        }
    }

    fn count(&self) -> Result<(), Error> {
        self.quota_groups().count()
    }

    fn usage(&self, paths: &ImagePaths) -> Result<Usage, Error> {
        self.quota_groups().usage(paths, &subvolume(paths))
    }

    fn promised(&self, roots: &[ImagePaths]) -> Result<Option<u64>, Error> {
        let subvolumes = roots.iter().map(|paths| (paths, subvolume(paths)));
        self.quota_groups().promised(subvolumes)
    }

    fn volumes_of(&self, _paths: &ImagePaths) -> Result<Vec<String>, Error> {
        // A snapshot stands by itself.
        Ok(Vec::new())
    }

    fn remove_leftovers(&self, _volumes: &[String]) -> Result<(), Error> {
        Ok(())
    }

    fn reclaim(&self, _roots: &[ImagePaths]) -> Result<(), Error> {
        // Quota groups have the numbers of their subvolumes; `sweep` takes those away that are left.
        Ok(())
    }
}

/// The subvolume of a root, whether somebody mounted it or not.
fn subvolume(paths: &ImagePaths) -> PathBuf {
    let snapshot = paths.snapshot();
    if snapshot.is_dir() { snapshot } else { paths.rootfs() }
}

/// Removes a subvolume with all subvolumes in it, or a plain tree. May be repeated, and two may do
/// it at once.
fn destroy_subvolumes(path: &Path) -> Result<(), Error> {
    let Some(fd) = existing_directory(path)? else { return files::remove_file(path) };
    let listed = groot_sys::btrfs::nested_subvolumes(fd.as_fd());
    let nested = missing_is(listed, Vec::new())
        .doing(format!("listing subvolumes of {}", path.display()))?;
    for below in nested {
        destroy_subvolume(&path.join(below))?;
    }
    let is_subvolume = groot_sys::btrfs::is_subvolume(fd.as_fd())
        .doing(format!("looking at {}", path.display()))?;
    drop(fd);
    if is_subvolume { destroy_subvolume(path) } else { files::remove_tree(path) }
}

/// Removes one subvolume. One that is not there is success.
fn destroy_subvolume(path: &Path) -> Result<(), Error> {
    let (parent, name) = split(path)?;
    let Some(parent) = files::open_existing(parent)? else { return Ok(()) };
    let destroyed = missing_is(groot_sys::btrfs::destroy_subvolume(parent.as_fd(), name), ());
    let action = format!("destroying volume {}", path.display());
    match destroyed {
        Err(error) if error.errno() == Errno::PERM && !userns::is_host_root() => {
            Err(Error::Usage(format!("{action}: {error}{}", removal_option(path))))
        }
        other => other.doing(action),
    }
}

/// What lets users remove subvolumes, if that is what is missing.
fn removal_option(path: &Path) -> String {
    const OPTION: &str = "user_subvol_rm_allowed";
    let Ok(mount) = groot_sys::mount::mount_point_of(path.parent().unwrap_or(path)) else {
        return String::new();
    };
    let mount = mount.display();
    format!(
        "; users may remove subvolumes only where btrfs is mounted with {OPTION}; as root: mount -o \
         remount,{OPTION} {mount}"
    )
}

/// Something else instead of the error that says that a thing is gone.
fn missing_is<T>(result: Result<T, groot_sys::Error>, otherwise: T) -> Result<T, groot_sys::Error> {
    match result {
        Err(error) if error.errno() == rustix::io::Errno::NOENT => Ok(otherwise),
        other => other,
    }
}

/// Opens a directory; `None` where there is none, or something that is not a directory.
fn existing_directory(path: &Path) -> Result<Option<OwnedFd>, Error> {
    match files::open_existing(path) {
        Err(Error::Path(PathError { error, .. }))
            if matches!(error.kind(), io::ErrorKind::NotADirectory)
                || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) =>
        {
            Ok(None)
        }
        other => other,
    }
}

fn split(path: &Path) -> Result<(&Path, &OsStr), Error> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(Error::Usage(format!("{} names no file", path.display()))),
    }
}
