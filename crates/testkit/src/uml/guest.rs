//! A guest that runs.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use tempfile::TempDir;

use super::error::console_end;
use super::output::{Found, Output};
use super::{Error, Machine, host};

/// How long the processes of a killed guest have to end: they only close their files, but a
/// loaded host may take its time to give them a processor for that.
const DEATH: Duration = Duration::from_secs(20);

/// A guest that runs. Dropping it cuts its power.
///
/// It also ends when the thread that started it ends: that is how the kernel tells the reaper
/// that the host program died.
#[derive(Debug)]
pub struct Guest {
    reaper: Child,
    stdout: Output,
    stderr: Output,
    limit: Duration,
    deadline: Instant,
    exchange: TempDir,
}

/// What is left of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The program's exit status as a shell gives it: 128 and the number for a signal. Nothing if
    /// the power was cut before it ended.
    pub status: Option<i32>,
    /// What the program wrote to standard output.
    pub stdout: Vec<u8>,
    /// What the program wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Guest {
    /// Starts `command` in a guest and returns while that one boots.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::NotRoot`], [`Error::Hidden`] and [`Error::OddPath`] if the
    /// host cannot run the guest, [`Error::Io`] if it fails to.
    pub fn start<S: AsRef<OsStr>>(machine: &Machine, command: &[S]) -> Result<Self, Error> {
        host::check()?;
        let exchange = tempfile::Builder::new()
            .prefix("uml-")
            .tempdir()
            .map_err(Error::io("making a directory in", &std::env::temp_dir()))?;
        host::check_visible(exchange.path())?;
        host::check_plain(exchange.path())?;
        machine.write_files(exchange.path(), command)?;

        let log = exchange.path().join("console");
        let console = File::create(&log).map_err(Error::io("making", &log))?;
        let pipe = || io::pipe().map_err(Error::io("making a pipe for", &log));
        let ((stdout, stdout_end), (stderr, stderr_end)) = (pipe()?, pipe()?);
        let reaper = Command::new("setpriv")
            .args(["--pdeathsig", "USR1", "sh"])
            .arg(exchange.path().join("reaper"))
            .arg(exchange.path())
            .arg(host::KERNEL)
            .args(machine.kernel_arguments(exchange.path())?)
            .env("TMPDIR", host::memory_directory(machine.memory_mib << 20))
            .stdin(Stdio::from(stdout_end))
            .stdout(Stdio::from(console))
            .stderr(Stdio::from(stderr_end))
            // A ^C at the terminal is for the host program; the reaper learns of its death.
            .process_group(0)
            .spawn()
            .map_err(Error::io("starting", host::KERNEL.as_ref()))?;

        let copy = |to: Box<dyn Write + Send>| machine.pass_through.then_some(to);
        Ok(Self {
            reaper,
            stdout: Output::follow(stdout, copy(Box::new(io::stdout()))),
            stderr: Output::follow(stderr, copy(Box::new(io::stderr()))),
            limit: machine.time_limit,
            deadline: Instant::now() + machine.time_limit,
            exchange,
        })
    }

    /// Waits until the program has written `text` to standard output.
    ///
    /// # Errors
    ///
    /// [`Error::NotWritten`] if the guest ends without it, [`Error::TimeLimit`] if its time is
    /// over; the guest is killed then.
    pub fn wait_for_output(&mut self, text: &str) -> Result<(), Error> {
        match self.stdout.wait_for(text, self.deadline) {
            Found::Yes => Ok(()),
            Found::Ended => Err(Error::NotWritten { text: text.to_owned() }),
            Found::Late => Err(self.out_of_time()),
        }
    }

    /// Waits until the program has ended and the guest is off.
    ///
    /// # Errors
    ///
    /// [`Error::TimeLimit`] if it took too long and was killed, [`Error::Setup`] and
    /// [`Error::Died`] if the guest failed and not the program.
    pub fn wait(mut self) -> Result<Ended, Error> {
        if !self.wait_for_reaper()? {
            return Err(self.out_of_time());
        }
        let status = self.read("status").and_then(|text| text.trim().parse().ok());
        if let Some(status) = status {
            return self.ended(Some(status));
        }
        let console = self.console();
        Err(match self.read("failed") {
            Some(step) => Error::Setup { step: step.trim_end().to_owned(), console },
            None => Error::Died { console },
        })
    }

    /// Ends the guest at once, as if its power went: what its kernel had not yet written to a disk
    /// is lost. Returns when no process of it is left, so that its disks may be used again.
    ///
    /// # Errors
    ///
    /// [`Error::Undead`] if its processes do not end.
    pub fn power_cut(mut self) -> Result<Ended, Error> {
        self.kill()?;
        self.ended(None)
    }

    fn ended(&self, status: Option<i32>) -> Result<Ended, Error> {
        let soon = Instant::now() + DEATH;
        if !self.stdout.wait_for_end(soon) || !self.stderr.wait_for_end(soon) {
            return Err(Error::Undead);
        }
        Ok(Ended { status, stdout: self.stdout.bytes(), stderr: self.stderr.bytes() })
    }

    /// Waits for the reaper, which ends after the guest. Says whether that was in time.
    fn wait_for_reaper(&mut self) -> Result<bool, Error> {
        let failed = |source| Error::io("waiting for", host::KERNEL.as_ref())(source);
        let pid = Pid::from_child(&self.reaper);
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(|error| failed(error.into()))?;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or_default();
            let mut ended = [PollFd::new(&process, PollFlags::IN)];
            match rustix::event::poll(&mut ended, Some(&left)) {
                Ok(0) => return Ok(false),
                Ok(_) => return self.reaper.wait().map(|_| true).map_err(failed),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    fn out_of_time(&mut self) -> Error {
        let console = self.console();
        match self.kill() {
            Ok(()) => Error::TimeLimit { limit: self.limit, console },
            Err(error) => error,
        }
    }

    fn kill(&mut self) -> Result<(), Error> {
        let failed = |source| Error::io("killing", host::KERNEL.as_ref())(source);
        if self.reaper.try_wait().map_err(failed)?.is_none() {
            rustix::process::kill_process(Pid::from_child(&self.reaper), Signal::TERM)
                .map_err(|error| failed(error.into()))?;
            self.reaper.wait().map_err(failed)?;
        }
        // Every process of the guest holds both pipes: their end is the end of all.
        let soon = Instant::now() + DEATH;
        match self.stdout.wait_for_end(soon) && self.stderr.wait_for_end(soon) {
            true => Ok(()),
            false => Err(Error::Undead),
        }
    }

    fn console(&self) -> String {
        console_end(&self.file("console"))
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.file(name)).ok()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.exchange.path().join(name)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // A guest that does not die cannot be helped here; whoever waits for it gets the error.
        let _ = self.kill();
    }
}
