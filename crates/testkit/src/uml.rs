//! Runs a program inside User-Mode Linux: a whole kernel of its own, started in seconds as a
//! program, on the host's own files.
//!
//! For what the host's kernel cannot do or must not suffer: XFS with project quotas, a kernel
//! without the newest mount calls, and power cuts.
//!
//! The guest sees the host's root file system read-only, so the same programs and libraries are
//! there. What it may write to is memory of its own and gone with it: `/run`, `/dev/shm` and
//! `/run/scratch`, which is its `TMPDIR`. The program runs as root in the working directory of
//! the caller, with empty standard input; `lo` is up, `loop` and `overlay` are loaded, cgroup v2
//! is mounted. There is one processor, and no network.
//!
//! # How it hangs together
//!
//! ```text
//! this process -- setpriv, sh (uml/reaper.sh) -- unshare -- linux.uml -- its helper processes
//!                 dies and cleans up with us     |         \__ process 1 in the guest: uml/init.sh
//!                                                the end of the namespace ends all
//! ```
//!
//! The program's two output streams come through two serial lines of the guest that end in
//! pipes. Its status comes as a file in a directory of the host that only this guest knows.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod command;
mod error;
mod guest;
mod host;
mod output;

pub use error::Error;
pub use guest::{Ended, Guest};

/// Memory of a guest that asks for none: enough for three loop file systems of some 100 MiB.
const MEMORY_MIB: u64 = 1024;

/// Time that a guest has if none is set; a suite takes a minute, a shell command two seconds.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// The scratch directory inside the guest: ext4 in three quarters of its memory.
pub const SCRATCH: &str = "/run/scratch";

/// What a guest is given; see the module for what it always has.
#[derive(Clone, Debug)]
pub struct Machine {
    memory_mib: u64,
    disks: Vec<PathBuf>,
    time_limit: Duration,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    pass_through: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A guest with 1 GiB of memory, no disk, five minutes and no more environment than `PATH`,
    /// `HOME` and `TMPDIR`, whose output is kept for the caller.
    #[must_use]
    pub fn new() -> Self {
        Self {
            memory_mib: MEMORY_MIB,
            disks: Vec::new(),
            time_limit: TIME_LIMIT,
            environment: Vec::new(),
            directory: None,
            pass_through: false,
        }
    }

    /// Sets the memory in MiB. The host gives only what the guest has touched.
    #[must_use]
    pub fn memory_mib(mut self, mib: u64) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Adds the file `image` as a disk: `/dev/ubda` for the first, then `/dev/ubdb` and so on.
    ///
    /// The file must exist and its size is the disk's. What the guest's kernel has written to the
    /// disk is in the file, also after a power cut; what it still held in memory is not.
    #[must_use]
    pub fn disk(mut self, image: impl Into<PathBuf>) -> Self {
        self.disks.push(image.into());
        self
    }

    /// Sets how long the guest may run, its start included.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Adds a variable to the program's environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory; the default is the caller's.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Also writes what the program writes to this process's own output, as it comes.
    #[must_use]
    pub fn pass_through(mut self) -> Self {
        self.pass_through = true;
        self
    }

    /// Runs `command` to its end and returns its status and output.
    ///
    /// # Errors
    ///
    /// As [`Guest::start`] and [`Guest::wait`].
    pub fn run<S: AsRef<OsStr>>(&self, command: &[S]) -> Result<Ended, Error> {
        Guest::start(self, command)?.wait()
    }

    /// Writes into `exchange` what the guest reads at its start.
    fn write_files<S: AsRef<OsStr>>(&self, exchange: &Path, command: &[S]) -> Result<(), Error> {
        let directory = match &self.directory {
            Some(directory) => std::path::absolute(directory),
            None => std::env::current_dir(),
        };
        let directory = directory.map_err(Error::io("finding the working directory", exchange))?;
        host::check_visible(&directory)?;
        let script = command::script(&directory, &self.environment, command);
        write(&exchange.join("command"), &script)?;
        let settings = format!(
            "exchange={}\nscratch={}M\nport0=/dev/ttyS0\nport1=/dev/ttyS1\n",
            exchange.display(),
            self.memory_mib * 3 / 4,
        );
        write(&exchange.join("settings"), settings.as_bytes())?;
        let init = exchange.join("init");
        write(&init, include_bytes!("uml/init.sh"))?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&init, executable)
            .map_err(Error::io("making executable", &init))?;
        write(&exchange.join("reaper"), include_bytes!("uml/reaper.sh"))
    }

    /// Makes the kernel's command line.
    fn kernel_arguments(&self, exchange: &Path) -> Result<Vec<OsString>, Error> {
        let exchange = exchange.display();
        let mut arguments = vec![
            format!("mem={}M", self.memory_mib),
            format!("uml_dir={exchange}/"),
            "umid=guest".to_owned(),
            "rootfstype=hostfs".to_owned(),
            "rootflags=/".to_owned(),
            "ro".to_owned(),
            format!("init={exchange}/init"),
            "con=null".to_owned(),
            "con0=null,fd:1".to_owned(),
            "ssl=null".to_owned(),
            "ssl0=null,fd:3".to_owned(),
            "ssl1=null,fd:4".to_owned(),
            // A guest that reboots would start this command line again.
            "noreboot".to_owned(),
        ];
        for (index, disk) in self.disks.iter().enumerate() {
            let disk = disk.canonicalize().map_err(Error::io("finding the disk", disk))?;
            host::check_plain(&disk)?;
            arguments.push(format!("ubd{index}={}", disk.display()));
        }
        Ok(arguments.into_iter().map(OsString::from).collect())
    }
}

/// Makes `image`, a file of `bytes` bytes that takes no room until the guest writes to it.
///
/// # Errors
///
/// [`Error::Io`] if the file exists or cannot be made.
pub fn make_disk(image: &Path, bytes: u64) -> Result<(), Error> {
    std::fs::File::create_new(image)
        .and_then(|file| file.set_len(bytes))
        .map_err(Error::io("making the disk", image))
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    std::fs::File::create(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(Error::io("writing", path))
}
