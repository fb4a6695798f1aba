//! Logs in the shape of Cloud Foundry's lager: one JSON object a line, one write call a line.

use std::error::Error as StdError;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::error::{AtPath, PathError, chain};

/// How much is logged; a level includes those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Debug,
    /// Main steps.
    Info,
    /// Failures.
    Error,
    /// Nothing that grootfs writes: the default.
    Fatal,
}

impl Level {
    /// Reads a level as the original did: any case, and what is no level is `fatal`.
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "error" => Self::Error,
            _ => Self::Fatal,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// How a line tells time and level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Seconds since 1970 as a text, levels as numbers (v0.30.0).
    UnixEpoch,
    /// RFC 3339, levels as names (later releases).
    Rfc3339,
}

/// Writes log lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    level: Level,
    format: Format,
    session: String,
    sink: Sink,
}

#[derive(Debug, Clone)]
enum Sink {
    Stderr,
    File(Arc<File>),
}

impl Log {
    /// A log to standard error, or to the end of a file. With a file, `fatal` becomes `info`.
    pub fn open(level: Level, format: Format, file: Option<&Path>) -> Result<Self, PathError> {
        let session = String::new();
        let Some(path) = file else {
            return Ok(Self { level, format, session, sink: Sink::Stderr });
        };
        let file =
            OpenOptions::new().append(true).create(true).mode(0o644).open(path).at("open", path)?;
        let level = if level == Level::Fatal { Level::Info } else { level };
        Ok(Self { level, format, session, sink: Sink::File(Arc::new(file)) })
    }

    /// A log that writes nothing.
    pub fn silent() -> Self {
        Self {
            level: Level::Fatal,
            format: Format::UnixEpoch,
            session: String::new(),
            sink: Sink::Stderr,
        }
    }

    /// The same log with a longer session path.
    #[must_use]
    pub fn session(&self, name: &str) -> Self {
        let session = format!("{}{name}.", self.session);
        Self { session, ..self.clone() }
    }

    /// Logs a main step. `subject` says on what.
    pub fn info(&self, action: &str, subject: &str) {
        self.write(Level::Info, action, || json!({ "subject": subject }));
    }

    /// Logs a detail.
    pub fn debug(&self, action: &str, subject: &str) {
        self.write(Level::Debug, action, || json!({ "subject": subject }));
    }

    /// Logs a failure that does not end the command.
    pub fn error(&self, action: &str, error: &(dyn StdError + 'static)) {
        self.write(Level::Error, action, || json!({ "error": chain(error) }));
    }

    /// Whether a reader of standard error sees errors that are logged.
    pub fn shows_errors(&self) -> bool {
        matches!(self.sink, Sink::Stderr) && self.level <= Level::Error
    }

    fn write(&self, level: Level, action: &str, data: impl FnOnce() -> serde_json::Value) {
        if level < self.level {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let message = format!("grootfs.{}{action}", self.session);
        let line = match self.format {
            Format::UnixEpoch => json!({
                "timestamp": format!("{}.{:09}", now.as_secs(), now.subsec_nanos()),
                "source": "grootfs", "message": message,
                "log_level": level as u8, "data": data(),
            }),
            Format::Rfc3339 => json!({
                "timestamp": rfc3339(now),
                "level": level.name(), "source": "grootfs", "message": message, "data": data(),
            }),
        };
        let line = line.to_string() + "\n";
        // A log that cannot be written must not stop the command that it tells about.
        let _ = match &self.sink {
            Sink::Stderr => std::io::stderr().write_all(line.as_bytes()),
            Sink::File(file) => (&**file).write_all(line.as_bytes()),
        };
    }
}

/// A time since 1970 as RFC 3339 in UTC with nanoseconds.
fn rfc3339(time: Duration) -> String {
    let (days, seconds) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    // Civil date from days since 1970-01-01, by 400-year eras that begin on March 1st.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        time.subsec_nanos()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_date() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (1_767_323_045, "2026-01-02T03:04:05.000000007Z"),
        ] {
            assert_eq!(rfc3339(Duration::new(seconds, 7)), text);
        }
    }

    #[test]
    fn writes_lager_lines_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::open(Level::Fatal, Format::UnixEpoch, Some(&path)).unwrap();
        log.session("create").info("starting", "x\ny");
        log.debug("hidden", "");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "grootfs.create.starting");
        assert_eq!(line["log_level"], 1);
    }
}
