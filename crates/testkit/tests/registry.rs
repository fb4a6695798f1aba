//! The registry in each of its set-ups: it starts, takes images, and is gone afterwards.

#![expect(clippy::unwrap_used, reason = "a panic here is the test's failure")]

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::bare_registry::BareRegistry;
use testkit::certificates::{Certificates, Flaw};
use testkit::command::{Output, run};
use testkit::daemon::require_program;
use testkit::fault_proxy::FaultProxy;
use testkit::http::message::Headers;
use testkit::http::upstream::exchange;
use testkit::image::{Compression, Hash, Image, OciLayout};
use testkit::layer::Layer;
use testkit::push::Format;
use testkit::registry::Registry;
use testkit::token_server::TokenServer;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const UNSIGNED: &str = "application/vnd.docker.distribution.manifest.v1+json";
const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Two layers and a reference `app`.
fn layout(directory: &Path) -> OciLayout {
    let mut layout = OciLayout::new(directory.join("layout"));
    layout.add(&image(), Some("app"));
    layout
}

fn image() -> Image {
    Image::new().layer(&Layer::new().file("one", "1")).layer(&Layer::new().file("two", "2"))
}

fn get(host: &str, target: &str, accept: &str) -> (u16, Headers, Vec<u8>) {
    exchange(host, "GET", target, &Headers::from([("Accept", accept)]), b"").unwrap()
}

/// curl, which says the status on its standard output and nothing else.
fn curl(arguments: &[&str]) -> Output {
    require_program("curl", "curl");
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--output", "/dev/null"]);
    command.args(["--max-time", "20", "--write-out", "%{http_code}"]).args(arguments);
    run(&mut command)
}

#[test]
fn plain_registry_describes_an_image_in_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let registry = Registry::plain();
    for (tag, format, media_type) in [
        ("kept", Format::Kept, OCI),
        ("oci", Format::Oci, OCI),
        ("docker", Format::DockerSchema2, DOCKER),
    ] {
        registry.push_layout(layout.path(), "app", "library/app", tag, format);
        let target = format!("/v2/library/app/manifests/{tag}");
        let (status, headers, _) = get(&registry.host(), &target, media_type);
        assert_eq!((status, headers.get("content-type")), (200, Some(media_type)), "{tag}");
    }
}

#[test]
fn index_keeps_all_its_platforms() {
    let directory = tempfile::tempdir().unwrap();
    let mut layout = OciLayout::new(directory.path().join("layout"));
    let (here, there) = (image(), image().architecture("s390x"));
    layout.add_index(&[&here, &there], Some("both"));
    let registry = Registry::plain();
    registry.push_layout(layout.path(), "both", "app", "both", Format::Kept);
    let (_, headers, index) = get(&registry.host(), "/v2/app/manifests/both", OCI_INDEX);
    assert_eq!(headers.get("content-type"), Some(OCI_INDEX));
    let index: Value = serde_json::from_slice(&index).unwrap();
    for manifest in index["manifests"].as_array().unwrap() {
        let target = format!("/v2/app/manifests/{}", manifest["digest"].as_str().unwrap());
        assert_eq!(get(&registry.host(), &target, OCI).0, 200);
    }
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
}

/// An image with a history, which schema 1 needs, made by umoci.
fn layout_with_history(directory: &Path) -> PathBuf {
    require_program("umoci", "umoci");
    let layout = directory.join("history");
    let (file, image) = (directory.join("file"), format!("{}:app", layout.display()));
    std::fs::write(&file, "text").unwrap();
    let (layout_text, file) = (layout.to_str().unwrap(), file.to_str().unwrap());
    for arguments in [
        &["init", "--layout", layout_text][..],
        &["new", "--image", &image],
        &["insert", "--rootless", "--image", &image, file, "/file"],
    ] {
        run(Command::new("umoci").args(arguments)).success();
    }
    layout
}

