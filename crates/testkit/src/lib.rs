//! What tests need around grootfs: images, file systems, and servers that behave and misbehave.
//!
//! For tests only; nothing that we ship depends on it. A thing that cannot be started panics with
//! the reason and the package to install, so that a test never passes without its subject.

pub mod daemon;
pub mod registry;
