//! Which paths a set-uid program may touch: what lies in `images/<id>`, `volumes/<id>` or
//! `tmp/<name of an image that is being removed>` of a store that the caller owns.
//!
//! ```text
//! /var/vcap/data/grootfs/store / images / web-1 / rootfs
//! |                            | |                     |
//! | with the caller's rights,  | | as root, but no     |
//! | links only if root's       | | links and no mounts |
//! ```
//!
//! Everything is opened one name at a time and then looked at through what is open: a process that
//! renames meanwhile changes what we find, never what we have checked.
//!
//! Above the store a link is followed when root has made it in a directory of root's that nobody
//! else may write to (`/var/run`, a data disk below `/var/vcap`). Following others would still
//! end in the caller's own store, but root may call too, and must not be led to another one.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};

use super::Caller;
use crate::resolve::directory_beneath;
use crate::{Call, Errno, Error};

/// Longest path, as the kernel takes it (`PATH_MAX`, with the final NUL).
const LONGEST: usize = 4096;

/// Links that are followed in one path, as the kernel does (`MAXSYMLINKS`).
const MOST_LINKS: u32 = 40;

/// A directory of the store that every store has, and one of overlay-xfs: what makes a directory
/// with `images` or `volumes` in it a store.
const SIGNS: [&str; 2] = ["meta", "projectids"];

/// The parts of a store that are open to set-uid programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The root file systems.
    Images,
    /// The layers.
    Volumes,
    /// Root file systems that are being removed.
    Removed,
}

impl Area {
    const ALL: [Self; 3] = [Self::Images, Self::Volumes, Self::Removed];

    /// The name of the directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Volumes => "volumes",
            Self::Removed => "tmp",
        }
    }
}

/// A path that may be touched, open.
#[derive(Debug)]
pub struct Place {
    /// The store's directory.
    pub store: OwnedFd,
    /// In which part of the store it is.
    pub area: Area,
    /// The directory `images/<id>`, `volumes/<id>` or `tmp/<name>`.
    pub item: OwnedFd,
    /// The names that follow.
    pub below: Vec<OsString>,
}

impl Place {
    /// Opens what the path ends in: a directory, inside the store's mount, through no link.
    pub fn open_end(self) -> Result<OwnedFd, Error> {
        self.below.iter().try_fold(self.item, |at, name| directory_beneath(at.as_fd(), name))
    }
}

