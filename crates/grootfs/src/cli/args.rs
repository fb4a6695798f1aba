//! The command line: every flag of both originals, and ours (contract 1.2, 1.3, B1).

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::progress::Mode;
use crate::config::Flags;
use crate::error::Error;

mod bundle;
mod check;
mod create;
mod root;
mod store;

pub use bundle::BundleArgs;
pub use check::Check;
pub use create::{Create, ImageArgs, Pull};
pub use root::{Delete, Limit, Stats};
pub use store::{Clean, DeleteStore, Df, Doctor, InitStore, List, Settle};

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
    /// json, or text for people [default: json]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// File that metrics for Prometheus are added to
    #[arg(long, global = true, value_name = "FILE")]
    pub metrics_textfile: Option<PathBuf>,
    /// host:port that metrics are sent to, as dropsonde envelopes by UDP
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub metron_endpoint: Option<String>,
    /// Which original is followed where they differ: v0.30 or garden [default: v0.30]
    #[arg(long, global = true, value_name = "MODE")]
    pub compat: Option<String>,
    /// auto: one line of a terminal on standard error; plain: a line every few seconds; none
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub progress: Mode,
    /// No progress and no warnings; what is asked for is printed all the same
    #[arg(long, global = true)]
    pub quiet: bool,
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
            log_format: self.log_format.clone(),
            metrics_textfile: self.metrics_textfile.clone(),
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
    DeleteStore(DeleteStore),
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
    /// Tells where the disk went, what is promised, and what a clean would give back
    Df(Df),
    /// Removes layers that no root file system uses
    Clean(Clean),
    /// Looks for whatever is wrong with a store, and mends it
    Check(Check),
    /// Lists the root file systems
    List(List),
    /// Looks for what keeps this machine and this store from working
    Doctor(Doctor),
    /// Writes new layers to disk a moment later; started by create and pull
    #[command(hide = true)]
    Settle(Settle),
    /// Says how large the store was configured to be
    #[command(override_usage = "grootfs [global options] capacity")]
    Capacity(Ignored),
    /// Prints the configuration that is in effect, and where each value comes from
    #[command(override_usage = "grootfs [global options] config")]
    Config(Ignored),
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
            Self::Df(_) => "df",
            Self::Clean(_) => "clean",
            Self::Check(_) => "check",
            Self::List(_) => "list",
            Self::Doctor(_) => "doctor",
            Self::Settle(_) => "settle",
            Self::Capacity(_) => "capacity",
            Self::Config(_) => "config",
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
