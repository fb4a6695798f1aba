//! Every kind of manifest, digest, compression and archive, and those that are not what they say.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use testkit::bare_registry::BareRegistry;
use testkit::command::run;
use testkit::daemon::require_program;
use testkit::fault_proxy::FaultProxy;
use testkit::image::{Compression, Hash, Image, OciLayout};
use testkit::layer::Layer;
use testkit::push::Format;
use testkit::registry::Registry;

use crate::fixture::{Driver, Fixture, assert_contains};
use crate::rig::{Rig, noise, small};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Puts an image into a registry that does not look: layers as media type, blob, plain tar.
/// Returns digest and length of the manifest.
fn serve(bare: &BareRegistry, tag: &str, layers: &[(&str, &[u8], &[u8])]) -> (String, usize) {
    let diff_ids: Vec<String> = layers.iter().map(|(_, _, tar)| Hash::Sha256.digest(tar)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    let config_digest = Hash::Sha256.digest(&config);
    bare.add_blob(&config_digest, &config);
    let mut described = Vec::new();
    for (media_type, blob, _) in layers {
        let digest = Hash::Sha256.digest(blob);
        bare.add_blob(&digest, blob);
        described.push(json!({"mediaType": media_type, "digest": digest, "size": blob.len()}));
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI, "layers": described,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest, "size": config.len(),
        },
    });
    let bytes = manifest.to_string().into_bytes();
    let digest = Hash::Sha256.digest(&bytes);
    bare.add_manifest(tag, OCI, None, &bytes);
    bare.add_manifest(&digest, OCI, None, &bytes);
    (digest, bytes.len())
}

/// Puts an index into it; entries as platform, media type, digest and length.
fn index(
    bare: &BareRegistry,
    tag: &str,
    kind: &str,
    entries: &[(&str, &str, &(String, usize))],
) -> (String, usize) {
    let manifests: Vec<Value> = entries
        .iter()
        .map(|(platform, media_type, (digest, size))| {
            let (os, architecture) = platform.split_once('/').unwrap();
            json!({
                "mediaType": media_type, "digest": digest, "size": size,
                "platform": {"os": os, "architecture": architecture},
            })
        })
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
    let bytes = index.to_string().into_bytes();
    let digest = Hash::Sha256.digest(&bytes);
    bare.add_manifest(tag, kind, None, &bytes);
    bare.add_manifest(&digest, kind, None, &bytes);
    (digest, bytes.len())
}

fn tar(content: &str) -> Vec<u8> {
    Layer::new().file("who", content).tar()
}

/// Names of volumes: those of images of one layer.
fn volume(tar: &[u8]) -> String {
    Hash::Sha256.digest(tar).trim_start_matches("sha256:").to_owned()
}

#[test]
fn privileged_manifests_by_tag_and_digest() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = Registry::plain();
    let mut layout = OciLayout::new(fixture.scratch("pushed"));
    let image = small(2);
    let written = layout.add(&image, Some("latest"));
    let host = registry.host();
    for (tag, format) in [("oci", Format::Kept), ("docker", Format::DockerSchema2)] {
        registry.push_layout(layout.path(), "latest", "app", tag, format);
        let rig = Rig::new(&fixture, tag).insecure(&host);
        rig.pulls(&[&format!("docker://{host}/app:{tag}")]);
        rig.assert_holds(&image);
    }
    let rig = Rig::new(&fixture, "digest").insecure(&host);
    rig.pulls(&[&format!("docker://{host}/app@{}", written.digest)]);
    rig.assert_holds(&image);
    let ipv6 = FaultProxy::setup().ipv6().start(&host);
    assert!(ipv6.host().starts_with("[::1]:"));
    let rig = Rig::new(&fixture, "ipv6").insecure(&ipv6.host());
    rig.pulls(&[&format!("docker://{}/app:oci", ipv6.host())]);
    rig.assert_holds(&image);
    // A server that gives something else for a digest.
    let bare = BareRegistry::start();
    serve(&bare, "latest", &[(LAYER, &tar("x"), &tar("x"))]);
    let manifest = fs::read(layout.blob(&written.digest)).unwrap();
    let other = Hash::Sha256.digest(b"other");
    bare.add_manifest(&other, OCI, Some(&other), &manifest);
    bare.add_manifest("lying", OCI, Some(&other), &manifest);
    let rig = rig.insecure(&bare.host());
    for name in [format!("@{other}"), ":lying".to_owned()] {
        let text = rig.fails(&[&format!("docker://{}/app{name}", bare.host())]);
        assert_contains(&text, "digest mismatch");
    }
}

