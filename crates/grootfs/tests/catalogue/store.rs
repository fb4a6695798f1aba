//! Errors of stores and of the images in them.

use std::fs;

use testkit::image::{Compression, write_tar};
use testkit::layer::Layer;

use crate::fixture::{Driver, Fixture, two_layers};
use crate::plain::Plain;
use crate::{Said, say};

pub fn said() -> Said {
    let mut said = Said::new();
    on_btrfs(&mut said);
    on_overlay(&mut said);
    made(&mut said);
    said
}

fn plain(fixture: &Fixture) -> Plain {
    Plain::default()
        .path(fixture.grootfs.store(), "/srv/groot")
        .path(&fixture.mount_point(), "/srv")
        .path(&fixture.scratch("").join(""), "/images/")
}

fn on_btrfs(said: &mut Said) {
    let fixture = Fixture::new(Driver::Btrfs);
    let plain = plain(&fixture);
    let (url, _) = fixture.oci("image", &two_layers());
    let mut fails = |name: &'static str, arguments: &[&str]| {
        say(said, name, &plain.text(&fixture.grootfs.fails(arguments)));
    };
    for id in ["a/b", "a\nb", ".", ""] {
        fails("bad-id", &["create", &url, id]);
    }
    fails("bad-id", &["create", &url, &"x".repeat(245)]);
    fixture.create(&url, "web-1");
    fails("id-taken", &["create", &url, "web-1"]);
    fails("limit-of-nothing", &["limit", "--disk-limit-size-bytes", "5", "web-2"]);
    fails("no-inode-limits", &["create", "--inode-limit", "100", &url, "web-2"]);
    fails(
        "simple-quotas-refused",
        &["--driver", "overlay-xfs", "init-store", "--with-simple-quotas"],
    );
    fails("simple-quotas-refused", &["init-store", "--with-simple-quotas"]);
    fails("other-driver", &["--driver", "overlay-xfs", "create", &url, "web-2"]);
    let big = fixture.scratch("big.tar");
    write_tar(&big, &Layer::new().file("big", vec![1; 3_000_000]), Compression::None);
    let big = big.to_str().unwrap();
    fixture.grootfs.ok(&["pull", big]);
    fails(
        "limit-smaller-than-image",
        &["create", "--disk-limit-size-bytes", "1000000", big, "web-2"],
    );
    fails(
        "mappings-of-the-store",
        &["init-store", "--uid-mapping", "0:5:1", "--gid-mapping", "0:5:1"],
    );
    fs::create_dir(fixture.path("images/half")).unwrap();
    fails("image-half-made", &["stats", "half"]);
    fs::remove_dir(fixture.path("images/half")).unwrap();

    let namespace = fixture.path("meta/namespace.json");
    let text = fs::read(&namespace).unwrap();
    fs::remove_file(&namespace).unwrap();
    fails("store-incomplete", &["create", &url, "web-2"]);
    fs::write(&namespace, "{\"uid-map").unwrap();
    fails("namespace-file", &["create", &url, "web-2"]);
    fs::write(&namespace, text).unwrap();
    let quotas = |on: &str| {
        let mut btrfs = std::process::Command::new("btrfs");
        testkit::command::run(btrfs.args(["quota", on]).arg(fixture.mount_point())).success();
    };
    quotas("disable");
    fails("limits-not-available", &["create", "--disk-limit-size-bytes", "9999999", &url, "web-2"]);
    quotas("enable");
    let dependencies = fixture.path("meta/dependencies/image:web-1.json");
    fs::remove_file(&dependencies).unwrap();
    fs::create_dir(&dependencies).unwrap();
    fails("delete-failed", &["delete", "web-1"]);
    fs::remove_dir(&dependencies).unwrap();
    let locks = fixture.path("locks");
    fs::remove_dir_all(&locks).unwrap();
    fails("store-refused", &["delete-store"]);
}

fn on_overlay(said: &mut Said) {
    let fixture = Fixture::new(Driver::OverlayXfs);
    let plain = plain(&fixture);
    let (url, _) = fixture.oci("image", &two_layers());
    let rootfs = fixture.create(&url, "web-1").rootfs();
    let file = fs::File::create(rootfs.join("open")).unwrap();
    let busy = fixture.grootfs.fails(&["delete", "web-1"]);
    say(said, "unmount-failed", &plain.text(&busy));
    drop(file);
}

/// What `init-store` refuses.
fn made(said: &mut Said) {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let plain = plain(&fixture);
    let mut fails = |name: &'static str, store: &str, arguments: &[&str]| {
        let store = fixture.mount_point().join(store);
        let grootfs = testkit::command::Grootfs::new(crate::fixture::PROGRAM, store);
        let grootfs = grootfs.with(&["--driver", "btrfs"]);
        say(said, name, &plain.text(&grootfs.fails(&[&["init-store"], arguments].concat())));
    };
    fs::write(fixture.mount_point().join("file"), "").unwrap();
    fails("not-a-directory", "file", &[]);
    fails("parent-missing", "none/store", &[]);
    fails("store-too-small", "small/store", &["--store-size-bytes", "1000"]);
    let backing = fixture.mount_point().join("other.backing-store");
    fs::write(&backing, [b"XFSB".as_slice(), &[0; 5000]].concat()).unwrap();
    fails("other-filesystem", "other", &["--store-size-bytes", "300000000"]);
    fails("rootless-unknown", "store", &["--rootless", "nobody-knows-me:nogroup"]);
}
