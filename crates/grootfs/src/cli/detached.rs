//! Work that nobody waits for: a process of our own that belongs to nobody (contract B3).

use std::process::Command;

use super::Context;
use crate::error::{Error, reason};

/// Starts a command on the same store. `change` adds options, the command and its arguments.
pub fn start(context: &Context, change: impl FnOnce(&mut Command)) -> Result<(), Error> {
    let config = &context.config;
    let failed = |why: String| Error::Message(format!("failed-to-schedule-cleanup: {why}"));
    // Not the first argument, which may be a relative path (contract D3.58).
    let program = std::env::current_exe().map_err(|error| failed(reason(&error)))?;
    let mut command = Command::new(program);
    // So that no file system is kept busy by a working directory.
    command.current_dir("/");
    if let Some(file) = &config.file {
        command.arg("--config").arg(std::path::absolute(file).unwrap_or_else(|_| file.clone()));
    }
    command.arg("--store").arg(&config.store).args(["--compat", &config.compat.to_string()]);
    if let Some(driver) = config.driver {
        command.args(["--driver", driver.name()]);
    }
    change(&mut command);
    groot_sys::process::spawn_detached(&mut command).map_err(|error| failed(error.to_string()))
}
