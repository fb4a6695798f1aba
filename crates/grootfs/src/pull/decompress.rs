//! What a blob is by its first bytes, and how it becomes a plain tar.

use std::io::{self, BufRead, Read};

use super::counted::TooLong;
use super::stream::Error;
use crate::image::Layer;

/// Largest window that a zstd frame may ask for: 2^27, 128 MiB, is what `zstd --long` uses at
/// most without asking; a frame that wants more would take our memory.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How a blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, one or more members.
    Gzip,
    /// zstd, one or more frames.
    Zstd,
}

impl Compression {
    /// By the first four bytes.
    pub fn of_bytes(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A zstd frame, or a skippable frame before one (RFC 8878, section 3.1).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// By the media type; `None` when it does not say.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        let ends = |suffix| media_type.ends_with(suffix);
        if ends("+gzip") || ends(".gzip") {
            Some(Self::Gzip)
        } else if ends("+zstd") || ends(".zstd") {
            Some(Self::Zstd)
        } else if ends(".tar") {
            Some(Self::None)
        } else {
            None
        }
    }

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Puts a decompressor on a stream.
    pub fn reader<'a, R: BufRead + 'a>(self, input: R) -> io::Result<Box<dyn Finish + 'a>> {
        Ok(match self {
            Self::None => Box::new(Plain(input)),
            Self::Gzip => Box::new(Gzip(flate2::bufread::MultiGzDecoder::new(input))),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(Zstd(decoder))
            }
        })
    }
}

/// A decompressor that gives back what it read from.
pub trait Finish: Read {
    /// Reads the compressed input to its end, past what the decompressor needed.
    fn finish(&mut self) -> io::Result<()>;
}

struct Plain<R>(R);
struct Gzip<R>(flate2::bufread::MultiGzDecoder<R>);
struct Zstd<'a, R: BufRead>(zstd::stream::read::Decoder<'a, R>);

impl<R: BufRead> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: BufRead> Read for Zstd<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: BufRead> Finish for Plain<R> {
    fn finish(&mut self) -> io::Result<()> {
        drain(&mut self.0)
    }
}

impl<R: BufRead> Finish for Gzip<R> {
    fn finish(&mut self) -> io::Result<()> {
        drain(self.0.get_mut())
    }
}

impl<R: BufRead> Finish for Zstd<'_, R> {
    fn finish(&mut self) -> io::Result<()> {
        drain(self.0.get_mut())
    }
}

fn drain(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let length = input.fill_buf()?.len();
        if length == 0 {
            return Ok(());
        }
        input.consume(length);
    }
}

/// Looks at the first bytes and compares them with what the media type says.
pub fn compression(input: &mut impl BufRead, layer: &Layer) -> Result<Compression, Error> {
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
pub fn decode_error(error: io::Error, layer: &Layer) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>()) {
        Some(TooLong(actual)) => Error::Size { expected: layer.size.unwrap_or(0), actual: *actual },
        None => Error::Read { what: "the layer", error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut reader = Compression::of_bytes(bytes).reader(bytes)?;
        reader.read_to_end(&mut out)?;
        reader.finish()?;
        Ok(out)
    }

    #[test]
    fn reads_every_kind_and_several_members() {
        assert_eq!(read(b"plain").unwrap(), b"plain");
        assert_eq!(read(b"").unwrap(), b"");
        assert_eq!(read(&[gzip(b"ab"), gzip(b"cd")].concat()).unwrap(), b"abcd");
        let frame = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).unwrap();
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        let frames = [&skippable[..], &frame(b"ab"), &skippable, &frame(b"cd")].concat();
        assert_eq!(read(&frames).unwrap(), b"abcd");
    }

    #[test]
    fn truncated_streams_are_errors() {
        let whole = gzip(&[7; 10_000]);
        assert!(read(&whole[..whole.len() - 4]).is_err());
        let whole = zstd::stream::encode_all(&[7; 10_000][..], 1).unwrap();
        assert!(read(&whole[..whole.len() - 2]).is_err());
    }

    #[test]
    fn media_types_say_what_they_end_in() {
        for (media_type, expected) in [
            ("application/vnd.oci.image.layer.v1.tar", Some(Compression::None)),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Some(Compression::Gzip)),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
                Some(Compression::Zstd),
            ),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(Compression::Gzip)),
            ("", None),
        ] {
            assert_eq!(Compression::of_media_type(media_type), expected, "{media_type}");
        }
    }
}
