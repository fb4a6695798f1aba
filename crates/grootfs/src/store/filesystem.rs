//! A file system of the store's own, in `<store>.backing-store`: making, mounting, growing it.
//!
//! The file is formatted only while it holds no file system: after a reboot it is mounted again.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::Errno;

use super::init::{Init, make_directory};
use super::layout::Layout;
use super::{Doing, Error};
use crate::driver::{Driver, Kind};
use crate::error::AtPath;
use crate::observe::Log;

/// Smallest file system that the original agreed to make (contract 1.6).
const SMALLEST: u64 = 200 * 1024 * 1024;

/// Leaves a file system at the store's path that the driver can use.
pub(super) fn prepare(
    layout: &Layout,
    driver: &dyn Driver,
    init: &Init<'_>,
    log: &Log,
) -> Result<(), Error> {
    let root = layout.root();
    let backing = layout.backing_file();
    check_quotas(driver, init, backing.exists())?;
    if root.exists() && !root.is_dir() {
        return Err(Error::Message(format!("path `{}` is not a directory", root.display())));
    }
    let mounted = root.is_dir()
        && groot_sys::mount::is_mount_point(root).doing_sys("looking at the store's mount")?;
    if backing.exists() && !mounted {
        match groot_sys::probe::superblock(&backing).at("read", &backing)? {
            Some(found) if found == driver.kind().filesystem() => {
                return mount_existing(layout, driver, init, log);
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
            log.info("store-already-initialized", &root.display().to_string());
            if mounted && backing.exists() { adjust(layout, driver, init, log) } else { Ok(()) }
        }
        (Some(size), _) if !mounted => make_filesystem(layout, driver, init, size),
        (_, Some(Err(error))) => Err(error.into()),
        (_, None) => Err(Error::Message(format!(
            "{}: no such file or directory (make it, or give --store-size-bytes)",
            checked.display()
        ))),
    }
}

/// Simple quotas are for file systems that nobody else uses.
fn check_quotas(driver: &dyn Driver, init: &Init<'_>, has_own: bool) -> Result<(), Error> {
    let refused =
        |why: &str| Err(Error::Message(format!("simple quotas were asked for, but {why}")));
    if !init.simple_quotas {
        Ok(())
    } else if driver.kind() != Kind::Btrfs {
        refused(
            "only the driver btrfs has them: leave --with-simple-quotas (init.with_simple_quotas) out",
        )
    } else if init.size.is_none() && !has_own {
        refused(
            "the store is to lie on a file system that was there: turn them on there with `btrfs quota enable \
             --simple`, or give the store one of its own with --store-size-bytes",
        )
    } else {
        Ok(())
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

fn mount_existing(
    layout: &Layout,
    driver: &dyn Driver,
    init: &Init<'_>,
    log: &Log,
) -> Result<(), Error> {
    make_directory(layout.root())?;
    attach_and_mount(layout, driver, init)
        .map_err(|error| damaged(&layout.backing_file(), driver, error))?;
    driver.check_filesystem(layout.root())?;
    adjust(layout, driver, init, log)
}

/// A file system that the kernel refuses as broken is left as it is: there is something in it.
fn damaged(backing: &Path, driver: &dyn Driver, error: Error) -> Error {
    let is_broken = matches!(
        &error,
        Error::Driver(crate::driver::Error::System { source, .. })
            if matches!(source.errno(), Errno::UCLEAN | Errno::IO | Errno::BADMSG | Errno::ILSEQ)
    );
    if !is_broken {
        return error;
    }
    let backing = backing.display();
    let repair = match driver.kind() {
        Kind::OverlayXfs => format!("xfs_repair -f {backing}"),
        Kind::Btrfs => format!("btrfs check {backing}"),
    };
    Error::Action {
        action: format!(
            "the file system in {backing} is damaged and was left as it is; `{repair}` looks at it, or \
             move the file away and run init-store again"
        ),
        source: Box::new(error),
    }
}

/// Brings a file system of the store's own to the size and the way of its loop device that are asked for.
fn adjust(layout: &Layout, driver: &dyn Driver, init: &Init<'_>, log: &Log) -> Result<(), Error> {
    if !layout.namespace_file().exists() {
        // Not a store yet: who made the file system may have been killed before he came to this.
        driver.enable_limits(init.simple_quotas)?;
    }
    set_direct_io(layout, init)?;
    let backing = layout.backing_file();
    let now = fs::metadata(&backing).at("stat", &backing)?.len();
    match init.size {
        Some(size) if size > now => grow(layout, driver, size),
        Some(size) if size < now => {
            let text = format!(
                "the store keeps the {now} bytes of {}: it cannot shrink to {size}",
                backing.display()
            );
            log.info("size-ignored", &text);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Lets the file, its loop device and the file system in it grow, in this order. May be repeated.
fn grow(layout: &Layout, driver: &dyn Driver, size: u64) -> Result<(), Error> {
    let backing = layout.backing_file();
    let action = || format!("growing {} to {size} bytes", backing.display());
    let Some(device) = groot_sys::loopdev::find(&backing).doing_sys(action())? else {
        return Err(Error::Message(format!(
            "{}: the store is mounted, but not from this file",
            action()
        )));
    };
    let file = fs::OpenOptions::new().write(true).open(&backing).at("open", &backing)?;
    file.set_len(size).at("truncate", &backing).doing(action())?;
    groot_sys::loopdev::refresh_size(&device).doing_sys(action())?;
    driver.grow(size).doing(action())
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
    format_aside(layout, driver, init, size)?;
    make_directory(layout.root())?;
    attach_and_mount(layout, driver, init)?;
    Ok(driver.enable_limits(init.simple_quotas)?)
}

/// Formats the backing file under another name: what has its own name is whole. A formatter that is killed
/// leaves something that looks like a file system, and one whose `init-store` is killed goes on.
fn format_aside(
    layout: &Layout,
    driver: &dyn Driver,
    init: &Init<'_>,
    size: u64,
) -> Result<(), Error> {
    let (backing, aside) = (layout.backing_file(), layout.new_backing_file());
    // Not written over: a formatter may still be at it.
    remove_file(&aside)?;
    if backing.exists() {
        fs::rename(&backing, &aside).at("rename", &backing)?;
    }
    let file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(&aside)
        .at("open", &aside)?;
    let formatted = file
        .set_len(size)
        .at("truncate", &aside)
        .map_err(Error::from)
        .and_then(|()| Ok(driver.format(&aside, init.btrfs_tools)?));
    if formatted.is_err() {
        // The first error is the one to report; the next `init-store` removes what is left.
        let _ = remove_file(&aside);
    }
    formatted?;
    Ok(fs::rename(&aside, &backing).at("rename", &aside)?)
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => Ok(other.at("unlink", path)?),
    }
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
    let action = format!("enabling direct-io on {}", backing.display());
    match groot_sys::loopdev::find(&backing).doing_sys(action.clone())? {
        Some(device) => {
            groot_sys::loopdev::set_direct_io(&device, init.direct_io).doing_sys(action)
        }
        None => Ok(()),
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
