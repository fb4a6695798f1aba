//! Running programs: what they print, how they end, and not for ever.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::user::User;

/// How long a program may take where nobody says otherwise. Generous: tests share the machine.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// What was run, for messages.
    pub command: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output of a program that succeeded; panics with all it said otherwise.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.code == Some(0), "this command failed: {}", self.report());
        self.stdout
    }

    /// The standard output of a program that failed with exit code 1 and wrote no standard error.
    #[track_caller]
    pub fn failure(self) -> String {
        let clean = self.code == Some(1) && self.stderr.is_empty() && self.stdout.ends_with('\n');
        assert!(clean, "this command should have failed with exit code 1: {}", self.report());
        self.stdout
    }

    /// All that is known, for a person who reads a failed test.
    pub fn report(&self) -> String {
        format!(
            "{}\n  exit code: {:?}\n  stdout: {}\n  stderr: {}",
            self.command,
            self.code,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}

/// Runs a program to its end, at most [`TIME_LIMIT`].
pub fn run(command: &mut Command) -> Output {
    run_within(command, TIME_LIMIT)
}

/// Runs a program to its end; kills it and panics when it takes longer than `limit`.
pub fn run_within(command: &mut Command, limit: Duration) -> Output {
    start(command).finish(limit)
}

/// A program that runs. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    text: String,
    stdout: File,
    stderr: File,
}

/// Starts a program; its output goes into files, so that nobody has to read along.
pub fn start(command: &mut Command) -> Running {
    let text = describe(command);
    let stdout = tempfile::tempfile().unwrap();
    let stderr = tempfile::tempfile().unwrap();
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap())
        .spawn();
    let child = child.unwrap_or_else(|error| {
        let program = command.get_program();
        panic!("{} cannot be started: {error}{}", program.display(), package_hint(program))
    });
    Running { child, text, stdout, stderr }
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        !wait(&self.child, Duration::ZERO)
    }

    /// Kills it. Nothing happens when it has ended.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for its end; kills it and panics when it takes longer than `limit`.
    pub fn finish(mut self, limit: Duration) -> Output {
        let ended = wait(&self.child, limit);
        if !ended {
            self.child.kill().unwrap();
        }
        let status = self.child.wait().unwrap();
        let read = |file: &mut File| {
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let output = Output {
            command: self.text.clone(),
            code: status.code(),
            stdout: read(&mut self.stdout),
            stderr: read(&mut self.stderr),
        };
        assert!(ended, "not done after {limit:?}: {}", output.report());
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended and was waited for; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a child without taking its exit status; `false` when time is up.
fn wait(child: &Child, limit: Duration) -> bool {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let fd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let end = std::time::Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let left = Timespec::try_from(left).unwrap();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => panic!("poll: {errno}"),
        }
    }
}

fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Which Debian package brings a program that is not there.
fn package_hint(program: &OsStr) -> String {
    let package = match program.to_string_lossy().as_ref() {
        "umoci" => "umoci",
        "skopeo" => "skopeo",
        "runc" => "runc",
        "strace" => "strace",
        "docker-registry" => "docker-registry",
        "mkfs.xfs" => "xfsprogs",
        "mkfs.btrfs" | "btrfs" => "btrfs-progs",
        "mount" | "umount" | "losetup" | "unshare" => "mount and util-linux",
        _ => return String::new(),
    };
    format!(" (apt-get install {package})")
}

/// The built `grootfs`, with a store.
#[derive(Debug, Clone)]
pub struct Grootfs {
    program: PathBuf,
    store: PathBuf,
    global: Vec<OsString>,
    umask: Option<u32>,
    user: Option<User>,
    directory: PathBuf,
}

impl Grootfs {
    /// A program (`env!("CARGO_BIN_EXE_grootfs")`) that works on a store.
    pub fn new(program: impl Into<PathBuf>, store: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            store: store.into(),
            global: Vec::new(),
            umask: None,
            user: None,
            directory: "/".into(),
        }
    }

    /// Adds global options in front of every command.
    #[must_use]
    pub fn with(mut self, options: &[&str]) -> Self {
        self.global.extend(options.iter().map(OsString::from));
        self
    }

    /// Runs under this umask instead of the test's own.
    #[must_use]
    pub fn umask(self, umask: u32) -> Self {
        Self { umask: Some(umask), ..self }
    }

    /// Runs as another user than the test.
    #[must_use]
    pub fn user(self, user: &User) -> Self {
        Self { user: Some(user.clone()), ..self }
    }

    /// Runs in this directory instead of `/`.
    #[must_use]
    pub fn directory(self, directory: &Path) -> Self {
        Self { directory: directory.to_owned(), ..self }
    }

    /// The store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// A path in the store.
    pub fn path(&self, below: &str) -> PathBuf {
        self.store.join(below)
    }

    /// The command with these arguments, not yet started.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(umask) = self.umask {
            let script = format!("umask {umask:03o} && exec \"$0\" \"$@\"");
            words.extend(["sh".into(), "-c".into(), script.into()]);
        }
        match &self.user {
            None => words.push(self.program.clone().into()),
            Some(user) => words.extend(user.words(&self.program)),
        }
        let mut command = Command::new(words.remove(0));
        command.args(words);
        command.arg("--store").arg(&self.store).args(&self.global).args(arguments);
        command.current_dir(&self.directory);
        command
    }

    /// Runs it, however it ends.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Output {
        run(&mut self.command(arguments))
    }

    /// Runs it; it must succeed. Returns its standard output.
    #[track_caller]
    pub fn ok<A: AsRef<OsStr>>(&self, arguments: &[A]) -> String {
        self.run(arguments).success()
    }

    /// Runs it; it must fail with exit code 1. Returns its standard output.
    #[track_caller]
    pub fn fails<A: AsRef<OsStr>>(&self, arguments: &[A]) -> String {
        self.run(arguments).failure()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_exit_code() {
        let output = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 7"]));
        assert_eq!(
            (output.code, output.stdout.as_str(), output.stderr.as_str()),
            (Some(7), "out\n", "err\n")
        );
    }

    #[test]
    #[should_panic(expected = "not done after")]
    fn nothing_runs_for_ever() {
        run_within(Command::new("sleep").arg("60"), Duration::from_millis(50));
    }

    #[test]
    fn the_umask_is_set() {
        let shell = Grootfs::new("/bin/sh", "/unused").umask(0o077);
        // `--store /unused` is taken by the shell as an option, so it is asked through the command.
        let text = describe(&shell.command(&["list"]));
        assert_eq!(text, "sh -c umask 077 && exec \"$0\" \"$@\" /bin/sh --store /unused list");
    }
}
