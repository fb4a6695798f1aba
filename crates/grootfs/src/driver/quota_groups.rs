//! Limits of btrfs: each root file system is a subvolume with a quota group of its own.
//!
//! With full quotas a snapshot refers to all that it shares with its image, so the kernel itself counts
//! the image (`referenced`) or leaves it out (`exclusive`). With simple quotas (Linux 6.7) it owns what it
//! has written and nothing else; the image's bytes are then taken from the limit and added to the numbers
//! here, and `image_info` remembers them as on overlay-xfs.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use drax::{Mode, Quota};
use groot_sys::qgroup::QgroupLimits;
use serde::Deserialize;

use super::helper::Helper;
use super::limit::{LEAST, Limit, Scope, Usage};
use super::{Doing, Error, NewRoot, files};
use crate::error::AtPath;
use crate::store::layout::{ImagePaths, Layout};

/// The quota groups of a store: by system calls as root, through `drax` as another user.
#[derive(Debug)]
pub struct QuotaGroups {
    store: PathBuf,
    drax: Option<Helper>,
}

/// What `drax stats --json` prints.
#[derive(Deserialize)]
struct Answer {
    referenced: u64,
    exclusive: u64,
    referenced_limit: u64,
    exclusive_limit: u64,
}

/// How the file system counts; an error where it does not.
pub fn mode(store: &Path) -> Result<Mode, Error> {
    let fd = files::open_directory(store)?;
    match drax::mode(fd.as_fd()).doing("looking at the quotas of the file system")? {
        Mode::Off => Err(off(store)),
        mode => Ok(mode),
    }
}

/// What is missing, and what mends it.
fn off(store: &Path) -> Error {
    let mount = groot_sys::mount::mount_point_of(store).unwrap_or_else(|_| store.to_owned());
    let mount = mount.display();
    Error::NoLimits(format!(
        "quotas of the btrfs at {mount} are off: `btrfs quota enable {mount}` turns them on (on Linux 6.7 \
         and later `btrfs quota enable --simple {mount}` costs less)"
    ))
}

/// btrfs counts no inodes.
pub fn no_inode_limits() -> Error {
    Error::NoLimits("btrfs has no limits of inodes; the driver overlay-xfs has them".into())
}

impl QuotaGroups {
    /// The quota groups of a store, by whichever way the caller has.
    pub fn new(layout: &Layout, drax: &Helper) -> Self {
        let root = crate::userns::is_host_root();
        Self { store: layout.root().to_owned(), drax: (!root).then(|| drax.clone()) }
    }

    /// Limits a snapshot that was just made.
    pub fn begin(
        &self,
        paths: &ImagePaths,
        target: &Path,
        root: &NewRoot<'_>,
    ) -> Result<(), Error> {
        let limit = root.limit;
        if limit.inodes > 0 {
            return Err(no_inode_limits());
        }
        let fd = files::open_directory(&self.store)?;
        let mode = drax::mode(fd.as_fd()).doing("looking at the quotas of the file system")?;
        match mode {
            Mode::Off if limit.is_none() => return Ok(()),
            Mode::Off => return Err(off(&self.store)),
            Mode::Simple => files::write_number(&paths.info(), root.layers_size)?,
            Mode::Full => {}
        }
        if limit.is_none() {
            return self.inherit_nothing(target);
        }
        let image = match mode {
            Mode::Simple => root.layers_size,
            // The snapshot holds nothing but the image, and making it has committed the numbers.
            _ => self.quota(target)?.referenced,
        };
        self.apply(target, mode, limit, image)
    }

    /// A snapshot inherits the limits of what it is one of, which somebody may have set by hand.
    fn inherit_nothing(&self, target: &Path) -> Result<(), Error> {
        if self.drax.is_some() {
            return Ok(());
        }
        let fd = files::open_directory(target)?;
        let none = QgroupLimits::default();
        let inherited = drax::quota(fd.as_fd()).is_ok_and(|quota| quota.limits != none);
        if inherited {
            drax::limit(fd.as_fd(), none).doing("lifting an inherited limit")
        } else {
            Ok(())
        }
    }

    /// Changes the limit of a subvolume that is in use.
    pub fn change(
        &self,
        paths: &ImagePaths,
        target: &Path,
        bytes: u64,
        scope: Scope,
    ) -> Result<(), Error> {
        let limit = Limit { bytes, scope, inodes: 0 };
        let mode = mode(&self.store)?;
        let image = match mode {
            Mode::Simple => files::read_number(&paths.info())?.unwrap_or(0),
            // What is shared now: what the root has deleted of its image is no longer counted.
            _ if limit.with_image().is_some() => {
                self.count()?;
                let quota = self.quota(target)?;
                quota.referenced.saturating_sub(quota.exclusive)
            }
            _ => 0,
        };
        self.apply(target, mode, limit, image)
    }

    fn apply(&self, target: &Path, mode: Mode, limit: Limit, image: u64) -> Result<(), Error> {
        let left = limit.left(image)?;
        let (bytes, scope) = match mode {
            Mode::Simple => (left.map_or(0, |left| left.max(LEAST)), Scope::WithoutImage),
            _ => (limit.bytes, limit.scope),
        };
        if let Some(drax) = &self.drax {
            let bytes = bytes.to_string();
            let mut arguments: Vec<&OsStr> = vec![
                "limit".as_ref(),
                "--volume-path".as_ref(),
                target.as_os_str(),
                "--disk-limit-bytes".as_ref(),
                bytes.as_ref(),
            ];
            if scope == Scope::WithoutImage {
                arguments.push("--exclude-image-from-quota".as_ref());
            }
            return drax.run(&arguments).map(drop);
        }
        let bytes = (bytes > 0).then_some(bytes);
        let limits = match scope {
            Scope::WithImage => QgroupLimits { referenced: bytes, exclusive: None },
            Scope::WithoutImage => QgroupLimits { referenced: None, exclusive: bytes },
        };
        let fd = files::open_directory(target)?;
        drax::limit(fd.as_fd(), limits).doing(format!("setting the limit of {}", target.display()))
    }

