//! The tar format: a stream of bytes becomes a stream of entries.
//!
//! Knows ustar, GNU, pax and old v7 archives. This is our own reader, and the only one whose view
//! of where an entry ends counts; tests compare it with a second parser.

use std::io::{self, BufRead};

use super::Error;

mod header;
mod pax;
mod sparse;

use header::{BLOCK, Header};
pub use sparse::Extent;

/// Longest pax record set or GNU long name that is read, as the original's parser had it.
const LARGEST_EXTENSION: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Hard link to an entry of this layer.
    HardLink,
    /// Symbolic link.
    Symlink,
    /// Directory.
    Directory,
    /// Named pipe.
    Fifo,
    /// Character or block device.
    Device,
    /// A type that no other tool of this field writes files for.
    Other(u8),
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Seconds since 1970, also before.
    pub seconds: i64,
    /// Nanoseconds after that second.
    pub nanoseconds: u32,
}

/// One entry. Names are bytes as they stand in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its path, not cleaned.
    pub path: Vec<u8>,
    /// Target of a link, not cleaned.
    pub link: Vec<u8>,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// User id inside the image.
    pub uid: u64,
    /// Group id inside the image.
    pub gid: u64,
    /// Time of the last change of the content.
    pub mtime: Time,
    /// Length of the file that results, in bytes.
    pub size: u64,
    /// Extended attributes, names without the archive's prefix.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the stored bytes belong, for a file with holes.
    pub extents: Option<Vec<Extent>>,
}

/// Reads entries from a stream.
pub struct Archive<'a> {
    input: &'a mut dyn BufRead,
    /// Bytes read so far, for error texts.
    position: u64,
    /// Stored bytes of the current entry that were not read yet.
    remaining: u64,
    /// Zero bytes after them, up to the next block.
    padding: u64,
}

/// Extensions that stand in front of an entry.
#[derive(Default)]
struct Extensions {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: pax::Records,
}

impl<'a> Archive<'a> {
    /// Starts at the first byte of an archive.
    pub fn new(input: &'a mut dyn BufRead) -> Self {
        Self { input, position: 0, remaining: 0, padding: 0 }
    }

    /// Skips what is left of the current entry and reads the next one; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.skip_content()?;
        let mut extensions = Extensions::default();
        let mut is_first = true;
        loop {
            let Some(header) = self.header()? else {
                // What was to come is missing: a tree without it would be a short one.
                return if is_first { Ok(None) } else { Err(Error::UnexpectedEof) };
            };
            is_first = header.type_flag() == b'g' && is_first;
            match header.type_flag() {
                b'L' => extensions.long_path = Some(self.long_name(&header)?),
                b'K' => extensions.long_link = Some(self.long_name(&header)?),
                b'x' => {
                    let data = self.extension(&header)?;
                    extensions.pax = pax::parse(&data).map_err(|why| self.invalid(why))?;
                }
                // Global records hold for nothing: no other tool of this field applies them, and
                // a layer must not look different here.
                b'g' => drop(self.extension(&header)?),
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
    }

    /// Reads stored bytes of the current entry; empty when there are no more.
    pub fn content(&mut self) -> Result<&[u8], Error> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let available = loop {
            match self.input.fill_buf() {
                // Borrowed again below: a borrow that is returned may not live through the loop.
                Ok(bytes) => break bytes.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        };
        if available == 0 {
            return Err(Error::UnexpectedEof);
        }
        let bytes = self.input.fill_buf().map_err(Error::Read)?;
        let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.get(..length).unwrap_or_default())
    }

