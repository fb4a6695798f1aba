//! Images that are broken: a clear text, exit code 1, nothing left in the store.

use std::fs;

use testkit::image::{Compression, Fault, Image, OciLayout, write_tar};
use testkit::layer::{Entry, Layer};

use crate::fixture::{Fixture, assert_contains};

on_both_drivers!(
    broken_layouts,
    broken_layers_are_not_kept,
    missing_images,
    broken_tars,
    several_images,
    skipped_checks,
    hostile_names,
);

/// What is wrong, and what the text must contain.
const FAULTS: &[(Fault, &[&str])] = &[
    (Fault::WrongLayerDigest, &["streaming blob `sha256:", "digest mismatch"]),
    (Fault::TruncatedLayer, &["streaming blob `sha256:"]),
    (Fault::TruncatedStream, &["sha256:"]),
    (Fault::TruncatedTar, &["unpacking layer `sha256:", "unexpected EOF"]),
    (Fault::MissingLayer, &["streaming blob `sha256:", "no such file or directory"]),
    (Fault::WrongLayerSize, &["layer size is different from the value in the manifest"]),
    (Fault::WrongDiffId, &["diffID digest mismatch: expected: ", "actual: "]),
    (Fault::FewerDiffIds, &["2 layers", "1 diff ids"]),
    (Fault::NoLayers, &["no layers"]),
    (Fault::BrokenManifest, &["fetching image reference"]),
    (Fault::BrokenConfig, &["fetching image configuration"]),
    (Fault::WrongManifestDigest, &["fetching image reference", "sha256:"]),
    (Fault::WrongConfigDigest, &["fetching image configuration", "sha256:"]),
    (Fault::MissingConfig, &["fetching image configuration", "no such file or directory"]),
    (Fault::BrokenIndex, &["index.json"]),
];

fn base() -> Layer {
    Layer::new().directory("etc").file("etc/base", "b")
}

fn image() -> Image {
    let top = Layer::new().entry(Entry::file("big", vec![7; 300_000])).file("small", "s");
    Image::new().layer(&base()).layer(&top)
}

fn broken_layouts(fixture: &Fixture) {
    // So that a fault in the second layer leaves nothing but what was there.
    let (url, _) = fixture.oci("base", &Image::new().layer(&base()));
    fixture.create(&url, "base");
    fixture.grootfs.ok(&["delete", "base"]);
    for (fault, parts) in FAULTS {
        let (url, _) = fixture.oci(&format!("{fault:?}"), &image().fault(*fault));
        let text = fixture.fails_cleanly(&["create", &url, "x"]);
        for part in *parts {
            assert!(text.contains(part), "{fault:?}: `{part}` is not in: {text}");
        }
        assert_eq!(text.lines().count(), 1, "{fault:?}: {text}");
    }
    // The image itself is fine.
    let (url, _) = fixture.oci("fine", &image());
    fixture.create(&url, "x");
}

/// Of a broken image, whole layers below the broken one may stay for the next try; no half ones.
fn broken_layers_are_not_kept(fixture: &Fixture) {
    let (url, _) = fixture.oci("broken", &image().fault(Fault::WrongDiffId));
    fixture.grootfs.fails(&["create", &url, "x"]);
    let kept = fixture.names("volumes");
    let whole = image().chain_ids()[0].clone();
    assert!(kept.is_empty() || kept == [whole], "{kept:?}");
    assert!(fixture.names("images").is_empty() && fixture.names("tmp").is_empty());
    assert!(fixture.names("meta/dependencies").is_empty());
}

fn missing_images(fixture: &Fixture) {
    let missing = format!("oci://{}:latest", fixture.scratch("none").display());
    let text = fixture.fails_cleanly(&["create", &missing, "x"]);
    assert!(text.starts_with("Image source doesn't exist"), "{text}");
    let (url, _) = fixture.oci("image", &image());
    let other = url.replace(":latest", ":other");
    let text = fixture.fails_cleanly(&["create", &other, "x"]);
    assert_contains(&text, "no descriptor found for reference \"other\"");
    let text = fixture.fails_cleanly(&["create", "/no/such.tar", "x"]);
    assert_contains(
        &text,
        "fetching image timestamp: stat /no/such.tar: no such file or directory",
    );
    let empty = fixture.layout("empty");
    fixture.fails_cleanly(&["create", &format!("oci://{}", empty.path().display()), "x"]);
}

