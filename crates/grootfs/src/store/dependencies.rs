//! Which volumes an image uses: `meta/dependencies/image:<id>.json` (contract 3.4).

use std::fs;

use super::id::ImageId;
use super::layout::Layout;
use super::{Error, volumes};
use crate::error::AtPath;

/// Writes the volumes of an image, base first. Atomic; replaces what was there.
pub fn write(layout: &Layout, id: &ImageId, volumes: &[String]) -> Result<(), Error> {
    let text = serde_json::to_string(volumes).map_err(|e| Error::Message(e.to_string()))?;
    volumes::write_atomically(layout, &layout.image_dependencies(id), text.as_bytes())
}

/// The volumes of an image, base first; `None` when nothing is written about it.
pub fn read(layout: &Layout, id: &ImageId) -> Result<Option<Vec<String>>, Error> {
    let path = layout.image_dependencies(id);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.at("open", &path)?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::Broken {
        what: "dependency file",
        path,
        why: error.to_string(),
    })
}

/// Forgets the volumes of an image. May be repeated.
pub fn remove(layout: &Layout, id: &ImageId) -> Result<(), Error> {
    let path = layout.image_dependencies(id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => Ok(other.at("unlink", &path)?),
    }
}
