//! The bytes of one blob, whatever happens to connections on the way.
//!
//! A stream that breaks off goes on where it stopped, from the same server or the next one, so that
//! the hashes that the reader computes go on too. Nothing that was read is read again.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::StatusCode;
use ureq::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE};

use super::super::network::retry::Attempts;
use super::super::network::{self, Body, Response};
use super::error::Error;
use super::parts::Parts;
use super::session::Session;

/// Bytes between two failures that count as progress, after which attempts are counted anew.
const PROGRESS: u64 = 64 * 1024;

/// How long one stream is watched before more are opened beside it.
const WATCHED: Duration = Duration::from_millis(200);

/// Which blob, and how much of it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its digest as text.
    pub digest: String,
    /// Its length in bytes, where it is known.
    pub size: Option<u64>,
}

/// Reads one blob from its first byte to its last.
#[derive(Debug)]
pub struct BlobReader {
    session: Arc<Session>,
    wanted: Wanted,
    position: u64,
    body: Option<Body>,
    /// Number of the server that it comes from.
    server: usize,
    failed: u32,
    /// Where the last failure happened.
    failed_at: u64,
    /// Whether the server says that it hands out parts.
    in_parts: bool,
    begun: Instant,
    /// Time spent waiting for the network.
    waited: Duration,
    parts: Option<Parts>,
    /// Whether the end was an error.
    given_up: bool,
}

impl BlobReader {
    /// Opens a blob; a blob that nobody has is an error here and not at the first read.
    pub fn open(session: &Arc<Session>, wanted: Wanted) -> Result<Self, Error> {
        let mut reader = Self {
            session: Arc::clone(session),
            wanted,
            position: 0,
            body: None,
            server: 0,
            failed: 0,
            failed_at: 0,
            in_parts: false,
            begun: Instant::now(),
            waited: Duration::ZERO,
            parts: None,
            given_up: false,
        };
        reader.reopen()?;
        Ok(reader)
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let (answer, server) = request(&self.session, &self.wanted, self.position, None)?;
        self.server = server;
        self.in_parts = answer.in_parts;
        self.body = Some(answer.body);
        Ok(())
    }

    /// Reads from the one stream; goes on where it breaks off.
    fn read_single(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            if self.body.is_none() {
                self.reopen()?;
            }
            let Some(body) = &mut self.body else { continue };
            let begun = Instant::now();
            let answer = body.read(buffer);
            self.waited += begun.elapsed();
            let failure = match answer {
                Ok(0) => match self.wanted.size {
                    Some(size) if self.position < size => network::Error::Connection {
                        address: body.address().clone(),
                        why: format!("the answer ended after {} of {size} bytes", self.position),
                    },
                    _ => return Ok(0),
                },
                Ok(length) => {
                    self.position += length as u64;
                    return Ok(length);
                }
                Err(error) => error,
            };
            self.body = None;
            self.broke(failure)?;
        }
    }

    /// Notes that the stream broke, and waits before it is opened again.
    fn broke(&mut self, failure: network::Error) -> Result<(), Error> {
        if !failure.is_passing() {
            return Err(failure.into());
        }
        if self.position >= self.failed_at.saturating_add(PROGRESS) {
            self.failed = 0;
        }
        self.failed_at = self.position;
        let mut attempts = Attempts::begun(&self.session.network, self.failed);
        let again = attempts.again(None);
        self.failed = attempts.failed();
        if self.session.network.options.interrupt.is_stopped() {
            return Err(network::Error::Interrupted.into());
        }
        if self.session.broke(self.server, !again) {
            // The next server has done nothing wrong yet.
            self.failed = 0;
            return Ok(());
        }
        if again {
            return Ok(());
        }
        Err(network::retry::tried(failure, self.failed).into())
    }

    /// Whether more streams beside this one would bring the blob sooner: it is long, the server
    /// hands out parts, and it is the network that we wait for.
    fn should_split(&self) -> bool {
        let pull = &self.session.pull;
        let left = self.wanted.size.unwrap_or(0).saturating_sub(self.position);
        let elapsed = self.begun.elapsed();
        self.parts.is_none()
            && self.in_parts
            && pull.concurrency > 1
            && left > pull.chunk_size.saturating_mul(3)
            && elapsed >= WATCHED
            && self.waited > elapsed / 2
    }

    fn read_any(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.should_split() {
            // This stream goes on to the first part that is fetched beside it.
            let first = self.position + self.session.pull.chunk_size;
            self.parts = Parts::begin(&self.session, &self.wanted, first);
            self.in_parts = self.parts.is_some();
        }
        let Some(parts) = &mut self.parts else { return self.read_single(buffer) };
        let first = parts.first();
        if self.position < first {
            let most = usize::try_from(first - self.position).unwrap_or(usize::MAX);
            let most = most.min(buffer.len());
            return self.read_single(buffer.get_mut(..most).unwrap_or_default());
        }
        self.body = None;
        match parts.read(buffer) {
            Ok(length) => {
                self.position += length as u64;
                Ok(length)
            }
            // One stream can do what several cannot: go on alone from here.
            Err(error) => {
                self.parts = None;
                self.in_parts = false;
                match error {
                    Error::Network(error) => self.broke(error)?,
                    other => return Err(other),
                }
                self.read_single(buffer)
            }
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.given_up {
            // Whoever goes on reading does not make us ask again.
            return Err(io::Error::other("the blob could not be read to its end"));
        }
        let read = self.read_any(buffer);
        self.given_up = read.is_err();
        read.map_err(io::Error::other)
    }
}

