//! Root file systems in the store: making, listing, deleting them.
//!
//! The directory `images/<id>` is made by one `mkdir`, which elects the winner of two creates of
//! one id. Who makes or deletes an image holds an exclusive `flock(2)` on that directory itself,
//! so the lock needs no file of its own and goes away with the image.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::id::ImageId;
use super::layout::{GARBAGE, ImagePaths, Layout};
use super::locks::{Patience, Waiting};
use super::{Doing, Error, Store, dependencies, limits, locks, origin, volumes};
use crate::driver::limit::Limit;
use crate::driver::{Change, Driver, Mount, NewRoot};
use crate::error::{AtPath, PathError, is_no_room};
use crate::interrupt::Interrupt;
use crate::observe::Log;
use crate::userns;

/// What a new root file system is made of.
#[derive(Debug)]
pub struct NewImage<'a> {
    /// Its name.
    pub id: &'a ImageId,
    /// The image that it is made of, as a person would call it; `None` leaves it unknown.
    pub origin: Option<&'a str>,
    /// Chain ids of its layers, base first. The caller holds the global lock shared, so that
    /// `clean` leaves them alone until the dependency file is written.
    pub volumes: &'a [String],
    /// Bytes of its layers together.
    pub layers_size: u64,
    /// Whether to mount it.
    pub mount: bool,
    /// Absolute paths that the image declares as volumes.
    pub declared_volumes: &'a [String],
    /// What it may hold.
    pub limit: Limit,
    /// Where it is told what was lost and has been made again.
    pub log: &'a Log,
}

/// Fails when the id is taken.
pub fn check_free(layout: &Layout, id: &ImageId) -> Result<(), Error> {
    let path = layout.image(id);
    match fs::symlink_metadata(path.dir()) {
        Ok(_) => Err(Error::Exists(id.clone())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            let source = PathError { operation: "stat", path: path.dir().to_owned(), error };
            Err(source).doing(format!("checking id exists: checking if image `{id}` exists"))
        }
    }
}

/// Makes a root file system; on failure nothing of it is left.
///
/// Returns what the runtime has to mount, if it was not mounted here.
pub fn create(
    store: &Store,
    driver: &dyn Driver,
    image: &NewImage<'_>,
) -> Result<Option<Mount>, Error> {
    let paths = store.layout.image(image.id);
    match fs::DirBuilder::new().mode(0o700).create(paths.dir()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::Exists(image.id.clone()));
        }
        other => other.at("mkdir", paths.dir()).doing("making image path")?,
    }
    let claimed = claim(&paths);
    if claimed.is_err() {
        // If it is not empty any more, somebody else has made an image of it.
        let _ = fs::remove_dir(paths.dir());
    }
    let _lock = match claimed? {
        Claim::Ours(lock) => lock,
        Claim::Taken => return Err(Error::Exists(image.id.clone())),
        Claim::Gone => return Err(Error::DeletedMeanwhile(image.id.clone())),
    };
    let made = fill(store, driver, image, &paths);
    if made.is_err() {
        // The first error is the one to report. What cannot be removed is left to `clean`.
        let _ = remove(store, driver, image.id);
    }
    made
}

/// Whose a directory is that we have just made.
enum Claim {
    Ours(OwnedFd),
    Taken,
    Gone,
}

/// Locks a new directory. Before that a delete may have taken it away, and another create made and filled
/// this one: whoever locks it empty makes the image.
fn claim(paths: &ImagePaths) -> Result<Claim, Error> {
    let Some(lock) = lock_image(paths.dir(), &patience())? else { return Ok(Claim::Gone) };
    let first = fs::read_dir(paths.dir()).at("open", paths.dir())?.next();
    match first.transpose().at("readdir", paths.dir())? {
        None => Ok(Claim::Ours(lock)),
        Some(_) => Ok(Claim::Taken),
    }
}

