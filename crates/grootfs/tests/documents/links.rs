//! What mdbook does not look at: dead links, pages that nobody finds.

use std::path::{Component, Path, PathBuf};

use crate::markdown::{anchors, links, prose};
use crate::{checkout, documents, read};

/// Without `..` in it.
fn plain(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(found.pop(), "{} leads out", path.display()),
            part => found.push(part),
        }
    }
    found
}

/// Where a link of a document leads to: a file below the checkout, and an anchor.
fn target(document: &str, link: &str) -> (PathBuf, Option<String>) {
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (link, None),
    };
    let directory = Path::new(document).parent().unwrap();
    let path = if path.is_empty() { PathBuf::from(document) } else { directory.join(path) };
    (plain(&path), anchor)
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for link in links(&read(&document)) {
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (path, anchor) = target(&document, &link);
            let is_there = checkout().join(&path).exists()
                && anchor
                    .is_none_or(|anchor| anchors(&read(path.to_str().unwrap())).contains(&anchor));
            // The book has nothing but what lies in docs.
            let is_in_the_book = !document.starts_with("docs/") || path.starts_with("docs");
            if !is_there || !is_in_the_book {
                dead.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(seen > 50, "{seen}");
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn every_page_is_in_the_book() {
    let listed: Vec<String> = links(&read("docs/SUMMARY.md"));
    let mut pages: Vec<String> = documents()
        .iter()
        .filter_map(|document| document.strip_prefix("docs/"))
        .filter(|page| *page != "SUMMARY.md")
        .map(str::to_owned)
        .collect();
    pages.sort();
    let mut sorted = listed;
    sorted.sort();
    assert_eq!(sorted, pages);
}

/// People read it to the end.
#[test]
fn the_readme_is_short() {
    assert!(read("README.md").lines().count() < 180);
}

/// What is indented is no block that anybody checks.
#[test]
fn blocks_are_fenced() {
    for document in documents() {
        // Pages that nobody follows step by step, and one whose texts the catalogue compares.
        let others = ["docs/performance.md", "docs/errors.md"];
        if !document.starts_with("docs/decisions") && !others.contains(&document.as_str()) {
            let text = read(&document);
            let lines = prose(&text);
            // Otherwise it goes on with a point of a list.
            let indented =
                lines.windows(2).find(|two| two[0].is_empty() && two[1].starts_with("    "));
            assert_eq!(indented, None, "{document}");
        }
    }
}
