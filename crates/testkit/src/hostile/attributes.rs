//! Extended attributes that are the host's alone, and owners, modes and times that make no sense.

use super::raw::{Header, Raw};
use super::{Case, fails, gives, one, two};
use crate::layer::{Entry, Layer};

const UNMAPPED: &str = "is not in the id mappings of the store";

fn with(name: &str, value: impl AsRef<[u8]>) -> Layer {
    Layer::new().entry(Entry::file("f", "x").xattr(name, value))
}

/// Attributes that are left out, whatever their value.
fn of_the_host() -> Vec<Case> {
    let names: [(&'static str, &'static str); 14] = [
        ("trusted.overlay.opaque", "y"),
        ("trusted.overlay.redirect", "/canary"),
        ("trusted.overlay.metacopy", ""),
        ("trusted.overlay.origin", "x"),
        ("trusted.overlay.whiteout", "y"),
        ("trusted.anything", "y"),
        ("user.overlay.opaque", "y"),
        ("user.overlay.whiteout", "y"),
        ("user.overlay.redirect", "/canary"),
        ("security.selinux", "system_u:object_r:etc_t:s0"),
        ("security.ima", "x"),
        ("security.evm", "x"),
        ("system.nfs4_acl", "x"),
        ("btrfs.compression", "zlib"),
    ];
    let mut cases: Vec<Case> = names
        .iter()
        .map(|(name, value)| {
            one(*name, with(name, value), gives(&["f = x"])).without("f", "xattr ")
        })
        .collect();
    // Below a merged directory such a mark would hide or bring back files of other layers.
    let lower = || Layer::new().directory("d").file("d/x", "x").file("e/y", "y");
    let mark = |key: &str, value: &str| Layer::new().entry(Entry::directory("d").xattr(key, value));
    for (name, key, value) in [
        ("opaque directory", "trusted.overlay.opaque", "y"),
        ("opaque directory by a user", "user.overlay.opaque", "y"),
        ("directory with whiteouts by xattrs", "trusted.overlay.opaque", "x"),
        ("redirected directory", "trusted.overlay.redirect", "/e"),
    ] {
        let lines = gives(&["d/", "d/x = x", "e/", "e/y = y"]);
        cases.push(two(name, lower(), mark(key, value), lines).without("d", "xattr "));
    }
    cases
}

fn malformed() -> Vec<Case> {
    let capability = |magic: u32, length: usize| {
        let mut value = magic.to_le_bytes().to_vec();
        value.resize(length, 0);
        value
    };
    let acl = |version: u32, entries: &[u8]| [&version.to_le_bytes()[..], entries].concat();
    let dropped = |name: &'static str, key: &str, value: Vec<u8>| {
        one(name, with(key, value), gives(&["f = x"])).without("f", "xattr ")
    };
    vec![
        dropped("empty capability", "security.capability", Vec::new()),
        dropped("short capability", "security.capability", capability(0x0200_0000, 12)),
        dropped("capability of revision 1", "security.capability", capability(0x0100_0000, 12)),
        dropped("capability of revision 9", "security.capability", capability(0x0900_0000, 20)),
        dropped("empty ACL", "system.posix_acl_access", Vec::new()),
        dropped("ACL of version 1", "system.posix_acl_access", acl(1, &[0; 8])),
        dropped("cut ACL", "system.posix_acl_access", acl(2, &[1, 0, 7])),
        dropped("ACL with an unknown tag", "system.posix_acl_access", acl(2, &[0xff; 8])),
        dropped(
            "default ACL on a file",
            "system.posix_acl_default",
            acl(2, &[1, 0, 7, 0, 0, 0, 0, 0]),
        ),
        dropped("user attribute without a name", "user.", b"x".to_vec()),
        dropped("name of 300 bytes", &format!("user.{}", "n".repeat(300)), b"x".to_vec()),
        dropped("no name", "", b"x".to_vec()),
        one("name with NUL", with("user.a\0b", "x"), fails("a broken pax record")),
    ]
}

fn large() -> Vec<Case> {
    let many = (0..2000).fold(Entry::file("f", "x"), |entry, n| {
        entry.xattr(&format!("user.{n:04}"), n.to_string())
    });
    vec![
        one("value of 64 KiB", with("user.big", [b'v'; 65536]), gives(&["f = x"]))
            .on_btrfs(fails("setting xattr user.big `f`")),
        one(
            "value beyond 64 KiB",
            with("user.big", [b'v'; 65537]),
            fails("setting xattr user.big `f`"),
        ),
        one("2000 attributes", Layer::new().entry(many), gives(&["f = x"]))
            .fact("f", "xattr user.0000=0")
            .fact("f", "xattr user.1999=1999"),
        one(
            "the same one twice",
            Layer::new().entry(Entry::file("f", "x").xattr("user.a", "1").xattr("user.a", "2")),
            gives(&["f = x"]),
        )
        .fact("f", "xattr user.a=2"),
        one("empty value", with("user.a", ""), gives(&["f = x"])).fact("f", "xattr user.a="),
        one("bytes", with("user.a", b"\0\n=\xff"), gives(&["f = x"]))
            .fact("f", "xattr user.a=\\x00\\n=\\xff"),
        one(
            "of a link to a canary",
            Layer::new().entry(Entry::symlink("l", "/canary").xattr("user.a", "x")),
            gives(&["l -> /canary"]),
        ),
        one(
            "libarchive's prefix",
            Raw::new().pax(&[("LIBARCHIVE.xattr.trusted.a", "eA==")]).file("f", "x").end(),
            gives(&["f = x"]),
        )
        .without("f", "xattr "),
    ]
}

