//! Arguments of `check`.

use clap::Args;

use super::require;
use crate::error::Error;

/// `check`
#[derive(Debug, Args)]
#[command(override_usage = "grootfs [global options] check [options]")]
pub struct Check {
    /// Mends what can be mended
    #[arg(long)]
    pub repair: bool,
    /// Looks at the files of layers too, not only at what is written about them
    #[arg(long)]
    pub verify: bool,
    /// One JSON object, for programs
    #[arg(long)]
    pub json: bool,
    /// None
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

impl Check {
    /// Checks the number of arguments.
    pub fn check(&self) -> Result<(), Error> {
        require(self.arguments.is_empty(), "invalid arguments - usage: check [options]")
    }
}
