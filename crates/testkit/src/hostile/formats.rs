//! Headers that say one thing to one reader and another one to the next.

use super::raw::{Header, Raw, record};
use super::{Case, fails, gives, one};

const HEADER: &str = "invalid tar header";

fn file(name: &str) -> Header {
    Header::new(b'0', name)
}

fn pax() -> Vec<Case> {
    let block = [b'z'; 512];
    vec![
        one(
            "pax size larger than the header's",
            Raw::new().pax(&[("size", "600")]).content(file("f").size(1), [b'z'; 600]).end(),
            gives(&["f = 600 bytes"]),
        ),
        one(
            "pax size smaller than the header's",
            Raw::new()
                .pax(&[("size", "1")])
                .content(file("f").size(1024), "z")
                .file("g", "y")
                .end(),
            gives(&["f = z", "g = y"]),
        ),
        one(
            "a header hidden in content by pax size",
            Raw::new()
                .pax(&[("size", "512")])
                .header(file("f").size(0))
                .header(file("hidden"))
                .end(),
            gives(&["f = 512 bytes"]),
        ),
        one(
            "pax path over the name",
            Raw::new().pax(&[("path", "../../canary")]).file("f", "x").end(),
            gives(&["canary = x"]),
        ),
        one(
            "pax linkpath over the link",
            Raw::new()
                .pax(&[("linkpath", "/canary")])
                .header(Header::new(b'2', "l").link("x"))
                .end(),
            gives(&["l -> /canary"]),
        ),
        one(
            "path twice",
            Raw::new().pax(&[("path", "a"), ("path", "b")]).file("f", "x").end(),
            gives(&["b = x"]),
        ),
        one("empty path", Raw::new().pax(&[("path", "")]).file("f", "x").end(), gives(&["f = x"])),
        one(
            "two headers in a row",
            Raw::new().pax(&[("path", "a")]).pax(&[("uid", "3")]).file("f", "x").end(),
            gives(&["f = x"]),
        ),
        one(
            "for the next entry only",
            Raw::new().pax(&[("path", "a")]).file("f", "x").file("g", "y").end(),
            gives(&["a = x", "g = y"]),
        ),
        one(
            "header without an entry",
            Raw::new().pax(&[("path", "a")]).end(),
            fails("ends inside of an entry"),
        ),
        one(
            "header at the end",
            Raw::new().file("f", "x").pax(&[("path", "a")]).cut(),
            fails("ends inside of an entry"),
        ),
        one(
            "header of 1 MiB and more",
            Raw::new().pax_bytes(record("comment", &"c".repeat(1 << 20))).file("f", "x").end(),
            fails("holds more than 1 MiB"),
        ),
        one(
            "header that says 8 GiB",
            Raw::new().header(Header::new(b'x', "pax").size(1 << 32)).file("f", "x").end(),
            fails("holds more than 1 MiB"),
        ),
        one(
            "30000 records",
            {
                let records: Vec<u8> = (0..30_000)
                    .flat_map(|n| record(&format!("SCHILY.xattr.trusted.{n}"), ""))
                    .collect();
                Raw::new().pax_bytes(records).file("f", "x").end()
            },
            gives(&["f = x"]),
        ),
        one(
            "pax size of a directory",
            Raw::new().pax(&[("size", "512")]).header(Header::new(b'5', "d")).file("f", "x").end(),
            gives(&["d/", "f = x"]),
        ),
        one(
            "pax size 2^63",
            Raw::new().pax(&[("size", "9223372036854775808")]).content(file("f"), block).end(),
            fails("unexpected EOF"),
        ),
        one(
            "pax size 2^64",
            Raw::new().pax(&[("size", "18446744073709551616")]).file("f", "x").end(),
            fails("a pax number that is none"),
        ),
        one(
            "negative pax size",
            Raw::new().pax(&[("size", "-1")]).file("f", "x").end(),
            fails("a pax number that is none"),
        ),
    ]
}

fn records() -> Vec<Case> {
    let broken = |name: &'static str, data: &[u8]| {
        one(name, Raw::new().pax_bytes(data).file("f", "x").end(), fails("a broken pax record"))
    };
    vec![
        broken("record that is too long", b"99 path=a\n"),
        broken("record that is too short", b"6 path=a\n"),
        broken("record of no length", b"0 path=a\n"),
        broken("record of 2^64 bytes", b"18446744073709551616 path=a\n"),
        broken("record of -9 bytes", b"-9 path=a\n"),
        broken("record without its end", b"9 path=ab"),
        broken("record without a value", b"7 path\n"),
        broken("record without a key", b"5 =a\n"),
        broken("record without a blank", b"10path=a\n\n"),
        broken("key with NUL", b"11 pa\0th=a\n"),
    ]
}

