//! The registry starts, takes images, and is gone afterwards.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use testkit::registry::{Format, Registry};

/// An image with one layer, made by umoci.
fn layout(directory: &Path) -> std::path::PathBuf {
    let layout = directory.join("layout");
    let tree = directory.join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("hello"), "hello").unwrap();
    let reference = format!("{}:latest", layout.display());
    let mut init = Command::new("umoci");
    assert!(init.args(["init", "--layout"]).arg(&layout).status().unwrap().success());
    let mut new = Command::new("umoci");
    assert!(new.args(["new", "--image", &reference]).status().unwrap().success());
    let mut insert = Command::new("umoci");
    insert.args(["insert", "--rootless", "--image", &reference]).arg(tree.join("hello"));
    assert!(insert.arg("/hello").status().unwrap().success());
    layout
}

#[test]
fn plain_registry_takes_an_image_in_both_formats() {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    let registry = Registry::plain();
    for (tag, format, media_type) in [
        ("kept", Format::Kept, "application/vnd.oci.image.manifest.v1+json"),
        ("docker", Format::DockerSchema2, "application/vnd.docker.distribution.manifest.v2+json"),
    ] {
        registry.push_layout(&layout, "latest", "library/app", tag, format);
        let output = Command::new("curl")
            .args(["-sSfI", "-H", &format!("Accept: {media_type}")])
            .arg(format!("http://{}/v2/library/app/manifests/{tag}", registry.host()))
            .output()
            .unwrap();
        let head = String::from_utf8_lossy(&output.stdout).to_lowercase();
        assert!(head.contains(&format!("content-type: {media_type}")), "{tag}: {head}");
    }
}

#[test]
fn dropped_registry_answers_no_more() {
    let registry = Registry::plain();
    let host = registry.host();
    TcpStream::connect(&host).unwrap();
    drop(registry);
    assert!(TcpStream::connect(&host).is_err());
}
