//! `image_info`: how many bytes the layers of an image have, as `grootfs` has noted it beside the
//! image. The caller can put anything in its place.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, read};

/// The name of the file.
pub const NAME: &str = "image_info";

/// Digits of the largest number, and a line end.
const LONGEST: usize = 21;

/// Reads the number. Call this with the caller's own rights: a link to, or another name of, a
/// file that he may not read is then as closed to us as to him.
pub fn of(image: BorrowedFd<'_>) -> io::Result<u64> {
    // No waiting for who opens the other end of a fifo, nor for a lease.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(image, NAME, flags | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = [0_u8; LONGEST + 1];
    let mut length = 0;
    while let Some(room) = content.get_mut(length..).filter(|room| !room.is_empty()) {
        match read(&file, room) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // The content is not repeated: it may be another file's.
    content
        .get(..length)
        .filter(|content| content.len() <= LONGEST)
        .and_then(parse)
        .ok_or_else(|| io::Error::other("not a decimal number of bytes"))
}

fn parse(content: &[u8]) -> Option<u64> {
    let digits = content.strip_suffix(b"\n").unwrap_or(content);
    // `parse` would take a `+` too.
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn only_numbers_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let image = File::open(dir.path()).unwrap();
        let read = |content: &[u8]| {
            std::fs::write(dir.path().join(NAME), content).unwrap();
            of(image.as_fd()).ok()
        };
        assert_eq!(read(b"0"), Some(0));
        assert_eq!(read(b"12345\n"), Some(12345));
        assert_eq!(read(b"18446744073709551615\n"), Some(u64::MAX));
        for wrong in [&b""[..], b"\n", b"-1", b"+1", b"1 ", b"1\n\n", b"\xff", b"1e3", &[b'0'; 23]]
        {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn nothing_else_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let image = File::open(dir.path()).unwrap();
        let path = dir.path().join(NAME);
        assert_eq!(of(image.as_fd()).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::os::unix::fs::symlink("/proc/sys/kernel/pid_max", &path).unwrap();
        assert!(of(image.as_fd()).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(of(image.as_fd()).is_err());
        std::fs::remove_dir(&path).unwrap();
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(&image, NAME, FileType::Fifo, mode, 0).unwrap();
        assert_eq!(of(image.as_fd()).unwrap_err().to_string(), "not a regular file");
        std::fs::remove_file(&path).unwrap();
        File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert!(of(image.as_fd()).is_err());
    }
}
