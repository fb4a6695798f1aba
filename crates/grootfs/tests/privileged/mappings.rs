//! Id mappings from `init-store` to the files of a root (contract 3.2, 9.1, 9.2).

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use grootfs::idmap;
use testkit::command::{Output, run};
use testkit::image::Image;
use testkit::layer::{Entry, Layer};

use crate::fixture::{Fixture, assert_contains};
use crate::init_store::check_layout;

on_both_drivers!(without_store:
    gardens_store,
    both_umasks,
    one_wide_range,
    as_many_as_the_kernel_takes,
    without_root,
    rootless_users,
    rootless_users_without_ranges,
    unknown_users,
    links_in_the_store_are_not_followed,
    broken_namespace_files,
);

/// The highest id that there is: whom Garden makes root of its unprivileged containers.
const GARDENS_ROOT: u32 = u32::MAX - 1;

/// `init-store` with the same ranges for users and groups.
fn init_with(ranges: &[&str]) -> Vec<String> {
    let flags = ["--uid-mapping", "--gid-mapping"];
    let mapped = ranges.iter().flat_map(|range| flags.map(|flag| format!("{flag}={range}")));
    std::iter::once("init-store".to_owned()).chain(mapped).collect()
}

fn namespace(fixture: &Fixture) -> String {
    fs::read_to_string(fixture.path("meta/namespace.json")).unwrap()
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

/// Makes a root of one layer; returns owner and mode of everything in it.
fn owners(fixture: &Fixture, layer: &Layer) -> Vec<(String, u32, u32, u32)> {
    let (url, _) = fixture.oci("image", &Image::new().layer(layer));
    let tree = fixture.create(&url, "root").tree();
    let show = |path: &Path| path.display().to_string();
    tree.entries.iter().map(|(path, e)| (show(path), e.uid, e.gid, e.mode)).collect()
}

fn gardens_store(fixture: &Fixture) {
    let grootfs = fixture.grootfs.clone().umask(0o22);
    let (root, others) = ("0:4294967294:1", "1:1:4294967293");
    // At each start of Garden, and whoever starts it turns the flags as they like.
    grootfs.ok(&init_with(&[root, others]));
    grootfs.ok(&init_with(&[others, root]));
    let (uid, gid) = ("--uid-mapping", "--gid-mapping");
    grootfs.ok(&["init-store", gid, others, uid, root, gid, root, uid, others]);
    check_layout(fixture, 0o22, (GARDENS_ROOT, GARDENS_ROOT));
    assert_eq!(
        namespace(fixture),
        "{\"uid-mappings\":[\"0:4294967294:1\",\"1:1:4294967293\"],\
         \"gid-mappings\":[\"0:4294967294:1\",\"1:1:4294967293\"]}\n"
    );
    let layer = Layer::new()
        .directory("bin")
        .entry(Entry::file("bin/su", "").mode(0o4755).owner(0, 0))
        .entry(Entry::file("bin/write", "").mode(0o6711).owner(1000, 5))
        .entry(Entry::file("home", "").mode(0o640).owner(1000, 1000))
        .entry(Entry::file("last", "").mode(0o600).owner(4_294_967_293, 4_294_967_293))
        .entry(Entry::symlink("link", "home").owner(0, 1000))
        .entry(Entry::fifo("pipe").mode(0o600).owner(1000, 0));
    let top = GARDENS_ROOT;
    let expected = [
        (".", top, top, 0o755),
        ("bin", top, top, 0o755),
        ("bin/su", top, top, 0o4755),
        ("bin/write", 1000, 5, 0o6711),
        ("home", 1000, 1000, 0o640),
        ("last", top - 1, top - 1, 0o600),
        ("link", top, 1000, 0o777),
        ("pipe", 1000, top, 0o600),
    ];
    let expected = expected.map(|(path, uid, gid, mode)| (path.to_owned(), uid, gid, mode));
    assert_eq!(owners(fixture, &layer), expected);
    assert_eq!(owner(&fixture.path("images/root")), (top, top));
    // The container has no such id: its root is the one who has it outside.
    let stranger = Layer::new().entry(Entry::file("f", "").owner(u64::from(top), 0));
    let (url, _) = fixture.oci("stranger", &Image::new().layer(&stranger));
    let text = fixture.fails_cleanly(&["create", &url, "stranger"]);
    assert_contains(&text, "`f`: user id 4294967294 is not in the id mappings of the store");
}

fn both_umasks(fixture: &Fixture) {
    let mapped = init_with(&["0:5000:1", "1:100000:65000"]);
    for umask in [0o22, 0o77] {
        let grootfs = fixture.grootfs.clone().umask(umask);
        for _ in 0..2 {
            grootfs.ok(&mapped);
            check_layout(fixture, umask, (5000, 5000));
        }
        // As older versions made it under umask 077: its owner could not read it.
        let file = fixture.path("meta/namespace.json");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
        grootfs.ok(&mapped);
        check_layout(fixture, umask, (5000, 5000));
        grootfs.ok(&["delete-store"]);
    }
}

/// The original gave such a store to root and only its files to the mapped root.
fn one_wide_range(fixture: &Fixture) {
    fixture.grootfs.clone().umask(0o22).ok(&init_with(&["0:100000:65536"]));
    check_layout(fixture, 0o22, (100_000, 100_000));
    let layer = Layer::new().entry(Entry::file("f", "").mode(0o4750).owner(0, 33));
    let expected =
        [(".".to_owned(), 100_000, 100_000, 0o755), ("f".to_owned(), 100_000, 100_033, 0o4750)];
    assert_eq!(owners(fixture, &layer), expected);
    assert_eq!(owner(&fixture.path("images/root")), (100_000, 100_000));
}

fn as_many_as_the_kernel_takes(fixture: &Fixture) {
    let ranges: Vec<String> = (0..340).map(|id| format!("{id}:{}:1", 50_000 + 7 * id)).collect();
    let ranges: Vec<&str> = ranges.iter().map(String::as_str).collect();
    fixture.grootfs.ok(&init_with(&ranges));
    fixture.grootfs.ok(&init_with(&ranges));
    let layer = Layer::new().entry(Entry::file("f", "").mode(0o644).owner(339, 170));
    let root = (".".to_owned(), 50_000, 50_000, 0o755);
    let file = ("f".to_owned(), 50_000 + 7 * 339, 50_000 + 7 * 170, 0o644);
    assert_eq!(owners(fixture, &layer), [root, file]);
}

/// Nobody is root: the store stays with its maker, and files of root have no owner.
fn without_root(fixture: &Fixture) {
    fixture.grootfs.clone().umask(0o22).ok(&init_with(&["1:100000:65536"]));
    check_layout(fixture, 0o22, (0, 0));
    let layer = Layer::new().entry(Entry::file("f", "").mode(0o644).owner(1, 33));
    let file = ("f".to_owned(), 100_000, 100_032, 0o644);
    assert_eq!(owners(fixture, &layer), [(".".to_owned(), 0, 0, 0o755), file]);
    let (url, _) = fixture.oci("of-root", &Image::new().layer(&Layer::new().file("etc", "")));
    let text = fixture.fails_cleanly(&["create", &url, "of-root"]);
    assert_contains(&text, "`etc`: user id 0 is not in the id mappings of the store");
}

/// An `/etc` for one program only.
fn etc(fixture: &Fixture, subuid: &str, subgid: &str) {
    let etc = fixture.scratch("etc");
    fs::create_dir_all(&etc).unwrap();
    let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1234:1234:Alice:/home/alice:/bin/sh\n";
    let group = "root:x:0:\nalice:x:1234:\ngamers:x:60:alice\n";
    let files = [("passwd", passwd), ("group", group), ("subuid", subuid), ("subgid", subgid)];
    for (name, text) in files {
        fs::write(etc.join(name), text).unwrap();
    }
}

/// Runs `init-store --rootless` in a mount namespace that has that `/etc`.
fn rootless(fixture: &Fixture, parameter: &str) -> Output {
    let log = fixture.scratch("log");
    let grootfs = fixture.grootfs.clone().umask(0o22).with(&["--log-file", log.to_str().unwrap()]);
    let inner = grootfs.command(&["init-store", "--rootless", parameter]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c"]);
    command.arg("mount --bind \"$0\" /etc && exec \"$@\"").arg(fixture.scratch("etc"));
    command.arg(inner.get_program()).args(inner.get_args());
    run(&mut command)
}

fn rootless_users(fixture: &Fixture) {
    let subuid = "alice:100000:1000\nsomebody:1:1\nalice:oops:7\n1234:200000:500\n";
    etc(fixture, subuid, "alice:300000:1000\n60:400000:10\n");
    let ranges = "{\"uid-mappings\":[\"0:1234:1\",\"1001:200000:500\",\"1:100000:1000\"],\
                  \"gid-mappings\":[\"0:1234:1\",\"1:300000:1000\"]}\n";
    for parameter in ["alice:alice", "1234:1234", "alice:1234"] {
        assert_eq!(rootless(fixture, parameter).success(), "", "{parameter}");
        assert_eq!(namespace(fixture), ranges, "{parameter}");
        check_layout(fixture, 0o22, (1234, 1234));
    }
    let log = fs::read_to_string(fixture.scratch("log")).unwrap();
    assert_contains(
        &log,
        "/etc/subuid line 3 skipped: it is not <owner>:<first id>:<number of ids>",
    );
    let layer = Layer::new()
        .entry(Entry::file("root", "").mode(0o4755))
        .entry(Entry::file("second", "").mode(0o644).owner(1001, 1000));
    let expected = [
        (".".to_owned(), 1234, 1234, 0o755),
        ("root".to_owned(), 1234, 1234, 0o4755),
        ("second".to_owned(), 200_000, 300_999, 0o644),
    ];
    assert_eq!(owners(fixture, &layer), expected);
    // What the files say later does not change the store.
    etc(fixture, "alice:100000:1000\n", "alice:300000:1000\n");
    let before = fixture.listing();
    assert_eq!(
        rootless(fixture, "alice:alice").failure(),
        "provided UID mappings do not match those already configured in the store \
         (given: [0:1234:1 1:100000:1000], store: [0:1234:1 1001:200000:500 1:100000:1000]); \
         use the store's, or delete-store and begin a new one\n"
    );
    etc(fixture, subuid, "alice:300000:1000\n60:400000:10\n");
    assert_contains(&rootless(fixture, "alice:gamers").failure(), "provided GID mappings do not");
    before.assert_same(&fixture.listing());
}

fn rootless_users_without_ranges(fixture: &Fixture) {
    etc(fixture, "", "");
    fs::remove_file(fixture.scratch("etc/subgid")).unwrap();
    assert_eq!(rootless(fixture, "alice:gamers").success(), "");
    check_layout(fixture, 0o22, (1234, 60));
    let only_root = "{\"uid-mappings\":[\"0:1234:1\"],\"gid-mappings\":[\"0:60:1\"]}\n";
    assert_eq!(namespace(fixture), only_root);
    let log = fs::read_to_string(fixture.scratch("log")).unwrap();
    assert_contains(&log, "/etc/subuid grants nothing to user 'alice': only root is mapped");
    assert_contains(&log, "/etc/subgid grants nothing to group 'gamers': only root is mapped");
    let layer = Layer::new().entry(Entry::file("f", "").owner(0, 1));
    let (url, _) = fixture.oci("group", &Image::new().layer(&layer));
    let text = fixture.fails_cleanly(&["create", &url, "group"]);
    assert_contains(&text, "`f`: group id 1 is not in the id mappings of the store");
}

fn unknown_users(fixture: &Fixture) {
    etc(fixture, "alice:1000:1000\n", "");
    for (parameter, start) in [
        ("bob:alice", "error reading mappings for user 'bob': no matching entries in passwd file"),
        ("alice:bob", "error reading mappings for group 'bob': no matching entries in group file"),
        (
            "alice:alice",
            "error reading mappings for user 'alice' from /etc/subuid: `1:1000:1000` and `0:1234:1` \
             overlap: both have the host ids 1234 to 1234",
        ),
    ] {
        let text = rootless(fixture, parameter).failure();
        assert!(text.starts_with(start), "{text}");
        assert!(!fixture.grootfs.store().exists());
    }
}

/// The mapped root owns what is in the store; root runs `init-store` on it at each start.
fn links_in_the_store_are_not_followed(fixture: &Fixture) {
    let mapped = init_with(&["0:5000:1"]);
    let overlay: &[&str] = if fixture.is_overlay() { &["l", "projectids"] } else { &[] };
    let everywhere = ["images", "volumes", "meta/dependencies", "meta", "locks", "tmp"];
    let target = fixture.scratch("of-root");
    fs::create_dir(&target).unwrap();
    let before = fs::metadata(&target).unwrap();
    for name in everywhere.iter().chain(overlay) {
        fixture.grootfs.ok(&mapped);
        let (path, aside) = (fixture.path(name), fixture.path("aside"));
        fs::rename(&path, &aside).unwrap();
        symlink(&target, &path).unwrap();
        let text = fixture.grootfs.fails(&mapped);
        assert_contains(&text, path.to_str().unwrap());
        assert_contains(&text, "not a directory");
        let after = fs::metadata(&target).unwrap();
        assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()), "{name}");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{name}");
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    fixture.grootfs.ok(&mapped);
}

fn broken_namespace_files(fixture: &Fixture) {
    fixture.grootfs.ok(&["init-store"]);
    let path = fixture.path("meta/namespace.json");
    let good = namespace(fixture);
    let (url, _) = fixture.oci("image", &Image::new().layer(&Layer::new().file("f", "")));
    for (text, reason) in [
        ("{", "EOF while parsing"),
        ("{\"uid-mappings\":[1],\"gid-mappings\":[]}", "invalid type: integer"),
        (
            "{\"uid-mappings\":[\"0:1:9\",\"5:20:9\"],\"gid-mappings\":[]}",
            "invalid uid mappings format: `0:1:9` and `5:20:9` overlap",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let expected = format!("invalid namespace file {}: {reason}", path.display());
        for arguments in [&["create", &url, "x"][..], &["init-store"], &["clean"]] {
            let text = fixture.fails_cleanly(arguments);
            assert_contains(&text, &expected);
        }
    }
    fs::write(&path, good).unwrap();
    fixture.create(&url, "x");
}

/// Asks the kernel for a user namespace with these mappings.
fn kernel_takes(texts: &[String]) -> bool {
    let mut child = Command::new("unshare")
        .args(["--user", "--", "sh", "-c", "echo in; read -r done"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "in\n", "no user namespace");
    let map: String = texts.iter().map(|text| text.replace(':', " ") + "\n").collect();
    let written = fs::write(format!("/proc/{}/uid_map", child.id()), map);
    // The end of its input ends it.
    drop(child.stdin.take());
    child.wait().unwrap();
    match written {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::InvalidInput => false,
        Err(error) => panic!("uid_map: {error}"),
    }
}

#[test]
fn privileged_the_kernel_agrees() {
    let ranges = |n: u32| (0..n).map(|id| format!("{id}:{}:1", id + 5000)).collect::<Vec<_>>();
    let mut lists: Vec<Vec<String>> = [
        &["0:4294967294:1", "1:1:4294967293"][..],
        &["1:65536:4294901758", "0:4294967294:1"],
        &["0:0:4294967295"],
        &["10:0:5", "0:10:10", "15:5:5"],
        &["1:100000:65536"],
        // From here on what neither takes.
        &["0:4294967295:1"],
        &["4294967295:0:1"],
        &["1:1:4294967295"],
        &["5:4294967294:3"],
        &["0:5:0"],
        &["0:0:10", "9:100:1"],
        &["9:100:5", "0:1000:100"],
        &["0:1000:1", "1:900:200"],
        &["0:5:1", "0:5:1"],
    ]
    .iter()
    .map(|list| list.iter().map(|text| (*text).to_owned()).collect())
    .collect();
    lists.extend([ranges(340), ranges(341)]);
    let ours: Vec<bool> = lists.iter().map(|list| idmap::list::parse(list).is_ok()).collect();
    let kernels: Vec<bool> = lists.iter().map(|list| kernel_takes(list)).collect();
    assert_eq!(ours, kernels, "{lists:?}");
    assert_eq!(ours.iter().filter(|taken| **taken).count(), 6);
}
