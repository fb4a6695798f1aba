//! Flags over file over defaults, checked (contract 1.2 and 1.3).

use std::path::{Path, PathBuf};

use super::compat::{self, Compat};
use super::file::{self, File};
use super::pull::Pull;
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
}

impl Config {
    /// Reads the file, if one is named, and puts the flags over it.
    pub fn load(flags: Flags) -> Result<Self, Error> {
        let file = match &flags.config {
            Some(path) => file::read(path)?,
            None => File::default(),
        };
        Self::merge(flags, file, std::env::var(compat::VARIABLE).ok())
    }

    pub(crate) fn merge(flags: Flags, file: File, compat: Option<String>) -> Result<Self, Error> {
        let create = file.create.unwrap_or_default();
        let clean = file.clean.unwrap_or_default();
        let init = file.init.unwrap_or_default();
        let compat = flags.compat.or(compat).or(file.compat).unwrap_or_default();
        let compat: Compat = compat.parse().map_err(Error::Value)?;
        let path = |flag: Option<PathBuf>, file: Option<PathBuf>| {
            flag.or(file).filter(|path| !path.as_os_str().is_empty())
        };
        let number = |value: Option<i64>, text: &str| {
            u64::try_from(value.unwrap_or(0))
                .map_err(|_| Error::Value(format!("invalid argument: {text} cannot be negative")))
        };
        let driver = flags.driver.or(file.driver).filter(|name| !name.is_empty());
        let format = flags.log_timestamp_format.or(file.log_timestamp_format).unwrap_or_default();
        let store = path(flags.store, file.store).unwrap_or_else(|| DEFAULT_STORE.into());
        let registries = if flags.insecure_registries.is_empty() {
            create.insecure_registries.unwrap_or_default()
        } else {
            flags.insecure_registries
        };
        let driver = driver
            .map(|name| name.parse())
            .transpose()
            .map_err(|error: driver::Error| Error::Value(error.to_string()))?;
        Ok(Self {
            file: flags.config,
            store: checked_store(&store)?,
            driver,
            log_level: Level::parse(&flags.log_level.or(file.log_level).unwrap_or_default()),
            log_file: path(flags.log_file, file.log_file),
            log_format: log_format(&format, compat)?,
            helpers: Helpers {
                tardis: path(flags.tardis_bin, file.tardis_bin).unwrap_or("tardis".into()),
                drax: path(flags.drax_bin, file.drax_bin).unwrap_or("drax".into()),
            },
            id_tools: Tools {
                newuidmap: path(flags.newuidmap_bin, file.newuidmap_bin)
                    .unwrap_or("newuidmap".into()),
                newgidmap: path(flags.newgidmap_bin, file.newgidmap_bin)
                    .unwrap_or("newgidmap".into()),
            },
            btrfs_progs_path: path(flags.btrfs_progs_path, file.btrfs_progs_path),
            compat,
            limit: Limit {
                bytes: number(
                    flags.disk_limit_size_bytes.or(create.disk_limit_size_bytes),
                    "disk limit",
                )?,
                scope: Scope::excluding_image(
                    flags
                        .exclude_image_from_quota
                        .or(create.exclude_image_from_quota)
                        .unwrap_or(false),
                ),
                inodes: number(flags.inode_limit.or(create.inode_limit), "inode limit")?,
            },
            insecure_registries: registries,
            skip_layer_validation: flags
                .skip_layer_validation
                .or(create.skip_layer_validation)
                .unwrap_or(false),
            with_clean: flags.with_clean.or(create.with_clean).unwrap_or(false),
            without_mount: flags.without_mount.or(create.without_mount).unwrap_or(false),
            remote_layer_client_certificates_path: path(
                None,
                create.remote_layer_client_certificates_path,
            ),
            clean_log_file: path(flags.clean_log_file, create.clean_log_file),
            ignore_images: clean.ignore_images.unwrap_or_default(),
            keep_recent: flags.keep_recent.or(clean.keep_recent).unwrap_or(false),
            clean_threshold: number(
                flags.threshold_bytes.or(clean.threshold_bytes),
                "clean threshold",
            )?,
            store_size: number(flags.store_size_bytes.or(init.store_size_bytes), "store size")?,
            pull: Pull::from_file(
                file.pull.unwrap_or_default(),
                file.registries.unwrap_or_default(),
            )?,
            with_direct_io: flags.with_direct_io.or(init.with_direct_io).unwrap_or(false),
        })
    }
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

fn log_format(name: &str, compat: Compat) -> Result<Format, Error> {
    match name {
        "" => Ok(compat.log_format()),
        "unix-epoch" => Ok(Format::UnixEpoch),
        "rfc3339" => Ok(Format::Rfc3339),
        _ => Err(Error::Value(format!(
            "invalid log timestamp format `{name}`: it is unix-epoch or rfc3339"
        ))),
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
        ] {
            assert!(merged(Flags::default(), yaml).is_err(), "{yaml}");
        }
    }
}
