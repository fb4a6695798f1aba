//! Renews the man pages and shell completions in `packaging/`, or in the directory that is named.

use std::fs;
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
    let target = std::env::args_os().nth(1).map_or(committed, PathBuf::from);
    // Pages of commands that are gone must not stay.
    for name in manual::DIRECTORIES {
        let directory = target.join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
    }
    for (path, text) in manual::files() {
        fs::write(target.join(path), text)?;
    }
    Ok(())
}
