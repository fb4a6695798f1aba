//! Which volumes an image uses: `meta/dependencies/image:<id>.json` for a root file system, and
//! `baseimage:<image>.json` for an image as it was last pulled (contract 3.4).

use std::fs;
use std::path::PathBuf;

use sha2::Digest;

use super::id::ImageId;
use super::layout::Layout;
use super::{Error, volumes};
use crate::driver::Driver;
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

/// The volumes of an image of which nothing or nonsense is written, as far as they can be found out: from
/// its mount, and from the names that can be read in what is left of its file.
pub fn found_out(layout: &Layout, driver: &dyn Driver, id: &ImageId) -> Vec<String> {
    let mut found = driver.volumes_of(&layout.image(id)).unwrap_or_default();
    if let Ok(bytes) = fs::read(layout.image_dependencies(id)) {
        let text = String::from_utf8_lossy(&bytes);
        let names = volumes::list(layout).unwrap_or_default();
        found.extend(names.into_iter().filter(|name| text.contains(name.as_str())));
    }
    found
}

/// Longest name of a record that is spelled out; file names end at 255 bytes.
const LONGEST_NAME: usize = 200;

/// The file of an image as it was last pulled.
fn base_image(layout: &Layout, name: &str) -> PathBuf {
    let name = if name.len() > LONGEST_NAME {
        let hash = sha2::Sha256::digest(name.as_bytes());
        hash.iter().fold("sha256-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    } else {
        name.replace('/', "__")
    };
    layout.dependencies().join(format!("baseimage:{name}.json"))
}

/// Remembers which volumes an image had when it was pulled, for `clean.ignore_images`. Costs a look where
/// nothing has changed.
pub fn write_base_image(layout: &Layout, name: &str, volumes: &[String]) -> Result<(), Error> {
    let text = serde_json::to_string(volumes).map_err(|e| Error::Message(e.to_string()))?;
    let path = base_image(layout, name);
    match fs::read(&path) {
        Ok(found) if found == text.as_bytes() => Ok(()),
        _ => volumes::write_atomically(layout, &path, text.as_bytes()),
    }
}

/// The volumes of an image as it was last pulled; none when nothing, or nonsense, is written about it.
pub fn of_base_image(layout: &Layout, name: &str) -> Vec<String> {
    let bytes = fs::read(base_image(layout, name)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Forgets the volumes of an image. May be repeated.
pub fn remove(layout: &Layout, id: &ImageId) -> Result<(), Error> {
    let path = layout.image_dependencies(id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => Ok(other.at("unlink", &path)?),
    }
}
