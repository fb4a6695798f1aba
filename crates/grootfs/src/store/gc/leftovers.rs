//! What killed processes leave beside volumes and images: a few bytes each, but for ever.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Cleaner;
use crate::driver::Driver;
use crate::error::AtPath;
use crate::store::layout::Layout;
use crate::store::{Error, images, intents, locks, quarantine, volumes};

/// Files below `tmp/` are renamed within moments; what is older was left behind.
const OLD: Duration = Duration::from_secs(60);

/// Names of small files that are written aside, and of the blobs of the original.
const TEMPORARY: [&str; 3] = ["new-", "link-", "blob-"];

/// Whether there is anything to remove or to give back, as far as that is cheap to see.
pub fn any(layout: &Layout) -> Result<bool, Error> {
    let tmp = volumes::names(&layout.tmp())?;
    let locks = lock_keys(layout)?;
    let volumes = volumes::list(layout)?;
    let projects = volumes::names(&layout.project_ids()).unwrap_or_default();
    let images = volumes::names(&layout.images())?;
    // Two for each volume, where volumes have short names.
    let links = volumes::names(&layout.links()).unwrap_or_default();
    Ok(!tmp.is_empty()
        || links.len() > 2 * volumes.len()
        || quarantine::any_unused(layout)?
        || locks.iter().any(|key| volumes.binary_search(key).is_err())
        || projects.len() > images.len()
        || !records_of_nothing(layout, &volumes)?.is_empty())
}

/// Removes it. The caller holds the global lock alone.
pub fn remove(cleaner: &Cleaner<'_>) -> Result<(), Error> {
    let layout = &cleaner.store.layout;
    let names = volumes::list(layout)?;
    for path in temporary(layout)?.into_iter().chain(records_of_nothing(layout, &names)?) {
        remove_file(&path)?;
    }
    quarantine::release(layout)?;
    for key in lock_keys(layout)? {
        if names.binary_search(&key).is_err() {
            locks::forget(layout, &key)?;
        }
    }
    intents::used(layout)?;
    Ok(cleaner.driver.remove_leftovers(&names)?)
}

/// What there is to remove, without removing it: each with the words for it.
pub fn seen(layout: &Layout, driver: &dyn Driver) -> Result<Vec<(PathBuf, &'static str)>, Error> {
    let names = volumes::list(layout)?;
    let mut found = Vec::new();
    let mut add = |paths: Vec<PathBuf>, what| found.extend(paths.into_iter().map(|p| (p, what)));
    add(temporary(layout)?, "a temporary file that nobody writes any more");
    add(records_of_nothing(layout, &names)?, "it tells of something that is not there");
    add(intents::ended(layout)?, "a pull that has ended without tidying up");
    add(driver.stray_names(&names)?, "the short name of a volume that is not there");
    let mut locks = Vec::new();
    for key in lock_keys(layout)? {
        if names.binary_search(&key).is_err() && !locks::is_held(layout, &key)? {
            locks.push(layout.lock(&key));
        }
    }
    add(locks, "the lock of a layer that is not there");
    Ok(found)
}

/// Files below `tmp/` that nobody renames any more.
fn temporary(layout: &Layout) -> Result<Vec<PathBuf>, Error> {
    let names = volumes::names(&layout.tmp())?;
    let paths = names
        .into_iter()
        .filter(|name| TEMPORARY.iter().any(|prefix| name.starts_with(prefix)))
        .map(|name| layout.tmp().join(name));
    Ok(paths.filter(|path| is_old(path)).collect())
}

/// Keys of the locks of layers.
fn lock_keys(layout: &Layout) -> Result<Vec<String>, Error> {
    let names = volumes::names(&layout.locks())?;
    let keys = names.iter().filter_map(|name| name.strip_suffix(".lock"));
    Ok(keys.filter(|key| !locks::is_of_store(key)).map(str::to_owned).collect())
}

/// What is written about volumes and images that are not there: metadata without a volume, dependency files and origins without
/// an image, records of images of which no layer is left.
fn records_of_nothing(layout: &Layout, names: &[String]) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for name in volumes::names(&layout.meta())? {
        let volume = name.strip_prefix("volume-");
        // One that is being published has its metadata first, and its lock is held.
        if volume.is_some_and(|volume| names.binary_search_by(|n| n.as_str().cmp(volume)).is_err())
            && !volume.map_or(Ok(false), |volume| locks::is_held(layout, volume))?
        {
            found.push(layout.meta().join(&name));
        }
    }
    let images: HashSet<PathBuf> = images::list(layout)?.into_iter().collect();
    for name in volumes::names(&layout.dependencies())? {
        let path = layout.dependencies().join(&name);
        let Some(key) = name.strip_suffix(".json") else { continue };
        let image = key.strip_prefix("image:").or_else(|| key.strip_prefix("from:"));
        let image = image.map(|id| layout.images().join(id));
        let gone = match image {
            Some(image) => !images.contains(&image),
            None => key.starts_with("baseimage:") && holds_none_of(&path, names),
        };
        if gone {
            found.push(path);
        }
    }
    Ok(found)
}

fn holds_none_of(path: &Path, names: &[String]) -> bool {
    let bytes = fs::read(path).unwrap_or_default();
    let volumes: Vec<String> = serde_json::from_slice(&bytes).unwrap_or_default();
    !volumes.iter().any(|volume| names.binary_search(volume).is_ok())
}

fn is_old(path: &Path) -> bool {
    let age = fs::symlink_metadata(path).and_then(|found| found.modified()).ok();
    age.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > OLD)
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Ok(Err(error).at("unlink", path)?)
        }
        _ => Ok(()),
    }
}
