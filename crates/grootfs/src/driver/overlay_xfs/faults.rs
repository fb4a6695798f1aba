//! What can be wrong with short names, roots and projects of overlay-xfs.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{OverlayXfs, short_name};
use crate::driver::faults::{Faults, ProjectFault, RootFault, VolumeFault};
use crate::driver::{Doing, Error, files};
use crate::error::{AtPath, reason};
use crate::store::layout::ImagePaths;

/// How long a short name may lead nowhere: until its volume is renamed to what it names.
const LINK_IS_NEW: Duration = Duration::from_secs(60);

impl OverlayXfs {
    /// The short name of a volume, or why it is lost.
    pub(super) fn named(&self, volume: &str) -> Result<String, String> {
        let short = match fs::read_to_string(self.link_file(volume)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!("l/{volume}, which holds its short name, is missing"));
            }
            Err(error) => return Err(format!("l/{volume} cannot be read: {}", reason(&error))),
            Ok(short) if !short_name::is_valid(&short) => {
                return Err(format!("l/{volume} holds no short name"));
            }
            Ok(short) => short,
        };
        let link = self.layout.links().join(&short);
        match fs::read_link(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("the link l/{short} is missing"))
            }
            Err(error) => Err(format!("the link l/{short} cannot be read: {}", reason(&error))),
            Ok(target) if target.file_name().is_none_or(|name| name != volume) => {
                Err(format!("the link l/{short} leads to {}", target.display()))
            }
            // Who is killed while it takes a name away leaves one that leads nowhere.
            Ok(target) if !link.is_dir() => {
                Err(format!("the link l/{short} leads to {}, which is not there", target.display()))
            }
            Ok(_) => Ok(short),
        }
    }
}

impl Faults for OverlayXfs {
    fn missing_parts(&self) -> Vec<PathBuf> {
        let layout = &self.layout;
        let parts = [layout.whiteout_device(), layout.links(), layout.project_ids()];
        parts.into_iter().filter(|path| is_missing(path)).collect()
    }

    fn volume_fault(&self, name: &str) -> Result<Option<VolumeFault>, Error> {
        let path = self.layout.volume(name);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(found) if !found.is_dir() => {
                return Ok(Some(VolumeFault::Damaged("it is no directory".to_owned())));
            }
            other => other.at("lstat", &path)?,
        };
        Ok(self.named(name).err().map(VolumeFault::Name))
    }

    fn mend_volume(&self, name: &str) -> Result<(), Error> {
        match self.named(name) {
            Ok(_) => Ok(()),
            Err(_) => self.link_existing(name).map(drop),
        }
    }

    fn move_volume(&self, name: &str, to: &Path) -> Result<(), Error> {
        self.unlink(name)?;
        files::rename(&self.layout.volume(name), to)
    }

    fn stray_names(&self, volumes: &[String]) -> Result<Vec<PathBuf>, Error> {
        let links = self.layout.links();
        let mut strays = Vec::new();
        for entry in fs::read_dir(&links).at("open", &links)? {
            let entry = entry.at("readdir", &links)?;
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            // A volume gets its names just before it is there.
            let age = metadata.modified().ok().and_then(|at| at.elapsed().ok());
            if age.is_none_or(|age| age < LINK_IS_NEW) {
                continue;
            }
            let volume: Option<OsString> = if metadata.is_symlink() {
                fs::read_link(&path).ok().and_then(|target| Some(target.file_name()?.to_owned()))
            } else {
                Some(entry.file_name())
            };
            let is_there = volume
                .as_ref()
                .and_then(|volume| volume.to_str())
                .is_some_and(|volume| volumes.iter().any(|other| other == volume));
            if !is_there {
                strays.push(path);
            }
        }
        Ok(strays)
    }

    fn root_faults(&self, paths: &ImagePaths) -> Result<Vec<RootFault>, Error> {
        let parts = [paths.upper(), paths.work(), paths.rootfs()];
        let mut faults: Vec<RootFault> =
            parts.into_iter().filter(|path| !is_directory(path)).map(RootFault::Part).collect();
        match files::read_number(&paths.info()) {
            Ok(Some(_)) => {}
            Ok(None) => faults.push(RootFault::Size("image_info is missing".to_owned())),
            Err(_) => faults.push(RootFault::Size("image_info holds no number".to_owned())),
        }
        Ok(faults)
    }

    fn root_volumes(&self, paths: &ImagePaths) -> Result<Option<Vec<String>>, Error> {
        let lower = groot_sys::mount::overlay_lower(&paths.rootfs())
            .doing("looking at the mounts of an image")?;
        let named: Option<Vec<String>> =
            lower.iter().rev().map(|short| self.volume_behind(short)).collect();
        Ok(named.filter(|volumes| !volumes.is_empty()))
    }

    fn project_faults(&self, roots: &[ImagePaths]) -> Result<Vec<ProjectFault>, Error> {
        self.projects()?.faults(roots)
    }

    fn mend_project(&self, fault: &ProjectFault) -> Result<(), Error> {
        match fault {
            ProjectFault::Leaked(_) | ProjectFault::Shared(..) => Ok(()),
            ProjectFault::Unlisted(id, _) => {
                files::make_directory(&self.layout.project_ids().join(id.to_string()), 0o755, None)
            }
            ProjectFault::Limit { image, kernel: 0, .. } => files::remove_file(&image.quota()),
            ProjectFault::Limit { image, kernel, .. } => {
                files::rewrite_number(&image.quota(), *kernel)
            }
        }
    }
}

fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}
