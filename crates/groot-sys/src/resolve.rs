//! Paths inside a directory that holds somebody else's tree: nothing leads out of it.
//!
//! `openat2(2)` does this in the kernel (Linux 5.6). Where it is missing, or a filter of system
//! calls forbids it, the same is done by walking: one component after the other is opened without
//! following anything, and links are read and resolved here. What is open cannot be moved away
//! under us, so a process that renames in the tree meanwhile gains nothing.
//!
//! The kernel gives up on `..` when anything is renamed anywhere on the system meanwhile. A container
//! that does nothing else must not keep layers from being unpacked: then too it is done by walking.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat, statat,
};

use crate::{Call, Errno, Result};

mod file;

pub use file::file_in_root;

/// How often the kernel is asked again after a rename elsewhere on the system has disturbed it: enough for
/// ordinary load, and over sooner than a walk.
const TRIES: u32 = 16;

/// Links that are followed in one path, as the kernel does (`MAXSYMLINKS`).
const MOST_LINKS: u32 = 40;

/// Longest text of links and path together while walking; the kernel takes 4096 for one path.
const LONGEST: usize = 64 * 1024;

/// Directories that a walk holds open at once.
const MOST_OPEN: usize = 32;

/// How a directory is opened for reading.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Whether the kernel has refused `openat2` once.
static MISSING: AtomicBool = AtomicBool::new(false);

/// Opens a directory below a root: links, `..` and absolute targets stay inside, as in a chroot;
/// other mounts are not entered.
pub fn directory_in_root(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let opened = match by_kernel(root, path, resolve) {
        Some(opened) => opened,
        None => walk(root, path),
    };
    opened.call("openat2", || format!("{}, RESOLVE_IN_ROOT", path.display()))
}

/// Opens a directory by one name that is neither a link nor another mount.
pub fn directory_beneath(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let opened = match by_kernel(parent, Path::new(name), resolve) {
        Some(opened) => opened,
        None => alone(parent, name),
    };
    opened.call("openat2", || format!("{}, RESOLVE_BENEATH", name.display()))
}

/// The walking form of [`directory_beneath`]; a link is no directory, as for the kernel.
fn alone(parent: BorrowedFd<'_>, name: &OsStr) -> std::result::Result<OwnedFd, Errno> {
    match one(parent, name, fstat(parent)?.st_dev) {
        Err(Errno::LOOP) => Err(Errno::NOTDIR),
        other => other,
    }
}

/// Asks the kernel; `None` when it does not know the call, or is disturbed all the time.
fn by_kernel(
    directory: BorrowedFd<'_>,
    path: &Path,
    resolve: ResolveFlags,
) -> Option<std::result::Result<OwnedFd, Errno>> {
    if MISSING.load(Ordering::Relaxed) {
        return None;
    }
    let flags = if resolve.contains(ResolveFlags::NO_SYMLINKS) {
        DIRECTORY | OFlags::NOFOLLOW
    } else {
        DIRECTORY
    };
    let mut tries = 0;
    loop {
        match openat2(directory, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
            Err(Errno::AGAIN) => return None,
            Err(Errno::NOSYS) => {
                MISSING.store(true, Ordering::Relaxed);
                return None;
            }
            // Old filters of system calls answer so for calls that they do not know.
            Err(Errno::PERM) if is_forbidden() => {
                MISSING.store(true, Ordering::Relaxed);
                return None;
            }
            other => return Some(other),
        }
    }
}

/// Whether even the simplest `openat2` is refused.
fn is_forbidden() -> bool {
    let root = openat2(rustix::fs::CWD, "/", OFlags::PATH, Mode::empty(), ResolveFlags::empty());
    matches!(root, Err(Errno::PERM))
}

/// Opens a directory by one name, without following it and on this file system only.
fn one(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    device: rustix::fs::Dev,
) -> std::result::Result<OwnedFd, Errno> {
    let opened = openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    // What is refused as no directory may be a link to one.
    let opened = match opened {
        Err(Errno::NOTDIR) if is_link(parent, name) => Err(Errno::LOOP),
        other => other,
    }?;
    if fstat(&opened)?.st_dev == device || is_same_mount(parent, opened.as_fd()) {
        Ok(opened)
    } else {
        Err(Errno::XDEV)
    }
}

/// Whether two directories lie on one mount. Every subvolume of a btrfs has a device number of its
/// own, and is no other mount for the kernel.
fn is_same_mount(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let ids = (crate::mountinfo::id(one), crate::mountinfo::id(other));
    matches!(ids, (Ok(one), Ok(other)) if one == other)
}

fn is_link(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_symlink())
}

/// The way from the root to where a walk is; `..` goes back on it and never asks the kernel.
struct Way<'a> {
    root: BorrowedFd<'a>,
    device: rustix::fs::Dev,
    /// Names, and the last few of them open: no depth uses up our descriptors.
    steps: Vec<(OsString, Option<OwnedFd>)>,
}

