//! Layers as directories of XFS, mounted on top of each other by overlay.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use groot_sys::project_quota::Limits;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::faults::Faults;
use super::helper::Helper;
use super::limit::{Inodes, LEAST, Limit, Usage};
use super::projects::Projects;
use super::{
    Change, Doing, Driver, Error, Kind, Mount, NewRoot, QuotaMode, VolumeTree, files, short_name,
};
use crate::error::AtPath;
use crate::idmap::Owner;
use crate::observe::Log;
use crate::store::layout::{ImagePaths, Layout};

mod faults;

/// The driver.
#[derive(Debug)]
pub struct OverlayXfs {
    layout: Layout,
    tardis: Helper,
}

/// Inodes of a root that are not its content: its own directories and the files that describe it. A
/// lower limit could not even be mounted.
const LEAST_INODES: u64 = 16;

impl OverlayXfs {
    /// A driver for one store; `tardis` sets limits for users other than root.
    pub fn new(layout: Layout, tardis: Helper) -> Self {
        Self { layout, tardis }
    }

    fn projects(&self) -> Result<Projects, Error> {
        Projects::open(&self.layout, &self.tardis)
    }

    /// The file that holds a volume's short name.
    fn link_file(&self, volume: &str) -> PathBuf {
        self.layout.links().join(volume)
    }

    /// The short name of a volume, made again when it was lost.
    fn short_name(&self, volume: &str, log: &Log) -> Result<String, Error> {
        self.named(volume).or_else(|why| {
            let short = self.link_existing(volume)?;
            let text = format!("{why}: volume {volume} has a new short name, l/{short}");
            log.error("creating-image.short-name-made-again", &Error::Usage(text));
            Ok(short)
        })
    }

    /// The volume behind `l/<short>`, as it was given to a mount.
    fn volume_behind(&self, short: &Path) -> Option<String> {
        let link = self.layout.links().join(short.file_name()?);
        fs::read_link(link).ok()?.file_name()?.to_str().map(str::to_owned)
    }

    /// Gives a volume that has lost its short name another one.
    fn link_existing(&self, volume: &str) -> Result<String, Error> {
        let target = self.layout.volume(volume);
        if target.is_dir() { self.link(volume) } else { Err(Error::VolumeMissing(target)) }
    }

    /// Gives a volume a short name: a symlink, and a file that holds the symlink's name.
    fn link(&self, volume: &str) -> Result<String, Error> {
        let target = self.layout.volume(volume);
        let short = loop {
            let short = short_name::new();
            let link = self.layout.links().join(&short);
            match std::os::unix::fs::symlink(&target, &link) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => break other.at("symlink", &link).map(|()| short)?,
            }
        };
        // Written aside and renamed: a reader sees the old name, the new one, or none.
        let file = self.link_file(volume);
        let aside = self.layout.tmp().join(format!("link-{short}"));
        fs::write(&aside, &short).at("write", &aside)?;
        fs::rename(&aside, &file).at("rename", &file)?;
        Ok(short)
    }

    fn unlink(&self, volume: &str) -> Result<(), Error> {
        let file = self.link_file(volume);
        if let Ok(short) = fs::read_to_string(&file)
            && short_name::is_valid(&short)
        {
            files::remove_file(&self.layout.links().join(short))?;
        }
        files::remove_file(&file)
    }

    fn make_whiteout_device(&self, owner: Option<Owner>) -> Result<(), Error> {
        let path = self.layout.whiteout_device();
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                groot_sys::fs::make_device(CWD, &path, 0).doing("creating whiteout device")?;
                fs::symlink_metadata(&path).at("lstat", &path)?
            }
            other => other.at("lstat", &path)?,
        };
        if !metadata.file_type().is_char_device() || metadata.rdev() != 0 {
            return Err(Error::NotAWhiteoutDevice(path));
        }
        files::chown(&path, owner)
    }
}

impl Driver for OverlayXfs {
    fn kind(&self) -> Kind {
        Kind::OverlayXfs
    }

    fn stacks_volumes(&self) -> bool {
        false
    }

    fn check_filesystem(&self, path: &Path) -> Result<(), Error> {
        files::require_filesystem(path, groot_sys::fs::XFS_MAGIC, self.kind(), "an XFS mount")
    }

    fn format(&self, device: &Path, _tools: Option<&Path>) -> Result<(), Error> {
        let mut command = Command::new("mkfs.xfs");
        files::run_formatter("XFS", command.arg("-f").arg(device))
    }

    fn mount_store(&self, device: &Path) -> Result<(), Error> {
        let mount =
            |options| groot_sys::mount::filesystem(device, self.layout.root(), "xfs", options);
        // A kernel without XFS quotas refuses `pquota`: the store then works, limits do not.
        match mount("pquota,noatime") {
            Err(error) if error.errno() == rustix::io::Errno::INVAL => {
                mount("noatime").doing("mounting the store")
            }
            other => other.doing("mounting the store"),
        }
    }

