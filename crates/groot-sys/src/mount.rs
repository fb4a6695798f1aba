//! Mounts.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount,
    mount_change, move_mount, unmount as umount,
};

use crate::{Call, Errno, Error, Result};

/// Longest text that `fsconfig(2)` takes, without its final NUL.
const LONGEST_STRING: usize = 255;

/// Longest option text of the classic `mount(2)`: a page, with its final NUL.
const LONGEST_OPTIONS: usize = 4095;

/// An overlay to be mounted.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// What relative paths are relative to; short ones keep the classic option text short.
    pub base: &'a Path,
    /// Lower directories, topmost first.
    pub lower: &'a [PathBuf],
    /// Upper directory.
    pub upper: &'a Path,
    /// Work directory.
    pub work: &'a Path,
    /// Where to mount.
    pub target: &'a Path,
    /// Whether overlay keeps its marks in `user.overlay.*`, which it may also in a user namespace (Linux 5.11).
    pub user_xattrs: bool,
}

/// Mounts an overlay: by the mount API with one `lowerdir+` a layer (Linux 6.7), so that their
/// number is not limited by the length of a text; by the classic call on older kernels.
pub fn overlay(overlay: &Overlay<'_>) -> Result<()> {
    let absolute: Vec<PathBuf> = overlay.lower.iter().map(|path| overlay.base.join(path)).collect();
    // A thread with a directory of its own takes a tenth of a millisecond: only where names are too long.
    let relative = || match configured(overlay, overlay.lower) {
        Err(Tried::Unsupported) => classic(overlay),
        Err(Tried::Failed(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    match configured(overlay, &absolute) {
        Err(Tried::Unsupported) => in_directory(overlay.base, relative),
        Err(Tried::Failed(error)) => Err(error),
        Ok(()) => Ok(()),
    }
}

/// Runs something with another working directory, without changing that of the process: only
/// the thread that it runs in has it.
fn in_directory(directory: &Path, action: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let run = || {
        // SAFETY: only the calling thread's working directory, root and umask stop being shared;
        // the thread ends right after and holds nothing that relies on sharing them.
        let unshared = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) };
        unshared.call("unshare", || "CLONE_FS".into())?;
        rustix::process::chdir(directory).call("chdir", || directory.display().to_string())?;
        action()
    };
    in_thread(run)
}

/// Runs something in a mount namespace of its own: what it mounts, nobody else sees, and it is gone afterwards.
pub fn apart<T: Send>(action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let run = || {
        let flags = rustix::thread::UnshareFlags::NEWNS | rustix::thread::UnshareFlags::FS;
        // SAFETY: only what the calling thread sees of mounts, and its working directory, root and umask, stop
        // being shared; the thread ends right after and holds nothing that relies on sharing them.
        let unshared = unsafe { rustix::thread::unshare_unsafe(flags) };
        unshared.call("unshare", || "CLONE_NEWNS".into())?;
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", flags).call("mount", || "/, MS_PRIVATE".into())?;
        action()
    };
    in_thread(run)
}

fn in_thread<T: Send>(run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| match std::thread::Builder::new().spawn_scoped(scope, run) {
        Ok(thread) => {
            thread.join().unwrap_or_else(|_| Err(Errno::CANCELED).call("thread", String::new))
        }
        Err(error) => Err(error).call("clone", || "a thread".to_owned()),
    })
}

enum Tried {
    /// The kernel or the length of a path does not allow this way.
    Unsupported,
    Failed(Error),
}

