//! Control groups that give a command so much memory, and no more: the kernel kills whoever takes more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A control group of its own; gone when it is dropped.
#[derive(Debug)]
pub struct MemoryCgroup {
    path: PathBuf,
}

impl MemoryCgroup {
    /// Makes one with a limit in bytes; where this machine lets nobody make one, the reason.
    pub fn new(bytes: u64) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (parent, version) = parent()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("grootfs-test-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let group = Self { path };
        match version {
            1 => group.set("memory.limit_in_bytes", bytes)?,
            _ => {
                group.set("memory.max", bytes)?;
                // Or it swaps where there is a swap, instead of being killed.
                if group.path.join("memory.swap.max").exists() {
                    group.set("memory.swap.max", 0)?;
                }
            }
        }
        Ok(group)
    }

    fn set(&self, file: &str, value: u64) -> io::Result<()> {
        fs::write(self.path.join(file), value.to_string())
    }

    /// The command, run in the group.
    pub fn command(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-ec", "echo $$ > \"$0\"; exec \"$@\""]).current_dir("/");
        shell.arg(self.path.join("cgroup.procs"));
        shell.arg(command.get_program()).args(command.get_args());
        shell
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        let Some(parent) = self.path.parent() else { return };
        // Processes in the background live on, in the group above; one may just be starting another.
        for _ in 0..100 {
            let processes = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
            for process in processes.lines() {
                // It may have ended.
                let _ = fs::write(parent.join("cgroup.procs"), process);
            }
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                Err(error) => eprintln!("control group is left: {}: {error}", self.path.display()),
                Ok(()) => return,
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        eprintln!("control group is left: {}", self.path.display());
    }
}

/// The group in which groups with limits of memory can be made, and the version of its interface.
fn parent() -> io::Result<(PathBuf, u8)> {
    let first = Path::new("/sys/fs/cgroup/memory");
    if first.join("memory.limit_in_bytes").exists() {
        return Ok((first.to_owned(), 1));
    }
    let second = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_to_string(second.join("cgroup.controllers"))?;
    if !controllers.split_whitespace().any(|controller| controller == "memory") {
        return Err(io::Error::other("no control groups that limit memory"));
    }
    fs::write(second.join("cgroup.subtree_control"), "+memory")?;
    Ok((second.to_owned(), 2))
}
