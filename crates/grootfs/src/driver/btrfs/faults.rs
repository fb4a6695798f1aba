//! What can be wrong with volumes and roots of btrfs.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::{Btrfs, existing_directory, subvolume};
use crate::driver::faults::{Faults, ProjectFault, RootFault, VolumeFault};
use crate::driver::{Doing, Error, files};
use crate::store::layout::ImagePaths;

impl Faults for Btrfs {
    fn missing_parts(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn volume_fault(&self, name: &str) -> Result<Option<VolumeFault>, Error> {
        let path = self.layout.volume(name);
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let damaged = |why: &str| Ok(Some(VolumeFault::Damaged(why.to_owned())));
        if !path.is_dir() {
            return damaged("it is no directory");
        }
        if !is_subvolume(&path)? {
            return damaged("it is a plain directory, of which no snapshot can be made");
        }
        Ok(None)
    }

    fn mend_volume(&self, _name: &str) -> Result<(), Error> {
        Ok(())
    }

    fn move_volume(&self, name: &str, to: &Path) -> Result<(), Error> {
        files::rename(&self.layout.volume(name), to)
    }

    fn stray_names(&self, _volumes: &[String]) -> Result<Vec<PathBuf>, Error> {
        Ok(Vec::new())
    }

    fn root_faults(&self, paths: &ImagePaths) -> Result<Vec<RootFault>, Error> {
        let mut faults = Vec::new();
        let root = subvolume(paths);
        if !is_subvolume(&root)? {
            faults.push(RootFault::Part(root));
        }
        // Only where simple quotas count.
        if files::read_number(&paths.info()).is_err() {
            faults.push(RootFault::Size("image_info holds no number".to_owned()));
        }
        Ok(faults)
    }

    fn root_volumes(&self, _paths: &ImagePaths) -> Result<Option<Vec<String>>, Error> {
        // A snapshot stands by itself, and does not say what it is one of.
        Ok(None)
    }

    fn project_faults(&self, _roots: &[ImagePaths]) -> Result<Vec<ProjectFault>, Error> {
        // Quota groups have the numbers of their subvolumes, so nothing can be mixed up.
        Ok(Vec::new())
    }

    fn mend_project(&self, _fault: &ProjectFault) -> Result<(), Error> {
        Ok(())
    }
}

/// Whether a path is a subvolume; what is not there is none.
fn is_subvolume(path: &Path) -> Result<bool, Error> {
    match existing_directory(path)? {
        None => Ok(false),
        Some(fd) => groot_sys::btrfs::is_subvolume(fd.as_fd())
            .doing(format!("looking at {}", path.display())),
    }
}
