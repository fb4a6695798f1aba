//! Archives byte by byte, for what no honest writer makes.

/// A header block before its checksum.
#[derive(Debug, Clone)]
pub struct Header([u8; 512]);

impl Header {
    /// A ustar header of an empty file, 0644, of root.
    pub fn new(flag: u8, name: impl AsRef<[u8]>) -> Self {
        Self([0; 512])
            .put(0, name)
            .put(100, "0000644\0")
            .put(108, "0000000\0")
            .put(116, "0000000\0")
            .put(124, "00000000000\0")
            .put(136, "13000000000\0")
            .put(156, [flag])
            .put(257, "ustar\x0000")
    }

    /// The same in GNU's format.
    pub fn gnu(flag: u8, name: impl AsRef<[u8]>) -> Self {
        Self::new(flag, name).put(257, "ustar  \0")
    }

    /// Puts bytes anywhere.
    pub fn put(mut self, offset: usize, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Says how many bytes follow.
    pub fn size(self, size: u64) -> Self {
        self.put(124, format!("{size:011o}\0"))
    }

    /// Puts a number in base 256, of either sign, at the end of a field.
    pub fn base_256(self, offset: usize, length: usize, value: i64) -> Self {
        let mut field = vec![if value < 0 { 0xff } else { 0 }; length];
        let bytes = value.to_be_bytes();
        let count = length.min(8);
        field[length - count..].copy_from_slice(&bytes[8 - count..]);
        field[0] |= 0x80;
        self.put(offset, field)
    }

    /// The target of a link.
    pub fn link(self, target: &str) -> Self {
        self.put(157, target)
    }

    /// A pair of GNU's map of a sparse file.
    pub fn extent(self, index: usize, offset: u64, length: u64) -> Self {
        self.put(386 + 24 * index, format!("{offset:011o}\0{length:011o}\0"))
    }

    /// GNU's length of a sparse file with its holes.
    pub fn real_size(self, size: u64) -> Self {
        self.put(483, format!("{size:011o}\0"))
    }

    fn sum(&self, add: impl Fn(u8) -> i64) -> i64 {
        let byte = |(position, byte): (usize, &u8)| match position {
            148..156 => add(b' '),
            _ => add(*byte),
        };
        self.0.iter().enumerate().map(byte).sum()
    }

    /// The block with its checksum.
    pub fn block(self) -> [u8; 512] {
        let sum = self.sum(i64::from);
        self.put(148, format!("{sum:06o}\0 ")).0
    }

    /// The block without a new checksum.
    pub fn block_as_it_is(self) -> [u8; 512] {
        self.0
    }

    /// The block with the checksum of writers whose bytes had a sign.
    pub fn signed_block(self) -> [u8; 512] {
        let sum = self.sum(|byte| i64::from(byte.cast_signed()));
        self.put(148, format!("{sum:06o}\0 ")).0
    }
}

/// An archive.
#[derive(Debug, Clone, Default)]
pub struct Raw(Vec<u8>);

impl Raw {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds any bytes.
    pub fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// Adds a header.
    pub fn header(self, header: Header) -> Self {
        self.bytes(header.block())
    }

    /// Adds a header and content with its padding; the header's size is left as it is.
    pub fn content(self, header: Header, content: impl AsRef<[u8]>) -> Self {
        let mut next = self.header(header).bytes(content);
        next.0.resize(next.0.len().next_multiple_of(512), 0);
        next
    }

    /// Adds a header and as much content as it says.
    pub fn entry(self, header: Header, content: impl AsRef<[u8]>) -> Self {
        let size = content.as_ref().len() as u64;
        self.content(header.size(size), content)
    }

    /// Adds a regular file.
    pub fn file(self, name: impl AsRef<[u8]>, content: &str) -> Self {
        self.entry(Header::new(b'0', name), content)
    }

    /// Adds a pax header with these bytes.
    pub fn pax_bytes(self, data: impl AsRef<[u8]>) -> Self {
        self.entry(Header::new(b'x', "pax"), data)
    }

    /// Adds a pax header with these records.
    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.pax_bytes(data)
    }

    /// Ends the archive.
    pub fn end(self) -> Vec<u8> {
        self.bytes([0; 1024]).0
    }

    /// What there is so far, without an end.
    pub fn cut(self) -> Vec<u8> {
        self.0
    }
}

/// A pax record with its right length.
pub fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while format!("{length}{rest}").len() != length {
        length += 1;
    }
    format!("{length}{rest}").into_bytes()
}
