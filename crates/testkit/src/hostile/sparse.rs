//! Files with holes, and maps that lie about them.

use super::raw::{Header, Raw};
use super::{Case, fails, gives, one};

const OVERLAPS: &str = "overlaps or leaves it";
const MISFITS: &str = "does not fit its data";
const BROKEN: &str = "a broken map of a sparse file";

const GIB: u64 = 1 << 30;

fn gnu(header: Header, content: &str) -> Vec<u8> {
    Raw::new().entry(header, content).file("g", "y").end()
}

fn old_gnu() -> Vec<Case> {
    let sparse = || Header::gnu(b'S', "f");
    let endless = {
        let pair = "00000000000\x0000000000000\x00".repeat(21) + "\x01\0\0\0\0\0\0\0";
        let start = Raw::new().header(sparse().extent(0, 0, 0).put(482, [1]).real_size(9));
        (0..50).fold(start, |tar, _| tar.bytes(&pair)).cut()
    };
    vec![
        one(
            "GNU",
            gnu(sparse().extent(0, 0, 1).extent(1, 3, 1).extent(2, 5, 0).real_size(5), "ab"),
            gives(&["f = a\\x00\\x00b\\x00", "g = y"]),
        ),
        one(
            "GNU overlapping",
            gnu(sparse().extent(0, 0, 2).extent(1, 1, 1).real_size(9), "abc"),
            fails(OVERLAPS),
        ),
        one(
            "GNU out of order",
            gnu(sparse().extent(0, 5, 1).extent(1, 0, 1).real_size(9), "ab"),
            fails(OVERLAPS),
        ),
        one(
            "GNU beyond the end",
            gnu(sparse().extent(0, 8, 2).real_size(9), "ab"),
            fails(OVERLAPS),
        ),
        one("GNU with too much", gnu(sparse().extent(0, 0, 1).real_size(9), "abc"), fails(MISFITS)),
        one(
            "GNU with too little",
            gnu(sparse().extent(0, 0, 5).real_size(9), "abc"),
            fails(MISFITS),
        ),
        one(
            "GNU with 8 GiB of nothing",
            gnu(sparse().extent(0, 0, 8 * GIB - 1).real_size(8 * GIB - 1), ""),
            fails(MISFITS),
        ),
        one(
            "GNU at a negative place",
            gnu(sparse().base_256(386, 12, -1).put(398, "00000000001\0").real_size(9), "a"),
            fails("a negative place"),
        ),
        one(
            "GNU of a negative size",
            gnu(sparse().extent(0, 0, 1).base_256(483, 12, -1), "a"),
            fails("a negative size"),
        ),
        one("GNU with an endless map", endless, fails("unexpected EOF")),
        one(
            "GNU in a ustar header",
            gnu(Header::new(b'S', "f").extent(0, 0, 1).real_size(9), "a"),
            fails("not GNU's"),
        ),
        one(
            "100 GiB with one byte",
            gnu(
                sparse()
                    .base_256(386, 12, 100 * 1_073_741_824 - 1)
                    .put(398, "00000000001\0")
                    .base_256(483, 12, 100 * 1_073_741_824),
                "a",
            ),
            gives(&["f = 107374182400 bytes", "g = y"]),
        )
        .fact("f", "small"),
        one("without anything", gnu(sparse().real_size(0), ""), gives(&["f = ", "g = y"])),
    ]
}

/// Pax format 1.0: the map stands in front of the content.
fn leading(
    name: &'static str,
    map: &str,
    content: &str,
    size: &str,
    oracle: super::Oracle,
) -> Case {
    let mut data = map.as_bytes().to_vec();
    data.resize(data.len().next_multiple_of(512), 0);
    data.extend_from_slice(content.as_bytes());
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "../../f"),
        ("GNU.sparse.realsize", size),
    ];
    one(name, Raw::new().pax(&records).entry(Header::new(b'0', "x"), data).end(), oracle)
}

fn format_1_0() -> Vec<Case> {
    vec![
        leading("1.0", "1\n2\n1\n", "a", "4", gives(&["f = \\x00\\x00a\\x00"])),
        leading("1.0 with too many pairs", "9\n2\n1\n", "a", "4", fails(HEADER)),
        leading("1.0 without a map", "", "", "4", fails("the map of a sparse file is cut off")),
        leading("1.0 of letters", "one\n", "a", "4", fails(BROKEN)),
        leading("1.0 of 2^64 pairs", "18446744073709551616\n", "a", "4", fails(BROKEN)),
        leading(
            "1.0 of 2^40 pairs",
            "1099511627776\n",
            "a",
            "4",
            fails("a file with too many holes"),
        ),
        leading("1.0 that overlaps", "2\n0\n1\n0\n1\n", "ab", "4", fails(OVERLAPS)),
        leading("1.0 beyond 2^64", "1\n18446744073709551615\n1\n", "a", "4", fails(OVERLAPS)),
        leading(
            "1.0 without a size",
            "1\n0\n1\n",
            "a",
            "",
            fails("a sparse file without its size"),
        ),
        leading(
            "1.0 of 2^64-1 bytes",
            "0\n",
            "",
            "18446744073709551615",
            fails("writing to file `f`"),
        ),
        leading(
            "1.0 of 100 GiB",
            "1\n0\n1\n",
            "a",
            "107374182400",
            gives(&["f = 107374182400 bytes"]),
        )
        .fact("f", "small"),
    ]
}

const HEADER: &str = "invalid tar header";

fn format_0() -> Vec<Case> {
    let pax = |name: &'static str, records: &[(&str, &str)], content: &str, oracle| {
        one(name, Raw::new().pax(records).file("f", content).end(), oracle)
    };
    let (size, blocks) = (("GNU.sparse.size", "4"), ("GNU.sparse.numblocks", "1"));
    let (offset, bytes) = (("GNU.sparse.offset", "2"), ("GNU.sparse.numbytes", "1"));
    let map = |map: &'static str| ("GNU.sparse.map", map);
    let whole = gives(&["f = \\x00\\x00a\\x00"]);
    let mut many: Vec<(&str, &str)> = vec![("GNU.sparse.size", "20000"), blocks];
    let numbers: Vec<String> = (0..10_000).map(|number| (2 * number).to_string()).collect();
    for number in &numbers {
        many.extend([("GNU.sparse.offset", number.as_str()), ("GNU.sparse.numbytes", "1")]);
    }
    vec![
        pax("0.0", &[size, blocks, offset, bytes], "a", whole.clone()),
        pax("0.0 in the wrong order", &[size, blocks, bytes, offset], "a", fails(BROKEN)),
        pax("0.0 with half a pair", &[size, blocks, offset], "a", fails(BROKEN)),
        pax("0.0 without a size", &[blocks, offset, bytes], "a", fails("without its size")),
        pax("0.0 of 10000 pieces", &many, &"a".repeat(10_000), gives(&["f = 20000 bytes"])),
        pax("0.1", &[size, blocks, map("2,1")], "a", whole),
        pax("0.1 with half a pair", &[size, blocks, map("2,1,3")], "a", fails(BROKEN)),
        pax("0.1 of letters", &[size, blocks, map("2,b")], "a", fails(BROKEN)),
        pax("0.1 that leaves the file", &[size, blocks, map("4,1")], "a", fails(OVERLAPS)),
        pax("0.1 that does not fit", &[size, blocks, map("2,2")], "a", fails(MISFITS)),
    ]
}

pub fn cases() -> Vec<Case> {
    [old_gnu(), format_1_0(), format_0()].concat()
}
