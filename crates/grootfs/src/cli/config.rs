//! `grootfs config`

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Context;
use crate::config::{Config, Source};
use crate::driver::limit::Scope;
use crate::image::argument;
use crate::image::network::address;

/// Columns up to which values go where they can; then comes where they are from.
const COLUMN: usize = 48;

/// The effective configuration as a file that could be used, with the source of each value.
pub fn run(context: &Context) -> String {
    let config = &context.config;
    let mut out = String::new();
    let mut section = "";
    for (key, value) in values(config) {
        let (within, name) = key.split_once('.').unwrap_or(("", key));
        if within != section && !within.is_empty() {
            out.push_str(&format!("{within}:\n"));
        }
        section = within;
        let indent = if within.is_empty() { "" } else { "  " };
        let source = source(config, key);
        // Writing to a string cannot fail.
        let _ =
            writeln!(out, "{:<COLUMN$} # {source}", format!("{indent}{name}: {}", yaml(&value)));
    }
    for key in &config.unknown_keys {
        let _ = writeln!(out, "# ignored, because nobody knows it: {key}");
    }
    out
}

fn source(config: &Config, key: &str) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    match config.sources.of(key) {
        Source::Flag if key == "create.insecure_registries" => {
            "flag --insecure-registry".to_owned()
        }
        Source::Flag => format!("flag --{}", name.replace('_', "-")),
        Source::Environment(name) => format!("environment {name}"),
        Source::File => {
            let path = config.file.as_deref().unwrap_or(Path::new(""));
            format!("file {}", path.to_string_lossy().escape_debug())
        }
        Source::Default => "default".to_owned(),
    }
}

/// The same for the log: every key with its value.
pub fn current(config: &Config) -> Value {
    let mut all = Map::new();
    for (key, value) in values(config) {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let within = match section {
            "" => &mut all,
            _ => match all.entry(section).or_insert_with(|| Map::new().into()) {
                Value::Object(within) => within,
                _ => continue,
            },
        };
        within.insert(name.to_owned(), value);
    }
    Value::Object(all)
}

/// Every key, as it is called in the file, with its value.
fn values(config: &Config) -> Vec<(&'static str, Value)> {
    let pull = &config.pull;
    let seconds = |time: std::time::Duration| Value::from(time.as_secs());
    let excluded = config.limit.scope == Scope::excluding_image(true);
    let optional = |path: &Option<PathBuf>| path.as_deref().map_or("".into(), shown);
    let endpoint = config.metron_endpoint.as_deref().map(address::redacted).unwrap_or_default();
    let images = config.ignore_images.iter().map(|name| argument::redacted(name));
    let hosts = config.insecure_registries.iter().map(|host| address::redacted(host));
    vec![
        ("store", shown(&config.store)),
        ("driver", config.driver.map_or("", |driver| driver.name()).into()),
        ("tardis_bin", shown(&config.helpers.tardis)),
        ("drax_bin", shown(&config.helpers.drax)),
        ("btrfs_progs_path", optional(&config.btrfs_progs_path)),
        ("newuidmap_bin", shown(&config.id_tools.newuidmap)),
        ("newgidmap_bin", shown(&config.id_tools.newgidmap)),
        ("metron_endpoint", endpoint.into()),
        ("metrics_textfile", optional(&config.metrics_textfile)),
        ("log_level", config.log_level.name().into()),
        ("log_file", optional(&config.log_file)),
        ("log_format", config.log_format.name().into()),
        ("log_timestamp_format", config.log_format.times().into()),
        ("compat", config.compat.to_string().into()),
        ("create.exclude_image_from_quota", excluded.into()),
        ("create.skip_layer_validation", config.skip_layer_validation.into()),
        ("create.with_clean", config.with_clean.into()),
        ("create.without_mount", config.without_mount.into()),
        ("create.disk_limit_size_bytes", config.limit.bytes.into()),
        ("create.inode_limit", config.limit.inodes.into()),
        ("create.insecure_registries", hosts.collect()),
        (
            "create.remote_layer_client_certificates_path",
            optional(&config.remote_layer_client_certificates_path),
        ),
        ("create.clean_log_file", optional(&config.clean_log_file)),
        ("clean.threshold_bytes", config.clean_threshold.into()),
        ("clean.ignore_images", images.collect()),
        ("clean.keep_recent", config.keep_recent.into()),
        ("init.store_size_bytes", config.store_size.into()),
        ("init.with_direct_io", config.with_direct_io.into()),
        ("init.with_simple_quotas", config.with_simple_quotas.into()),
        ("pull.concurrency", pull.concurrency.into()),
        ("pull.chunk_size", pull.chunk_size.into()),
        ("pull.attempts", pull.attempts.into()),
        ("pull.connect_timeout_seconds", seconds(pull.connect_timeout)),
        ("pull.read_timeout_seconds", seconds(pull.read_timeout)),
        ("pull.total_timeout_seconds", seconds(pull.total_timeout)),
        ("pull.ratio_limit", pull.ratio_limit.into()),
        ("pull.hosts_directories", paths(&pull.hosts_directories)),
        ("pull.certificate_directories", paths(&pull.certificate_directories)),
        ("registries", registries(config)),
    ]
}

fn registries(config: &Config) -> Value {
    let registry = |(name, mirrors): (&String, &Vec<String>)| {
        let mirrors: Value = mirrors.iter().map(|url| address::redacted(url)).collect();
        (name.clone(), json!({ "mirrors": mirrors }))
    };
    Value::Object(config.pull.mirrors.iter().map(registry).collect())
}

fn paths(paths: &[PathBuf]) -> Value {
    paths.iter().map(|path| shown(path)).collect()
}

fn shown(path: &Path) -> Value {
    path.to_string_lossy().into()
}

/// A value as YAML, in one line, so that there is one source behind it.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(value) => text(value),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(values) => {
            let pair =
                |(key, value): (&String, &Value)| format!("{}: {}", quoted(key), yaml(value));
            let pairs: Vec<String> = values.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

/// A text without quotation marks where YAML takes it for one all the same.
fn text(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let begins = value.starts_with(|c: char| c == '/' || c.is_ascii_lowercase());
    let word = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&value);
    if begins && !word && value.chars().all(plain) { value.to_owned() } else { quoted(value) }
}

/// A text as JSON, which YAML reads.
fn quoted(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}