    /// Removes the groups of subvolumes that are gone.
    pub fn sweep(&self, layout: &Layout) -> Result<(), Error> {
        let Some(drax) = &self.drax else {
            let fd = files::open_directory(&self.store)?;
            return groot_sys::qgroup::remove_stale(fd.as_fd())
                .doing("removing quota groups of destroyed volumes")
                .map(drop);
        };
        if mode(&self.store).is_err() {
            return Ok(());
        }
        // The helper knows a file system by a subvolume of the caller's. Where none is left, the next clean
        // finds one.
        let volumes = layout.volumes();
        let first = std::fs::read_dir(&volumes).at("open", &volumes)?.flatten().next();
        let Some(first) = first.map(|entry| entry.path()) else { return Ok(()) };
        drax.run(&["destroy".as_ref(), "--volume-path".as_ref(), first.as_os_str()]).map(drop)
    }

    /// Commits, which brings the kernel's numbers up to date.
    pub fn count(&self) -> Result<(), Error> {
        if self.drax.is_some() {
            // The helper does so itself.
            return Ok(());
        }
        let fd = files::open_directory(&self.store)?;
        groot_sys::btrfs::sync(fd.as_fd()).doing("syncing filesystem")
    }

    /// What a root holds and may hold.
    pub fn usage(&self, paths: &ImagePaths, target: &Path) -> Result<Usage, Error> {
        self.usage_as(mode(&self.store)?, paths, target)
    }

    /// Bytes that limits promise to these roots, each with its subvolume. Mostly few have a limit, so all
    /// limits of the file system are read at once, and only those that have one are looked at. Only root may:
    /// through the helper each root would cost a process.
    pub fn promised<'a>(
        &self,
        roots: impl Iterator<Item = (&'a ImagePaths, PathBuf)>,
    ) -> Result<Option<u64>, Error> {
        if self.drax.is_some() {
            return Ok(None);
        }
        let fd = files::open_directory(&self.store)?;
        let doing = "looking at the quotas of the file system";
        let limited = drax::all_limits(fd.as_fd()).doing(doing)?;
        if limited.is_empty() {
            return Ok(Some(0));
        }
        let limited: HashSet<u64> = limited.into_iter().map(|(number, _)| number).collect();
        let mode = mode(&self.store)?;
        let is_limited = |target: &Path| {
            let number = files::open_directory(target).map(|fd| drax::number(fd.as_fd()));
            matches!(number, Ok(Ok(number)) if limited.contains(&number))
        };
        let promised = roots
            .filter(|(_, target)| is_limited(target))
            .filter_map(|(paths, target)| self.usage_as(mode, paths, &target).ok())
            .fold(0, |sum: u64, usage| sum.saturating_add(usage.committed));
        Ok(Some(promised))
    }

    fn usage_as(&self, mode: Mode, paths: &ImagePaths, target: &Path) -> Result<Usage, Error> {
        let quota = self.quota(target)?;
        if mode == Mode::Simple {
            let image = files::read_number(&paths.info())?.unwrap_or(0);
            let limit = quota.limits.exclusive.or(quota.limits.referenced).unwrap_or(0);
            let committed = if limit == 0 { 0 } else { image.saturating_add(limit) };
            let total = image.saturating_add(quota.exclusive);
            return Ok(Usage {
                total,
                exclusive: quota.exclusive,
                quota: limit,
                committed,
                inodes: None,
            });
        }
        let shared = quota.referenced.saturating_sub(quota.exclusive);
        let committed = match (quota.limits.referenced, quota.limits.exclusive) {
            (Some(limit), _) => limit,
            (None, Some(limit)) => shared.saturating_add(limit),
            (None, None) => 0,
        };
        Ok(Usage {
            total: quota.referenced,
            exclusive: quota.exclusive,
            quota: quota.limits.referenced.or(quota.limits.exclusive).unwrap_or(0),
            committed,
            inodes: None,
        })
    }

    fn quota(&self, target: &Path) -> Result<Quota, Error> {
        let Some(drax) = &self.drax else {
            let fd = files::open_directory(target)?;
            return drax::quota(fd.as_fd()).doing(format!(
                "could not parse stats: btrfs counts nothing for `{}`",
                target.display()
            ));
        };
        let arguments: [&OsStr; 5] = [
            "stats".as_ref(),
            "--volume-path".as_ref(),
            target.as_os_str(),
            "--force-sync".as_ref(),
            "--json".as_ref(),
        ];
        let text = drax.run(&arguments)?;
        let answer =
            serde_json::from_str::<Answer>(&text).map_err(|_| drax.not_understood(&text))?;
        let some = |limit: u64| (limit > 0).then_some(limit);
        Ok(Quota {
            referenced: answer.referenced,
            exclusive: answer.exclusive,
            limits: QgroupLimits {
                referenced: some(answer.referenced_limit),
                exclusive: some(answer.exclusive_limit),
            },
        })
    }
}