fn global() -> Vec<Case> {
    let global = |records: &[(&str, &str)]| {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        Raw::new().entry(Header::new(b'g', "global"), data)
    };
    vec![
        one(
            "global path",
            global(&[("path", "../canary")]).file("f", "x").file("g", "y").end(),
            gives(&["f = x", "g = y"]),
        ),
        one("global size", global(&[("size", "0")]).file("f", "x").end(), gives(&["f = x"])),
        one(
            "global owner and attributes",
            global(&[("uid", "77"), ("SCHILY.xattr.user.a", "x")]).file("f", "x").end(),
            gives(&["f = x"]),
        )
        .fact("f", "owner 0:0")
        .without("f", "xattr "),
    ]
}

fn gnu() -> Vec<Case> {
    let long = |flag: u8, name: &str| (Header::gnu(flag, "././@LongLink"), format!("{name}\0"));
    let with = |tar: Raw, (header, name): (Header, String)| tar.entry(header, name);
    vec![
        one(
            "long name upwards",
            with(Raw::new(), long(b'L', &("../".repeat(60) + "canary"))).file("f", "x").end(),
            gives(&["canary = x"]),
        ),
        one(
            "long link",
            with(Raw::new(), long(b'K', "/canary")).header(Header::gnu(b'2', "l").link("f")).end(),
            gives(&["l -> /canary"]),
        ),
        one(
            "long names twice",
            with(with(Raw::new(), long(b'L', "a")), long(b'L', "b")).file("f", "x").end(),
            gives(&["b = x"]),
        ),
        one(
            "long name and pax path",
            with(Raw::new().pax(&[("path", "p")]), long(b'L', "l")).file("f", "x").end(),
            gives(&["p = x"]),
        ),
        one(
            "long name that is cut by NUL",
            with(Raw::new(), long(b'L', "a\0/../../canary")).file("f", "x").end(),
            gives(&["a = x"]),
        ),
        one(
            "long name without an entry",
            with(Raw::new(), long(b'L', "a")).end(),
            fails("ends inside of an entry"),
        ),
        one(
            "long name of 2 MiB",
            with(Raw::new(), long(b'L', &"n".repeat(2 << 20))).file("f", "x").end(),
            fails("holds more than 1 MiB"),
        ),
        one(
            "a prefix that is none",
            Raw::new().header(Header::gnu(b'0', "f").put(345, "../../mnt")).end(),
            gives(&["f = "]),
        ),
    ]
}

fn headers() -> Vec<Case> {
    let raw = |name: &'static str, header: Header, text: &'static str| {
        one(name, Raw::new().content(header, "x").end(), fails(text))
    };
    let left_out = b"DMNVXZ!9\x80".iter().map(|flag| {
        let tar = Raw::new().entry(Header::new(*flag, "odd"), "zzz").file("f", "x").end();
        one(format!("type {}", flag.escape_ascii()), tar, gives(&["f = x"]))
    });
    let mut cases: Vec<Case> = left_out.collect();
    cases.extend([
        raw("size -1", file("f").base_256(124, 12, -1), "a negative size"),
        raw("size of letters", file("f").put(124, "12x"), "a number field that is no number"),
        raw("size 2^63-1", file("f").base_256(124, 12, i64::MAX), "unexpected EOF"),
        raw("size of 8 GiB", file("f").put(124, "77777777777\0"), "unexpected EOF"),
        one(
            "wrong checksum",
            Raw::new().bytes(file("f").put(148, "0000001\0").block_as_it_is()).end(),
            fails(HEADER),
        ),
        one(
            "checksum of signed bytes",
            Raw::new().bytes(file("\u{fc}").signed_block()).end(),
            gives(&["\\xc3\\xbc = "]),
        ),
        one(
            "old v7",
            Raw::new().content(file("f").put(257, [0; 8]).put(345, "../..").size(1), "x").end(),
            gives(&["f = x"]),
        ),
        one(
            "contiguous file",
            Raw::new().entry(Header::new(b'7', "f"), "x").end(),
            gives(&["f = x"]),
        ),
        one(
            "directory with a size",
            Raw::new().header(Header::new(b'5', "d").size(512)).file("f", "x").end(),
            gives(&["d/", "f = x"]),
        ),
        one(
            "directory with content",
            Raw::new().content(Header::new(b'5', "d").size(512), [b'z'; 512]).end(),
            fails(HEADER),
        ),
        one(
            "device with content",
            Raw::new().content(Header::new(b'3', "d").size(512), [b'z'; 512]).end(),
            fails(HEADER),
        ),
    ]);
    cases
}

pub fn cases() -> Vec<Case> {
    [pax(), records(), global(), gnu(), headers()].concat()
}
