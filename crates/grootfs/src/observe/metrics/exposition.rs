//! Numbers in the text format of Prometheus, which add up over many commands.
//!
//! Samples are kept as they are written, so that a file can be read, added to and written again. Whoever else
//! may have written it is not trusted: what is not of our form is refused as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Ending, Layer, Measure, Report, Timing};

/// First line of a file that is ours.
const HEADER: &str = "# Metrics of grootfs. Each command adds to them; the file may be removed.";

/// Upper bounds in seconds: a cached create takes some milliseconds, a large layer some minutes.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 900.0,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A family of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Commands,
    CommandTime,
    Creation,
    Clean,
    LockWait,
    Download,
    Unpack,
    Downloaded,
    Size,
    Used,
    Layers,
    Committed,
}

impl Family {
    const ALL: [Self; 12] = [
        Self::Commands,
        Self::CommandTime,
        Self::Creation,
        Self::Clean,
        Self::LockWait,
        Self::Download,
        Self::Unpack,
        Self::Downloaded,
        Self::Size,
        Self::Used,
        Self::Layers,
        Self::Committed,
    ];

    /// Name, kind, and what people read about it.
    fn describe(self) -> (&'static str, Kind, &'static str) {
        use Kind::{Counter, Gauge, Histogram};
        match self {
            Self::Commands => ("grootfs_commands_total", Counter, "Commands that ended."),
            Self::CommandTime => {
                ("grootfs_command_duration_seconds", Histogram, "Time that a command took.")
            }
            Self::Creation => (
                "grootfs_image_creation_duration_seconds",
                Histogram,
                "Time that making a root file system took.",
            ),
            Self::Clean => (
                "grootfs_clean_duration_seconds",
                Histogram,
                "Time that a clean took, also within a create.",
            ),
            Self::LockWait => {
                ("grootfs_lock_wait_seconds", Histogram, "Time that a lock was waited for.")
            }
            Self::Download => (
                "grootfs_layer_download_seconds",
                Histogram,
                "Time that the source of a layer was waited for.",
            ),
            Self::Unpack => {
                ("grootfs_layer_unpack_seconds", Histogram, "Time that unpacking a layer took.")
            }
            Self::Downloaded => (
                "grootfs_layer_downloaded_bytes_total",
                Counter,
                "Bytes of layers that came in, as they were sent.",
            ),
            Self::Size => {
                ("grootfs_filesystem_size_bytes", Gauge, "Size of the file system below the store.")
            }
            Self::Used => (
                "grootfs_filesystem_used_bytes",
                Gauge,
                "Bytes of that file system that are in use.",
            ),
            Self::Layers => (
                "grootfs_layers_bytes",
                Gauge,
                "Bytes of layers in the store, by whether images use them.",
            ),
            Self::Committed => (
                "grootfs_committed_quota_bytes",
                Gauge,
                "Bytes that the limits of all root file systems promise.",
            ),
        }
    }

    /// Whether samples of this name belong to it.
    fn has(self, name: &str) -> bool {
        let (own, kind, _) = self.describe();
        match name.strip_prefix(own) {
            Some("_bucket" | "_sum" | "_count") => kind == Kind::Histogram,
            Some("") => kind != Kind::Histogram,
            _ => false,
        }
    }

    /// A sample with its labels.
    fn sample(self, suffix: &str, labels: &str) -> String {
        format!("{}{suffix}{{{labels}}}", self.describe().0)
    }
}

/// A line that is not of the form that we write.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// The first line.
    #[error("its first line is not that of a file of grootfs")]
    Header,
    /// Another one, counted from 1.
    #[error("line {0} is not as grootfs writes it")]
    Line(usize),
}

/// Families of samples, each with its labels: `name{a="b"}`, and its value.
#[derive(Debug, Default, PartialEq)]
pub struct Exposition {
    families: BTreeMap<Family, Vec<(String, f64)>>,
}

impl Exposition {
    /// Reads a file; an empty one is empty. Families that this version does not know are left out.
    pub fn parse(text: &str) -> Result<Self, Foreign> {
        let mut found = Self::default();
        let mut lines = text.lines().enumerate();
        match lines.next() {
            None => return Ok(found),
            Some((_, first)) if first == HEADER => {}
            Some(_) => return Err(Foreign::Header),
        }
        for (number, line) in lines.filter(|(_, line)| !line.starts_with("# ")) {
            let (name, sample, value) = sample(line).ok_or(Foreign::Line(number + 1))?;
            if let Some(family) = Family::ALL.into_iter().find(|family| family.has(name)) {
                found.change(family, sample.to_owned(), |found| *found = value);
            }
        }
        Ok(found)
    }

