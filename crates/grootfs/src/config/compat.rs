//! Which of the two originals is followed where they exclude each other.
//!
//! One method a difference; nothing else in the code asks which version it imitates.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::observe::log;
use crate::observe::metrics::dropsonde;

/// Name of the environment variable that chooses (after the flag, before the file).
pub const VARIABLE: &str = "GROOTFS_COMPAT";

/// The original that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compat {
    /// GrootFS v0.30.0, with its documented promises.
    #[default]
    V030,
    /// What Garden runs today, the head of the original's development.
    Garden,
}

impl Compat {
    /// Whether an unmounted root is to be mounted at `/` and not at its own path.
    pub fn mounts_at_root(self) -> bool {
        self == Self::Garden
    }

    /// Whether volumes that an image declares are bind-mounted over its content.
    pub fn binds_declared_volumes(self) -> bool {
        self == Self::V030
    }

    /// Whether the spec holds `"args":null`.
    pub fn writes_null_args(self) -> bool {
        self == Self::V030
    }

    /// Whether the name of a tar's volume shows the modification time.
    pub fn shows_time_in_tar_volumes(self) -> bool {
        self == Self::V030
    }

    /// Whether bytes that limits promise count when a clean compares with its threshold.
    pub fn counts_promised_bytes(self) -> bool {
        self == Self::Garden
    }

    /// Whether a create that cleans does so afterwards, in a process of its own.
    pub fn cleans_after_create(self) -> bool {
        self == Self::Garden
    }

    /// How long a clean waits for other processes' locks.
    pub fn clean_lock_limit(self) -> Duration {
        match self {
            Self::V030 => Duration::from_secs(60),
            Self::Garden => Duration::from_secs(3),
        }
    }

    /// Whose set of metrics is sent.
    pub fn metric_set(self) -> dropsonde::Set {
        match self {
            Self::V030 => dropsonde::Set::V030,
            Self::Garden => dropsonde::Set::Later,
        }
    }

    /// The shape of log lines where no other is asked for.
    pub fn log_format(self) -> log::Format {
        match self {
            Self::V030 => log::Format::UnixEpoch,
            Self::Garden => log::Format::Rfc3339,
        }
    }
}

impl fmt::Display for Compat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V030 => "v0.30",
            Self::Garden => "garden",
        })
    }
}

impl FromStr for Compat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v0.30" | "" => Ok(Self::V030),
            "garden" => Ok(Self::Garden),
            _ => Err(format!("invalid compat mode `{text}`: it is v0.30 or garden")),
        }
    }
}
