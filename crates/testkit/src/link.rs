//! A slow and distant network, imitated.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What lies between the client and the server.
///
/// The first answer of a connection waits for the round trips of its set-up too: one, with TLS
/// another one. What TCP's slow start costs is not imitated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// One round trip: every answer starts this much later.
    pub round_trip: Duration,
    /// Bytes of bodies a second, for all connections together.
    pub bytes_per_second: Option<u64>,
}

impl Link {
    /// How long an answer has to wait.
    pub(crate) fn delay(&self, first_of_connection: bool, tls: bool) -> Duration {
        let trips = match (first_of_connection, tls) {
            (false, _) => 1,
            (true, false) => 2,
            (true, true) => 3,
        };
        self.round_trip * trips
    }
}

/// How much unused time of the link may still be used. Threads wake late by a part of it, and each
/// time would be lost: a link of 200 Mbit a second carried 177.
const CREDIT: Duration = Duration::from_millis(10);

/// Shares the bandwidth between connections.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: Option<u64>,
    free: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, free: Mutex::new(Instant::now()) }
    }

    /// Books the link for so many bytes; gives the time until they are through.
    pub(crate) fn book(&self, bytes: usize) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let now = Instant::now();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / rate.max(1);
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        *free = (*free).max(earliest) + Duration::from_nanos(nanos);
        free.saturating_duration_since(now)
    }
}