#[test]
fn privileged_indexes_by_platform() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let bare = BareRegistry::start();
    let of = |who: &str| serve(&bare, who, &[(LAYER, &tar(who), &tar(who))]);
    let (amd, arm, z) = (of("amd64"), of("arm64"), of("s390x"));
    let entries =
        [("linux/amd64", OCI, &amd), ("linux/arm64", OCI, &arm), ("linux/s390x", OCI, &z)];
    let inner = index(&bare, "index", INDEX, &entries);
    index(&bare, "list", LIST, &entries);
    index(&bare, "nested", INDEX, &[("linux/s390x", INDEX, &inner)]);
    let wrong = (amd.0.clone(), amd.1 + 1);
    index(&bare, "wrong-size", INDEX, &[("linux/s390x", OCI, &wrong)]);
    let mut deep = inner;
    for _ in 0..6 {
        deep = index(&bare, "deep", INDEX, &[("linux/s390x", INDEX, &deep)]);
    }
    let argument = |tag: &str| format!("docker://{}/app:{tag}", bare.host());
    let rig = |name: &str| Rig::new(&fixture, name).insecure(&bare.host());
    for tag in ["index", "list", "nested"] {
        let rig = rig(tag);
        rig.pulls(&["--platform", "linux/s390x", &argument(tag)]);
        assert_eq!(rig.names("volumes"), [volume(&tar("s390x"))]);
    }
    let rig = rig("host");
    rig.pulls(&[&argument("index")]);
    let here = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    assert_eq!(rig.names("volumes"), [volume(&tar(here))]);
    let text = rig.fails(&["--platform", "linux/riscv64", &argument("list")]);
    assert_contains(&text, "no image for platform linux/riscv64");
    assert_contains(&text, "offered: linux/amd64, linux/arm64, linux/s390x");
    let z = ["--platform", "linux/s390x"];
    let fails = |tag: &str| rig.fails(&[&z[..], &[&argument(tag)]].concat());
    assert_contains(&fails("wrong-size"), "size mismatch");
    assert_contains(&fails("deep"), "indexes lie in each other");
    assert_contains(&rig.fails(&["--platform", "linux", &argument("list")]), "invalid platform");
}

#[test]
fn privileged_sha512() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let image = small(2).hash(Hash::Sha512);
    let mut layout = fixture.layout("sha512");
    let written = layout.add(&image, Some("app"));
    let bare = BareRegistry::start();
    bare.add_layout(layout.path(), "app", "1");
    for (name, argument) in [
        ("tag", format!("docker://{}/app:1", bare.host())),
        ("digest", format!("docker://{}/app@{}", bare.host(), written.digest)),
        ("layout", layout.url("app")),
    ] {
        let rig = Rig::new(&fixture, name).insecure(&bare.host());
        rig.pulls(&[&argument]);
        rig.assert_holds(&image);
    }
    let mut bytes = fs::read(layout.blob(&written.layers[0])).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(layout.blob(&written.layers[0]), &bytes).unwrap();
    bare.add_blob(&written.layers[0], &bytes);
    let rig = Rig::new(&fixture, "wrong").insecure(&bare.host());
    for argument in [format!("docker://{}/app:1", bare.host()), layout.url("app")] {
        assert_contains(&rig.fails(&[&argument]), "layerID digest mismatch");
    }
}

#[test]
fn privileged_compressions_and_their_names() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let bare = BareRegistry::start();
    let plain = Layer::new().file("noise", noise(100_000, 7)).tar();
    let (front, back) = plain.split_at(40_001);
    let (gzip, zstd) = (Compression::Gzip, Compression::Zstd);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let members = [gzip.compress(front), gzip.compress(back)].concat();
    let frames =
        [&skippable[..], &zstd.compress(front), &skippable, &zstd.compress(back), &skippable]
            .concat();
    let (gzip, zstd) = (gzip.compress(&plain), zstd.compress(&plain));
    let (as_gzip, as_zstd) = (format!("{LAYER}+gzip"), format!("{LAYER}+zstd"));
    let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    for (name, media_type, blob) in [
        ("plain", LAYER, &plain),
        ("gzip", &as_gzip, &gzip),
        ("members", docker, &members),
        ("zstd", &as_zstd, &zstd),
        ("frames", &as_zstd, &frames),
        ("unnamed", "", &frames),
    ] {
        serve(&bare, name, &[(media_type, blob, &plain)]);
        let rig = Rig::new(&fixture, name).insecure(&bare.host());
        rig.pulls(&[&format!("docker://{}/app:{name}", bare.host())]);
        assert_eq!(rig.names("volumes"), [volume(&plain)], "{name}");
    }
    let rig = Rig::new(&fixture, "lies").insecure(&bare.host());
    for (media_type, blob, found) in [
        (as_gzip.as_str(), &zstd, "zstd"),
        (&as_gzip, &plain, "uncompressed"),
        (&as_zstd, &gzip, "gzip"),
        (LAYER, &gzip, "gzip"),
    ] {
        serve(&bare, "lie", &[(media_type, blob, &plain)]);
        let text = rig.fails(&[&format!("docker://{}/app:lie", bare.host())]);
        assert_contains(&text, &format!("expected blob to be of type {media_type}"));
        assert_contains(&text, &format!("the bytes are {found}"));
    }
    // Whole by its digest, and yet not what it should be.
    for blob in
        [&gzip[..gzip.len() - 5], &zstd[..zstd.len() - 5], &[&gzip[..], b"surplus"].concat()]
    {
        serve(&bare, "broken", &[("", blob, &plain)]);
        let text = rig.fails(&[&format!("docker://{}/app:broken", bare.host())]);
        assert_contains(&text, "reading the layer");
    }
}

