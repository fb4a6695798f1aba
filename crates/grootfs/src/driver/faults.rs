//! What can be wrong with what a driver keeps on disk, for those who look for it and mend it.

use std::path::{Path, PathBuf};

use super::Error;
use crate::store::layout::ImagePaths;

/// What is wrong with a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeFault {
    /// No root can be made of it.
    Damaged(String),
    /// It is whole, but what leads to it is lost.
    Name(String),
}

/// What is wrong with a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootFault {
    /// A part of it is not there, or is something else.
    Part(PathBuf),
    /// The file with the bytes of its layers is lost or holds no number.
    Size(String),
}

/// What is wrong with a project of the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectFault {
    /// It is in use and no root has it.
    Leaked(u32),
    /// A root has it, and it is not written down as in use.
    Unlisted(u32, ImagePaths),
    /// Several roots have it, and so one limit together.
    Shared(u32, Vec<ImagePaths>),
    /// The limit that is written down is not that of the kernel.
    Limit {
        /// Whose.
        image: ImagePaths,
        /// What is written down; `None` where that is no number.
        written: Option<u64>,
        /// What the kernel holds the root to; 0 is no limit.
        kernel: u64,
    },
}

/// Looks at what lies on disk. The looks take no lock and change nothing; what goes away meanwhile is no
/// fault. What mends may be repeated; its caller holds the global lock alone.
pub trait Faults {
    /// The driver's own parts of a store that are not there.
    fn missing_parts(&self) -> Vec<PathBuf>;

    /// What is wrong with a volume; `None` also when it is not there.
    fn volume_fault(&self, name: &str) -> Result<Option<VolumeFault>, Error>;

    /// Makes again what leads to a volume.
    fn mend_volume(&self, name: &str) -> Result<(), Error>;

    /// Takes a volume out of `volumes/`. Who has mounted it keeps it. Atomic.
    fn move_volume(&self, name: &str, to: &Path) -> Result<(), Error>;

    /// Names that killed processes have left of volumes other than these.
    fn stray_names(&self, volumes: &[String]) -> Result<Vec<PathBuf>, Error>;

    /// What is wrong with a root file system, apart from what `store` writes about it.
    fn root_faults(&self, paths: &ImagePaths) -> Result<Vec<RootFault>, Error>;

    /// All volumes of a mounted root, base first; `None` where they cannot all be told.
    fn root_volumes(&self, paths: &ImagePaths) -> Result<Option<Vec<String>>, Error>;

    /// What is wrong with the projects of these roots, which are all that there are.
    fn project_faults(&self, roots: &[ImagePaths]) -> Result<Vec<ProjectFault>, Error>;

    /// Mends a project. What has leaked is left to `reclaim`, what is shared to a person.
    fn mend_project(&self, fault: &ProjectFault) -> Result<(), Error>;
}
