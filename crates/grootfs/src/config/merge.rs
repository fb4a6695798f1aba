//! Flags over file over defaults, checked (contract 1.2 and 1.3).

use std::path::{Path, PathBuf};

use super::compat::{self, Compat};
use super::file::{self, File};
use super::pull::Pull;
use super::sources::Sources;
use super::{Error, absolute};
use crate::driver::limit::{Limit, Scope};
use crate::driver::{self, helper::Helpers};
use crate::observe::log::{Format, Level};
use crate::userns::parent::Tools;

/// Where the store is if nobody says otherwise.
const DEFAULT_STORE: &str = "/var/lib/grootfs";

/// What was given on the command line; `None` where it was not.
#[derive(Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--store`.
    pub store: Option<PathBuf>,
    /// `--driver`.
    pub driver: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--log-file`.
    pub log_file: Option<PathBuf>,
    /// `--log-timestamp-format`.
    pub log_timestamp_format: Option<String>,
    /// `--tardis-bin`.
    pub tardis_bin: Option<PathBuf>,
    /// `--drax-bin`.
    pub drax_bin: Option<PathBuf>,
    /// `--btrfs-progs-path`.
    pub btrfs_progs_path: Option<PathBuf>,
    /// `--newuidmap-bin`.
    pub newuidmap_bin: Option<PathBuf>,
    /// `--newgidmap-bin`.
    pub newgidmap_bin: Option<PathBuf>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--metrics-textfile`.
    pub metrics_textfile: Option<PathBuf>,
    /// `--metron-endpoint`.
    pub metron_endpoint: Option<String>,
    /// `--compat`.
    pub compat: Option<String>,
    /// `--disk-limit-size-bytes`.
    pub disk_limit_size_bytes: Option<i64>,
    /// `--inode-limit`.
    pub inode_limit: Option<i64>,
    /// `--insecure-registry`, all of them.
    pub insecure_registries: Vec<String>,
    /// `--exclude-image-from-quota`.
    pub exclude_image_from_quota: Option<bool>,
    /// `--skip-layer-validation`.
    pub skip_layer_validation: Option<bool>,
    /// `--with-clean`, or its opposite.
    pub with_clean: Option<bool>,
    /// `--without-mount`, or its opposite.
    pub without_mount: Option<bool>,
    /// `--clean-log-file`.
    pub clean_log_file: Option<PathBuf>,
    /// `--keep-recent`.
    pub keep_recent: Option<bool>,
    /// `--threshold-bytes`.
    pub threshold_bytes: Option<i64>,
    /// `--store-size-bytes`.
    pub store_size_bytes: Option<i64>,
    /// `--with-direct-io`.
    pub with_direct_io: Option<bool>,
    /// `--with-simple-quotas`.
    pub with_simple_quotas: Option<bool>,
}

/// The configuration of one run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from.
    pub file: Option<PathBuf>,
    /// Absolute path of the store.
    pub store: PathBuf,
    /// The driver, where one was asked for.
    pub driver: Option<driver::Kind>,
    /// How much is logged.
    pub log_level: Level,
    /// Where to; standard error if nowhere.
    pub log_file: Option<PathBuf>,
    /// In which shape.
    pub log_format: Format,
    /// Who gets metrics by UDP, `host:port`.
    pub metron_endpoint: Option<String>,
    /// File with metrics for Prometheus.
    pub metrics_textfile: Option<PathBuf>,
    /// Who sets limits for users other than root.
    pub helpers: Helpers,
    /// Who maps ids for users other than root.
    pub id_tools: Tools,
    /// Directory of the btrfs tools; `None` to look in `PATH`.
    pub btrfs_progs_path: Option<PathBuf>,
    /// Which original is followed.
    pub compat: Compat,
    /// What a new root file system may hold.
    pub limit: Limit,
    /// Registries, `host[:port]`, that may be spoken to without TLS or verification.
    pub insecure_registries: Vec<String>,
    /// Whether digests and sizes of `oci:` layers go unchecked.
    pub skip_layer_validation: bool,
    /// Whether a create cleans.
    pub with_clean: bool,
    /// Whether a create leaves mounting to the runtime.
    pub without_mount: bool,
    /// Directory with certificates for remote layers.
    pub remote_layer_client_certificates_path: Option<PathBuf>,
    /// Where a clean that a create starts logs to.
    pub clean_log_file: Option<PathBuf>,
    /// Images whose layers a clean is to leave alone.
    pub ignore_images: Vec<String>,
    /// Whether a clean takes away no more than the threshold asks for.
    pub keep_recent: bool,
    /// Bytes below which a clean does nothing.
    pub clean_threshold: u64,
    /// How images are fetched.
    pub pull: Pull,
    /// Size of the store's own file system; 0 for none.
    pub store_size: u64,
    /// Whether its loop device goes round the page cache.
    pub with_direct_io: bool,
    /// Whether it counts with the simple quotas of btrfs.
    pub with_simple_quotas: bool,
    /// Where each value came from.
    pub sources: Sources,
    /// Keys of the file that mean nothing to us.
    pub unknown_keys: Vec<String>,
}

