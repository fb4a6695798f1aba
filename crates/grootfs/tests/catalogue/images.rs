//! Errors of images that lie on disk.

use std::fs;

use serde_json::json;
use testkit::hostile::{Oracle, corpus};
use testkit::image::{Compression, Fault, Image, OciLayout, write_tar};
use testkit::layer::{Entry, Layer};

use crate::fixture::{Driver, Fixture};
use crate::plain::Plain;
use crate::{Said, say};

/// The faults of testkit, and where they are in the document.
const FAULTS: &[(Fault, &str)] = &[
    (Fault::WrongLayerDigest, "layer-digest"),
    (Fault::TruncatedLayer, "layer-size"),
    (Fault::WrongLayerSize, "layer-size"),
    (Fault::TruncatedStream, "layer-compression"),
    (Fault::TruncatedTar, "tar-ends-early"),
    (Fault::MissingLayer, "layer-blob-missing"),
    (Fault::WrongDiffId, "layer-diff-id"),
    (Fault::FewerDiffIds, "image-configuration"),
    (Fault::NoLayers, "image-manifest"),
    (Fault::BrokenManifest, "image-manifest"),
    (Fault::BrokenConfig, "image-configuration"),
    (Fault::WrongManifestDigest, "image-manifest"),
    (Fault::WrongConfigDigest, "image-configuration"),
    (Fault::MissingConfig, "image-configuration"),
    (Fault::BrokenIndex, "image-manifest"),
];

pub fn said() -> Said {
    let fixture = Fixture::new(Driver::Btrfs);
    let plain = Plain::default()
        .path(fixture.grootfs.store(), "/srv/groot")
        .path(&fixture.scratch("images"), "/images");
    let mut said = Said::new();
    let mut fails = |name: &'static str, argument: &str| {
        say(&mut said, name, &plain.text(&fixture.grootfs.fails(&["create", argument, "web-1"])));
    };
    let path = |name: &str| fixture.scratch(&format!("images/{name}"));
    let argument = |name: &str| path(name).to_str().unwrap().to_owned();
    fs::create_dir_all(path("")).unwrap();

    let top = Layer::new().entry(Entry::file("big", vec![7; 300_000]));
    let image = Image::new().layer(&Layer::new().file("base", "b")).layer(&top);
    for (fault, name) in FAULTS {
        let mut layout = OciLayout::new(path(&format!("{fault:?}")));
        layout.add(&image.clone().fault(*fault), Some("latest"));
        fails(name, &layout.url("latest"));
    }
    layouts(&path("several"), &mut fails);
    fails("image-source-missing", &format!("oci://{}:latest", path("none").display()));

    fs::create_dir(path("directory")).unwrap();
    fails("tar-is-a-directory", &argument("directory"));
    fails("tar-missing", &argument("none.tar"));
    fails("tar-is-no-file", "/dev/zero");
    fs::write(path("text.tar"), "this is no tar file\n".repeat(100)).unwrap();
    fails("tar-invalid", &argument("text.tar"));
    for compression in [Compression::Gzip, Compression::Zstd] {
        let name = format!("short-{compression:?}.tar");
        write_tar(&path(&name), &Layer::new().file("a", [1; 5000]), compression);
        let bytes = fs::read(path(&name)).unwrap();
        fs::write(path(&name), &bytes[..bytes.len() - 20]).unwrap();
        fails("layer-compression", &argument(&name));
    }
    fs::write(path("empty.tar"), "").unwrap();
    fails("archive", &format!("docker-archive:{}", argument("empty.tar")));
    fails("archive", &format!("oci-archive:{}", argument("text.tar")));
    write_tar(&path("layer.tar"), &Layer::new().file("a", "b"), Compression::None);
    fails("archive", &format!("docker-archive:{}", argument("layer.tar")));
    base_directories(&path("base"), &mut fails);
    bundles(&fixture, &plain, &mut said);
    types(&fixture, &plain, &mut said);
    hostile(&fixture, &plain, &mut said);
    said
}

