//! Our reader against the `tar` crate's writer, and formats that only we can write by hand.

use std::io::Cursor;

use super::*;

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    let mut input = Cursor::new(bytes);
    let mut archive = Archive::new(&mut input);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next()? {
        let mut content = Vec::new();
        loop {
            let bytes = archive.content()?;
            let length = bytes.len();
            if length == 0 {
                break;
            }
            content.extend_from_slice(bytes);
            archive.consume(length);
        }
        entries.push((entry, content));
    }
    Ok(entries)
}

fn append(builder: &mut ::tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = ::tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o640);
    header.set_uid(3_000_000);
    header.set_gid(7);
    header.set_mtime(1_234_567_890);
    builder.append_data(&mut header, path, content).unwrap();
}

#[test]
fn long_names_and_large_ids() {
    let long = "d/".repeat(80) + "file";
    let mut builder = ::tar::Builder::new(Vec::new());
    append(&mut builder, &long, b"content");
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "link", &long).unwrap();
    let entries = read(&builder.into_inner().unwrap()).unwrap();
    let (entry, content) = &entries[0];
    assert_eq!(entry.path, long.as_bytes());
    assert_eq!((entry.uid, entry.gid, entry.mode), (3_000_000, 7, 0o640));
    assert_eq!((entry.mtime.seconds, entry.size, entry.kind), (1_234_567_890, 7, Kind::File));
    assert_eq!(content, b"content");
    assert_eq!((entries[1].0.kind, &entries[1].0.link[..]), (Kind::Symlink, long.as_bytes()));
}

#[test]
fn pax_records_win_and_hold_for_one_entry() {
    let mut builder = ::tar::Builder::new(Vec::new());
    let records: [(&str, &[u8]); 5] = [
        ("path", "ünïcode/näme".as_bytes()),
        ("mtime", b"1.5"),
        ("uid", b"4294967294"),
        ("SCHILY.xattr.user.a", b"\0binary=\n"),
        ("size", b"3"),
    ];
    builder.append_pax_extensions(records).unwrap();
    append(&mut builder, "short", b"abc");
    append(&mut builder, "next", b"");
    let entries = read(&builder.into_inner().unwrap()).unwrap();
    let entry = &entries[0].0;
    assert_eq!(entry.path, "ünïcode/näme".as_bytes());
    assert_eq!(entry.mtime, Time { seconds: 1, nanoseconds: 500_000_000 });
    assert_eq!(entry.uid, 4_294_967_294);
    assert_eq!(entry.xattrs, [(b"user.a".to_vec(), b"\0binary=\n".to_vec())]);
    assert_eq!(entries[1].0.path, b"next");
    assert!(entries[1].0.xattrs.is_empty());
}

fn sparse_entry(pax: &[(&str, &[u8])], content: &[u8]) -> Result<Entry, Error> {
    let mut builder = ::tar::Builder::new(Vec::new());
    builder.append_pax_extensions(pax.iter().copied()).unwrap();
    append(&mut builder, "GNUSparseFile.0/f", content);
    Ok(read(&builder.into_inner().unwrap())?.remove(0).0)
}

#[test]
fn pax_sparse_formats() {
    let extents = [Extent { offset: 4, length: 2 }, Extent { offset: 10, length: 1 }];
    let zero_zero: [(&str, &[u8]); 6] = [
        ("GNU.sparse.size", b"20"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"4"),
        ("GNU.sparse.numbytes", b"2"),
        ("GNU.sparse.offset", b"10"),
        ("GNU.sparse.numbytes", b"1"),
    ];
    let zero_one: [(&str, &[u8]); 4] = [
        ("GNU.sparse.size", b"20"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.map", b"4,2,10,1"),
        ("GNU.sparse.name", b"f"),
    ];
    for records in [&zero_zero[..], &zero_one] {
        let entry = sparse_entry(records, b"abc").unwrap();
        assert_eq!((entry.size, entry.extents.as_deref()), (20, Some(&extents[..])));
    }
    let one_zero: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"f"),
        ("GNU.sparse.realsize", b"20"),
    ];
    let mut content = b"2\n4\n2\n10\n1\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"abc");
    let entry = sparse_entry(&one_zero, &content).unwrap();
    assert_eq!((entry.size, entry.extents.as_deref()), (20, Some(&extents[..])));
    assert_eq!(entry.path, b"f");
    for (map, content) in
        [("4,2,5,1", &b"abc"[..]), ("4,2", b"abc"), ("4,2,19,2", b"abcd"), ("4,2,x,1", b"abc")]
    {
        let records = [("GNU.sparse.size", &b"20"[..]), ("GNU.sparse.map", map.as_bytes())];
        assert!(sparse_entry(&records, content).is_err(), "{map}");
    }
}

