//! When something is tried again, and how long is waited before that.
//!
//! Faults of the connection and answers that say "later" (408, 429, 5xx) are tried again, with
//! waits that grow and differ by chance, so that many clients do not come back together. A server
//! that says when to come back is obeyed. Everything else is final at once.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use ureq::http::StatusCode;
use ureq::http::header::{HeaderMap, RETRY_AFTER};

use super::{Address, Error, Network, Request, Response};
use crate::observe::Level;
use crate::observe::log::data;

/// When to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How often something is tried in all; at least once.
    pub attempts: u32,
    /// The first wait; each further one is twice as long.
    pub first_wait: Duration,
    /// The longest wait, also where a server asks for a longer one.
    pub longest_wait: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        // Three attempts as the original had; together less than what a person waits.
        Self {
            attempts: 3,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(60),
        }
    }
}

impl Policy {
    /// The wait after a number of failed attempts: between half of the growing wait and all of it.
    pub fn wait(&self, failed: u32) -> Duration {
        let grown = self.first_wait.saturating_mul(1 << failed.saturating_sub(1).min(16));
        let grown = grown.min(self.longest_wait);
        let chance = RandomState::new().hash_one(failed) % 1000;
        let half = grown / 2;
        half + half * u32::try_from(chance).unwrap_or(0) / 1000
    }
}

/// Whether a status says "later".
pub fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// How long a server asks us to stay away (RFC 9110 section 10.2.3: seconds, or a date).
pub fn retry_after(response: &Response) -> Option<Duration> {
    parse_retry_after(response.header(RETRY_AFTER.as_str())?, SystemTime::now())
}

fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// One thing that is tried several times; keeps count.
#[derive(Debug)]
pub struct Attempts<'a> {
    network: &'a Network,
    failed: u32,
}

impl<'a> Attempts<'a> {
    /// Begins to count.
    pub fn new(network: &'a Network) -> Self {
        Self { network, failed: 0 }
    }

    /// Goes on counting.
    pub fn begun(network: &'a Network, failed: u32) -> Self {
        Self { network, failed }
    }

    /// How often it failed so far.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Notes a failure and waits; `false` when it is time to give up.
    ///
    /// A server that wants a longer break than the policy allows is not waited for.
    pub fn again(&mut self, asked_for: Option<Duration>) -> bool {
        let policy = &self.network.options.retry;
        self.failed += 1;
        if self.failed >= policy.attempts {
            return false;
        }
        let wait = match asked_for {
            Some(asked) if asked > policy.longest_wait => return false,
            Some(asked) => asked.max(policy.wait(1) / 2),
            None => policy.wait(self.failed),
        };
        self.network.options.log.tell(Level::Info, "trying-again", || {
            let wait = wait.as_secs_f64();
            data([("failedAttempts", self.failed.into()), ("waitSeconds", wait.into())])
        });
        !self.network.options.interrupt.wait(wait)
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Whole {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Where it came from, after redirects.
    pub address: Address,
    /// Its body.
    pub bytes: Vec<u8>,
}

impl Whole {
    /// A header's text; empty where it is missing or no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Response {
    /// Reads the whole answer, if its body is not longer than `most` bytes.
    pub fn whole(mut self, most: u64) -> Result<Whole, Error> {
        let headers = std::mem::take(&mut self.headers);
        let (status, address) = (self.status, self.address.clone());
        Ok(Whole { status, headers, address, bytes: self.bytes(most)? })
    }
}

impl Network {
    /// Asks, and reads the answer to its end; one that breaks off is asked for again.
    pub fn whole<E: From<Error>>(
        &self,
        most: u64,
        ask: impl Fn() -> Result<Response, E>,
    ) -> Result<Whole, E> {
        let mut attempts = Attempts::new(self);
        loop {
            match ask()?.whole(most) {
                Err(error) if error.is_passing() => {
                    if !attempts.again(None) {
                        return Err(tried(error, attempts.failed()).into());
                    }
                }
                other => return Ok(other?),
            }
        }
    }

    /// Asks until there is an answer that is no "later", as often as the policy says.
    ///
    /// The last answer is handed out whatever it is; an error tells how often it was tried.
    pub fn ask(&self, request: &Request<'_>) -> Result<Response, Error> {
        let mut attempts = Attempts::new(self);
        loop {
            match self.exchange(request) {
                Ok(response) if is_passing(response.status) => {
                    if !attempts.again(retry_after(&response)) {
                        return if self.options.interrupt.is_stopped() {
                            Err(Error::Interrupted)
                        } else {
                            Ok(Response { tries: attempts.failed(), ..response })
                        };
                    }
                }
                Err(error) if error.is_passing() => {
                    if !attempts.again(None) {
                        return Err(tried(error, attempts.failed()));
                    }
                }
                other => return other,
            }
        }
    }
}

/// Tells how often something was tried.
pub fn tried(error: Error, times: u32) -> Error {
    match error {
        Error::Connection { address, why } if times > 1 => {
            Error::Connection { address, why: format!("{why} (tried {times} times)") }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let policy = Policy {
            attempts: 3,
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(1),
        };
        for (failed, least, most) in [(1, 50, 100), (2, 100, 200), (3, 200, 400), (40, 500, 1000)] {
            let wait = policy.wait(failed).as_millis();
            assert!((least..=most).contains(&wait), "{failed}: {wait}");
        }
    }

    #[test]
    fn servers_say_when() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        for (value, seconds) in [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("Wed, 21 Oct 2015 07:28:09 GMT", Some(9)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let found = parse_retry_after(value, now).map(|wait| wait.as_secs());
            assert_eq!(found, seconds, "{value}");
        }
    }

    #[test]
    fn only_later_is_later() {
        for (status, expected) in [
            (200, false),
            (401, false),
            (404, false),
            (408, true),
            (429, true),
            (500, true),
            (503, true),
            (501, false),
        ] {
            assert_eq!(is_passing(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }
}
