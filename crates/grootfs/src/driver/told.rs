//! A driver whose work shows in the log, in the sessions of the original (contract 8.3).

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::faults::{Faults, ProjectFault, RootFault, VolumeFault};
use super::limit::Usage;
use super::{Change, Driver, Error, Kind, Mount, NewRoot, QuotaMode, VolumeTree};
use crate::idmap::Owner;
use crate::observe::Log;
use crate::observe::log::{Data, Level, data};
use crate::store::layout::ImagePaths;

/// A driver, and the log of the caller that its sessions are parts of.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    driver: &'a dyn Driver,
    log: &'a Log,
}

/// Names of a session that the two drivers of the original called differently: overlay-xfs, btrfs.
type Names = (&'static str, &'static str);

const CREATING_VOLUME: Names = ("overlayxfs-creating-volume", "btrfs-creating-volume");
const MOVING_VOLUME: Names = ("overlayxfs-moving-volume", "btrfs-moving-volume");
const DESTROYING_VOLUME: Names = ("overlayxfs-destroying-volume", "btrfs-deleting-volume");
const CREATING_ROOT: Names = ("overlayxfs-creating-image", "btrfs-creating-snapshot");
const DESTROYING_ROOT: Names = ("overlayxfs-destroying-image", "btrfs-destroying-image");
const MARKING_OPAQUE: Names =
    ("overlayxfs-handling-opaque-whiteouts", "btrfs-handling-opaque-whiteouts");
const FETCHING_STATS: Names = ("overlayxfs-fetching-stats", "btrfs-fetching-stats");
const APPLYING_LIMIT: Names = ("overlayxfs-applying-quota", "btrfs-applying-quota");
const FORMATTING: Names = ("overlayxfs-init-filesystem", "btrfs-init-filesystem");
const CONFIGURING: Names = ("overlayxfs-configure-store", "btrfs-configure-store");

impl<'a> Told<'a> {
    /// Tells of a driver's work as parts of `log`.
    pub fn new(driver: &'a dyn Driver, log: &'a Log) -> Self {
        Self { driver, log }
    }

    fn main<T>(&self, names: Names, about: impl FnOnce() -> Data, work: impl FnOnce() -> T) -> T {
        self.told(Level::Info, names, about, work)
    }

    fn detail<T>(&self, names: Names, about: impl FnOnce() -> Data, work: impl FnOnce() -> T) -> T {
        self.told(Level::Debug, names, about, work)
    }

    fn told<T>(
        &self,
        level: Level,
        (overlay, btrfs): Names,
        about: impl FnOnce() -> Data,
        work: impl FnOnce() -> T,
    ) -> T {
        if !self.log.tells(level) {
            return work();
        }
        let name = if self.driver.kind() == Kind::Btrfs { btrfs } else { overlay };
        let log = self.log.session(name).with_data(about);
        let _step = if level == Level::Info { log.step() } else { log.detail() };
        work()
    }
}

