//! What a file or device holds, by its first bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How far into a file is looked: past every superblock that is known here.
const LOOKED_AT: u64 = 1 << 20;

/// Names of file systems, where their magic bytes stand, and the bytes.
const MAGICS: &[(&str, usize, &[u8])] = &[
    ("xfs", 0, b"XFSB"),
    ("btrfs", 0x10040, b"_BHRfS_M"),
    ("ext", 0x438, &[0x53, 0xef]),
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("squashfs", 0, b"hsqs"),
];

/// The file system in a file; `None` only when the file begins with a megabyte of zeros (or is
/// shorter): everything else is somebody's data and must not be formatted.
pub fn superblock(path: &Path) -> io::Result<Option<&'static str>> {
    let mut start = Vec::new();
    File::open(path)?.take(LOOKED_AT).read_to_end(&mut start)?;
    let known = MAGICS
        .iter()
        .find(|(_, offset, magic)| start.get(*offset..).is_some_and(|at| at.starts_with(magic)));
    Ok(match known {
        Some((name, _, _)) => Some(name),
        None if start.iter().all(|byte| *byte == 0) => None,
        None => Some("unknown data"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_file_systems_and_strangers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let mut btrfs = vec![0; 0x20000];
        btrfs[0x10040..0x10048].copy_from_slice(b"_BHRfS_M");
        for (bytes, expected) in [
            (Vec::new(), None),
            (vec![0; 4096], None),
            (b"XFSB....".to_vec(), Some("xfs")),
            (btrfs, Some("btrfs")),
            (b"my diary".to_vec(), Some("unknown data")),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(superblock(&path).unwrap(), expected);
        }
        assert!(superblock(&dir.path().join("none")).is_err());
    }
}
