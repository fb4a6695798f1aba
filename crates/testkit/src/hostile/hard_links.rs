//! Hard links: the one entry that names two paths.

use super::raw::{Header, Raw};
use super::{Case, fails, gives, one, two};
use crate::layer::{Entry, Layer};

const MISSING: &str = "no such file or directory";

fn link(layer: Layer, name: &str, target: &str) -> Layer {
    layer.entry(Entry::hard_link(name, target))
}

fn file(name: &str) -> Layer {
    Layer::new().file(name, "x")
}

fn outside() -> Vec<Case> {
    let stolen = |name: &'static str, target: &str| {
        one(name, link(Layer::new(), "stolen", target), fails(MISSING))
    };
    vec![
        stolen("canary by dots", "../../../../../../../canary"),
        stolen("canary by its path", "/canary"),
        stolen("canary beside the store", "../../../beside/file"),
        stolen("missing", "missing"),
        stolen("the root", "/"),
        stolen("in a missing directory", "missing/file"),
        one(
            "canary through a link",
            link(Layer::new().symlink("l", "/mnt/beside"), "stolen", "l/file"),
            fails(MISSING),
        ),
        one(
            "canary through a link upwards",
            link(Layer::new().symlink("l", "../../.."), "stolen", "l/canary"),
            fails(MISSING),
        ),
        one(
            "through a loop",
            link(Layer::new().symlink("l", "l"), "stolen", "l/x"),
            fails("too many levels of symbolic links"),
        ),
        one(
            "canary by linkpath",
            Raw::new()
                .file("f", "x")
                .pax(&[("linkpath", "../../../canary")])
                .header(Header::new(b'1', "stolen").link("f"))
                .end(),
            fails(MISSING),
        ),
    ]
}

fn inside() -> Vec<Case> {
    vec![
        one(
            "to a link, then written",
            link(Layer::new().symlink("s", "/canary"), "h", "s").file("h", "x"),
            gives(&["h = x", "s -> /canary"]),
        ),
        one(
            "to a link",
            link(Layer::new().symlink("s", "/canary"), "h", "s"),
            gives(&["h -> /canary", "s == h"]),
        ),
        one("to a directory", link(Layer::new().directory("d"), "h", "d"), fails("is a directory")),
        one("below its target", link(file("a"), "a/b", "a"), fails("is a directory")),
        one("to itself", link(file("a"), "a", "a"), gives(&["a = x"])),
        one("to itself by dots", link(file("a"), "a", "./b/../a"), gives(&["a = x"])),
        one("to itself, missing", link(Layer::new(), "a", "a"), gives(&[])),
        one("twice", link(link(file("a"), "b", "a"), "b", "a"), gives(&["a = x", "b == a"])),
        one(
            "to a fifo",
            link(Layer::new().entry(Entry::fifo("p")), "q", "p"),
            gives(&["p |", "q == p"]),
        ),
        one(
            "to a device that was left out",
            link(Layer::new().entry(Entry::character_device("null", 1, 3)), "h", "null"),
            fails(MISSING),
        ),
        one(
            "below a link",
            link(file("d/f").symlink("l", "/d"), "h", "l/f"),
            gives(&["d/", "d/f = x", "h == d/f", "l -> /d"]),
        ),
        one(
            "over the directory of its target",
            link(file("d/f"), "d", "d/f"),
            fails("in place of the directory that holds its target"),
        ),
        one(
            "over the directory of its target, by a link",
            link(file("d/f").symlink("l", "d"), "d", "l/f"),
            fails(MISSING),
        ),
        one(
            "written apart",
            link(Layer::new().entry(Entry::file("a", "x").mode(0o4755).owner(5, 5)), "b", "a")
                .entry(Entry::file("b", "y").mode(0o600)),
            gives(&["a = x", "b = y"]),
        )
        .fact("a", "mode 4755")
        .fact("a", "owner 5:5"),
        one(
            "attributes of the link entry",
            file("a").entry(Entry::hard_link("b", "a").mode(0o4777).owner(9, 9)),
            gives(&["a = x", "b == a"]),
        )
        .fact("a", "mode 0644")
        .fact("a", "owner 0:0"),
        one(
            "with content",
            Raw::new()
                .file("a", "x")
                .content(Header::new(b'1', "b").link("a").size(512), [b'z'; 512])
                .end(),
            fails("invalid tar header"),
        ),
        one(
            "with a header as its content",
            Raw::new()
                .file("a", "x")
                .header(Header::new(b'1', "b").link("a").size(512))
                .header(Header::new(b'0', "second"))
                .end(),
            gives(&["a = x", "b == a", "second = "]),
        ),
    ]
}

fn across_layers() -> Vec<Case> {
    vec![
        two(
            "below: to a file of another layer",
            file("a"),
            link(Layer::new(), "b", "a"),
            fails(MISSING),
        )
        .on_btrfs(gives(&["a = x", "b == a"])),
        two(
            "below: to what the layer deletes",
            file("a"),
            link(Layer::new().whiteout("a"), "b", "a"),
            fails(MISSING),
        ),
        two(
            "below: to the name of a whiteout",
            file("a"),
            link(Layer::new().whiteout("a"), "b", ".wh.a"),
            fails(MISSING),
        ),
        two(
            "below: named like a whiteout",
            file("a"),
            link(file("b"), ".wh.a", "b"),
            gives(&["b = x"]),
        ),
        two(
            "below: over a file",
            file("a"),
            link(Layer::new().file("b", "y"), "a", "b"),
            gives(&["a = y", "b == a"]),
        ),
        two(
            "below: over a link",
            Layer::new().symlink("a", "/canary"),
            link(Layer::new().file("b", "y"), "a", "b"),
            gives(&["a = y", "b == a"]),
        ),
    ]
}

pub fn cases() -> Vec<Case> {
    [outside(), inside(), across_layers()].concat()
}
