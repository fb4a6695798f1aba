//! Making a store, and taking it away.
//!
//! A store lies on a file system that was there, or on one of its own in `<store>.backing-store`.
//! That file is formatted only while it holds no file system: after a reboot it is mounted again.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat};
use rustix::io::Errno;

use super::layout::Layout;
use super::{Doing, Error, filesystem, gc, id::ImageId, images, locks, namespace, volumes};
use crate::driver::Driver;
use crate::error::AtPath;
use crate::idmap::{IdMappings, Owner};
use crate::interrupt::Interrupt;
use crate::observe::Log;

/// Keeps two init-store apart; the path is that of the later releases (contract B2).
const INIT_LOCK: &str = "/var/run/init-store.lock";

/// How often a directory may have been filled again while it was being removed: who waits for a lock makes
/// its file, and finds out then that the store is gone.
const TRIES: u32 = 20;

/// How a store is to be made.
#[derive(Debug)]
pub struct Init<'a> {
    /// Which ids it maps.
    pub mappings: &'a IdMappings,
    /// Size of a file system of its own; `None` to use the one that is there.
    pub size: Option<u64>,
    /// Whether its loop device is to go round the page cache of the file system below.
    pub direct_io: bool,
    /// Whether that file system is to count with simple quotas.
    pub simple_quotas: bool,
    /// Directory of `mkfs.btrfs`.
    pub btrfs_tools: Option<&'a Path>,
}

/// Refuses everybody but root: only root mounts file systems and gives directories away.
pub fn require_root(layout: &Layout) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let store = layout.root().display();
    Err(Error::Message(format!("store {store} can only be initialized by Root user")))
}

/// Makes a store as root, or completes one that is there. May be repeated.
pub fn init(layout: &Layout, driver: &dyn Driver, init: &Init<'_>, log: &Log) -> Result<(), Error> {
    let _lock = init_lock()?;
    filesystem::prepare(layout, driver, init, log)?;
    let log = log.session("store-manager-configure-store");
    let _step = log.detail();
    if layout.namespace_file().exists() {
        log.debug("store-path-already-exists", &layout.root().to_string_lossy());
    }
    let caller = Owner { uid: 0, gid: 0 };
    let owner = init.mappings.owner(caller);
    make_directory(layout.root())?;
    let root = open_root(layout)?;
    // Other mappings are refused before anything is given to somebody else.
    make_below(layout, &root, &layout.meta())?;
    namespace::write_or_compare(layout, init.mappings)?;
    give(&root, owner, layout.root())?;
    fchmod(&root, Mode::RWXU).at("chmod", layout.root())?;
    for path in layout.directories() {
        give(&make_below(layout, &root, &path)?, owner, &path)?;
    }
    Ok(driver.configure_store(Some(owner))?)
}

fn init_lock() -> Result<fs::File, Error> {
    let path = Path::new(INIT_LOCK);
    let file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .at("open", path)?;
    file.lock().at("flock", path)?;
    Ok(file)
}

pub(super) fn make_directory(path: &Path) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if path.is_dir() {
                return Ok(());
            }
            Err(Error::Message(format!("path `{}` is not a directory", path.display())))
        }
        other => Ok(other.at("mkdir", path)?),
    }
}

fn open_root(layout: &Layout) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = layout.root();
    Ok(openat(CWD, root, flags, Mode::empty()).at("open", root)?)
}

/// Opens a directory of the store; makes it where it is missing.
///
/// What is in a store belongs to the mapped root. They could put a link to `/etc` in place of `images`
/// and wait for the next `init-store` to give that to them, so links are not followed.
fn make_below(layout: &Layout, root: &OwnedFd, path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = root.try_clone().at("dup", path)?;
    for name in path.strip_prefix(layout.root()).unwrap_or(path) {
        match mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => {}
            other => other.at("mkdir", path)?,
        }
        directory = match openat(&directory, name, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(Error::Message(format!(
                    "path `{}` is not a directory",
                    path.display()
                )));
            }
            other => other.at("open", path)?,
        };
    }
    Ok(directory)
}

/// Makes one of the store's directories where it is missing, and gives it to the store's owner.
pub(super) fn make_part(layout: &Layout, path: &Path, owner: Owner) -> Result<(), Error> {
    let root = open_root(layout)?;
    give(&make_below(layout, &root, path)?, owner, path)
}

