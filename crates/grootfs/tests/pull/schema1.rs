//! Manifests of schema 1, as registries of 2015 hand them out: signed, and not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::bare_registry::BareRegistry;
use testkit::command::run;
use testkit::daemon::require_program;
use testkit::fault_proxy::FaultProxy;
use testkit::http::message::Headers;
use testkit::http::upstream::exchange;
use testkit::push::Format;
use testkit::registry::Registry;
use testkit::tree::Tree;

use crate::fixture::{Driver, Fixture, Spec, assert_contains};
use crate::rig::{Rig, noise};

const UNSIGNED: &str = "application/vnd.docker.distribution.manifest.v1+json";
const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// An image with a history, which schema 1 needs, made by umoci.
fn layout_with_history(directory: &Path) -> PathBuf {
    require_program("umoci", "umoci");
    let layout = directory.join("history");
    let image = format!("{}:app", layout.display());
    let text = layout.to_str().unwrap();
    run(Command::new("umoci").args(["init", "--layout", text])).success();
    run(Command::new("umoci").args(["new", "--image", &image])).success();
    for number in 0..3 {
        let file = directory.join(format!("file-{number}"));
        fs::write(&file, noise(3000, number)).unwrap();
        let target = format!("/file-{number}");
        let insert = ["insert", "--rootless", "--image", &image, file.to_str().unwrap(), &target];
        run(Command::new("umoci").args(insert)).success();
    }
    layout
}

/// A registry with the image as `old`, in schema 1, and as `new`; the signed manifest with its digest.
fn pushed(fixture: &Fixture) -> (Registry, Vec<u8>, String) {
    fs::create_dir_all(fixture.scratch("made")).unwrap();
    let layout = layout_with_history(&fixture.scratch("made"));
    let registry = Registry::plain();
    for (tag, format) in [("old", Format::DockerSchema1), ("new", Format::Kept)] {
        registry.push_layout(&layout, "app", "app", tag, format);
    }
    let accept = Headers::from([("Accept", SCHEMA1)]);
    let target = "/v2/app/manifests/old";
    let (_, headers, signed) = exchange(&registry.host(), "GET", target, &accept, b"").unwrap();
    assert_eq!(headers.get("content-type"), Some(SCHEMA1));
    let digest = headers.get("docker-content-digest").unwrap().to_owned();
    (registry, signed, digest)
}

/// Makes a root; its tree, without the time of its top.
fn create(rig: &Rig, argument: &str, id: &str) -> Tree {
    Spec::new(run(&mut rig.command("create", &[argument, id])).success()).tree()
}

fn signed(driver: Driver) {
    let fixture = Fixture::without_store(driver);
    let (registry, _, digest) = pushed(&fixture);
    let proxy = FaultProxy::start(&registry.host());
    let host = proxy.host();
    let new = Rig::new(&fixture, "new").insecure(&host);
    let new = create(&new, &format!("docker://{host}/app:new"), "x");
    assert_eq!(new.paths().len(), 4);
    proxy.clear_log();
    let bodies = || proxy.log().iter().filter(|one| one.target.contains("/blobs/")).count();
    let rig = Rig::new(&fixture, "signed").insecure(&host);
    new.assert_same(&create(&rig, &format!("docker://{host}/app:old"), "tag"));
    assert_eq!(bodies(), 3, "each layer once: {:#?}", proxy.log());
    assert_eq!(rig.names("volumes").len(), 3);
    new.assert_same(&create(&rig, &format!("docker://{host}/app:old"), "again"));
    new.assert_same(&create(&rig, &format!("docker://{host}/app@{digest}"), "digest"));
    assert_eq!(bodies(), 3, "{:#?}", proxy.log());
    // The same image in the words of today has the same layers.
    new.assert_same(&create(&rig, &format!("docker://{host}/app:new"), "new"));
    assert_eq!(bodies(), 4, "the configuration: {:#?}", proxy.log());
    assert_eq!(rig.names("volumes").len(), 3);
}

fn unsigned(driver: Driver) {
    let fixture = Fixture::without_store(driver);
    let (registry, signed, digest) = pushed(&fixture);
    let with_signature = Rig::new(&fixture, "signed").insecure(&registry.host());
    let expected = create(&with_signature, &format!("docker://{}/app:old", registry.host()), "x");
    // docker-registry takes no manifest without a signature.
    let mut manifest: Value = serde_json::from_slice(&signed).unwrap();
    manifest.as_object_mut().unwrap().remove("signatures").unwrap();
    let bare = BareRegistry::start();
    bare.add_manifest("unsigned", UNSIGNED, None, manifest.to_string().as_bytes());
    // A signature that is about something else than what stands there.
    let signed = String::from_utf8(signed).unwrap();
    let changed = signed.replacen("old", "bad", 1);
    assert_ne!(changed, signed);
    bare.add_manifest("changed", SCHEMA1, Some(&digest), changed.as_bytes());
    for layer in manifest["fsLayers"].as_array().unwrap() {
        let digest = layer["blobSum"].as_str().unwrap();
        bare.add_blob(digest, &fs::read(registry.blob_file(digest)).unwrap());
    }
    let rig = Rig::new(&fixture, "unsigned").insecure(&bare.host());
    let argument = format!("docker://{}/app:unsigned", bare.host());
    expected.assert_same(&create(&rig, &argument, "x"));
    let text = rig.fails(&[&format!("docker://{}/app:changed", bare.host())]);
    assert_contains(&text, "digest mismatch");
}

#[test]
fn privileged_signed_btrfs() {
    signed(Driver::Btrfs);
}

#[test]
fn privileged_signed_overlay_xfs() {
    signed(Driver::OverlayXfs);
}

#[test]
fn privileged_unsigned_btrfs() {
    unsigned(Driver::Btrfs);
}

#[test]
fn privileged_unsigned_overlay_xfs() {
    unsigned(Driver::OverlayXfs);
}
