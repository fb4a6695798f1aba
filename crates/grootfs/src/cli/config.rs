//! `grootfs config`

use std::fmt::Write;
use std::path::{Path, PathBuf};

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
        let _ = writeln!(out, "{:<COLUMN$} # {source}", format!("{indent}{name}: {value}"));
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

/// Every key, as it is called in the file, with its value as YAML.
fn values(config: &Config) -> Vec<(&'static str, String)> {
    let pull = &config.pull;
    let seconds = |time: std::time::Duration| time.as_secs().to_string();
    let excluded = config.limit.scope == Scope::excluding_image(true);
    let optional = |path: &Option<PathBuf>| path.as_deref().map_or_else(|| text(""), path_text);
    let endpoint = config.metron_endpoint.as_deref().map(address::redacted).unwrap_or_default();
    let images = config.ignore_images.iter().map(|name| argument::redacted(name));
    let hosts = config.insecure_registries.iter().map(|host| address::redacted(host));
    vec![
        ("store", path_text(&config.store)),
        ("driver", text(config.driver.map_or("", |driver| driver.name()))),
        ("tardis_bin", path_text(&config.helpers.tardis)),
        ("drax_bin", path_text(&config.helpers.drax)),
        ("btrfs_progs_path", optional(&config.btrfs_progs_path)),
        ("newuidmap_bin", path_text(&config.id_tools.newuidmap)),
        ("newgidmap_bin", path_text(&config.id_tools.newgidmap)),
        ("metron_endpoint", text(&endpoint)),
        ("metrics_textfile", optional(&config.metrics_textfile)),
        ("log_level", text(config.log_level.name())),
        ("log_file", optional(&config.log_file)),
        ("log_format", text(config.log_format.name())),
        ("log_timestamp_format", text(config.log_format.times())),
        ("compat", text(&config.compat.to_string())),
        ("create.exclude_image_from_quota", excluded.to_string()),
        ("create.skip_layer_validation", config.skip_layer_validation.to_string()),
        ("create.with_clean", config.with_clean.to_string()),
        ("create.without_mount", config.without_mount.to_string()),
        ("create.disk_limit_size_bytes", config.limit.bytes.to_string()),
        ("create.inode_limit", config.limit.inodes.to_string()),
        ("create.insecure_registries", list(hosts)),
        (
            "create.remote_layer_client_certificates_path",
            optional(&config.remote_layer_client_certificates_path),
        ),
        ("create.clean_log_file", optional(&config.clean_log_file)),
        ("clean.threshold_bytes", config.clean_threshold.to_string()),
        ("clean.ignore_images", list(images)),
        ("clean.keep_recent", config.keep_recent.to_string()),
        ("init.store_size_bytes", config.store_size.to_string()),
        ("init.with_direct_io", config.with_direct_io.to_string()),
        ("pull.concurrency", pull.concurrency.to_string()),
        ("pull.chunk_size", pull.chunk_size.to_string()),
        ("pull.attempts", pull.attempts.to_string()),
        ("pull.connect_timeout_seconds", seconds(pull.connect_timeout)),
        ("pull.read_timeout_seconds", seconds(pull.read_timeout)),
        ("pull.total_timeout_seconds", seconds(pull.total_timeout)),
        ("pull.ratio_limit", pull.ratio_limit.to_string()),
        ("pull.hosts_directories", paths(&pull.hosts_directories)),
        ("pull.certificate_directories", paths(&pull.certificate_directories)),
        ("registries", registries(config)),
    ]
}

/// In one line, so that there is one source behind it.
fn registries(config: &Config) -> String {
    let registry = |(name, mirrors): (&String, &Vec<String>)| {
        let mirrors = list(mirrors.iter().map(|url| address::redacted(url)));
        format!("{}: {{mirrors: {mirrors}}}", quoted(name))
    };
    let all: Vec<String> = config.pull.mirrors.iter().map(registry).collect();
    format!("{{{}}}", all.join(", "))
}

fn list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.map(|value| quoted(&value)).collect();
    format!("[{}]", values.join(", "))
}

fn paths(paths: &[PathBuf]) -> String {
    list(paths.iter().map(|path| path.to_string_lossy().into_owned()))
}

fn path_text(path: &Path) -> String {
    text(&path.to_string_lossy())
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