/// Layouts with another number of images than one.
fn layouts(path: &std::path::Path, fails: &mut dyn FnMut(&'static str, &str)) {
    let mut layout = OciLayout::new(path);
    let image = |name: &str| Image::new().layer(&Layer::new().file(name, "1"));
    layout.add(&image("one"), Some("one"));
    layout.add(&image("two"), Some("two"));
    fails("image-choice", layout.url("").trim_end_matches(':'));
    fails("image-choice", &layout.url("three"));
    layout.add_index(&[&image("foreign").architecture("s390x")], Some("foreign"));
    fails("image-platform", &layout.url("foreign"));
}

fn base_directories(path: &std::path::Path, fails: &mut dyn FnMut(&'static str, &str)) {
    let key = "org.cloudfoundry.experimental.image.base-directory";
    let image = Image::new()
        .layer(&Layer::new().file("a", "b"))
        .layer(&Layer::new().file("c", "d"))
        .annotation(key, "/home/app");
    let mut layout = OciLayout::new(path);
    layout.add(&image, Some("latest"));
    fails("base-directory", &layout.url("latest"));
}

/// Images of which no bundle can be made.
fn bundles(fixture: &Fixture, plain: &Plain, said: &mut Said) {
    let command = |layer: &Layer| Image::new().layer(layer).config("Cmd", json!(["/bin/app"]));
    let etc = |user: &str, entry: Entry| {
        command(&Layer::new().directory("etc").entry(entry)).config("User", json!(user))
    };
    let app = command(&Layer::new().file("app", "a"));
    let bundle = fixture.scratch("images/bundle");
    let bundle = bundle.to_str().unwrap();
    for (name, image) in [
        ("bundle-command", Image::new().layer(&Layer::new().file("app", "a"))),
        ("bundle-nul", app.clone().config("WorkingDir", json!("/a\0b"))),
        ("bundle-user", app.clone().config("User", json!("app"))),
        ("bundle-user-file", etc("app", Entry::fifo("etc/passwd"))),
        ("bundle-user-file", etc("app", Entry::symlink("etc/passwd", "passwd"))),
        ("bundle-user-file", etc("1:app", Entry::file("etc/group", vec![b'\n'; 5 << 20]))),
    ] {
        let (url, _) = fixture.oci("images/for-a-bundle", &image);
        let text = fixture.grootfs.fails(&["create", "--bundle", bundle, &url, "web-1"]);
        say(said, name, &plain.text(&text));
    }
    let (url, _) = fixture.oci("images/for-a-bundle", &app);
    fixture.grootfs.ok(&["create", "--bundle", bundle, &url, "web-1"]);
    let text = fixture.grootfs.fails(&["create", "--bundle", bundle, &url, "web-2"]);
    say(said, "bundle-there", &plain.text(&text));
    fixture.grootfs.ok(&["delete", "web-1"]);
}

/// Each layer of the corpus that must be refused.
fn hostile(fixture: &Fixture, plain: &Plain, said: &mut Said) {
    for (number, case) in corpus().iter().enumerate() {
        if !matches!(case.btrfs, Oracle::Fails(_)) {
            continue;
        }
        let (url, _) = fixture.oci(&format!("images/hostile-{number}"), &case.image());
        let output = fixture.grootfs.run(&["create", &url, "web-1"]);
        let text = plain.text(&output.failure());
        // Layers below the bad one stay, and the file system is small.
        fixture.grootfs.ok(&["clean"]);
        let Some((_, why)) = text.split_once("unpacking layer `sha256:<hash>`: ") else { continue };
        let (name, why) = match why.split_once(": ") {
            Some(("archive/tar", why)) => {
                let (why, _) = why.split_once(" (in front of").unwrap();
                ("tar-invalid", format!("archive/tar: {why} (in front of byte 512 of the tar)"))
            }
            Some((refusing, why)) if refusing.starts_with("refusing `") => {
                ("tar-refused", format!("refusing `<path>`: {why}"))
            }
            _ => continue,
        };
        say(said, name, &format!("pulling the image: unpacking layer `sha256:<hash>`: {why}"));
    }
    for name in ["tar-invalid", "tar-refused"] {
        // The corpus may be sorted in another way.
        said.get_mut(name).unwrap().sort();
    }
}

/// Layers that are in the store, or are not what they are called.
fn types(fixture: &Fixture, plain: &Plain, said: &mut Said) {
    let mut fails = |name: &'static str, arguments: &[&str]| {
        say(said, name, &plain.text(&fixture.grootfs.fails(arguments)));
    };
    let zeros = Layer::new().file("zeros", vec![0_u8; 8 << 20]);
    let (url, _) = fixture.oci("images/bomb", &Image::new().layer(&zeros));
    let mut limited = |name, limit| {
        fails(name, &["create", "--disk-limit-size-bytes", limit, &url, "web-1"]);
    };
    // Too small for the layer as it is stored, and for what it becomes.
    limited("layers-exceed-limit", "1000");
    limited("layer-larger-than-the-limit", "1000000");
    let mut layout = OciLayout::new(fixture.scratch("images/two"));
    let named = Image::new().layer_as(&Layer::new().file("named", "n"), Compression::None);
    let written = layout.add(&named, Some("latest"));
    let url = layout.url("latest");
    // Other bytes than the image names.
    fs::write(layout.blob(&written.layers[0]), Layer::new().file("other", "o").tar()).unwrap();
    fixture.grootfs.ok(&["pull", "--skip-layer-validation", &url]);
    fails("layer-unchecked", &["create", &url, "web-1"]);
}
