//! The configuration file (contract sections 2 and B1). Every key is optional, unknown ones are
//! reported, and a key without a value counts as not given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Error, pull};
use crate::error::AtPath;

/// Larger files are refused: a configuration is a page.
const LARGEST: u64 = 1 << 20;

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct File {
    pub store: Option<PathBuf>,
    pub driver: Option<String>,
    pub drax_bin: Option<PathBuf>,
    pub tardis_bin: Option<PathBuf>,
    pub btrfs_progs_path: Option<PathBuf>,
    pub newuidmap_bin: Option<PathBuf>,
    pub newgidmap_bin: Option<PathBuf>,
    pub metron_endpoint: Option<String>,
    pub metrics_textfile: Option<PathBuf>,
    pub log_level: Option<String>,
    pub log_file: Option<PathBuf>,
    pub log_timestamp_format: Option<String>,
    pub log_format: Option<String>,
    pub compat: Option<String>,
    pub create: Option<Create>,
    pub clean: Option<Clean>,
    pub init: Option<Init>,
    pub pull: Option<pull::File>,
    pub registries: Option<BTreeMap<String, Option<pull::Registry>>>,
}

/// The `create` section.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Create {
    pub exclude_image_from_quota: Option<bool>,
    pub skip_layer_validation: Option<bool>,
    pub with_clean: Option<bool>,
    pub without_mount: Option<bool>,
    pub disk_limit_size_bytes: Option<i64>,
    pub inode_limit: Option<i64>,
    pub insecure_registries: Option<Vec<String>>,
    pub remote_layer_client_certificates_path: Option<PathBuf>,
    pub clean_log_file: Option<PathBuf>,
}

/// The `clean` section.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Clean {
    pub threshold_bytes: Option<i64>,
    pub ignore_images: Option<Vec<String>>,
    pub keep_recent: Option<bool>,
}

/// The `init` section.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Init {
    pub store_size_bytes: Option<i64>,
    pub with_direct_io: Option<bool>,
    pub with_simple_quotas: Option<bool>,
    pub owneruser: Option<String>,
    pub ownergroup: Option<String>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// The keys that we know.
    pub file: File,
    /// Paths of those that we do not.
    pub unknown: Vec<String>,
}

/// Reads the file; an empty one is an empty configuration.
pub fn read(path: &Path) -> Result<Read, Error> {
    let metadata = std::fs::metadata(path).at("open", path).map_err(Error::Unreadable)?;
    if metadata.len() > LARGEST {
        let why = format!(
            "{} bytes are too many for a configuration, {LARGEST} are allowed",
            metadata.len()
        );
        return Err(Error::Invalid { path: path.to_owned(), why });
    }
    let text = std::fs::read_to_string(path).at("open", path).map_err(Error::Unreadable)?;
    parse(&text).map_err(|why| Error::Invalid { path: path.to_owned(), why })
}

/// Reads the text; the error begins with the line.
pub(crate) fn parse(text: &str) -> Result<Read, String> {
    let empty = |line: &str| matches!(line.trim(), "" | "---") || line.trim().starts_with('#');
    if text.lines().all(empty) {
        return Ok(Read::default());
    }
    let mut unknown = Vec::new();
    let mut wrong = String::new();
    let file = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        // The optional values that the way to a key leads through are shown as question marks.
        let mut ignored = |path: serde_ignored::Path<'_>| {
            unknown.push(path.to_string().replace(".?", "").escape_debug().to_string());
        };
        let deserializer = serde_ignored::Deserializer::new(deserializer, &mut ignored);
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            wrong = error.path().to_string();
            error.into_inner()
        })
    });
    let file = file.map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        format!("line {line}: cannot unmarshal: {}", explanation(&error, &wrong))
    })?;
    Ok(Read { file, unknown })
}

/// What the parser says of a value of another type, and what to write instead.
const EXPECTED: &[(&str, &str)] = &[
    ("invalid boolean", "expected true or false"),
    ("invalid i64", "expected a whole number"),
    ("expected sequence start", "expected a list"),
    ("expected mapping start", "expected keys with values"),
    ("expected string scalar", "expected a single value"),
];

