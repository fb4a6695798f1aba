//! What a user reads when something fails: one chain of causes, one exit code.
//!
//! Every room has an error type of its own whose `Display` says only its own part; `source()`
//! leads to the cause. [`chain`] joins them the way the original printed wrapped errors:
//! `outer: inner: innermost`.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Exit code of every failure but the one below (contract 1.1).
pub const EXIT_FAILURE: u8 = 1;

/// Exit code of an unknown command (contract 1.1).
pub const EXIT_UNKNOWN_COMMAND: u8 = 3;

/// Exit code after Ctrl-C or SIGTERM, as shells tell it of SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;

/// An I/O error with the operation and the path that it happened on.
#[derive(Debug)]
pub struct PathError {
    /// What was tried, as the system call is called: `open`, `rename`.
    pub operation: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// What the kernel said.
    pub error: io::Error,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.path.display(), reason(&self.error))
    }
}

impl PathError {
    /// Whether it failed for want of room.
    pub fn is_no_room(&self) -> bool {
        is_no_room(&self.error)
    }
}

/// Whether the kernel had no room: blocks, inodes, or what a quota leaves of them.
pub fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

// The cause is part of the text already, so it is not a `source` as well.
impl StdError for PathError {}

/// Puts operation and path to an I/O result.
pub trait AtPath<T> {
    /// Names what was tried and where.
    fn at(self, operation: &'static str, path: &Path) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> AtPath<T> for Result<T, E> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, PathError> {
        self.map_err(|error| PathError { operation, path: path.to_owned(), error: error.into() })
    }
}

/// The kernel's reason in the words that people search for: lower case, without a number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if error.raw_os_error().is_some() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// Joins an error and its causes with `: `.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bad argument, a bad configuration, a finder message: printed as it is.
    #[error("{0}")]
    Message(String),
    /// Something was found that is not as it should be: what is printed, and what the log tells of it.
    #[error("{summary}")]
    Findings {
        /// For standard output.
        report: String,
        /// One line.
        summary: String,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted; what was begun has been taken away")]
    Interrupted,
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// The image could not be had or unpacked.
    #[error("pulling the image")]
    Pull(#[from] crate::pull::Error),
    /// Manifest or configuration of the image could not be had.
    #[error("pulling the image: fetching list of layer infos")]
    ImageInfo(#[source] crate::image::Error),
    /// The root file system could not be made.
    #[error("making image")]
    MakeImage(#[source] crate::store::Error),
    /// The image argument.
    #[error(transparent)]
    Image(#[from] crate::image::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The process that does a user's work.
    #[error(transparent)]
    Userns(#[from] crate::userns::Error),
    /// A driver call outside of the store's own.
    #[error(transparent)]
    Driver(#[from] crate::driver::Error),
    /// Standard output or another file.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Error {
    /// Wraps a failure to make an image, but not that its id is taken (contract 1.6).
    pub fn making_image(error: crate::store::Error) -> Self {
        match error {
            crate::store::Error::Exists(_) => Self::Store(error),
            _ => Self::MakeImage(error),
        }
    }

    /// Says it more clearly where the cause lies with the image or its registry (contract 1.6).
    #[must_use]
    pub fn about_image(self, argument: &str) -> Self {
        let clearer = match &self {
            Self::ImageInfo(error) | Self::Image(error) => error.humanised(argument),
            Self::Pull(error) => error.source_error().and_then(|e| e.humanised(argument)),
            _ => None,
        };
        clearer.map_or(self, Self::Message)
    }

    /// Whether somebody asked to stop.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Interrupted)
    }

    /// Whatever failed because somebody asked to stop is told as that.
    #[must_use]
    pub fn or_interrupted(self, interrupt: &crate::interrupt::Interrupt) -> Self {
        if interrupt.is_stopped() { Self::Interrupted } else { self }
    }

    /// The text for standard output.
    pub fn text(&self) -> String {
        match self {
            Self::Findings { report, .. } => report.clone(),
            other => chain(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_errors_read_like_the_original() {
        let error: Result<(), PathError> =
            Err(io::Error::from_raw_os_error(2)).at("open", Path::new("/no/where"));
        assert_eq!(error.unwrap_err().to_string(), "open /no/where: no such file or directory");
    }
}
