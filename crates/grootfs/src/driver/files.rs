//! File operations that both drivers do in the same way.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, openat};
use rustix::io::Errno;

use super::{Doing, Error, Kind};
use crate::error::{AtPath, PathError};
use crate::idmap::Owner;

/// How often a busy mount is tried again, and how long is waited in between (contract B5).
const UNMOUNT_TRIES: u32 = 50;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(100);

/// Longest decimal number that is read from a file, with some blanks.
const LONGEST_NUMBER: u64 = 32;

/// Fails unless `path` lies on a file system with this magic number.
pub fn require_filesystem(
    path: &Path,
    magic: i64,
    driver: Kind,
    needs: &'static str,
) -> Result<(), Error> {
    let found = groot_sys::fs::filesystem_type(path).doing("checking the file system")?;
    if found == magic {
        return Ok(());
    }
    Err(Error::WrongFilesystem { path: path.to_owned(), driver, needs })
}

/// Runs a formatter; `label` is how the original names the file system.
pub fn run_formatter(label: &str, command: &mut Command) -> Result<(), Error> {
    let program = command.get_program().to_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        let package = if label == "XFS" { "xfsprogs" } else { "btrfs-progs" };
        let why = crate::error::reason(&error);
        Error::Usage(format!(
            "Formatting {label} filesystem: {}: {why} (is the package {package} installed?)",
            program.display()
        ))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "Formatting {label} filesystem: {}: {}",
        output.status.to_string().replace("exit status: ", "exit status "),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// Makes a directory with exactly this mode, whatever the umask; one that is there is taken over, but
/// not one that a link leads to.
pub fn make_directory(path: &Path, mode: u32, owner: Option<Owner>) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.at("mkdir", path)?,
    }
    let directory = open_directory(path)?;
    fchmod(&directory, Mode::from_raw_mode(mode)).at("chmod", path)?;
    let Some(Owner { uid, gid }) = owner else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(fchown(&directory, Some(uid), Some(gid)).at("chown", path)?)
}

/// Gives a file to its owner, never through a symlink.
pub fn chown(path: &Path, owner: Option<Owner>) -> Result<(), Error> {
    let Some(Owner { uid, gid }) = owner else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).at("chown", path)?;
    Ok(())
}

/// Writes a decimal number into a new file that only its owner reads (contract 3.1).
pub fn write_number(path: &Path, number: u64) -> Result<(), Error> {
    let mut file = fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .at("open", path)?;
    file.write_all(number.to_string().as_bytes()).at("write", path)?;
    Ok(())
}

/// Writes a decimal number over what a file holds, in the same block: it works where nothing new may be
/// written any more.
pub fn rewrite_number(path: &Path, number: u64) -> Result<(), Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mode = Mode::from_raw_mode(0o600);
    let mut file =
        fs::File::from(openat(CWD, path, flags | OFlags::CLOEXEC, mode).at("open", path)?);
    let text = number.to_string();
    file.write_all(text.as_bytes()).at("write", path)?;
    file.set_len(text.len() as u64).at("truncate", path)?;
    Ok(())
}

/// How small files of a store are opened. It may be another user's: what lies there may be a link, a fifo or
/// endless.
const SMALL_FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Reads a decimal number that a file of an image holds; `None` where there is no such file.
pub fn read_number(path: &Path) -> Result<Option<u64>, Error> {
    match openat(CWD, path, SMALL_FILE, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        other => number_in(fs::File::from(other.at("open", path)?), path),
    }
}

/// Adds up the numbers of small files below a directory. What is no number, or is gone, counts nothing: the
/// files may be many, so this costs less than to read each by its whole path.
pub fn sum_of_numbers<'a>(
    directory: &Path,
    files: impl Iterator<Item = &'a Path>,
) -> Result<u64, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = openat(CWD, directory, flags, Mode::empty()).at("open", directory)?;
    let number = |path: &Path| {
        let file = openat(&open, path, SMALL_FILE, Mode::empty()).ok()?;
        number_in(fs::File::from(file), path).ok().flatten()
    };
    Ok(files.filter_map(number).fold(0, u64::saturating_add))
}