/// Why a path is not touched.
#[derive(Debug)]
pub struct Refusal {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    /// What is wrong with the text of the path.
    Path(&'static str),
    /// A link that root has not made, or in a directory that others may write to.
    Link(OsString),
    NoStore,
    /// A directory of somebody else.
    Foreign {
        name: String,
        owner: u32,
    },
    /// The store's directory can be written by everybody.
    Writable,
    System(Error),
}

impl Refusal {
    /// Whether there is nothing at the path.
    pub fn is_missing(&self) -> bool {
        matches!(&self.reason, Reason::System(error) if error.errno() == Errno::NOENT)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.reason {
            Reason::Path(what) => f.write_str(what),
            Reason::Link(name) => write!(
                f,
                "`{}` is a symbolic link that is not followed: root did not make it, or others may \
                 write to its directory. Give the path without links (realpath)",
                name.display()
            ),
            Reason::NoStore => f.write_str(
                "not in a store: the path must be <store>/images/<id> or <store>/volumes/<id>, and \
                 the store made by `grootfs init-store`",
            ),
            Reason::Foreign { name, owner } => write!(
                f,
                "{name} belongs to user {owner}, and not to you. Make the store with `grootfs \
                 init-store --uid-mapping 0:<your uid>:1`, or call this as root"
            ),
            Reason::Writable => f.write_str(
                "the store's directory can be written to by every user: `chmod o-w` it first",
            ),
            Reason::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// Opens what a path leads to, if this caller may have it touched.
pub fn open(caller: Caller, path: &OsStr) -> Result<Place, Refusal> {
    let opened = names(path.as_bytes()).and_then(|names| {
        let found = caller.with_own_rights(|| find_store(names)).map_err(Reason::System)??;
        enter(caller, found)
    });
    opened.map_err(|reason| Refusal { path: Path::new(path).to_owned(), reason })
}

/// The components of a path that leaves nothing to interpretation.
fn names(path: &[u8]) -> Result<VecDeque<OsString>, Reason> {
    let Some(relative) = path.strip_prefix(b"/") else {
        return Err(Reason::Path("not an absolute path"));
    };
    if path.len() >= LONGEST {
        return Err(Reason::Path("longer than 4095 bytes"));
    }
    let relative = relative.strip_suffix(b"/").unwrap_or(relative);
    let names = relative.split(|byte| *byte == b'/');
    if names.clone().any(|name| matches!(name, b"" | b"." | b"..")) {
        return Err(Reason::Path("give a path without empty components, `.` and `..`"));
    }
    Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
}

/// A store's directory, the part of it that the path goes on in, and the names after that.
struct Found {
    store: OwnedFd,
    area: Area,
    below: VecDeque<OsString>,
}

/// Walks from the root directory to the first directory that is a store.
fn find_store(mut names: VecDeque<OsString>) -> Result<Found, Reason> {
    let mut here = step(CWD, OsStr::new("/"))?;
    // Names that come from links, the next one last. None of them can be the store's.
    let mut linked: Vec<OsString> = Vec::new();
    let mut links = 0;
    loop {
        let name = match linked.pop() {
            Some(name) => name,
            None => {
                let name = names.pop_front().ok_or(Reason::NoStore)?;
                let area = Area::ALL.into_iter().find(|area| name == area.name());
                if let Some(area) = area.filter(|_| is_store(here.as_fd())) {
                    return Ok(Found { store: here, area, below: names });
                }
                name
            }
        };
        match step(here.as_fd(), &name) {
            Ok(next) => here = next,
            Err(error) if matches!(error.errno(), Errno::NOTDIR | Errno::LOOP) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP).call("openat", || name.display().to_string())?;
                }
                let target = trusted_link(here.as_fd(), &name)?;
                if target.starts_with(b"/") {
                    here = step(CWD, OsStr::new("/"))?;
                }
                let parts = target.split(|byte| *byte == b'/').rev();
                let parts = parts.filter(|part| !matches!(*part, b"" | b"."));
                linked.extend(parts.map(|part| OsString::from_vec(part.to_vec())));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// One directory on, through no link.
fn step(from: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(from, name, flags, Mode::empty()).call("openat", || name.display().to_string())
}

fn is_store(directory: BorrowedFd<'_>) -> bool {
    SIGNS.iter().any(|name| {
        let found = statat(directory, *name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_dir())
    })
}

/// What a link points to, if root alone decides that.
fn trusted_link(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<u8>, Reason> {
    let show = || name.display().to_string();
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link = openat(directory, name, flags, Mode::empty()).call("openat", show)?;
    let about = fstat(&link).call("fstat", show)?;
    if !FileType::from_raw_mode(about.st_mode).is_symlink() {
        return Err(Errno::NOTDIR).call("openat", show)?;
    }
    let above = fstat(directory).call("fstat", show)?;
    if about.st_uid != 0 || above.st_uid != 0 || others_write(&above) {
        return Err(Reason::Link(name.to_owned()));
    }
    let target = readlinkat(&link, "", Vec::new()).call("readlinkat", show)?;
    Ok(target.into_bytes())
}

/// Whether somebody beside root and root's group may write to what belongs to root.
fn others_write(about: &Stat) -> bool {
    about.st_mode & 0o002 != 0 || (about.st_mode & 0o020 != 0 && about.st_gid != 0)
}

/// From the store on as root: what is inside may belong to ids of containers.
fn enter(caller: Caller, found: Found) -> Result<Place, Reason> {
    let mut below = found.below;
    let id = below.pop_front().ok_or(Reason::NoStore)?;
    let about = fstat(&found.store).call("fstat", || "the store".into())?;
    check_owner(caller, &about, "the store")?;
    if !caller.is_root() && about.st_mode & 0o002 != 0 {
        return Err(Reason::Writable);
    }
    // What was opened so far says where things are, and cannot be read from.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let store = openat(&found.store, ".", flags, Mode::empty()).call("openat", || ".".into())?;
    let area = directory_beneath(store.as_fd(), OsStr::new(found.area.name()))?;
    let about = fstat(&area).call("fstat", || found.area.name().into())?;
    check_owner(caller, &about, found.area.name())?;
    let item = directory_beneath(area.as_fd(), &id)?;
    // The top of a layer belongs to whom the layer says; an image to the store's owner. Somebody
    // else's directory can be renamed to here if it lies where everybody may write.
    if found.area != Area::Volumes {
        let about = fstat(&item).call("fstat", || id.display().to_string())?;
        check_owner(caller, &about, "the image")?;
    }
    Ok(Place { store, area: found.area, item, below: below.into() })
}

fn check_owner(caller: Caller, about: &Stat, name: &str) -> Result<(), Reason> {
    if caller.is_root() || about.st_uid == caller.uid() {
        return Ok(());
    }
    Err(Reason::Foreign { name: name.to_owned(), owner: about.st_uid })
}

impl From<Error> for Reason {
    fn from(error: Error) -> Self {
        Self::System(error)
    }
}
