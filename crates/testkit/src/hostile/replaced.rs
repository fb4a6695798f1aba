//! Every type of entry in the place of every other one, in one layer and in two.

use super::{Case, Oracle, one, two};
use crate::layer::{Entry, Layer};

const KINDS: [&str; 6] = ["file", "directory", "dangling", "link", "hard", "fifo"];

/// What all of them refer to.
fn base(layer: Layer) -> Layer {
    layer.file("0-target", "0").directory("1-directory")
}

fn add(layer: Layer, kind: &str, path: &str, content: &str) -> Layer {
    match kind {
        "file" => layer.file(path, content),
        "directory" => layer.directory(path).file(&format!("{path}/{content}"), content),
        "dangling" => layer.symlink(path, content),
        "link" => layer.symlink(path, "1-directory"),
        "hard" => layer.entry(Entry::hard_link(path, "0-target")),
        _ => layer.entry(Entry::fifo(path)),
    }
}

fn lines(kind: &str, path: &str) -> Vec<String> {
    match kind {
        "file" => vec![format!("{path} = new")],
        "directory" => vec![format!("{path}/"), format!("{path}/new = new")],
        "dangling" => vec![format!("{path} -> new")],
        "link" => vec![format!("{path} -> 1-directory")],
        "hard" => vec![format!("{path} == 0-target")],
        _ => vec![format!("{path} |")],
    }
}

fn oracle(old: &str) -> Oracle {
    let mut expected = vec!["0-target = 0".to_owned(), "1-directory/".to_owned()];
    for new in KINDS {
        expected.extend(lines(new, new));
        if (old, new) == ("directory", "directory") {
            expected.push("directory/old = old".to_owned());
        }
    }
    expected.sort();
    Oracle::Gives(expected)
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for old in KINDS {
        let all = |layer: Layer, kind: &dyn Fn(&'static str) -> &'static str, content: &str| {
            KINDS.iter().fold(layer, |layer, path| add(layer, kind(path), path, content))
        };
        let lower = all(base(Layer::new()), &|_| old, "old");
        let both = all(lower.clone(), &|path| path, "new");
        let upper = all(base(Layer::new()), &|path| path, "new");
        cases.push(one(format!("{old} in one layer"), both, oracle(old)));
        cases.push(two(format!("{old} below"), lower, upper, oracle(old)));
    }
    cases
}
