//! Certificates: whose are believed, which are shown, and what is said when they are not enough.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::certificates::{Certificates, Flaw};
use testkit::fault_proxy::FaultProxy;
use testkit::image::preloaded::{Preloaded, write_blob};
use testkit::image::{Compression, Hash, write_tar};
use testkit::layer::Layer;
use testkit::registry::Registry;
use testkit::tree::Tree;

use crate::fixture::{Driver, Fixture, Spec, assert_contains};
use crate::rig::{Rig, push, small};

const UNKNOWN: &str = "This registry is insecure. To pull images from this registry, please use the \
                       --insecure-registry option.";

/// A directory in Docker's layout that knows one server, and the configuration that names it.
fn known(fixture: &Fixture, name: &str, host: &str, files: &[PathBuf]) -> String {
    let directory = fixture.scratch(name);
    fs::create_dir_all(directory.join(host)).unwrap();
    for file in files {
        fs::copy(file, directory.join(host).join(file.file_name().unwrap())).unwrap();
    }
    format!("pull: {{certificate_directories: [{}]}}", directory.display())
}

#[test]
fn privileged_authorities() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let certificates = Certificates::generate();
    let registry = Registry::setup().tls(&certificates).start();
    push(&fixture, &registry, "app", &small(1));
    let host = registry.host();
    let argument = format!("docker://{host}/app");
    let text = Rig::new(&fixture, "unknown").fails(&[&argument]);
    assert_contains(&text, UNKNOWN);
    assert_contains(&text, "x509: certificate signed by unknown authority");
    assert_contains(&text, &format!("/etc/docker/certs.d/{host}/ca.crt"));
    // Another registry's authority is none of this one's.
    let config = known(&fixture, "other", "127.0.0.1:1", &[certificates.ca()]);
    assert_contains(&Rig::with_config(&fixture, "other", &config).fails(&[&argument]), UNKNOWN);
    let config = known(&fixture, "known", &host, &[certificates.ca()]);
    Rig::with_config(&fixture, "known", &config).pulls(&[&argument]);
    Rig::new(&fixture, "insecure").insecure(&host).pulls(&[&argument]);
    // Only for exactly that server.
    let text = Rig::new(&fixture, "exactly").insecure("127.0.0.1").fails(&[&argument]);
    assert_contains(&text, UNKNOWN);
    let system = Rig::new(&fixture, "system");
    let ca = certificates.ca();
    system.env("SSL_CERT_FILE", ca.to_str().unwrap()).pulls(&[&argument]);
}

#[test]
fn privileged_certificates_of_ours() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let certificates = Certificates::generate();
    let plain = Registry::plain();
    push(&fixture, &plain, "app", &small(1));
    let front = FaultProxy::setup().tls_with_client(&certificates).start(&plain.host());
    let host = front.host();
    let argument = format!("docker://{host}/app");
    let config = known(&fixture, "ca-only", &host, &[certificates.ca()]);
    let text = Rig::with_config(&fixture, "without", &config).fails(&[&argument]);
    assert_contains(&text, &host);
    assert!(front.log().is_empty());
    let pair = [certificates.ca(), certificates.client_certificate(), certificates.client_key()];
    let config = known(&fixture, "pair", &host, &pair);
    Rig::with_config(&fixture, "with", &config).pulls(&[&argument]);
    let config = known(&fixture, "half", &host, &pair[..2]);
    let text = Rig::with_config(&fixture, "half-a-pair", &config).fails(&[&argument]);
    assert_contains(&text, "client.cert: there is no `.key` file of the same name beside it");
}

#[test]
fn privileged_certificates_that_are_not_valid() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    for (flaw, parts) in [
        (Flaw::Expired, ["certificate", "expired"]),
        (Flaw::OtherHost, ["certificate", "not valid for"]),
    ] {
        let certificates = Certificates::flawed(flaw);
        let registry = Registry::setup().tls(&certificates).start();
        assert!(registry.url().starts_with("https://"));
        let host = registry.host();
        let name = format!("{flaw:?}");
        let config = known(&fixture, &format!("certs-{name}"), &host, &[certificates.ca()]);
        let rig = Rig::with_config(&fixture, &name, &config);
        let argument = format!("docker://{host}/none");
        let text = rig.fails(&[&argument]);
        parts.iter().for_each(|part| assert_contains(&text, part));
        // The registry is empty, but now it is asked.
        assert_contains(&rig.insecure(&host).fails(&[&argument]), "manifest unknown");
    }
}

#[test]
fn privileged_servers_without_tls() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = Registry::plain();
    push(&fixture, &registry, "app", &small(1));
    let host = registry.host();
    let text = Rig::new(&fixture, "without").fails(&[&format!("docker://{host}/app")]);
    assert_contains(&text, "a server without TLS?");
    assert_contains(&text, &format!("--insecure-registry {host}"));
    let config = format!("create: {{insecure_registries: ['{host}']}}");
    Rig::with_config(&fixture, "listed", &config).pulls(&[&format!("docker://{host}/app")]);
    // The address that is not there is named, and nothing is left.
    drop(registry);
    let text = Rig::new(&fixture, "gone").insecure(&host).fails(&[&format!("docker://{host}/app")]);
    assert_contains(&text, &format!("http://{host}/v2/app/manifests/latest"));
    assert_contains(&text, "refused");
}

