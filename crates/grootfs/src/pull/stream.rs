//! The pipe of one layer.
//!
//! ```text
//! thread 1   source -> count, hash -> decompress ─┬─> thread 2   hash the plain bytes
//!                                                 └─> the caller: unpack
//! ```
//!
//! Chunks go round: a chunk that both readers are done with is filled again. Their number and
//! size are fixed, so memory does not grow with the layer.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::decompress::Compression;
use crate::image::digest::{Algorithm, Digest, Hasher};
use crate::image::{self, ImageSource, Layer};
use crate::unpack;

/// Bytes of a chunk: large enough that the hand-over costs nothing against inflating it (0.5 ms),
/// small enough that a few fit the second-level cache.
const CHUNK: usize = 256 * 1024;

/// Chunks of one layer: two being worked on, and some ahead for whoever is slower.
const CHUNKS: usize = 8;

/// Bytes read from the source at once.
const SOURCE_BUFFER: usize = 128 * 1024;

/// Why a layer's bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source cannot be opened.
    #[error(transparent)]
    Open(#[from] image::Error),
    /// Reading broke off, or the bytes cannot be decompressed.
    #[error("reading {what}: {error}")]
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

/// Streams a layer into `consume`; succeeds when that did and every check of the layer holds.
pub fn run<T>(
    source: &dyn ImageSource,
    layer: &Layer,
    stop: &AtomicBool,
    consume: impl FnOnce(&mut dyn BufRead) -> Result<T, unpack::Error>,
) -> Result<T, Failure> {
    let (to_unpack, from_source) = sync_channel(CHUNKS);
    let (to_hash, for_hash) = sync_channel(CHUNKS);
    let (free, empty) = channel();
    for _ in 0..CHUNKS {
        // The receiver is alive: it is in this function.
        let _ = free.send(Vec::new());
    }
    let abandoned = AtomicBool::new(false);
    let stops = [stop, &abandoned];
    let (consumed, hashed, produced) = std::thread::scope(|scope| {
        let hasher = layer.verify.then_some(layer.diff_id.as_ref()).flatten().map(|expected| {
            let free = free.clone();
            scope.spawn(move || hash(&for_hash, &free, expected.algorithm()))
        });
        let outputs =
            Outputs { unpack: to_unpack, hash: hasher.is_some().then_some(to_hash), empty };
        let producer = scope.spawn(move || produce(source, layer, stops, outputs));
        let mut input = Chunks { input: from_source, free, current: None, position: 0 };
        let consumed = consume(&mut input);
        abandoned.store(consumed.is_err(), Ordering::Relaxed);
        // Also after a failure: a producer that waits for an empty chunk must get one to see it.
        input.drain();
        drop(input);
        let hashed = hasher.map(std::thread::ScopedJoinHandle::join);
        (consumed, hashed, producer.join())
    });
    let Ok(produced) = produced else { return Err(Failure::Stopped) };
    match (produced, consumed) {
        (Err(Produced::Failed(error)), _) => Err(Failure::Stream(error)),
        (_, Err(error)) => Err(Failure::Unpack(error)),
        (Err(Produced::Abandoned), Ok(_)) => Err(Failure::Stopped),
        (Ok(()), Ok(value)) => {
            if let (Some(Ok(actual)), Some(expected)) = (hashed, &layer.diff_id)
                && actual != *expected
            {
                let expected = expected.clone();
                return Err(Failure::Stream(Error::DiffId { expected, actual }));
            }
            Ok(value)
        }
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

fn produce(
    source: &dyn ImageSource,
    layer: &Layer,
    stops: [&AtomicBool; 2],
    outputs: Outputs,
) -> Result<(), Produced> {
    let blob = source.open(layer).map_err(Error::from)?;
    let algorithm = layer.digest.as_ref().map(Digest::algorithm);
    let mut counted = Counted {
        inner: blob,
        hasher: algorithm.filter(|_| layer.verify).map(Hasher::new),
        count: 0,
        limit: layer.size.filter(|_| layer.verify),
    };
    match decompress(&mut counted, layer, stops, &outputs) {
        // Bytes that cannot be decompressed are mostly damaged ones: then their digest says so.
        Err(Produced::Failed(error @ Error::Read { .. })) => {
            let damaged = io::copy(&mut counted, &mut io::sink()).is_ok();
            let damage = if damaged { counted.check(layer).err() } else { None };
            Err(damage.unwrap_or(error).into())
        }
        Err(other) => Err(other),
        Ok(()) => counted.check(layer).map_err(Produced::from),
    }
}

/// Sends the plain bytes of a blob on, chunk by chunk, and reads it to its end.
fn decompress(
    counted: &mut Counted,
    layer: &Layer,
    stops: [&AtomicBool; 2],
    outputs: &Outputs,
) -> Result<(), Produced> {
    let read = |error| decode_error(error, layer);
    let mut input = BufReader::with_capacity(SOURCE_BUFFER, counted);
    let compression = compression(&mut input, layer)?;
    let mut plain = compression.reader(input).map_err(read)?;
    loop {
        if stops.iter().any(|stop| stop.load(Ordering::Relaxed)) {
            return Err(Produced::Abandoned);
        }
        let Ok(mut chunk) = outputs.empty.recv() else { return Err(Produced::Abandoned) };
        fill(&mut *plain, &mut chunk).map_err(read)?;
        if chunk.is_empty() {
            break;
        }
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

/// Looks at the first bytes and compares them with what the media type says.
fn compression(input: &mut impl BufRead, layer: &Layer) -> Result<Compression, Error> {
    let start = input.fill_buf().map_err(|error| decode_error(error, layer))?;
    let found = Compression::of_bytes(start);
    match Compression::of_media_type(&layer.media_type) {
        Some(said) if said != found => {
            Err(Error::WrongType { media_type: layer.media_type.clone(), said, found })
        }
        _ => Ok(found),
    }
}

/// Finds out whether an error under the decompressor was a size that is too large.
fn decode_error(error: io::Error, layer: &Layer) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>()) {
        Some(TooLong(actual)) => Error::Size { expected: layer.size.unwrap_or(0), actual: *actual },
        None => Error::Read { what: "the layer", error },
    }
}

/// Fills a chunk as far as the input goes.
fn fill(input: &mut (impl Read + ?Sized), chunk: &mut Vec<u8>) -> io::Result<()> {
    chunk.resize(CHUNK, 0);
    let mut length = 0;
    while let Some(rest) = chunk.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(length);
    Ok(())
}

fn hash(input: &Receiver<Arc<Vec<u8>>>, free: &Sender<Vec<u8>>, algorithm: Algorithm) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    for chunk in input {
        hasher.update(&chunk);
        recycle(chunk, free);
    }
    hasher.finish()
}

/// Gives a chunk back when nobody else reads it.
fn recycle(chunk: Arc<Vec<u8>>, free: &Sender<Vec<u8>>) {
    if let Some(chunk) = Arc::into_inner(chunk) {
        // Nobody fills chunks any more when this fails.
        let _ = free.send(chunk);
    }
}

/// Counts and hashes what it reads, and stops where more comes than was said.
struct Counted {
    inner: image::Blob,
    hasher: Option<Hasher>,
    count: u64,
    limit: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
#[error("longer than the manifest says: {0} bytes so far")]
struct TooLong(u64);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.count += length as u64;
        if self.limit.is_some_and(|limit| self.count > limit) {
            return Err(io::Error::other(TooLong(self.count)));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..length).unwrap_or_default());
        }
        Ok(length)
    }
}