impl Config {
    /// Reads the file, if one is named, and puts the flags over it.
    pub fn load(flags: Flags) -> Result<Self, Error> {
        let read = match &flags.config {
            Some(path) => file::read(path)?,
            None => file::Read::default(),
        };
        let config = Self::merge(flags, read.file, std::env::var(compat::VARIABLE).ok())?;
        Ok(Self { unknown_keys: read.unknown, ..config })
    }

    pub(crate) fn merge(flags: Flags, file: File, compat: Option<String>) -> Result<Self, Error> {
        let create = file.create.unwrap_or_default();
        let clean = file.clean.unwrap_or_default();
        let init = file.init.unwrap_or_default();
        let pull = file.pull.unwrap_or_default();
        let registries = file.registries.unwrap_or_default();
        let mut from = Sources::default();
        from.note_file(&pull.given());
        if !registries.is_empty() {
            from.note_file(&["registries"]);
        }
        let compat =
            from.choose_with("compat", flags.compat, (compat::VARIABLE, compat), file.compat);
        let compat: Compat = compat.unwrap_or_default().parse().map_err(Error::Value)?;
        let store = from.choose("store", flags.store, file.store);
        let driver = from
            .choose("driver", flags.driver, file.driver)
            .map(|name| name.parse())
            .transpose()
            .map_err(|error: driver::Error| Error::Value(error.to_string()))?;
        let log_level = from.choose("log_level", flags.log_level, file.log_level);
        let times = from.choose(
            "log_timestamp_format",
            flags.log_timestamp_format,
            file.log_timestamp_format,
        );
        let format = from.choose("log_format", flags.log_format, file.log_format);
        let limit = Limit {
            bytes: number(
                from.choose(
                    "create.disk_limit_size_bytes",
                    flags.disk_limit_size_bytes,
                    create.disk_limit_size_bytes,
                ),
                "disk limit",
            )?,
            scope: Scope::excluding_image(from.switch(
                "create.exclude_image_from_quota",
                flags.exclude_image_from_quota,
                create.exclude_image_from_quota,
            )),
            inodes: number(
                from.choose("create.inode_limit", flags.inode_limit, create.inode_limit),
                "inode limit",
            )?,
        };
        Ok(Self {
            file: flags.config,
            store: checked_store(&store.unwrap_or_else(|| DEFAULT_STORE.into()))?,
            driver,
            log_level: Level::parse(&log_level.unwrap_or_default()),
            log_file: from.choose("log_file", flags.log_file, file.log_file),
            log_format: log_format(
                &format.unwrap_or_default(),
                &times.unwrap_or_default(),
                compat,
            )?,
            metron_endpoint: from.choose(
                "metron_endpoint",
                flags.metron_endpoint,
                file.metron_endpoint,
            ),
            metrics_textfile: from
                .choose("metrics_textfile", flags.metrics_textfile, file.metrics_textfile)
                .map(|path| absolute(&path))
                .transpose()?,
            helpers: Helpers {
                tardis: from
                    .choose("tardis_bin", flags.tardis_bin, file.tardis_bin)
                    .unwrap_or("tardis".into()),
                drax: from
                    .choose("drax_bin", flags.drax_bin, file.drax_bin)
                    .unwrap_or("drax".into()),
            },
            id_tools: Tools {
                newuidmap: from
                    .choose("newuidmap_bin", flags.newuidmap_bin, file.newuidmap_bin)
                    .unwrap_or("newuidmap".into()),
                newgidmap: from
                    .choose("newgidmap_bin", flags.newgidmap_bin, file.newgidmap_bin)
                    .unwrap_or("newgidmap".into()),
            },
            btrfs_progs_path: from.choose(
                "btrfs_progs_path",
                flags.btrfs_progs_path,
                file.btrfs_progs_path,
            ),
            compat,
            limit,
            insecure_registries: from
                .choose(
                    "create.insecure_registries",
                    Some(flags.insecure_registries),
                    create.insecure_registries,
                )
                .unwrap_or_default(),
            skip_layer_validation: from.switch(
                "create.skip_layer_validation",
                flags.skip_layer_validation,
                create.skip_layer_validation,
            ),
            with_clean: from.switch("create.with_clean", flags.with_clean, create.with_clean),
            without_mount: from.switch(
                "create.without_mount",
                flags.without_mount,
                create.without_mount,
            ),
            remote_layer_client_certificates_path: from.choose(
                "create.remote_layer_client_certificates_path",
                None,
                create.remote_layer_client_certificates_path,
            ),
            clean_log_file: from.choose(
                "create.clean_log_file",
                flags.clean_log_file,
                create.clean_log_file,
            ),
            ignore_images: from
                .choose("clean.ignore_images", None, clean.ignore_images)
                .unwrap_or_default(),
            keep_recent: from.switch("clean.keep_recent", flags.keep_recent, clean.keep_recent),
            clean_threshold: number(
                from.choose("clean.threshold_bytes", flags.threshold_bytes, clean.threshold_bytes),
                "clean threshold",
            )?,
            store_size: number(
                from.choose("init.store_size_bytes", flags.store_size_bytes, init.store_size_bytes),
                "store size",
            )?,
            with_direct_io: from.switch(
                "init.with_direct_io",
                flags.with_direct_io,
                init.with_direct_io,
            ),
            with_simple_quotas: from.switch(
                "init.with_simple_quotas",
                flags.with_simple_quotas,
                init.with_simple_quotas,
            ),
            pull: Pull::from_file(pull, registries)?,
            sources: from,
            unknown_keys: Vec::new(),
        })
    }
}