impl Way<'_> {
    fn here(&mut self) -> std::result::Result<BorrowedFd<'_>, Errno> {
        if matches!(self.steps.last(), Some((_, None))) {
            // Closed meanwhile: the same names again, which are no links.
            let mut at: Option<OwnedFd> = None;
            for (name, _) in &self.steps {
                let from = at.as_ref().map_or(self.root, AsFd::as_fd);
                at = Some(one(from, name, self.device)?);
            }
            if let Some((_, slot)) = self.steps.last_mut() {
                *slot = at;
            }
        }
        Ok(self.steps.last().and_then(|(_, fd)| fd.as_ref()).map_or(self.root, AsFd::as_fd))
    }

    fn go(&mut self, name: OsString, opened: OwnedFd) {
        if let Some(position) = self.steps.len().checked_sub(MOST_OPEN)
            && let Some((_, fd)) = self.steps.get_mut(position)
        {
            *fd = None;
        }
        self.steps.push((name, Some(opened)));
    }
}

/// The same as the kernel's `RESOLVE_IN_ROOT`, step by step.
fn walk(root: BorrowedFd<'_>, path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let device = fstat(root)?.st_dev;
    let mut way = Way { root, device, steps: Vec::new() };
    let mut left: Vec<OsString> = components(path.as_os_str().as_bytes());
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            way.steps.pop();
            continue;
        }
        let here = way.here()?;
        match one(here, &name, device) {
            Ok(opened) => way.go(name, opened),
            Err(Errno::LOOP) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = readlinkat(here, name.as_os_str(), Vec::new())?;
                let target = target.as_bytes();
                if target.is_empty() {
                    return Err(Errno::NOENT);
                }
                if target.starts_with(b"/") {
                    way.steps.clear();
                }
                left.extend(components(target));
                if left.iter().map(|part| part.len()).sum::<usize>() > LONGEST {
                    return Err(Errno::NAMETOOLONG);
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    // One of our own: what is open here is closed with the way.
    openat(way.here()?, ".", DIRECTORY, Mode::empty())
}

/// The components of a path, the last one first.
fn components(path: &[u8]) -> Vec<OsString> {
    path.split(|byte| *byte == b'/')
        .rev()
        .filter(|part| !matches!(*part, b"" | b"."))
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A tree with links of every kind, and what they must not lead to.
    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        fs::write(root.join("file"), "x").unwrap();
        for (link, target) in [
            ("up", "../../../etc"),
            ("absolute", "/a/b"),
            ("a/relative", "../a/b/../b/c"),
            ("a/b/chain", "../../absolute/c"),
            ("loop", "loop"),
            ("ping", "pong"),
            ("pong", "ping"),
            ("dangling", "/none/where"),
            ("tofile", "file"),
            ("dot", "."),
            ("slash", "/"),
            ("proc", "/proc/self"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        dir
    }

    /// What the kernel finds, however often it is disturbed.
    fn by_kernel_alone(
        root: &fs::File,
        path: &str,
        resolve: ResolveFlags,
    ) -> std::result::Result<OwnedFd, Errno> {
        loop {
            if let Some(opened) = by_kernel(root.as_fd(), Path::new(path), resolve) {
                return opened;
            }
            assert!(!MISSING.load(Ordering::Relaxed), "this kernel has no openat2 to compare with");
        }
    }

    /// Renames a file until it is dropped.
    struct Renamer {
        stop: std::sync::Arc<AtomicBool>,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Renamer {
        fn start(directory: &Path) -> Self {
            let stop = std::sync::Arc::new(AtomicBool::new(false));
            let (one, other) = (directory.join("one"), directory.join("other"));
            fs::write(&one, "").unwrap();
            let stopped = stop.clone();
            let thread = std::thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    fs::rename(&one, &other).unwrap();
                    fs::rename(&other, &one).unwrap();
                }
            });
            Self { stop, thread: Some(thread) }
        }
    }

    impl Drop for Renamer {
        fn drop(&mut self) {
            self.stop.store(true, Ordering::Relaxed);
            if let Some(thread) = self.thread.take() {
                // It renames until it is told to stop, and a panic of it has been printed.
                let _ = thread.join();
            }
        }
    }

    #[test]
    fn renames_elsewhere_keep_nobody_from_resolving() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let deep = ["d"; 200].join("/");
        fs::create_dir_all(dir.path().join(&deep)).unwrap();
        let root = fs::File::open(dir.path()).unwrap();
        let path = format!("{deep}/{}d", "../".repeat(199));
        let expected = fstat(walk(root.as_fd(), Path::new("d/d")).unwrap()).unwrap().st_ino;
        let _renamers = [Renamer::start(elsewhere.path()), Renamer::start(dir.path())];
        let flags = ResolveFlags::IN_ROOT;
        let mut disturbed = 0;
        // How often it takes for that depends on the machine.
        for _ in 0..20_000 {
            let opened = directory_in_root(root.as_fd(), Path::new(&path)).unwrap();
            assert_eq!(fstat(&opened).unwrap().st_ino, expected);
            let once = openat2(&root, path.as_str(), DIRECTORY, Mode::empty(), flags);
            disturbed += u32::from(matches!(once, Err(Errno::AGAIN)));
            if disturbed == 10 {
                return;
            }
        }
        panic!("the kernel was disturbed {disturbed} times only: nothing was tested");
    }

    #[test]
    fn walking_agrees_with_the_kernel() {
        let dir = tree();
        let root = fs::File::open(dir.path().join("root")).unwrap();
        let inode = |opened: std::result::Result<OwnedFd, Errno>| {
            opened.map(|fd| fstat(&fd).unwrap().st_ino)
        };
        for path in [
            ".",
            "a",
            "a/b",
            "/a/b/c",
            "a/../a",
            "../..",
            "up",
            "up/../a",
            "absolute/c",
            "a/relative",
            "a/b/chain",
            "loop",
            "ping",
            "dangling",
            "tofile",
            "file",
            "file/x",
            "none",
            "dot/a",
            "slash/a/b",
            "proc",
            "a/b/c/../../b",
            "a/./b//c",
            "",
            "absolute/../../etc",
        ] {
            let resolve =
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
            let kernel = by_kernel_alone(&root, path, resolve);
            let walked = walk(root.as_fd(), Path::new(path));
            match path {
                // The kernel finds nothing at no name; we never ask for one.
                "" => assert!(walked.is_ok()),
                _ => assert_eq!(inode(walked), inode(kernel), "{path}"),
            }
        }
        for name in ["a", "up", "file", "none"] {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let kernel = by_kernel_alone(&root, name, resolve);
            let walked = alone(root.as_fd(), OsStr::new(name));
            assert_eq!(inode(walked), inode(kernel), "{name}");
        }
    }

    #[test]
    fn walks_deeper_than_it_holds_open() {
        let dir = tempfile::tempdir().unwrap();
        let deep = ["d"; 200].join("/");
        fs::create_dir_all(dir.path().join(&deep)).unwrap();
        symlink("../".repeat(190), dir.path().join(&deep).join("up")).unwrap();
        let root = fs::File::open(dir.path()).unwrap();
        for back in [0, 1, 31, 32, 33, 100, 199, 200, 201] {
            let path = format!("{deep}/{}d", "../".repeat(back));
            let walked = walk(root.as_fd(), Path::new(&path)).map(|fd| fstat(&fd).unwrap().st_ino);
            let kernel = by_kernel_alone(&root, &path, ResolveFlags::IN_ROOT);
            assert_eq!(walked, kernel.map(|fd| fstat(&fd).unwrap().st_ino), "{back}");
        }
        let up = walk(root.as_fd(), Path::new(&format!("{deep}/up/d/d"))).unwrap();
        let found = directory_in_root(root.as_fd(), Path::new(&["d"; 12].join("/"))).unwrap();
        assert_eq!(fstat(&up).unwrap().st_ino, fstat(&found).unwrap().st_ino);
    }

    #[test]
    fn does_not_enter_other_mounts() {
        let root = fs::File::open("/").unwrap();
        assert_eq!(walk(root.as_fd(), Path::new("proc/self")).unwrap_err(), Errno::XDEV);
        let error = directory_in_root(root.as_fd(), Path::new("proc")).unwrap_err();
        assert_eq!(error.errno(), Errno::XDEV);
    }

    #[test]
    fn a_renaming_process_gains_nothing() {
        let dir = tree();
        let top = dir.path().join("root");
        let root = fs::File::open(&top).unwrap();
        let outside = fs::metadata(dir.path().join("etc")).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // A directory and a link out of the tree change places all the time.
                symlink("../../../etc", top.join("a/evil")).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let (b, evil) = (top.join("a/b"), top.join("a/evil"));
                    let aside = top.join("a/aside");
                    fs::rename(&b, &aside).unwrap();
                    fs::rename(&evil, &b).unwrap();
                    fs::rename(&b, &evil).unwrap();
                    fs::rename(&aside, &b).unwrap();
                }
            });
            for _ in 0..2000 {
                for opened in [
                    walk(root.as_fd(), Path::new("a/b/c/../../b")),
                    directory_in_root(root.as_fd(), Path::new("a/b")).map_err(|e| e.errno()),
                ]
                .into_iter()
                .flatten()
                {
                    use std::os::unix::fs::MetadataExt;
                    assert_ne!(fstat(&opened).unwrap().st_ino, outside.ino());
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
