//! Logs and metrics.

pub mod log;
pub mod metrics;

pub use log::{Level, Log};
pub use metrics::Metrics;
