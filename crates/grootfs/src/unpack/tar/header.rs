//! One header block and its fields (POSIX.1-1988 ustar, GNU, old v7).

use super::sparse::{self, Extent};
use super::{Entry, Kind, Time};

/// Bytes of a block; everything in an archive begins at a multiple of it.
pub const BLOCK: usize = 512;

/// What is wrong with a header.
pub type Why = &'static str;

/// A header block whose checksum is right.
pub struct Header {
    block: [u8; BLOCK],
}

/// Which of the formats a header is written in.
#[derive(PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl Header {
    /// Checks the checksum.
    pub fn new(block: [u8; BLOCK]) -> Result<Self, Why> {
        let header = Self { block };
        let said = number(header.field(148, 8))?;
        // Summed over the block with blanks in the place of the sum; some old writers summed
        // signed bytes.
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (position, byte) in header.block.iter().enumerate() {
            let byte = if (148..156).contains(&position) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if said == unsigned || said == signed { Ok(header) } else { Err("wrong checksum") }
    }

    fn field(&self, offset: usize, length: usize) -> &[u8] {
        self.block.get(offset..offset + length).unwrap_or_default()
    }

    /// The byte that says what the entry is.
    pub fn type_flag(&self) -> u8 {
        self.block.get(156).copied().unwrap_or_default()
    }

    /// Stored bytes after the header.
    pub fn size(&self) -> Result<u64, Why> {
        u64::try_from(number(self.field(124, 12))?).map_err(|_| "a negative size")
    }

    fn format(&self) -> Format {
        if self.field(257, 8) == b"ustar  \0" {
            Format::Gnu
        } else if self.field(257, 6) != b"ustar\0" {
            Format::V7
        } else if self.field(508, 4) == b"tar\0" {
            Format::Star
        } else {
            Format::Ustar
        }
    }

    fn path(&self) -> Vec<u8> {
        let name = text(self.field(0, 100));
        let prefix = match self.format() {
            Format::Ustar => text(self.field(345, 155)),
            // star keeps times behind a shorter prefix.
            Format::Star => text(self.field(345, 131)),
            // GNU uses the place of the prefix for other things.
            Format::Gnu | Format::V7 => &[],
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// The entry that this header begins, without pax records.
    pub fn entry(&self, path: Option<Vec<u8>>, link: Option<Vec<u8>>) -> Result<Entry, Why> {
        let path = path.unwrap_or_else(|| self.path());
        let kind = match self.type_flag() {
            // 7: contiguous, which nobody can ask of a file system today. S: with holes.
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => Kind::Other(other),
        };
        let mode = number(self.field(100, 8))?;
        let id = |field| u64::try_from(number(field)?).map_err(|_| "a negative user or group id");
        Ok(Entry {
            kind,
            path,
            link: link.unwrap_or_else(|| text(self.field(157, 100)).to_vec()),
            mode: u32::try_from(mode & 0o7777).map_err(|_| "a mode that is no mode")?,
            uid: id(self.field(108, 8))?,
            gid: id(self.field(116, 8))?,
            mtime: Time { seconds: number(self.field(136, 12))?, nanoseconds: 0 },
            size: self.size()?,
            xattrs: Vec::new(),
            extents: None,
        })
    }

    /// GNU sparse: four pairs in the header, and whether blocks with more follow.
    pub fn sparse_map(&self) -> Result<(Vec<Extent>, bool), Why> {
        if self.format() != Format::Gnu {
            return Err("a sparse file in an archive that is not GNU's");
        }
        let extents = sparse::gnu_pairs(self.field(386, 96))?;
        Ok((extents, sparse::goes_on(self.block[482])?))
    }

    /// GNU sparse: length of the file with its holes.
    pub fn real_size(&self) -> Result<u64, Why> {
        u64::try_from(number(self.field(483, 12))?).map_err(|_| "a negative size")
    }
}

/// Text up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number: octal digits among blanks and NULs, or GNU's base 256 with the first bit set.
pub fn number(field: &[u8]) -> Result<i64, Why> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn base_256(field: &[u8]) -> Result<i64, Why> {
    // The first bit only says that this is base 256; the second is the sign of a two's complement,
    // which is read inverted, so that one check finds every overflow.
    let invert = match field.first() {
        Some(first) if first & 0x40 != 0 => 0xff,
        _ => 0,
    };
    let mut value = 0_u64;
    for (position, byte) in field.iter().enumerate() {
        let byte = byte ^ invert;
        let byte = if position == 0 { byte & 0x7f } else { byte };
        if value >> 56 != 0 {
            return Err("a number of more than 64 bits");
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).map_err(|_| "a number of more than 64 bits")?;
    Ok(if invert == 0 { value } else { !value })
}

fn octal(field: &[u8]) -> Result<i64, Why> {
    let begin = field.iter().position(|byte| !matches!(byte, b' ' | 0)).unwrap_or(field.len());
    let mut value = 0_i64;
    // Digits that go on behind a blank are no number: one reader would stop, another would not.
    for digit in text(field.get(begin..).unwrap_or_default()).trim_ascii_end() {
        if !matches!(digit, b'0'..=b'7') {
            return Err("a number field that is no number");
        }
        let next = value.checked_mul(8).and_then(|v| v.checked_add(i64::from(digit - b'0')));
        value = next.ok_or("a number of more than 64 bits")?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let base = |bytes: &[u8]| {
            let mut field = [0; 12];
            field[12 - bytes.len()..].copy_from_slice(bytes);
            field[0] |= 0x80;
            field
        };
        let negative = |value: i64| {
            let mut field = [0xff; 12];
            field[4..].copy_from_slice(&value.to_be_bytes());
            field
        };
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"", Some(0)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"12x\0", None),
            (b"12\x003", Some(0o12)),
            (b"12  \0", Some(0o12)),
            (b"12 3\0", None),
            (b"12 \xff", None),
            (b"-1\0", None),
            (&base(&[1, 0]), Some(256)),
            (&base(&[0x20, 0, 0, 0, 0, 0, 0, 0]), Some(1 << 61)),
            (&base(&[0x80, 0, 0, 0, 0, 0, 0, 0]), None),
            (&negative(-1), Some(-1)),
            (&negative(-62_135_596_800), Some(-62_135_596_800)),
            (&[0xff], Some(-1)),
            (&[0x80], Some(0)),
        ] {
            assert_eq!(number(field).ok(), expected, "{field:x?}");
        }
    }
}