    fn grow(&self, bytes: u64) -> Result<(), Error> {
        let root = files::open_directory(self.layout.root())?;
        groot_sys::xfs::grow(root.as_fd(), bytes).doing("growing the store's file system")
    }

    fn enable_limits(&self, _simple: bool) -> Result<(), Error> {
        // Project quotas are a mount option, which `mount_store` gives.
        Ok(())
    }

    fn quotas(&self) -> Option<QuotaMode> {
        None
    }

    fn configure_store(&self, owner: Option<Owner>) -> Result<(), Error> {
        self.make_whiteout_device(owner)?;
        for directory in [self.layout.links(), self.layout.project_ids()] {
            files::make_directory(&directory, 0o755, owner)?;
        }
        Ok(())
    }

    fn create_volume(&self, _parent: Option<&str>, name: &str) -> Result<(), Error> {
        let path = self.layout.volume(name);
        fs::DirBuilder::new().mode(0o755).create(&path).at("mkdir", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at("chmod", &path)?;
        Ok(())
    }

    fn open_volume(&self, name: &str) -> Result<VolumeTree, Error> {
        let device = self.layout.whiteout_device();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let device = openat(CWD, &device, flags, Mode::empty()).at("open", &device)?;
        Ok(VolumeTree {
            root: files::open_directory(&self.layout.volume(name))?,
            whiteout_device: Some(device),
        })
    }

    fn mark_opaque(&self, name: &str, directories: &[&Path]) -> Result<(), Error> {
        // In a namespace that somebody else made, nobody can; the marks for users are there.
        if !crate::userns::is_inside() {
            return Ok(());
        }
        let at = |path: &&Path| self.layout.volume(name).join(path);
        let paths: Vec<PathBuf> = directories.iter().map(at).collect();
        self.tardis.run_on_paths("handle-opqwhiteouts", "--opaque-path", &paths)
    }

    fn publish_volume(&self, from: &str, to: &str) -> Result<(), Error> {
        let target = self.layout.volume(to);
        if target.is_dir() {
            return self.destroy_volume(from);
        }
        // The name first, so that no volume is ever without one; a crash in between leaves a
        // name that points nowhere, which the next publishing replaces and `clean` removes.
        self.unlink(to)?;
        self.link(to)?;
        files::rename(&self.layout.volume(from), &target)
    }

    fn retire_volume(&self, name: &str, garbage: &str) -> Result<(), Error> {
        self.unlink(name)?;
        files::rename(&self.layout.volume(name), &self.layout.volume(garbage))
    }

    fn destroy_volume(&self, name: &str) -> Result<(), Error> {
        // The names are a few bytes, and go with the next clean: an error with them keeps no layer.
        let unlinked = self.unlink(name);
        files::remove_tree(&self.layout.volume(name))?;
        unlinked
    }

    fn create_root(&self, root: &NewRoot<'_>) -> Result<Option<Mount>, Error> {
        let paths = root.paths;
        let limits = limits_of(&root.limit, root.layers_size).doing_limits()?;
        // Before anything is made in it: what is made inherits the project.
        self.projects()?.begin(paths, limits).doing_limits()?;
        if limits.bytes > 0 {
            files::write_number(&paths.quota(), limits.bytes)?;
        }
        let mut lower = Vec::with_capacity(root.volumes.len());
        for volume in root.volumes.iter().rev() {
            lower.push(Path::new("l").join(self.short_name(volume, root.log)?));
            // Overlay itself heeds the mark in every directory but the top one.
            if files::is_opaque(&self.layout.volume(volume))? {
                break;
            }
        }
        for directory in [paths.upper(), paths.work(), paths.rootfs()] {
            files::make_directory(&directory, 0o755, Some(root.owner))?;
        }
        files::write_number(&paths.info(), root.layers_size)?;
        let (upper, work) = (paths.upper(), paths.work());
        if !root.mount {
            let lower = lower.iter().map(|name| self.layout.root().join(name)).collect();
            return Ok(Some(Mount::Overlay { lower, upper, work, user_xattrs: root.user_marks }));
        }
        let overlay = groot_sys::mount::Overlay {
            base: self.layout.root(),
            lower: &lower,
            upper: &upper,
            work: &work,
            target: &paths.rootfs(),
            user_xattrs: !crate::userns::is_host_root(),
        };
        groot_sys::mount::overlay(&overlay).doing("mounting overlay")?;
        Ok(None)
    }

    fn unmount_root(&self, paths: &ImagePaths) -> Result<(), Error> {
        files::unmount(&paths.rootfs())
    }

    fn destroy_root(&self, paths: &ImagePaths) -> Result<(), Error> {
        // The directory itself stays until its project id is given back, and so keeps the id its own.
        files::empty_tree(paths.dir())?;
        self.projects()?.end(paths)?;
        files::remove_tree(paths.dir())
    }

    fn sweep(&self) -> Result<(), Error> {
        // A directory leaves nothing.
        Ok(())
    }

    fn check_limits(&self) -> Result<(), Error> {
        self.projects()?.check()
    }

    fn set_limit(&self, paths: &ImagePaths, change: &Change) -> Result<(), Error> {
        let projects = self.projects()?;
        projects.check()?;
        let quota = projects.quota(paths)?;
        let mut limits = quota.limits;
        if let Some(inodes) = change.inodes {
            limits.inodes = inodes_of(inodes);
        }
        if let Some((bytes, scope)) = change.bytes {
            let limit = Limit { bytes, scope, inodes: 0 };
            limits.bytes =
                limits_of(&limit, files::read_number(&paths.info())?.unwrap_or(0))?.bytes;
        }
        // Written down for those who may not ask the kernel (contract 3.1). The file is part of the
        // project, so it is made while it still may be; from then on its block is there.
        let file = paths.quota();
        let before = files::read_number(&file)?;
        if limits.bytes > 0 && before.is_none() && quota.limits.inodes > 0 {
            // A root may have used up its inodes, and the file is one more.
            let most = quota.inodes.max(quota.limits.inodes);
            let room = most.saturating_add(LEAST_INODES);
            projects.limit(paths, Limits { inodes: room, ..quota.limits })?;
        }
        if limits.bytes > 0
            && before.unwrap_or(0) != limits.bytes
            && let Err(error) = files::rewrite_number(&file, limits.bytes)
        {
            // The first error is the one to report.
            let _ = projects.limit(paths, quota.limits);
            return Err(error);
        }
        let limited = projects.limit(paths, limits);
        let written_down = if limited.is_ok() { limits.bytes } else { before.unwrap_or(0) };
        if written_down == 0 {
            files::remove_file(&file)?;
        } else if limited.is_err() {
            files::rewrite_number(&file, written_down)?;
        }
        limited
    }

    fn count(&self) -> Result<(), Error> {
        // XFS counts while it writes.
        Ok(())
    }

    fn usage(&self, paths: &ImagePaths) -> Result<Usage, Error> {
        let image = files::read_number(&paths.info())?.unwrap_or(0);
        let quota = self.projects()?.quota(paths)?;
        let committed =
            if quota.limits.bytes == 0 { 0 } else { image.saturating_add(quota.limits.bytes) };
        let inodes = Inodes { used: quota.inodes, limit: quota.limits.inodes };
        Ok(Usage {
            total: image.saturating_add(quota.bytes),
            exclusive: quota.bytes,
            quota: quota.limits.bytes,
            committed,
            inodes: (quota.inodes > 0).then_some(inodes),
        })
    }

    fn promised(&self, roots: &[ImagePaths]) -> Result<Option<u64>, Error> {
        let images = self.layout.images();
        let quotas: Vec<PathBuf> = roots.iter().map(ImagePaths::quota).collect();
        let below = quotas.iter().filter_map(|quota| quota.strip_prefix(&images).ok());
        Ok(Some(files::sum_of_numbers(&images, below)?))
    }

    fn volumes_of(&self, paths: &ImagePaths) -> Result<Vec<String>, Error> {
        let lower = groot_sys::mount::overlay_lower(&paths.rootfs())
            .doing("looking at the mounts of an image")?;
        Ok(lower.iter().filter_map(|short| self.volume_behind(short)).collect())
    }

    fn remove_leftovers(&self, volumes: &[String]) -> Result<(), Error> {
        self.stray_names(volumes)?.iter().try_for_each(|path| files::remove_file(path))
    }

    fn reclaim(&self, roots: &[ImagePaths]) -> Result<(), Error> {
        self.projects()?.reclaim(roots)
    }
}

/// Names the step in the original's words (contract 1.6).
trait DoingLimits<T> {
    fn doing_limits(self) -> Result<T, Error>;
}

impl<T, E: Into<Error>> DoingLimits<T> for Result<T, E> {
    fn doing_limits(self) -> Result<T, Error> {
        self.map_err(|error| Error::ApplyingLimits(Box::new(error.into())))
    }
}

/// What the kernel is to hold a root to, whose image holds so many bytes (contract 4.9).
fn limits_of(limit: &Limit, image: u64) -> Result<Limits, Error> {
    let left = limit.left(image)?;
    Ok(Limits { bytes: left.map_or(0, |left| left.max(LEAST)), inodes: inodes_of(limit.inodes) })
}

fn inodes_of(inodes: u64) -> u64 {
    if inodes == 0 { 0 } else { inodes.max(LEAST_INODES) }
}