fn number(value: Option<i64>, what: &str) -> Result<u64, Error> {
    u64::try_from(value.unwrap_or(0))
        .map_err(|_| Error::Value(format!("invalid argument: {what} cannot be negative")))
}

/// Makes the store's path absolute, and refuses what neither JSON nor mount options can carry.
fn checked_store(path: &Path) -> Result<PathBuf, Error> {
    let path = absolute(path)?;
    match path.to_str() {
        Some(text) if text.chars().any(char::is_control) => Err(Error::Value(format!(
            "invalid store path {}: control characters cannot be used",
            text.escape_debug()
        ))),
        Some("/") => Err(Error::Value("invalid store path /: a store needs a directory".into())),
        Some(_) => Ok(path),
        None => Err(Error::Value(format!("invalid store path {path:?}: it is not UTF-8"))),
    }
}

fn log_format(name: &str, times: &str, compat: Compat) -> Result<Format, Error> {
    let json = match times {
        "" => compat.log_format(),
        "unix-epoch" => Format::UnixEpoch,
        "rfc3339" => Format::Rfc3339,
        _ => {
            let text =
                format!("invalid log timestamp format `{times}`: it is unix-epoch or rfc3339");
            return Err(Error::Value(text));
        }
    };
    match name {
        "" | "json" => Ok(json),
        "text" => Ok(Format::Text),
        _ => Err(Error::Value(format!("invalid log format `{name}`: it is json or text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(flags: Flags, yaml: &str) -> Result<Config, Error> {
        let file =
            if yaml.is_empty() { File::default() } else { serde_saphyr::from_str(yaml).unwrap() };
        Config::merge(flags, file, None)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let yaml =
            "store: /file\ndriver: btrfs\ncreate: {disk_limit_size_bytes: 5}\ntardis_bin: \"\"\n";
        let config = merged(Flags::default(), yaml).unwrap();
        assert_eq!(config.store, Path::new("/file"));
        assert_eq!(config.driver, Some(driver::Kind::Btrfs));
        assert_eq!(config.limit.bytes, 5);
        assert_eq!(config.helpers.tardis, Path::new("tardis"));
        let flags = Flags {
            store: Some("/flag".into()),
            disk_limit_size_bytes: Some(7),
            ..Flags::default()
        };
        let config = merged(flags, yaml).unwrap();
        assert_eq!((config.store.to_str(), config.limit.bytes), (Some("/flag"), 7));
        assert_eq!(merged(Flags::default(), "").unwrap().store, Path::new(DEFAULT_STORE));
    }

    #[test]
    fn bad_values_are_refused() {
        for yaml in [
            "create: {disk_limit_size_bytes: -1}",
            "create: {inode_limit: -1}",
            "clean: {threshold_bytes: -1}",
            "driver: zfs",
            "store: \"/a\\nb\"",
            "store: /",
            "compat: v9",
            "log_timestamp_format: noon",
            "log_format: xml",
            "{log_format: text, log_timestamp_format: noon}",
        ] {
            assert!(merged(Flags::default(), yaml).is_err(), "{yaml}");
        }
    }
}
