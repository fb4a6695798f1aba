//! Running the set-uid helpers, for users other than root.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::Error;
use crate::observe::Log;
use crate::observe::log::data;
use crate::program;
use crate::userns;

/// How long a helper may take: it makes a few system calls; a sync of btrfs under load takes longest.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The version of both helpers that this program works with (contract 6.1 and 6.2).
const VERSION: &str = "0.1.0";

/// Paths that a helper gets at once: with the longest paths, far less than the kernel passes to a program.
const PATHS_AT_ONCE: usize = 100;

/// Most bytes of an answer.
const LONGEST_ANSWER: u64 = 1 << 20;

/// Where the helpers are.
#[derive(Debug, Clone)]
pub struct Helpers {
    /// For XFS.
    pub tardis: PathBuf,
    /// For btrfs.
    pub drax: PathBuf,
}

impl Helpers {
    /// The one for XFS; its runs are logged.
    pub fn tardis(&self, log: &Log) -> Helper {
        Helper { log: log.clone(), ..Helper::new("tardis", &self.tardis) }
    }

    /// The one for btrfs.
    pub fn drax(&self, log: &Log) -> Helper {
        Helper { log: log.clone(), ..Helper::new("drax", &self.drax) }
    }
}

impl Default for Helpers {
    fn default() -> Self {
        Self { tardis: "tardis".into(), drax: "drax".into() }
    }
}

/// A program that does for a user what only root may.
#[derive(Debug, Clone)]
pub struct Helper {
    name: &'static str,
    program: PathBuf,
    time_limit: Duration,
    log: Log,
}

impl Helper {
    /// A helper; `program` is a path, or a name to look for in `PATH`.
    fn new(name: &'static str, program: &Path) -> Self {
        Self { name, program: program.to_owned(), time_limit: TIME_LIMIT, log: Log::silent() }
    }

    /// Runs it; returns what it prints.
    ///
    /// From inside a user namespace of ours it is run outside of it, where it has its power.
    pub fn run(&self, arguments: &[&OsStr]) -> Result<String, Error> {
        if let Some(answer) = userns::ask_parent(self.name, arguments) {
            return answer.map_err(Error::Usage);
        }
        let log = self.log.session(&format!("run-{}", self.name));
        let log = log.with_data(|| {
            let shown = |argument: &&OsStr| argument.to_string_lossy().into_owned();
            data([("args", arguments.iter().map(shown).collect())])
        });
        let _step = log.detail();
        let done = self.run_here(arguments);
        if let Err(error) = &done {
            log.error(&format!("{}-failed", self.name), error);
        }
        done
    }

    fn run_here(&self, arguments: &[&OsStr]) -> Result<String, Error> {
        let path = self.find()?;
        let (answer, code) = self.start(&path, arguments)?;
        if code == Some(0) {
            return Ok(answer);
        }
        if let Some(other) = self.other_version(&path) {
            return Err(other);
        }
        // The original's shape: what it said, and its status.
        let status =
            code.map_or_else(|| "ended by a signal".into(), |n| format!("exit status {n}"));
        Err(Error::Usage(format!("{}: {status}", answer.trim())))
    }

    /// Runs a command on any number of paths, each behind `flag`.
    pub fn run_on_paths(&self, command: &str, flag: &str, paths: &[PathBuf]) -> Result<(), Error> {
        for paths in paths.chunks(PATHS_AT_ONCE) {
            let flags = paths.iter().flat_map(|path| [OsStr::new(flag), path.as_os_str()]);
            let arguments: Vec<&OsStr> =
                std::iter::once(OsStr::new(command)).chain(flags).collect();
            self.run(&arguments)?;
        }
        Ok(())
    }

