//! Disk limits of root file systems on XFS, by project quotas.
//!
//! Every root file system is a project: `images/<id>` has a project id, and what is made in it inherits
//! that. Ids in use are names of empty directories in the store's `projectids/`, as the original had
//! it (contract 6.1).
//!
//! `grootfs` calls this library when it runs as root. For other users there is the set-uid program
//! of the same name, which calls it after it has checked everything.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use groot_sys::project_quota::{self, Limits, ProjectQuotas, Quota, State};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, XattrFlags, fstat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

/// The lowest id that is given out: 0 is no project, 1 is what people take for themselves.
const FIRST: u32 = 2;

/// Says that all of an image belongs to this project. Only root can write it (`trusted.`), so a user cannot
/// make a directory of his look as if somebody else's project were its own.
pub const MARK: &str = "trusted.grootfs.project";

/// What stands in the kernel's record of a project without a limit: one of inodes that no file system
/// reaches. Without it an id would look free whose image is empty or has been moved to project 0
/// for a moment, another store would take it, and the mark on the first image would then
/// be a key to the second store's project.
const TAKEN: u64 = 1 << 62;

/// The directory of the store that holds the ids in use.
pub const IDS: &str = "projectids";

/// The node of the store's device, for kernels that ask for one.
pub const DEVICE: &str = "storeDevice";

/// Why a limit could not be set or read.
#[derive(Debug)]
pub enum Error {
    /// A system call, and what was being done.
    System(&'static str, groot_sys::Error),
    /// A file operation, and what was being done.
    File(&'static str, io::Error),
    /// Every id is taken.
    NoIdLeft,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(doing, error) => write!(f, "{doing}: {error}"),
            Self::File(doing, error) => write!(f, "{doing}: {error}"),
            Self::NoIdLeft => f.write_str("allocating project id: every id is in use"),
        }
    }
}

impl std::error::Error for Error {}

trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for groot_sys::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|error| Error::System(doing, error))
    }
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|errno| Error::File(doing, errno.into()))
    }
}

/// The projects of one store.
#[derive(Debug)]
pub struct Projects<'a> {
    store: BorrowedFd<'a>,
    quotas: ProjectQuotas<'a>,
}

impl<'a> Projects<'a> {
    /// The projects of the store whose directory is open; `path` is its path.
    pub fn new(store: BorrowedFd<'a>, path: &Path) -> Self {
        let special: PathBuf = path.join(DEVICE);
        Self { store, quotas: ProjectQuotas::new(store, special) }
    }

    /// Whether the file system counts projects and holds limits.
    pub fn state(&self) -> Result<State, Error> {
        self.quotas.state().doing("looking at the quotas of the file system")
    }

