//! Directories that a layer has files in and no entry for: they look like those of the layers
//! below, on both drivers.

use testkit::image::Image;
use testkit::layer::{Entry, Layer};

use crate::fixture::Fixture;

on_both_drivers!(
    looks_like_the_layers_below,
    hidden_ones_are_not_looked_at,
    replaced_by_a_link,
    in_a_damaged_image
);

fn looks_like_the_layers_below(fixture: &Fixture) {
    let base = Layer::new()
        .entry(Entry::directory("data").mode(0o2770).owner(5, 6).mtime(1_000_000_007, 8))
        .entry(Entry::directory("data/inner").mode(0o1777).owner(7, 8).mtime(1_000_000_009, 0));
    // The middle knows only one of them, and differently.
    let middle = Layer::new()
        .entry(Entry::directory("data").mode(0o750).owner(50, 60).mtime(1_100_000_000, 1))
        .file("data/inner/m", "m");
    let top = Layer::new().file("data/inner/t", "t").file("new/deep/file", "x");
    let image = Image::new().layer(&base).layer(&middle).layer(&top);
    let (url, _) = fixture.oci("image", &image);
    let tree = fixture.create(&url, "x").tree();
    let look = |path: &str| {
        let entry = tree.get(path);
        (entry.mode, entry.uid, entry.gid, entry.mtime)
    };
    assert_eq!(look("data"), (0o750, 50, 60, 1_100_000_000_000_000_001));
    assert_eq!(look("data/inner"), (0o1777, 7, 8, 1_000_000_009_000_000_000));
    for made in ["new", "new/deep"] {
        let entry = tree.get(made);
        assert_eq!((entry.mode, entry.uid, entry.gid), (0o755, 0, 0), "{made}");
    }
    for file in ["data/inner/m", "data/inner/t", "new/deep/file"] {
        assert_eq!(tree.get(file).size, 1, "{file}");
    }
}

fn hidden_ones_are_not_looked_at(fixture: &Fixture) {
    let base = Layer::new()
        .entry(Entry::directory("gone").mode(0o700).owner(5, 6))
        .entry(Entry::directory("opaque").mode(0o711))
        .entry(Entry::directory("opaque/inner").mode(0o700).owner(5, 6))
        .file("opaque/inner/old", "x");
    let middle = Layer::new().whiteout("gone").opaque("opaque");
    let top = Layer::new().file("gone/file", "x").file("opaque/inner/file", "x");
    let image = Image::new().layer(&base).layer(&middle).layer(&top);
    let (url, _) = fixture.oci("image", &image);
    let tree = fixture.create(&url, "x").tree();
    let look = |path: &str| (tree.get(path).mode, tree.get(path).uid);
    assert_eq!(look("gone"), (0o755, 0));
    assert_eq!(look("opaque"), (0o711, 0));
    assert_eq!(look("opaque/inner"), (0o755, 0));
    assert!(!tree.paths().contains(&"opaque/inner/old".to_owned()));
}

/// What a link in its place leads to keeps its own mode.
fn replaced_by_a_link(fixture: &Fixture) {
    let base = Layer::new()
        .entry(Entry::directory("data").mode(0o700).owner(5, 6))
        .entry(Entry::directory("other").mode(0o755));
    let top = Layer::new()
        .file("data/inner/file", "x")
        .file("loop/file", "x")
        .entry(Entry::directory("other").mode(0o711))
        .symlink("data", "other")
        .symlink("loop", "loop");
    let image = Image::new().layer(&base).layer(&top);
    let (url, _) = fixture.oci("image", &image);
    let tree = fixture.create(&url, "x").tree();
    assert_eq!((tree.get("other").mode, tree.get("other").uid), (0o711, 0));
    assert_eq!(tree.get("data").target, "other");
    assert_eq!(tree.get("loop").target, "loop");
}

/// A layer that waits for those below goes away with them.
fn in_a_damaged_image(fixture: &Fixture) {
    let base = Layer::new().directory("data").file("data/a", "a");
    let top = Layer::new().file("data/b", "b");
    let image = Image::new().layer(&base).layer(&top);
    let (url, written) = fixture.oci("image", &image);
    let blob = fixture.layout("image").blob(&written.layers[0]);
    std::fs::write(&blob, "damaged").unwrap();
    fixture.fails_cleanly(&["create", &url, "x"]);
}
