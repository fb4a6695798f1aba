//! What the tree of a volume was when it was written to disk, to tell later whether it still is.
//!
//! Taken by [`super::durability::settle`], for which nobody waits, from the finished tree, and kept with
//! the metadata of the volume. It counts and hashes what `lstat(2)` tells; contents are not read, so bits that
//! have rotted in a file of the same size and time are not seen (docs/decisions/0013-check.md).

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use groot_sys::resolve::directory_in_root;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fgetxattr, openat, readlinkat, statat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{AtPath, PathError};

/// Counts of a tree, and a digest over its structure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Manifest {
    /// Names of regular files.
    pub files: u64,
    /// Directories, without the top one.
    pub directories: u64,
    /// Symlinks.
    pub links: u64,
    /// Everything else: fifos, and the marks of deletions.
    pub others: u64,
    /// Sizes of the files.
    pub bytes: u64,
    /// SHA-256 over paths, types, modes, owners, sizes, times and targets.
    pub digest: String,
}

impl Manifest {
    /// Takes it from a tree. Enters no other file system.
    pub fn take(root: &Path) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = openat(CWD, root, flags, Mode::empty()).at("open", root)?;
        let mut taker = Taker { manifest: Self::default(), hash: Sha256::new() };
        // Paths and not descriptors: trees may be deep, descriptors few.
        let mut todo = vec![PathBuf::from(".")];
        while let Some(path) = todo.pop() {
            taker
                .directory(&top, &path, &mut todo)
                .map_err(|errno| errno.into())
                .map_err(|error| PathError { operation: "read", path: root.join(&path), error })?;
        }
        let digest = taker.hash.finalize();
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { digest, ..taker.manifest })
    }

    /// How a tree differs from this; `None` when it does not.
    pub fn difference(&self, found: &Self) -> Option<Difference> {
        (self != found).then(|| Difference { was: self.clone(), is: found.clone() })
    }
}

/// What became of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    was: Manifest,
    is: Manifest,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { was, is } = self;
        let mut separator = "";
        for (what, was, is) in [
            ("files", was.files, is.files),
            ("directories", was.directories, is.directories),
            ("symlinks", was.links, is.links),
            ("other entries", was.others, is.others),
            ("bytes in files", was.bytes, is.bytes),
        ] {
            if was != is {
                write!(f, "{separator}{is} {what} instead of {was}")?;
                separator = ", ";
            }
        }
        if separator.is_empty() {
            f.write_str("a name, mode, owner, time, target or size is another one")?;
        }
        Ok(())
    }
}

struct Taker {
    manifest: Manifest,
    hash: Sha256,
}

