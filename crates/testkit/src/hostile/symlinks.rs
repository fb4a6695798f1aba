//! Symbolic links that somebody hopes will be followed.

use super::raw::Raw;
use super::{Case, fails, gives, one, two};
use crate::layer::{Entry, Layer};

fn link(name: &str, target: &str) -> Layer {
    Layer::new().symlink(name, target)
}

/// A chain of links to a directory.
fn chain(length: usize) -> Layer {
    let mut layer = Layer::new().directory("d").symlink("l0", "d");
    for number in 1..length {
        layer = layer.symlink(&format!("l{number}"), &format!("l{}", number - 1));
    }
    layer.file(&format!("l{}/x", length - 1), "x")
}

fn in_one_layer() -> Vec<Case> {
    vec![
        one(
            "file through a link to nothing",
            link("d", "/nothing").file("d/x", "x"),
            gives(&["d/", "d/x = x"]),
        ),
        one(
            "file through an absolute link",
            Layer::new().directory("etc").symlink("d", "/etc").file("d/x", "x"),
            gives(&["d -> /etc", "etc/", "etc/x = x"]),
        ),
        one(
            "file through a link upwards",
            link("up", "../../../..").file("up/canary", "x"),
            gives(&["canary = x", "up -> ../../../.."]),
        ),
        one(
            "file through a link to a canary's directory",
            link("d", "/mnt/beside").file("d/file", "x"),
            gives(&["d/", "d/file = x"]),
        ),
        one(
            "file through /proc",
            link("p", "/proc/self/root").file("p/canary", "x"),
            gives(&["p/", "p/canary = x"]),
        ),
        one("link to itself", link("l", "l").file("l/x", "x"), gives(&["l/", "l/x = x"])),
        one(
            "links to each other",
            link("a", "b").symlink("b", "a").file("a/x", "x"),
            gives(&["a/", "a/x = x", "b -> a"]),
        ),
        one(
            "link to the same directory",
            link("dot", ".").file("dot/dot/./dot/x", "x"),
            gives(&["dot -> .", "x = x"]),
        ),
        one(
            "link to a file as a directory",
            Layer::new().file("f", "1").symlink("l", "f").file("l/x", "x"),
            gives(&["f = 1", "l/", "l/x = x"]),
        ),
        one("file over a link", link("f", "/canary").file("f", "x"), gives(&["f = x"])),
        one(
            "fifo over a link",
            link("f", "/canary").entry(Entry::fifo("f").mode(0o777).owner(1, 1)),
            gives(&["f |"]),
        ),
        one(
            "directory over a link",
            Layer::new()
                .directory("e")
                .symlink("d", "e")
                .entry(Entry::directory("d").mode(0o700))
                .file("d/x", "x"),
            gives(&["d/", "d/x = x", "e/"]),
        )
        .fact("e", "mode 0755"),
        one(
            "directory over a link out",
            link("d", "/mnt/beside").entry(Entry::directory("d").mode(0o777).owner(3, 3)),
            gives(&["d/"]),
        ),
        one(
            "link over a full directory",
            Layer::new().file("d/a", "a").symlink("d", "../..").file("d/b", "b"),
            gives(&["b = b", "d -> ../.."]),
        ),
        one(
            "link over an open directory",
            Layer::new().file("d/e/a", "a").symlink("d/e", "/mnt").file("d/e/b", "b"),
            gives(&["d/", "d/e/", "d/e/b = b"]),
        ),
        one(
            "parent of an open directory becomes a link",
            Layer::new().file("d/e/a", "a").symlink("d", "/mnt").file("d/e/b", "b"),
            gives(&["d/", "d/e/", "d/e/b = b"]),
        ),
        one("link without a target", link("l", ""), fails("a link without a target")),
        one(
            "NUL in the target",
            Raw::new().pax(&[("linkpath", "/canary\0x")]).file("x", "x").end(),
            fails("a broken pax record"),
        ),
        one("target of 5000 bytes", link("l", &"t/".repeat(2500)), fails("file name too long")),
        one(
            "attributes of the link alone",
            Layer::new()
                .file("f", "x")
                .entry(Entry::symlink("l", "f").owner(5, 6).mode(0).mtime(7, 8)),
            gives(&["f = x", "l -> f"]),
        )
        .fact("f", "owner 0:0")
        .fact("f", "mode 0644")
        .fact("l", "owner 5:6")
        .fact("l", "mtime 7.000000008"),
    ]
}

fn chains() -> Vec<Case> {
    let lines = |length: usize, follows: bool| {
        let last = length - 1;
        let mut lines: Vec<String> = (1..length).map(|n| format!("l{n} -> l{}", n - 1)).collect();
        lines.push("l0 -> d".into());
        lines.push("d/".into());
        if follows {
            lines.push("d/x = x".into());
        } else {
            lines.retain(|line| !line.starts_with(&format!("l{last} ")));
            lines.extend([format!("l{last}/"), format!("l{last}/x = x")]);
        }
        lines.sort();
        super::Oracle::Gives(lines)
    };
    vec![
        one("chain of 40 links", chain(40), lines(40, true)),
        one("chain of 41 links", chain(41), lines(41, false)),
    ]
}

fn across_layers() -> Vec<Case> {
    vec![
        two(
            "below: file through a link",
            Layer::new().directory("etc").symlink("d", "/etc"),
            Layer::new().file("d/x", "x"),
            gives(&["d/", "d/x = x", "etc/"]),
        )
        .on_btrfs(gives(&["d -> /etc", "etc/", "etc/x = x"])),
        two(
            "below: file through a link upwards",
            link("up", "../../.."),
            Layer::new().file("up/canary", "x"),
            gives(&["up/", "up/canary = x"]),
        )
        .on_btrfs(gives(&["canary = x", "up -> ../../.."])),
        two(
            "below: file through a link out",
            link("d", "/mnt/beside"),
            Layer::new().file("d/file", "x"),
            gives(&["d/", "d/file = x"]),
        ),
        two(
            "below: file over a link",
            link("f", "/canary"),
            Layer::new().file("f", "x"),
            gives(&["f = x"]),
        ),
        two(
            "below: directory over a link",
            link("d", "/mnt/beside"),
            Layer::new().entry(Entry::directory("d").mode(0o777)).file("d/x", "x"),
            gives(&["d/", "d/x = x"]),
        ),
        two(
            "below: link over a directory",
            Layer::new().file("d/x", "x"),
            Layer::new().symlink("d", "/").file("d/canary", "y"),
            gives(&["canary = y", "d -> /"]),
        ),
        two(
            "below: through a file",
            Layer::new().file("f", "x"),
            Layer::new().file("f/g", "y"),
            gives(&["f/", "f/g = y"]),
        ),
        two(
            "below: links to each other",
            link("a", "b").symlink("b", "a"),
            Layer::new().file("a/x", "x"),
            gives(&["a/", "a/x = x", "b -> a"]),
        ),
    ]
}

pub fn cases() -> Vec<Case> {
    [in_one_layer(), chains(), across_layers()].concat()
}
