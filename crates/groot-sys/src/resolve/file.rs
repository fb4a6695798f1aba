//! Regular files inside a directory that holds somebody else's tree.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};

use super::{LONGEST, MOST_LINKS, directory_in_root};
use crate::{Call, Errno, Error, Result};

/// Opens a regular file below a root for reading. Links are followed inside the root only, and nothing
/// but a regular file is opened: a pipe would wait, a device would act.
pub fn file_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let show = || format!("{}, RESOLVE_IN_ROOT", path.display());
    let mut at = path.to_owned();
    for _ in 0..=MOST_LINKS {
        let Some(name) = at.file_name() else { return Err(no_file(show())) };
        let above = at.parent().filter(|above| !above.as_os_str().is_empty());
        let parent = directory_in_root(root, above.unwrap_or(Path::new(".")))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat(&parent, name, flags, Mode::empty()).call("openat", show)?;
        let kind = FileType::from_raw_mode(fstat(&found).call("fstat", show)?.st_mode);
        if kind.is_file() {
            return reopen(found.as_fd());
        }
        if !kind.is_symlink() {
            return Err(no_file(show()));
        }
        let target = readlinkat(&found, "", Vec::new()).call("readlinkat", show)?;
        // An absolute target takes the place of the whole path, and is then one below the root.
        at.pop();
        at.push(OsStr::from_bytes(target.as_bytes()));
        if at.as_os_str().len() > LONGEST {
            return Err(Errno::NAMETOOLONG).call("openat", show);
        }
    }
    Err(Errno::LOOP).call("openat", show)
}

/// The file that is open as a place only, for reading. What its name leads to by now does not matter.
fn reopen(found: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    openat(CWD, path.as_str(), flags, Mode::empty()).call("openat", || path.clone())
}

fn no_file(arguments: String) -> Error {
    let detail = "it is no regular file".to_owned();
    Error { call: "openat", arguments, errno: Errno::INVAL, detail }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_inside_and_only_files_open() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("etc/store")).unwrap();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        fs::write(root.join("secret"), "inside").unwrap();
        fs::write(root.join("etc/file"), "here").unwrap();
        let links = [
            ("etc/up", "../../../../secret"),
            ("etc/absolute", "/secret"),
            ("etc/chain", "store/../up"),
            ("etc/loop", "loop"),
            ("etc/nowhere", "/proc/self/status"),
            ("etc/directory", "store"),
            ("etc/dots", "store/.."),
        ];
        for (name, target) in links {
            symlink(target, root.join(name)).unwrap();
        }
        let socket = std::os::unix::net::UnixListener::bind(root.join("etc/socket")).unwrap();
        let open = fs::File::open(&root).unwrap();
        let read = |path: &str| -> std::result::Result<String, Errno> {
            let file = file_in_root(open.as_fd(), Path::new(path)).map_err(|e| e.errno())?;
            let mut text = String::new();
            fs::File::from(file).read_to_string(&mut text).unwrap();
            Ok(text)
        };
        assert_eq!(read("etc/file").unwrap(), "here");
        assert_eq!(read("/etc/file").unwrap(), "here");
        for path in ["etc/up", "etc/absolute", "etc/chain", "secret"] {
            assert_eq!(read(path).unwrap(), "inside", "{path}");
        }
        for (path, errno) in [
            ("etc/loop", Errno::LOOP),
            ("etc/nowhere", Errno::NOENT),
            ("etc/directory", Errno::INVAL),
            ("etc/dots", Errno::INVAL),
            ("etc/socket", Errno::INVAL),
            ("etc", Errno::INVAL),
            ("/", Errno::INVAL),
            ("no/file", Errno::NOENT),
            ("secret/file", Errno::NOTDIR),
        ] {
            assert_eq!(read(path), Err(errno), "{path}");
        }
        drop(socket);
    }
}
