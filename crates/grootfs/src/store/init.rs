//! Making a store, and taking it away.
//!
//! A store lies on a file system that was there, or on one of its own in `<store>.backing-store`.
//! That file is formatted only while it holds no file system: after a reboot it is mounted again.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::{Doing, Error, gc, id::ImageId, images, locks, namespace, volumes};
use crate::driver::Driver;
use crate::error::AtPath;
use crate::idmap::{IdMappings, Owner};
use crate::interrupt::Interrupt;
use crate::observe::Log;

/// Smallest file system that the original agreed to make (contract 1.6).
const SMALLEST: u64 = 200 * 1024 * 1024;

/// Keeps two init-store apart; the path is that of the later releases (contract B2).
const INIT_LOCK: &str = "/var/run/init-store.lock";

/// How a store is to be made.
#[derive(Debug)]
pub struct Init<'a> {
    /// Which ids it maps.
    pub mappings: &'a IdMappings,
    /// Size of a file system of its own; `None` to use the one that is there.
    pub size: Option<u64>,
    /// Whether its loop device is to go round the page cache of the file system below.
    pub direct_io: bool,
    /// Directory of `mkfs.btrfs`.
    pub btrfs_tools: Option<&'a Path>,
}

/// Makes a store, or completes one that is there. May be repeated.
pub fn init(layout: &Layout, driver: &dyn Driver, init: &Init<'_>, log: &Log) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        let store = layout.root().display();
        return Err(Error::Message(format!("store {store} can only be initialized by Root user")));
    }
    let _lock = init_lock()?;
    prepare_filesystem(layout, driver, init, log)?;
    let caller = Owner { uid: 0, gid: 0 };
    let owner = init.mappings.owner(caller);
    make_directory(layout.root())?;
    make_directory(&layout.meta())?;
    namespace::write_or_compare(layout, init.mappings)?;
    let root = layout.root();
    std::os::unix::fs::chown(root, Some(owner.uid), Some(owner.gid)).at("chown", root)?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).at("chmod", root)?;
    for directory in layout.directories() {
        make_directory(&directory)?;
        std::os::unix::fs::chown(&directory, Some(owner.uid), Some(owner.gid))
            .at("chown", &directory)?;
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

fn make_directory(path: &Path) -> Result<(), Error> {
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

/// Leaves a file system at the store's path that the driver can use.
fn prepare_filesystem(
    layout: &Layout,
    driver: &dyn Driver,
    init: &Init<'_>,
    log: &Log,
) -> Result<(), Error> {
    let root = layout.root();
    let backing = layout.backing_file();
    if root.exists() && !root.is_dir() {
        return Err(Error::Message(format!("path `{}` is not a directory", root.display())));
    }
    let mounted = root.is_dir()
        && groot_sys::mount::is_mount_point(root).doing_sys("looking at the store's mount")?;
    if backing.exists() && !mounted {
        match groot_sys::probe::superblock(&backing).at("read", &backing)? {
            Some(found) if found == driver.kind().filesystem() => {
                return mount_existing(layout, driver, init);
            }
            Some(found) => return Err(foreign(&backing, driver, found)),
            None => {}
        }
    }
    let checked = match root.parent() {
        Some(parent) if !root.exists() && init.size.is_none() => parent,
        _ => root,
    };
    match (init.size, checked.exists().then(|| driver.check_filesystem(checked))) {
        (_, Some(Ok(()))) => {
            log.info(
                "store-manager-init-store.store-already-initialized",
                &root.display().to_string(),
            );
            if mounted { set_direct_io(layout, init) } else { Ok(()) }
        }
        (Some(size), _) if !mounted => make_filesystem(layout, driver, init, size),
        (_, Some(Err(error))) => Err(error.into()),
        (_, None) => Err(Error::Message(format!(
            "{}: no such file or directory (make it, or give --store-size-bytes)",
            checked.display()
        ))),
    }
}

/// What is in a backing file is not ours to destroy.
fn foreign(backing: &Path, driver: &dyn Driver, found: &str) -> Error {
    Error::Message(format!(
        "Store path filesystem ({}) is incompatible with requested driver ({} needs {}): the file \
         holds {found} and was left as it is; move it away, or choose another store",
        backing.display(),
        driver.kind(),
        driver.kind().filesystem()
    ))
}

fn mount_existing(layout: &Layout, driver: &dyn Driver, init: &Init<'_>) -> Result<(), Error> {
    make_directory(layout.root())?;
    attach_and_mount(layout, driver, init)?;
    Ok(driver.check_filesystem(layout.root())?)
}

fn make_filesystem(
    layout: &Layout,
    driver: &dyn Driver,
    init: &Init<'_>,
    size: u64,
) -> Result<(), Error> {
    if size < SMALLEST {
        return Err(Error::Message(format!(
            "store size must be at least 200Mb (given: {size} bytes, minimum: {SMALLEST} bytes)"
        )));
    }
    let backing = layout.backing_file();
    if let Some(parent) = backing.parent() {
        fs::create_dir_all(parent).at("mkdir", parent)?;
    }
    let file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(&backing)
        .at("open", &backing)?;
    file.set_len(size).at("truncate", &backing)?;
    make_directory(layout.root())?;
    driver.format(&backing, init.btrfs_tools)?;
    attach_and_mount(layout, driver, init)?;
    Ok(driver.enable_limits()?)
}

/// Attaches the backing file to a loop device, which goes away with the mount, and mounts it.
fn attach_and_mount(layout: &Layout, driver: &dyn Driver, init: &Init<'_>) -> Result<(), Error> {
    let backing = layout.backing_file();
    let device = groot_sys::loopdev::attach(&backing, init.direct_io)
        .doing_sys(format!("attaching {} to a loop device", backing.display()))?;
    Ok(driver.mount_store(&device.path)?)
}

fn set_direct_io(layout: &Layout, init: &Init<'_>) -> Result<(), Error> {
    let backing = layout.backing_file();
    if !backing.exists() {
        return Ok(());
    }
    let action = format!("enabling direct-io on {}", backing.display());
    match groot_sys::loopdev::find(&backing).doing_sys(action.clone())? {
        Some(device) => {
            groot_sys::loopdev::set_direct_io(&device, init.direct_io).doing_sys(action)
        }
        None => Ok(()),
    }
}

/// Takes a store away with everything in it. A store that is not there is success.
///
/// The backing file stays; a directory that is no store is refused.
pub fn delete_store(layout: &Layout, driver: &dyn Driver) -> Result<(), Error> {
    let root = layout.root();
    if !root.exists() {
        return Ok(());
    }
    let refusing = "failed to lock - refusing to delete possibly corrupted store";
    let patience = locks::Patience::short(&Interrupt::default());
    let lock = locks::global_exclusive(layout, &patience).doing(refusing)?;
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
    remove_content(layout).doing("deleting store path")?;
    // Its open file keeps a file system of the store's own busy. The directory of locks is gone:
    // nobody can take it any more.
    drop(lock);
    remove_root(layout).doing("deleting store path")
}

/// Removes what is left in the store.
fn remove_content(layout: &Layout) -> Result<(), Error> {
    let root = layout.root();
    let parts: Vec<PathBuf> = fs::read_dir(root)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .at("open", root)?;
    for path in parts {
        crate::driver::remove_tree(&path)?;
    }
    Ok(())
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

/// Names what was being done when a system call failed.
trait DoingSys<T> {
    fn doing_sys(self, action: impl Into<String>) -> Result<T, Error>;
}

impl<T> DoingSys<T> for Result<T, groot_sys::Error> {
    fn doing_sys(self, action: impl Into<String>) -> Result<T, Error> {
        crate::driver::Doing::doing(self, action).map_err(Error::from)
    }
}
