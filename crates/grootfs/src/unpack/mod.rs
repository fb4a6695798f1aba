//! One layer's tar becomes a tree.
//!
//! This is where strangers' bytes meet a root process. The room knows no registry and no store:
//! it gets a stream, an open directory and the rules, and touches nothing outside of that
//! directory, whatever the stream says.

use std::io::BufRead;
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::idmap::IdMappings;

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
    /// Bytes written to regular files (contract 5.1; rewrites count again).
    pub bytes: u64,
    /// Entries read.
    pub entries: u64,
    /// What was left out or done otherwise, one sentence each kind, for the log.
    pub warnings: Vec<String>,
}
