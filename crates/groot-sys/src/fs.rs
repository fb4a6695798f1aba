//! Files and trees.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, RawDir, StatVfsMountFlags, mknodat, renameat, statfs, unlinkat,
};

use crate::{Call, Errno, Result};

/// `statfs(2)`'s type of XFS.
pub const XFS_MAGIC: i64 = 0x5846_5342;

/// `statfs(2)`'s type of btrfs.
pub const BTRFS_MAGIC: i64 = 0x9123_683e;

/// Directories that [`remove_tree`] holds open at once. Deeper ones are moved to the top first, so
/// no depth that somebody makes in a container uses up our descriptors or stack.
const OPEN_DIRECTORIES: usize = 16;

/// Bytes of directory entries read at once.
const ENTRIES_BUFFER: usize = 32 * 1024;

/// The type of the file system that a path lies on.
pub fn filesystem_type(path: &Path) -> Result<i64> {
    let found = statfs(path).call("statfs", || path.display().to_string())?;
    // The field's type differs between architectures.
    #[allow(clippy::unnecessary_cast)]
    Ok(found.f_type as i64)
}

/// Makes the character device 0:0, which overlay reads as a whiteout.
pub fn make_device(directory: BorrowedFd<'_>, path: &Path, mode: u32) -> Result<()> {
    let mode = Mode::from_raw_mode(mode);
    mknodat(directory, path, FileType::CharacterDevice, mode, 0)
        .call("mknodat", || format!("{}, S_IFCHR, 0:0", path.display()))
}

/// Size of a file system, what is free of it, and how it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// All of it, in bytes.
    pub total: u64,
    /// Bytes that anybody may still write.
    pub available: u64,
    /// Files that it can hold; 0 where it makes room for them as they come.
    pub inodes: u64,
    /// Files that anybody may still make.
    pub free_inodes: u64,
    /// Options of the mount.
    pub flags: StatVfsMountFlags,
}

/// The size of the file system that a path lies on.
pub fn size(path: &Path) -> Result<Size> {
    let found = rustix::fs::statvfs(path).call("statvfs", || path.display().to_string())?;
    Ok(Size {
        total: found.f_blocks.saturating_mul(found.f_frsize),
        available: found.f_bavail.saturating_mul(found.f_frsize),
        inodes: found.f_files,
        free_inodes: found.f_favail,
        flags: found.f_flag,
    })
}

/// Removes a tree, whatever its depth, without following links or entering mounts. A tree that is
/// not there is success, and two may remove one tree.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno).call("unlinkat", || show(name)),
    }
    let Some(top) = open_to_empty(parent, name)? else { return Ok(()) };
    let mut moved = 0;
    // Once more for the directories that were moved to the top.
    loop {
        let before = moved;
        empty(&top, &mut moved)?;
        if moved == before {
            break;
        }
    }
    drop(top);
    remove_directory(parent, name)
}

/// One directory on the way down.
struct Level {
    directory: OwnedFd,
    name: CString,
    /// Sub-directories that are still to be emptied.
    below: Vec<CString>,
}

/// Empties a directory; counts in `moved` what was too deep and is at its top now.
fn empty(top: &OwnedFd, moved: &mut u64) -> Result<()> {
    let Some(directory) = open_below(top.as_fd(), OsStr::new("."))? else { return Ok(()) };
    let below = remove_files(&directory)?;
    let mut stack = vec![Level { directory, name: c".".to_owned(), below }];
    loop {
        let is_deep = stack.len() >= OPEN_DIRECTORIES;
        let Some(level) = stack.last_mut() else { return Ok(()) };
        let Some(name) = level.below.pop() else {
            let done = stack.pop();
            if let (Some(Level { name, .. }), Some(parent)) = (done, stack.last()) {
                remove_directory(parent.directory.as_fd(), os(&name))?;
            }
            continue;
        };
        let parent = level.directory.as_fd();
        if is_deep {
            move_to_top(parent, &name, top, moved)?;
        } else if let Some(directory) = open_to_empty(parent, os(&name))? {
            let below = remove_files(&directory)?;
            stack.push(Level { directory, name, below });
        }
    }
}

