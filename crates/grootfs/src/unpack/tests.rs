//! Whole layers into temporary directories. Owners other than our own need root; so do whiteouts.

use std::fs;
use std::io::Cursor;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::*;
use crate::idmap::IdMappings;

mod overlay;

/// One entry of a hand-made archive.
struct Item<'a> {
    flag: u8,
    path: &'a str,
    link: &'a str,
    mode: u32,
    content: &'a [u8],
}

fn item<'a>(flag: u8, path: &'a str) -> Item<'a> {
    Item { flag, path, link: "", mode: 0o644, content: b"" }
}

fn file<'a>(path: &'a str, content: &'a [u8]) -> Item<'a> {
    Item { content, ..item(b'0', path) }
}

fn dir(path: &str) -> Item<'_> {
    Item { mode: 0o755, ..item(b'5', path) }
}

fn link<'a>(flag: u8, path: &'a str, link: &'a str) -> Item<'a> {
    Item { link, ..item(flag, path) }
}

fn archive(items: &[Item<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let mut block = [0_u8; 512];
        let mut put = |offset: usize, bytes: &[u8]| {
            block[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, item.path.as_bytes());
        put(100, format!("{:07o}", item.mode).as_bytes());
        let id = |id: rustix::process::RawUid| format!("{id:07o}");
        put(108, id(rustix::process::geteuid().as_raw()).as_bytes());
        put(116, id(rustix::process::getegid().as_raw()).as_bytes());
        put(124, format!("{:011o}", item.content.len()).as_bytes());
        put(136, format!("{:011o}", 1_500_000_000).as_bytes());
        put(156, &[item.flag]);
        put(157, item.link.as_bytes());
        put(257, b"ustar\x0000");
        put(148, b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&block);
        out.extend_from_slice(item.content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

struct Place {
    dir: tempfile::TempDir,
    mappings: IdMappings,
    base: Option<PathBuf>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        Self { dir, mappings: IdMappings::default(), base: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("root").join(name)
    }

    fn unpack_bytes(&self, bytes: &[u8], limits: Limits) -> Result<Unpacked, Error> {
        let root = fs::File::open(self.dir.path().join("root")).unwrap();
        let target = Target {
            root: root.as_fd(),
            on_disk: OnDisk::Plain,
            mappings: &self.mappings,
            base_directory: self.base.as_deref(),
            limits,
        };
        unpack(&mut Cursor::new(bytes), &target)
    }

    fn unpack(&self, items: &[Item<'_>]) -> Result<Unpacked, Error> {
        let limits = Limits { bytes: u64::MAX, entries: u64::MAX };
        self.unpack_bytes(&archive(items), limits)
    }

    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut todo = vec![self.path("")];
        while let Some(at) = todo.pop() {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.symlink_metadata().unwrap().is_dir() {
                    todo.push(path.clone());
                }
                let relative = path.strip_prefix(self.path("")).unwrap();
                names.push(relative.to_str().unwrap().to_owned());
            }
        }
        names.sort();
        names
    }
}

#[test]
fn writes_every_kind() {
    let place = Place::new();
    let unpacked = place
        .unpack(&[
            dir("./"),
            Item { mode: 0o1777, ..dir("tmp/") },
            Item { mode: 0o4755, ..file("bin/su", b"program") },
            link(b'1', "bin/sudo", "bin/su"),
            link(b'2', "bin/sh", "../../../etc/nowhere"),
            Item { mode: 0o600, ..item(b'6', "run/pipe") },
            item(b'3', "dev/null"),
            item(b'?', "strange"),
        ])
        .unwrap();
    assert_eq!(unpacked.bytes, 7);
    assert_eq!(unpacked.entries, 8);
    assert_eq!(unpacked.warnings.len(), 2, "{:?}", unpacked.warnings);
    assert_eq!(place.names(), ["bin", "bin/sh", "bin/su", "bin/sudo", "run", "run/pipe", "tmp"]);
    let su = fs::metadata(place.path("bin/su")).unwrap();
    assert_eq!(
        (su.permissions().mode() & 0o7777, su.nlink(), su.mtime()),
        (0o4755, 2, 1_500_000_000)
    );
    assert_eq!(fs::metadata(place.path("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
    let link = fs::symlink_metadata(place.path("bin/sh")).unwrap();
    assert_eq!(link.mtime(), 1_500_000_000);
    assert_eq!(fs::metadata(place.path("tmp")).unwrap().mtime(), 1_500_000_000);
    assert_eq!(fs::metadata(place.path("")).unwrap().mtime(), 1_500_000_000);
    assert!(fs::metadata(place.path("run/pipe")).unwrap().file_type().is_fifo());
    // A parent that no entry describes.
    assert_eq!(fs::metadata(place.path("bin")).unwrap().permissions().mode() & 0o7777, 0o755);
}

/// Gives a directory an ACL that everything made in it inherits, and an attribute of an older layer.
fn give_attributes(directory: &Path) {
    // Owner, user 33, group, mask, others: tag, permissions, id.
    let entries = [
        (1_u16, 7_u16, u32::MAX),
        (2, 7, 33),
        (4, 5, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 5, u32::MAX),
    ];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(directory, "system.posix_acl_default", &acl, flags).unwrap();
    rustix::fs::setxattr(directory, "user.older", b"layer", flags).unwrap();
}

fn attributes_of(path: &Path) -> String {
    let mut names = [0_u8; 1024];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    String::from_utf8_lossy(&names[..length]).into_owned()
}

#[test]
fn entries_have_the_attributes_that_they_name_and_no_others() {
    let place = Place::new();
    fs::create_dir(place.path("d")).unwrap();
    give_attributes(&place.path("d"));
    place
        .unpack(&[
            Item { mode: 0o640, ..file("d/file", b"x") },
            Item { mode: 0o700, ..dir("d/sub") },
            Item { mode: 0o200, ..item(b'6', "d/fifo") },
        ])
        .unwrap();
    for (name, mode) in [("d/file", 0o640), ("d/sub", 0o700), ("d/fifo", 0o200)] {
        let found = fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((attributes_of(&place.path(name)).as_str(), found), ("", mode), "{name}");
    }
    // No entry has described it so far.
    let kept = attributes_of(&place.path("d"));
    assert!(kept.contains("posix_acl_default") && kept.contains("user.older"), "{kept}");
    place.unpack(&[dir("d")]).unwrap();
    assert_eq!(attributes_of(&place.path("d")), "");
}

#[test]
fn later_entries_replace_earlier_ones_without_following() {
    let place = Place::new();
    fs::write(place.dir.path().join("outside"), "kept").unwrap();
    place
        .unpack(&[
            link(b'2', "a", "../outside"),
            file("a", b"file over link"),
            dir("b"),
            file("b/inner", b"x"),
            file("b", b"file over directory"),
            file("c", b"x"),
            dir("c"),
            file("c/inner", b"directory over file"),
            file("d", b"1"),
            link(b'1', "e", "d"),
            file("e", b"two"),
            dir("f"),
            link(b'2', "g", "f"),
            dir("g"),
            link(b'1', "b", "d"),
        ])
        .unwrap();
    assert_eq!(fs::read(place.dir.path().join("outside")).unwrap(), b"kept");
    assert_eq!(fs::read(place.path("a")).unwrap(), b"file over link");
    assert_eq!(fs::read(place.path("b")).unwrap(), b"1");
    assert_eq!(fs::read(place.path("c/inner")).unwrap(), b"directory over file");
    assert_eq!(fs::read(place.path("d")).unwrap(), b"1");
    assert_eq!(fs::read(place.path("e")).unwrap(), b"two");
    assert!(fs::symlink_metadata(place.path("g")).unwrap().is_dir());
}

#[test]
fn nothing_leaves_the_root() {
    let place = Place::new();
    fs::create_dir(place.dir.path().join("victim")).unwrap();
    fs::write(place.dir.path().join("victim/file"), "kept").unwrap();
    let absolute = place.dir.path().join("victim");
    let absolute = absolute.to_str().unwrap();
    let result = place.unpack(&[
        file("../../escaped", b"x"),
        file("/absolute", b"x"),
        link(b'2', "up", "../victim"),
        file("up/planted", b"x"),
        link(b'2', "abs", absolute),
        file("abs/planted", b"x"),
        item(b'0', "up/.wh.file"),
        item(b'0', "abs/.wh..wh..opq"),
        link(b'2', "loop", "loop"),
        file("loop/x", b"x"),
    ]);
    result.unwrap();
    assert_eq!(fs::read_dir(absolute).unwrap().count(), 1);
    assert!(!place.dir.path().join("escaped").exists());
    assert!(place.names().contains(&"escaped".to_owned()));
    assert!(fs::read_dir(place.dir.path()).unwrap().count() == 2);
    // A hard link cannot fetch what is outside either.
    let error = place.unpack(&[link(b'1', "stolen", "../victim/file")]).unwrap_err();
    assert!(matches!(error, Error::Entry { errno: Errno::NOENT, .. }), "{error}");
}

#[test]
fn whiteouts_remove_lower_files_and_nothing_of_their_own_layer() {
    let place = Place::new();
    place
        .unpack(&[
            file("gone", b"l"),
            file("dir/low", b"l"),
            file("dir/sub/low", b"l"),
            file("opaque/low", b"l"),
            file("opaque/sub/low", b"l"),
            file("kept", b"l"),
            file("a.wh.b", b"l"),
        ])
        .unwrap();
    place
        .unpack(&[
            item(b'0', ".wh.gone"),
            file("dir/sub/new", b"n"),
            item(b'0', ".wh.dir"),
            file("opaque/new", b"n"),
            item(b'0', "opaque/.wh..wh..opq"),
            file("opaque/later", b"n"),
            item(b'0', ".wh..wh.plnk"),
            item(b'0', "no/such/.wh.file"),
            file("kept", b"n"),
            item(b'0', ".wh.kept"),
        ])
        .unwrap();
    assert_eq!(
        place.names(),
        ["a.wh.b", "dir", "dir/sub", "dir/sub/new", "kept", "opaque", "opaque/later", "opaque/new"]
    );
    assert!(place.unpack(&[item(b'0', "dir/.wh..")]).is_err());
}

#[test]
fn base_directories_hold_hard_links_too() {
    let mut place = Place::new();
    fs::create_dir_all(place.path("home/app")).unwrap();
    place.base = Some("/home/app".into());
    place.unpack(&[file("a", b"x"), link(b'1', "../b", "/a")]).unwrap();
    assert_eq!(place.names(), ["home", "home/app", "home/app/a", "home/app/b"]);
    // It stays a directory, as the root does.
    for entry in [link(b'2', ".", "/etc"), file("a/..", b"x"), link(b'1', "./", "/a")] {
        assert!(matches!(place.unpack(&[entry]), Err(Error::Refused { .. })));
    }
    place.unpack(&[Item { mode: 0o700, ..dir("./") }]).unwrap();
    assert_eq!(fs::metadata(place.path("home/app")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn limits_hold() {
    let place = Place::new();
    let bytes = archive(&[file("a", b"12345"), file("b", b"12345")]);
    let limits = |bytes, entries| Limits { bytes, entries };
    assert!(matches!(place.unpack_bytes(&bytes, limits(9, 9)), Err(Error::TooManyBytes(9))));
    assert!(matches!(place.unpack_bytes(&bytes, limits(99, 1)), Err(Error::TooManyEntries(1))));
    assert_eq!(place.unpack_bytes(&bytes, limits(10, 2)).unwrap().bytes, 10);
}

#[test]
fn broken_archives_are_errors() {
    let place = Place::new();
    let limits = Limits { bytes: u64::MAX, entries: u64::MAX };
    let good = archive(&[file("a", &[7; 1000]), file("b", b"x")]);
    for length in [1, 511, 513, 1024, 1511, 1600] {
        let error = place.unpack_bytes(&good[..length], limits).unwrap_err();
        assert!(matches!(error, Error::UnexpectedEof), "{length}: {error}");
    }
    // An empty stream is an empty layer, and an end without its marker is an end.
    assert_eq!(place.unpack_bytes(b"", limits).unwrap().entries, 0);
    assert_eq!(place.unpack_bytes(&good[..good.len() - 1024], limits).unwrap().entries, 2);
    let mut bad = good.clone();
    bad[0] ^= 1;
    assert!(matches!(place.unpack_bytes(&bad, limits), Err(Error::Header { .. })));
    assert!(matches!(place.unpack_bytes(&[b'x'; 2048], limits), Err(Error::Header { .. })));
    let hole = [&[0; 512][..], &good].concat();
    assert!(matches!(place.unpack_bytes(&hole, limits), Err(Error::Header { .. })));
}

#[test]
fn unmapped_owners_are_named() {
    let mut place = Place::new();
    place.mappings.uids = vec!["70000:0:1".parse().unwrap()];
    let error = place.unpack(&[file("etc/x", b"")]).unwrap_err().to_string();
    assert!(error.contains("`etc/x`") && error.contains("user id 0"), "{error}");
}

#[test]
fn what_lies_in_notes_of_aufs_is_left_out() {
    let place = Place::new();
    place.unpack(&[dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", b"x"), file("a", b"x")]).unwrap();
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn a_directory_that_is_described_again_is_the_layers_own() {
    let place = Place::new();
    place.unpack(&[dir("a"), file("a/low", b"l"), dir("b"), dir("b/c")]).unwrap();
    let opaque = item(b'0', "b/.wh..wh..opq");
    place.unpack(&[dir("a"), item(b'0', ".wh.a"), dir("b/c"), opaque]).unwrap();
    assert_eq!(place.names(), ["a", "b", "b/c"]);
}

/// A path may lead to another directory at the end than where its time was read.
#[test]
fn times_stay_with_their_directories() {
    let time = |place: &Place, path: &str| fs::metadata(place.path(path)).unwrap().mtime();
    let place = Place::new();
    // Replaced in one layer.
    place.unpack(&[dir("x/e"), dir("d/e"), file("d/e/f", b""), link(b'2', "d", "x")]).unwrap();
    assert_eq!(time(&place, "x/e"), 1_500_000_000);
    // Deleted in a second one, which makes a link of its own there.
    let place = Place::new();
    place.unpack(&[dir("x/e"), file("d/e/f", b"")]).unwrap();
    place.unpack(&[item(b'0', ".wh.d"), link(b'2', "d", "x")]).unwrap();
    assert_eq!(time(&place, "x/e"), 1_500_000_000);
    // Deleted, but something of the layer's own stays in it.
    let place = Place::new();
    place.unpack(&[dir("b")]).unwrap();
    place.unpack(&[dir("b/a"), item(b'0', ".wh.b")]).unwrap();
    assert_eq!(time(&place, "b/a"), 1_500_000_000);
}

/// A layer may ask for the same deletion again and again; that costs nothing after the first time.
#[test]
fn deletions_are_done_once() {
    let place = Place::new();
    place.unpack(&[file("d/low", b"l"), file("d/s/low", b"l")]).unwrap();
    let names: Vec<String> = (0..2000).map(|number| format!("d/own-{number}")).collect();
    let mut items: Vec<Item<'_>> = names.iter().map(|name| file(name, b"")).collect();
    items.extend((0..2000).map(|_| item(b'0', "d/.wh..wh..opq")));
    let begun = std::time::Instant::now();
    place.unpack(&items).unwrap();
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(place.names().len(), 2001);
}

/// All tests of this room again, in a process for which `openat2` is missing.
#[test]
fn privileged_without_openat2() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-A", "-e", "trace=openat2"]);
    command.args(["-e", "inject=openat2:error=ENOSYS", "-o"]).arg(log.path());
    command.arg(std::env::current_exe().unwrap());
    command.args(["unpack::", "--skip", "without_openat2"]);
    let output = testkit::command::run(&mut command).success();
    assert!(output.contains("test result: ok. 3"), "{output}");
    let log = fs::read_to_string(log.path()).unwrap();
    assert!(log.contains("(INJECTED)"), "nothing was injected");
    let passed = |line: &&str| line.contains("openat2") && line.contains(" = ");
    let passed = log.lines().filter(passed).find(|line| !line.contains("ENOSYS"));
    assert_eq!(passed, None, "a call was let through");
}