/// Cases that lie: the reader must say no and not read on somewhere else.
#[test]
fn lies_are_errors() {
    let pax = |records: &[(&str, &[u8])]| {
        let mut builder = ::tar::Builder::new(Vec::new());
        builder.append_pax_extensions(records.iter().copied()).unwrap();
        append(&mut builder, "f", b"abc");
        builder.into_inner().unwrap()
    };
    for records in [
        [("size", &b"-3"[..])],
        [("size", b"3x")],
        [("uid", b"-1")],
        [("mtime", b"now")],
        [("size", b"99999999999999999999")],
    ] {
        assert!(read(&pax(&records)).is_err(), "{records:?}");
    }
    // The stream ends long before this size does.
    assert!(matches!(read(&pax(&[("size", b"1000000")])), Err(Error::UnexpectedEof)));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No bytes make the reader panic or read on for ever.
        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..4096), fix: bool) {
            if fix && bytes.len() >= 512 {
                // A right checksum lets more of the reader see the bytes.
                bytes[148..156].copy_from_slice(b"        ");
                let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
                bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            let _ = read(&bytes);
        }

        /// What the `tar` crate writes, we read as it reads it.
        #[test]
        fn round_trip(
            names in proptest::collection::vec("[a-z]{1,60}(/[a-z]{1,90}){0,3}", 1..6),
            content in proptest::collection::vec(any::<u8>(), 0..1500),
        ) {
            let mut builder = ::tar::Builder::new(Vec::new());
            for name in &names {
                append(&mut builder, name, &content);
            }
            let bytes = builder.into_inner().unwrap();
            let ours = read(&bytes).unwrap();
            let mut theirs = ::tar::Archive::new(&bytes[..]);
            let mut count = 0;
            for (entry, (found, data)) in theirs.entries().unwrap().zip(&ours) {
                let mut entry = entry.unwrap();
                let mut expected = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut expected).unwrap();
                prop_assert_eq!(&entry.path_bytes()[..], &found.path[..]);
                prop_assert_eq!(&expected, data);
                count += 1;
            }
            prop_assert_eq!(count, ours.len());
        }
    }
}

#[test]
fn an_extension_without_its_entry_is_a_cut_archive() {
    let mut builder = ::tar::Builder::new(Vec::new());
    append(&mut builder, &"d/".repeat(80), b"");
    let whole = builder.into_inner().unwrap();
    assert_eq!(read(&whole).unwrap().len(), 1);
    // The header of the long name, the long name; then the end, with its marker and without.
    let cut = &whole[..1024];
    for bytes in [cut.to_vec(), [cut, &[0; 1024]].concat()] {
        assert!(matches!(read(&bytes), Err(Error::UnexpectedEof)));
    }
}

#[test]
fn the_end_may_be_missing_but_no_content() {
    let mut builder = ::tar::Builder::new(Vec::new());
    append(&mut builder, "file", &[7; 700]);
    let whole = builder.into_inner().unwrap();
    for length in [512 + 700, 512 + 701, 1024 + 512, 1024 + 1024] {
        assert_eq!(read(&whole[..length]).unwrap().len(), 1, "{length}");
    }
    for length in [512, 512 + 699] {
        assert!(matches!(read(&whole[..length]), Err(Error::UnexpectedEof)), "{length}");
    }
}

#[test]
fn a_map_of_holes_goes_on_or_does_not() {
    for (mark, expected) in [(0, Some(false)), (1, Some(true)), (b'0', None), (0xff, None)] {
        assert_eq!(sparse::goes_on(mark).ok(), expected, "{mark}");
    }
}
