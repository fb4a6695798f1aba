//! A volume remembers of which blobs it was made: nobody names his way to somebody else's layer.

use std::fs;

use serde_json::{Value, json};
use testkit::bare_registry::BareRegistry;
use testkit::command::run;
use testkit::fault_proxy::FaultProxy;
use testkit::image::{Compression, Hash};
use testkit::layer::Layer;

use crate::fixture::{Driver, Fixture, Spec, assert_contains};
use crate::rig::Rig;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// Serves an image of one layer: a blob, and the diff id that the configuration claims for it.
fn serve(bare: &BareRegistry, tag: &str, kind: &str, blob: &[u8], diff_id: &str) {
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Env": [format!("TAG={tag}")]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = config.to_string().into_bytes();
    let (config_digest, digest) = (Hash::Sha256.digest(&config), Hash::Sha256.digest(blob));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest, "size": config.len(),
        },
        "layers": [{
            "mediaType": format!("application/vnd.oci.image.layer.v1.tar{kind}"),
            "digest": digest, "size": blob.len(),
        }],
    });
    bare.add_blob(&config_digest, &config);
    bare.add_blob(&digest, blob);
    bare.add_manifest(tag, OCI, None, manifest.to_string().as_bytes());
}

fn records(driver: Driver) {
    let fixture = Fixture::without_store(driver);
    let bare = BareRegistry::start();
    let secret = Layer::new().file("secret", "nobody else's").tar();
    let diff_id = Hash::Sha256.digest(&secret);
    let own = Layer::new().file("own", "the attacker's").tar();
    let (gzip, zstd) = (Compression::Gzip.compress(&secret), Compression::Zstd.compress(&secret));
    serve(&bare, "private", "+gzip", &gzip, &diff_id);
    serve(&bare, "evil", "", &own, &diff_id);
    serve(&bare, "shared", "+gzip", &gzip, &diff_id);
    serve(&bare, "zstd", "+zstd", &zstd, &diff_id);
    let blob = |bytes: &[u8]| format!("/blobs/{}", Hash::Sha256.digest(bytes));
    let proxy = FaultProxy::start(&bare.host());
    let rig = Rig::new(&fixture, "records").insecure(&proxy.host());
    let argument = |tag: &str| format!("docker://{}/app:{tag}", proxy.host());
    let sent = |bytes: &[u8]| proxy.body_bytes(&blob(bytes));

    rig.pulls(&[&argument("private")]);
    let text = rig.fails(&[&argument("evil")]);
    assert_contains(&text, "diffID digest mismatch");
    assert_eq!(sent(&own), own.len() as u64, "it was fetched to be looked at");
    let refused = run(&mut rig.command("create", &[&argument("evil"), "evil"]));
    assert_contains(&refused.failure(), "diffID digest mismatch");
    assert!(rig.names("images").is_empty());
    rig.pulls(&[&argument("shared")]);
    assert_eq!(sent(&gzip), gzip.len() as u64, "once, for the first of the two");
    // The same tar in another blob: fetched and checked once, then known.
    rig.pulls(&[&argument("zstd")]);
    rig.pulls(&[&argument("zstd")]);
    assert_eq!(sent(&zstd), zstd.len() as u64);
    assert_eq!(rig.names("volumes"), [diff_id.trim_start_matches("sha256:")]);

    // A volume of the original knows nothing of this, and is trusted.
    let meta = rig.grootfs.path("meta").join(format!("volume-{}", rig.names("volumes")[0]));
    let known: Value = serde_json::from_slice(&fs::read(&meta).unwrap()).unwrap();
    assert_eq!(known["Blobs"].as_array().map(Vec::len), Some(2), "{known}");
    fs::write(&meta, json!({"Size": known["Size"]}).to_string()).unwrap();
    let before = sent(&own);
    rig.pulls(&[&argument("evil")]);
    assert_eq!(sent(&own), before);
}

#[test]
fn privileged_claims_of_other_layers_btrfs() {
    records(Driver::Btrfs);
}

#[test]
fn privileged_claims_of_other_layers_overlay_xfs() {
    records(Driver::OverlayXfs);
}

#[test]
fn privileged_create_after_pull_downloads_nothing() {
    let fixture = Fixture::without_store(Driver::OverlayXfs);
    let bare = BareRegistry::start();
    let tar = Layer::new().file("file", "text").tar();
    serve(&bare, "app", "+gzip", &Compression::Gzip.compress(&tar), &Hash::Sha256.digest(&tar));
    let proxy = FaultProxy::start(&bare.host());
    let rig = Rig::new(&fixture, "warm").insecure(&proxy.host());
    let argument = format!("docker://{}/app:app", proxy.host());
    let said = rig.pulls(&[&argument]);
    assert_eq!(said, "Pulled 1 layers of 4 bytes\n");
    assert!(rig.names("images").is_empty() && rig.names("meta/dependencies").is_empty());
    proxy.clear_log();
    let spec = Spec::new(run(&mut rig.command("create", &[&argument, "x"])).success());
    assert_eq!(fs::read_to_string(spec.rootfs().join("file")).unwrap(), "text");
    // Manifest and configuration say what the image is; no layer moves.
    assert_eq!(proxy.log().len(), 2, "{:#?}", proxy.log());
}
