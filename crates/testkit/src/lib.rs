//! What the tests of grootfs are made of: images, file systems, registries, containers.
//!
//! For tests only; nothing here is shipped. Everything that a helper makes (mounts, loop devices,
//! processes, directories) goes away when its value is dropped, also when a test fails. What is
//! missing on a machine is a panic that names the package to install.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a panic here is the test's failure")]

pub mod bare_registry;
pub mod certificates;
pub mod command;
pub mod container;
pub mod daemon;
mod delivery;
pub mod fault;
pub mod fault_proxy;
pub mod filesystem;
pub mod hostile;
pub mod http;
pub mod http_proxy;
pub mod image;
pub mod jail;
pub mod layer;
pub mod link;
pub mod memory_cgroup;
pub mod metrics_agent;
pub mod oci_model;
pub mod push;
pub mod recording_server;
pub mod registry;
pub mod set_uid;
pub mod token_server;
pub mod tree;
pub mod uml;
pub mod user;