#[test]
fn registry_takes_signed_schema1_only() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout_with_history(directory.path());
    let registry = Registry::plain();
    registry.push_layout(&layout, "app", "app", "old", Format::DockerSchema1);
    let (status, headers, manifest) = get(&registry.host(), "/v2/app/manifests/old", SCHEMA1);
    assert_eq!((status, headers.get("content-type")), (200, Some(SCHEMA1)));
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["schemaVersion"], 1);

    assert!(manifest.as_object_mut().unwrap().remove("signatures").is_some());
    let unsigned = manifest.to_string();
    let refused = registry.put_manifest("app", "older", UNSIGNED, unsigned.as_bytes()).unwrap();
    assert_eq!(refused.0, 400);
    let bare = BareRegistry::start();
    bare.add_manifest("older", UNSIGNED, None, unsigned.as_bytes());
    let (status, headers, bytes) = get(&bare.host(), "/v2/app/manifests/older", UNSIGNED);
    assert_eq!((status, headers.get("content-type")), (200, Some(UNSIGNED)));
    assert_eq!((bytes, headers.get("docker-content-digest")), (unsigned.into_bytes(), None));
}

#[test]
fn registry_takes_zstd_layers_and_sha512_by_tag() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::plain();
    let mut layout = OciLayout::new(directory.path().join("layout"));
    let layer = Layer::new().file("one", "1");
    layout.add(&Image::new().layer_as(&layer, Compression::Zstd), Some("zstd"));
    registry.push_layout(layout.path(), "zstd", "app", "zstd", Format::Kept);

    let long = layout.add(&Image::new().layer(&layer).hash(Hash::Sha512), Some("long"));
    for file in std::fs::read_dir(layout.path().join("blobs/sha512")).unwrap() {
        let file = file.unwrap();
        let digest = format!("sha512:{}", file.file_name().to_str().unwrap());
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(registry.put_blob("app", &digest, &bytes).unwrap(), 201);
    }
    let manifest = std::fs::read(layout.blob(&long.digest)).unwrap();
    let put = |reference: &str| registry.put_manifest("app", reference, OCI, &manifest).unwrap().0;
    assert_eq!((put("long"), put(&long.digest)), (201, 400));
    // By its digest it can be read all the same: as the blob that it is too.
    let target = format!("/v2/app/manifests/{}", long.digest);
    assert_eq!(get(&registry.host(), &target, OCI).2, manifest);
    let blob = get(&registry.host(), &format!("/v2/app/blobs/{}", long.layers[0]), "*/*").2;
    assert_eq!(Hash::Sha512.digest(&blob), long.layers[0]);
}

#[test]
fn bare_registry_serves_a_layout_whole_and_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let mut layout = OciLayout::new(directory.path().join("layout"));
    let written = layout.add_index(&[&image(), &image().hash(Hash::Sha512)], Some("both"));
    let bare = BareRegistry::start();
    bare.add_layout(layout.path(), "both", "1");
    assert_eq!(get(&bare.host(), "/v2/", "*/*").0, 200);
    assert_eq!(
        get(&bare.host(), "/v2/app/manifests/1", "*/*").1.get("content-type"),
        Some(OCI_INDEX)
    );
    for one in &written {
        let manifest = get(&bare.host(), &format!("/v2/app/manifests/{}", one.digest), OCI);
        assert_eq!(manifest.1.get("docker-content-digest"), Some(one.digest.as_str()));
        let target = format!("/v2/app/blobs/{}", one.layers[0]);
        let whole = get(&bare.host(), &target, "*/*").2;
        let range = Headers::from([("Range", "bytes=3-6")]);
        let (status, headers, part) = exchange(&bare.host(), "GET", &target, &range, b"").unwrap();
        assert_eq!((status, part.as_slice()), (206, &whole[3..7]));
        let wanted = format!("bytes 3-6/{}", whole.len());
        assert_eq!(headers.get("content-range"), Some(wanted.as_str()));
    }
    assert_eq!(get(&bare.host(), "/v2/app/manifests/none", "*/*").0, 404);
}

#[test]
fn tls_registry_shows_a_certificate_that_only_its_authority_vouches_for() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let certificates = Certificates::generate();
    let registry = Registry::setup().tls(&certificates).start();
    registry.push_layout(layout.path(), "app", "app", "1", Format::Kept);
    let ca = certificates.ca();
    let url = format!("{}/v2/app/manifests/1", registry.url());
    let accept = format!("Accept: {OCI}");
    let known = curl(&["--header", &accept, "--cacert", ca.to_str().unwrap(), &url]);
    assert_eq!(known.success(), "200");
    assert_eq!(curl(&["--header", &accept, &url]).code, Some(60), "curl: certificate problem");
}