    /// Marks bytes of [`Archive::content`] as read.
    pub fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.position += length as u64;
        self.remaining = self.remaining.saturating_sub(length as u64);
    }

    fn skip_content(&mut self) -> Result<(), Error> {
        loop {
            let length = self.content()?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
        }
        self.remaining = std::mem::take(&mut self.padding);
        loop {
            let length = match self.content() {
                // Nothing of the entry is missing: `umoci insert` leaves the end of a layer out, and
                // other tools read that.
                Err(Error::UnexpectedEof) => 0,
                other => other?.len(),
            };
            if length == 0 {
                self.remaining = 0;
                return Ok(());
            }
            self.consume(length);
        }
    }

    /// Says how many stored bytes follow.
    fn begin_content(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Reads one block; `None` where the stream ends in front of it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut length = 0;
        while let Some(rest) = block.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if length == 0 => return Ok(None),
                Ok(0) => return Err(Error::UnexpectedEof),
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
        self.position += BLOCK as u64;
        Ok(Some(block))
    }

    /// Reads a header; `None` at the end: two blocks of zeros, or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let is_zero = |block: &[u8; BLOCK]| block.iter().all(|byte| *byte == 0);
        let Some(block) = self.block()? else { return Ok(None) };
        if is_zero(&block) {
            return match self.block()? {
                Some(second) if !is_zero(&second) => {
                    Err(self.invalid("a block of zeros is followed by more data"))
                }
                _ => Ok(None),
            };
        }
        Header::new(block).map(Some).map_err(|why| self.invalid(why))
    }

    /// Reads the data of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let size = header.size().map_err(|why| self.invalid(why))?;
        if size > LARGEST_EXTENSION {
            return Err(self.invalid("an extension header holds more than 1 MiB"));
        }
        self.begin_content(size);
        let mut data = Vec::new();
        loop {
            let bytes = self.content()?;
            let length = bytes.len();
            if length == 0 {
                break;
            }
            data.extend_from_slice(bytes);
            self.consume(length);
        }
        self.skip_content()?;
        Ok(data)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let mut name = self.extension(header)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, Error> {
        let Extensions { long_path, long_link, pax } = extensions;
        let mut entry = header
            .entry(long_path, long_link)
            .and_then(|mut entry| pax.apply(&mut entry).map(|()| entry))
            .map_err(|why| self.invalid(why))?;
        // In the oldest archives a directory is what ends with a slash.
        if header.type_flag() == 0 && entry.path.ends_with(b"/") {
            entry.kind = Kind::Directory;
        }
        let stored = match entry.kind {
            Kind::HardLink | Kind::Symlink | Kind::Directory | Kind::Fifo | Kind::Device => 0,
            Kind::File | Kind::Other(_) => entry.size,
        };
        if matches!(entry.kind, Kind::HardLink | Kind::Symlink) && entry.link.is_empty() {
            return Err(self.invalid("a link without a target"));
        }
        entry.size = stored;
        self.begin_content(stored);
        self.read_extents(header, &pax, &mut entry)?;
        Ok(entry)
    }

    /// Finds out where the stored bytes of a file with holes belong.
    fn read_extents(
        &mut self,
        header: &Header,
        pax: &pax::Records,
        entry: &mut Entry,
    ) -> Result<(), Error> {
        let (extents, real_size) = if header.type_flag() == b'S' {
            self.gnu_extents(header)?
        } else if entry.kind != Kind::File {
            return Ok(());
        } else if pax.sparse_version() == Some((1, 0)) {
            self.leading_extents(pax)?
        } else if let Some(found) = pax.extents().map_err(|why| self.invalid(why))? {
            found
        } else {
            return Ok(());
        };
        sparse::check(&extents, self.remaining, real_size).map_err(|why| self.invalid(why))?;
        entry.kind = Kind::File;
        entry.size = real_size;
        entry.extents = Some(extents);
        Ok(())
    }

    /// The map of GNU's type `S`: in the header, and in blocks that follow it.
    fn gnu_extents(&mut self, header: &Header) -> Result<(Vec<Extent>, u64), Error> {
        let (mut extents, mut more) = header.sparse_map().map_err(|why| self.invalid(why))?;
        let real_size = header.real_size().map_err(|why| self.invalid(why))?;
        while more {
            // These blocks are not counted in the size of the entry.
            let block = self.block()?.ok_or(Error::UnexpectedEof)?;
            let (following, further) =
                sparse::gnu_block(&block).map_err(|why| self.invalid(why))?;
            extents.extend(following);
            if extents.len() > sparse::MOST_EXTENTS {
                return Err(self.invalid("a file with too many holes"));
            }
            more = further;
        }
        Ok((extents, real_size))
    }

    /// The map of pax sparse format 1.0: text in front of the content.
    fn leading_extents(&mut self, pax: &pax::Records) -> Result<(Vec<Extent>, u64), Error> {
        let real_size = pax.real_size().map_err(|why| self.invalid(why))?;
        let mut map = sparse::TextMap::default();
        while !map.is_complete() {
            if self.remaining < BLOCK as u64 {
                return Err(self.invalid("the map of a sparse file is cut off"));
            }
            let block = self.block()?.ok_or(Error::UnexpectedEof)?;
            self.remaining -= BLOCK as u64;
            map.feed(&block).map_err(|why| self.invalid(why))?;
        }
        Ok((map.finish(), real_size))
    }

    fn invalid(&self, why: &'static str) -> Error {
        Error::Header { before: self.position, why }
    }
}

#[cfg(test)]
mod tests;
