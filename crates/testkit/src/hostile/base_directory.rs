//! Layers below a directory of the layers beneath them, which try to leave it or to replace it.

use super::{Case, fails, gives, one, two};
use crate::layer::{Entry, Layer};

const ROOT: &str = "the root of a layer can only be a directory";
const MISSING: &str = "base directory not found in parent layer";
const IMPOSSIBLE: &str = "could not create base directory in child layer";

fn lower() -> Layer {
    Layer::new()
        .directory("home")
        .entry(Entry::directory("home/app").owner(7, 8).mode(0o700))
        .file("home/app/old", "o")
        .file("etc", "e")
        .symlink("out", "/mnt/beside")
        .symlink("link", "home/app")
}

fn below(name: &'static str, upper: Layer, lines: &[&'static str]) -> Case {
    let all = [
        "etc = e",
        "home/",
        "home/app/",
        "home/app/old = o",
        "link -> home/app",
        "out -> /mnt/beside",
    ];
    let mut lines = [&all[..], lines].concat();
    lines.sort_unstable();
    two(name, lower(), upper, gives(&lines)).base("/home/app")
}

pub fn cases() -> Vec<Case> {
    let new = || Layer::new().file("n", "n");
    let refused = |name: &'static str, base: &'static str, text: &'static str| {
        two(name, lower(), new(), fails(text)).base(base)
    };
    let replaced = |name: &'static str, entry: Entry| {
        let upper = Layer::new().entry(entry).file("passwd", "x");
        two(name, lower(), upper, fails(ROOT)).base("/home/app")
    };
    vec![
        below("dots", Layer::new().file("../../../n", "n"), &["home/app/n = n"])
            .fact("home/app", "owner 7:8")
            .fact("home/app", "mode 0700"),
        below(
            "absolute",
            Layer::new().file("/etc/n", "n"),
            &["home/app/etc/", "home/app/etc/n = n"],
        ),
        below(
            "hard link by an absolute path",
            new().entry(Entry::hard_link("m", "/n")),
            &["home/app/m = n", "home/app/n == home/app/m"],
        ),
        below(
            "hard link by dots",
            new().entry(Entry::hard_link("m", "../../../n")),
            &["home/app/m = n", "home/app/n == home/app/m"],
        ),
        two(
            "hard link to what lies beside",
            lower(),
            new().entry(Entry::hard_link("m", "../../etc")),
            fails("no such file or directory"),
        )
        .base("/home/app"),
        below(
            "link out of it",
            Layer::new().symlink("l", "/mnt/beside").file("l/file", "x"),
            &["home/app/l/", "home/app/l/file = x"],
        ),
        replaced("replaced by a link", Entry::symlink(".", "/etc")),
        replaced("replaced by a link out", Entry::symlink("./", "/mnt/beside")),
        replaced("replaced by a file", Entry::file("..", "x")),
        replaced("replaced by a hard link", Entry::hard_link("a/..", "/n")),
        below("described", Layer::new().entry(Entry::directory(".").mode(0o711).owner(1, 2)), &[])
            .fact("home/app", "mode 0711")
            .fact("home/app", "owner 1:2"),
        refused("a link", "/link", IMPOSSIBLE),
        refused("a link out", "/out", IMPOSSIBLE),
        refused("below a link", "/link/x", IMPOSSIBLE),
        refused("a file", "/etc", IMPOSSIBLE),
        refused("upwards", "/../../../mnt/beside", MISSING),
        refused("upwards in the middle", "/home/../../mnt", MISSING),
        refused("missing", "/home/none", MISSING),
        one("without a layer beneath", new(), fails(MISSING)).base("/home/app"),
        two(
            "deleted in it",
            lower(),
            Layer::new().whiteout("old").whiteout("../../etc"),
            gives(&["etc = e", "home/", "home/app/", "link -> home/app", "out -> /mnt/beside"]),
        )
        .base("/home/app"),
        two(
            "opaque",
            lower(),
            Layer::new().file(".wh..wh..opq", ""),
            gives(&["etc = e", "home/", "home/app/", "link -> home/app", "out -> /mnt/beside"]),
        )
        .base("/home/app"),
    ]
}
