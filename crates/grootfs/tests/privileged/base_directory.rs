//! Layers that go below a directory of the layers beneath them, and the layouts that Garden makes
//! (contract 4.6, B7).

use std::os::unix::fs::MetadataExt;

use testkit::image::{Compression, Image};
use testkit::layer::{Entry, Layer};
use testkit::tree::Tree;

use crate::fixture::{Fixture, assert_contains};

on_both_drivers!(below_the_base_directory, not_in_the_layers_beneath);

const KEY: &str = "org.cloudfoundry.experimental.image.base-directory";

fn base() -> Layer {
    Layer::new()
        .entry(Entry::directory("home").mode(0o751).owner(1, 2))
        .entry(Entry::directory("home/vcap").mode(0o710).owner(2000, 2001))
        .file("home/vcap/.profile", "old")
}

fn below_the_base_directory(fixture: &Fixture) {
    let droplet = Layer::new()
        .directory("app")
        .file("app/run", "started")
        .file(".profile", "new")
        .entry(Entry::hard_link("app/again", "app/run"))
        .file("../../outside", "kept inside");
    let image = Image::new().layer(&base()).layer(&droplet).annotation(KEY, "/home/vcap");
    let (url, _) = fixture.oci("image", &image);
    let tree = fixture.create(&url, "x").tree();
    let owner = |path: &str| (tree.get(path).mode, tree.get(path).uid, tree.get(path).gid);
    assert_eq!(owner("home"), (0o751, 1, 2));
    assert_eq!(owner("home/vcap"), (0o710, 2000, 2001));
    assert_eq!(tree.get("home/vcap/app/run").size, 7);
    assert_eq!(tree.get("home/vcap/.profile").size, 3);
    assert_eq!(tree.get("home/vcap/app/again").same_as, "home/vcap/app/again");
    assert_eq!(tree.get("home/vcap/app/run").same_as, "home/vcap/app/again");
    let outside = std::fs::symlink_metadata(fixture.mount_point().join("outside"));
    assert!(outside.is_err());
}

fn not_in_the_layers_beneath(fixture: &Fixture) {
    let image = Image::new()
        .layer(&base())
        .layer_as(&Layer::new().file("f", "x"), Compression::None)
        .annotation(KEY, "/no/such/directory");
    let (url, _) = fixture.oci("image", &image);
    // The base is whole and may stay, so the store is compared after a first try.
    fixture.grootfs.fails(&["create", &url, "x"]);
    let text = fixture.fails_cleanly(&["create", &url, "x"]);
    assert_contains(&text, "base directory not found in parent layer: /no/such/directory");
}

/// The base layer is a link to a tar, named by a hash of its path and not of its content.
#[test]
fn privileged_a_preloaded_layer() {
    for driver in [crate::fixture::Driver::OverlayXfs, crate::fixture::Driver::Btrfs] {
        let fixture = Fixture::new(driver);
        let mut layout = fixture.layout("garden");
        let droplet = Layer::new().directory("app").file("app/run", "started");
        let image = Image::new()
            .raw_layer(base().tar(), Compression::None)
            .layer(&droplet)
            .annotation(KEY, "/home/vcap");
        let written = layout.add(&image, Some("latest"));
        let blob = layout.blob(&written.layers[0]);
        let rootfs = fixture.scratch("rootfs.tar");
        // Other bytes than the digest says, and of another length.
        let other = base().file("etc/extra", "more").tar();
        std::fs::write(&rootfs, other).unwrap();
        std::fs::remove_file(&blob).unwrap();
        std::os::unix::fs::symlink(&rootfs, &blob).unwrap();
        let url = layout.url("latest");
        fixture.fails_cleanly(&["create", &url, "x"]);
        fixture.grootfs.ok(&["create", "--skip-layer-validation", &url, "x"]);
        let tree = Tree::read(&fixture.path("images/x/rootfs"));
        assert_eq!(tree.get("etc/extra").size, 4);
        assert_eq!(tree.get("home/vcap/app/run").size, 7);
        assert!(std::fs::metadata(&rootfs).unwrap().nlink() == 1);
    }
}
