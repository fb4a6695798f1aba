//! Plain bytes between two threads, in chunks that go round.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use super::traffic::Traffic;

/// Bytes of a chunk: large enough that the hand-over costs nothing against inflating it (0.5 ms),
/// small enough that a few fit the second-level cache.
const CHUNK: usize = 256 * 1024;

/// Gives a chunk back when nobody else reads it.
pub fn recycle(chunk: Arc<Vec<u8>>, free: &Sender<Vec<u8>>) {
    if let Some(chunk) = Arc::into_inner(chunk) {
        // Nobody fills chunks any more when this fails.
        let _ = free.send(chunk);
    }
}

/// The plain bytes as the unpacker reads them.
pub struct Chunks {
    input: Receiver<Arc<Vec<u8>>>,
    free: Sender<Vec<u8>>,
    current: Option<Arc<Vec<u8>>>,
    position: usize,
    traffic: Arc<Traffic>,
}

impl Chunks {
    /// Reads from one end of a pipe, and gives empty chunks back at the other.
    pub fn new(
        input: Receiver<Arc<Vec<u8>>>,
        free: Sender<Vec<u8>>,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self { input, free, current: None, position: 0, traffic }
    }

    /// Takes what still comes, so that nobody waits for room.
    pub fn drain(&mut self) {
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
            self.current = self.traffic.time_unpacker(|| self.input.recv().ok());
        }
        let chunk = self.current.as_deref().map_or(&[][..], Vec::as_slice);
        Ok(chunk.get(self.position..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}

/// Fills a chunk as far as the input goes.
pub fn fill(input: &mut (impl Read + ?Sized), chunk: &mut Vec<u8>) -> io::Result<()> {
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
