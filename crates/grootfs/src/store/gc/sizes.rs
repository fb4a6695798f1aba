//! Bytes of a store, for metrics.
//!
//! A create that finds its layers takes some milliseconds, and a store may have hundreds of images. So each
//! of the small files that have to be read costs three system calls here and no long path.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Deserialize;

use super::Cleaner;
use crate::error::AtPath;
use crate::observe::metrics::Sizes;
use crate::store::id::ImageId;
use crate::store::layout::{GARBAGE, INCOMPLETE, ImagePaths};
use crate::store::{Doing, Error, dependencies, images, intents, volumes};

/// Longest small file: an image of a thousand layers has 70 KB of their names.
const LONGEST: usize = 256 << 10;

/// What nearly all of them fit into.
const USUAL: usize = 16 << 10;

/// What is read of a volume's metadata.
#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Size")]
    size: u64,
}

/// Measures the store of a cleaner. Takes no lock, so the numbers are those of this moment; walks no tree.
pub fn sizes(cleaner: &Cleaner<'_>, with_committed: bool) -> Result<Sizes, Error> {
    let layout = &cleaner.store.layout;
    let (filesystem, filesystem_used) = filesystem(layout.root())?;
    let mut sizes = Sizes { filesystem, filesystem_used, ..Sizes::default() };
    if with_committed {
        sizes.committed = committed(cleaner)?;
    }
    let names = volumes::list(layout).doing("measuring store usage")?;
    let unused = unused(cleaner, &names)?;
    let mut kept: HashSet<String> = intents::seen(layout)?.into_iter().collect();
    for image in &cleaner.request.ignored {
        kept.extend(dependencies::of_base_image(layout, image));
    }
    let mut metadata = SmallFiles::below(&layout.meta())?;
    for name in &names {
        // Half of a layer has none yet.
        let Some(Size { size }) = metadata.json(&layout.volume_metadata(name)) else { continue };
        sizes.layers = sizes.layers.saturating_add(size);
        if !unused.contains(name.as_str()) {
            sizes.used_layers = sizes.used_layers.saturating_add(size);
        } else if !kept.contains(name) {
            sizes.unused_layers = sizes.unused_layers.saturating_add(size);
        }
    }
    Ok(sizes)
}

/// Volumes that no image uses. Mostly there are none, and a few of many images show that.
fn unused<'a>(cleaner: &Cleaner<'_>, names: &'a [String]) -> Result<HashSet<&'a str>, Error> {
    let layout = &cleaner.store.layout;
    let is_garbage = |name: &&str| name.starts_with(GARBAGE) || name.contains(INCOMPLETE);
    let (mut garbage, mut unseen): (HashSet<&str>, HashSet<&str>) =
        names.iter().map(String::as_str).partition(is_garbage);
    let mut files = SmallFiles::below(&layout.dependencies())?;
    for image in volumes::names(&layout.images()).doing("listing images")? {
        if unseen.is_empty() {
            break;
        }
        let Ok(id) = ImageId::new(&image) else { continue };
        match files.json::<Vec<&str>>(&layout.image_dependencies(&id)) {
            Some(used) => forget(&mut unseen, used.into_iter()),
            None => forget(&mut unseen, cleaner.volumes_of(&image).iter().map(String::as_str)),
        }
    }
    garbage.extend(unseen);
    Ok(garbage)
}

fn forget<'b>(names: &mut HashSet<&str>, used: impl Iterator<Item = &'b str>) {
    for name in used {
        names.remove(name);
    }
}

/// What limits promise.
fn committed(cleaner: &Cleaner<'_>) -> Result<Option<u64>, Error> {
    let images = images::list(&cleaner.store.layout).doing("measuring store usage")?;
    let roots: Vec<ImagePaths> = images.into_iter().map(ImagePaths::at).collect();
    Ok(cleaner.driver.promised(&roots)?)
}

/// Size of the file system, and what of it is in use.
fn filesystem(path: &Path) -> Result<(u64, u64), Error> {
    let found = rustix::fs::statvfs(path).at("statvfs", path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok((bytes(found.f_blocks), bytes(found.f_blocks.saturating_sub(found.f_bfree))))
}

/// Reads small files of one directory, one after the other.
struct SmallFiles {
    path: PathBuf,
    directory: OwnedFd,
    buffer: Vec<u8>,
}

impl SmallFiles {
    fn below(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty()).at("open", path)?;
        Ok(Self { path: path.to_owned(), directory, buffer: vec![0; USUAL] })
    }

    /// What a file says; `None` where it is not there, or says nothing of use.
    fn json<'a, T: Deserialize<'a>>(&'a mut self, path: &Path) -> Option<T> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let name = path.strip_prefix(&self.path).ok()?;
        let file = openat(&self.directory, name, flags, Mode::empty()).ok()?;
        // They are written whole, so one call reads all of it.
        let mut length = rustix::io::read(&file, &mut self.buffer).ok()?;
        if length == self.buffer.len() && length < LONGEST {
            self.buffer.resize(LONGEST, 0);
            length += rustix::io::read(&file, self.buffer.get_mut(length..)?).ok()?;
        }
        serde_json::from_slice(self.buffer.get(..length)?).ok()
    }
}
