//! What went through the pipe of a layer, and who waited for whom.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts for one pipe. Clocks are looked at only where somebody wants to know.
#[derive(Debug, Default)]
pub struct Traffic {
    timed: bool,
    bytes: AtomicU64,
    source: AtomicU64,
    starved: AtomicU64,
}

impl Traffic {
    /// Counts of a new pipe.
    pub fn new(timed: bool) -> Self {
        Self { timed, ..Self::default() }
    }

    /// Counts bytes as they are sent; the sum so far.
    pub fn add(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits for the source.
    pub fn time_source<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.time(&self.source, wait)
    }

    /// Waits, as the unpacker, for plain bytes.
    pub fn time_unpacker<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.time(&self.starved, wait)
    }

    /// How long the source was waited for.
    pub fn waited_for_source(&self) -> Duration {
        Duration::from_nanos(self.source.load(Ordering::Relaxed))
    }

    /// How long the unpacker had nothing to do.
    pub fn starved(&self) -> Duration {
        Duration::from_nanos(self.starved.load(Ordering::Relaxed))
    }

    fn time<T>(&self, sum: &AtomicU64, wait: impl FnOnce() -> T) -> T {
        if !self.timed {
            return wait();
        }
        let begin = Instant::now();
        let result = wait();
        let nanoseconds = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        sum.fetch_add(nanoseconds, Ordering::Relaxed);
        result
    }
}
