//! Damaged volumes: out of the way, so that the next create pulls them again, and kept as long as a root
//! stands on them.
//!
//! Overlay keeps the directories of a mounted root by inode, so a volume that is renamed is still under its
//! roots; but what `clean` removes is gone under them. So a volume that images use goes to
//! `quarantine/`, beside a file that says which images these are. When they are gone, `clean` takes it. A snapshot of
//! btrfs stands by itself, and nothing has to be kept.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::layout::{GARBAGE, Layout};
use super::{Error, dependencies, images, init, volumes};
use crate::driver::Driver;
use crate::error::AtPath;
use crate::idmap::Owner;
use crate::store::id::ImageId;

/// The end of the names of the files beside the volumes.
const RECORD: &str = ".json";

/// What is known about a volume in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name before.
    pub volume: String,
    /// What was wrong with it.
    pub why: String,
    /// The images that used it.
    pub images: Vec<User>,
}

/// An image that uses a volume in quarantine. Another one of its name may get the same inode, but at another
/// time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: String,
    /// Inode of its directory.
    pub inode: u64,
    /// When that was made, in nanoseconds since 1970; 0 where the file system does not tell.
    pub made: u64,
}

impl User {
    /// The image of this id, if there is one.
    fn find(layout: &Layout, id: &str) -> Option<Self> {
        let found = fs::symlink_metadata(layout.images().join(id)).ok()?;
        let made = found.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let made = made.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0));
        Some(Self { id: id.to_owned(), inode: found.ino(), made })
    }

    fn is_there(&self, layout: &Layout) -> bool {
        Self::find(layout, &self.id).as_ref() == Some(self)
    }
}

/// Takes a damaged volume out of the way, and returns the images that use it. The caller holds the lock of its
/// layer.
pub fn set_aside(
    layout: &Layout,
    driver: &dyn Driver,
    name: &str,
    why: &str,
) -> Result<Vec<String>, Error> {
    let ids = users(layout, driver, name)?;
    let short = name.get(..64).unwrap_or(name);
    let aside = format!("{}-{short}", volumes::unique());
    if ids.is_empty() || driver.stacks_volumes() {
        driver.retire_volume(name, &format!("{GARBAGE}{aside}"))?;
    } else {
        let users = ids.iter().filter_map(|id| User::find(layout, id));
        let record =
            Record { volume: name.to_owned(), why: why.to_owned(), images: users.collect() };
        let directory = layout.quarantine();
        let store = fs::metadata(layout.root()).at("stat", layout.root())?;
        init::make_part(layout, &directory, Owner { uid: store.uid(), gid: store.gid() })?;
        let text = serde_json::to_string(&record).map_err(|e| Error::Message(e.to_string()))?;
        // First, so that no volume is ever there that nobody seems to use.
        volumes::write_atomically(
            layout,
            &directory.join(format!("{aside}{RECORD}")),
            text.as_bytes(),
        )?;
        driver.move_volume(name, &directory.join(&aside))?;
    }
    let metadata = layout.volume_metadata(name);
    match fs::remove_file(&metadata) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).at("unlink", &metadata)?;
        }
        _ => {}
    }
    Ok(ids)
}

/// Ids of the images that use a volume, as far as that can be found out.
fn users(layout: &Layout, driver: &dyn Driver, name: &str) -> Result<Vec<String>, Error> {
    let mut users = Vec::new();
    for path in images::list(layout)? {
        let id = path.file_name().and_then(|id| id.to_str()).map(ImageId::new);
        let Some(Ok(id)) = id else { continue };
        let used = match dependencies::read(layout, &id) {
            Ok(Some(volumes)) => volumes,
            _ => dependencies::found_out(layout, driver, &id),
        };
        if used.iter().any(|used| used == name) {
            users.push(id.as_str().to_owned());
        }
    }
    Ok(users)
}

/// Volumes in quarantine that images still use: their names in there, and what is known about them, of
/// its images only those that are there.
pub fn used(layout: &Layout) -> Result<Vec<(String, Record)>, Error> {
    let all = read(layout)?.into_iter();
    Ok(all.filter(|(_, record)| !record.images.is_empty()).collect())
}

/// Whether there is a volume that nobody uses any more.
pub fn any_unused(layout: &Layout) -> Result<bool, Error> {
    Ok(read(layout)?.iter().any(|(_, record)| record.images.is_empty()))
}

/// Makes garbage of the volumes that nobody uses any more. The caller holds the global lock alone.
pub fn release(layout: &Layout) -> Result<(), Error> {
    for (name, record) in read(layout)? {
        if !record.images.is_empty() {
            continue;
        }
        let volume = layout.quarantine().join(&name);
        match fs::rename(&volume, layout.volume(&format!("{GARBAGE}{name}"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).at("rename", &volume)?;
            }
            _ => {}
        }
        let record = layout.quarantine().join(format!("{name}{RECORD}"));
        fs::remove_file(&record).at("unlink", &record)?;
    }
    Ok(())
}

/// What is known about all of them. A record that cannot be read is left out, and its volume so kept.
fn read(layout: &Layout) -> Result<Vec<(String, Record)>, Error> {
    let directory = layout.quarantine();
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for name in volumes::names(&directory)? {
        let Some(volume) = name.strip_suffix(RECORD) else { continue };
        let bytes = fs::read(directory.join(&name)).unwrap_or_default();
        let Ok(mut record) = serde_json::from_slice::<Record>(&bytes) else { continue };
        record.images.retain(|image| image.is_there(layout));
        found.push((volume.to_owned(), record));
    }
    Ok(found)
}
