//! What a file or device holds, by its first bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

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

/// Bytes read at once when a file is searched for data.
const BUFFER: usize = 256 * 1024;

/// The file system in a file; `None` only when there is nothing but zeros in the whole file:
/// everything else is somebody's data and must not be formatted.
pub fn superblock(path: &Path) -> io::Result<Option<&'static str>> {
    let file = File::open(path)?;
    let mut start = Vec::new();
    (&file).take(LOOKED_AT).read_to_end(&mut start)?;
    let known = MAGICS
        .iter()
        .find(|(_, offset, magic)| start.get(*offset..).is_some_and(|at| at.starts_with(magic)));
    if let Some((name, _, _)) = known {
        return Ok(Some(name));
    }
    let data = start.iter().any(|byte| *byte != 0) || has_data(&file)?;
    Ok(data.then_some("unknown data"))
}

/// Whether there is anything but zeros from the current position on. Holes are not read.
fn has_data(mut file: &File) -> io::Result<bool> {
    let mut position = seek(file, SeekFrom::Current(0))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match seek(file, SeekFrom::Data(position)) {
            Ok(_) => {}
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => return Ok(false),
            // A file system without this question; the position is still right.
            Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
        let length = file.read(&mut buffer)?;
        if buffer.iter().take(length).any(|byte| *byte != 0) {
            return Ok(true);
        }
        if length == 0 {
            return Ok(false);
        }
        position = seek(file, SeekFrom::Current(0))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_file_systems_and_strangers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let mut late = vec![0; 3 << 20];
        late[(2 << 20) + 7] = 1;
        let mut btrfs = vec![0; 0x20000];
        btrfs[0x10040..0x10048].copy_from_slice(b"_BHRfS_M");
        for (bytes, expected) in [
            (Vec::new(), None),
            (vec![0; 4096], None),
            (b"XFSB....".to_vec(), Some("xfs")),
            (btrfs, Some("btrfs")),
            (vec![0; 3 << 20], None),
            (late, Some("unknown data")),
            (b"my diary".to_vec(), Some("unknown data")),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(superblock(&path).unwrap(), expected);
        }
        let sparse = File::create(&path).unwrap();
        sparse.set_len(1 << 40).unwrap();
        assert_eq!(superblock(&path).unwrap(), None);
        assert!(superblock(&dir.path().join("none")).is_err());
    }
}