fn fill(
    store: &Store,
    driver: &dyn Driver,
    image: &NewImage<'_>,
    paths: &ImagePaths,
) -> Result<Option<Mount>, Error> {
    // Before anything uses a volume, so that no crash leaves a root whose layers look unused.
    dependencies::write(&store.layout, image.id, image.volumes)?;
    if let Some(origin) = image.origin {
        origin::write(&store.layout, image.id, origin)?;
    }
    let owner = store.owner();
    let NewImage { volumes, layers_size, mount, limit, log, .. } = *image;
    let user_marks = !userns::is_host_root() && has_user_marks(&store.layout, volumes);
    let root = NewRoot { paths, volumes, layers_size, mount, owner, limit, user_marks, log };
    let mount = driver
        .create_root(&root)
        .map_err(|error| limits::explained(&store.layout, volumes, error))
        .doing("creating image")?;
    for volume in image.declared_volumes {
        let path = paths.declared_volume(volume);
        fs::DirBuilder::new().mode(0o755).create(&path).at("mkdir", &path)?;
        std::os::unix::fs::chown(&path, Some(owner.uid), Some(owner.gid)).at("chown", &path)?;
    }
    std::os::unix::fs::chown(paths.dir(), Some(owner.uid), Some(owner.gid))
        .at("chown", paths.dir())?;
    Ok(mount)
}

/// Whether an overlay of these volumes that a user mounts has to look for marks of its own.
fn has_user_marks(layout: &Layout, volumes: &[String]) -> bool {
    let marked = |name: &String| volumes::read_metadata(layout, name).map(|m| m.opaque_for_users);
    volumes.iter().any(|name| marked(name).unwrap_or(false))
}

/// Changes the limit of a root file system that is in use.
pub fn limit(
    store: &Store,
    driver: &dyn Driver,
    id: &ImageId,
    change: &Change,
) -> Result<(), Error> {
    // `clean` gives project ids back that no image has: not while one is being given out.
    let _global = locks::global_shared(&store.layout, &patience())?;
    let paths = store.layout.image(id);
    let Some(_lock) = lock_image(paths.dir(), &patience())? else {
        return Err(Error::NotFound(id.clone()));
    };
    // Only to name the largest layers in an error.
    let volumes = dependencies::read(&store.layout, id).ok().flatten().unwrap_or_default();
    driver
        .set_limit(&paths, change)
        .map_err(|error| limits::explained(&store.layout, &volumes, error))
        .doing(format!("limiting image `{id}`"))
}

/// Deletes a root file system. Its layers stay. May be repeated after a failure. One that is not
/// there is [`Error::NotFound`].
pub fn delete(store: &Store, driver: &dyn Driver, id: &ImageId) -> Result<(), Error> {
    let dir = store.layout.image(id).dir().to_owned();
    match fs::symlink_metadata(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NotFound(id.clone()));
        }
        other => other.at("stat", &dir).doing(format!("unable to check image: {id}"))?,
    };
    // Somebody else has just deleted it.
    let Some(_lock) = lock_image(&dir, &patience())? else {
        return Err(Error::NotFound(id.clone()));
    };
    remove(store, driver, id)
}

/// Unmounts, forgets, moves aside, removes. The caller holds the lock of the directory.
///
/// Moving aside makes the id free, so it comes last of what belongs to the id: otherwise the
/// dependency file that goes could be that of the next image of this name. A full disk may have no room for the new
/// name; then the image is removed where it is, and its id is free when that is done.
fn remove(store: &Store, driver: &dyn Driver, id: &ImageId) -> Result<(), Error> {
    let paths = store.layout.image(id);
    let failing = || format!("deleting image path '{}' failed", paths.dir().display());
    driver.unmount_root(&paths).doing(failing())?;
    dependencies::remove(&store.layout, id)?;
    origin::remove(&store.layout, id)?;
    let aside = aside(&store.layout, id);
    match fs::rename(paths.dir(), &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if is_no_room(&error) => return driver.destroy_root(&paths).doing(failing()),
        other => other.at("rename", paths.dir()).doing(failing())?,
    }
    driver.destroy_root(&ImagePaths::at(aside)).doing(failing())
}

