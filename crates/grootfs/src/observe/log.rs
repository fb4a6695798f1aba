//! Logs in the shape of Cloud Foundry's lager: one JSON object a line, one write call a line. Or as
//! text, for people.

use std::error::Error as StdError;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::error::{AtPath, PathError, chain};

/// What a line tells beside its message.
pub type Data = Map<String, Value>;

/// Puts data together.
pub fn data<const N: usize>(pairs: [(&str, Value); N]) -> Data {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

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

    /// Its name.
    pub fn name(self) -> &'static str {
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
    /// For people: time of day (UTC), level, what, on what.
    Text,
}

impl Format {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnixEpoch | Self::Rfc3339 => "json",
            Self::Text => "text",
        }
    }

    /// The name of the form of its times, where there are several.
    pub fn times(self) -> &'static str {
        match self {
            Self::UnixEpoch => "unix-epoch",
            Self::Rfc3339 => "rfc3339",
            Self::Text => "",
        }
    }
}

/// Writes log lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    level: Level,
    format: Format,
    /// Names of the sessions, each with a dot behind it.
    path: String,
    session: Session,
    data: Data,
    sink: Sink,
}

impl Default for Log {
    fn default() -> Self {
        Self::silent()
    }
}

/// Longest number of a session: some thirty sessions inside of each other.
const LONGEST_NUMBER: usize = 64;

/// A part of a command in the log. Its number is made of those of the parts that it is in: `1.2`.
#[derive(Debug, Clone, Default)]
struct Session {
    number: String,
    parts: Arc<AtomicU32>,
}

impl Session {
    fn part(&self) -> Self {
        let number = self.parts.fetch_add(1, Ordering::Relaxed) + 1;
        let number = match self.number.as_str() {
            "" => number.to_string(),
            outer => format!("{outer}.{number}"),
        };
        Self { number, parts: Arc::default() }
    }
}

/// A main step: its begin is logged when it is made, its end when it is dropped.
#[derive(Debug)]
pub struct Step<'a> {
    log: &'a Log,
    level: Level,
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.log.write(self.level, "ending", Data::new);
    }
}

#[derive(Debug, Clone)]
enum Sink {
    Stderr,
    File(Arc<File>),
}

impl Log {
    /// A log to standard error, or to the end of a file. With a file, `fatal` becomes `info`.
    pub fn open(level: Level, format: Format, file: Option<&Path>) -> Result<Self, PathError> {
        let stderr = Self { level, format, ..Self::silent() };
        let Some(path) = file else { return Ok(stderr) };
        let file =
            OpenOptions::new().append(true).create(true).mode(0o644).open(path).at("open", path)?;
        let level = if level == Level::Fatal { Level::Info } else { level };
        Ok(Self { level, sink: Sink::File(Arc::new(file)), ..stderr })
    }

    /// A log that writes nothing.
    pub fn silent() -> Self {
        Self {
            level: Level::Fatal,
            format: Format::UnixEpoch,
            path: String::new(),
            session: Session::default(),
            data: Data::new(),
            sink: Sink::Stderr,
        }
    }

    /// Whether lines of a level are written. What is only put together for them need not be where not.
    pub fn tells(&self, level: Level) -> bool {
        level >= self.level
    }

    /// The log of a part of what this one tells about.
    #[must_use]
    pub fn session(&self, name: &str) -> Self {
        if !self.tells(Level::Error) {
            // Nothing is ever written, so there is no name to keep.
            return self.clone();
        }
        let path = format!("{}{name}.", self.path);
        Self { path, session: self.session.part(), ..self.clone() }
    }

    /// The number of its session, for a process that does a part of it.
    pub fn number(&self) -> &str {
        &self.session.number
    }

    /// The log of a process that does a part of the session with this number. Whoever set the number: only
    /// one that is one is taken.
    #[must_use]
    pub fn within(self, number: &str) -> Self {
        let is_number = number.len() <= LONGEST_NUMBER
            && number
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        let number = if is_number { number.to_owned() } else { String::new() };
        Self { session: Session { number, parts: Arc::default() }, ..self }
    }

    /// The same log with something that every line tells.
    #[must_use]
    pub fn with(self, key: &str, value: &str) -> Self {
        self.with_data(|| data([(key, value.into())]))
    }

    /// The same with several things, which are put together only for somebody who reads them.
    #[must_use]
    pub fn with_data(mut self, data: impl FnOnce() -> Data) -> Self {
        if self.tells(Level::Error) {
            self.data.extend(data());
        }
        self
    }

