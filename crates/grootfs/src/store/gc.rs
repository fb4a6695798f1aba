//! Cleaning: layers that no image uses, and what killed processes left behind.
//!
//! Two phases, as in the original. Under the exclusive global lock, when no create runs, unused
//! volumes get names that begin with `gc.`; afterwards, without any lock, everything of such a
//! name is removed.

use std::collections::HashSet;
use std::fs;

use super::id::ImageId;
use super::layout::{GARBAGE, ImagePaths, Layout};
use super::{Doing, Error, Store, dependencies, images, locks, volumes};
use crate::driver::Driver;
use crate::error::AtPath;
use crate::observe::Log;

/// What a clean did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The store holds less than the threshold.
    BelowThreshold,
    /// Everything unused is gone.
    Cleaned,
}

/// Removes unused layers when the volumes hold at least `threshold` bytes (0: always).
pub fn clean(
    store: &Store,
    driver: &dyn Driver,
    threshold: u64,
    log: &Log,
) -> Result<Outcome, Error> {
    if threshold > 0 && volumes_size(&store.layout)? < threshold {
        return Ok(Outcome::BelowThreshold);
    }
    {
        let _lock = locks::acquire(&store.layout, locks::GLOBAL, locks::Mode::Exclusive)
            .doing("garbage collector acquiring lock")?;
        mark(store, driver, log)?;
        if let Err(error) = reclaim(&store.layout, driver) {
            // Costs nobody a byte, and the next clean tries again.
            log.error("garbage-collector-reclaim.failed", &error);
        }
    }
    collect(store, driver, log)
}

/// Bytes of all volumes by their metadata; one without counts nothing (contract B5).
pub fn volumes_size(layout: &Layout) -> Result<u64, Error> {
    let names = volumes::list(layout).doing("measuring store usage")?;
    let size = |name: &String| volumes::read_metadata(layout, name).map_or(0, |found| found.size);
    Ok(names.iter().map(size).fold(0, u64::saturating_add))
}

/// Gives unused volumes a name that begins with `gc.`. The caller holds the lock.
fn mark(store: &Store, driver: &dyn Driver, log: &Log) -> Result<(), Error> {
    let layout = &store.layout;
    let Some(used) = used_volumes(layout, log)? else { return Ok(()) };
    let names = volumes::list(layout)
        .doing("listing volumes: failed to retrieve volume list: failed to list volumes")?;
    for name in names.iter().filter(|name| !name.starts_with(GARBAGE) && !used.contains(*name)) {
        if let Err(error) = retire(layout, driver, name) {
            log.error("garbage-collector-mark-unused.marking-unused-failed", &error);
        }
    }
    Ok(())
}

fn retire(layout: &Layout, driver: &dyn Driver, name: &str) -> Result<(), Error> {
    let mut garbage = format!("{GARBAGE}{name}");
    if layout.volume(&garbage).exists() {
        // Left by an earlier clean that was killed; the layer has been pulled again since.
        garbage = format!("{GARBAGE}{}-{}", volumes::unique(), name.get(..64).unwrap_or(name));
    }
    driver.retire_volume(name, &garbage)?;
    match fs::rename(layout.volume_metadata(name), layout.volume_metadata(&garbage)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Ok(Err(error).at("rename", &layout.volume_metadata(name))?)
        }
        _ => Ok(()),
    }
}

/// The volumes of all images; `None` when that cannot be known, and nothing may be removed.
fn used_volumes(layout: &Layout, log: &Log) -> Result<Option<HashSet<String>>, Error> {
    let mut used = HashSet::new();
    for name in volumes::names(&layout.images()).doing("listing images")? {
        let Ok(id) = ImageId::new(&name) else { continue };
        match dependencies::read(layout, &id) {
            Ok(Some(volumes)) => used.extend(volumes),
            // Not made by a finished create: it uses nothing.
            Ok(None) => log.info("garbage-collector-mark-unused.image-without-dependencies", &name),
            Err(error) => {
                log.error("garbage-collector-mark-unused.finding-unused-failed", &error);
                return Ok(None);
            }
        }
    }
    Ok(Some(used))
}

/// Removes everything that is marked. Needs no lock, and two may do it at once.
fn collect(store: &Store, driver: &dyn Driver, log: &Log) -> Result<Outcome, Error> {
    let layout = &store.layout;
    let mut failed = None;
    let mut note = |result: Result<(), Error>| {
        if let Err(error) = result {
            log.error("garbage-collector-collect.failed-to-destroy-volume", &error);
            failed.get_or_insert(error);
        }
    };
    for name in volumes::list(layout)?.iter().filter(|name| name.starts_with(GARBAGE)) {
        note(destroy(layout, driver, name));
    }
    for paths in asides(layout)? {
        // Two at once would give the project id back twice: the second time when it is another's.
        note(images::lock_aside(paths.dir()).and_then(|lock| match lock {
            Some(_lock) => driver.destroy_root(&paths).map_err(Error::from),
            None => Ok(()),
        }));
    }
    if let Err(error) = driver.sweep() {
        // Costs nobody a byte, and the next clean tries again.
        log.error("garbage-collector-collect.sweep-failed", &error);
    }
    match failed {
        None => Ok(Outcome::Cleaned),
        Some(error) => Err(error).doing("destroying volumes failed"),
    }
}

/// Images that are being removed.
fn asides(layout: &Layout) -> Result<Vec<ImagePaths>, Error> {
    let names = volumes::names(&layout.tmp())?;
    let asides = names.into_iter().filter(|name| images::is_aside(name));
    Ok(asides.map(|name| ImagePaths::at(layout.tmp().join(name))).collect())
}

/// Gives back what images had that are gone. The caller holds the lock, so none is being made.
fn reclaim(layout: &Layout, driver: &dyn Driver) -> Result<(), Error> {
    // In this order: one that a delete moves aside meanwhile is found there.
    let mut roots: Vec<_> = images::list(layout)?.into_iter().map(ImagePaths::at).collect();
    roots.extend(asides(layout)?);
    Ok(driver.reclaim(&roots)?)
}

/// Removes a volume with its metadata.
pub(super) fn destroy(layout: &Layout, driver: &dyn Driver, name: &str) -> Result<(), Error> {
    driver.destroy_volume(name).doing(format!("destroying volume ({name})"))?;
    let metadata = layout.volume_metadata(name);
    match fs::remove_file(&metadata) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Ok(Err(error).at("unlink", &metadata)?)
        }
        _ => Ok(()),
    }
}
