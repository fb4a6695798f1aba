//! The tar reader beside a second one, the `tar` crate.
//!
//! An archive that both take holds the same entries for both. Where we refuse and the other does
//! not, nobody can be deceived. What we take, the other has to take too, except for [`LENIENT`].
//!
//! Where the two differ on purpose, and the comparison of an archive ends or leaves a field out:
//!
//! - A link, directory, pipe or device has no content for us, whatever its size says, as in the
//!   original; the other skips so many bytes.
//! - Of pax records with one key the last one counts, an empty value is none, and a value may hold
//!   line ends. The other takes the first one, and gives up at a line end.
//! - A pax path goes before a GNU long name; the other has it the other way round.
//! - Global pax headers are passed over; the other has entries of that kind.
//! - Sparse files of pax are files with holes; the other hands their map out as content.
//! - The prefix of star's headers is shorter than that of ustar's; the other does not know star.
//!   `ustar` with a version other than `00` is ustar for us and v7 for the other.
//! - Numbers in base 256 of more than 64 bits are errors; the other cuts them.

use std::io::{Cursor, Read};

use ::tar::EntryType;

use crate::unpack::tar::{Archive, Entry, Kind};

/// What the other reader says about archives that we take: a checksum over signed bytes, an empty
/// number field, extensions that come twice, holes at the end of sparse files and stretches of them
/// that are no blocks.
const LENIENT: &[&str] = &[
    "checksum mismatch",
    "numeric field was not a number: ",
    "two long name entries",
    "two pax extensions",
    "sparse",
    "other blocks",
];

/// Bytes of a file with holes that are compared; longer ones only by their length.
const COMPARED: u64 = 1 << 20;

/// Bytes of a block.
const BLOCK: usize = 512;

/// Puts right checksums where headers are likely to be, so that a fuzzer need not guess them.
pub fn mend(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    let mut at = 0;
    while let Some(block) = archive.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<BLOCK>()) {
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let header_only = matches!(block[156], b'1'..=b'6');
        let mut header = ::tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        let size = header.entry_size().ok().filter(|_| !header_only).unwrap_or(0);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        at = at.saturating_add(size).checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX);
    }
    archive
}

/// Reads an archive with both. Returns how many entries were the same, and whether we took it all.
pub fn tar(bytes: &[u8]) -> (usize, bool) {
    let mut input = Cursor::new(bytes);
    let mut ours = Archive::new(&mut input);
    let mut theirs = ::tar::Archive::new(bytes);
    let mut entries = theirs.entries().unwrap_or_else(|error| panic!("{error}"));
    // Where the next header is, for the other.
    let mut next = 0;
    let mut same = 0;
    loop {
        let Some(taken) = our_next(&mut ours) else { return (same, false) };
        let mut theirs = loop {
            match entries.next() {
                Some(Ok(entry)) if entry.header().entry_type() == EntryType::XGlobalHeader => {
                    if entry.raw_header_position() != next {
                        // Extensions in front of a global header are those of the entry behind it.
                        return (same, rest_is_fine(&mut ours));
                    }
                    next = end_of(&entry);
                }
                Some(Err(error)) if is_lenient(&error) => return (same, rest_is_fine(&mut ours)),
                Some(Err(error)) if taken.is_some() => panic!("only we take {taken:?}: {error}"),
                other => break other,
            }
        };
        match (taken, &mut theirs) {
            (None, Some(Ok(more))) => panic!("only the other has {:?}", more.path_bytes()),
            (None, _) => return (same, true),
            (Some((entry, content)), Some(Ok(theirs))) => {
                next = end_of(theirs);
                if !compare(&entry, &content, theirs) {
                    return (same, rest_is_fine(&mut ours));
                }
                same += 1;
            }
            (Some(entry), _) => panic!("only we have {entry:?}"),
        }
    }
}

fn is_lenient(error: &std::io::Error) -> bool {
    let text = error.to_string();
    LENIENT.iter().any(|known| text.contains(known))
}

fn end_of(entry: &::tar::Entry<'_, &[u8]>) -> u64 {
    entry.raw_file_position().saturating_add(entry.size()).saturating_add(511) & !511
}

/// Reads on to the end without a comparison.
fn rest_is_fine(archive: &mut Archive<'_>) -> bool {
    loop {
        match our_next(archive) {
            Some(Some(_)) => {}
            Some(None) => return true,
            None => return false,
        }
    }
}

