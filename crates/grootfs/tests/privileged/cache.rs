//! Layers in the store: names, links, metadata, dependency files; nothing is unpacked twice
//! (contract 3.1, 3.4, 3.5).

use std::fs;
use std::os::unix::fs::MetadataExt;

use testkit::image::{Hash, Image};
use testkit::layer::Layer;

use crate::fixture::{Fixture, two_layers};

on_both_drivers!(
    names_and_files,
    cached_layers_are_not_read,
    shared_layers,
    relative_layouts,
    lost_knowledge,
    long_digests,
);

fn names_and_files(fixture: &Fixture) {
    let image = two_layers();
    let (url, _) = fixture.oci("image", &image);
    for (umask, id) in [(0o22, "open"), (0o77, "closed")] {
        let grootfs = fixture.grootfs.clone().umask(umask);
        grootfs.ok(&["create", &url, id]);
        let chain = image.chain_ids();
        let mut sorted = chain.clone();
        sorted.sort();
        assert_eq!(fixture.names("volumes"), sorted);
        let file = fixture.path(&format!("meta/dependencies/image:{id}.json"));
        let dependencies = fs::read_to_string(&file).unwrap();
        assert_eq!(dependencies, format!("[\"{}\",\"{}\"]", chain[0], chain[1]));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o666 & !umask);
        // Sizes: regular files only. The second layer has one of three bytes.
        for (volume, size) in chain.iter().zip([11, 3]) {
            let file = fixture.path(&format!("meta/volume-{volume}"));
            // The original reads `Size`; what follows is ours.
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with(&format!("{{\"Size\":{size},")), "{text}");
            assert!(text.ends_with("}\n"), "{text}");
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o644, "{umask:o}");
        }
        check_image_directory(fixture, id);
        assert!(fixture.names("tmp").is_empty());
    }
    if fixture.is_overlay() {
        check_links(fixture, &image.chain_ids());
    }
}

/// Modes and files of `images/<id>` (contract 3.1).
fn check_image_directory(fixture: &Fixture, id: &str) {
    let mode = |name: &str| {
        let path = fixture.path(&format!("images/{id}/{name}"));
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    };
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("rootfs"), 0o755);
    if !fixture.is_overlay() {
        assert_eq!(fixture.names(&format!("images/{id}")), ["rootfs"]);
        return;
    }
    let names = ["diff", "image_info", "rootfs", "workdir"];
    assert_eq!(fixture.names(&format!("images/{id}")), names);
    assert_eq!((mode("diff"), mode("workdir"), mode("image_info")), (0o755, 0o755, 0o600));
    let info = fs::read_to_string(fixture.path(&format!("images/{id}/image_info"))).unwrap();
    assert_eq!(info, "14");
}

/// `l/<chain id>` holds the name of a symlink to the volume (contract 3.5).
fn check_links(fixture: &Fixture, chain: &[String]) {
    assert_eq!(fixture.names("l").len(), chain.len() * 2);
    for volume in chain {
        let file = fixture.path(&format!("l/{volume}"));
        let short = fs::read_to_string(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o644);
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(short.len() > 9 && short.chars().all(fits), "{short}");
        let target = fs::read_link(fixture.path(&format!("l/{short}"))).unwrap();
        assert_eq!(target, fixture.path(&format!("volumes/{volume}")));
    }
}

fn cached_layers_are_not_read(fixture: &Fixture) {
    let mut layout = fixture.layout("image");
    let written = layout.add(&two_layers(), Some("latest"));
    let url = layout.url("latest");
    let first = fixture.create(&url, "first").tree();
    let state = |_: ()| -> Vec<(String, u64, i64)> {
        let volume =
            |name: &String| fs::metadata(fixture.path(&format!("volumes/{name}"))).unwrap();
        let names = fixture.names("volumes");
        let facts = |name: &String| (name.clone(), volume(name).ino(), volume(name).ctime_nsec());
        names.iter().map(facts).collect()
    };
    let before = state(());
    for blob in &written.layers {
        fs::remove_file(layout.blob(blob)).unwrap();
    }
    let second = fixture.create(&url, "second").tree();
    first.assert_same(&second);
    assert_eq!(state(()), before);
}

fn shared_layers(fixture: &Fixture) {
    let base = Layer::new().file("base", "b");
    let one = Image::new().layer(&base).layer(&Layer::new().file("one", "1"));
    let two = Image::new().layer(&base).layer(&Layer::new().file("two", "2"));
    // The same content below another layer is another volume.
    let turned = Image::new().layer(&Layer::new().file("two", "2")).layer(&base);
    for (name, image) in [("one", &one), ("two", &two), ("turned", &turned)] {
        let (url, _) = fixture.oci(name, image);
        fixture.create(&url, name);
    }
    let mut expected: Vec<String> = [one, two, turned].iter().flat_map(Image::chain_ids).collect();
    expected.sort();
    expected.dedup();
    assert_eq!(expected.len(), 5);
    assert_eq!(fixture.names("volumes"), expected);
    // What is written in one root is not in the other.
    fs::write(fixture.path("images/one/rootfs/base"), "changed").unwrap();
    let other = fs::read_to_string(fixture.path("images/two/rootfs/base")).unwrap();
    assert_eq!(other, "b");
}

fn relative_layouts(fixture: &Fixture) {
    fixture.oci("image", &two_layers());
    let grootfs = fixture.grootfs.clone().directory(&fixture.scratch(""));
    grootfs.ok(&["create", "oci:image:latest", "with-reference"]);
    grootfs.ok(&["create", "oci:image", "without"]);
    let absolute = format!("oci://{}", fixture.scratch("image").display());
    grootfs.ok(&["create", &absolute, "absolute"]);
    for id in ["with-reference", "without", "absolute"] {
        let file = fixture.path(&format!("images/{id}/rootfs/etc/changed"));
        assert_eq!(fs::read_to_string(file).unwrap(), "new");
    }
}

/// Metadata and short names that are lost are made again (contract D49).
fn lost_knowledge(fixture: &Fixture) {
    let image = two_layers();
    let (url, _) = fixture.oci("image", &image);
    fixture.create(&url, "first");
    let chain = image.chain_ids();
    fs::remove_file(fixture.path(&format!("meta/volume-{}", chain[0]))).unwrap();
    if fixture.is_overlay() {
        fs::remove_file(fixture.path(&format!("l/{}", chain[0]))).unwrap();
        // A name whose link is gone.
        let file = fixture.path(&format!("l/{}", chain[1]));
        let short = fs::read_to_string(file).unwrap();
        fs::remove_file(fixture.path(&format!("l/{short}"))).unwrap();
    }
    let second = fixture.create(&url, "second");
    assert_eq!(fs::read_to_string(second.rootfs().join("etc/changed")).unwrap(), "new");
    let metadata = fs::read_to_string(fixture.path(&format!("meta/volume-{}", chain[0])));
    // As the original measures it, directories count too.
    assert!(metadata.unwrap().starts_with("{\"Size\":"));
}

/// A layout may name its blobs by sha512 (contract D39).
fn long_digests(fixture: &Fixture) {
    let image = two_layers().hash(Hash::Sha512);
    let (url, _) = fixture.oci("image", &image);
    let spec = fixture.create(&url, "x");
    assert_eq!(fs::read_to_string(spec.rootfs().join("etc/changed")).unwrap(), "new");
    let mut chain = image.chain_ids();
    chain.sort();
    assert_eq!(fixture.names("volumes"), chain);
}
