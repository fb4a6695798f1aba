//! File systems on loop files, and directories that are gone after a test whatever it did there.

use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::command::run;

/// Size of a loop file. `mkfs.xfs` refuses less than 300 MiB; the file is sparse.
pub const SIZE: u64 = 512 << 20;

/// Fails with the reason when the test does not run as root.
#[track_caller]
pub fn require_root() {
    let root = rustix::process::geteuid().is_root();
    assert!(root, "this test mounts file systems: run it as root (sudo hack/test)");
}

/// A temporary directory. When it is dropped, everything that is mounted below it is unmounted,
/// every loop device of a file in it is detached, and it is removed.
#[derive(Debug)]
pub struct Scratch {
    dir: Option<TempDir>,
    path: PathBuf,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// Makes a directory below `TMPDIR`.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("grootfs-test-").tempdir().unwrap();
        // Mounts and loop devices are listed under their real paths.
        let path = dir.path().canonicalize().unwrap();
        Self { dir: Some(dir), path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    pub fn join(&self, below: &str) -> PathBuf {
        self.path.join(below)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for target in mounts_below(&self.path).iter().rev() {
            unmount(target);
        }
        for device in loop_devices_below(&self.path) {
            let detached = run(Command::new("losetup").arg("-d").arg(&device));
            // One that goes away by itself may be gone by now.
            if detached.code != Some(0) && Path::new(&device).exists() {
                eprintln!("loop device is left: {}", detached.report());
            }
        }
        if let Some(Err(error)) = self.dir.take().map(TempDir::close) {
            eprintln!("directory is left: {}: {error}", self.path.display());
        }
    }
}

/// How long a mount may be busy: a process in the background may be writing everything to disk.
const BUSY: std::time::Duration = std::time::Duration::from_secs(2);

/// Unmounts; a mount that stays busy is at least taken out of sight.
fn unmount(target: &Path) {
    let until = std::time::Instant::now() + BUSY;
    let busy =
        || std::time::Instant::now() < until && mounts_below(target).iter().any(|at| at == target);
    while run(Command::new("umount").arg(target)).code != Some(0) {
        if busy() {
            std::thread::sleep(std::time::Duration::from_millis(20));
            continue;
        }
        let lazily = run(Command::new("umount").arg("--lazy").arg(target));
        if lazily.code != Some(0) {
            eprintln!("mount is left: {}", lazily.report());
        }
        break;
    }
}

/// Mount points at or below a directory, in the order in which they were mounted.
pub fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap();
    let targets = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let target = line.split(|byte| *byte == b' ').nth(4)?;
        Some(PathBuf::from(std::ffi::OsString::from_vec(unescape(target))))
    });
    targets.filter(|target| target.starts_with(directory)).collect()
}

/// Blanks and backslashes are octal numbers in `mountinfo`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        let number = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match number {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// Loop devices whose file lies below a directory.
pub fn loop_devices_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
    let mut devices = Vec::new();
    for entry in entries.flatten() {
        let Ok(file) = fs::read(entry.path().join("loop/backing_file")) else { continue };
        let file = PathBuf::from(std::ffi::OsStr::from_bytes(file.trim_ascii_end()));
        if file.starts_with(directory) {
            devices.push(Path::new("/dev").join(entry.file_name()));
        }
    }
    devices
}

/// Which file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// XFS, with project quotas where the kernel has them.
    Xfs,
    /// btrfs, with quotas.
    Btrfs,
}

/// A file system on a loop file, mounted in a scratch directory.
#[derive(Debug)]
pub struct LoopFilesystem {
    scratch: Scratch,
    kind: Kind,
}

impl LoopFilesystem {
    /// Makes and mounts one of [`SIZE`].
    pub fn new(kind: Kind) -> Self {
        require_root();
        let scratch = Scratch::new();
        let file = scratch.join("image");
        File::create(&file).unwrap().set_len(SIZE).unwrap();
        let target = scratch.join("mnt");
        fs::create_dir(&target).unwrap();
        match kind {
            Kind::Xfs => {
                run(Command::new("mkfs.xfs").arg("-q").arg(&file)).success();
                if mount(&file, &target, "loop,pquota,noatime").is_err() {
                    mount(&file, &target, "loop,noatime").unwrap();
                }
            }
            Kind::Btrfs => {
                run(Command::new("mkfs.btrfs").arg("-q").arg(&file)).success();
                mount(&file, &target, "loop,user_subvol_rm_allowed,noatime").unwrap();
                run(Command::new("btrfs").args(["quota", "enable"]).arg(&target)).success();
            }
        }
        Self { scratch, kind }
    }

    /// Which file system it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.scratch.join("mnt")
    }

    /// Whether it counts quotas: XFS does so only on some kernels.
    pub fn has_quotas(&self) -> bool {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let path = self.path();
        let line = table.lines().find(|line| line.split(' ').nth(4).map(Path::new) == Some(&path));
        self.kind == Kind::Btrfs || line.is_some_and(|line| line.contains("prjquota"))
    }
}

fn mount(file: &Path, target: &Path, options: &str) -> Result<(), String> {
    let output = run(Command::new("mount").args(["-o", options]).arg(file).arg(target));
    if output.code == Some(0) { Ok(()) } else { Err(output.report()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_tables_are_unescaped() {
        assert_eq!(unescape(br"/a\040b\134c\"), b"/a b\\c\\");
        assert!(mounts_below(Path::new("/proc")).contains(&PathBuf::from("/proc")));
        assert!(mounts_below(Path::new("/pro")).is_empty());
    }

    #[test]
    fn privileged_nothing_is_left() {
        for kind in [Kind::Xfs, Kind::Btrfs] {
            let filesystem = LoopFilesystem::new(kind);
            let scratch = filesystem.scratch.path().to_owned();
            fs::write(filesystem.path().join("file"), "x").unwrap();
            let busy = File::open(filesystem.path().join("file")).unwrap();
            assert_eq!(mounts_below(&scratch), [filesystem.path()]);
            assert_eq!(loop_devices_below(&scratch).len(), 1);
            drop(filesystem);
            assert!(mounts_below(&scratch).is_empty());
            assert!(!scratch.exists());
            drop(busy);
            assert!(loop_devices_below(&scratch).is_empty());
        }
    }
}