    /// Logs begin and end of what this log tells about, as a main step.
    pub fn step(&self) -> Step<'_> {
        self.step_at(Level::Info)
    }

    /// The same as a detail.
    pub fn detail(&self) -> Step<'_> {
        self.step_at(Level::Debug)
    }

    fn step_at(&self, level: Level) -> Step<'_> {
        self.write(level, "starting", Data::new);
        Step { log: self, level }
    }

    /// Logs a main step. `subject` says on what.
    pub fn info(&self, action: &str, subject: &str) {
        self.write(Level::Info, action, || data([("subject", subject.into())]));
    }

    /// Logs a detail.
    pub fn debug(&self, action: &str, subject: &str) {
        self.write(Level::Debug, action, || data([("subject", subject.into())]));
    }

    /// Logs a failure that does not end the command.
    pub fn error(&self, action: &str, error: &(dyn StdError + 'static)) {
        self.write(Level::Error, action, || data([("error", chain(error).into())]));
    }

    /// Logs something with data of its own, which are put together only for somebody who reads them.
    pub fn tell(&self, level: Level, action: &str, data: impl FnOnce() -> Data) {
        self.write(level, action, data);
    }

    /// Whether a reader of standard error sees errors that are logged.
    pub fn shows_errors(&self) -> bool {
        matches!(self.sink, Sink::Stderr) && self.level <= Level::Error
    }

    fn write(&self, level: Level, action: &str, data: impl FnOnce() -> Data) {
        if !self.tells(level) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let message = format!("{}{action}", self.path);
        let mut all = self.data.clone();
        all.extend(data());
        let line = match self.format {
            Format::Text => text(now, level, &message, &all, self.is_coloured()),
            _ => self.lager(now, level, &message, all),
        };
        let line = line + "\n";
        // A log that cannot be written must not stop the command that it tells about.
        let _ = match &self.sink {
            Sink::Stderr => std::io::stderr().write_all(line.as_bytes()),
            Sink::File(file) => (&**file).write_all(line.as_bytes()),
        };
    }

    fn lager(&self, now: Duration, level: Level, message: &str, mut data: Data) -> String {
        if !self.session.number.is_empty() {
            data.insert("session".into(), self.session.number.as_str().into());
        }
        let message = format!("grootfs.{message}");
        let line = match self.format {
            Format::UnixEpoch => json!({
                "timestamp": format!("{}.{:09}", now.as_secs(), now.subsec_nanos()),
                "source": "grootfs", "message": message,
                "log_level": level as u8, "data": data,
            }),
            _ => json!({
                "timestamp": rfc3339(now),
                "level": level.name(), "source": "grootfs", "message": message, "data": data,
            }),
        };
        line.to_string()
    }

    fn is_coloured(&self) -> bool {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        wanted && matches!(self.sink, Sink::Stderr) && std::io::stderr().is_terminal()
    }
}

/// A line for people. What comes from elsewhere cannot break it or steer the terminal.
fn text(now: Duration, level: Level, message: &str, data: &Data, coloured: bool) -> String {
    let (colour, plain) = match (coloured, level) {
        (false, _) => ("", ""),
        (true, Level::Debug) => ("\x1b[2m", "\x1b[0m"),
        (true, Level::Info) => ("\x1b[32m", "\x1b[0m"),
        (true, Level::Error | Level::Fatal) => ("\x1b[31m", "\x1b[0m"),
    };
    let seconds = now.as_secs();
    let mut line = format!(
        "{:02}:{:02}:{:02} {colour}{:<5}{plain} {message}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        level.name(),
    );
    // What is nested is for programs, and stands in each line of its session.
    for (key, value) in data.iter().filter(|(_, value)| !value.is_array() && !value.is_object()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let value = value.escape_debug().to_string();
        let value = value.replace("\\\"", "\"").replace("\\'", "'");
        line.push(' ');
        if !matches!(key.as_str(), "subject" | "error") {
            line.push_str(key);
            line.push('=');
        }
        line.push_str(&value);
    }
    line
}

/// A time since 1970 as RFC 3339 in UTC with nanoseconds.
pub fn rfc3339(time: Duration) -> String {
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
        let create = log.session("create");
        create.info("starting", "x\ny");
        log.debug("hidden", "");
        {
            let inner = create.session("pull").with("imageID", "web");
            let _step = inner.step();
            inner.error("failed", &std::io::Error::other("broken"));
        }
        create.session("clean").session("collect").info("done", "");
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told = |line: &Value| {
            let session = line["data"]["session"].as_str().unwrap().to_owned();
            (line["message"].as_str().unwrap().to_owned(), session, line["log_level"].clone())
        };
        let told: Vec<_> = lines.iter().map(told).collect();
        let line = |message: &str, session: &str, level: u8| {
            (format!("grootfs.create.{message}"), session.to_owned(), Value::from(level))
        };
        assert_eq!(
            told,
            [
                line("starting", "1", 1),
                line("pull.starting", "1.1", 1),
                line("pull.failed", "1.1", 2),
                line("pull.ending", "1.1", 1),
                line("clean.collect.done", "1.2.1", 1),
            ]
        );
        assert_eq!(lines[2]["data"]["imageID"], "web");
        assert_eq!(lines[2]["data"]["error"], "broken");
    }

    #[test]
    fn goes_on_in_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(Level::Info, Format::UnixEpoch, Some(&dir.path().join("log"))).unwrap();
        let inner = log.session("create").session("ns");
        assert_eq!(log.clone().within(inner.number()).session("create").number(), "1.1.1");
        for nonsense in ["", ".", "1.", "1.x", "\n", &"1.".repeat(40)] {
            assert_eq!(log.clone().within(nonsense).session("create").number(), "1", "{nonsense}");
        }
    }

    #[test]
    fn puts_nothing_together_that_nobody_reads() {
        let never = || -> Data { panic!("put together for nobody") };
        let silent = Log::silent().session("create").with_data(never);
        silent.tell(Level::Error, "x", never);
        assert!(silent.path.is_empty() && silent.data.is_empty());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::open(Level::Info, Format::UnixEpoch, Some(&path)).unwrap();
        log.tell(Level::Debug, "x", never);
        log.tell(Level::Info, "x", || data([("size", 7.into())]));
        let line: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(line["data"]["size"], 7);
    }

    #[test]
    fn writes_lines_for_people() {
        let time = Duration::from_secs(1_767_323_045);
        let data = Map::from_iter([
            ("imageID".to_owned(), Value::from("web")),
            ("subject".to_owned(), Value::from("it's\n\x1b[2J \"x\"")),
            ("tries".to_owned(), Value::from(3)),
        ]);
        assert_eq!(
            text(time, Level::Info, "create.starting", &data, false),
            "03:04:05 info  create.starting imageID=web it's\\n\\u{1b}[2J \"x\" tries=3"
        );
        let coloured = text(time, Level::Error, "x", &Map::new(), true);
        assert_eq!(coloured, "03:04:05 \x1b[31merror\x1b[0m x");
    }
}