#[test]
fn tls_registry_wants_a_client_certificate_when_told() {
    let certificates = Certificates::generate();
    let registry = Registry::setup().tls_with_client(&certificates).start();
    let url = format!("{}/v2/", registry.url());
    let ca = certificates.ca();
    let (key, certificate) = (certificates.client_key(), certificates.client_certificate());
    let ca = ["--cacert", ca.to_str().unwrap()];
    let pair = ["--key", key.to_str().unwrap(), "--cert", certificate.to_str().unwrap()];
    assert_eq!(curl(&[&ca[..], &pair[..], &[&url]].concat()).success(), "200");
    assert_ne!(curl(&[&ca[..], &[&url]].concat()).code, Some(0));
}

#[test]
fn flawed_certificates_are_refused() {
    for flaw in [Flaw::Expired, Flaw::OtherHost] {
        let certificates = Certificates::flawed(flaw);
        let registry = Registry::setup().tls(&certificates).start();
        let url = format!("{}/v2/", registry.url());
        let ca = certificates.ca();
        let refused = curl(&["--cacert", ca.to_str().unwrap(), &url]);
        assert_eq!(refused.code, Some(60), "curl: certificate problem: {flaw:?}");
        assert_eq!(curl(&["--insecure", &url]).success(), "200", "{flaw:?}");
    }
}

#[test]
fn basic_login_lets_in_who_has_the_password() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let certificates = Certificates::generate();
    let registry = Registry::setup().tls(&certificates).basic_login("me", "s3cret").start();
    registry.push_layout(layout.path(), "app", "app", "1", Format::Kept);
    let ca = certificates.ca();
    let ca = ca.to_str().unwrap();
    let url = format!("{}/v2/", registry.url());
    assert_eq!(curl(&["--cacert", ca, "--user", "me:s3cret", &url]).success(), "200");
    assert_eq!(curl(&["--cacert", ca, "--user", "me:wrong", &url]).success(), "401");
    assert_eq!(curl(&["--cacert", ca, &url]).success(), "401");
}

/// Asks the token server as a client does.
fn token(server: &TokenServer, scope: &str, credentials: &str) -> Value {
    let url = format!("{}?service=grootfs+test+registry&scope={scope}", server.realm());
    require_program("curl", "curl");
    let mut command = Command::new("curl");
    command.args(["--silent", "--insecure", "--user", credentials, &url]);
    serde_json::from_str(&run(&mut command).success()).unwrap()
}

fn with_token(registry: &Registry, target: &str, token: &Value) -> u16 {
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let headers = Headers::from([("Authorization", bearer.as_str()), ("Accept", OCI)]);
    exchange(&registry.host(), "GET", target, &headers, b"").unwrap().0
}

#[test]
fn registry_verifies_tokens_and_their_scope_and_age() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let server = TokenServer::start();
    let registry = Registry::setup().token_login(&server).start();
    registry.push_layout(layout.path(), "app", "app", "1", Format::Kept);
    assert!(server.requests().iter().all(|one| one.status == 200 && one.user.is_some()));
    let target = "/v2/app/manifests/1";
    assert_eq!(get(&registry.host(), target, OCI).0, 401);

    let good = token(&server, "repository:app:pull", &server.credentials());
    assert_eq!(good["expires_in"], 300);
    assert_eq!(with_token(&registry, target, &good), 200);
    let other = token(&server, "repository:other:pull", &server.credentials());
    assert_eq!(with_token(&registry, target, &other), 401);

    server.say_expires_in(None);
    server.name_token(&["token"]);
    server.valid_for(Duration::ZERO);
    let old = token(&server, "repository:app:pull", &server.credentials());
    assert_eq!((old.get("expires_in"), old.get("access_token")), (None, None));
    assert_eq!(with_token(&registry, target, &old), 401);
}

