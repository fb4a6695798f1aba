//! Logs.

pub mod log;

pub use log::{Level, Log};
