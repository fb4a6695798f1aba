//! A process runs in the root file system, from the printed spec (contract 4.8).

use std::fs;

use serde_json::json;
use testkit::container::run_in;
use testkit::image::{Hash, Image, busybox};
use testkit::layer::{Entry, Layer};

use crate::fixture::{Fixture, assert_contains};

on_both_drivers!(a_process_runs, the_printed_line, the_garden_line, declared_volumes);

/// busybox with a second layer.
fn image() -> Image {
    let top = Layer::new()
        .directory("etc")
        .file("etc/greeting", "hello from the second layer\n")
        .entry(Entry::file("etc/shadow", "secret").mode(0o600))
        .whiteout("etc/group");
    Image::new().layer(&busybox()).layer(&top)
}

fn a_process_runs(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &image().env("GREETING=from <the> & image"));
    let spec = fixture.create(&url, "box");
    assert_eq!(fixture.mounts().len(), usize::from(fixture.is_overlay()));
    let script = "cat /etc/greeting; echo $GREETING; id -u; stat -c %a:%u /etc/shadow; \
                  ls /etc; echo written > /root/file; rm /etc/greeting; echo done";
    let output = run_in(&spec.line, &["/bin/sh", "-ec", script]).success();
    assert_eq!(
        output,
        "hello from the second layer\nfrom <the> & image\n0\n600:0\ngreeting\npasswd\nshadow\ndone\n"
    );
    // It is written in this root, and nowhere else.
    assert_eq!(fs::read_to_string(spec.rootfs().join("root/file")).unwrap(), "written\n");
    assert!(!spec.rootfs().join("etc/greeting").exists());
    let other = fixture.create(&url, "other");
    assert!(other.rootfs().join("etc/greeting").exists());
    assert!(!other.rootfs().join("root/file").exists());
    // The exit code of the process comes through, so a success above means something.
    assert_eq!(run_in(&other.line, &["/bin/sh", "-c", "exit 3"]).code, Some(3));
}

fn the_printed_line(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &image().env("A=<b>").env("C=d&e"));
    let spec = fixture.create(&url, "box");
    let rootfs = fixture.path("images/box/rootfs");
    assert_eq!(
        spec.line,
        format!(
            "{{\"ociVersion\":\"\",\"process\":{{\"user\":{{\"uid\":0,\"gid\":0}},\"args\":null,\
             \"env\":[\"A=\\u003cb\\u003e\",\"C=d\\u0026e\"],\"cwd\":\"\"}},\
             \"root\":{{\"path\":\"{}\"}}}}\n",
            rootfs.display()
        )
    );
}

fn the_garden_line(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &image().volume("/data"));
    let garden = fixture.grootfs.clone().with(&["--compat", "garden"]);
    let line = garden.ok(&["create", &url, "box"]);
    let rootfs = fixture.path("images/box/rootfs");
    assert_eq!(
        line,
        format!(
            "{{\"ociVersion\":\"\",\"process\":{{\"user\":{{\"uid\":0,\"gid\":0}},\"cwd\":\"\"}},\
             \"root\":{{\"path\":\"{}\"}}}}\n",
            rootfs.display()
        )
    );
    let names = fixture.names("images/box");
    assert!(!names.iter().any(|name| name.starts_with("vol-")), "{names:?}");
}

fn declared_volumes(fixture: &Fixture) {
    let top = Layer::new().directory("data").file("data/hidden", "by the volume");
    let image = image()
        .layer(&top)
        .volume("/data")
        .volume("/var/more")
        .config("Entrypoint", json!(["/bin/sh"]));
    let (url, _) = fixture.oci("image", &image);
    let spec = fixture.create(&url, "box");
    let hash = |path: &str| Hash::Sha256.digest(path.as_bytes()).replace("sha256:", "vol-");
    for path in ["/data", "/var/more"] {
        let source = fixture.path(&format!("images/box/{}", hash(path)));
        assert!(source.is_dir(), "{}", source.display());
        assert_contains(
            &spec.line,
            &format!(
                "{{\"destination\":\"{path}\",\"type\":\"bind\",\"source\":\"{}\",\
                 \"options\":[\"bind\"]}}",
                source.display()
            ),
        );
    }
    // The volume hides what the image has there, and is written in its own directory.
    let script = "ls /data; echo kept > /data/file; echo kept > /var/more/file";
    assert_eq!(run_in(&spec.line, &["/bin/sh", "-ec", script]).success(), "");
    let file = fixture.path(&format!("images/box/{}/file", hash("/data")));
    assert_eq!(fs::read_to_string(file).unwrap(), "kept\n");
    fixture.grootfs.ok(&["delete", "box"]);
    assert!(!fixture.path("images/box").exists());
}
