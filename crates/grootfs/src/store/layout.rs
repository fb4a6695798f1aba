//! Where everything in a store lies. Every path of a store is made in this file.
//!
//! The layout is the original's (contract section 3), so that either program can use a store
//! that the other one made:
//!
//! ```text
//! <store>                          0700, owned by the mapped root
//! ├── images/<id>/                 one root file system
//! │   ├── rootfs/                  overlay: mount point; btrfs: the writable snapshot
//! │   ├── diff/ workdir/           overlay only: upper and work directory
//! │   ├── snapshot/                btrfs without mount: the writable snapshot
//! │   ├── image_info image_quota   overlay only: bytes of the layers, bytes of the limit
//! │   └── vol-<sha256>/            one for each volume that the image declares
//! ├── volumes/<chain id>/          one layer (btrfs: with all layers below it)
//! ├── l/<short> -> volume          overlay only: short names for mount options
//! ├── l/<chain id>                 overlay only: a file that holds the short name
//! ├── meta/namespace.json          the id mappings
//! ├── meta/volume-<chain id>       {"Size":<bytes>}
//! ├── meta/dependencies/           which volumes an image uses, and what it was made of
//! ├── locks/<key>.lock             flock(2) files
//! ├── tmp/                         what is being written or taken away
//! ├── quarantine/                  overlay only: damaged volumes that images still use (ours)
//! ├── projectids/<n>/              overlay only: project ids in use
//! └── whiteout_dev                 overlay only: the 0:0 character device
//! ```

use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::id::ImageId;

/// Marks a volume that is still being written: `<chain>-incomplete-<ns>-<random>`.
pub const INCOMPLETE: &str = "-incomplete-";

/// Marks a volume that is to be deleted: `gc.<name>`.
pub const GARBAGE: &str = "gc.";

/// The paths of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The store at an absolute path.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The store itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The root file systems.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// One root file system with all that belongs to it.
    pub fn image(&self, id: &ImageId) -> ImagePaths {
        ImagePaths { dir: self.images().join(id.as_str()) }
    }

    /// The layers.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// One layer by its chain id (or the name of one that is not ready, or garbage).
    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    /// Knowledge about volumes and images.
    pub fn meta(&self) -> PathBuf {
        self.root.join("meta")
    }

    /// The id mappings.
    pub fn namespace_file(&self) -> PathBuf {
        self.meta().join("namespace.json")
    }

    /// What is known about a volume. Garbage has a file of its own, so that the volume may be
    /// pulled again while its old content is still being removed.
    pub fn volume_metadata(&self, name: &str) -> PathBuf {
        self.meta().join(format!("volume-{name}"))
    }

    /// Which volumes each image uses.
    pub fn dependencies(&self) -> PathBuf {
        self.meta().join("dependencies")
    }

    /// Which volumes one image uses.
    pub fn image_dependencies(&self, id: &ImageId) -> PathBuf {
        self.dependencies().join(format!("image:{id}.json"))
    }

    /// Which image a root file system was made of.
    pub fn image_origin(&self, id: &ImageId) -> PathBuf {
        self.dependencies().join(format!("from:{id}.json"))
    }

    /// Lock files.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// One lock file; `/` is dropped from keys (contract 3.3).
    pub fn lock(&self, key: &str) -> PathBuf {
        self.locks().join(format!("{}.lock", key.replace('/', "")))
    }

    /// Scratch space on the same file system.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Damaged volumes that images still use. The original does not know it.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Short names of volumes (overlay only).
    pub fn links(&self) -> PathBuf {
        self.root.join("l")
    }

    /// Project ids in use (overlay only).
    pub fn project_ids(&self) -> PathBuf {
        self.root.join("projectids")
    }

    /// The device that whiteouts are hard links to (overlay only).
    pub fn whiteout_device(&self) -> PathBuf {
        self.root.join("whiteout_dev")
    }

    /// The file behind a store that has a file system of its own.
    pub fn backing_file(&self) -> PathBuf {
        let mut path = self.root.clone().into_os_string();
        path.push(".backing-store");
        path.into()
    }

    /// The same file while its file system is being made.
    pub fn new_backing_file(&self) -> PathBuf {
        let mut path = self.backing_file().into_os_string();
        path.push(".new");
        path.into()
    }

    /// The directories that every store has, parents first.
    pub fn directories(&self) -> [PathBuf; 6] {
        [self.images(), self.volumes(), self.meta(), self.locks(), self.tmp(), self.dependencies()]
    }
}

/// The paths of one root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePaths {
    dir: PathBuf,
}

impl ImagePaths {
    /// The same layout in a directory of another name: an image that is being taken away.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory that holds all of it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the runtime gets as its root.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Overlay's upper directory.
    pub fn upper(&self) -> PathBuf {
        self.dir.join("diff")
    }

    /// Overlay's work directory.
    pub fn work(&self) -> PathBuf {
        self.dir.join("workdir")
    }

    /// The writable btrfs snapshot of a root that nobody mounted.
    pub fn snapshot(&self) -> PathBuf {
        self.dir.join("snapshot")
    }

    /// Decimal sum of the layers' sizes (overlay only).
    pub fn info(&self) -> PathBuf {
        self.dir.join("image_info")
    }

    /// Decimal bytes of the limit (overlay only, only with a limit).
    pub fn quota(&self) -> PathBuf {
        self.dir.join("image_quota")
    }

    /// What is mounted over a volume that the image declares.
    pub fn declared_volume(&self, path_in_image: &str) -> PathBuf {
        let hash = sha2::Sha256::digest(path_in_image.as_bytes());
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(format!("vol-{hex}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_originals() {
        let layout = Layout::new("/s".into());
        assert_eq!(layout.volume_metadata("abc"), Path::new("/s/meta/volume-abc"));
        assert_eq!(layout.backing_file(), Path::new("/s.backing-store"));
        assert_eq!(layout.lock("a/b"), Path::new("/s/locks/ab.lock"));
    }
}