/// The next entry and its content without holes; `None` for an archive that we refuse.
fn our_next(archive: &mut Archive<'_>) -> Option<Option<(Entry, Vec<u8>)>> {
    let Some(entry) = archive.next().ok()? else { return Some(None) };
    let mut content = Vec::new();
    loop {
        let bytes = archive.content().ok()?;
        if bytes.is_empty() {
            return Some(Some((entry, content)));
        }
        content.extend_from_slice(bytes);
        let length = bytes.len();
        archive.consume(length);
    }
}

/// The records in front of an entry; `None` where the two read them differently on purpose.
fn pax(entry: &mut ::tar::Entry<'_, &[u8]>) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let Ok(Some(found)) = entry.pax_extensions() else { return Some(records) };
    for record in found {
        let record = record.ok()?;
        let (key, value) = (record.key_bytes().to_vec(), record.value_bytes().to_vec());
        if value.is_empty() || records.iter().any(|(known, _)| *known == key) {
            return None;
        }
        records.push((key, value));
    }
    Some(records)
}

/// Compares an entry; `false` where the two differ on purpose from here on.
fn compare(ours: &Entry, content: &[u8], theirs: &mut ::tar::Entry<'_, &[u8]>) -> bool {
    let Some(records) = pax(theirs) else { return false };
    let record = |key: &str| {
        let found = records.iter().find(|(known, _)| known == key.as_bytes());
        found.map(|(_, value)| value.as_slice())
    };
    let header = theirs.header().clone();
    let path = until_nul(&theirs.path_bytes());
    let old_directory = header.as_bytes()[156] == 0 && ours.path.ends_with(b"/");
    let kind = match header.entry_type() {
        _ if old_directory => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char | EntryType::Block => Kind::Device,
        EntryType::Directory => Kind::Directory,
        EntryType::Fifo => Kind::Fifo,
        // Extensions in headers that are neither ustar nor GNU.
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader => return false,
        other => Kind::Other(other.as_byte()),
    };
    assert_eq!(ours.kind, kind);
    if !matches!(kind, Kind::File | Kind::Other(_)) && theirs.size() != 0 {
        return false;
    }
    let of_holes = |(key, _): &(Vec<u8>, Vec<u8>)| key.starts_with(b"GNU.sparse.");
    if records.iter().any(of_holes) {
        return true;
    }
    let star =
        header.as_bytes()[508..] == *b"tar\0" || header.as_bytes()[257..265] == *b"ustar\0\0\0";
    let odd = header.as_bytes()[257..263] == *b"ustar\0" && header.as_ustar().is_none();
    match record("path") {
        Some(path) => assert_eq!(ours.path, path),
        None if star || odd => {}
        None => assert_eq!(ours.path, path),
    }
    if matches!(kind, Kind::HardLink | Kind::Symlink) {
        let link = theirs.link_name_bytes().map(|link| until_nul(&link)).unwrap_or_default();
        assert_eq!(ours.link, record("linkpath").unwrap_or(&link));
    }
    compare_numbers(ours, &header, record("mtime").is_some());
    compare_content(ours, content, theirs);
    true
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

fn compare_numbers(ours: &Entry, header: &::tar::Header, pax_time: bool) {
    let bytes = header.as_bytes();
    let is_octal = |offset: usize| bytes[offset] & 0x80 == 0;
    if let (Ok(mode), true) = (header.mode(), is_octal(100)) {
        assert_eq!(ours.mode, mode & 0o7777);
    }
    if let (Ok(uid), true) = (header.uid(), is_octal(108)) {
        assert_eq!(ours.uid, uid);
    }
    if let (Ok(gid), true) = (header.gid(), is_octal(116)) {
        assert_eq!(ours.gid, gid);
    }
    if let (Ok(mtime), true, false) = (header.mtime(), is_octal(136), pax_time) {
        assert_eq!(ours.mtime.seconds, mtime.cast_signed());
    }
}

fn compare_content(ours: &Entry, content: &[u8], theirs: &mut ::tar::Entry<'_, &[u8]>) {
    assert_eq!(ours.size, theirs.size());
    let mut expected = Vec::new();
    match &ours.extents {
        None => expected.extend_from_slice(content),
        Some(_) if ours.size > COMPARED => return,
        Some(extents) => {
            let size = |length: u64| usize::try_from(length).unwrap_or(0);
            let mut stored = content;
            for extent in extents {
                expected.resize(size(extent.offset), 0);
                let (data, rest) = stored.split_at(size(extent.length));
                expected.extend_from_slice(data);
                stored = rest;
            }
            expected.resize(size(ours.size), 0);
        }
    }
    let mut actual = Vec::new();
    let read = theirs.read_to_end(&mut actual);
    assert!(read.is_ok() && actual == expected, "content of {ours:?}: {read:?}");
}
