//! Which image a root file system was made of: `meta/dependencies/from:<id>.json`, for people.
//!
//! A file of ours, which the original neither reads nor minds. Not in `images/<id>`, where it would count
//! against the limit.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::{Deserialize, Serialize};

use super::id::ImageId;
use super::layout::Layout;
use super::{Error, volumes};
use crate::error::AtPath;

/// Larger records are not read: an argument of a command has at most 128 KiB (`MAX_ARG_STRLEN`).
const LARGEST: u64 = 256 << 10;

#[derive(Serialize, Deserialize)]
struct Record {
    image: String,
}

/// Remembers the image. Atomic; replaces what was there.
pub fn write(layout: &Layout, id: &ImageId, image: &str) -> Result<(), Error> {
    let record = Record { image: image.to_owned() };
    let text = serde_json::to_string(&record).map_err(|e| Error::Message(e.to_string()))?;
    volumes::write_atomically(layout, &layout.image_origin(id), text.as_bytes())
}

/// The image; `None` when nothing is known of it, or nonsense.
pub fn read(layout: &Layout, id: &ImageId) -> Option<String> {
    // The owner of the store may put anything here: not waited for, not followed.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, layout.image_origin(id), flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice::<Record>(&bytes).ok().map(|record| record.image)
}

/// Forgets the image. May be repeated.
pub fn remove(layout: &Layout, id: &ImageId) -> Result<(), Error> {
    let path = layout.image_origin(id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => Ok(other.at("unlink", &path)?),
    }
}
