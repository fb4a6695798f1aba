//! The tree of a root file system is what `umoci unpack` makes of the same image.

use std::process::Command;

use testkit::command::run;
use testkit::image::{Compression, Image, OciLayout};
use testkit::layer::{Entry, Layer};
use testkit::tree::Tree;

use crate::fixture::{Driver, Fixture};

on_both_drivers!(every_kind_of_entry, deletions, deletions_of_nothing, replacements, compressions);

/// A version 2 `security.capability` with `CAP_NET_RAW` permitted and effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What another program makes of an image.
fn by_umoci(fixture: &Fixture, layout: &OciLayout) -> Tree {
    let bundle =
        fixture.scratch(&format!("umoci-{}", layout.path().file_name().unwrap().display()));
    let image = format!("{}:latest", layout.path().display());
    run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle)).success();
    comparable(Tree::read(&bundle.join("rootfs")))
}

/// Without what must differ: the root directory itself (contract D28), and devices, which are
/// not made (contract 5.1).
fn comparable(tree: Tree) -> Tree {
    tree.without(|path, entry| path.as_os_str() == "." || entry.kind.ends_with("device"))
}

/// Makes a root file system and compares it; returns its tree.
#[track_caller]
fn compare(fixture: &Fixture, name: &str, image: &Image) -> Tree {
    let mut layout = fixture.layout(name);
    layout.add(image, Some("latest"));
    let expected = by_umoci(fixture, &layout);
    assert!(expected.entries.len() > 2, "{:?}", expected.paths());
    let spec = fixture.create(&layout.url("latest"), name);
    let tree = comparable(spec.tree());
    expected.assert_same(&tree);
    tree
}

/// An entry of every kind that a layer may have.
pub fn rich_layer() -> Layer {
    let long = format!("long/{}/{}", "d".repeat(90), "f".repeat(200));
    Layer::new()
        .entry(Entry::directory("bin").mode(0o755).mtime(1_000_000_000, 123_456_789))
        .entry(Entry::file("bin/set-uid", "program").mode(0o4755).mtime(1_100_000_000, 1))
        .entry(Entry::file("bin/set-gid", "program").mode(0o2711).owner(1000, 1001))
        .entry(
            Entry::file("bin/capable", "program")
                .mode(0o755)
                .xattr("security.capability", CAPABILITY),
        )
        .entry(Entry::directory("tmp").mode(0o1777))
        .entry(Entry::directory("secret").mode(0o700).owner(33, 33))
        .entry(Entry::file("secret/none", "no permissions").mode(0).owner(70_000, 65_534))
        .entry(Entry::file("secret/far", "a high id").owner(4_000_000_000, 3_000_000_000))
        .directory("long")
        .directory(&format!("long/{}", "d".repeat(90)))
        .entry(Entry::file(long, "a long name"))
        .file("ünïcödé and blanks", "äöü")
        .file("empty", "")
        .entry(Entry::file("big", vec![b'x'; 3 << 20]))
        .entry(Entry::file("attributes", "x").xattr("user.one", "1").xattr("user.two", [0, 1, 2]))
        .entry(Entry::directory("attributes.d").xattr("user.dir", "d"))
        .entry(
            Entry::symlink("relative", "bin/set-uid").owner(5, 6).mtime(1_200_000_000, 999_999_999),
        )
        .symlink("absolute", "/etc/passwd")
        .symlink("outside", "../../../../etc/passwd")
        .symlink("dangling", "nowhere")
        .entry(Entry::hard_link("linked", "big"))
        .entry(Entry::hard_link("bin/linked", "big"))
        .entry(Entry::fifo("fifo").mode(0o620).owner(0, 5))
        .entry(Entry::character_device("null", 1, 3))
        .entry(Entry::block_device("disk", 8, 0))
}

fn every_kind_of_entry(fixture: &Fixture) {
    let tree = compare(fixture, "rich", &Image::new().layer(&rich_layer()));
    // That both programs do the same would also be true of two empty trees.
    assert_eq!(tree.get("bin/set-uid").mode, 0o4755);
    assert_eq!(tree.get("bin/set-uid").mtime, 1_100_000_000_000_000_001);
    assert_eq!(tree.get("bin").mtime, 1_000_000_000_123_456_789);
    assert_eq!(tree.get("secret/far").uid, 4_000_000_000);
    assert_eq!(tree.get("linked").same_as, "big");
    assert_eq!(tree.get("bin/linked").same_as, "big");
    assert_eq!(tree.get("fifo").kind, "fifo");
    assert_eq!(tree.get("bin/capable").xattrs["security.capability"], CAPABILITY);
    assert_eq!(tree.get("attributes.d").xattrs["user.dir"], b"d");
    assert_eq!(tree.get("relative").target, "bin/set-uid");
    let spec = fixture.path("images/rich/rootfs");
    assert!(!spec.join("null").exists() && !spec.join("disk").exists());
}

