//! Every error that a user can meet is in docs/errors.md, word for word, with what to do about it.
//!
//! The document is the snapshot. Errors are provoked, made plain (paths, digests, ports) and compared with it;
//! `UPDATE_ERRORS=1` writes the new words into it. Whatever text the sources have for an error must be in the
//! document: a new error without an entry fails. What no test can provoke, because a disk or a kernel would
//! have to break, is compared with the words in the sources.

#![expect(clippy::unwrap_used, reason = "a panic is the failure that the test reports")]

use std::collections::{BTreeMap, BTreeSet};

mod built;
mod document;
#[path = "../privileged/fixture.rs"]
#[expect(dead_code, reason = "shared with the tests of the drivers, which use all of it")]
mod fixture;
mod images;
mod plain;
mod program;
mod registries;
mod store;
mod templates;
mod users;

use document::Document;

/// Errors by their names in the document; several where they differ in a word.
type Said = BTreeMap<&'static str, Vec<String>>;

/// Notes what was said.
fn say(said: &mut Said, name: &'static str, text: &str) {
    let texts = said.entry(name).or_default();
    if !texts.iter().any(|known| known == text) {
        texts.push(text.to_owned());
    }
}

/// Fails where the document has other words, or none.
fn compare(said: &Said) {
    let mut document = Document::read();
    if std::env::var_os("UPDATE_ERRORS").is_some() {
        said.iter().for_each(|(name, texts)| document.put(name, texts));
        return document.write();
    }
    let mut wrong = Vec::new();
    for (name, texts) in said {
        let found = document.entries.iter().find(|entry| entry.name == *name);
        match found {
            None => wrong.push(format!("{name} has no entry: {}", texts.join("\n"))),
            Some(entry) if entry.texts != texts.join("\n") => wrong.push(format!(
                "{name}:\n  in the document: {}\n  in truth: {}",
                entry.texts,
                texts.join("\n")
            )),
            Some(_) => {}
        }
    }
    let hint = "look at each, then UPDATE_ERRORS=1 writes them, and a person what to do";
    assert!(wrong.is_empty(), "docs/errors.md is not true ({hint}):\n{}", wrong.join("\n"));
}

/// Errors whose words are those of the kernel or of the parser of the command line, or go over several lines.
const FOREIGN: &[&str] = &[
    "usage-unknown-command",
    "usage-unknown-flag",
    "usage-bad-value",
    "usage-bad-switch",
    "usage-value-missing",
    "file-of-a-flag",
    "config-wrong-type",
    "config-no-mapping",
    "config-too-long",
    "limit-of-nothing",
];

#[test]
fn errors_that_need_no_store() {
    let mut said = program::said();
    said.extend(built::said());
    compare(&said);
}

#[test]
fn privileged_errors_of_images() {
    compare(&images::said());
}

#[test]
fn privileged_errors_of_registries() {
    compare(&registries::said());
}

#[test]
fn privileged_errors_of_stores() {
    compare(&store::said());
}

#[test]
fn privileged_errors_of_users() {
    compare(&users::said());
}

#[test]
fn no_error_is_missing() {
    let document = Document::read();
    let all = templates::all();
    assert!(all.len() > 150, "only {} texts were found in the sources", all.len());
    let missing: Vec<String> = all
        .iter()
        .filter(|template| !document.entries.iter().any(|entry| template.is_in(&entry.texts)))
        .map(ToString::to_string)
        .collect();
    assert!(missing.is_empty(), "not in docs/errors.md:\n{}", missing.join("\n"));
}

#[test]
fn entries_are_whole_and_fresh() {
    let document = Document::read();
    let words = templates::words();
    let mut names = BTreeSet::new();
    for entry in &document.entries {
        assert!(names.insert(&entry.name), "{} is there twice", entry.name);
        let advice = entry.advice.split_whitespace().count();
        assert!(advice >= 5, "{}: says neither why nor what to do", entry.name);
        // Also of those that no test provokes, every line comes from the sources as they are.
        for line in entry.texts.lines() {
            let known = words.iter().any(|template| template.is_in(line));
            assert!(
                known || FOREIGN.contains(&entry.name.as_str()),
                "{}: nobody says this any more: {line}",
                entry.name
            );
        }
    }
}
