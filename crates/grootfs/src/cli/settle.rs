//! `grootfs settle`: what a create that brought layers in starts and does not wait for.

use super::{Context, detached};
use crate::error::Error;
use crate::store::durability;

/// Waits a moment, and writes new layers to disk.
pub fn run(context: &Context) -> Result<String, Error> {
    // Holds nothing of the store meanwhile, which may be taken away.
    std::thread::sleep(durability::PAUSE);
    if !context.layout.root().exists() {
        return Ok(String::new());
    }
    // Whatever is being started has the processor first.
    let _ = rustix::process::nice(19);
    let settled = durability::settle(&context.layout)?;
    context.log.info("settled", &settled.to_string());
    Ok(String::new())
}

/// Does so in a process of its own. Where none can be started, layers are pulled again after a power cut,
/// and nothing worse.
pub fn start_detached(context: &Context) {
    let started = detached::start(context, |command| {
        command.arg("settle");
    });
    if let Err(error) = started {
        context.log.error("settling-failed", &error);
    }
}
