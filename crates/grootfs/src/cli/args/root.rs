//! Arguments of the commands about root file systems that are there: `delete`, `stats` and `limit`.

use clap::{ArgAction, Args};

use super::{boolean, require};
use crate::config::Flags;
use crate::error::Error;

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
