//! Which answers go wrong, and how.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::http::message::{Headers, Request};

/// One thing that goes wrong with an answer. Several of them can meet in one [`Rule`].
///
/// Positions count the bytes of the answer's body, from 0, unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed before a byte of the answer.
    Close,
    /// The connection is closed after so many bytes of the answer's head.
    CutHeadAt(usize),
    /// The connection is closed after so many bytes; the client gets all of them.
    CutAt(u64),
    /// The connection is reset after so many bytes; the client may lose some of them.
    ResetAt(u64),
    /// After so many bytes nothing more comes, until the client goes or the time is over.
    StallAt(u64, Duration),
    /// So many bytes at a time, with a pause before each.
    Drip(usize, Duration),
    /// Bytes from this position *of the blob* on are inverted: a part of the blob (status 206) is
    /// wrong at the same place as the whole.
    Corrupt(u64, u64),
    /// This answer, in the place of the server's.
    Answer(u16, Headers, Vec<u8>),
    /// A redirect with this status to another server: its URL without a path, the request's target
    /// is put behind it.
    Redirect(u16, String),
    /// A redirect to the same server and path with another query, each time again.
    RedirectLoop,
    /// The `Range` field is not passed on: the answer is a whole with status 200.
    IgnoreRange,
    /// `Content-Range` names a position that is off by so much; the bytes are the right ones.
    ContentRangeOff(i64),
    /// The body goes on after its end, without a declared length, up to so many bytes in all.
    Endless(u64),
    /// `Content-Length` is off by so much. The body comes whole, then the connection is closed.
    LengthOff(i64),
    /// The body comes in chunks, without a length.
    Chunked,
    /// The body comes without a length, and ends where the connection ends.
    UntilClose,
    /// So many more header fields with values of so many bytes.
    HugeHeaders(usize, usize),
    /// A header field gets another value, or none.
    Header(String, Option<String>),
    /// The answer starts later.
    Delay(Duration),
    /// The answer is not HTTP.
    NotHttp,
}

impl Fault {
    /// An answer with a status and a short text.
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Headers::default(), format!("made to fail with {status}\n").into())
    }

    /// An answer with a status that asks to come back after so many seconds.
    pub fn retry_after_seconds(status: u16, seconds: u64) -> Self {
        Self::retry_after(status, &seconds.to_string())
    }

    /// An answer with a status that names the second at which to come back, counted from now.
    ///
    /// HTTP dates have whole seconds: the wait may be up to one second shorter.
    pub fn retry_after_date(status: u16, from_now: Duration) -> Self {
        Self::retry_after(status, &httpdate::fmt_http_date(SystemTime::now() + from_now))
    }

    fn retry_after(status: u16, when: &str) -> Self {
        Self::Answer(status, Headers::from([("Retry-After", when)]), b"later\n".into())
    }
}

/// Which of the requests that match a rule are its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Always,
    First(u64),
    Nth(u64),
    After(u64),
}

/// Which requests get a fault.
///
/// Every rule counts the requests that it matches. Of those whose turn it is, the one that was
/// added first decides; faults of several rules are never mixed.
#[derive(Debug, Clone)]
pub struct Rule {
    part: String,
    method: Option<String>,
    ranged: Option<bool>,
    turn: Turn,
    each_path: bool,
    faults: Vec<Fault>,
    seen: HashMap<String, u64>,
}

impl Rule {
    /// Matches every request whose path or query contains `part`: `/blobs/`, a digest, or nothing.
    pub fn on(part: &str) -> Self {
        Self {
            part: part.to_owned(),
            method: None,
            ranged: None,
            turn: Turn::Always,
            each_path: false,
            faults: Vec::new(),
            seen: HashMap::new(),
        }
    }

    /// Only requests whose path or query contains `part`, in the place of what was said before.
    #[must_use]
    pub fn part(mut self, part: &str) -> Self {
        part.clone_into(&mut self.part);
        self
    }

    /// Only requests with this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only requests with a `Range` field, or only those without.
    #[must_use]
    pub fn ranged(mut self, ranged: bool) -> Self {
        self.ranged = Some(ranged);
        self
    }

    /// Only the first so many of the requests that match.
    #[must_use]
    pub fn first(mut self, count: u64) -> Self {
        self.turn = Turn::First(count);
        self
    }

    /// Only this one of the requests that match; the first is 1.
    #[must_use]
    pub fn nth(mut self, number: u64) -> Self {
        self.turn = Turn::Nth(number);
        self
    }

    /// Only the requests after the first so many that match.
    #[must_use]
    pub fn after(mut self, count: u64) -> Self {
        self.turn = Turn::After(count);
        self
    }

    /// Counts for every path on its own, so that `first(1)` hits each blob once.
    #[must_use]
    pub fn each_path(mut self) -> Self {
        self.each_path = true;
        self
    }

    /// What goes wrong; may be called several times.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Counts the request; the faults when it is the rule's turn.
    fn meet(&mut self, request: &Request) -> Option<&[Fault]> {
        let ranged = request.headers.get("range").is_some();
        let matches = request.target.contains(&self.part)
            && self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.ranged.is_none_or(|wanted| wanted == ranged);
        if !matches {
            return None;
        }
        let key = if self.each_path { request.path() } else { "" };
        let seen = self.seen.entry(key.to_owned()).or_default();
        *seen += 1;
        let turn = match self.turn {
            Turn::Always => true,
            Turn::First(count) => *seen <= count,
            Turn::Nth(number) => *seen == number,
            Turn::After(count) => *seen > count,
        };
        turn.then_some(self.faults.as_slice())
    }
}

/// The faults of the first rule whose turn it is; all rules count the request.
pub(crate) fn decide(rules: &mut [Rule], request: &Request) -> Vec<Fault> {
    let mut decided = None;
    for rule in rules {
        let met = rule.meet(request);
        decided = decided.or_else(|| met.map(<[Fault]>::to_vec));
    }
    decided.unwrap_or_default()
}
