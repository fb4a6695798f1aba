//! A place with a `/` of its own, in which everything that a test must not touch can be looked at.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;
use crate::filesystem::{Kind, LoopFilesystem};

/// What comes from the machine, and is not looked at.
const FROM_OUTSIDE: [&str; 7] = ["usr", "bin", "lib", "lib64", "proc", "dev", "program"];

/// What grootfs and the test themselves may change.
const OURS: [&str; 4] = ["mnt/store", "images", "image", "var"];

/// A root directory with a mounted file system at `/mnt`, and canaries: `/canary`, `/etc/passwd`,
/// `/mnt/canary`, `/mnt/beside/file`.
#[derive(Debug)]
pub struct Jail {
    filesystem: LoopFilesystem,
    root: PathBuf,
}

impl Jail {
    /// Makes one; the program's directory is at `/program` in it.
    pub fn new(kind: Kind, program: &Path) -> Self {
        let filesystem = LoopFilesystem::new(kind);
        let root = filesystem.path().parent().unwrap().to_owned();
        let jail = Self { filesystem, root };
        for name in FROM_OUTSIDE {
            let from = Path::new("/").join(name);
            match fs::read_link(&from) {
                Ok(target) => std::os::unix::fs::symlink(target, jail.path(name)).unwrap(),
                Err(_) if name == "program" => jail.bind(program.parent().unwrap(), name),
                Err(_) if from.is_dir() => jail.bind(&from, name),
                Err(_) => {}
            }
        }
        for name in ["etc", "tmp", "var", "var/run", "images", "mnt/beside", "mnt/beside/directory"]
        {
            fs::create_dir(jail.path(name)).unwrap();
        }
        for name in ["canary", "etc/passwd", "mnt/canary", "mnt/beside/file"] {
            fs::write(jail.path(name), "kept").unwrap();
        }
        jail
    }

    fn bind(&self, from: &Path, name: &str) {
        let to = self.path(name);
        fs::create_dir(&to).unwrap();
        run(Command::new("mount").args(["--bind"]).arg(from).arg(&to)).success();
    }

    /// A path in it, as it is seen from outside.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below.trim_start_matches('/'))
    }

    /// The file system that is mounted at `/mnt`.
    pub fn filesystem(&self) -> &LoopFilesystem {
        &self.filesystem
    }

    /// What a program in it sees, as a command that is not yet started. It may use 768 MiB of
    /// addresses and 128 descriptors.
    pub fn command(&self, wrapper: &[&str], program: &str) -> Command {
        let script = "ulimit -v 786432 && ulimit -n 128 && exec chroot \"$@\"";
        let mut all = wrapper.to_vec();
        all.extend(["sh", "-c", script, "sh"]);
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).arg(&self.root).arg(format!("/program/{program}"));
        command.current_dir("/");
        command
    }

    /// Everything that nobody may touch, one line a file: what it is and when it was changed. Only
    /// `/mnt/store` and the images may change.
    pub fn canaries(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut todo = vec![self.root.clone()];
        while let Some(path) = todo.pop() {
            let relative = path.strip_prefix(&self.root).unwrap();
            let name = relative.to_str().unwrap();
            if FROM_OUTSIDE.contains(&name) || OURS.contains(&name) {
                continue;
            }
            let found = fs::symlink_metadata(&path).unwrap();
            if found.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let content = if found.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            lines.push(format!(
                "{name}: {} {:o} {}:{} {} links, changed {}.{}: {}",
                found.ino(),
                found.mode(),
                found.uid(),
                found.gid(),
                found.nlink(),
                found.ctime(),
                found.ctime_nsec(),
                content.escape_ascii()
            ));
        }
        lines.sort();
        lines
    }
}
