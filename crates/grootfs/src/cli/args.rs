//! The command line: every flag of both originals, and ours (contract 1.2, 1.3, B1).

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::config::Flags;
use crate::error::Error;

/// Root file systems for containers.
#[derive(Debug, Parser)]
#[command(
    name = "grootfs",
    version,
    about = "Makes root file systems for containers from images, each with a disk limit of its own",
    override_usage = "grootfs [global options] <command> [options] [arguments...]",
    disable_version_flag = true,
    args_override_self = true,
    infer_long_args = false
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file (YAML); flags win over it
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the store [default: /var/lib/grootfs]
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// btrfs or overlay-xfs [default: what the store was made with; init-store: overlay-xfs]
    #[arg(long, global = true, value_name = "NAME")]
    pub driver: Option<String>,
    /// debug, info, error or fatal [default: fatal]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// File that log lines are appended to; the level is then at least info
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// unix-epoch or rfc3339
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_timestamp_format: Option<String>,
    /// Helper that sets XFS quotas for users other than root [default: tardis]
    #[arg(long, global = true, value_name = "PATH")]
    pub tardis_bin: Option<PathBuf>,
    /// Helper that sets btrfs quotas for users other than root [default: drax]
    #[arg(long, global = true, value_name = "PATH")]
    pub drax_bin: Option<PathBuf>,
    /// Directory of btrfs and mkfs.btrfs [default: look in PATH]
    #[arg(long, global = true, value_name = "DIR")]
    pub btrfs_progs_path: Option<PathBuf>,
    /// Tool that maps user ids for users other than root [default: newuidmap]
    #[arg(long, global = true, value_name = "PATH")]
    pub newuidmap_bin: Option<PathBuf>,
    /// Tool that maps group ids for users other than root [default: newgidmap]
    #[arg(long, global = true, value_name = "PATH")]
    pub newgidmap_bin: Option<PathBuf>,
    /// host:port that metrics are sent to
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub metron_endpoint: Option<String>,
    /// Which original is followed where they differ: v0.30 or garden [default: v0.30]
    #[arg(long, global = true, value_name = "MODE")]
    pub compat: Option<String>,
    /// Print the version
    #[arg(long, short = 'v', action = ArgAction::Version)]
    pub version: Option<bool>,
}

impl Global {
    /// These options as configuration flags.
    pub fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            store: self.store.clone(),
            driver: self.driver.clone(),
            log_level: self.log_level.clone(),
            log_file: self.log_file.clone(),
            log_timestamp_format: self.log_timestamp_format.clone(),
            tardis_bin: self.tardis_bin.clone(),
            drax_bin: self.drax_bin.clone(),
            btrfs_progs_path: self.btrfs_progs_path.clone(),
            newuidmap_bin: self.newuidmap_bin.clone(),
            newgidmap_bin: self.newgidmap_bin.clone(),
            metron_endpoint: self.metron_endpoint.clone(),
            compat: self.compat.clone(),
            ..Flags::default()
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a store
    InitStore(InitStore),
    /// Takes a store away with all that is in it
    #[command(override_usage = "grootfs [global options] delete-store")]
    DeleteStore(Ignored),
    /// Writes the sizes of layers that an old release has pulled
    #[command(hide = true)]
    GenerateVolumeSizeMetadata(Nothing),
    /// Makes a root file system from an image
    Create(Create),
    /// Fetches the layers of an image into the store
    Pull(Pull),
    /// Deletes a root file system
    Delete(Delete),
    /// Says how much a root file system holds
    Stats(Stats),
    /// Changes the limit of a root file system, also of one that is in use
    Limit(Limit),
    /// Removes layers that no root file system uses
    Clean(Clean),
    /// Lists the root file systems
    #[command(override_usage = "grootfs [global options] list")]
    List(Ignored),
    /// Writes new layers to disk a moment later; started by create and pull
    #[command(hide = true)]
    Settle(Nothing),
    /// Says how large the store was configured to be
    #[command(override_usage = "grootfs [global options] capacity")]
    Capacity(Ignored),
}

impl Command {
    /// Its name in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InitStore(_) => "init-store",
            Self::DeleteStore(_) => "delete-store",
            Self::GenerateVolumeSizeMetadata(_) => "generate-metadata",
            Self::Create(_) => "create",
            Self::Pull(_) => "pull",
            Self::Delete(_) => "delete",
            Self::Stats(_) => "stats",
            Self::Limit(_) => "limit",
            Self::Clean(_) => "clean",
            Self::List(_) => "list",
            Self::Settle(_) => "settle",
            Self::Capacity(_) => "capacity",
        }
    }
}

