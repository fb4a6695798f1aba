//! Deletions: of what is not there, of links, through links, and in every order.

use super::{Case, fails, gives, one, two};
use crate::layer::{Entry, Layer};

const NO_NAME: &str = "a whiteout in it names no file";

fn new() -> Layer {
    Layer::new()
}

/// `d/x` and `d/s/y`, and a file beside them.
fn lower() -> Layer {
    new().directory("d").file("d/x", "x").directory("d/s").file("d/s/y", "y").file("k", "k")
}

fn names() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh...", "d/../.wh.."] {
        cases.push(two(format!("named {name}"), lower(), new().file(name, ""), fails(NO_NAME)));
    }
    let all = ["d/", "d/s/", "d/s/y = y", "d/x = x", "k = k"];
    let with = |more: &[&'static str]| {
        let mut lines = [&all[..], more].concat();
        lines.sort_unstable();
        gives(&lines)
    };
    cases.extend([
        two(
            "as a directory on the way",
            lower(),
            new().file("d/.wh.x/z", "z"),
            with(&["d/.wh.x/", "d/.wh.x/z = z"]),
        ),
        two("slashes behind it", lower(), new().file(".wh.k//", ""), gives(&all[..4])),
        two("dots behind it", lower(), new().file("d/.wh.x/../n", "n"), with(&["d/n = n"])),
        two(
            "AUFS's own",
            lower(),
            new().file(".wh..wh.plnk", "").file(".wh..wh.aufs", ""),
            with(&[]),
        ),
        two(
            "AUFS's directory",
            lower(),
            new().directory(".wh..wh.plnk").file(".wh..wh.plnk/1.2", "x"),
            with(&[]),
        ),
        two("of a name of dots", lower(), new().file(".wh....", ""), with(&[])),
        two("with dots upwards", lower(), new().file("../../.wh.k", ""), gives(&all[..4])),
    ]);
    for (kind, entry) in [
        ("directory", Entry::directory(".wh.k")),
        ("link", Entry::symlink(".wh.k", "/canary")),
        ("fifo", Entry::fifo(".wh.k")),
        ("device", Entry::character_device(".wh.k", 1, 3)),
        ("file with content", Entry::file(".wh.k", [b'c'; 700])),
    ] {
        cases.push(two(format!("as a {kind}"), lower(), new().entry(entry), gives(&all[..4])));
    }
    cases
}

fn of_and_through_links() -> Vec<Case> {
    let linked = || lower().symlink("l", "d").symlink("out", "/mnt/beside").symlink("up", "../..");
    let all = ["d/", "d/s/", "d/s/y = y", "d/x = x", "k = k"];
    let with = |leave: &[&str], more: &[&'static str]| {
        let links = ["l -> d", "out -> /mnt/beside", "up -> ../.."];
        let lines = all.iter().chain(&links).filter(|line| !leave.contains(line)).copied();
        let mut lines: Vec<&str> = lines.chain(more.iter().copied()).collect();
        lines.sort_unstable();
        gives(&lines)
    };
    vec![
        two("of links", linked(), new().whiteout("l").whiteout("out").whiteout("up"), gives(&all)),
        two("through a link", linked(), new().whiteout("l/x"), with(&["l -> d"], &["l/", "l/x ?"]))
            .on_btrfs(with(&["d/x = x"], &[])),
        two(
            "through a link out",
            linked(),
            new().whiteout("out/file"),
            with(&["out -> /mnt/beside"], &["out/", "out/file ?"]),
        )
        .on_btrfs(with(&[], &[])),
        two(
            "through a link upwards",
            linked(),
            new().whiteout("up/canary"),
            with(&["up -> ../.."], &["up/", "up/canary ?"]),
        )
        .on_btrfs(with(&[], &[])),
        two("opaque through a link", linked(), new().opaque("l"), with(&["l -> d"], &["l/"]))
            .on_btrfs(with(&["d/s/", "d/s/y = y", "d/x = x"], &[])),
        two(
            "opaque through a link out",
            linked(),
            new().opaque("out"),
            with(&["out -> /mnt/beside"], &["out/"]),
        ),
        two(
            "through the layer's own link",
            lower(),
            new().symlink("own", "/mnt/beside").whiteout("own/file"),
            gives(&["d/", "d/s/", "d/s/y = y", "d/x = x", "k = k", "own -> /mnt/beside"]),
        ),
    ]
}