fn number_in(file: fs::File, path: &Path) -> Result<Option<u64>, Error> {
    let mut text = String::new();
    file.take(LONGEST_NUMBER).read_to_string(&mut text).at("read", path)?;
    let number = text.trim().parse().map_err(|_| {
        let start = &text;
        Error::Usage(format!(
            "reading image info {}: `{}` is no number",
            path.display(),
            start.escape_debug()
        ))
    })?;
    Ok(Some(number))
}

/// Removes a file. One that is not there is success.
pub fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Ok(other.at("unlink", path)?),
    }
}

/// Renames a file or directory.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    Ok(fs::rename(from, to).at("rename", from)?)
}

/// Removes a tree. One that is not there is success.
pub fn remove_tree(path: &Path) -> Result<(), Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let Some(parent_fd) = open_existing(parent)? else { return Ok(()) };
    remove_tree_at(&parent_fd, parent, name)
}

/// Removes everything in a directory, but not itself. One that is not there is success.
pub fn empty_tree(path: &Path) -> Result<(), Error> {
    let Some(directory) = open_existing(path)? else { return Ok(()) };
    for entry in fs::read_dir(path).at("open", path)? {
        remove_tree_at(&directory, path, &entry.at("readdir", path)?.file_name())?;
    }
    Ok(())
}

fn remove_tree_at(parent_fd: &OwnedFd, parent: &Path, name: &OsStr) -> Result<(), Error> {
    groot_sys::fs::remove_tree(parent_fd.as_fd(), name)
        .doing(format!("removing {}", parent.join(name).display()))
}

/// Opens a directory for reading, never through a symlink at its end.
pub fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty()).at("open", path)?)
}

/// Opens a directory, or says that there is none.
pub fn open_existing(path: &Path) -> Result<Option<OwnedFd>, Error> {
    match open_directory(path) {
        Err(Error::Path(PathError { error, .. })) if error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Whether a directory hides those of the layers below it from overlay.
pub fn is_opaque(path: &Path) -> Result<bool, Error> {
    for name in [c"trusted.overlay.opaque", c"user.overlay.opaque"] {
        let mut value = [0_u8; 1];
        match rustix::fs::lgetxattr(path, name, &mut value[..]) {
            Ok(_) if value == *b"y" => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::RANGE | Errno::NOTSUP) => {}
            Err(errno) => Err(io::Error::from(errno)).at("getxattr", path)?,
        }
    }
    Ok(false)
}

/// Unmounts a directory as often as something is mounted on it; waits a while where it is busy.
pub fn unmount(path: &Path) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        match groot_sys::mount::unmount(path) {
            Ok(()) => {}
            // EINVAL: nothing is mounted there (any more). ENOENT: nothing is there.
            Err(error)
                if matches!(error.errno(), rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) =>
            {
                return Ok(());
            }
            // Said whether something is mounted there or not.
            Err(error) if error.errno() == rustix::io::Errno::PERM => {
                let mounted = groot_sys::mount::is_mount_point(path);
                return match mounted.doing(format!("looking at {}", path.display()))? {
                    false => Ok(()),
                    true => Err(Error::Usage(format!(
                        "\"{}\" is a mountpoint and cannot be unmounted when running rootless; unmount it \
                         where it was mounted, or as root",
                        path.display()
                    ))),
                };
            }
            Err(error) if error.errno() == rustix::io::Errno::BUSY && tries < UNMOUNT_TRIES => {
                tries += 1;
                std::thread::sleep(UNMOUNT_PAUSE);
            }
            other => {
                return other.doing(format!(
                    "unmount rootfs path \"{}\" failed (a process still uses it?)",
                    path.display()
                ));
            }
        }
    }
}
