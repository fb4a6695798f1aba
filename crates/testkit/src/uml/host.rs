//! What a guest needs of the host, checked before it starts so that the error can name it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use super::Error;

/// The kernel, as Debian's package installs it.
pub(super) const KERNEL: &str = "linux.uml";

/// Programs that the host side and process 1 of the guest call, and the packages that have them.
const PROGRAMS: [(&str, &str); 8] = [
    (KERNEL, "user-mode-linux"),
    ("insmod", "kmod"),
    ("ip", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("stty", "coreutils"),
];

/// Where the guest puts file systems of its own over what the host has.
const HIDDEN: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// Checks that every program is there and that this process may make process namespaces.
pub(super) fn check() -> Result<(), Error> {
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            return Err(Error::Missing { program, package });
        }
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    Ok(())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/usr/sbin"));
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Checks that the guest sees `path` as the host does.
pub(super) fn check_visible(path: &Path) -> Result<(), Error> {
    match HIDDEN.iter().find(|hidden| path.starts_with(hidden)) {
        Some(hidden) => Err(Error::Hidden { path: path.to_owned(), hidden }),
        None => Ok(()),
    }
}

/// Checks that `path` can stand in the kernel's command line, which ends words at white space, and
/// in the arguments of `ubd0=` and of a hostfs mount, which end at a comma.
pub(super) fn check_plain(path: &Path) -> Result<(), Error> {
    let odd = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b',' | b'"' | b':');
    match path.as_os_str().as_bytes().iter().find(|byte| odd(byte)) {
        Some(_) => Err(Error::OddPath { path: path.to_owned() }),
        None => Ok(()),
    }
}

/// Chooses the directory for the file that is the guest's memory.
///
/// The kernel maps that file executable and removes its name at once. A tmpfs is fastest, but
/// container engines often give a small one or forbid programs on it; then it is the directory
/// for temporary files, where the disk takes part.
pub(super) fn memory_directory(bytes: u64) -> PathBuf {
    let shared = Path::new("/dev/shm");
    if let Ok(about) = rustix::fs::statvfs(shared)
        && !about.f_flag.contains(StatVfsMountFlags::NOEXEC)
        && about.f_bavail.saturating_mul(about.f_frsize) >= bytes
    {
        return shared.to_owned();
    }
    std::env::temp_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_the_guest_cannot_see_are_refused() {
        assert!(check_visible(Path::new("/run/user/0")).is_err());
        assert!(check_visible(Path::new("/dev/shm/x")).is_err());
        assert!(check_visible(Path::new("/runner")).is_ok());
        assert!(check_visible(Path::new("/tmp/x")).is_ok());
    }

    #[test]
    fn paths_that_the_command_line_cannot_hold_are_refused() {
        assert!(check_plain(Path::new("/tmp/a b")).is_err());
        assert!(check_plain(Path::new("/tmp/a,b")).is_err());
        assert!(check_plain(Path::new("/tmp/\u{e4}")).is_err());
        assert!(check_plain(Path::new("/tmp/.uml-Ab3_x")).is_ok());
    }
}
