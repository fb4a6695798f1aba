//! Arguments with which `create` writes for an OCI runtime.

use std::path::PathBuf;

use clap::Args;

use super::require;
use crate::error::Error;

/// What a runtime gets beside the line on standard output.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bundle options")]
pub struct BundleArgs {
    /// Makes an OCI bundle for `runc run -b DIR`: config.json in DIR. Words behind the id replace the
    /// image's default arguments
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Prints that config.json, in place of the usual line
    #[arg(long)]
    pub config_json: bool,
    /// Lets --bundle replace a config.json that is there
    #[arg(long)]
    pub force: bool,
}

impl BundleArgs {
    /// Whether a whole config.json is wanted.
    pub fn is_wanted(&self) -> bool {
        self.bundle.is_some() || self.config_json
    }

    /// Checks that the flags go together.
    pub fn check(&self) -> Result<(), Error> {
        let both = self.bundle.is_some() && self.config_json;
        require(!both, "--bundle and --config-json cannot be used together")?;
        require(!self.force || self.bundle.is_some(), "--force goes with --bundle")
    }
}