impl Taker {
    fn directory(
        &mut self,
        top: &OwnedFd,
        path: &Path,
        todo: &mut Vec<PathBuf>,
    ) -> Result<(), Errno> {
        let here = directory_in_root(top.as_fd(), path).map_err(|error| error.errno())?;
        self.text(path.as_os_str().as_bytes());
        self.hash.update([u8::from(is_opaque(&here)?)]);
        let names = groot_sys::fs::names(here.as_fd()).map_err(|error| error.errno())?;
        let mut below = Vec::new();
        for name in &names {
            let found = statat(&here, name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.text(name.to_bytes());
            self.entry(&found);
            match FileType::from_raw_mode(found.st_mode) {
                FileType::Directory => below.push(path.join(OsStr::from_bytes(name.to_bytes()))),
                FileType::Symlink => self.text(readlinkat(&here, name, Vec::new())?.to_bytes()),
                _ => {}
            }
        }
        // In the order of the names, whatever order the file system has.
        todo.extend(below.into_iter().rev());
        Ok(())
    }

    fn entry(&mut self, found: &Stat) {
        let manifest = &mut self.manifest;
        let kind = FileType::from_raw_mode(found.st_mode);
        let size = u64::try_from(found.st_size).unwrap_or_default();
        let count = match kind {
            FileType::RegularFile => &mut manifest.files,
            FileType::Directory => &mut manifest.directories,
            FileType::Symlink => &mut manifest.links,
            _ => &mut manifest.others,
        };
        *count += 1;
        for number in [found.st_mode, found.st_uid, found.st_gid] {
            self.hash.update(number.to_le_bytes());
        }
        match kind {
            // What a directory's size is, is the file system's business.
            FileType::Directory => {}
            FileType::RegularFile => {
                manifest.bytes = manifest.bytes.saturating_add(size);
                self.hash.update(size.to_le_bytes());
            }
            FileType::Symlink => {}
            // Marks of deletions are one device with many names, which has no time of its own.
            _ => return self.hash.update(found.st_rdev.to_le_bytes()),
        }
        self.hash.update(found.st_mtime.to_le_bytes());
        self.hash.update(found.st_mtime_nsec.to_le_bytes());
    }

    /// With its length, so that no two lists of texts look the same.
    fn text(&mut self, text: &[u8]) {
        self.hash.update((text.len() as u64).to_le_bytes());
        self.hash.update(text);
    }
}

fn is_opaque(directory: &OwnedFd) -> Result<bool, Errno> {
    let mut value = [0_u8; 1];
    match fgetxattr(directory, c"trusted.overlay.opaque", &mut value[..]) {
        Ok(length) => Ok(length == 1 && value == *b"y"),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::SystemTime;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), "12345").unwrap();
        fs::write(dir.path().join("z"), "").unwrap();
        symlink("a/b", dir.path().join("link")).unwrap();
        dir
    }

    #[test]
    fn counts_and_stays() {
        let dir = tree();
        let taken = Manifest::take(dir.path()).unwrap();
        assert_eq!((taken.files, taken.directories, taken.links, taken.others), (2, 2, 1, 0));
        assert_eq!((taken.bytes, taken.digest.len()), (5, 64));
        assert_eq!(taken.difference(&Manifest::take(dir.path()).unwrap()), None);
    }

    type Change = fn(&Path);

    /// Changes, and the words for them.
    #[test]
    fn sees_every_change() {
        let words = "a name, mode, owner, time, target or size is another one";
        let changes: [(&str, Change); 6] = [
            (words, |top| {
                let mode = fs::Permissions::from_mode(0o4711);
                fs::set_permissions(top.join("z"), mode).unwrap();
            }),
            (words, |top| fs::rename(top.join("z"), top.join("y")).unwrap()),
            (words, |top| {
                fs::remove_file(top.join("link")).unwrap();
                symlink("a/c", top.join("link")).unwrap();
            }),
            (words, |top| {
                let file = fs::File::options().write(true).open(top.join("a/b/file")).unwrap();
                file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }),
            ("0 bytes in files instead of 5", |top| {
                fs::write(top.join("a/b/file"), "").unwrap();
            }),
            ("3 files instead of 2", |top| fs::write(top.join("a/new"), "").unwrap()),
        ];
        for (position, (expected, change)) in changes.into_iter().enumerate() {
            let dir = tree();
            let before = Manifest::take(dir.path()).unwrap();
            change(dir.path());
            let after = Manifest::take(dir.path()).unwrap();
            let difference = before.difference(&after).map(|found| found.to_string());
            assert_eq!(difference.as_deref(), Some(expected), "change {position}");
        }
    }

    /// A file may not pass for a directory entry further down, or the other way round.
    #[test]
    fn places_count() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (top, file) in [(one.path(), "a/x"), (other.path(), "b/x")] {
            fs::create_dir(top.join("a")).unwrap();
            fs::create_dir(top.join("b")).unwrap();
            fs::write(top.join(file), "").unwrap();
            for path in [file, "a", "b"] {
                let at = fs::File::open(top.join(path)).unwrap();
                at.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
        }
        let taken = [&one, &other].map(|dir| Manifest::take(dir.path()).unwrap());
        assert_ne!(taken[0].digest, taken[1].digest);
    }
}