fn owners() -> Vec<Case> {
    let owner = |name: &'static str, uid: u64, gid: u64, text: &'static str| {
        one(name, Layer::new().entry(Entry::file("f", "x").owner(uid, gid)), fails(text))
    };
    let raw = |name: &'static str, header: Header, text: &'static str| {
        one(name, Raw::new().entry(header, "x").end(), fails(text))
    };
    let pax = |name: &'static str, key: &str, value: &str, text: &'static str| {
        one(name, Raw::new().pax(&[(key, value)]).file("f", "x").end(), fails(text))
    };
    let file = || Header::new(b'0', "f");
    vec![
        owner("user 2^32-1", u64::from(u32::MAX), 0, UNMAPPED),
        owner("group 2^32-1", 0, u64::from(u32::MAX), UNMAPPED),
        owner("user 2^32", 1 << 32, 0, UNMAPPED),
        owner("group 2^63", 0, 1 << 63, UNMAPPED),
        owner("user 2^64-1", u64::MAX, 0, UNMAPPED),
        raw("user -1", file().base_256(108, 8, -1), "a negative user or group id"),
        raw("group -2^40", file().base_256(116, 8, -(1 << 40)), "a negative user or group id"),
        pax("pax user -1", "uid", "-1", "a pax number that is none"),
        pax("pax user 2^64", "uid", "18446744073709551616", "a pax number that is none"),
        pax("pax group in hex", "gid", "0x0", "a pax number that is none"),
        raw("user of letters", file().put(108, "root\0"), "a number field that is no number"),
    ]
}

fn modes() -> Vec<Case> {
    let acl = [
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 7, 0, 255, 255, 255, 255, 32, 0, 7, 0,
        255, 255, 255, 255,
    ];
    let set_gid = Layer::new()
        .entry(Entry::directory("d").mode(0o2777).owner(0, 7))
        .file("d/f", "x")
        .directory("d/e");
    let inherited = Layer::new()
        .entry(Entry::directory("d").xattr("system.posix_acl_default", acl))
        .entry(Entry::file("d/f", "x").mode(0o600));
    vec![
        one(
            "all bits after the owner",
            Layer::new().entry(Entry::file("f", "x").mode(0o7777).owner(5, 6)),
            gives(&["f = x"]),
        )
        .fact("f", "mode 7777")
        .fact("f", "owner 5:6"),
        one(
            "sticky directory",
            Layer::new().entry(Entry::directory("d").mode(0o1777).owner(5, 6)).file("d/f", "x"),
            gives(&["d/", "d/f = x"]),
        )
        .fact("d", "mode 1777"),
        one("below a set-gid directory", set_gid, gives(&["d/", "d/e/", "d/f = x"]))
            .fact("d", "mode 2777")
            .fact("d/f", "owner 0:0")
            .fact("d/e", "mode 0755")
            .fact("d/e", "owner 0:0"),
        one("below a default ACL", inherited, gives(&["d/", "d/f = x"])).fact("d/f", "mode 0600"),
        one(
            "bits of a file's type",
            Raw::new().entry(Header::new(b'0', "f").put(100, "0160755\0"), "x").end(),
            gives(&["f = x"]),
        )
        .fact("f", "mode 0755"),
        one(
            "a negative mode",
            Raw::new().entry(Header::new(b'0', "f").base_256(100, 8, -1), "x").end(),
            gives(&["f = x"]),
        )
        .fact("f", "mode 7777"),
        one(
            "a set-uid file that is written again",
            Layer::new()
                .entry(Entry::file("f", "1").mode(0o6755).owner(3, 3))
                .entry(Entry::file("f", "2").mode(0o644)),
            gives(&["f = 2"]),
        )
        .fact("f", "mode 0644")
        .fact("f", "owner 0:0"),
    ]
}

fn times() -> Vec<Case> {
    let raw = |name: &'static str, seconds: i64| {
        let header = Header::new(b'0', "f").base_256(136, 12, seconds);
        one(name, Raw::new().entry(header, "x").end(), gives(&["f = x"]))
    };
    let pax = |name: &'static str, value: &str| {
        let tar = Raw::new().pax(&[("mtime", value)]).file("f", "x").end();
        one(name, tar, fails("a pax time that is none"))
    };
    let mut too_large = [0xff; 12];
    too_large[0] = 0x80;
    vec![
        raw("-1 second", -1).fact("f", "mtime -1.000000000"),
        raw("2^63-1 seconds", i64::MAX),
        raw("-2^63 seconds", i64::MIN),
        one(
            "more than 64 bits",
            Raw::new().entry(Header::new(b'0', "f").put(136, too_large), "x").end(),
            fails("a number of more than 64 bits"),
        ),
        one(
            "2^63-1 seconds of a directory and a link",
            Raw::new()
                .header(Header::new(b'5', "d").base_256(136, 12, i64::MAX))
                .header(Header::new(b'2', "l").link("d").base_256(136, 12, i64::MIN))
                .end(),
            gives(&["d/", "l -> d"]),
        ),
        pax("with an exponent", "1e5"),
        pax("of 20 digits", "99999999999999999999"),
        pax("with two signs", "--1"),
        pax("with two points", "1.2.3"),
    ]
}

pub fn cases() -> Vec<Case> {
    [of_the_host(), malformed(), large(), owners(), modes(), times()].concat()
}
