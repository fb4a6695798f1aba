//! What tests need around grootfs: images, file systems, and servers that behave and misbehave.
//!
//! For tests only; nothing that we ship depends on it. A thing that cannot be started panics with
//! the reason and the package to install, so that a test never passes without its subject.

pub mod bare_registry;
pub mod certificates;
pub mod daemon;
mod delivery;
pub mod fault;
pub mod fault_proxy;
pub mod http;
pub mod http_proxy;
pub mod link;
pub mod push;
pub mod recording_server;
pub mod registry;
pub mod token_server;