    fn start(&self, path: &Path, arguments: &[&OsStr]) -> Result<(String, Option<i32>), Error> {
        let child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                self.fails(format!("{}: {}", path.display(), crate::error::reason(&error)))
            })?;
        self.answer(child)
    }

    /// An error when it is another program, or one of another version, than it should be. Asked only after
    /// a failure: it costs a process.
    fn other_version(&self, path: &Path) -> Option<Error> {
        let expected = format!("{} version {VERSION}", self.name);
        match self.start(path, &[OsStr::new("--version")]) {
            Ok((answer, Some(0))) if answer.trim() == expected => None,
            // One that does not even say its version has said why already.
            Err(_) => None,
            Ok((answer, _)) => {
                let start: String = answer.trim().chars().take(80).collect();
                Some(self.fails(format!(
                    "{} is not the `{expected}` that this grootfs works with; asked for its version, it \
                     answers `{}`",
                    path.display(),
                    start.escape_debug()
                )))
            }
        }
    }

    /// The error for an answer that makes no sense.
    pub fn not_understood(&self, answer: &str) -> Error {
        if let Some(other) = self.find().ok().and_then(|path| self.other_version(&path)) {
            return other;
        }
        let start: String = answer.trim().chars().take(200).collect();
        self.fails(format!(
            "{} answered what cannot be understood: `{}`; is it the one that came with this grootfs?",
            self.program.display(),
            start.escape_debug()
        ))
    }

    fn fails(&self, why: String) -> Error {
        Error::Helper { name: self.name, why }
    }

    /// The program, which must have root's powers.
    fn find(&self) -> Result<PathBuf, Error> {
        let path =
            program::find(&self.program, std::env::var_os("PATH").as_deref()).ok_or_else(|| {
                self.fails(format!(
                    "{} was not found in the $PATH; install it, or give its path with --{}-bin",
                    self.program.display(),
                    self.name
                ))
            })?;
        let set_uid = program::is_set_uid_root(&path)
            .map_err(|error| self.fails(format!("{}: {error}", path.display())))?;
        if userns::is_root() || set_uid {
            return Ok(path);
        }
        Err(self.fails(format!(
            "missing the setuid bit on {} ({path}); as root: chown root {path} && chmod u+s {path}",
            self.name,
            path = path.display()
        )))
    }

    /// Waits for its answer and its end, but not for ever.
    fn answer(&self, mut child: Child) -> Result<(String, Option<i32>), Error> {
        let (sender, receiver) = mpsc::channel();
        let Some(stdout) = child.stdout.take() else { return Ok((String::new(), None)) };
        let listening = std::thread::Builder::new().spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(LONGEST_ANSWER).read_to_end(&mut bytes);
            // Nobody listens any more after the time limit.
            let _ = sender.send(read.map(|_| String::from_utf8_lossy(&bytes).into_owned()));
        });
        if let Err(error) = listening {
            let _ = child.kill();
            return Err(self.fails(error.to_string()));
        }
        match receiver.recv_timeout(self.time_limit) {
            Ok(Ok(answer)) => {
                let status = child.wait().map_err(|error| self.fails(error.to_string()))?;
                Ok((answer, status.code()))
            }
            Ok(Err(error)) => Err(self.fails(error.to_string())),
            Err(_) => {
                // A set-uid program may be ended by who started it. It is not waited for: one that sits in
                // the kernel would hold us too.
                let _ = child.kill();
                Err(self.fails(format!(
                    "{} did not answer within {} s and was ended",
                    self.program.display(),
                    self.time_limit.as_secs()
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(directory: &Path, text: &str) -> Helper {
        let path = directory.join("tardis");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).unwrap();
        Helper { time_limit: Duration::from_millis(300), ..Helper::new("tardis", &path) }
    }

    #[test]
    fn privileged_answers_and_failures_are_told() {
        // A script of another user's has no set-uid bit that counts.
        testkit::filesystem::require_root();
        let dir = tempfile::tempdir().unwrap();
        let run = |text: &str| {
            let text =
                format!("[ \"$1\" = --version ] && {{ echo tardis version 0.1.0; exit; }}\n{text}");
            script(dir.path(), &text).run(&[]).map_err(|error| error.to_string())
        };
        assert_eq!(run("echo fine"), Ok("fine\n".into()));
        assert_eq!(run("echo no quota; exit 1"), Err("no quota: exit status 1".into()));
        assert!(run("kill -9 $$").unwrap_err().contains("ended by a signal"));
        // `exec`, so that it is the child itself that is ended.
        assert!(run("exec sleep 20").unwrap_err().contains("did not answer within"));
        let other = script(dir.path(), "echo busybox 1; exit 1").run(&[]).unwrap_err().to_string();
        assert!(other.contains("is not the `tardis version 0.1.0`"), "{other}");
        assert!(other.contains("it answers `busybox 1`"), "{other}");
    }

    #[test]
    fn garbage_is_shown() {
        let helper = Helper::new("tardis", Path::new("/no/t"));
        let text = helper.not_understood("\u{1b}[1m").to_string();
        assert!(text.contains("/no/t answered what cannot be understood: `\\u{1b}[1m`"), "{text}");
    }
}