fn broken_tars(fixture: &Fixture) {
    let create = |name: &str| {
        let path = fixture.scratch(name);
        fixture.fails_cleanly(&["create", path.to_str().unwrap(), "x"])
    };
    fs::create_dir(fixture.scratch("directory")).unwrap();
    assert_contains(
        &create("directory"),
        "invalid base image: directory provided instead of a tar file",
    );
    fs::write(fixture.scratch("text"), "this is no tar file\n".repeat(100)).unwrap();
    assert_contains(&create("text"), "archive/tar: invalid tar header");
    let layer = Layer::new().file("a", [1; 5000]).file("b", [2; 5000]);
    let tar = layer.tar();
    fs::write(fixture.scratch("short"), &tar[..tar.len() / 3]).unwrap();
    assert_contains(&create("short"), "unexpected EOF");
    for compression in [Compression::Gzip, Compression::Zstd] {
        let name = format!("short-{compression:?}");
        write_tar(&fixture.scratch(&name), &layer, compression);
        let bytes = fs::read(fixture.scratch(&name)).unwrap();
        fs::write(fixture.scratch(&name), &bytes[..bytes.len() - 20]).unwrap();
        create(&name);
    }
    // Not a regular file: it could be read once, or for ever.
    let pipe = fixture.scratch("pipe");
    testkit::command::run(std::process::Command::new("mkfifo").arg(&pipe)).success();
    create("pipe");
    create("/dev/zero");
}

fn several_images(fixture: &Fixture) {
    let mut layout = OciLayout::new(fixture.scratch("several"));
    let one = Image::new().layer(&Layer::new().file("one", "1"));
    let two = Image::new().layer(&Layer::new().file("two", "2"));
    layout.add(&one, Some("one"));
    layout.add(&two, Some("two"));
    let text = fixture.fails_cleanly(&["create", layout.url("").trim_end_matches(':'), "x"]);
    assert_contains(&text, "more than one image in oci, choose an image");
    assert_eq!(fixture.create(&layout.url("one"), "one").tree().paths(), [".", "one"]);
    assert_eq!(fixture.create(&layout.url("two"), "two").tree().paths(), [".", "two"]);
    // An index: this machine's platform is taken.
    let foreign = Image::new().layer(&Layer::new().file("foreign", "f")).architecture("s390x");
    layout.add_index(&[&foreign, &one], Some("index"));
    assert_eq!(fixture.create(&layout.url("index"), "index").tree().paths(), [".", "one"]);
    layout.add_index(&[&foreign], Some("foreign"));
    let text = fixture.fails_cleanly(&["create", &layout.url("foreign"), "x"]);
    assert_contains(&text, "s390x");
}

fn skipped_checks(fixture: &Fixture) {
    for fault in [Fault::WrongDiffId, Fault::WrongLayerSize] {
        let (url, _) = fixture.oci(&format!("{fault:?}"), &image().fault(fault));
        let id = format!("{fault:?}");
        fixture.grootfs.ok(&["create", "--skip-layer-validation", &url, &id]);
        fixture.grootfs.ok(&["delete", &id]);
        fixture.grootfs.ok(&["clean"]);
    }
    // What is what it is called stands for layers that are checked, though nobody asked; what is not never does.
    let (url, _) = fixture.oci("true", &image());
    fixture.grootfs.ok(&["create", "--skip-layer-validation", &url, "x"]);
    fixture.grootfs.ok(&["create", &url, "y"]);
    let mut layout = fixture.layout("false");
    let other = Image::new().layer_as(&Layer::new().file("named", "n"), Compression::None);
    let written = layout.add(&other, Some("latest"));
    let bytes = Layer::new().file("brought", "b").tar();
    fs::write(layout.blob(&written.layers[0]), bytes).unwrap();
    let url = layout.url("latest");
    fixture.grootfs.ok(&["create", "--skip-layer-validation", &url, "z"]);
    let text = fixture.fails_cleanly(&["create", &url, "checked"]);
    assert_contains(&text, "it cannot stand for a layer that is checked");
    for id in ["x", "y", "z"] {
        fixture.grootfs.ok(&["delete", id]);
    }
    // What cannot be unpacked is no matter of checks.
    let (url, _) = fixture.oci("truncated", &image().fault(Fault::TruncatedTar));
    fixture.grootfs.fails(&["create", "--skip-layer-validation", &url, "x"]);
    assert!(fixture.names("images").is_empty());
}

/// Names that lead out of the layer stay inside, whatever they are made of.
fn hostile_names(fixture: &Fixture) {
    let victim = fixture.scratch("victim");
    fs::create_dir(&victim).unwrap();
    let outside = victim.to_str().unwrap();
    let layer = Layer::new()
        .file("../../../../../../../../climbing", "x")
        .file(&format!("{outside}/absolute"), "x")
        .symlink("link", outside)
        .file("link/through-a-link", "x")
        .symlink("up", "../../../../../..")
        .file("up/through-dots", "x")
        .entry(Entry::hard_link("stolen", format!("{outside}/../victim")))
        .file("fine", "x");
    let (url, _) = fixture.oci("hostile", &Image::new().layer(&layer));
    let before = fs::read_dir("/").unwrap().count();
    // Whether such a layer is refused is not the point here.
    fixture.grootfs.run(&["create", &url, "x"]);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    assert_eq!(fs::read_dir("/").unwrap().count(), before);
    assert_eq!(fs::read_dir(fixture.mount_point()).unwrap().count(), 1);
    let names = ["images", "locks", "meta", "tmp", "volumes"];
    let overlay = ["images", "l", "locks", "meta", "projectids", "tmp", "volumes", "whiteout_dev"];
    let expected: &[&str] = if fixture.is_overlay() { &overlay } else { &names };
    assert_eq!(fixture.names(""), expected);
}
