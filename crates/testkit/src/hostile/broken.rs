//! Archives that end too early or too late, and few bytes that become very many.

use std::io::{Read, Write};

use super::raw::{Header, Raw};
use super::{Bytes, Case, fails, gives, one};
use crate::image::Compression;
use crate::layer::Layer;

const EOF: &str = "unexpected EOF";

fn cut() -> Vec<Case> {
    let file = |content: &str| Raw::new().entry(Header::new(b'0', "f"), content).cut();
    let pax = Raw::new().pax(&[("path", "p")]).file("f", "x").cut();
    let long = Raw::new().entry(Header::gnu(b'L', "l"), "n".repeat(600)).file("f", "x").cut();
    let sparse = Header::gnu(b'S', "f").extent(0, 0, 1).put(482, [1]).real_size(9).size(1);
    let at = |name: &'static str, tar: &[u8], length: usize| {
        one(format!("cut {name}"), tar[..length].to_vec(), fails(EOF))
    };
    let two = [file("x"), file("y")].concat();
    vec![
        at("after the first byte", &file("x"), 1),
        at("in a header", &file("x"), 300),
        at("at the end of a header", &file("x"), 512),
        at("in content", &file(&"x".repeat(700)), 1000),
        at("at the end of a block of content", &file(&"x".repeat(700)), 1024),
        at("in the second header", &two, 1500),
        at("in a pax header", &pax, 400),
        at("after a pax header", &pax, 512),
        at("in pax records", &pax, 515),
        at("in the padding of pax records", &pax, 700),
        at("in the header after pax", &pax, 1100),
        at("in a long name", &long, 1000),
        at("in a map of holes", &Raw::new().header(sparse.clone()).cut(), 512),
        at("in a block of a map of holes", &Raw::new().header(sparse).bytes([0; 100]).cut(), 612),
        // What `umoci insert` writes: the content is whole.
        one("cut in padding", file("x")[..600].to_vec(), gives(&["f = x"])),
        one("cut between entries", file("x"), gives(&["f = x"])),
        one("cut in the end", [file("x"), vec![0; 512]].concat(), gives(&["f = x"])),
        one("cut in a block of the end", [file("x"), vec![0; 100]].concat(), fails(EOF)),
    ]
}

fn ends() -> Vec<Case> {
    let tar = || Raw::new().file("f", "x");
    let second = Raw::new().file("second", "y").end();
    vec![
        one("nothing", Vec::new(), gives(&[])),
        one("zeros", vec![0; 4096], gives(&[])),
        one("an end alone", vec![0; 1024], gives(&[])),
        one("text", b"no tar at all\n".repeat(100), fails("invalid tar header")),
        one("garbage after the end", [tar().end(), vec![b'z'; 5000]].concat(), gives(&["f = x"])),
        one("an archive after the end", [tar().end(), second.clone()].concat(), gives(&["f = x"])),
        one(
            "a block of zeros in the middle",
            tar().bytes([0; 512]).bytes(second).end(),
            fails("zeros is followed by more data"),
        ),
        one(
            "garbage in the place of a header",
            tar().bytes([b'z'; 512]).end(),
            fails("invalid tar header"),
        ),
    ]
}

/// A header that says so much, and as many zeros, compressed.
fn zeros(flag: u8, length: u64, compression: Compression) -> Bytes {
    let header = Header::new(flag, "zeros").base_256(124, 12, length.cast_signed()).block();
    let mut input = header.chain(std::io::repeat(0).take(length + 1024));
    let stored = match compression {
        Compression::Zstd => zstd::encode_all(input, 1).unwrap(),
        _ => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            let mut buffer = vec![0; 1 << 20];
            loop {
                match input.read(&mut buffer).unwrap() {
                    0 => break encoder.finish().unwrap(),
                    count => encoder.write_all(&buffer[..count]).unwrap(),
                }
            }
        }
    };
    Bytes { stored, compression: Some(compression) }
}

fn bombs() -> Vec<Case> {
    let hundred = (0..100)
        .fold(Raw::new(), |tar, number: u32| tar.header(Header::new(b'0', format!("d/{number}"))));
    let many = Raw::new().bytes(hundred.cut().repeat(1000));
    let mut lines: Vec<String> = (0..100).map(|number| format!("d/{number} = ")).collect();
    lines.push("d/".into());
    lines.sort();
    vec![
        one(
            "a zstd bomb",
            zeros(b'Z', (1 << 30) + (64 << 20), Compression::Zstd),
            fails("a decompression bomb"),
        ),
        one("100000 entries", many.end(), super::Oracle::Gives(lines)),
        one(
            "not compressed in spite of its name",
            Bytes {
                stored: Layer::new().file("plain", "x").tar(),
                compression: Some(Compression::Gzip),
            },
            fails("invalid header"),
        ),
        one(
            "gzip that is cut",
            Bytes {
                stored: Compression::Gzip.compress(&Layer::new().file("f", "x").tar())[..40]
                    .to_vec(),
                compression: Some(Compression::Gzip),
            },
            fails("reading the layer: incomplete"),
        ),
        one(
            "zstd that is cut",
            Bytes {
                stored: Compression::Zstd.compress(&Layer::new().file("f", "x").tar())[..40]
                    .to_vec(),
                compression: Some(Compression::Zstd),
            },
            fails("reading the layer: incomplete"),
        ),
        // The last one: btrfs gives the room back later.
        one(
            "more than the disk holds",
            zeros(b'0', 600 << 20, Compression::Gzip),
            fails("no space left on device"),
        ),
    ]
}

pub fn cases() -> Vec<Case> {
    [cut(), ends(), bombs()].concat()
}