/// Which key is wrong and why, in one line.
fn explanation(error: &serde_saphyr::Error, key: &str) -> String {
    let text = error.without_snippet().to_string();
    // The line is told already.
    let why = text.lines().next().unwrap_or_default();
    let why = why.split(" at line ").next().unwrap_or_default();
    let expected = EXPECTED.iter().find(|(begin, _)| why.starts_with(begin));
    let why = expected.map_or(why, |(_, expected)| expected);
    if matches!(key, "" | "." | "?") { why.to_owned() } else { format!("{key}: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sources::Sources;
    use crate::config::{Config, Flags};

    #[test]
    fn reads_what_operators_write() {
        let read = parse(
            "store: /s\nunknown: {a: [1]}\ncreate:\n  with_clean: yes\n  insecure_registries: [10.0.0.1:5000]\n  \
             cache_size: 5\nclean:\n  threshold_bytes: 10737418240\ninit:\n  owneruser: \"\"\n\
             registries:\n  docker.io: {mirror: x}\n",
        )
        .unwrap();
        let file = read.file;
        assert_eq!(file.store.as_deref(), Some(Path::new("/s")));
        let create = file.create.unwrap();
        assert_eq!(create.with_clean, Some(true));
        assert_eq!(create.insecure_registries.unwrap(), ["10.0.0.1:5000"]);
        assert_eq!(file.clean.unwrap().threshold_bytes, Some(10_737_418_240));
        assert_eq!(read.unknown, ["unknown", "create.cache_size", "registries.docker.io.mirror"]);
        assert!(parse("").unwrap().file.store.is_none());
        assert!(parse("# nothing\n---\n").unwrap().file.store.is_none());
        assert!(parse("create:\nstore:\n").unwrap().file.create.is_none());
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        for bad in ["- a\n- b\n", "just text", "store: /s\nclean:\n  threshold_bytes: much\n"] {
            assert!(parse(bad).unwrap_err().starts_with("line "), "{bad}");
        }
        for (yaml, line, key, expected) in [
            (
                "clean:\n  threshold_bytes: much\n",
                2,
                "clean.threshold_bytes",
                "expected a whole number",
            ),
            ("\n\ncreate: {with_clean: 7}\n", 3, "create.with_clean", "expected true or false"),
            (
                "create:\n  insecure_registries: a\n",
                2,
                "create.insecure_registries",
                "expected a list",
            ),
            ("pull: 5\n", 1, "pull", "expected keys with values"),
            ("store: [a]\n", 1, "store", "expected a single value"),
            ("log_level: {a: b}\n", 1, "log_level", "expected a single value"),
            ("registries:\n  a:\n    mirrors: b\n", 3, "registries.a.mirrors", "expected a list"),
        ] {
            let text = parse(yaml).unwrap_err();
            let start = format!("line {line}: cannot unmarshal: {key}: ");
            assert!(text.starts_with(&start) && text.contains(expected), "{yaml}: {text}");
        }
    }

    /// The example that is installed, of which grootfs.yml(5) is made.
    const EXAMPLE: &str = include_str!("../../../../packaging/grootfs.yml");

    /// The lines with keys, without the `#` in front; those that are chosen.
    fn example(chosen: impl Fn(&str) -> bool) -> Read {
        let keys = EXAMPLE.lines().filter_map(|line| line.strip_prefix('#'));
        let keys = keys.filter(|line| !line.starts_with(' ') || line.starts_with("  "));
        let lines: Vec<&str> = keys.filter(|line| chosen(line)).collect();
        parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn the_example_has_every_key() {
        let read = example(|_| true);
        assert!(read.unknown.is_empty(), "{:?}", read.unknown);
        let text = format!("{:#?}", read.file);
        let missing: Vec<&str> = text.lines().filter(|line| line.ends_with(": None,")).collect();
        assert!(missing.is_empty(), "not in packaging/grootfs.yml: {missing:#?}");
        assert!(text.lines().count() > 60, "{text}");
    }

    #[test]
    fn the_example_shows_defaults() {
        let merge = |file| {
            let config = Config::merge(Flags::default(), file, None).unwrap();
            format!("{:#?}", Config { sources: Sources::default(), ..config })
        };
        let shown = example(|line| !line.ends_with(" # example"));
        assert_eq!(merge(shown.file), merge(File::default()));
    }
}
