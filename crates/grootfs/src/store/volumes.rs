//! Layers on disk: names, sizes, publishing.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::layout::{INCOMPLETE, Layout};
use super::manifest::Manifest;
use super::{Doing, Error};
use crate::error::{AtPath, PathError};
use crate::observe::Log;

/// What is written down about a volume. Keys of our own beside `Size` are ignored by the original.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Bytes of the layer's regular files.
    #[serde(rename = "Size")]
    pub size: u64,
    /// Digests of the blobs (or places of the files) that it was made of or checked against; empty for volumes that the
    /// original or an earlier release made, and for tars.
    #[serde(rename = "Blobs", default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<String>,
    /// Digest over the plain layer, where that was checked.
    #[serde(rename = "DiffId", default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<String>,
    /// Whether directories in it hide those of the layers below also from overlays that users mount, if
    /// these are mounted with `userxattr`.
    #[serde(rename = "UserOpaque", default, skip_serializing_if = "std::ops::Not::not")]
    pub opaque_for_users: bool,
    /// Whether nobody checked the bytes (`--skip-layer-validation`).
    #[serde(rename = "Unchecked", default, skip_serializing_if = "std::ops::Not::not")]
    pub unchecked: bool,
    /// The boot in which it was written, until it is known to be on disk.
    #[serde(rename = "Boot", default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// What its tree was when it was written to disk; `None` where an earlier release or the original made it.
    #[serde(rename = "Manifest", default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
}

/// Whether a volume is there and whole.
pub fn exists(layout: &Layout, chain_id: &str) -> bool {
    layout.volume(chain_id).is_dir()
}

/// A name for a volume under construction, unique among all processes.
pub fn incomplete_name(chain_id: &str) -> String {
    format!("{chain_id}{INCOMPLETE}{}", unique())
}

/// `<unix ns>-<number>`: differs between processes by the pid, within one by a counter.
pub(crate) fn unique() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let number = u64::from(std::process::id()) * 100_000 + u64::from(count % 100_000);
    format!("{now}-{number}")
}

/// Writes what is known about a volume. Atomic.
pub fn write_metadata(layout: &Layout, name: &str, metadata: &Metadata) -> Result<(), Error> {
    let mut text = serde_json::to_string(metadata).map_err(|e| Error::Message(e.to_string()))?;
    text.push('\n');
    write_atomically(layout, &layout.volume_metadata(name), text.as_bytes())
        .doing(format!("writing volume `{name}` metadata"))
}

/// Reads what is known about a volume.
pub fn read_metadata(layout: &Layout, name: &str) -> Result<Metadata, Error> {
    let path = layout.volume_metadata(name);
    let bytes =
        fs::read(&path).at("open", &path).doing(format!("opening volume `{name}` metadata"))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Broken {
        what: "volume metadata",
        path,
        why: error.to_string(),
    })
}

/// How exactly the time of the last use is known: not every create writes.
const USE_IS_NEW: Duration = Duration::from_secs(60);

/// Makes the time of a volume's metadata that of its last use, by which `clean --keep-recent` chooses.
fn remember_use(path: &Path) {
    let now = SystemTime::now();
    let age = fs::metadata(path).and_then(|found| found.modified());
    if age.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > USE_IS_NEW)) {
        // A wish and no need: a store that cannot be written to works.
        let _ = File::open(path).and_then(|file| file.set_modified(now));
    }
}

/// What is known about a volume that is there, for somebody who is going to use it. Metadata that is lost or broken is measured and
/// written again: one missing file must not keep every image on that layer from starting.
pub fn metadata(layout: &Layout, name: &str, log: &Log) -> Result<Metadata, Error> {
    match read_metadata(layout, name) {
        Ok(metadata) => {
            remember_use(&layout.volume_metadata(name));
            Ok(metadata)
        }
        Err(error) if !is_lost_or_broken(&error) => Err(error),
        Err(error) => {
            log.error("volume-metadata-measured-again", &error);
            let metadata = measured(layout, name)?;
            if let Err(error) = write_metadata(layout, name, &metadata) {
                // Whoever comes next measures again.
                log.error("volume-metadata-not-written", &error);
            }
            Ok(metadata)
        }
    }
}

/// Whether there is nothing, or nonsense, and not only an error of this moment, which must not cost a volume
/// what is known about it.
fn is_lost_or_broken(error: &Error) -> bool {
    match error {
        Error::Broken { .. } => true,
        Error::Path(PathError { error, .. }) => error.kind() == std::io::ErrorKind::NotFound,
        Error::Action { source, .. } => is_lost_or_broken(source),
        _ => false,
    }
}

/// What can be known about a volume of which nothing is written.
pub fn measured(layout: &Layout, name: &str) -> Result<Metadata, Error> {
    Ok(Metadata { size: apparent_size(&layout.volume(name))?, ..Metadata::default() })
}

/// The digest over the plain bytes of a blob that some volume was made of.
///
/// Reads what is known about every volume: only layers of schema 1 have to be found so.
pub fn diff_id_of_blob(layout: &Layout, blob: &str) -> Result<Option<String>, Error> {
    for name in list(layout)? {
        if let Ok(metadata) = read_metadata(layout, &name)
            && metadata.blobs.iter().any(|known| known == blob)
            && metadata.diff_id.is_some()
        {
            return Ok(metadata.diff_id);
        }
    }
    Ok(None)
}

/// Names of all directories in `volumes/`, whole or not, garbage too; sorted.
pub fn list(layout: &Layout) -> Result<Vec<String>, Error> {
    names(&layout.volumes())
}

/// Names of the entries of a directory that are valid text, sorted.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).at("open", directory)? {
        let entry = entry.at("readdir", directory)?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Writes the metadata that a volume lacks, measured as `du -bs` does (contract 7.5).
pub fn generate_metadata(layout: &Layout) -> Result<(), Error> {
    for name in list(layout).doing("failed to list volumes")? {
        if name.contains(INCOMPLETE) || layout.volume_metadata(&name).exists() {
            continue;
        }
        write_metadata(layout, &name, &measured(layout, &name)?)?;
    }
    Ok(())
}

/// Apparent sizes of everything in a tree, directories too; hard links count once.
fn apparent_size(root: &Path) -> Result<u64, Error> {
    use std::os::unix::fs::MetadataExt;
    let mut seen = std::collections::HashSet::new();
    let top = fs::symlink_metadata(root).at("lstat", root)?;
    let mut size = top.len();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).at("open", &directory)? {
            let entry = entry.at("readdir", &directory)?;
            let path = entry.path();
            let metadata = fs::symlink_metadata(&path).at("lstat", &path)?;
            if metadata.nlink() == 1 || metadata.is_dir() || seen.insert(metadata.ino()) {
                size = size.saturating_add(metadata.len());
            }
            if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
    Ok(size)
}

/// Writes a file aside, in the store's `tmp`, and renames it into place.
pub(crate) fn write_atomically(layout: &Layout, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let aside = layout.tmp().join(format!("new-{}", unique()));
    let mut file = fs::File::create_new(&aside).at("open", &aside)?;
    let written = file
        .write_all(bytes)
        .at("write", &aside)
        .and_then(|()| fs::rename(&aside, path).at("rename", path));
    if let Err(error) = written {
        // The first error is the one to report; what cannot be removed now is left to `clean`.
        let _ = fs::remove_file(&aside);
        return Err(error.into());
    }
    Ok(())
}
