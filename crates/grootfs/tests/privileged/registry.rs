//! From a real registry, filled by `skopeo`, to a running process and back to nothing.

use testkit::container::run_in;
use testkit::image::{Compression, Image, busybox};
use testkit::layer::{Entry, Layer};
use testkit::push::Format;
use testkit::registry::Registry;

use crate::fixture::{Fixture, Spec, assert_contains};

on_both_drivers!(from_push_to_delete, by_tag_and_digest, what_is_not_there);

fn image() -> Image {
    let changes = Layer::new()
        .directory("etc")
        .file("etc/greeting", "hello\n")
        .entry(Entry::file("etc/shadow", "secret").mode(0o600))
        .whiteout("etc/group");
    let plain = Layer::new().directory("srv").entry(Entry::symlink("srv/link", "../etc/greeting"));
    Image::new()
        .layer(&busybox())
        .layer(&changes)
        .layer_as(&plain, Compression::None)
        .env("FROM=registry")
}

/// Pushes the image; returns the registry and what it is called there.
fn pushed(fixture: &Fixture, format: Format) -> (Registry, String) {
    let registry = Registry::plain();
    let mut layout = fixture.layout("pushed");
    layout.add(&image(), Some("latest"));
    registry.push_layout(layout.path(), "latest", "test/box", "v1", format);
    let host = registry.host();
    (registry, host)
}

fn create(fixture: &Fixture, host: &str, reference: &str, id: &str) -> String {
    let url = format!("docker://{host}/test/box{reference}");
    fixture.grootfs.ok(&["create", "--insecure-registry", host, &url, id])
}

fn from_push_to_delete(fixture: &Fixture) {
    let (registry, host) = pushed(fixture, Format::Kept);
    let before = fixture.listing();
    let line = create(fixture, &host, ":v1", "box");
    let mut expected = image().chain_ids();
    expected.sort();
    assert_eq!(fixture.names("volumes"), expected);
    let script = "cat /srv/link; echo $FROM; ls /etc; stat -c %a /etc/shadow; echo x > /root/new";
    let output = run_in(&line, &["/bin/sh", "-ec", script]).success();
    assert_eq!(output, "hello\nregistry\ngreeting\npasswd\nshadow\n600\n");
    // The same as from the layout that was pushed, which is compared with umoci elsewhere.
    let local =
        fixture.create(&format!("oci://{}", fixture.scratch("pushed").display()), "local").tree();
    let again = Spec::new(create(fixture, &host, ":v1", "again"));
    local.assert_same(&again.tree());
    for id in ["box", "local", "again"] {
        fixture.grootfs.ok(&["delete", id]);
    }
    fixture.grootfs.ok(&["clean"]);
    before.assert_same(&fixture.listing());
    assert!(fixture.mounts().is_empty());
    drop(registry);
}

fn by_tag_and_digest(fixture: &Fixture) {
    let (registry, host) = pushed(fixture, Format::DockerSchema2);
    create(fixture, &host, ":v1", "tag");
    assert_eq!(fixture.names("volumes").len(), 3);
    let mut layout = fixture.layout("digest");
    let written = layout.add(&image(), Some("latest"));
    registry.push_layout(layout.path(), "latest", "test/box", "latest", Format::Kept);
    create(fixture, &host, &format!("@{}", written.digest), "digest");
    create(fixture, &host, "", "latest");
    assert_eq!(fixture.names("volumes").len(), 3);
}

fn what_is_not_there(fixture: &Fixture) {
    let (registry, host) = pushed(fixture, Format::Kept);
    let fails = |reference: &str| {
        let url = format!("docker://{host}/{reference}");
        fixture.fails_cleanly(&["create", "--insecure-registry", &host, &url, "x"])
    };
    assert_contains(&fails("test/box:other"), "manifest unknown");
    assert_contains(&fails("test/none"), "manifest unknown");
    let wrong = format!("test/box@sha256:{}", "0".repeat(64));
    assert_contains(&fails(&wrong), "manifest unknown");
    // Not listed as insecure: TLS is spoken to a server that has none.
    let url = format!("docker://{host}/test/box:v1");
    let text = fixture.fails_cleanly(&["create", &url, "x"]);
    assert_contains(&text, "--insecure-registry");
    drop(registry);
    assert_contains(&fails("test/box:v1"), &host);
}
