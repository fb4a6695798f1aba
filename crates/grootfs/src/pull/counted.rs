//! The bytes of a blob as they are stored or sent: counted, hashed, and not more than were said.

use std::io::{self, Read};
use std::sync::Arc;

use super::stream::Error;
use super::traffic::Traffic;
use crate::image::digest::Hasher;
use crate::image::{Blob, Layer};

/// Counts and hashes what it reads, and stops where more comes than was said.
pub struct Counted {
    /// Where the bytes come from.
    pub inner: Blob,
    /// What they are hashed with.
    pub hasher: Option<Hasher>,
    /// What has come so far.
    pub traffic: Arc<Traffic>,
    /// How many there may be, and must be at the end.
    pub limit: Option<u64>,
}

/// More bytes came than there may be.
#[derive(Debug, thiserror::Error)]
#[error(
    "longer than the manifest says: {0} bytes so far; the image is damaged, or its server lies"
)]
pub struct TooLong(pub u64);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.traffic.time_source(|| self.inner.read(buffer))?;
        let count = self.traffic.add(length);
        if self.limit.is_some_and(|limit| count > limit) {
            return Err(io::Error::other(TooLong(count)));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..length).unwrap_or_default());
        }
        Ok(length)
    }
}

impl Counted {
    /// Whether length and digest are known beforehand and are those.
    pub fn holds(self, layer: &Layer) -> bool {
        let is_long = layer.size == Some(self.traffic.bytes());
        is_long && layer.digest.is_some() && self.check(layer).is_ok()
    }

    /// Compares length and digest with what the manifest says.
    pub fn check(self, layer: &Layer) -> Result<(), Error> {
        let actual = self.traffic.bytes();
        if let Some(expected) = self.limit
            && expected != actual
        {
            return Err(Error::Size { expected, actual });
        }
        let (Some(hasher), Some(expected)) = (self.hasher, &layer.digest) else { return Ok(()) };
        let actual = hasher.finish();
        if actual != *expected {
            return Err(Error::LayerDigest { expected: expected.clone(), actual });
        }
        Ok(())
    }
}