fn configured(overlay: &Overlay<'_>, lower: &[PathBuf]) -> std::result::Result<(), Tried> {
    let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NOSYS) => return Err(Tried::Unsupported),
        other => other.call("fsopen", || "overlay".into()).map_err(Tried::Failed)?,
    };
    // Shown in mountinfo, where it would be `none`; the classic mount gives the same.
    fsconfig_set_string(context.as_fd(), "source", "overlay")
        .call("fsconfig", || "source=overlay".into())
        .map_err(Tried::Failed)?;
    let options = lower
        .iter()
        .map(|path| ("lowerdir+", path.as_path()))
        .chain([("upperdir", overlay.upper), ("workdir", overlay.work)]);
    if options.clone().any(|(_, path)| path.as_os_str().len() > LONGEST_STRING) {
        return Err(Tried::Unsupported);
    }
    for (position, (key, path)) in options.enumerate() {
        match fsconfig_set_string(context.as_fd(), key, path) {
            Err(Errno::INVAL) if position == 0 => return Err(Tried::Unsupported),
            other => other
                .call("fsconfig", || format!("{key}={}", path.display()))
                .map_err(|error| refused(error, context.as_fd()))?,
        }
    }
    if overlay.user_xattrs {
        fsconfig_set_flag(context.as_fd(), "userxattr")
            .call("fsconfig", || "userxattr".into())
            .map_err(|error| refused(error, context.as_fd()))?;
    }
    let show = || format!("overlay, {} layers", lower.len());
    fsconfig_create(context.as_fd())
        .call("fsconfig", show)
        .map_err(|error| refused(error, context.as_fd()))?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mounted = fsmount(context.as_fd(), flags, MountAttrFlags::empty())
        .call("fsmount", show)
        .map_err(|error| with_log(error, context.as_fd()))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mounted.as_fd(), "", CWD, overlay.target, flags)
        .call("move_mount", || overlay.target.display().to_string())
        .map_err(Tried::Failed)
}

/// What it means that options are refused. Before Linux 6.5 overlay takes whatever comes, up to a page
/// of text, and refuses a `lowerdir+` only in the end.
fn refused(error: Error, context: BorrowedFd<'_>) -> Tried {
    if error.errno() == Errno::INVAL && !checks_options() {
        return Tried::Unsupported;
    }
    with_log(error, context)
}

/// Whether overlay looks at an option when it is set, and so refuses a `lowerdir+` without a value.
fn checks_options() -> bool {
    match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => fsconfig_set_flag(context.as_fd(), "lowerdir+").is_err(),
        Err(_) => false,
    }
}

/// Adds what the kernel wrote into the log of a file system context.
fn with_log(mut error: Error, context: BorrowedFd<'_>) -> Tried {
    let mut message = [0_u8; 512];
    // One message a read; ENODATA after the last.
    while let Ok(length) = rustix::io::read(context, &mut message) {
        let text = String::from_utf8_lossy(message.get(..length).unwrap_or_default());
        let text = text.trim();
        // `e `, `w ` and `i ` say how serious it is.
        if let Some(text) = text.strip_prefix("e ") {
            text.clone_into(&mut error.detail);
        }
        if length == 0 {
            break;
        }
    }
    Tried::Failed(error)
}

fn classic(overlay: &Overlay<'_>) -> Result<()> {
    let lower: Vec<String> = overlay.lower.iter().map(|path| path.display().to_string()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}{}",
        lower.join(":"),
        overlay.upper.display(),
        overlay.work.display(),
        if overlay.user_xattrs { ",userxattr" } else { "" }
    );
    let show = || format!("overlay, {}, {} layers", overlay.target.display(), lower.len());
    if options.len() > LONGEST_OPTIONS {
        let mut error = Error {
            call: "mount",
            arguments: show(),
            errno: Errno::NAMETOOLONG,
            detail: String::new(),
        };
        error.detail = "this kernel takes no more than 4095 bytes of layer names".into();
        return Err(error);
    }
    let options = CString::new(options).map_err(|_| Errno::INVAL).call("mount", show)?;
    mount("overlay", overlay.target, "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .call("mount", show)
}

/// Mounts a file system from a device. `noatime` among the options becomes the mount's flag.
pub fn filesystem(source: &Path, target: &Path, kind: &str, options: &str) -> Result<()> {
    let show = || format!("{}, {}, {kind}, {options}", source.display(), target.display());
    let mut flags = MountFlags::empty();
    let data: Vec<&str> = options
        .split(',')
        .filter(|option| {
            let is_flag = *option == "noatime";
            if is_flag {
                flags |= MountFlags::NOATIME;
            }
            !is_flag && !option.is_empty()
        })
        .collect();
    let data = CString::new(data.join(",")).map_err(|_| Errno::INVAL).call("mount", show)?;
    mount(source, target, kind, flags, Some(data.as_c_str())).call("mount", show)
}

