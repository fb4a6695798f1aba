//! Dropsonde envelopes over UDP, for Cloud Foundry's metrics agent (contract 8.1, 8.2, B6).
//!
//! An envelope is a small protobuf (proto2) message, one a datagram, without framing. The few fields that
//! the originals set are written by hand: no generated code, no schema at run time.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Ending, Layer, Measure, Report, Sizes, Timing};
use crate::error::reason;

/// Where values and counters say that they come from.
const ORIGIN: &str = "grootfs";

/// Longest error text that is sent: a datagram must stay well below 64 KiB.
const LONGEST_TEXT: usize = 8 * 1024;

/// How long a name that is still being looked up is waited for at the end of a command. It has been looked up
/// since the begin; nobody's create is to wait for a name server.
const LOOKUP_LIMIT: Duration = Duration::from_millis(20);

/// Whose set of metrics is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// That of v0.30.0, with the counters of its manual.
    V030,
    /// That of the later releases.
    Later,
}

/// Why nothing is sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is no `host:port`, or nobody knows the host.
    #[error("metrics are not sent: the endpoint `{}` cannot be resolved: {}", .0, reason(.1))]
    Unresolved(String, io::Error),
    /// The name server takes its time.
    #[error("metrics are not sent: the endpoint `{0}` is still being looked up; give its address")]
    Slow(String),
    /// The datagrams cannot leave this machine.
    #[error("metrics are not sent to `{}`: {}", .0, reason(.1))]
    Unsent(String, io::Error),
}

/// Who gets the envelopes.
#[derive(Debug)]
pub struct Endpoint {
    text: String,
    address: Address,
}

#[derive(Debug)]
enum Address {
    Known(SocketAddr),
    LookedUp(Receiver<io::Result<SocketAddr>>),
}

impl Endpoint {
    /// Takes a `host:port`. A name is looked up by a thread of its own.
    pub fn new(text: &str) -> Self {
        let address = match text.parse() {
            Ok(address) => Address::Known(address),
            Err(_) => {
                let (found, wanted) = channel();
                let name = text.to_owned();
                // The receiver is gone when the command was faster. Where no thread can be had, the
                // sender is gone, which reads as a lookup that takes too long.
                let _ = std::thread::Builder::new()
                    .name("metrics-endpoint".into())
                    .spawn(move || found.send(look_up(&name)));
                Address::LookedUp(wanted)
            }
        };
        // No endpoint has a login, but somebody may have written one.
        let text = text.rsplit_once('@').map_or(text.to_owned(), |(_, host)| format!("***@{host}"));
        Self { text, address }
    }

    /// Sends a command's envelopes and forgets them: nobody knows whether they arrive.
    pub fn send(&self, report: &Report<'_>, set: Set) -> Result<(), Error> {
        let envelopes = envelopes(report, set);
        if envelopes.is_empty() {
            return Ok(());
        }
        let address = match &self.address {
            Address::Known(address) => *address,
            Address::LookedUp(found) => match found.recv_timeout(LOOKUP_LIMIT) {
                Ok(Ok(address)) => address,
                Ok(Err(error)) => return Err(Error::Unresolved(self.text.clone(), error)),
                Err(_) => return Err(Error::Slow(self.text.clone())),
            },
        };
        let unsent = |error| Error::Unsent(self.text.clone(), error);
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any).map_err(unsent)?;
        socket.set_nonblocking(true).map_err(unsent)?;
        for envelope in envelopes {
            match socket.send_to(&envelope, address) {
                // A full buffer loses this one, as the network might.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(unsent(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The first IPv4 address of a name, as the originals took; another one where there is none.
fn look_up(name: &str) -> io::Result<SocketAddr> {
    let found: Vec<SocketAddr> = name.to_socket_addrs()?.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| io::Error::other("it has no address"))
}

/// Whether a command is measured at all.
pub fn is_measured(command: &str) -> bool {
    MEASURED.contains(&command)
}

/// Whether a command's envelopes tell of the bytes of its store.
pub fn tells_sizes(command: &str, ending: &Ending, set: Set) -> bool {
    let some = Sizes { filesystem: 1, ..Sizes::default() };
    !sizes(command, ending, false, &some, set).is_empty()
}

/// All envelopes of a command, in the order of the originals.
fn envelopes(report: &Report<'_>, set: Set) -> Vec<Vec<u8>> {
    let command = report.command;
    if report.ending == Ending::NotThere || !is_measured(command) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for recorded in &report.measured {
        for (name, time) in times(&recorded.measure, set) {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            out.push(value(recorded.at, name, nanos, "nanos"));
        }
    }
    if set == Set::V030 {
        let ended = match &report.ending {
            Ending::Success => Some("success"),
            Ending::Failure { code, text } => {
                out.push(error(&format!("grootfs-error.{command}"), *code, text));
                Some("fail")
            }
            Ending::Skipped | Ending::NotThere => None,
        };
        if let Some(ended) = ended {
            // The first and the third were sent; the second is what the manual promised.
            for counter in ["run", ended, &format!("run.{ended}")] {
                out.push(counted(report.at, &format!("grootfs-{command}.{counter}")));
            }
        }
    }
    if let Some(known) = &report.sizes {
        for (name, bytes) in sizes(command, &report.ending, report.cleaned_after, known, set) {
            out.push(value(report.at, name, bytes, "bytes"));
        }
    }
    out
}

/// The commands that the originals measured, and `pull`, which is half a create.
const MEASURED: &[&str] = &["create", "pull", "delete", "stats", "clean"];

/// The originals' names for what took a while.
fn times(measure: &Measure, set: Set) -> Vec<(&'static str, Duration)> {
    let (timing, time) = match *measure {
        Measure::Took(timing, time) => (timing, time),
        Measure::Layer(Layer { download, unpack, .. }) => {
            let download = match set {
                Set::V030 => download,
                // Downloading contained unpacking there.
                Set::Later => download + unpack,
            };
            return vec![("DownloadTime", download), ("UnpackTime", unpack)];
        }
    };
    let name = match (timing, set) {
        (Timing::ImageStats, Set::Later) | (Timing::CleanLock, Set::V030) => return Vec::new(),
        (Timing::ImageCreation, _) => "ImageCreationTime",
        (Timing::ImageDeletion, _) => "ImageDeletionTime",
        (Timing::ImageStats, Set::V030) => "ImageStatsTime",
        (Timing::ImageClean, _) => "ImageCleanTime",
        (Timing::SharedLock, _) => "SharedLockingTime",
        (Timing::ExclusiveLock | Timing::ChoosingLock, _) | (Timing::CleanLock, Set::Later) => {
            "ExclusiveLockingTime"
        }
    };
    vec![(name, time)]
}

/// The originals' names for the bytes that they told of after a command.
fn sizes(
    command: &str,
    ending: &Ending,
    cleaned_after: bool,
    known: &Sizes,
    set: Set,
) -> Vec<(&'static str, u64)> {
    let unused = ("UnusedLayersSize", known.unused_layers);
    let used = ("UsedLayersSize", known.used_layers);
    let store = ("StoreUsage", known.filesystem_used);
    let failed = matches!(ending, Ending::Failure { .. });
    match (set, command) {
        (Set::V030, "create" | "pull") if !failed => vec![store, unused],
        (Set::V030, "clean") if *ending == Ending::Success => vec![store, unused],
        (Set::V030, "clean") if failed => Vec::new(),
        (Set::V030, "create" | "pull" | "delete" | "clean") => vec![unused],
        (Set::Later, "create" | "pull") if !failed => {
            let layers = if cleaned_after { Vec::new() } else { vec![unused, used] };
            let downloaded = vec![("DownloadedLayersSizeInBytes", known.layers)];
            let committed = known.committed.map(|bytes| ("CommittedQuotaInBytes", bytes));
            let used = vec![("UsedBackingStoreInBytes", known.filesystem_used)];
            [layers, downloaded, Vec::from_iter(committed), used].concat()
        }
        (Set::Later, "delete" | "clean") if !failed => vec![unused, used],
        _ => Vec::new(),
    }
}

fn value(at: SystemTime, name: &str, number: u64, unit: &str) -> Vec<u8> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "the format has doubles; 2^53 ns are a hundred days"
    )]
    let number = number as f64;
    let inner = Message::new().text(1, name).double(2, number).text(3, unit);
    envelope(ORIGIN, 6).number(6, nanoseconds(at)).message(9, inner).bytes
}