fn skopeo(from: &str, to: &str) {
    require_program("skopeo", "skopeo");
    run(Command::new("skopeo").args(["--insecure-policy", "copy", from, to])).success();
}

#[test]
fn privileged_archives() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let (one, two) = (small(2), Image::new().layer(&Layer::new().file("two", "2")));
    let mut layout = fixture.layout("made");
    layout.add(&one, Some("one"));
    layout.add(&two, Some("two"));
    let path = |name: &str| fixture.scratch(name).display().to_string();
    let (docker, docker2, oci) = (path("one.tar"), path("two.tar"), path("oci.tar"));
    skopeo(&format!("oci:{}:one", path("made")), &format!("docker-archive:{docker}:app:v1"));
    skopeo(&format!("oci:{}:two", path("made")), &format!("docker-archive:{docker2}:other/b:v2"));
    skopeo(&format!("oci:{}:one", path("made")), &format!("oci-archive:{oci}:v1"));
    let works = |name: &str, argument: &str, image: &Image| {
        let rig = Rig::new(&fixture, name);
        rig.pulls(&[argument]);
        rig.assert_holds(image);
    };
    works("docker", &format!("docker-archive:{docker}"), &one);
    works("docker-tag", &format!("docker-archive:{docker}:app:v1"), &one);
    works("docker-full", &format!("docker-archive:{docker}:docker.io/library/app:v1"), &one);
    works("oci", &format!("oci-archive:{oci}"), &one);
    works("oci-tag", &format!("oci-archive:{oci}:v1"), &one);

    // Several images in one archive, as `docker save a b` writes them.
    let both = fixture.scratch("both");
    fs::create_dir_all(&both).unwrap();
    let mut manifests = Vec::new();
    for archive in [&docker, &docker2] {
        run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&both)).success();
        let manifest = fs::read(both.join("manifest.json")).unwrap();
        manifests.extend(serde_json::from_slice::<Vec<Value>>(&manifest).unwrap());
    }
    fs::remove_file(both.join("manifest.json")).unwrap();
    fs::write(both.join("manifest.json"), json!(manifests).to_string()).unwrap();
    let archive = path("both.tar");
    run(Command::new("tar").args(["-cf", &archive, "-C"]).arg(&both).arg(".")).success();
    works("both-one", &format!("docker-archive:{archive}:app:v1"), &one);
    works("both-two", &format!("docker-archive:{archive}:other/b:v2"), &two);
    let rig = Rig::new(&fixture, "fails");
    let text = rig.fails(&[&format!("docker-archive:{archive}")]);
    assert_contains(&text, "the archive holds 2 images, choose one");
    let text = rig.fails(&[&format!("docker-archive:{archive}:none")]);
    assert_contains(&text, "no image found for reference \"none\" (there are:");
    let text = rig.fails(&[&format!("oci-archive:{oci}:none")]);
    assert_contains(&text, "no descriptor found for reference \"none\"");
    // The same for a layout that is no archive.
    works("layout-two", &layout.url("two"), &two);
    let text = rig.fails(&[&format!("oci://{}", path("made"))]);
    assert_contains(&text, "more than one image in oci, choose an image");
    assert_contains(&text, "one, two");
}

/// A broken archive, and one whose layer is not what the configuration says.
#[test]
fn privileged_archives_that_lie() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let rig = Rig::new(&fixture, "fails");
    let directory = fixture.scratch("lies");
    fs::create_dir_all(&directory).unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Hash::Sha256.digest(b"another")]},
    });
    fs::write(directory.join("config.json"), config.to_string()).unwrap();
    fs::write(directory.join("layer.tar"), tar("x")).unwrap();
    let manifest = json!([{"Config": "config.json", "RepoTags": null, "Layers": ["layer.tar"]}]);
    fs::write(directory.join("manifest.json"), manifest.to_string()).unwrap();
    let archive = fixture.scratch("lies.tar").display().to_string();
    run(Command::new("tar").args(["-cf", &archive, "-C"]).arg(&directory).arg(".")).success();
    let text = rig.fails(&[&format!("docker-archive:{archive}")]);
    assert_contains(&text, "diffID digest mismatch");
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, &bytes[..1500]).unwrap();
    rig.fails(&[&format!("docker-archive:{archive}")]);
    let text = rig.fails(&["docker-archive:/no/such.tar"]);
    assert_contains(&text, "Image source doesn't exist");
}