#[test]
fn token_server_turns_away_strangers_and_fails_when_told() {
    let certificates = Certificates::generate();
    let setup = TokenServer::setup().tls(&certificates).user("me", "s3cret");
    let server = setup.anonymous_pull().start();
    let ca = certificates.ca();
    let ca = ca.to_str().unwrap();
    let url = format!("{}?service=grootfs%20test%20registry", server.realm());
    assert_eq!(curl(&["--cacert", ca, "--user", "me:wrong", &url]).success(), "401");
    assert_eq!(curl(&["--cacert", ca, "--user", "me:s3cret", &url]).success(), "200");
    assert_eq!(curl(&["--cacert", ca, &url]).success(), "200");
    server.fail(500, 1);
    assert_eq!(curl(&["--cacert", ca, &url]).success(), "500");
    assert_eq!(curl(&["--cacert", ca, &url]).success(), "200");
    let users: Vec<_> = server.requests().into_iter().map(|one| (one.user, one.status)).collect();
    let me = || Some("me".to_owned());
    let wanted = [(me(), 401), (me(), 200), (None, 200), (None, 500), (None, 200)];
    assert_eq!(users, wanted);
}

#[test]
fn push_to_a_registry_with_tls_and_tokens_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let certificates = Certificates::generate();
    let server = TokenServer::setup().tls(&certificates).start();
    let registry = Registry::setup().tls(&certificates).token_login(&server).start();
    registry.push_layout(layout.path(), "app", "app", "1", Format::Kept);
    assert!(!server.requests().is_empty());
}

#[test]
fn mirror_keeps_what_it_passed_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut layout = OciLayout::new(directory.path().join("layout"));
    let written = layout.add(&image(), Some("app"));
    let origin = Registry::plain();
    origin.push_layout(layout.path(), "app", "app", "1", Format::Kept);
    let watch = FaultProxy::start(&origin.host());
    let mirror = Registry::setup().mirror_of(&watch.url()).start();
    let target = format!("/v2/app/blobs/{}", written.layers[0]);
    let asked = || watch.log().iter().filter(|one| one.target == target).count();
    // It keeps a blob some time after it has passed it on: at first it may ask again.
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let before = asked();
        let (status, _, bytes) = get(&mirror.host(), &target, "*/*");
        assert!(Instant::now() < end, "the mirror keeps nothing: {}", mirror.log());
        // It may see its own half-written link then.
        if status == 500 {
            continue;
        }
        assert_eq!((status, Hash::Sha256.digest(&bytes)), (200, written.layers[0].clone()));
        if asked() == before {
            break;
        }
    }
    assert!(asked() > 0);
}

#[test]
fn mirror_of_a_registry_with_tls_and_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let certificates = Certificates::generate();
    let server = TokenServer::setup().tls(&certificates).start();
    let origin = Registry::setup().tls(&certificates).token_login(&server).start();
    origin.push_layout(layout.path(), "app", "app", "1", Format::Kept);
    let mirror = Registry::setup().mirror_of_registry(&origin, Some(&certificates)).start();
    assert_eq!(get(&mirror.host(), "/v2/app/manifests/1", OCI).0, 200, "{}", mirror.log());
}

#[test]
fn blobs_can_be_damaged_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let mut layout = OciLayout::new(directory.path().join("layout"));
    let written = layout.add(&image(), Some("app"));
    let registry = Registry::plain();
    registry.push_layout(layout.path(), "app", "app", "1", Format::Kept);
    let target = format!("/v2/app/blobs/{}", written.layers[0]);
    std::fs::write(registry.blob_file(&written.layers[0]), "damaged").unwrap();
    assert_eq!(get(&registry.host(), &target, "*/*").2, b"damaged");
    let none = Headers::default();
    assert_eq!(exchange(&registry.host(), "DELETE", &target, &none, b"").unwrap().0, 202);
    assert_eq!(get(&registry.host(), &target, "*/*").0, 404);
}

#[test]
fn dropped_registry_answers_no_more_and_leaves_nothing() {
    let registry = Registry::plain();
    let host = registry.host();
    let digest = format!("sha256:{}", "0".repeat(64));
    let storage = registry.blob_file(&digest);
    let directory = storage.ancestors().find(|path| path.join("config.yml").is_file()).unwrap();
    TcpStream::connect(&host).unwrap();
    drop(registry);
    assert!(TcpStream::connect(&host).is_err());
    assert!(!directory.exists());
}