/// No options of its own; arguments are ignored, as the original ignored them.
#[derive(Debug, Args)]
pub struct Ignored {
    /// Ignored
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

/// No arguments.
#[derive(Debug, Args)]
pub struct Nothing {
    /// None
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

impl Nothing {
    /// Fails when there are some.
    pub fn check(&self) -> Result<(), Error> {
        require(self.arguments.is_empty(), "invalid arguments - usage: ")
    }
}

/// `init-store`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] init-store [options]")]
pub struct InitStore {
    /// <namespace id>:<host id>:<size>, may be given several times
    #[arg(long, value_name = "MAPPING")]
    pub uid_mapping: Vec<String>,
    /// <namespace id>:<host id>:<size>, may be given several times
    #[arg(long, value_name = "MAPPING")]
    pub gid_mapping: Vec<String>,
    /// <user>:<group> whose ranges in /etc/subuid and /etc/subgid become the mappings
    #[arg(long, value_name = "USER:GROUP")]
    pub rootless: Option<String>,
    /// Makes a file system of this size in <store>.backing-store and mounts it
    #[arg(long, value_name = "BYTES")]
    pub store_size_bytes: Option<i64>,
    /// Lets that file system go round the page cache of the one below
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub with_direct_io: Option<bool>,
    /// None
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

impl InitStore {
    /// Checks the number of arguments.
    pub fn check(&self) -> Result<(), Error> {
        let usage = "invalid arguments - usage: init-store --store <path>";
        require(self.arguments.is_empty(), usage)
    }

    /// Puts the flags into the configuration.
    pub fn add_to(&self, flags: &mut Flags) {
        flags.store_size_bytes = self.store_size_bytes;
        flags.with_direct_io = self.with_direct_io;
    }
}

/// `create`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] create [options] <image> <id>")]
pub struct Create {
    /// The image, and the name of the root file system
    #[arg(value_names = ["IMAGE", "ID"])]
    pub arguments: Vec<String>,
    /// Hard limit of the root file system in bytes; 0 for none
    #[arg(long, value_name = "BYTES")]
    pub disk_limit_size_bytes: Option<i64>,
    /// Most files, directories and links that may be made in it, 0 for any number (overlay-xfs only)
    #[arg(long, value_name = "NUMBER")]
    pub inode_limit: Option<i64>,
    /// Lets the limit count only what is written, not the image
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub exclude_image_from_quota: Option<bool>,
    /// Cleans unused layers too
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub with_clean: Option<bool>,
    /// Does not clean
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub without_clean: Option<bool>,
    /// Bytes of layers from which on a clean begins
    #[arg(long, value_name = "BYTES")]
    pub threshold_bytes: Option<i64>,
    /// Mounts the root file system
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub with_mount: Option<bool>,
    /// Leaves mounting to the runtime
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub without_mount: Option<bool>,
    /// File that a clean after the create logs to
    #[arg(long, value_name = "FILE")]
    pub clean_log_file: Option<PathBuf>,
    #[command(flatten)]
    pub image: ImageArgs,
}

/// How an image is found and fetched.
#[derive(Debug, Args)]
#[command(next_help_heading = "Image options")]
pub struct ImageArgs {
    /// host or host:port of a registry without a valid certificate or without TLS, may be repeated
    #[arg(long, value_name = "HOST")]
    pub insecure_registry: Vec<String>,
    /// Leaves digests and sizes of layers unchecked (oci: images only)
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub skip_layer_validation: Option<bool>,
    /// User name at the registry [default: $GROOTFS_USERNAME, or what docker or podman login saved]
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password at the registry; others see it in the process list, so prefer the next one
    #[arg(long, value_name = "SECRET")]
    pub password: Option<String>,
    /// File whose first line is the password [default: $GROOTFS_PASSWORD]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// os/arch[/variant] to choose from images for several [default: this machine]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

impl ImageArgs {
    fn add_to(&self, flags: &mut Flags) {
        flags.insecure_registries.clone_from(&self.insecure_registry);
        flags.skip_layer_validation = self.skip_layer_validation;
    }
}

/// `pull`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] pull [options] <image>")]
pub struct Pull {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub arguments: Vec<String>,
    #[command(flatten)]
    pub image: ImageArgs,
}

impl Pull {
    /// Checks the number of arguments.
    pub fn check(&self) -> Result<(), Error> {
        let usage = "invalid arguments - usage: pull [options] <image>";
        require(self.arguments.len() == 1, usage)
    }