fn counted(at: SystemTime, name: &str) -> Vec<u8> {
    let inner = Message::new().text(1, name).number(2, 1);
    envelope(ORIGIN, 7).number(6, nanoseconds(at)).message(10, inner).bytes
}

fn error(source: &str, code: u8, text: &str) -> Vec<u8> {
    let end = (0..=LONGEST_TEXT).rev().find_map(|end| text.get(..end));
    let text = if text.len() > LONGEST_TEXT { end.unwrap_or_default() } else { text };
    let inner = Message::new().text(1, source).number(2, u64::from(code)).text(3, text);
    envelope(source, 8).message(11, inner).bytes
}

fn envelope(origin: &str, event_type: u64) -> Message {
    Message::new().text(1, origin).number(2, event_type)
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A protobuf message that is being written.
#[derive(Debug, Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new() -> Self {
        Self::default()
    }

    /// Wire type 0.
    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    /// Wire type 1.
    fn double(mut self, field: u64, value: f64) -> Self {
        self.varint(field << 3 | 1);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// Wire type 2.
    fn text(mut self, field: u64, value: &str) -> Self {
        self.delimited(field, value.as_bytes());
        self
    }

    /// Wire type 2 as well.
    fn message(mut self, field: u64, inner: Self) -> Self {
        self.delimited(field, &inner.bytes);
        self
    }

    fn delimited(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.bytes.extend(value);
    }

    /// Seven bits a byte, the lowest first; all but the last have the highest bit set.
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_lengths() {
        // From the description of the encoding.
        assert_eq!(Message::new().number(1, 150).bytes, [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().number(1, 0).bytes, [0x08, 0]);
        let largest = Message::new().number(1, u64::MAX).bytes;
        assert_eq!(largest, [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        assert_eq!(Message::new().text(2, "testing").bytes, b"\x12\x07testing");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let envelope = error("grootfs-error.create", 1, &"ä".repeat(50_000));
        assert!(envelope.len() < LONGEST_TEXT + 200);
        assert!(std::str::from_utf8(&envelope[envelope.len() - 2..]).is_ok());
    }

    #[test]
    fn endpoints_without_sense_are_errors_and_no_wait() {
        let report = Report {
            command: "stats",
            store: "/s",
            measured: Vec::new(),
            ending: Ending::Success,
            at: SystemTime::now(),
            took: Duration::ZERO,
            cleaned_after: false,
            sizes: None,
        };
        for text in ["", "nonsense", "127.0.0.1", ":", "127.0.0.1:99999"] {
            let error = Endpoint::new(text).send(&report, Set::V030).unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
        let error = Endpoint::new("me:secret@host:x").send(&report, Set::V030).unwrap_err();
        assert!(error.to_string().contains("`***@host:x`"), "{error}");
        // Nothing to send, so nobody is asked.
        assert!(Endpoint::new("nonsense").send(&report, Set::Later).is_ok());
    }
}
