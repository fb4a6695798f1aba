//! Doing a store's books.
//!
//! No lock is taken, so nobody waits; what comes or goes meanwhile is counted or left out. Volumes are
//! judged by those who would clean. It costs a few looks into each directory, small files of volumes and
//! images, and what the driver counts; no tree is walked.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Accounting, Backing, Image, ImageState, Space, Unmeasured, Volume};
use crate::driver::limit::Usage;
use crate::driver::{self, Driver, Kind};
use crate::error::{AtPath, chain};
use crate::store::gc::{self, Cleaner, Judged};
use crate::store::id::ImageId;
use crate::store::layout::{ImagePaths, Layout};
use crate::store::{Doing, Error, dependencies, volumes};

/// Does the books of a cleaner's store. What the cleaner is asked for says what would go: without a threshold,
/// all that can.
pub fn measure(cleaner: &Cleaner<'_>) -> Result<Accounting, Error> {
    let (layout, driver) = (&cleaner.store.layout, cleaner.driver);
    let stale = driver.count().err().map(|error| chain(&error));
    let space = Space::of(layout.root())?;
    let backing = backing(layout, &space);
    let volumes = list_volumes(cleaner)?;
    let images = list_images(layout, driver, &volumes)?;
    let measured = cleaner.measured()?;
    let mut removed = Vec::new();
    for paths in gc::asides(layout)? {
        let usage = usage(driver, &paths);
        if usage.is_ok() || is_there(paths.dir()) {
            removed.push(usage);
        }
    }
    Ok(Accounting { space, backing, volumes, images, removed, measured, stale })
}

impl Space {
    fn of(path: &Path) -> Result<Self, Error> {
        let found = rustix::fs::statvfs(path).at("statvfs", path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let mount_point = groot_sys::mount::mount_point_of(path).map_err(|source| {
            driver::Error::System { action: "finding the mount".into(), source }
        })?;
        Ok(Self {
            mount_point,
            size: bytes(found.f_blocks),
            used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
            free: bytes(found.f_bavail),
        })
    }
}

/// The file behind the store's own file system, if that is what is mounted there.
fn backing(layout: &Layout, space: &Space) -> Option<Backing> {
    if space.mount_point != layout.root() {
        return None;
    }
    let path = layout.backing_file();
    let found = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let below = Space::of(path.parent()?).ok()?;
    let allocated = found.blocks().saturating_mul(512);
    Some(Backing { path, size: found.len(), allocated, free: below.free })
}

fn list_volumes(cleaner: &Cleaner<'_>) -> Result<BTreeMap<String, Volume>, Error> {
    let layout = &cleaner.store.layout;
    let mut found = BTreeMap::new();
    for Judged { name, verdict, .. } in cleaner.judge()? {
        let size = volumes::read_metadata(layout, &name).ok().map(|metadata| metadata.size);
        if size.is_some() || is_there(&layout.volume(&name)) {
            found.insert(name, Volume { size, verdict });
        }
    }
    Ok(found)
}

fn list_images(
    layout: &Layout,
    driver: &dyn Driver,
    volumes: &BTreeMap<String, Volume>,
) -> Result<Vec<Image>, Error> {
    let mut found = Vec::new();
    for name in volumes::names(&layout.images()).doing("listing images")? {
        let paths = ImagePaths::at(layout.images().join(&name));
        let used =
            ImageId::new(&name).map_err(Error::from).and_then(|id| dependencies::read(layout, &id));
        let usage = usage(driver, &paths);
        let (state, layers) = match used {
            Ok(Some(used)) => (whole(layout, volumes, &used), layers(volumes, &used)),
            Ok(None) => (ImageState::Unfinished, None),
            Err(error) => (ImageState::Broken(chain(&error)), None),
        };
        // Last, so that one that went away meanwhile is not taken for a broken one.
        let state = match fs::symlink_metadata(paths.dir()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok(entry) if !entry.is_dir() => ImageState::Broken("it is no directory".to_owned()),
            _ => state,
        };
        found.push(Image { name, state, layers, usage });
    }
    // Those that nobody measured last. The sort keeps the order of names.
    let own = |image: &Image| image.usage.as_ref().ok().map(|usage| usage.exclusive);
    found.sort_by_key(|image| std::cmp::Reverse(own(image)));
    Ok(found)
}

/// Whether the volumes of an image are there, also those that have come since they were listed.
fn whole(layout: &Layout, volumes: &BTreeMap<String, Volume>, used: &[String]) -> ImageState {
    let missing = |name: &&String| !volumes.contains_key(*name) && !is_there(&layout.volume(name));
    match used.iter().find(missing) {
        None => ImageState::Whole,
        Some(name) => ImageState::Broken(format!("its layer {name} is not in the store")),
    }
}

/// Bytes of the volumes of an image together; `None` where that of one is not known.
fn layers(volumes: &BTreeMap<String, Volume>, used: &[String]) -> Option<u64> {
    let sizes = used.iter().map(|name| volumes.get(name)?.size);
    sizes.collect::<Option<Vec<u64>>>().map(|sizes| sizes.into_iter().fold(0, u64::saturating_add))
}

fn usage(driver: &dyn Driver, paths: &ImagePaths) -> Result<Usage, Unmeasured> {
    let usage = driver.usage(paths).map_err(|error| Unmeasured {
        unlimited: matches!(error, driver::Error::NoLimits(_)),
        why: chain(&error),
    })?;
    // The driver's zero then means that nobody has counted: an image's own directory has an inode.
    let counted = usage.inodes.is_some() || usage.exclusive > 0 || usage.quota > 0;
    if driver.kind() == Kind::Btrfs || counted {
        return Ok(usage);
    }
    let why = match driver.check_limits() {
        Err(error) => chain(&error),
        Ok(()) => "it was made while nobody counted; `grootfs limit` begins to count it".to_owned(),
    };
    Err(Unmeasured { why, unlimited: true })
}

fn is_there(path: &Path) -> bool {
    !fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
