//! Which mount something lies on that is open.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::{Call, Errno, Result};

/// A mount, as `mountinfo` of this process shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The type of its file system.
    pub kind: String,
    /// What is mounted: mostly a device.
    pub source: PathBuf,
}

/// The number of the mount that a descriptor was opened on. Other than device numbers it tells
/// apart two mounts of one file system, and is one for all subvolumes of a btrfs.
pub fn id(fd: BorrowedFd<'_>) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = fs::read_to_string(&path).call("read", || path.clone())?;
    let number = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    number.ok_or(Errno::NODATA).call("read", || format!("{path}, mnt_id"))
}

/// The mount that a descriptor was opened on; `None` when it is not among those of this process.
pub fn of(fd: BorrowedFd<'_>) -> Result<Option<Mount>> {
    let id = id(fd)?;
    let table = fs::read("/proc/self/mountinfo").call("read", || "/proc/self/mountinfo".into())?;
    Ok(table.split(|byte| *byte == b'\n').find_map(|line| parse(line, id)))
}

/// One line: number, parent, device, root, point, options, optional fields, `-`, type, ...
fn parse(line: &[u8], wanted: u64) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id: u64 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    if id != wanted {
        return None;
    }
    let path = |field| PathBuf::from(OsString::from_vec(unescape(field)));
    let point = path(fields.nth(3)?);
    fields.find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(Mount { point, kind, source: path(fields.next()?) })
}

/// Blanks, line ends and backslashes are octal numbers.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let byte = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(3..).unwrap_or_default() } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn lines_are_read() {
        let line =
            br"36 35 98:0 /mnt1 /a\040b\134\011 rw,noatime master:1 - xfs /dev/root rw,prjquota";
        let mount = parse(line, 36).unwrap();
        let (point, source) = ("/a b\\\t".into(), "/dev/root".into());
        assert_eq!(mount, Mount { point, kind: "xfs".into(), source });
        assert_eq!(parse(line, 35), None);
        for broken in [&b""[..], b"36", b"36 35 98:0 / /x rw - ", b"36 35 98:0 / /x rw", b"x y"] {
            let _ = parse(broken, 36);
        }
    }

    #[test]
    fn open_files_are_found() {
        let root = fs::File::open("/").unwrap();
        let proc = fs::File::open("/proc").unwrap();
        assert_eq!(of(root.as_fd()).unwrap().unwrap().point, PathBuf::from("/"));
        assert_eq!(of(proc.as_fd()).unwrap().unwrap().kind, "proc");
        assert_ne!(id(root.as_fd()).unwrap(), id(proc.as_fd()).unwrap());
    }
}