impl Counted {
    fn check(self, layer: &Layer) -> Result<(), Error> {
        if let Some(expected) = self.limit
            && expected != self.count
        {
            return Err(Error::Size { expected, actual: self.count });
        }
        let (Some(hasher), Some(expected)) = (self.hasher, &layer.digest) else { return Ok(()) };
        let actual = hasher.finish();
        if actual != *expected {
            return Err(Error::LayerDigest { expected: expected.clone(), actual });
        }
        Ok(())
    }
}

/// The plain bytes as the unpacker reads them.
struct Chunks {
    input: Receiver<Arc<Vec<u8>>>,
    free: Sender<Vec<u8>>,
    current: Option<Arc<Vec<u8>>>,
    position: usize,
}

impl Chunks {
    fn drain(&mut self) {
        self.release();
        while let Ok(chunk) = self.input.recv() {
            recycle(chunk, &self.free);
        }
    }

    fn release(&mut self) {
        self.position = 0;
        if let Some(chunk) = self.current.take() {
            recycle(chunk, &self.free);
        }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), available.get(..length)) {
            to.copy_from_slice(from);
        }
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_some_and(|chunk| self.position >= chunk.len()) {
            self.release();
        }
        if self.current.is_none() {
            // The end, or a failure that the producer reports itself.
            self.current = self.input.recv().ok();
        }
        let chunk = self.current.as_deref().map_or(&[][..], Vec::as_slice);
        Ok(chunk.get(self.position..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}
