//! What is left of the store's file system, for whoever was told that there is no room.

use crate::driver::limit::Bytes;
use crate::error::{Error, chain};
use crate::store::layout::Layout;

/// The kernel's words for a file system without blocks or without inodes.
const NO_ROOM: &str = "no space left on device";

/// Adds to such an error what is free now that all that was begun is removed again: blocks and inodes run out apart, and
/// the kernel says the same of both.
pub fn told(error: Error, layout: &Layout) -> Error {
    let text = chain(&error);
    let size = match groot_sys::fs::size(layout.root()) {
        Ok(size) if text.ends_with(NO_ROOM) => size,
        _ => return error,
    };
    let inodes = match size.inodes {
        // btrfs makes room for them as they come.
        0 => String::new(),
        all => format!(" and {} of {all} inodes", size.free_inodes),
    };
    Error::Message(format!(
        "{text} (the file system of the store has {} of {}{inodes} free, without what was begun; `grootfs --store {} \
         df` tells what holds the rest)",
        Bytes(size.available),
        Bytes(size.total),
        layout.root().display()
    ))
}
