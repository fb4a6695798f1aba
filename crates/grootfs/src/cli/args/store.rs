//! Arguments of the commands about a store as a whole: `init-store`, `delete-store`, `clean`, `df`,
//! `list`, `doctor`.

use clap::{ArgAction, Args};

use super::{boolean, require};
use crate::config::Flags;
use crate::error::Error;

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
    /// Lets that file system count with the simple quotas of btrfs: a create does not slow down with many roots (Linux 6.7)
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean, value_name = "BOOL")]
    pub with_simple_quotas: Option<bool>,
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
        flags.with_simple_quotas = self.with_simple_quotas;
    }
}

/// `settle`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] settle")]
pub struct Settle {
    /// Waits some seconds first, unless somebody does so already
    #[arg(long)]
    pub later: bool,
}

/// `delete-store`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] delete-store [options]")]
pub struct DeleteStore {
    /// Removes the file of the store's own file system too
    #[arg(long)]
    pub with_backing_file: bool,
    /// Ignored
    #[arg(hide = true)]
    pub arguments: Vec<String>,
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

/// `df`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] df [options]")]
pub struct Df {
    /// One JSON object, for programs
    #[arg(long)]
    pub json: bool,
    /// None
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

impl Df {
    /// Checks the number of arguments.
    pub fn check(&self) -> Result<(), Error> {
        require(self.arguments.is_empty(), "invalid arguments - usage: df [options]")
    }
}

/// `list`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] list [options]")]
pub struct List {
    /// A table: image, time, layers, limit, what was written
    #[arg(long)]
    pub long: bool,
    /// A JSON object a line, for programs
    #[arg(long)]
    pub json: bool,
    /// Ignored
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

impl List {
    /// Checks that the flags go together.
    pub fn check(&self) -> Result<(), Error> {
        require(!(self.long && self.json), "--long and --json cannot be used together")
    }
}

/// `doctor`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] doctor [options]")]
pub struct Doctor {
    /// A JSON object a line, for programs
    #[arg(long)]
    pub json: bool,
    /// None
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

impl Doctor {
    /// Checks the number of arguments.
    pub fn check(&self) -> Result<(), Error> {
        require(self.arguments.is_empty(), "invalid arguments - usage: doctor [options]")
    }
}