    /// Adds a command.
    pub fn add_report(&mut self, report: &Report<'_>) {
        let store = label("store", report.store);
        let command = format!("{store},{}", label("command", report.command));
        let result = match report.ending {
            Ending::Success => "success",
            Ending::Failure { .. } => "failure",
            Ending::Skipped | Ending::NotThere => "skipped",
        };
        self.add(Family::Commands, &format!("{command},{}", label("result", result)), 1.0);
        self.observe(Family::CommandTime, &command, report.took);
        for recorded in &report.measured {
            self.add_measure(&recorded.measure, &store);
        }
        if let Some(sizes) = &report.sizes {
            let layers = |state| format!("{store},{}", label("state", state));
            for (family, labels, bytes) in [
                (Family::Size, store.clone(), Some(sizes.filesystem)),
                (Family::Used, store.clone(), Some(sizes.filesystem_used)),
                (Family::Layers, layers("used"), Some(sizes.used_layers)),
                (Family::Layers, layers("unused"), Some(sizes.unused_layers)),
                (Family::Committed, store.clone(), sizes.committed),
            ] {
                let Some(bytes) = bytes else { continue };
                let bytes = float(bytes);
                self.change(family, family.sample("", &labels), |found| *found = bytes);
            }
        }
    }

    fn add_measure(&mut self, measure: &Measure, store: &str) {
        match *measure {
            Measure::Layer(Layer { download, unpack, bytes }) => {
                self.observe(Family::Download, store, download);
                self.observe(Family::Unpack, store, unpack);
                self.add(Family::Downloaded, store, float(bytes));
            }
            Measure::Took(timing, time) => {
                let lock = |mode| format!("{store},{}", label("mode", mode));
                match timing {
                    Timing::ImageCreation => self.observe(Family::Creation, store, time),
                    Timing::ImageClean => self.observe(Family::Clean, store, time),
                    Timing::SharedLock => self.observe(Family::LockWait, &lock("shared"), time),
                    Timing::ExclusiveLock | Timing::ChoosingLock | Timing::CleanLock => {
                        self.observe(Family::LockWait, &lock("exclusive"), time);
                    }
                    // The time of the command says the same.
                    Timing::ImageDeletion | Timing::ImageStats => {}
                }
            }
        }
    }

    fn add(&mut self, family: Family, labels: &str, value: f64) {
        self.change(family, family.sample("", labels), |found| *found += value);
    }

    fn observe(&mut self, family: Family, labels: &str, time: Duration) {
        let seconds = time.as_secs_f64();
        for bound in BUCKETS {
            let sample = family.sample("_bucket", &format!("{labels},le=\"{bound}\""));
            self.change(family, sample, |found| *found += f64::from(seconds <= *bound));
        }
        let all = family.sample("_bucket", &format!("{labels},le=\"+Inf\""));
        self.change(family, all, |found| *found += 1.0);
        self.change(family, family.sample("_sum", labels), |found| *found += seconds);
        self.change(family, family.sample("_count", labels), |found| *found += 1.0);
    }

    /// Changes a sample, which begins with 0. They stay in the order in which they came, so that buckets are
    /// sorted.
    fn change(&mut self, family: Family, sample: String, change: impl FnOnce(&mut f64)) {
        let samples = self.families.entry(family).or_default();
        if let Some((_, value)) = samples.iter_mut().find(|(name, _)| *name == sample) {
            return change(value);
        }
        let mut value = 0.0;
        change(&mut value);
        samples.push((sample, value));
    }
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        for (family, samples) in &self.families {
            let (name, kind, help) = family.describe();
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
            for (sample, value) in samples {
                writeln!(f, "{sample} {value}")?;
            }
        }
        Ok(())
    }
}

fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

#[expect(clippy::cast_precision_loss, reason = "the format has doubles, exact up to 8 PiB")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

/// Takes a line apart: name, name with labels, value.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let (sample, value) = line.rsplit_once(' ')?;
    let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)?;
    let (name, labels) = sample.strip_suffix('}')?.split_once('{')?;
    let is_name = |name: &str| {
        let rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(rest)
    };
    let mut rest = labels;
    loop {
        let (label, value) = rest.split_once("=\"")?;
        let end = end_of_value(value)?;
        if !is_name(label) {
            return None;
        }
        rest = value.get(end + 1..)?;
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => break,
            None => return None,
        }
    }
    is_name(name).then_some((name, sample, value))
}

