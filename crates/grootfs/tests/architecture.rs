//! The arrows between the rooms, and the size of their files, as docs/architecture.md draws them.

#![allow(clippy::unwrap_used, reason = "a panic is the failure that a test reports")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may use. `error`, `idmap` and `observe` lie below all of them.
const ARROWS: &[(&str, &[&str])] = &[
    ("cli", &["config", "image", "pull", "store", "driver", "rootfs", "doctor"]),
    ("doctor", &["config", "image", "store", "driver"]),
    ("config", &["driver"]),
    ("image", &[]),
    ("pull", &["image", "unpack", "store", "driver"]),
    ("unpack", &[]),
    // The store asks the driver to make and remove things; of the store, the driver knows nothing
    // but where things lie.
    ("store", &["driver"]),
    ("driver", &["store::layout"]),
    ("rootfs", &["image", "driver", "store::layout"]),
    ("observe", &[]),
    ("idmap", &[]),
    ("interrupt", &[]),
    ("program", &[]),
    // Who a process is: knows no command and no store, and is handed what it has to run.
    ("userns", &[]),
    // Joins the errors of all rooms into one text and one exit code.
    ("error", &["config", "image", "pull", "store", "driver"]),
    ("lib", &["cli"]),
    ("main", &["cli"]),
    // Not in the product: the ways in for the fuzzers.
    ("fuzzing", &["config", "image", "unpack"]),
];

/// Rooms that everybody may use.
const BELOW_ALL: &[&str] = &["error", "idmap", "interrupt", "observe", "program", "userns"];

/// Lines of a file without its tests.
const LONGEST_FILE: usize = 400;

fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    let mut todo = vec![root.clone()];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            files.insert(path.strip_prefix(&root).unwrap().to_owned(), text);
        }
    }
    assert!(files.len() > 30, "found only {} files", files.len());
    files
}

/// The text in front of the tests.
fn product(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod").next().unwrap_or(text)
}

/// The paths behind every `crate::` of a text: `store::layout`.
fn uses(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for after in code.split("crate::").skip(1) {
        let end = after.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | ':'));
        let path = &after[..end.unwrap_or(after.len())];
        match path.strip_suffix("::") {
            // `use crate::store::{layout, locks}`
            Some(module) => {
                let inner = &after[path.len()..];
                if let Some(list) = inner.strip_prefix('{') {
                    let list = list.split('}').next().unwrap_or_default();
                    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
                    found.extend(names.map(|name| format!("{module}::{name}")));
                } else {
                    found.push(module.to_owned());
                }
            }
            None => found.push(path.to_owned()),
        }
    }
    found
}

#[test]
fn arrows_do_not_point_back() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let name = path.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = name.trim_end_matches(".rs");
        if path.ends_with("tests.rs") {
            continue;
        }
        let (_, allowed) = ARROWS
            .iter()
            .find(|(known, _)| *known == room)
            .unwrap_or_else(|| panic!("{room} is a room that ARROWS does not know"));
        for used in uses(product(&text)) {
            let inside = |module: &str| {
                used == module || used.strip_prefix(module).is_some_and(|r| r.starts_with("::"))
            };
            let fine = inside(room)
                || allowed.iter().any(|module| inside(module))
                || BELOW_ALL.iter().any(|module| inside(module));
            if !fine {
                wrong.push(format!("{}: crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that are not in ARROWS:\n{}", wrong.join("\n"));
}

#[test]
fn arrows_are_seen() {
    assert_eq!(
        uses("use crate::store::{layout::Layout, locks};"),
        ["store::layout::Layout", "store::locks"]
    );
    assert_eq!(uses("let x = crate::pull::Puller::new();"), ["pull::Puller::new"]);
    assert!(uses("// crate::pull\n//! [`crate::pull`]").is_empty());
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| !path.ends_with("tests.rs"))
        .map(|(path, text)| (path, product(&text).lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "cut these files:\n{}", long.join("\n"));
}

#[test]
fn unsafe_code_lives_in_groot_sys() {
    for (path, text) in sources() {
        let unsafe_word = ["unsafe", " {"].concat();
        assert!(!text.contains(&unsafe_word), "{} has unsafe code", path.display());
    }
}