/// Unmounts what is mounted on a path, which is not followed when it is a link.
pub fn unmount(path: &Path) -> Result<()> {
    umount(path, UnmountFlags::NOFOLLOW)
        .call("umount2", || format!("{}, UMOUNT_NOFOLLOW", path.display()))
}

/// Whether something is mounted on a directory.
pub fn is_mount_point(path: &Path) -> Result<bool> {
    let show = || path.display().to_string();
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let found = statx(CWD, path, flags, StatxFlags::INO).call("statx", show)?;
    if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    // Before Linux 5.8: another device than the directory above.
    let above = statx(CWD, path.join(".."), flags, StatxFlags::INO).call("statx", show)?;
    let device = |s: &rustix::fs::Statx| (s.stx_dev_major, s.stx_dev_minor);
    Ok(device(&found) != device(&above))
}

/// Where the file system is mounted that a path lies on.
pub fn mount_point_of(path: &Path) -> Result<PathBuf> {
    for above in path.ancestors() {
        if is_mount_point(above)? {
            return Ok(above.to_owned());
        }
    }
    Err(Errno::INVAL).call("statx", || format!("{}: no mount point above", path.display()))
}

/// The lower directories of the overlay that is mounted on a directory, as they were given to the mount;
/// none where there is no overlay.
pub fn overlay_lower(target: &Path) -> Result<Vec<PathBuf>> {
    let table =
        std::fs::read("/proc/self/mountinfo").call("read", || "/proc/self/mountinfo".to_owned())?;
    Ok(lower_in(&table, target))
}

fn lower_in(table: &[u8], target: &Path) -> Vec<PathBuf> {
    let mut lower = Vec::new();
    // What was mounted last is what is seen, and comes last.
    for line in table.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let mut behind = fields.iter().skip_while(|field| **field != b"-").skip(1);
        let (kind, options) = (behind.next(), behind.nth(1));
        let (Some(place), Some(kind), Some(options)) = (fields.get(4), kind, options) else {
            continue;
        };
        if *kind != b"overlay" || Path::new(OsStr::from_bytes(&unescaped(place))) != target {
            continue;
        }
        lower = options
            .split(|byte| *byte == b',')
            .filter_map(|option| {
                option.strip_prefix(b"lowerdir+=").or(option.strip_prefix(b"lowerdir="))
            })
            .flat_map(|paths| paths.split(|byte| *byte == b':'))
            .map(|path| PathBuf::from(OsStr::from_bytes(&unescaped(path))))
            .collect();
    }
    lower
}

/// Blanks and backslashes of names are octal numbers in `mountinfo`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        let number = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(number.unwrap_or(*first));
        rest = if number.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_mount_points() {
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        assert!(!is_mount_point(Path::new("/proc/self")).unwrap());
        assert!(is_mount_point(Path::new("/no/such")).is_err());
        assert_eq!(mount_point_of(Path::new("/proc/self")).unwrap(), Path::new("/proc"));
    }

    #[test]
    fn lower_directories_are_read_from_the_table() {
        let table = br"29 1 0:26 / /s/images/a\040b/rootfs rw,relatime - overlay overlay rw,lowerdir+=l/x,lowerdir+=l/y,upperdir=/u,workdir=/w
30 1 0:27 / /other rw - overlay overlay rw,lowerdir=l/1:l/2,upperdir=/u
31 1 8:1 / / rw - ext4 /dev/sda1 rw
broken line";
        let lower = |target| lower_in(table, Path::new(target));
        assert_eq!(lower("/s/images/a b/rootfs"), [Path::new("l/x"), Path::new("l/y")]);
        assert_eq!(lower("/other"), [Path::new("l/1"), Path::new("l/2")]);
        assert!(lower("/").is_empty());
    }

    #[test]
    fn the_working_directory_stays() {
        let before = std::env::current_dir().unwrap();
        in_directory(Path::new("/proc"), || {
            assert_eq!(std::env::current_dir().unwrap(), Path::new("/proc"));
            Ok(())
        })
        .unwrap();
        assert_eq!(std::env::current_dir().unwrap(), before);
    }
}