fn give(directory: &OwnedFd, owner: Owner, path: &Path) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    Ok(fchown(directory, Some(uid), Some(gid)).at("chown", path)?)
}

/// Takes a store away with everything in it. A store that is not there is success, and so is one that is gone
/// but for its last directories, as a kill leaves it.
///
/// The backing file stays, unless it is to go as well; a directory that is no store is refused.
pub fn delete_store(
    layout: &Layout,
    driver: &dyn Driver,
    with_backing_file: bool,
) -> Result<(), Error> {
    if layout.root().exists() {
        delete_content(layout, driver)?;
    }
    if with_backing_file {
        // Its loop device has gone away with the mount.
        let file = layout.backing_file();
        match fs::remove_file(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.at("unlink", &file)?,
        }
    }
    Ok(())
}

fn delete_content(layout: &Layout, driver: &dyn Driver) -> Result<(), Error> {
    let mut lock = None;
    if !is_remnant(layout)? {
        let refusing = "failed to lock - refusing to delete possibly corrupted store";
        let patience = locks::Patience::short(&Interrupt::default());
        lock = Some(locks::global_exclusive(layout, &patience).doing(refusing)?);
        destroy_images_and_volumes(layout, driver)?;
    }
    remove_content(layout).doing("deleting store path")?;
    // Its open file keeps a file system of the store's own busy. The directory of locks is gone:
    // nobody can take it any more.
    drop(lock);
    remove_root(layout).doing("deleting store path")
}

/// The directories that go last, in this order: as long as the first is there, all of a store is.
fn last_directories(layout: &Layout) -> [PathBuf; 3] {
    [layout.images(), layout.volumes(), layout.locks()]
}

/// Whether nothing is left of a store but some of the directories that go last, without a layer.
fn is_remnant(layout: &Layout) -> Result<bool, Error> {
    let root = layout.root();
    let left = entries(root)?;
    if left.is_empty() {
        // Somebody's empty disk is no store, and stays mounted.
        let mounted = crate::driver::Doing::doing(
            groot_sys::mount::is_mount_point(root),
            "looking at the store's mount",
        )?;
        return Ok(!mounted || layout.backing_file().exists());
    }
    let last = last_directories(layout);
    for path in left {
        let is_left = path.is_dir() && path != layout.images() && last.contains(&path);
        let is_lock = |path: &PathBuf| path.extension().is_some_and(|end| end == "lock");
        if !is_left || !entries(&path)?.iter().all(is_lock) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn destroy_images_and_volumes(layout: &Layout, driver: &dyn Driver) -> Result<(), Error> {
    let store = super::Store { layout: layout.clone(), mappings: IdMappings::default() };
    for path in images::list(layout).doing("listing images")? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // What is no image is removed with the rest below.
        let Ok(id) = ImageId::new(name) else { continue };
        if path.is_dir() {
            match images::delete(&store, driver, &id) {
                // Somebody else was faster.
                Err(Error::NotFound(_)) => {}
                other => other.doing(format!("destroying image {}", path.display()))?,
            }
        }
    }
    for name in volumes::list(layout).doing("listing volumes")? {
        gc::destroy(layout, driver, &name).doing(format!("destroying volume {name}"))?;
    }
    Ok(())
}

/// Removes what is left in the store.
fn remove_content(layout: &Layout) -> Result<(), Error> {
    let last = last_directories(layout);
    let first = entries(layout.root())?.into_iter().filter(|path| !last.contains(path));
    for path in first.chain(last.clone()) {
        let mut tries = 0;
        while let Err(error) = crate::driver::remove_tree(&path) {
            tries += 1;
            if !is_not_empty(&error) || tries == TRIES {
                return Err(error.into());
            }
        }
    }
    Ok(())
}

fn is_not_empty(error: &crate::driver::Error) -> bool {
    matches!(error, crate::driver::Error::System { source, .. } if source.errno() == Errno::NOTEMPTY)
}

fn entries(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(root)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    Ok(entries.at("open", root)?)
}

/// Unmounts the store if it has a file system of its own, and removes its directory.
fn remove_root(layout: &Layout) -> Result<(), Error> {
    let root = layout.root();
    crate::driver::unmount(root)?;
    match fs::remove_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Ok(other.at("rmdir", root)?),
    }
}
