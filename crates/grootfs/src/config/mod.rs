//! The YAML file and the flags over it become one checked configuration.

use std::path::{Path, PathBuf};

pub mod compat;
pub(crate) mod file;
mod merge;
pub mod pull;
pub mod sources;

pub use compat::Compat;
pub use merge::{Config, Flags};
pub use sources::Source;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("invalid config path: {0}")]
    Unreadable(crate::error::PathError),
    /// The file is not what it should be.
    #[error("invalid config file: yaml: unmarshal errors:\n  {} ({})", why, path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Line, and what is wrong there.
        why: String,
    },
    /// The log file cannot be opened.
    #[error(transparent)]
    LogFile(crate::error::PathError),
    /// A value that makes no sense.
    #[error("{0}")]
    Value(String),
}

impl Error {
    /// Whether this is one of the failures of the preparation phase, whose message the original
    /// printed together with the help (contract 1.1).
    pub fn is_preparation(&self) -> bool {
        !matches!(self, Self::Value(_))
    }
}

/// Makes a path absolute without looking at the disk.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| {
        Error::Value(format!("invalid path {}: {}", path.display(), crate::error::reason(&error)))
    })
}
