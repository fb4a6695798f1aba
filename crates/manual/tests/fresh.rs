//! What is committed in `packaging/` is what the program would say of itself today.

#![allow(clippy::unwrap_used, reason = "a panic is the failure that a test reports")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

fn files_below(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for name in manual::DIRECTORIES {
        for entry in fs::read_dir(directory.join(name)).into_iter().flatten() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            files.insert(path.strip_prefix(directory).unwrap().to_owned(), text);
        }
    }
    files
}

#[test]
fn committed_files_are_fresh() {
    let fresh: BTreeMap<PathBuf, String> = manual::files().into_iter().collect();
    let committed = files_below(&committed());
    let mut names: Vec<&PathBuf> = fresh.keys().chain(committed.keys()).collect();
    names.sort();
    names.dedup();
    names.retain(|name| fresh.get(*name) != committed.get(*name));
    assert!(
        names.is_empty(),
        "stale files in packaging/: {names:?}\nrenew them with `just man`, which is\n    \
         cargo run --package manual"
    );
}

#[test]
fn the_program_writes_them_and_removes_others() {
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("man/grootfs-gone.1");
    fs::create_dir(directory.path().join("man")).unwrap();
    fs::write(&gone, "").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_manual")).arg(directory.path()).status().unwrap();
    assert!(status.success());
    assert_eq!(files_below(directory.path()), manual::files().into_iter().collect());
}
