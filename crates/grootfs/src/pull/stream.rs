//! The pipe of one layer.
//!
//! ```text
//! thread 1   source -> count, hash -> decompress ─┬─> thread 2   hash the plain bytes
//!                                                 └─> the caller: unpack
//! ```
//!
//! A pipe may be started before somebody is ready to unpack from it; it then fills and waits.
//!
//! Chunks go round: a chunk that both readers are done with is filled again. Their number and
//! size are fixed, so memory does not grow with the layer.

use std::io::{self, BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use super::chunks::{self, Chunks, recycle};
use super::counted::Counted;
use super::decompress::{Compression, compression, decode_error};
use super::stop::Stop;
use super::traffic::Traffic;
use crate::image::digest::{Algorithm, Digest, Hasher};
use crate::image::{self, Identity, ImageSource, Layer};
use crate::unpack;

/// Chunks of one layer: two being worked on, and some ahead for whoever is slower.
const CHUNKS: usize = 8;

/// Plain bytes up to which nobody asks how few bytes they were made of.
const HARMLESS: u64 = 1 << 30;

/// Bytes read from the source at once.
const SOURCE_BUFFER: usize = 128 * 1024;

/// Why a layer's bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source cannot be opened.
    #[error(transparent)]
    Open(#[from] image::Error),
    /// Reading broke off, or the bytes cannot be decompressed.
    #[error("reading {what}: {}", crate::error::reason(error))]
    Read {
        /// What was being read.
        what: &'static str,
        /// Why it ended.
        error: io::Error,
    },
    /// The bytes are compressed in another way than the media type says.
    #[error(
        "expected blob to be of type {media_type}: {}: invalid header (the bytes are {})",
        said.name(), found.name()
    )]
    WrongType {
        /// What the manifest says.
        media_type: String,
        /// The compression that this means.
        said: Compression,
        /// What the first bytes say.
        found: Compression,
    },
    /// More or fewer bytes than the manifest says.
    #[error(
        "validating actual blob size: layer size is different from the value in the manifest; \
         expected: {expected}, actual {actual}"
    )]
    Size {
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes that came (so far, where there were too many).
        actual: u64,
    },
    /// Other bytes than the manifest names.
    #[error("layerID digest mismatch: expected: {}, actual: {}", expected.hex(), actual.hex())]
    LayerDigest {
        /// By the manifest.
        expected: Digest,
        /// Of the bytes.
        actual: Digest,
    },
    /// A few bytes that become very many.
    #[error(
        "the layer grows from {stored} to more than {plain} bytes: that is a decompression bomb \
         (pull.ratio_limit in the configuration allows more)"
    )]
    Bomb {
        /// Bytes read so far.
        stored: u64,
        /// Bytes that came out.
        plain: u64,
    },
    /// No thread to be had: the limit of processes, or memory.
    #[error("starting a thread to read it (are there too many processes: ulimit -u, pids.max?)")]
    Thread(#[source] io::Error),
    /// Another tar than the configuration names.
    #[error("diffID digest mismatch: expected: {}, actual: {}", expected.hex(), actual.hex())]
    DiffId {
        /// By the configuration.
        expected: Digest,
        /// Of the bytes.
        actual: Digest,
    },
}

/// Why a layer was not unpacked.
#[derive(Debug)]
pub enum Failure {
    /// Its bytes.
    Stream(Error),
    /// Its tar, or the place that it went to.
    Unpack(unpack::Error),
    /// Nothing of its own.
    Stopped,
}

/// How a pipe is laid.
#[derive(Debug, Clone, Copy)]
pub struct Plumbing<'a> {
    /// Where the bytes come from.
    pub source: &'a dyn ImageSource,
    /// Ends it early.
    pub stop: &'a Stop,
    /// How many times its size a layer may grow; 0 for any.
    pub ratio_limit: u64,
    /// Whether somebody wants to know how long it takes.
    pub timed: bool,
}

/// A layer on its way: reading has begun, unpacking may not have.
pub struct Pipe<'scope> {
    layer: &'scope Layer,
    input: Chunks,
    producer: Option<ScopedJoinHandle<'scope, Result<bool, Produced>>>,
    hasher: Option<ScopedJoinHandle<'scope, Digest>>,
    not_started: Option<io::Error>,
    abandoned: Arc<AtomicBool>,
    traffic: Arc<Traffic>,
}