    /// The project of an image, if it is one that this store has given out. A store may itself lie
    /// in somebody's project, which its directories inherit.
    pub fn of(&self, image: BorrowedFd<'_>) -> Result<Option<u32>, Error> {
        let id = project_quota::project_id(image).doing("reading the project id")?;
        if id < FIRST {
            return Ok(None);
        }
        let Some(ids) = self.ids()? else { return Ok(None) };
        match rustix::fs::statat(&ids, id.to_string(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(Some(id)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).doing("looking for the project id"),
        }
    }

    /// The project of an image, if it is believed to be its own.
    ///
    /// A user can write any project id on a directory that he owns, also one of another store on the
    /// same file system. So an id is believed only if root's mark is beside it, or if nobody but root can
    /// have written it.
    pub fn own(&self, image: BorrowedFd<'_>) -> Result<Option<u32>, Error> {
        let is_roots = |fd: BorrowedFd<'_>| fstat(fd).is_ok_and(|about| about.st_uid == 0);
        let all_roots = is_roots(self.store) && is_roots(image);
        Ok(self.of(image)?.filter(|id| all_roots || is_marked(image, *id)))
    }

    /// Takes the project from an image that is being removed, and gives its id back. The image holds
    /// nothing any more but is still there: as long as it is, it is counted, and nobody takes the id.
    pub fn end(&self, image: BorrowedFd<'_>) -> Result<(), Error> {
        let Some(id) = self.own(image)? else { return Ok(()) };
        // Wherever a user may have moved the directory to: it is no key to this project any more.
        match rustix::fs::fremovexattr(image, MARK) {
            Ok(()) | Err(Errno::NODATA) => self.release(id),
            Err(errno) => Err(errno).doing("taking the project from the image"),
        }
    }

    /// Forgets an id whose image cannot be found. In a user's store the image may have been moved out of
    /// sight with its mark; there nobody gets the id again.
    pub fn forget(&self, id: u32) -> Result<(), Error> {
        if fstat(self.store).is_ok_and(|about| about.st_uid == 0) {
            return self.release(id);
        }
        match self.ids()? {
            Some(ids) => self.give_back(&ids, id),
            None => Ok(()),
        }
    }

    /// Gives an image a project of its own, and returns its id. What is in the image already is not
    /// counted: call this while it is empty, or [`adopt`] afterwards. [`mark`] it then.
    ///
    /// Safe among processes and stores that do it at the same time on one file system: an id is ours
    /// when nothing but this one directory is counted for it.
    pub fn assign(&self, image: BorrowedFd<'_>) -> Result<u32, Error> {
        let ids = self.ids()?.ok_or_else(|| {
            Error::File(
                "allocating project id: reading directory: open projectids",
                Errno::NOENT.into(),
            )
        })?;
        let taken = listed(&ids)?;
        let mut candidates = (FIRST..=u32::MAX).filter(|id| taken.binary_search(id).is_err());
        loop {
            let id = candidates.next().ok_or(Error::NoIdLeft)?;
            // Somebody else's, on this file system: another store's, or a program's of its own.
            if self.quotas.get(id).doing("looking for a free project id")? != Quota::default() {
                continue;
            }
            let mode = Mode::from_raw_mode(0o755);
            match mkdirat(&ids, id.to_string(), mode) {
                Err(Errno::EXIST) => continue,
                other => other.doing("allocating project id: failed to create id file")?,
            }
            match self.claim(image, id) {
                Ok(true) => return Ok(id),
                Ok(false) => self.give_back(&ids, id)?,
                Err(error) => {
                    // The first error is the one to report; `clean` finds an id that nobody has.
                    let _ = project_quota::set_project_id(image, 0);
                    let _ = self.release(id);
                    return Err(error);
                }
            }
        }
    }

    /// Takes an id; `false` when another store took it at the same time.
    fn claim(&self, image: BorrowedFd<'_>, id: u32) -> Result<bool, Error> {
        project_quota::set_project_id(image, id).doing("setting extended attributes")?;
        // Two who took it at once see both directories, and both let go.
        let counted = self.quotas.get(id).doing("looking at the project")?.inodes;
        if counted > 1 {
            project_quota::set_project_id(image, 0).doing("setting extended attributes")?;
            return Ok(false);
        }
        // Before the mark: see `TAKEN`.
        self.limit(id, Limits::default())?;
        Ok(true)
    }

    /// Sets what a project may hold. The id stays taken without a limit too.
    pub fn limit(&self, id: u32, limits: Limits) -> Result<(), Error> {
        let none = limits == Limits::default();
        let limits = if none { Limits { bytes: 0, inodes: TAKEN } } else { limits };
        self.quotas.set(id, limits).doing("setting quota limit")
    }

    /// What a project holds and may hold.
    pub fn quota(&self, id: u32) -> Result<Quota, Error> {
        let mut quota = self.quotas.get(id).doing("getting quota")?;
        if quota.limits.inodes == TAKEN {
            quota.limits.inodes = 0;
        }
        Ok(quota)
    }

    /// Gives an id back. Others can take it then: no directory may carry its mark any more.
    fn release(&self, id: u32) -> Result<(), Error> {
        match self.ids()? {
            Some(ids) => {
                self.quotas.set(id, Limits::default()).doing("lifting the quota limit")?;
                self.give_back(&ids, id)
            }
            None => Ok(()),
        }
    }

    /// The ids that this store has given out, sorted.
    pub fn given_out(&self) -> Result<Vec<u32>, Error> {
        self.ids()?.map_or_else(|| Ok(Vec::new()), |ids| listed(&ids))
    }

    fn give_back(&self, ids: &OwnedFd, id: u32) -> Result<(), Error> {
        match unlinkat(ids, id.to_string(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).doing("giving the project id back"),
        }
    }

    fn ids(&self) -> Result<Option<OwnedFd>, Error> {
        match openat(self.store, IDS, directory(), Mode::empty()) {
            Ok(ids) => Ok(Some(ids)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).doing("opening projectids"),
        }
    }
}

/// Notes that all of an image belongs to its project. See [`MARK`].
pub fn mark(image: BorrowedFd<'_>, id: u32) -> Result<(), Error> {
    rustix::fs::fsetxattr(image, MARK, id.to_string().as_bytes(), XattrFlags::empty())
        .doing("marking the image as a project")
}

/// Whether all of an image belongs to its project, as root has noted. See [`MARK`].
pub fn is_marked(image: BorrowedFd<'_>, id: u32) -> bool {
    let mut value = [0_u8; 16];
    let length = rustix::fs::fgetxattr(image, MARK, &mut value[..]).unwrap_or(0);
    value.get(..length) == Some(id.to_string().as_bytes())
}

/// Gives everything that is in an image already to the image's project: for a root file system that was
/// made without one. Follows no link and leaves no mount.
///
/// Nothing escapes meanwhile: a directory belongs to the project before its entries are listed, and
/// what is made in it then inherits that; XFS refuses renames between projects.
pub fn adopt(directory_fd: BorrowedFd<'_>, id: u32) -> Result<(), Error> {
    adopt_if(directory_fd, id, |_| true)
}

/// As [`adopt`], for an image in which a user has had a free hand: a file that has another name as well
/// is taken only if it is the user's own. Where the kernel does not forbid it
/// (`fs.protected_hardlinks`), the other name may be in somebody else's project.
pub fn adopt_from(user: u32, directory_fd: BorrowedFd<'_>, id: u32) -> Result<(), Error> {
    adopt_if(directory_fd, id, |about| about.st_nlink == 1 || about.st_uid == user)
}

fn adopt_if(
    directory_fd: BorrowedFd<'_>,
    id: u32,
    takes: impl Fn(&rustix::fs::Stat) -> bool,
) -> Result<(), Error> {
    const DOING: &str = "giving the files to the project";
    let top = openat(directory_fd, ".", directory(), Mode::empty()).doing(DOING)?;
    // Paths and not descriptors: trees may be deep, descriptors few.
    let mut todo = vec![PathBuf::from(".")];
    while let Some(path) = todo.pop() {
        // Inside the image whatever happens to it meanwhile; other mounts are not entered.
        let here = match groot_sys::resolve::directory_in_root(top.as_fd(), &path) {
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR | Errno::XDEV) => {
                continue;
            }
            other => other.doing(DOING)?,
        };
        project_quota::set_project_id(here.as_fd(), id).doing(DOING)?;
        for entry in Dir::read_from(&here).doing(DOING)? {
            let entry = entry.doing(DOING)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let name = Path::new(OsStr::from_bytes(name));
            match entry.file_type() {
                rustix::fs::FileType::Directory => todo.push(path.join(name)),
                rustix::fs::FileType::RegularFile => {
                    let flags =
                        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                    match openat(&here, name, flags, Mode::empty()) {
                        Ok(file) if takes(&rustix::fs::fstat(&file).doing(DOING)?) => {
                            project_quota::set_project_id(file.as_fd(), id).doing(DOING)?;
                        }
                        Ok(_) => {}
                        Err(Errno::NOENT | Errno::LOOP) => {}
                        Err(errno) => Err(errno).doing(DOING)?,
                    }
                }
                // Links, fifos and the like hold no data, and cannot be opened for this.
                _ => {}
            }
        }
    }
    Ok(())
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// The ids in use, sorted; what is not a number is nobody's id.
fn listed(ids: &OwnedFd) -> Result<Vec<u32>, Error> {
    const DOING: &str = "allocating project id: reading directory";
    let mut found = Vec::new();
    for entry in Dir::read_from(ids).doing(DOING)? {
        let entry = entry.doing(DOING)?;
        let id = entry.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok());
        found.extend(id.filter(|id| *id >= FIRST));
    }
    found.sort_unstable();
    Ok(found)
}