fn deletions(fixture: &Fixture) {
    let base = Layer::new()
        .directory("a")
        .file("a/kept", "1")
        .file("a/gone", "2")
        .directory("a/gone.d")
        .directory("a/gone.d/deep")
        .file("a/gone.d/deep/file", "3")
        .directory("hidden")
        .file("hidden/old", "4")
        .directory("hidden/old.d")
        .file("hidden/old.d/file", "5")
        .file("again", "6")
        .file("a.wh.b", "no whiteout")
        .file("top", "7");
    let middle = Layer::new()
        .directory("a")
        .whiteout("a/gone")
        .whiteout("a/gone.d")
        // A file of the same layer in front of the marker, and one behind it.
        .directory("hidden")
        .file("hidden/before", "8")
        .opaque("hidden")
        .file("hidden/after", "9")
        .whiteout("again")
        .whiteout("top");
    let top = Layer::new().file("again", "back").directory("a").file("a/gone", "back");
    let image = Image::new().layer(&base).layer(&middle).layer(&top);
    let expected =
        ["a", "a/gone", "a/kept", "a.wh.b", "again", "hidden", "hidden/after", "hidden/before"];
    let mut layout = fixture.layout("deletions");
    layout.add(&image, Some("latest"));
    let tree = comparable(fixture.create(&layout.url("latest"), "deletions").tree());
    assert_eq!(tree.paths(), expected);
    assert_eq!(tree.get("again").size, 4);
    assert_eq!(tree.get("a/gone").size, 4);
    let timeless = |tree: Tree| tree.map(|_, entry| entry.mtime = 0);
    timeless(by_umoci(fixture, &layout)).assert_same(&timeless(tree));
}

/// Contract D25. Overlay lists such a name, because it looks for deletions only in directories
/// that several layers have; opened it cannot be.
fn deletions_of_nothing(fixture: &Fixture) {
    let base = Layer::new().file("kept", "1");
    let top = Layer::new().whiteout("never").whiteout("was/there").whiteout(".wh.plnk");
    let (url, _) = fixture.oci("nothing", &Image::new().layer(&base).layer(&top));
    let rootfs = fixture.create(&url, "nothing").rootfs();
    assert!(rootfs.join("kept").exists());
    // There is nothing to hide on btrfs, and so no need for a directory.
    assert_eq!(rootfs.join("was").is_dir(), fixture.is_overlay());
    for path in ["never", "was/there", ".wh.plnk", ".wh..wh.plnk"] {
        let error = std::fs::symlink_metadata(rootfs.join(path)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{path}");
    }
}

fn replacements(fixture: &Fixture) {
    let base = Layer::new()
        .file("file to dir", "1")
        .directory("dir to file")
        .file("dir to file/inside", "2")
        .symlink("link to file", "target")
        .file("target", "untouched")
        .directory("dir to link")
        .file("dir to link/inside", "3")
        .file("mode", "4")
        .entry(Entry::directory("changed").mode(0o755))
        .file("changed/kept", "5")
        .file("linked-1", "6")
        .entry(Entry::hard_link("linked-2", "linked-1"));
    let top = Layer::new()
        .directory("file to dir")
        .file("file to dir/inside", "new")
        .file("dir to file", "new")
        .file("link to file", "new")
        .symlink("dir to link", "changed")
        .entry(Entry::file("mode", "4").mode(0o600).owner(7, 8))
        .entry(Entry::directory("changed").mode(0o700).owner(9, 10).mtime(1_300_000_000, 5))
        .file("linked-2", "apart");
    let tree = compare(fixture, "replacements", &Image::new().layer(&base).layer(&top));
    assert_eq!(tree.get("dir to file").kind, "file");
    assert_eq!(tree.get("file to dir/inside").size, 3);
    assert_eq!(tree.get("target").size, "untouched".len() as u64);
    assert_eq!(tree.get("linked-1").size, 1);
    assert_eq!((tree.get("changed").mode, tree.get("changed").uid), (0o700, 9));
}

/// A layer is the same however it is stored.
fn compressions(fixture: &Fixture) {
    let mut trees = Vec::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let image = Image::new().layer_as(&rich_layer(), compression);
        let (url, _) = fixture.oci(&format!("{compression:?}"), &image);
        trees.push(comparable(fixture.create(&url, "x").tree()));
        assert_eq!(fixture.names("volumes"), image.chain_ids());
        fixture.grootfs.ok(&["delete", "x"]);
        // Or the next one would be served from the store.
        fixture.grootfs.ok(&["clean"]);
        assert!(fixture.names("volumes").is_empty());
    }
    trees[0].assert_same(&trees[1]);
    trees[0].assert_same(&trees[2]);
}

#[test]
fn privileged_ids_are_mapped() {
    for driver in [Driver::OverlayXfs, Driver::Btrfs] {
        let fixture = Fixture::without_store(driver);
        let map = ["0:5000:1", "1:100000:65000"];
        let mut init = vec!["init-store"];
        for range in map {
            init.extend(["--uid-mapping", range, "--gid-mapping", range]);
        }
        fixture.grootfs.ok(&init);
        let layer = Layer::new()
            .file("root", "")
            .entry(Entry::file("thirty-three", "").owner(33, 34))
            .entry(Entry::directory("dir").owner(1, 0));
        let (url, _) = fixture.oci("mapped", &Image::new().layer(&layer));
        let spec = fixture.create(&url, "mapped");
        let tree = spec.tree();
        let owner = |path: &str| (tree.get(path).uid, tree.get(path).gid);
        assert_eq!(owner("root"), (5000, 5000));
        assert_eq!(owner("thirty-three"), (100_032, 100_033));
        assert_eq!(owner("dir"), (100_000, 5000));
        assert_eq!(owner("."), (5000, 5000), "{driver:?}");
    }
}
