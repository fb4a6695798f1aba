//! Limits of overlay-xfs: each root file system is a project of XFS.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use groot_sys::project_quota::{Limits, Quota, State};
use serde::Deserialize;

use super::faults::ProjectFault;
use super::helper::Helper;
use super::{Error, files};
use crate::store::layout::{ImagePaths, Layout};

/// The projects of a store: by system calls as root, through `tardis` as another user.
#[derive(Debug)]
pub enum Projects {
    /// Root.
    Direct {
        /// The store's directory.
        store: OwnedFd,
        /// Its paths.
        layout: Layout,
    },
    /// Another user.
    Helped(Helper),
}

/// The kernel rounds limits to blocks of the file system, and these are no larger.
const LARGEST_BLOCK: u64 = 64 * 1024;

/// What `tardis stats` prints.
#[derive(Deserialize)]
struct Answer {
    disk_usage: Numbers,
}

#[derive(Deserialize)]
struct Numbers {
    exclusive_bytes_used: u64,
    #[serde(default)]
    quota_size_bytes: u64,
    #[serde(default)]
    inodes_used: u64,
    #[serde(default)]
    inode_limit: u64,
}

impl Projects {
    /// The projects of a store, by whichever way the caller has.
    pub fn open(layout: &Layout, tardis: &Helper) -> Result<Self, Error> {
        if !crate::userns::is_host_root() {
            return Ok(Self::Helped(tardis.clone()));
        }
        let store = files::open_directory(layout.root())?;
        Ok(Self::Direct { store, layout: layout.clone() })
    }

    /// Fails when the file system holds no limits, and says what is missing. Another user's helper says
    /// it when it is called.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Helped(_) => Ok(()),
            Self::Direct { store, layout } => match direct(store, layout).state()? {
                State::Enforced => Ok(()),
                state => Err(no_quotas(layout.root(), state)),
            },
        }
    }

    /// Makes an empty image a project, so that what it holds is counted, and limits it. Where nobody
    /// counts and no limit is asked for, nothing happens.
    pub fn begin(&self, image: &ImagePaths, limits: Limits) -> Result<(), Error> {
        let wanted = limits != Limits::default();
        match self {
            Self::Helped(tardis) if wanted => ask_for_limits(tardis, image, limits),
            Self::Helped(_) => Ok(()),
            Self::Direct { store, layout } => {
                let projects = direct(store, layout);
                match projects.state()? {
                    State::Enforced => {}
                    state if wanted => return Err(no_quotas(layout.root(), state)),
                    State::Counted => {}
                    State::Off => return Ok(()),
                }
                let image = files::open_directory(image.dir())?;
                let id = projects.assign(image.as_fd())?;
                tardis::mark(image.as_fd(), id)?;
                Ok(if wanted { projects.limit(id, limits) } else { Ok(()) }?)
            }
        }
    }

    /// Limits an image that is in use, whether it is a project already or not.
    pub fn limit(&self, image: &ImagePaths, limits: Limits) -> Result<(), Error> {
        let (store, layout) = match self {
            Self::Helped(tardis) => return ask_for_limits(tardis, image, limits),
            Self::Direct { store, layout } => (store, layout),
        };
        self.check()?;
        let projects = direct(store, layout);
        let image = files::open_directory(image.dir())?;
        let id = match projects.own(image.as_fd())? {
            Some(id) => id,
            None => projects.assign(image.as_fd())?,
        };
        // Not so in the original's roots, nor where somebody was killed who was at it.
        if !tardis::is_marked(image.as_fd(), id) {
            tardis::adopt(image.as_fd(), id)?;
            tardis::mark(image.as_fd(), id)?;
        }
        Ok(projects.limit(id, limits)?)
    }

    /// What an image holds of its own, and its limits; all zero where nobody counts.
    pub fn quota(&self, image: &ImagePaths) -> Result<Quota, Error> {
        match self {
            Self::Helped(tardis) => ask_for_stats(tardis, image),
            Self::Direct { store, layout } => {
                let projects = direct(store, layout);
                let image = files::open_directory(image.dir())?;
                match projects.of(image.as_fd())? {
                    Some(id) => Ok(projects.quota(id)?),
                    None => Ok(Quota::default()),
                }
            }
        }
    }

    /// Gives an image's project id back. The image holds nothing any more but is still there: as long as
    /// it is, the file system counts it, and nobody else takes the id.
    pub fn end(&self, image: &ImagePaths) -> Result<(), Error> {
        let Some(directory) = files::open_existing(image.dir())? else { return Ok(()) };
        match self {
            Self::Direct { store, layout } => {
                let projects = direct(store, layout);
                match projects.state()? {
                    State::Off => Ok(()),
                    _ => Ok(projects.end(directory.as_fd())?),
                }
            }
            Self::Helped(tardis) => end_by_helper(tardis, &directory, image),
        }
    }

    /// What is wrong with the ids of these images, which are all that there are.
    pub fn faults(&self, images: &[ImagePaths]) -> Result<Vec<ProjectFault>, Error> {
        let Self::Direct { store, layout } = self else { return Ok(Vec::new()) };
        let projects = direct(store, layout);
        let counts = projects.state()? != State::Off;
        let mut faults = Vec::new();
        let mut owners: BTreeMap<u32, Vec<ImagePaths>> = BTreeMap::new();
        for image in images {
            let Ok(Some(directory)) = files::open_existing(image.dir()) else { continue };
            let Some(id) = projects.of(directory.as_fd())? else {
                // Only what root has marked: the store may itself lie in somebody's project.
                let id = groot_sys::project_quota::project_id(directory.as_fd()).unwrap_or(0);
                if id != 0 && tardis::is_marked(directory.as_fd(), id) {
                    faults.push(ProjectFault::Unlisted(id, image.clone()));
                }
                continue;
            };
            owners.entry(id).or_default().push(image.clone());
            let kernel = if counts { projects.quota(id)?.limits.bytes } else { continue };
            let written = files::read_number(&image.quota()).map(Option::unwrap_or_default).ok();
            // What was asked for is whole bytes; no limit is none.
            let same = written.is_some_and(|written| {
                written.abs_diff(kernel) < LARGEST_BLOCK && (written == 0) == (kernel == 0)
            });
            if !same {
                faults.push(ProjectFault::Limit { image: image.clone(), written, kernel });
            }
        }
        let given_out = if counts { projects.given_out()? } else { Vec::new() };
        let leaked = given_out.into_iter().filter(|id| !owners.contains_key(id));
        faults.extend(leaked.map(ProjectFault::Leaked));
        let shared = owners.into_iter().filter(|(_, images)| images.len() > 1);
        faults.extend(shared.map(|(id, images)| ProjectFault::Shared(id, images)));
        Ok(faults)
    }

    /// Gives back the ids that no image has. The caller makes sure that none is being made.
    pub fn reclaim(&self, images: &[ImagePaths]) -> Result<(), Error> {
        let Self::Direct { store, layout } = self else { return Ok(()) };
        let projects = direct(store, layout);
        let given_out = projects.given_out()?;
        if given_out.is_empty() || projects.state()? == State::Off {
            return Ok(());
        }
        let mut used = Vec::with_capacity(images.len());
        for image in images {
            // What is no directory, or went away meanwhile, has no project.
            let Ok(Some(directory)) = files::open_existing(image.dir()) else { continue };
            used.extend(projects.of(directory.as_fd())?);
        }
        for id in given_out.into_iter().filter(|id| !used.contains(id)) {
            projects.forget(id)?;
        }
        Ok(())
    }
}

