//! How an answer gets to the client, with what goes wrong on the way.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use crate::fault::Fault;
use crate::http::message::{Headers, reason, write_chunk};
use crate::http::server::{Connection, Next};
use crate::http::upstream::Answer;
use crate::link::Pace;

/// How many bytes go out at a time.
const PIECE: usize = 64 << 10;

/// An answer before anything goes wrong with it.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    body: Box<dyn Read>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    pub(crate) fn fixed(status: u16, mut headers: Headers, body: Vec<u8>) -> Self {
        headers.set("Content-Length", &body.len().to_string());
        Self { status, headers, body: Box::new(io::Cursor::new(body)) }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let mut headers = answer.headers;
        headers.remove("Connection");
        Self { status: answer.status, headers, body: Box::new(answer.body) }
    }
}

/// Sends one answer.
pub(crate) struct Delivery<'a> {
    faults: &'a [Fault],
    pace: &'a Pace,
    /// Called with the number of bytes after each piece of the body.
    sent: &'a dyn Fn(u64),
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// Where in the body something happens, and what.
enum Event {
    Cut(Next),
    Stall(Duration),
}

impl<'a> Delivery<'a> {
    pub(crate) fn new(faults: &'a [Fault], pace: &'a Pace, sent: &'a dyn Fn(u64)) -> Self {
        Self { faults, pace, sent }
    }

    pub(crate) fn run(
        &self,
        mut reply: Reply,
        head_only: bool,
        to: &mut Connection,
    ) -> io::Result<Next> {
        let blob_offset = blob_offset(&reply.headers);
        let mut next = Next::Keep;
        for fault in self.faults {
            if let Some(after) = alter(&mut reply, fault) {
                next = after;
            }
        }
        let head_only = head_only || matches!(reply.status, 204 | 304);
        let length = reply.headers.get("content-length").is_some();
        let chunked = !length && next == Next::Keep && !head_only;
        if chunked {
            reply.headers.set("Transfer-Encoding", "chunked");
        } else {
            reply.headers.remove("Transfer-Encoding");
        }
        if next != Next::Keep {
            reply.headers.set("Connection", "close");
        }
        let mut head =
            format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status)).into_bytes();
        reply.headers.write(&mut head);
        let cut = self.faults.iter().find_map(|fault| match fault {
            Fault::CutHeadAt(bytes) => head.get(..*bytes),
            _ => None,
        });
        if let Some(part) = cut {
            to.send(part)?;
            return Ok(Next::Cut);
        }
        to.send(&head)?;
        if head_only {
            return Ok(next);
        }
        match self.body(&mut reply.body, blob_offset, chunked, to)? {
            Some(cut) => Ok(cut),
            None => {
                if chunked {
                    to.send(b"0\r\n\r\n")?;
                }
                Ok(next)
            }
        }
    }

    /// Sends the body; gives what becomes of the connection when it is not sent to its end.
    fn body(
        &self,
        body: &mut dyn Read,
        blob_offset: u64,
        chunked: bool,
        to: &mut Connection,
    ) -> io::Result<Option<Next>> {
        let (most, pause) = self.drip();
        let mut buffer = vec![0; most];
        let mut events = self.events();
        let mut at = 0;
        loop {
            if let Some((_, event)) = events.pop_if(|(position, _)| *position <= at) {
                match event {
                    Event::Cut(next) => return Ok(Some(next)),
                    Event::Stall(time) => to.wait_for_client(time)?,
                }
                continue;
            }
            let until = events.last().map_or(u64::MAX, |(position, _)| *position) - at;
            let most = usize::try_from(until).unwrap_or(usize::MAX).min(buffer.len());
            let count = body.read(&mut buffer[..most])?;
            if count == 0 {
                return Ok(None);
            }
            let piece = &mut buffer[..count];
            self.corrupt(piece, blob_offset + at);
            to.wait(pause + self.pace.book(count))?;
            if chunked {
                let mut framed = Vec::with_capacity(count + 16);
                write_chunk(&mut framed, piece)?;
                to.send(&framed)?;
            } else {
                to.send(piece)?;
            }
            at += count as u64;
            (self.sent)(count as u64);
        }
    }

    fn drip(&self) -> (usize, Duration) {
        let drip = self.faults.iter().find_map(|fault| match fault {
            Fault::Drip(bytes, pause) => Some(((*bytes).max(1), *pause)),
            _ => None,
        });
        drip.unwrap_or((PIECE, Duration::ZERO))
    }

    /// What happens on the way, the last position first.
    fn events(&self) -> Vec<(u64, Event)> {
        let event = |fault: &Fault| match fault {
            Fault::CutAt(position) => Some((*position, Event::Cut(Next::Cut))),
            Fault::ResetAt(position) => Some((*position, Event::Cut(Next::Reset))),
            Fault::StallAt(position, time) => Some((*position, Event::Stall(*time))),
            _ => None,
        };
        let mut events: Vec<_> = self.faults.iter().filter_map(event).collect();
        events.sort_by_key(|(position, _)| std::cmp::Reverse(*position));
        events
    }

    fn corrupt(&self, piece: &mut [u8], at: u64) {
        for fault in self.faults {
            if let Fault::Corrupt(from, count) = fault {
                let wrong = *from..from.saturating_add(*count);
                for (byte, position) in piece.iter_mut().zip(at..) {
                    if wrong.contains(&position) {
                        *byte = !*byte;
                    }
                }
            }
        }
    }
}

/// Where in the blob the body starts: not at 0 when it is a part.
fn blob_offset(headers: &Headers) -> u64 {
    let range = headers.get("content-range").and_then(|value| value.strip_prefix("bytes "));
    let start = range.and_then(|range| range.split('-').next());
    start.and_then(|start| start.parse().ok()).unwrap_or(0)
}

/// Changes the head or the whole of an answer; gives what must become of the connection then.
fn alter(reply: &mut Reply, fault: &Fault) -> Option<Next> {
    let headers = &mut reply.headers;
    match fault {
        Fault::ContentRangeOff(by) => {
            let range = headers.get("content-range").and_then(|value| shifted(value, *by));
            headers.set("Content-Range", &range?);
        }
        Fault::Endless(bytes) => {
            let body = std::mem::replace(&mut reply.body, Box::new(io::empty()));
            reply.body = Box::new(body.chain(io::repeat(b'x')).take(*bytes));
            headers.remove("Content-Length");
        }
        Fault::LengthOff(by) => {
            let length: u64 = headers.get("content-length")?.parse().ok()?;
            let length = length.saturating_add_signed(*by);
            headers.set("Content-Length", &length.to_string());
            return Some(Next::Close);
        }
        Fault::Chunked => headers.remove("Content-Length"),
        Fault::UntilClose => {
            headers.remove("Content-Length");
            return Some(Next::Close);
        }
        Fault::HugeHeaders(count, size) => {
            let value = "x".repeat(*size);
            for number in 0..*count {
                headers.add(&format!("X-Padding-{number}"), &value);
            }
        }
        Fault::Header(name, Some(value)) => headers.set(name, value),
        Fault::Header(name, None) => headers.remove(name),
        _ => {}
    }
    None
}

/// `bytes 100-199/500` off by 3 is `bytes 103-202/500`.
fn shifted(value: &str, by: i64) -> Option<String> {
    let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let start = start.parse::<u64>().ok()?.saturating_add_signed(by);
    let end = end.parse::<u64>().ok()?.saturating_add_signed(by);
    Some(format!("bytes {start}-{end}/{size}"))
}