/// Where the quotation mark is that ends a value.
fn end_of_value(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some(at),
            '\\' if !matches!(chars.next()?.1, '\\' | '"' | 'n') => return None,
            c if c.is_control() => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::super::{Recorded, Sizes};
    use super::*;

    fn report<'a>(store: &'a str, milliseconds: u64) -> Report<'a> {
        let at = SystemTime::now();
        let time = Duration::from_millis(milliseconds);
        let layer = Layer { download: time, unpack: time, bytes: 1000 };
        let measures =
            [Measure::Layer(layer), Measure::Took(Timing::SharedLock, Duration::from_secs(2000))];
        Report {
            command: "create",
            store,
            measured: measures.map(|measure| Recorded { at, measure }).to_vec(),
            ending: Ending::Success,
            at,
            took: time,
            cleaned_after: false,
            sizes: Some(Sizes { unused_layers: 7, ..Sizes::default() }),
        }
    }

    #[test]
    fn adds_up() {
        let mut text = String::new();
        for milliseconds in [3, 700, 3] {
            let mut found = Exposition::parse(&text).unwrap();
            found.add_report(&report("/a \"b\" \\c", milliseconds));
            text = found.to_string();
        }
        let store = r#"store="/a \"b\" \\c""#;
        for line in [
            format!("grootfs_commands_total{{{store},command=\"create\",result=\"success\"}} 3"),
            format!(
                "grootfs_command_duration_seconds_bucket{{{store},command=\"create\",le=\"0.0025\"}} 0"
            ),
            format!(
                "grootfs_command_duration_seconds_bucket{{{store},command=\"create\",le=\"0.005\"}} 2"
            ),
            format!(
                "grootfs_command_duration_seconds_bucket{{{store},command=\"create\",le=\"1\"}} 3"
            ),
            format!("grootfs_lock_wait_seconds_bucket{{{store},mode=\"shared\",le=\"900\"}} 0"),
            format!("grootfs_lock_wait_seconds_bucket{{{store},mode=\"shared\",le=\"+Inf\"}} 3"),
            format!("grootfs_lock_wait_seconds_sum{{{store},mode=\"shared\"}} 6000"),
            format!("grootfs_layer_downloaded_bytes_total{{{store}}} 3000"),
            format!("grootfs_layers_bytes{{{store},state=\"unused\"}} 7"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn what_others_wrote_is_refused() {
        assert_eq!(Exposition::parse("").unwrap(), Exposition::default());
        for text in ["x", "\n", "# HELP a b\n", "node_load1 0.5\n"] {
            assert_eq!(Exposition::parse(text), Err(Foreign::Header), "{text:?}");
        }
        for line in [
            "",
            "#!/bin/sh",
            "grootfs_commands_total 1",
            "grootfs_commands_total{} 1",
            "grootfs_commands_total{a=\"b} 1",
            "grootfs_commands_total{a=\"b\",} 1",
            "grootfs_commands_total{a=\"\\x\"} 1",
            "grootfs_commands_total{a=\"b\"} NaN",
            "grootfs_commands_total{a=\"b\"} -1",
            "grootfs_commands_total{a=\"b\"} 1e999",
            "grootfs commands{a=\"b\"} 1",
        ] {
            let text = format!("{HEADER}\n# HELP x\n{line}\n");
            assert_eq!(Exposition::parse(&text), Err(Foreign::Line(3)), "{line:?}");
        }
        let newer = format!("{HEADER}\ngrootfs_of_tomorrow{{a=\"b\"}} 1\n");
        assert_eq!(Exposition::parse(&newer).unwrap(), Exposition::default());
    }

    proptest! {
        #[test]
        fn what_was_read_can_be_read_again(name in "grootfs_[a-z_]{1,30}", tail in "[{}\",=a-z0-9\\\\. ]{0,40}") {
            let text = format!("{HEADER}\n{name}{tail}\n");
            if let Ok(found) = Exposition::parse(&text) {
                prop_assert_eq!(Exposition::parse(&found.to_string()).unwrap(), found);
            }
        }

        #[test]
        fn every_store_has_a_label(store in "[^\\x00-\\x1f\\x7f-\\u{9f}]{1,40}") {
            let mut found = Exposition::default();
            found.add_report(&report(&store, 1));
            prop_assert_eq!(Exposition::parse(&found.to_string()).unwrap(), found);
        }
    }
}
