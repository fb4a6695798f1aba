//! One layer's tar becomes a tree.
//!
//! This is where strangers' bytes meet a root process. The room knows no registry and no store:
//! it gets a stream, an open directory and the rules, and touches nothing outside of that
//! directory, whatever the stream says.

use std::collections::BTreeSet;
use std::fmt;
use std::io::BufRead;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::io::Errno;

use crate::idmap::IdMappings;

mod attributes;
mod own;
mod path;
pub(crate) mod tar;
mod times;
mod tree;
mod whiteout;
mod write;

pub use path::EntryPath;
pub use tree::is_opaque;

/// How deletions of lower layers' files are written down.
#[derive(Debug, Clone, Copy)]
pub enum OnDisk<'a> {
    /// The tree holds all lower layers already (a btrfs snapshot): deletions remove.
    Plain,
    /// The tree holds this layer only: deletions become overlay's whiteouts and opaque xattrs.
    Overlay {
        /// The store's 0:0 character device; whiteouts are hard links to it while the file
        /// system allows more links, and devices of their own afterwards.
        whiteout_device: BorrowedFd<'a>,
    },
}

/// Limits of one layer; a layer that goes beyond is an error, never a short tree.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of regular files' contents.
    pub bytes: u64,
    /// Entries of the tar.
    pub entries: u64,
}

/// Where a layer goes and by which rules.
#[derive(Debug)]
pub struct Target<'a> {
    /// The volume's root directory, open for reading.
    pub root: BorrowedFd<'a>,
    /// How deletions are written.
    pub on_disk: OnDisk<'a>,
    /// Which host ids the ids of the entries become.
    pub mappings: &'a IdMappings,
    /// Directory inside the root that all entries are relative to (contract 4.6). It exists.
    pub base_directory: Option<&'a Path>,
    /// What may not be exceeded.
    pub limits: Limits,
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes written to regular files (contract 5.1; rewrites count again, holes do not).
    pub bytes: u64,
    /// Entries read.
    pub entries: u64,
    /// What was left out or done otherwise, one sentence each kind, for the log.
    pub warnings: Vec<String>,
    /// Directories that hide those of the layers below.
    pub opaque: Opaque,
    /// Directories that no entry describes, made because something lies in them; parents first.
    pub undescribed: Vec<EntryPath>,
}

/// Directories that hide those of the layers below, as far as it is not as usual: marked by root of the
/// machine for root of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opaque {
    /// Whether there are some with the mark for overlays that users mount.
    pub for_users: bool,
    /// Those that do not have the mark for root's overlays, because only root of the machine may set it. Later
    /// entries may have put something else in their place.
    pub unmarked: BTreeSet<EntryPath>,
}

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream broke off.
    #[error("reading the layer: {}", crate::error::reason(.0))]
    Read(std::io::Error),
    /// The stream ends inside of an entry.
    #[error("unexpected EOF: the tar ends inside of an entry")]
    UnexpectedEof,
    /// Bytes that are no tar.
    #[error("archive/tar: invalid tar header: {why} (in front of byte {before} of the tar)")]
    Header {
        /// Bytes of the tar that were read.
        before: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A system call on an entry.
    #[error("{action} `{path}`: {}", crate::error::reason(&(*errno).into()))]
    Entry {
        /// What was being done (contract 5.1).
        action: String,
        /// To which entry.
        path: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// An owner that the store has no host id for.
    #[error(
        "chowning file {uid}:{gid} `{path}`: {kind} id {id} is not in the id mappings of the store; a store with \
         more ids can unpack it (init-store with larger mappings)"
    )]
    Unmapped {
        /// The entry.
        path: String,
        /// Its user.
        uid: u64,
        /// Its group.
        gid: u64,
        /// Which of them is the trouble.
        kind: &'static str,
        /// The id.
        id: u64,
    },
    /// An entry that makes no sense or is not safe.
    #[error("refusing `{path}`: {why}")]
    Refused {
        /// The entry.
        path: String,
        /// Why.
        why: String,
    },
    /// More bytes than allowed.
    #[error(
        "uncompressed layer size exceeds quota: more than the {0} bytes that the disk limit leaves for \
         it; raise the limit, or leave the image out of it with --exclude-image-from-quota"
    )]
    TooManyBytes(u64),
    /// More entries than allowed.
    #[error("the layer has more than {0} entries, which no file system should have to take")]
    TooManyEntries(u64),
}

impl Error {
    /// Whether the cause are the bytes and not the place that they were to go to.
    pub fn is_about_bytes(&self) -> bool {
        matches!(
            self,
            Self::Read(_) | Self::UnexpectedEof | Self::Header { .. } | Self::Refused { .. }
        )
    }

    fn entry(action: &str, path: &EntryPath, errno: Errno) -> Self {
        Self::Entry { action: action.to_owned(), path: path.show(), errno }
    }

    fn entry_with(action: &str, with: impl fmt::Display, path: &EntryPath, errno: Errno) -> Self {
        Self::Entry { action: format!("{action} {with}"), path: path.show(), errno }
    }
}

/// Unpacks a layer. Reads up to the end marker of the tar; what follows is left to the caller.
///
/// On an error the tree is incomplete and must be thrown away.
pub fn unpack(input: &mut dyn BufRead, target: &Target<'_>) -> Result<Unpacked, Error> {
    write::Writer::new(target)?.write_all(&mut tar::Archive::new(input))
}

#[cfg(test)]
mod tests;