/// Where an image goes while it is being removed; `clean` finishes what stays there.
fn aside(layout: &Layout, id: &ImageId) -> PathBuf {
    // Not with the id at full length: id and number together must fit a file name.
    let id: String = id.as_str().chars().take(40).collect();
    layout.tmp().join(format!("{GARBAGE}image-{}-{id}", volumes::unique()))
}

/// Takes the lock of an image that is being removed; `None` while somebody is still at it.
pub(super) fn lock_aside(dir: &Path) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match openat(CWD, dir, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.at("open", dir)?,
    };
    match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(fd)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno).at("flock", dir)?,
    }
}

/// Whether somebody makes, changes or removes an image at this moment.
pub(super) fn is_busy(dir: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, dir, flags, Mode::empty())
        .is_ok_and(|fd| flock(&fd, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
}

/// Whether a name in `tmp` is that of an image being removed.
pub(super) fn is_aside(name: &str) -> bool {
    name.strip_prefix(GARBAGE).is_some_and(|rest| rest.starts_with("image-"))
}

/// Waits for the lock of an image; `None` when the image is gone by then, or another one of its
/// name has come.
fn lock_image(dir: &Path, patience: &Patience) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match openat(CWD, dir, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.at("open", dir)?,
    };
    let mut waiting = Waiting::new(patience);
    loop {
        match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::INTR) => continue,
            Err(Errno::WOULDBLOCK) => {}
            Err(errno) => Err(errno).at("flock", dir)?,
        }
        if !is_at(&fd, dir) {
            // Whoever holds it is taking the image away, however long that takes.
            return Ok(None);
        }
        waiting.pause(&dir.to_string_lossy(), dir)?;
    }
    Ok(is_at(&fd, dir).then_some(fd))
}

/// For the lock of an image: held while it is mounted or unmounted, and on a full disk while it is removed.
fn patience() -> Patience {
    Patience::short(&Interrupt::default())
}

/// Whether the directory at this path is the one that is open.
fn is_at(open: &OwnedFd, dir: &Path) -> bool {
    let (Ok(open), Ok(found)) = (rustix::fs::fstat(open), fs::symlink_metadata(dir)) else {
        return false;
    };
    open.st_ino == found.ino() && open.st_dev == found.dev()
}

/// Absolute paths of all entries in `images/`.
pub fn list(layout: &Layout) -> Result<Vec<PathBuf>, Error> {
    let images = layout.images();
    let names = volumes::names(&images)
        .doing("Failed to retrieve list of images: failed to list store path")?;
    Ok(names.into_iter().map(|name| images.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lock_is_that_of_one_image_and_not_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (image, aside) = (dir.path().join("x"), dir.path().join("aside"));
        assert!(lock_image(&image, &patience()).unwrap().is_none());
        fs::create_dir(&image).unwrap();
        let lock = lock_image(&image, &patience()).unwrap().unwrap();
        fs::rename(&image, &aside).unwrap();
        assert!(!is_at(&lock, &image));
        fs::create_dir(&image).unwrap();
        assert!(!is_at(&lock, &image));
        assert!(is_at(&lock, &aside));
    }

    #[test]
    fn waiting_for_an_image_ends_and_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let (image, aside) = (dir.path().join("x"), dir.path().join("aside"));
        fs::create_dir(&image).unwrap();
        let held = lock_image(&image, &patience()).unwrap().unwrap();
        let soon = Patience::of(Duration::from_millis(5), &Interrupt::default());
        let error = lock_image(&image, &soon).unwrap_err().to_string();
        let start =
            format!("timed out waiting for the '{}' file lock after '5ms'", image.display());
        assert!(error.starts_with(&start), "{error}");
        // Who takes an image away may take long: nobody waits for that.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lock_image(&image, &patience()));
            fs::rename(&image, &aside).unwrap();
            assert!(waiting.join().unwrap().unwrap().is_none());
        });
        drop(held);
    }
}