fn move_to_top(
    directory: BorrowedFd<'_>,
    name: &CString,
    top: &OwnedFd,
    moved: &mut u64,
) -> Result<()> {
    loop {
        *moved += 1;
        let target = format!(".removing-{moved}");
        match renameat(directory, name.as_c_str(), top, target.as_str()) {
            // Taken by a file of the tree.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            other => return other.call("renameat", || show(os(name))),
        }
    }
}

/// Removes everything but directories from a directory; returns their names.
fn remove_files(directory: &OwnedFd) -> Result<Vec<CString>> {
    let mut directories = Vec::new();
    let mut buffer = Vec::with_capacity(ENTRIES_BUFFER);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            // Somebody else has removed this directory meanwhile.
            Err(Errno::NOENT) => break,
            other => other.call("getdents64", String::new)?,
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            directories.push(name.to_owned());
            continue;
        }
        match unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // The file system did not tell the type.
            Err(Errno::ISDIR) => directories.push(name.to_owned()),
            Err(errno) => return Err(errno).call("unlinkat", || show(os(name))),
        }
    }
    Ok(directories)
}

fn remove_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other.call("unlinkat", || format!("{}, AT_REMOVEDIR", show(name))),
    }
}

/// Opens a directory by one name: no links, no other mount. `None` where there is none.
fn open_below(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OwnedFd>> {
    match crate::resolve::directory_beneath(parent, name) {
        Err(error) if error.errno() == Errno::NOENT => Ok(None),
        other => other.map(Some),
    }
}

/// The same for one that is to be emptied. One of somebody else's that may not be looked into, such as
/// overlay's `work/work`, goes at once if it is empty; then `None` too.
fn open_to_empty(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OwnedFd>> {
    match open_below(parent, name) {
        Err(error) if error.errno() == Errno::ACCESS => {
            remove_directory(parent, name).map(|()| None).map_err(|_| error)
        }
        other => other,
    }
}

/// The names in a directory, sorted; without `.` and `..`.
pub fn names(directory: BorrowedFd<'_>) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).call("openat", || ".".into())? {
        let entry = entry.call("getdents64", String::new)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn os(name: &std::ffi::CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

fn show(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, OFlags, mkdirat, openat};
    use std::fs;

    #[test]
    fn removes_trees_and_leaves_what_links_point_to() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(tree.join("a/file"), "x").unwrap();
        fs::write(dir.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink("../../kept", tree.join("a/link")).unwrap();
        std::os::unix::fs::symlink("/", tree.join("a/b/root")).unwrap();
        let parent = fs::File::open(dir.path()).unwrap();
        remove_tree(parent.as_fd(), OsStr::new("tree")).unwrap();
        assert!(!tree.exists() && dir.path().join("kept").exists());
        remove_tree(parent.as_fd(), OsStr::new("tree")).unwrap();
        remove_tree(parent.as_fd(), OsStr::new("kept")).unwrap();
        assert!(!dir.path().join("kept").exists());
    }

    #[test]
    fn two_may_remove_one_tree() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let open = OwnedFd::from(fs::File::open(&tree).unwrap());
        fs::remove_dir(&tree).unwrap();
        assert!(remove_files(&open).unwrap().is_empty());
    }

    #[test]
    fn removes_wide_trees() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..600 {
            let below = dir.path().join(format!("tree/{}/{}/{n}", n % 7, n % 3));
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join("file"), "x").unwrap();
        }
        let parent = fs::File::open(dir.path()).unwrap();
        remove_tree(parent.as_fd(), OsStr::new("tree")).unwrap();
        assert!(!dir.path().join("tree").exists());
    }

    #[test]
    fn removes_what_is_deeper_than_descriptors_allow() {
        let dir = tempfile::tempdir().unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat(CWD, dir.path(), flags, Mode::empty()).unwrap();
        let mut at = parent.try_clone().unwrap();
        for _ in 0..3000 {
            mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
            openat(&at, ".removing-1", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
            at = openat(&at, "d", flags, Mode::empty()).unwrap();
        }
        remove_tree(parent.as_fd(), OsStr::new("d")).unwrap();
        assert!(!dir.path().join("d").exists());
    }
}
