//! Arguments of the commands that fetch images: `create` and `pull`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::{BundleArgs, boolean, require};
use crate::config::Flags;
use crate::error::Error;

/// `create`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] create [options] <image> <id>")]
pub struct Create {
    /// The image, and the name of the root file system; behind them, what its bundle is to run
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
    pub bundle: BundleArgs,
    #[command(flatten)]
    pub image: ImageArgs,
}

impl Create {
    /// Checks the number of arguments.
    pub fn check(&self) -> Result<(), Error> {
        let usage = "invalid arguments - usage: create [options] <image> <id>";
        let words = self.arguments.len();
        require(words == 2 || (words > 2 && self.bundle.is_wanted()), usage)?;
        self.bundle.check()
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

/// How an image is found and fetched.
#[derive(Debug, Args)]
#[command(next_help_heading = "Image options")]
pub struct ImageArgs {
    /// host or host:port of a registry without a valid certificate or without TLS, may be repeated
    #[arg(long, value_name = "HOST")]
    pub insecure_registry: Vec<String>,
    /// Takes layers with other digests and sizes than the image names (oci: images only)
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
