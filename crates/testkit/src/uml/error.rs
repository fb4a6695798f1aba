//! Why a guest gave no status.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lines of the guest's console that an error shows.
const CONSOLE_LINES: usize = 15;

/// Why a guest gave no status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program that the runner calls is not installed.
    #[error("{program} is not installed; on Debian: apt-get install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// Only root may make the process namespace that ends all of a guest's processes.
    #[error("starting a guest needs root")]
    NotRoot,
    /// The guest mounts something of its own over this path.
    #[error("{} cannot be seen in a guest, which has its own {hidden}", path.display())]
    Hidden {
        /// The path.
        path: PathBuf,
        /// The directory that the guest mounts over.
        hidden: &'static str,
    },
    /// The kernel's command line cannot hold this path.
    #[error("{}: a guest needs a path without white space, comma, colon or quote", path.display())]
    OddPath {
        /// The path.
        path: PathBuf,
    },
    /// The guest was killed because its time was over.
    #[error("the guest was killed: it ran longer than {limit:?}; end of its console:\n{console}")]
    TimeLimit {
        /// The time that it had.
        limit: Duration,
        /// The end of its console.
        console: String,
    },
    /// Process 1 of the guest could not make what the program needs.
    #[error("the guest could not be set up: {step:?} failed; end of its console:\n{console}")]
    Setup {
        /// The command that failed.
        step: String,
        /// The end of its console.
        console: String,
    },
    /// The guest ended without a status: its kernel panicked or was killed.
    #[error("the guest ended without a status; end of its console:\n{console}")]
    Died {
        /// The end of its console.
        console: String,
    },
    /// The guest's program ended or closed its output before it wrote an awaited text.
    #[error("the guest's program ended before it wrote {text:?}")]
    NotWritten {
        /// The text.
        text: String,
    },
    /// Processes of the guest are still there after they were killed.
    #[error("the guest's processes do not end")]
    Undead,
    /// The host refused something.
    #[error("{action} {}", path.display())]
    Io {
        /// What was done, in gerund form.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The host's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// Returns a function that wraps the host's reason.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Reads the end of a console log, from the kernel's panic if there was one; what cannot be read
/// is said in its place.
pub(super) fn console_end(log: &Path) -> String {
    match std::fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
            let last = lines.len().saturating_sub(CONSOLE_LINES);
            let panic = lines.iter().position(|line| line.contains("Kernel panic"));
            lines[panic.unwrap_or(last)..].join("\n")
        }
        Err(error) => format!("{}: {error}", log.display()),
    }
}
