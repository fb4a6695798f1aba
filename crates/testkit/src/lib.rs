//! What the tests of grootfs are made of: images, file systems, registries, containers.
//!
//! For tests only; nothing here is shipped. Everything that a helper makes (mounts, loop devices,
//! processes, directories) goes away when its value is dropped, also when a test fails. What is
//! missing on a machine is a panic that names the package to install.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a panic here is the test's failure")]

pub mod command;
pub mod container;
pub mod daemon;
pub mod filesystem;
pub mod image;
pub mod layer;
pub mod registry;
pub mod tree;
pub mod uml;