fn preloaded_and_layer(driver: Driver) {
    let fixture = Fixture::without_store(driver);
    let stack = fixture.scratch("stack.tar");
    let base = Layer::new().directory("etc").file("etc/os", "stack").directory("home/vcap");
    write_tar(&stack, &base, Compression::None);
    let layer = Compression::Gzip.compress(&Layer::new().file("droplet", "runs").tar());
    let certificates = Certificates::generate();
    let blobs = plain(&layer);
    let front = FaultProxy::setup().tls_with_client(&certificates).start(&blobs.host());
    let url = format!("{}/v2/app/blobs/{}?sig=s3cret", front.url(), Hash::Sha256.digest(&layer));
    let base_directory = "/home/vcap";
    let image = Preloaded { stack: &stack, url: &url, layer: &layer, base_directory };
    let image = image.write(&fixture.scratch("generated"));
    let with = |certificates: &Path| {
        format!(
            "create: {{skip_layer_validation: true, without_mount: false, \
             remote_layer_client_certificates_path: {}}}",
            certificates.display()
        )
    };
    let rig = Rig::with_config(&fixture, "nobody", "create: {skip_layer_validation: true}");
    let text = rig.fails_later(&[&image]);
    assert_contains(&text, "x509: certificate signed by unknown authority");
    assert!(!text.contains("s3cret"), "{text}");
    let rig = Rig::with_config(&fixture, "garden", &with(&certificates.client_directory()));
    let line = testkit::command::run(&mut rig.command("create", &[&image, "handle"]));
    let spec = Spec::new(line.success());
    let read = |path: &str| fs::read_to_string(spec.rootfs().join(path)).unwrap();
    assert_eq!((read("etc/os"), read("home/vcap/droplet")), ("stack".into(), "runs".into()));
    assert_eq!(front.log().len(), 1);
    let again = testkit::command::run(&mut rig.command("create", &[&image, "second"]));
    spec.tree().assert_same(&Tree::read(&Spec::new(again.success()).rootfs()).map(
        |path, entry| {
            if path.as_os_str() == "." {
                entry.mtime = 0;
            }
        },
    ));
    assert_eq!(front.log().len(), 1, "the second one finds everything in the store");
    assert!(!front.log().iter().any(testkit::fault_proxy::Exchange::authorized));
    // What nobody checks must be asked for.
    let text = Rig::new(&fixture, "validated").fails(&[&image]);
    assert_contains(&text, "size mismatch");
}

/// A server that has the layer as a blob.
fn plain(layer: &[u8]) -> testkit::bare_registry::BareRegistry {
    let bare = testkit::bare_registry::BareRegistry::start();
    bare.add_blob(&Hash::Sha256.digest(layer), layer);
    bare
}

#[test]
fn privileged_preloaded_and_layer_btrfs() {
    preloaded_and_layer(Driver::Btrfs);
}

#[test]
fn privileged_preloaded_and_layer_overlay_xfs() {
    preloaded_and_layer(Driver::OverlayXfs);
}

/// Remote layers that are checked: the first URL that works counts, the error tells about all.
#[test]
fn privileged_remote_layers_are_looked_for_at_every_url() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let image = small(2);
    let mut layout = fixture.layout("remote");
    let written = layout.add(&image, None);
    let digest = &written.layers[1];
    let bare = plain(&fs::read(layout.blob(digest)).unwrap());
    fs::remove_file(layout.blob(digest)).unwrap();
    let gone = format!("{}/v2/app/blobs/{}", bare.url(), Hash::Sha256.digest(b"gone"));
    let there = format!("{}/v2/app/blobs/{digest}", bare.url());
    let argument = format!("oci://{}", layout.path().display());
    let with = |urls: &[&str]| {
        let path = layout.blob(&written.digest);
        let mut manifest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        manifest["layers"][1]["urls"] = json!(urls);
        let digest = write_blob(layout.path(), &manifest);
        let descriptor = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": manifest.to_string().len(),
        });
        let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
        fs::write(layout.path().join("index.json"), index.to_string()).unwrap();
    };
    let rig = Rig::new(&fixture, "remote-store");
    with(&[&gone, "http://127.0.0.1:1/x"]);
    let text = rig.fails_later(&[&argument]);
    assert_contains(&text, &format!("fetching {gone} failed, response code not 200: 404"));
    assert_contains(&text, "http://127.0.0.1:1/x");
    assert_contains(&text, "failed fetching external blob from all urls");
    with(&[&gone, &there]);
    rig.pulls(&[&argument]);
    rig.assert_holds(&image);
}
