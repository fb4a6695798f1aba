//! Names that lead out, mean nothing, or are too long.

use super::raw::{Header, Raw};
use super::{Case, Oracle, fails, gives, one};
use crate::layer::{Entry, Layer};

const ROOT: &str = "the root of a layer can only be a directory";

fn file(name: impl AsRef<[u8]>) -> Layer {
    Layer::new().entry(Entry::file(name, "x"))
}

/// The lines of a path of directories with a file at its end.
fn way(path: &str) -> Oracle {
    let mut lines: Vec<String> =
        path.match_indices('/').map(|(end, _)| path[..=end].to_owned()).collect();
    lines.push(format!("{path} = x"));
    Oracle::Gives(lines)
}

/// Links that lead deeper each time, until paths are longer than the kernel takes.
fn deep_by_links() -> Case {
    let below = vec!["d"; 500].join("/");
    let (mut layer, mut at, mut real) = (Layer::new(), String::new(), String::new());
    let mut lines = Vec::new();
    for _ in 0..5 {
        layer = layer.entry(Entry::symlink(format!("{at}l"), &below));
        lines.push(format!("{real}l -> {below}"));
        layer = layer.directory(&format!("{at}{below}"));
        for depth in 1..=500 {
            lines.push(format!("{real}{}", "d/".repeat(depth)));
        }
        at.push_str("l/");
        real.push_str(&"d/".repeat(500));
    }
    lines.push(format!("{real}f = x"));
    lines.sort();
    one("deeper than a path is long", layer.file(&format!("{at}f"), "x"), Oracle::Gives(lines))
}

pub fn cases() -> Vec<Case> {
    let inside = [
        ("dots", "../../../../../../escaped", "escaped"),
        ("dots in the middle", "a/../../../../b", "b"),
        ("dots to a canary", "../../../../../../../../mnt/canary", "mnt/canary"),
        ("absolute", "/etc/passwd", "etc/passwd"),
        ("absolute canary", "/canary", "canary"),
        ("slashes", "//a///b", "a/b"),
        ("slash at the end of a file", "a/", "a"),
        ("dot at the end of a file", "a/.", "a"),
        ("three dots", ".../x", ".../x"),
        ("blank dots", ".. /x", ".. /x"),
        ("backslashes", "..\\\\..\\\\x", "..\\\\\\\\..\\\\\\\\x"),
        ("short whiteout", ".wh", ".wh"),
        ("whiteout in the middle", "a.wh.b", "a.wh.b"),
    ];
    let mut cases: Vec<Case> =
        inside.iter().map(|(name, path, real)| one(*name, file(path), way(real))).collect();
    for (name, path) in [
        ("a dot as a file", "."),
        ("dots as a file", ".."),
        ("nothing as a file", ""),
        ("a slash as a file", "/"),
        ("back to the root", "a/.."),
    ] {
        cases.push(one(name, file(path), fails(ROOT)));
    }
    let long = |length: usize| {
        let path = "d".repeat(255) + "/";
        let path = path.repeat(16);
        path[..length].trim_end_matches('/').to_owned()
    };
    let of_root = Layer::new().entry(Entry::directory("/").mode(0o700)).directory("./");
    cases.extend([
        one("the root itself", of_root, gives(&[])),
        one("root as a link", Layer::new().symlink(".", "/mnt"), fails(ROOT)),
        one(
            "root as a hard link",
            Layer::new().entry(Entry::hard_link("./", "/canary")),
            fails(ROOT),
        ),
        one(
            "old directory by its slash",
            Raw::new().header(Header::new(0, "d/")).end(),
            gives(&["d/"]),
        ),
        one(
            "NUL by pax",
            Raw::new().pax(&[("path", "a\0b")]).file("x", "x").end(),
            fails("a broken pax record"),
        ),
        one("newline", file("a\nb"), gives(&["a\\nb = x"])),
        one("terminal codes", file("a\x1b[2Jb"), gives(&["a\\x1b[2Jb = x"])),
        one("not UTF-8", file(b"\xff\xfe"), gives(&["\\xff\\xfe = x"])),
        one("255 bytes", file("n".repeat(255)), way(&"n".repeat(255))),
        one("256 bytes", file("n".repeat(256)), fails("file name too long")),
        one("name field without an end", file("n".repeat(100)), way(&"n".repeat(100))),
        one("path of 4095 bytes", file(long(4095)), way(&long(4095))),
        one("path of 4096 bytes", file(long(4095) + "x"), fails("file name too long")),
        one("path of 1 MiB", file("d/".repeat(500_000)), fails("file name too long")),
        one("depth 2000", file("d/".repeat(2000) + "f"), way(&("d/".repeat(2000) + "f"))),
        one("depth 5000", file("d/".repeat(5000) + "f"), fails("file name too long")),
        one(
            "dots in the prefix",
            Raw::new().header(Header::new(b'0', "../x").put(345, "../..")).end(),
            gives(&["x = "]),
        ),
        one(
            "error text without terminal codes",
            Layer::new().entry(Entry::file("\x1b[2J", "").owner(u64::from(u32::MAX), 0)),
            fails("\\u{1b}[2J"),
        ),
        deep_by_links(),
    ]);
    cases
}
