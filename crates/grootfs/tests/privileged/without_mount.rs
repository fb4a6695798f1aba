//! `--without-mount`: the JSON says what to mount (contract 4.8), and a runtime can.

use std::fs;

use serde_json::Value;
use testkit::container::run_in;
use testkit::image::{Image, busybox};
use testkit::layer::Layer;
use testkit::tree::Tree;

use crate::fixture::Fixture;

on_both_drivers!(the_runtime_mounts, in_the_garden_mode, switches);

fn image() -> Image {
    let top = Layer::new().directory("etc").file("etc/greeting", "hello\n").whiteout("etc/group");
    Image::new().layer(&busybox()).layer(&top).env("A=b")
}

/// The first mount entry as the contract has it, with the options of overlay on their own.
fn expected_mount(fixture: &Fixture, destination: &str) -> String {
    let dir = fixture.path("images/box");
    let dir = dir.display();
    if !fixture.is_overlay() {
        return format!(
            "{{\"destination\":\"{destination}\",\"source\":\"{dir}/snapshot\",\
             \"options\":[\"bind\"]}}"
        );
    }
    // Topmost layer first, by short names.
    let short = |chain: &String| fs::read_to_string(fixture.path(&format!("l/{chain}"))).unwrap();
    let lower: Vec<String> = image()
        .chain_ids()
        .iter()
        .rev()
        .map(|chain| fixture.path(&format!("l/{}", short(chain))).display().to_string())
        .collect();
    format!(
        "{{\"destination\":\"{destination}\",\"type\":\"overlay\",\"source\":\"overlay\",\
         \"options\":[\"lowerdir={},upperdir={dir}/diff,workdir={dir}/workdir\"]}}",
        lower.join(":")
    )
}

fn the_runtime_mounts(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &image());
    let line = fixture.grootfs.ok(&["create", "--without-mount", &url, "box"]);
    let rootfs = fixture.path("images/box/rootfs");
    assert_eq!(
        line,
        format!(
            "{{\"ociVersion\":\"\",\"process\":{{\"user\":{{\"uid\":0,\"gid\":0}},\"args\":null,\
             \"env\":[\"A=b\"],\"cwd\":\"\"}},\"root\":{{\"path\":\"{0}\"}},\"mounts\":[{1}]}}\n",
            rootfs.display(),
            expected_mount(fixture, &rootfs.display().to_string())
        )
    );
    // Nothing is mounted, and the mount point is empty.
    assert!(fixture.mounts().is_empty());
    assert_eq!(Tree::read(&rootfs).paths(), ["."]);
    let names: &[&str] = if fixture.is_overlay() {
        &["diff", "image_info", "rootfs", "workdir"]
    } else {
        &["rootfs", "snapshot"]
    };
    assert_eq!(fixture.names("images/box"), names);
    let script = "cat /etc/greeting; ls /etc; echo $A; echo written > /root/file";
    let output = run_in(&line, &["/bin/sh", "-ec", script]).success();
    assert_eq!(output, "hello\ngreeting\npasswd\nb\n");
    let written = if fixture.is_overlay() { "diff" } else { "snapshot" };
    let file = fixture.path(&format!("images/box/{written}/root/file"));
    assert_eq!(fs::read_to_string(file).unwrap(), "written\n");
    assert_eq!(fixture.grootfs.ok(&["delete", "box"]), "Image box deleted\n");
    assert!(fixture.names("images").is_empty() && fixture.names("tmp").is_empty());
}

fn in_the_garden_mode(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &image());
    let garden = fixture.grootfs.clone().with(&["--compat", "garden"]);
    let line = garden.ok(&["create", "--without-mount", &url, "box"]);
    let spec: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(spec["mounts"].as_array().unwrap().len(), 1);
    assert_eq!(spec["process"].get("args"), None);
    let mount: Value = serde_json::from_str(&expected_mount(fixture, "/")).unwrap();
    assert_eq!(spec["mounts"][0], mount);
    let output = run_in(&line, &["/bin/cat", "/etc/greeting"]).success();
    assert_eq!(output, "hello\n");
}

/// If both are given, leaving it to the runtime wins; `=false` is off (contract 1.3, D41).
fn switches(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &image());
    let mounted = |flags: &[&str]| {
        let line = fixture.grootfs.ok(&[&["create"], flags, &[&url, "x"]].concat());
        fixture.grootfs.ok(&["delete", "x"]);
        !line.contains("\"mounts\"")
    };
    assert!(mounted(&[]));
    assert!(mounted(&["--with-mount"]));
    assert!(mounted(&["--without-mount=false"]));
    assert!(!mounted(&["--without-mount"]));
    assert!(!mounted(&["--with-mount", "--without-mount"]));
    assert!(!mounted(&["--with-mount=false"]));
}