fn shown(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

fn about_root(root: &NewRoot<'_>) -> Data {
    data([
        ("imagePath", shown(root.paths.dir())),
        ("volumes", root.volumes.into()),
        ("mount", root.mount.into()),
        ("diskLimit", root.limit.bytes.into()),
        ("inodeLimit", root.limit.inodes.into()),
    ])
}

fn of_image(paths: &ImagePaths) -> Data {
    data([("imagePath", shown(paths.dir()))])
}

impl Driver for Told<'_> {
    fn kind(&self) -> Kind {
        self.driver.kind()
    }

    fn stacks_volumes(&self) -> bool {
        self.driver.stacks_volumes()
    }

    fn check_filesystem(&self, path: &Path) -> Result<(), Error> {
        self.driver.check_filesystem(path)
    }

    fn format(&self, device: &Path, tools: Option<&Path>) -> Result<(), Error> {
        let about = || data([("filesystemPath", shown(device))]);
        self.detail(FORMATTING, about, || self.driver.format(device, tools))
    }

    fn mount_store(&self, device: &Path) -> Result<(), Error> {
        self.driver.mount_store(device)
    }

    fn grow(&self, bytes: u64) -> Result<(), Error> {
        self.driver.grow(bytes)
    }

    fn enable_limits(&self, simple: bool) -> Result<(), Error> {
        self.driver.enable_limits(simple)
    }

    fn quotas(&self) -> Option<QuotaMode> {
        self.driver.quotas()
    }

    fn configure_store(&self, owner: Option<Owner>) -> Result<(), Error> {
        self.detail(CONFIGURING, Data::new, || self.driver.configure_store(owner))
    }

    fn create_volume(&self, parent: Option<&str>, name: &str) -> Result<(), Error> {
        let about = || data([("parentID", parent.unwrap_or_default().into()), ("id", name.into())]);
        self.main(CREATING_VOLUME, about, || self.driver.create_volume(parent, name))
    }

    fn open_volume(&self, name: &str) -> Result<VolumeTree, Error> {
        self.driver.open_volume(name)
    }

    fn mark_opaque(&self, name: &str, directories: &[&Path]) -> Result<(), Error> {
        let about = || data([("volumeID", name.into()), ("directories", directories.len().into())]);
        self.detail(MARKING_OPAQUE, about, || self.driver.mark_opaque(name, directories))
    }

    fn publish_volume(&self, from: &str, to: &str) -> Result<(), Error> {
        let about = || data([("from", from.into()), ("to", to.into())]);
        self.detail(MOVING_VOLUME, about, || self.driver.publish_volume(from, to))
    }

    fn retire_volume(&self, name: &str, garbage: &str) -> Result<(), Error> {
        let about = || data([("from", name.into()), ("to", garbage.into())]);
        self.detail(MOVING_VOLUME, about, || self.driver.retire_volume(name, garbage))
    }

    fn destroy_volume(&self, name: &str) -> Result<(), Error> {
        let about = || data([("volumeID", name.into())]);
        self.main(DESTROYING_VOLUME, about, || self.driver.destroy_volume(name))
    }

    fn create_root(&self, root: &NewRoot<'_>) -> Result<Option<Mount>, Error> {
        self.main(CREATING_ROOT, || about_root(root), || self.driver.create_root(root))
    }

    fn unmount_root(&self, paths: &ImagePaths) -> Result<(), Error> {
        self.driver.unmount_root(paths)
    }

    fn destroy_root(&self, paths: &ImagePaths) -> Result<(), Error> {
        self.main(DESTROYING_ROOT, || of_image(paths), || self.driver.destroy_root(paths))
    }

    fn sweep(&self) -> Result<(), Error> {
        self.driver.sweep()
    }

    fn check_limits(&self) -> Result<(), Error> {
        self.driver.check_limits()
    }

    fn set_limit(&self, paths: &ImagePaths, change: &Change) -> Result<(), Error> {
        let about = || {
            let bytes = change.bytes.map(|(bytes, _)| bytes);
            let limits = [("diskLimit", bytes.into()), ("inodeLimit", change.inodes.into())];
            of_image(paths).into_iter().chain(data(limits)).collect()
        };
        self.detail(APPLYING_LIMIT, about, || self.driver.set_limit(paths, change))
    }

    fn count(&self) -> Result<(), Error> {
        self.driver.count()
    }

    fn usage(&self, paths: &ImagePaths) -> Result<Usage, Error> {
        self.detail(FETCHING_STATS, || of_image(paths), || self.driver.usage(paths))
    }

    fn promised(&self, roots: &[ImagePaths]) -> Result<Option<u64>, Error> {
        self.driver.promised(roots)
    }

    fn volumes_of(&self, paths: &ImagePaths) -> Result<Vec<String>, Error> {
        self.driver.volumes_of(paths)
    }

    fn remove_leftovers(&self, volumes: &[String]) -> Result<(), Error> {
        self.driver.remove_leftovers(volumes)
    }

    fn reclaim(&self, roots: &[ImagePaths]) -> Result<(), Error> {
        self.driver.reclaim(roots)
    }
}

impl Faults for Told<'_> {
    fn missing_parts(&self) -> Vec<PathBuf> {
        self.driver.missing_parts()
    }

    fn volume_fault(&self, name: &str) -> Result<Option<VolumeFault>, Error> {
        self.driver.volume_fault(name)
    }

    fn mend_volume(&self, name: &str) -> Result<(), Error> {
        self.driver.mend_volume(name)
    }

    fn move_volume(&self, name: &str, to: &Path) -> Result<(), Error> {
        self.driver.move_volume(name, to)
    }

    fn stray_names(&self, volumes: &[String]) -> Result<Vec<PathBuf>, Error> {
        self.driver.stray_names(volumes)
    }

    fn root_faults(&self, paths: &ImagePaths) -> Result<Vec<RootFault>, Error> {
        self.driver.root_faults(paths)
    }

    fn root_volumes(&self, paths: &ImagePaths) -> Result<Option<Vec<String>>, Error> {
        self.driver.root_volumes(paths)
    }

    fn project_faults(&self, roots: &[ImagePaths]) -> Result<Vec<ProjectFault>, Error> {
        self.driver.project_faults(roots)
    }

    fn mend_project(&self, fault: &ProjectFault) -> Result<(), Error> {
        self.driver.mend_project(fault)
    }
}