/// An answer that begins at the byte that was asked for.
pub struct Answer {
    /// The bytes.
    pub body: Body,
    /// Whether the server hands out parts.
    pub in_parts: bool,
    /// How many bytes it says that there are.
    pub length: Option<u64>,
}

/// Asks for a blob from `first` on up to `last`, which is included; also tells the number of the
/// server.
pub fn request(
    session: &Session,
    wanted: &Wanted,
    first: u64,
    last: Option<u64>,
) -> Result<(Answer, usize), Error> {
    session.blob(wanted, first, last, |response| begin(response, wanted, first, last))
}

fn begin(
    response: Response,
    wanted: &Wanted,
    first: u64,
    last: Option<u64>,
) -> Result<Answer, Error> {
    let nonsense = |why: String| Error::Nonsense { what: format!("blob {}", wanted.digest), why };
    let length = response.number(CONTENT_LENGTH.as_str());
    if response.status == StatusCode::PARTIAL_CONTENT {
        let range = response.header(CONTENT_RANGE.as_str()).unwrap_or_default().to_owned();
        let (begins, size) = content_range(&range)
            .ok_or_else(|| nonsense(format!("a Content-Range that is none: `{range}`")))?;
        let other_size = wanted.size.is_some_and(|wanted| size.is_some_and(|size| size != wanted));
        if begins != first || other_size {
            return Err(nonsense(format!("asked for bytes from {first} on, got `{range}`")));
        }
        return Ok(Answer { body: response.into_body(), in_parts: true, length });
    }
    if let (Some(expected), Some(actual)) = (wanted.size, length)
        && expected != actual
    {
        return Err(nonsense(format!(
            "validating reported blob size: layer size is different from the value in the \
             manifest; expected: {expected}, actual {actual}"
        )));
    }
    if last.is_some() {
        return Err(nonsense("the server does not hand out parts".to_owned()));
    }
    let says = response.header(ACCEPT_RANGES.as_str()).unwrap_or_default();
    let in_parts = first == 0 && says.eq_ignore_ascii_case("bytes");
    let mut body = response.into_body();
    // The server begins from the front whatever it is asked: what is there already is passed over.
    skip(&mut body, first)?;
    Ok(Answer { body, in_parts, length })
}

fn skip(body: &mut Body, mut left: u64) -> Result<(), Error> {
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let length = body.read(buffer.get_mut(..most).unwrap_or_default())?;
        if length == 0 {
            let why = "the answer ended before the place where it should go on".to_owned();
            return Err(network::Error::Connection { address: body.address().clone(), why }.into());
        }
        left -= length as u64;
    }
    Ok(())
}

/// Reads `bytes 5-9/10`: where it begins, and the whole length if it is told.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    Some((first.trim().parse().ok()?, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 0-0/*", Some((0, None))),
            ("bytes */10", None),
            ("items 5-9/10", None),
            ("bytes -1-9/10", None),
            ("", None),
        ] {
            assert_eq!(content_range(text), expected, "{text}");
        }
    }
}
