//! Programs with the set-uid bit, users who call them, and stores of those users.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::filesystem::{Scratch, require_root};

/// A user who attacks. Nobody needs to know the number: no such user exists.
pub const MALLORY: u32 = 4242;

/// A user who is attacked.
pub const ALICE: u32 = 4243;

/// A copy of a program, root's, with the set-uid bit.
#[derive(Debug)]
pub struct SetUid {
    scratch: Scratch,
    program: PathBuf,
}

impl SetUid {
    /// Installs a built program.
    #[track_caller]
    pub fn new(built: &Path) -> Self {
        require_root();
        let scratch = Scratch::new();
        set_mode(scratch.path(), 0o755);
        let program = scratch.join("program");
        fs::copy(built, &program).unwrap();
        set_mode(&program, 0o4755);
        let about = rustix::fs::statvfs(&program).unwrap();
        let ignored = about.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID);
        assert!(!ignored, "set TMPDIR to where set-uid programs work: {}", program.display());
        Self { scratch, program }
    }

    /// The program.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// A directory beside it that everybody may enter.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The program as a user starts it, with no supplementary groups.
    pub fn command<A: AsRef<OsStr>>(&self, user: u32, arguments: &[A]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).uid(user).gid(user).current_dir("/");
        command
    }

    /// A shell of a user in which `"$@"` is the program and its arguments.
    pub fn shell<A: AsRef<OsStr>>(&self, user: u32, script: &str, arguments: &[A]) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash"]).arg(&self.program).args(arguments);
        command.uid(user).gid(user).current_dir("/");
        command
    }
}

/// Sets a mode whatever the umask is.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Makes the directories of a store that belongs to a user, as `init-store` does.
pub fn make_store(store: &Path, owner: u32) {
    for below in ["", "images", "volumes", "meta", "locks", "tmp", "projectids"] {
        let directory = store.join(below);
        fs::create_dir(&directory).unwrap();
        set_mode(&directory, if below.is_empty() { 0o700 } else { 0o755 });
        chown(&directory, Some(owner), Some(owner)).unwrap();
    }
}

/// Makes a directory of a user, as an image is one.
pub fn make_directory(path: &Path, owner: u32) {
    fs::create_dir(path).unwrap();
    set_mode(path, 0o700);
    chown(path, Some(owner), Some(owner)).unwrap();
}

/// Lets two names change places without a pause while something is done.
pub fn while_swapping<T>(one: &Path, other: &Path, act: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        });
        let done = act();
        stop.store(true, Ordering::Relaxed);
        assert!(swapper.join().unwrap() > 10, "there was no race");
        done
    })
}