fn opaque() -> Vec<Case> {
    let result = gives(&["d/", "d/m = m", "d/n = n", "k = k"]);
    let marker = || Entry::opaque("d");
    let (m, n) = (|| Entry::file("d/m", "m"), || Entry::file("d/n", "n"));
    let order = |name: &'static str, entries: Vec<Entry>| {
        let layer = entries.into_iter().fold(new(), Layer::entry);
        two(name, lower(), layer, result.clone())
    };
    vec![
        order("opaque first", vec![marker(), Entry::directory("d"), m(), n()]),
        order("opaque in the middle", vec![Entry::directory("d"), m(), marker(), n()]),
        order("opaque last", vec![Entry::directory("d"), m(), n(), marker()]),
        order("opaque in front of its directory", vec![marker(), m(), Entry::directory("d"), n()]),
        order("opaque twice", vec![marker(), m(), marker(), n(), marker()]),
        order("opaque without its directory", vec![m(), marker(), n()]),
        two(
            "opaque on a file below",
            lower(),
            new().opaque("k"),
            gives(&["d/", "d/s/", "d/s/y = y", "d/x = x", "k/"]),
        ),
        two(
            "opaque root",
            lower(),
            new().file("n", "n").file(".wh..wh..opq", ""),
            gives(&["n = n"]),
        ),
        two("opaque root alone", lower(), new().file(".wh..wh..opq", ""), gives(&[])),
        two(
            "opaque below what is kept",
            lower(),
            new().directory("d/s").file("d/s/n", "n").opaque("d/s").opaque("d"),
            gives(&["d/", "d/s/", "d/s/n = n", "k = k"]),
        ),
        one("opaque on nothing", new().opaque("no/such"), gives(&["no/", "no/such/"])),
    ]
}

/// Whatever the order, a deletion is of the layers below and not of its own.
fn orders() -> Vec<Case> {
    let kept = |more: &[&'static str]| {
        let mut lines = [&["k = k"][..], more].concat();
        lines.sort_unstable();
        gives(&lines)
    };
    let case = |name: &'static str, layer: Layer, more: &[&'static str]| {
        two(name, lower(), layer, kept(more))
    };
    let wh = || new().whiteout("d");
    vec![
        case("then a file", wh().file("d", "1"), &["d = 1"]),
        case("after a file", new().file("d", "1").whiteout("d"), &["d = 1"]),
        case("then a directory", wh().directory("d"), &["d/"]),
        case("after a directory", new().file("d/n", "n").whiteout("d"), &["d/", "d/n = n"]),
        case("then a file in it", wh().file("d/n", "n"), &["d/", "d/n = n"]),
        case("then deeper", wh().file("d/s/n", "n"), &["d/", "d/s/", "d/s/n = n"]),
        case("file, then directory", new().file("d", "1").directory("d"), &["d/"]),
        case("file, then a file in it", new().file("d", "1").file("d/n", "n"), &["d/", "d/n = n"]),
        case("link, then directory", new().symlink("d", "k").directory("d"), &["d/"]),
        case("deleted, file, directory", wh().file("d", "1").directory("d"), &["d/"]),
        case("in an own file", new().file("d", "1").whiteout("d/x"), &["d = 1"]),
        case("in what is deleted", wh().whiteout("d/x"), &[]),
        case("in what will be deleted", new().whiteout("d/s/y").whiteout("d/x").whiteout("d"), &[]),
        case("twice", wh().whiteout("d"), &[]),
        case("opaque, then deleted", new().opaque("d").whiteout("d"), &[]),
        case("deleted, then opaque", wh().opaque("d"), &["d/"]),
        case(
            "then a link and through it",
            wh().directory("e").symlink("d", "e").file("d/n", "n"),
            &["d -> e", "e/", "e/n = n"],
        ),
    ]
}

fn others() -> Vec<Case> {
    let linked = new().file("a", "x").entry(Entry::hard_link("b", "a"));
    let three = vec![
        lower().into(),
        new().whiteout("d").whiteout("k").into(),
        new().file("d/n", "n").into(),
    ];
    vec![
        two("of one of two names", linked, new().whiteout("a"), gives(&["b = x"])),
        Case::new("and back in a third layer", three, gives(&["d/", "d/n = n"])),
        two(
            "in a missing directory",
            lower(),
            new().whiteout("no/such/file"),
            gives(&[
                "d/",
                "d/s/",
                "d/s/y = y",
                "d/x = x",
                "k = k",
                "no/",
                "no/such/",
                "no/such/file ?",
            ]),
        )
        .on_btrfs(gives(&["d/", "d/s/", "d/s/y = y", "d/x = x", "k = k"])),
        one("in the lowest layer", new().file("a", "x").whiteout("b"), gives(&["a = x"])),
        one("of the layer's own file", new().file("a", "x").whiteout("a"), gives(&["a = x"])),
        two(
            "of a file, which comes back as a directory",
            lower(),
            new().whiteout("k").file("k/n", "n").whiteout("d"),
            gives(&["k/", "k/n = n"]),
        ),
    ]
}

pub fn cases() -> Vec<Case> {
    [names(), of_and_through_links(), opaque(), orders(), others()].concat()
}