/// What came out of a pipe.
#[derive(Debug)]
pub struct Finished<T> {
    /// What `consume` made of it.
    pub value: T,
    /// The digest over the plain bytes, where that was computed.
    pub diff_id: Option<Digest>,
    /// Whether the layer is what it is called, by all that is said of it; always so where it must be.
    pub is_true: bool,
}

impl<'scope> Pipe<'scope> {
    /// Begins to read a layer, until the pipe is full.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        plumbing: Plumbing<'scope>,
        layer: &'scope Layer,
    ) -> Self {
        let (to_unpack, from_source) = sync_channel(CHUNKS);
        let (to_hash, for_hash) = sync_channel(CHUNKS);
        let (free, empty) = channel();
        for _ in 0..CHUNKS {
            // The receiver is alive: it is in this function.
            let _ = free.send(Vec::new());
        }
        let algorithm = match &layer.identity {
            Identity::DiffId(expected) => Some(expected.algorithm()),
            Identity::Unknown => Some(Algorithm::Sha256),
            Identity::Tar(_) => None,
        };
        let mut not_started = None;
        let hasher = algorithm.and_then(|algorithm| {
            let free = free.clone();
            let hashing =
                Builder::new().spawn_scoped(scope, move || hash(&for_hash, &free, algorithm));
            hashing.map_err(|error| not_started = Some(error)).ok()
        });
        let hash = hasher.is_some().then_some(to_hash);
        let outputs = Outputs { unpack: to_unpack, hash, empty };
        let abandoned = Arc::new(AtomicBool::new(false));
        let traffic = Arc::new(Traffic::new(plumbing.timed));
        let producer = not_started.is_none().then(|| {
            let (abandoned, traffic) = (Arc::clone(&abandoned), Arc::clone(&traffic));
            let producing = move || produce(plumbing, layer, &abandoned, traffic, outputs);
            Builder::new().spawn_scoped(scope, producing)
        });
        let producer =
            producer.and_then(|started| started.map_err(|error| not_started = Some(error)).ok());
        let input = Chunks::new(from_source, free, Arc::clone(&traffic));
        Self { layer, input, producer, hasher, not_started, abandoned, traffic }
    }

    /// What goes through it.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Lets `consume` read the plain bytes; succeeds when that did and every check of the layer
    /// holds that must.
    pub fn finish<T>(
        mut self,
        consume: impl FnOnce(&mut dyn BufRead) -> Result<T, unpack::Error>,
    ) -> Result<Finished<T>, Failure> {
        if let Some(error) = self.not_started.take() {
            return Err(Failure::Stream(Error::Thread(error)));
        }
        let consumed = consume(&mut self.input);
        // A tar that makes no sense is mostly a damaged one: then the digests shall say so.
        let readable = |error: &unpack::Error| error.is_about_bytes() && self.layer.verify;
        if consumed.as_ref().err().is_some_and(|error| !readable(error)) {
            self.abandoned.store(true, Ordering::Relaxed);
        }
        let (produced, hashed) = self.end();
        match (produced, consumed) {
            (Err(Produced::Failed(error)), _) => Err(Failure::Stream(error)),
            (Err(Produced::Abandoned), Ok(_)) => Err(Failure::Stopped),
            (Err(Produced::Abandoned), Err(error)) => Err(Failure::Unpack(error)),
            (Ok(mut is_true), consumed) => {
                if let (Some(actual), Identity::DiffId(expected)) = (&hashed, &self.layer.identity)
                    && actual != expected
                {
                    if self.layer.verify {
                        let (expected, actual) = (expected.clone(), actual.clone());
                        return Err(Failure::Stream(Error::DiffId { expected, actual }));
                    }
                    is_true = false;
                }
                let finished = |value| Finished { value, diff_id: hashed, is_true };
                consumed.map(finished).map_err(Failure::Unpack)
            }
        }
    }

    /// Waits for the threads; a producer that waits for room sees whether it is still wanted.
    fn end(&mut self) -> (Result<bool, Produced>, Option<Digest>) {
        self.input.drain();
        let produced = self.producer.take().map(ScopedJoinHandle::join);
        let hashed = self.hasher.take().map(ScopedJoinHandle::join);
        (
            produced.and_then(Result::ok).unwrap_or(Err(Produced::Abandoned)),
            hashed.and_then(Result::ok),
        )
    }
}

