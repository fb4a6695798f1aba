//! The man pages and shell completions of `packaging/`, made from the command line's types.
//!
//! A program of its own, so that nothing of it is in what we ship. `tests/fresh.rs` fails when a file of
//! `packaging/` is not what this makes of the program.

use std::path::{Path, PathBuf};

mod commands;
mod completions;
mod configuration;
mod page;
mod pages;

/// Every file with its path below `packaging/`.
pub fn files() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for (name, text) in pages::all() {
        files.push((Path::new("man").join(name), text));
    }
    for (name, text) in completions::all() {
        files.push((Path::new("completions").join(name), text));
    }
    files
}

/// Directories below `packaging/` that hold nothing else.
pub const DIRECTORIES: [&str; 2] = ["man", "completions"];
