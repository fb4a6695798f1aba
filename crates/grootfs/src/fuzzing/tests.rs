//! Every seed of the fuzzers, in every run of the tests.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::*;

/// What stands in front of the name of a seed that has to be taken.
const GOOD: &str = "good-";

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut seeds: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 5, "{target} has {} seeds", seeds.len());
    seeds
}

fn texts(target: &str) -> Vec<(PathBuf, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    seeds(target).into_iter().map(|(path, bytes)| (path, text(bytes))).collect()
}

fn is_good(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(GOOD))
}

#[test]
fn seeds_of_texts() {
    for (path, text) in texts("reference") {
        reference(&text);
        assert_eq!(text.parse::<Reference>().is_ok(), is_good(&path), "{}", path.display());
    }
    for (path, text) in texts("argument") {
        argument(&text);
        assert_eq!(argument::parse(&text).is_ok(), is_good(&path), "{}", path.display());
    }
    for (path, text) in texts("challenge") {
        challenge(&text);
        assert_eq!(!challenge::parse(&text).is_empty(), is_good(&path), "{}", path.display());
    }
    for (path, text) in texts("hosts") {
        hosts(&text);
        assert_eq!(hosts::parse_alone(&text).is_ok(), is_good(&path), "{}", path.display());
    }
    for (path, text) in texts("configuration") {
        configuration(&text);
        let taken = file::parse(&text)
            .is_ok_and(|read| Config::merge(Flags::default(), read.file, None).is_ok());
        assert_eq!(taken, is_good(&path), "{}", path.display());
    }
}

#[test]
fn seeds_of_documents() {
    for (path, bytes) in seeds("documents") {
        documents(&bytes);
        let first = bytes.split(|byte| *byte == 0).next().unwrap();
        let taken = document::parse("document", "", first).is_ok();
        assert_eq!(taken, is_good(&path), "{}", path.display());
    }
}

#[test]
fn seeds_of_tars() {
    for (path, bytes) in seeds("tar") {
        let (same, taken) = tar(&bytes);
        assert_eq!(taken, is_good(&path), "{}: {same} entries", path.display());
        tar(&mend(&bytes));
    }
}

#[test]
fn seeds_of_layers_change_nothing_outside() {
    for (path, bytes) in seeds("layer") {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("root/home/app")).unwrap();
        fs::write(place.path().join("victim"), "kept").unwrap();
        let root = fs::File::open(place.path().join("root")).unwrap();
        unpack(Disk { root: root.as_fd(), whiteout_device: None }, &bytes);
        assert_eq!(fs::read(place.path().join("victim")).unwrap(), b"kept", "{}", path.display());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "{}", path.display());
    }
}