impl Drop for Pipe<'_> {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
        // Whoever dropped it does not want to know.
        drop(self.end());
    }
}

impl std::fmt::Debug for Pipe<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pipe({})", self.layer.blob)
    }
}

/// Why no more chunks come.
enum Produced {
    Failed(Error),
    /// The unpacker or another layer gave up.
    Abandoned,
}

impl From<Error> for Produced {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

struct Outputs {
    unpack: SyncSender<Arc<Vec<u8>>>,
    hash: Option<SyncSender<Arc<Vec<u8>>>>,
    empty: Receiver<Vec<u8>>,
}

/// Sends a layer's plain bytes on; returns whether the blob is what it is called, which it has to be where the
/// layer is checked.
fn produce(
    plumbing: Plumbing<'_>,
    layer: &Layer,
    abandoned: &AtomicBool,
    traffic: Arc<Traffic>,
    outputs: Outputs,
) -> Result<bool, Produced> {
    let blob = traffic.time_source(|| plumbing.source.open(layer)).map_err(Error::from)?;
    let algorithm = layer.digest.as_ref().map(Digest::algorithm);
    let mut counted = Counted {
        inner: blob,
        hasher: algorithm.map(Hasher::new),
        traffic,
        limit: layer.size.filter(|_| layer.verify),
    };
    let end = End { stop: plumbing.stop, abandoned, ratio_limit: plumbing.ratio_limit };
    match decompress(&mut counted, layer, end, &outputs) {
        // Bytes that cannot be decompressed are mostly damaged ones: then their digest says so.
        Err(Produced::Failed(error @ Error::Read { .. })) if counted.limit.is_some() => {
            let damaged = io::copy(&mut counted, &mut io::sink()).is_ok();
            let damage = if damaged { counted.check(layer).err() } else { None };
            Err(damage.unwrap_or(error).into())
        }
        Err(other) => Err(other),
        Ok(()) if layer.verify => Ok(counted.check(layer).map(|()| true)?),
        Ok(()) => Ok(counted.holds(layer)),
    }
}

/// Sends the plain bytes of a blob on, chunk by chunk, and reads it to its end.
fn decompress(
    counted: &mut Counted,
    layer: &Layer,
    end: End<'_>,
    outputs: &Outputs,
) -> Result<(), Produced> {
    let read = |error| decode_error(error, layer);
    let stored = Arc::clone(&counted.traffic);
    let mut total = 0_u64;
    let mut input = BufReader::with_capacity(SOURCE_BUFFER, counted);
    let compression = compression(&mut input, layer)?;
    let mut plain = compression.reader(input).map_err(read)?;
    loop {
        if end.stop.is_set() || end.abandoned.load(Ordering::Relaxed) {
            return Err(Produced::Abandoned);
        }
        let Ok(mut chunk) = outputs.empty.recv() else { return Err(Produced::Abandoned) };
        chunks::fill(&mut *plain, &mut chunk).map_err(read)?;
        if chunk.is_empty() {
            break;
        }
        total += chunk.len() as u64;
        end.check_ratio(stored.bytes(), total)?;
        let chunk = Arc::new(chunk);
        if let Some(hash) = &outputs.hash {
            // The hashing thread ends only after this one.
            let _ = hash.send(Arc::clone(&chunk));
        }
        if outputs.unpack.send(chunk).is_err() {
            return Err(Produced::Abandoned);
        }
    }
    plain.finish().map_err(read)?;
    Ok(())
}

/// What ends a pipe before its layer does.
#[derive(Clone, Copy)]
struct End<'a> {
    stop: &'a Stop,
    abandoned: &'a AtomicBool,
    ratio_limit: u64,
}

impl End<'_> {
    fn check_ratio(&self, stored: u64, plain: u64) -> Result<(), Error> {
        let most = stored.saturating_mul(self.ratio_limit);
        if self.ratio_limit > 0 && plain > HARMLESS && plain > most {
            return Err(Error::Bomb { stored, plain });
        }
        Ok(())
    }
}

fn hash(input: &Receiver<Arc<Vec<u8>>>, free: &Sender<Vec<u8>>, algorithm: Algorithm) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    for chunk in input {
        hasher.update(&chunk);
        recycle(chunk, free);
    }
    hasher.finish()
}
