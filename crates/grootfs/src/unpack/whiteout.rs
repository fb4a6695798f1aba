//! Deletions of lower layers' files, as OCI layers write them: entries named `.wh.<name>`, and
//! `.wh..wh..opq` for everything in a directory.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Stat, linkat, mknodat};
use rustix::io::Errno;

use super::path::EntryPath;
use super::tree::{Directory, Tree};
use super::{Error, OnDisk};

/// What a base name of this kind asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Whiteout {
    /// Delete one name in the directory.
    Of(Vec<u8>),
    /// Hide everything that lower layers have in the directory.
    Opaque,
    /// A note of AUFS to itself.
    Ignored,
    /// A name that means nothing.
    Invalid,
}

/// Reads a base name; `None` for a usual one (contract D2.24).
pub fn parse(name: &OsStr) -> Option<Whiteout> {
    let victim = name.as_bytes().strip_prefix(b".wh.")?;
    Some(match victim {
        b".wh..opq" => Whiteout::Opaque,
        b"" | b"." | b".." => Whiteout::Invalid,
        _ if victim.starts_with(b".wh.") => Whiteout::Ignored,
        _ => Whiteout::Of(victim.to_vec()),
    })
}

/// Writes a deletion down.
pub fn apply(tree: &mut Tree<'_>, directory: &EntryPath, whiteout: &Whiteout) -> Result<(), Error> {
    let path = match whiteout {
        Whiteout::Of(victim) => directory.join(victim),
        _ => directory.clone(),
    };
    let failed = |errno| Error::entry("deleting whiteout file", &path, errno);
    match (whiteout, tree.on_disk()) {
        (Whiteout::Ignored, _) => Ok(()),
        (Whiteout::Invalid, _) => Err(Error::Refused {
            path: directory.show(),
            why: "a whiteout in it names no file".to_owned(),
        }),
        (Whiteout::Of(victim), OnDisk::Plain) => {
            tree.remove_lower(directory, OsStr::from_bytes(victim)).map_err(failed)
        }
        (Whiteout::Opaque, OnDisk::Plain) => match tree.open(directory) {
            Ok(_) => tree.clear_lower(directory).map_err(failed),
            Err(_) => tree.open_or_make(directory).map(drop),
        },
        (Whiteout::Opaque, OnDisk::Overlay { .. }) => {
            tree.open_or_make(directory)?;
            tree.hide_lower(directory).map_err(failed)
        }
        (Whiteout::Of(victim), OnDisk::Overlay { whiteout_device }) => {
            // What this layer wrote in its way hides the lower file anyway.
            let Some(parent) = tree.open_or_make_around(directory)? else { return Ok(()) };
            let name = OsStr::from_bytes(victim);
            if let Some(found) = tree.stat(&parent, name).map_err(failed)? {
                // A directory does so only when it is opaque; one that only held deletions goes.
                let is_directory = FileType::from_raw_mode(found.st_mode).is_dir();
                if !is_directory || !tree.hide_or_remove(&path).map_err(failed)? {
                    return Ok(());
                }
            }
            if tree.is_hidden(directory).map_err(failed)? {
                return Ok(());
            }
            make(&parent, name, whiteout_device)
                .map_err(|errno| Error::entry("failed to create whiteout node", &path, errno))
        }
    }
}

/// Makes overlay's mark of a deletion.
fn make(parent: &Directory, name: &OsStr, device: BorrowedFd<'_>) -> Result<(), Errno> {
    let linked = match linkat(device, c"", parent.fd(), name, AtFlags::EMPTY_PATH) {
        // Only root of the machine may give a link to what is open; others by its path.
        Err(Errno::NOENT | Errno::PERM) => {
            let path = format!("/proc/self/fd/{}", device.as_raw_fd());
            linkat(CWD, path, parent.fd(), name, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    };
    match linked {
        // As many links as the file system allows, or a device that cannot be linked.
        Err(Errno::MLINK | Errno::PERM | Errno::XDEV | Errno::NOENT) => {
            mknodat(parent.fd(), name, FileType::CharacterDevice, Mode::empty(), 0)
        }
        other => other,
    }
}

/// Whether this is what overlay takes for a deletion.
pub fn is_mark(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode).is_char_device() && found.st_rdev == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_begin_so() {
        for (name, expected) in [
            ("a.wh.b", None),
            ("wh.a", None),
            (".wh.a", Some(Whiteout::Of(b"a".to_vec()))),
            (".wh.a.wh.b", Some(Whiteout::Of(b"a.wh.b".to_vec()))),
            (".wh..wh..opq", Some(Whiteout::Opaque)),
            (".wh..wh.plnk", Some(Whiteout::Ignored)),
            (".wh..wh.aufs", Some(Whiteout::Ignored)),
            (".wh.", Some(Whiteout::Invalid)),
            (".wh..", Some(Whiteout::Invalid)),
            (".wh...", Some(Whiteout::Invalid)),
            (".wh....", Some(Whiteout::Of(b"...".to_vec()))),
        ] {
            assert_eq!(parse(OsStr::new(name)), expected, "{name}");
        }
    }
}
