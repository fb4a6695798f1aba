//! The README and the manual: links lead somewhere, commands work, and what is printed below them is true.
//!
//! How a document says what is run is told in `session.rs`.

#![expect(clippy::unwrap_used, reason = "a panic is the failure that the test reports")]

use std::fs;
use std::path::{Path, PathBuf};

mod compare;
mod links;
mod markdown;
mod place;
mod session;

/// The top of the checkout.
fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All documents, by their paths below the checkout.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["", "docs", "docs/decisions"] {
        for entry in fs::read_dir(checkout().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let path = path.strip_prefix(checkout()).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found.sort();
    found
}

fn read(document: &str) -> String {
    fs::read_to_string(checkout().join(document)).unwrap()
}