fn direct<'a>(store: &'a OwnedFd, layout: &Layout) -> tardis::Projects<'a> {
    tardis::Projects::new(store.as_fd(), layout.root())
}

/// Only an image that `tardis` has limited is a project; that shows on the directory itself.
fn end_by_helper(tardis: &Helper, directory: &OwnedFd, image: &ImagePaths) -> Result<(), Error> {
    match groot_sys::project_quota::project_id(directory.as_fd()) {
        Ok(0) | Err(_) => Ok(()),
        Ok(_) => tardis
            .run(&["release".as_ref(), "--image-path".as_ref(), image.dir().as_os_str()])
            .map(drop),
    }
}

fn ask_for_limits(tardis: &Helper, image: &ImagePaths, limits: Limits) -> Result<(), Error> {
    let bytes = limits.bytes.to_string();
    let inodes = limits.inodes.to_string();
    let mut arguments: Vec<&OsStr> =
        vec!["limit".as_ref(), "--disk-limit-bytes".as_ref(), bytes.as_ref()];
    if limits.inodes > 0 {
        arguments.extend([OsStr::new("--inode-limit"), inodes.as_ref()]);
    }
    arguments.extend([OsStr::new("--image-path"), image.dir().as_os_str()]);
    // Operators put scripts in its place: no answer and success is an answer.
    tardis.run(&arguments).map(drop)
}

fn ask_for_stats(tardis: &Helper, image: &ImagePaths) -> Result<Quota, Error> {
    let answer =
        tardis.run(&["stats".as_ref(), "--volume-path".as_ref(), image.dir().as_os_str()])?;
    let numbers = serde_json::from_str::<Answer>(&answer)
        .map_err(|_| tardis.not_understood(&answer))?
        .disk_usage;
    Ok(Quota {
        bytes: numbers.exclusive_bytes_used,
        inodes: numbers.inodes_used,
        limits: Limits { bytes: numbers.quota_size_bytes, inodes: numbers.inode_limit },
    })
}

/// What is missing, and what mends it.
fn no_quotas(store: &Path, state: State) -> Error {
    let mount = groot_sys::mount::mount_point_of(store).unwrap_or_else(|_| store.to_owned());
    let mount = mount.display();
    Error::NoLimits(match state {
        _ if !groot_sys::project_quota::kernel_has_xfs_quotas() => format!(
            "this kernel was built without quotas of XFS (CONFIG_XFS_QUOTA), so the XFS at {mount} holds \
             no limits: use another kernel, or the driver btrfs"
        ),
        State::Counted => format!(
            "the XFS at {mount} counts projects but holds no limits (mount option pqnoenforce): mount it \
             with pquota: umount {mount} && mount -o pquota <device> {mount}"
        ),
        _ => format!(
            "the XFS at {mount} is mounted without the option pquota; a remount cannot add it: umount \
             {mount} && mount -o pquota <device> {mount} (and write pquota into /etc/fstab; for the root \
             file system the kernel takes rootflags=pquota)"
        ),
    })
}
