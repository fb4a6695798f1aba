//! Which layers a pull is going to use: what `clean` leaves alone although no image uses it yet.
//!
//! A pull may take an hour, and nobody may wait for it: neither `clean` nor, behind a waiting `clean`, the
//! next create. So a pull does not hold the global lock while layers come in. Before it lets go of the lock
//! it writes the names of its layers into a file in `tmp/`, and holds `flock(2)` on that file as long as
//! it lives. `clean`, which holds the global lock alone, counts the layers in files that are locked as used,
//! and removes the files that nobody locks any more: their processes are gone.
//!
//! The original's `clean` knows nothing of this. A pull therefore looks again, under the lock, whether all
//! of its layers are there before an image uses them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::layout::Layout;
use super::{Error, volumes};
use crate::error::AtPath;

/// How the names of the files begin.
const PREFIX: &str = "pull-";

/// The layers of a pull that is going on; forgotten when it is dropped.
#[derive(Debug)]
pub struct Intent {
    path: PathBuf,
    _file: File,
}

impl Intent {
    /// Writes down what is going to be used. The caller holds the global lock.
    pub fn register(layout: &Layout, volumes: &[String]) -> Result<Self, Error> {
        let path = layout.tmp().join(format!("{PREFIX}{}", volumes::unique()));
        let mut file = File::create_new(&path).at("open", &path)?;
        let written =
            flock(&file, FlockOperation::LockExclusive).at("flock", &path).and_then(|()| {
                let text = serde_json::to_string(volumes).unwrap_or_default();
                file.write_all(text.as_bytes()).at("write", &path)
            });
        let intent = Self { path, _file: file };
        written?;
        Ok(intent)
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        // What cannot be removed is left to `clean`.
        let _ = fs::remove_file(&self.path);
    }
}

/// The layers that pulls are going to use. Removes the files of those that have ended; the caller holds
/// the global lock alone, so none is being written.
pub fn used(layout: &Layout) -> Result<Vec<String>, Error> {
    read(layout, |path| drop(fs::remove_file(path)))
}

/// The same without the lock and without removing anything: what can be seen at this moment.
pub fn seen(layout: &Layout) -> Result<Vec<String>, Error> {
    read(layout, |_| {})
}

/// Files of pulls that have ended without tidying up.
pub fn ended(layout: &Layout) -> Result<Vec<PathBuf>, Error> {
    let ended = std::cell::RefCell::new(Vec::new());
    read(layout, |path| ended.borrow_mut().push(path.to_owned()))?;
    Ok(ended.into_inner())
}

fn read(layout: &Layout, ended: impl Fn(&Path)) -> Result<Vec<String>, Error> {
    let mut used = Vec::new();
    for name in volumes::names(&layout.tmp())? {
        if !name.starts_with(PREFIX) {
            continue;
        }
        let path = layout.tmp().join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.at("open", &path)?,
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            // Nobody holds it: its process is gone.
            Ok(()) => ended(&path),
            Err(Errno::WOULDBLOCK) => {
                let bytes = fs::read(&path).unwrap_or_default();
                used.extend(serde_json::from_slice::<Vec<String>>(&bytes).unwrap_or_default());
            }
            Err(errno) => Err(errno).at("flock", &path)?,
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_long_as_its_process_lives() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().to_owned());
        fs::create_dir(layout.tmp()).unwrap();
        let left = layout.tmp().join("pull-1-2");
        fs::write(&left, "[\"x\"]").unwrap();
        let intent = Intent::register(&layout, &["a".into(), "b".into()]).unwrap();
        assert_eq!(used(&layout).unwrap(), ["a", "b"]);
        assert!(!left.exists());
        drop(intent);
        assert!(used(&layout).unwrap().is_empty());
        assert!(volumes::names(&layout.tmp()).unwrap().is_empty());
    }
}