    /// Puts the flags into the configuration.
    pub fn add_to(&self, flags: &mut Flags) {
        self.image.add_to(flags);
    }
}

impl Create {
    /// Checks the number of arguments.
    pub fn check(&self) -> Result<(), Error> {
        let usage = "invalid arguments - usage: create [options] <image> <id>";
        require(self.arguments.len() == 2, usage)
    }

    /// Puts the flags into the configuration.
    pub fn add_to(&self, flags: &mut Flags) -> Result<(), Error> {
        let both = self.with_clean == Some(true) && self.without_clean == Some(true);
        require(!both, "with-clean and without-clean cannot be used together")?;
        flags.disk_limit_size_bytes = self.disk_limit_size_bytes;
        flags.inode_limit = self.inode_limit;
        self.image.add_to(flags);
        flags.exclude_image_from_quota = self.exclude_image_from_quota;
        flags.threshold_bytes = self.threshold_bytes;
        flags.with_clean = self.without_clean.map(|without| !without).or(self.with_clean);
        // If both are given, leaving it to the runtime wins (contract 1.3).
        flags.without_mount = self.without_mount.or(self.with_mount.map(|with| !with));
        flags.clean_log_file.clone_from(&self.clean_log_file);
        Ok(())
    }
}

/// `delete`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] delete <id|image path>")]
pub struct Delete {
    /// Name or path of the root file system
    #[arg(value_name = "ID")]
    pub arguments: Vec<String>,
}

impl Delete {
    /// Checks the number of arguments.
    pub fn check(&self) -> Result<(), Error> {
        require(self.arguments.len() == 1, "id was not specified")
    }
}

/// `stats`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] stats [options] <id|image path>")]
pub struct Stats {
    /// Tells of all root file systems, a line each
    #[arg(long)]
    pub all: bool,
    /// Name or path of the root file system
    #[arg(value_name = "ID")]
    pub arguments: Vec<String>,
}

impl Stats {
    /// Checks the number of arguments.
    pub fn check(&self) -> Result<(), Error> {
        let usage = "invalid arguments - usage: stats [options] <id|image path>";
        require(self.arguments.len() == usize::from(!self.all), usage)
    }
}

/// `limit`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] limit [options] <id|image path>")]
pub struct Limit {
    /// New limit in bytes, 0 for none; the root file system keeps what it holds
    #[arg(long, value_name = "BYTES")]
    pub disk_limit_size_bytes: Option<i64>,
    /// Lets the limit count only what is written, not the image
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub exclude_image_from_quota: Option<bool>,
    /// New limit of files, directories and links, 0 for none (overlay-xfs only)
    #[arg(long, value_name = "NUMBER")]
    pub inode_limit: Option<i64>,
    /// Name or path of the root file system
    #[arg(value_name = "ID")]
    pub arguments: Vec<String>,
}

impl Limit {
    /// Checks the number of arguments, and that there is something to do.
    pub fn check(&self) -> Result<(), Error> {
        let usage = "invalid arguments - usage: limit [options] <id|image path>";
        require(self.arguments.len() == 1, usage)?;
        let something = self.disk_limit_size_bytes.is_some() || self.inode_limit.is_some();
        require(something, "give --disk-limit-size-bytes, --inode-limit or both")?;
        let scope = self.exclude_image_from_quota.is_none() || self.disk_limit_size_bytes.is_some();
        require(scope, "--exclude-image-from-quota goes with --disk-limit-size-bytes")
    }

    /// Puts the flags into the configuration, which checks them. What the file says is for creates.
    pub fn add_to(&self, flags: &mut Flags) {
        flags.disk_limit_size_bytes = Some(self.disk_limit_size_bytes.unwrap_or(0));
        flags.inode_limit = Some(self.inode_limit.unwrap_or(0));
        flags.exclude_image_from_quota = Some(self.exclude_image_from_quota.unwrap_or(false));
    }
}

/// `clean`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] clean [options]")]
pub struct Clean {
    /// Bytes of layers below which nothing is removed
    #[arg(long, value_name = "BYTES")]
    pub threshold_bytes: Option<i64>,
    /// Removes only as much as the threshold asks for, least recently used layers first
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub keep_recent: Option<bool>,
    /// Says what would go and what would stay, and why; removes nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Ignored
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

fn require(holds: bool, text: &str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Message(text.to_owned())) }
}

/// The words for true and false that the original took.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}
