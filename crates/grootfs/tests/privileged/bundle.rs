//! `create --bundle`: a runtime runs the image's command from the bundle, and nothing is put in by us.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testkit::command::{Output, run};
use testkit::image::{Image, busybox, busybox_program};
use testkit::layer::{Entry, Layer};
use testkit::set_uid::set_mode;
use testkit::user::{FIRST_SUBID, SUBIDS, UID};

use crate::fixture::{Fixture, assert_contains};
use crate::plain_user::{Alice, for_alice};

on_both_drivers!(
    the_images_command_runs,
    set_uid_programs_of_the_image,
    numbers_need_no_files,
    the_runtime_mounts,
    words_and_defaults,
    nothing_is_left_of_what_fails,
    an_older_bundle_stays,
    hostile_users,
    users_that_layers_take_away,
);
for_alice!(of_a_user);
on_both_drivers!(without_store: in_a_mapped_store, what_the_mappings_leave_out);

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/false\n";
const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:50:other,web\n";

/// busybox with a user `web`, who runs a script that tells what it sees.
fn image() -> Image {
    let script = "#!/bin/sh\nid -u; id -g; id -G; pwd; echo $GREETING; echo $PATH; echo $*; hostname\n\
        cat /srv/secret; touch /srv/mine && stat -c %U /srv/mine; grep CapEff /proc/self/status\n";
    let top = Layer::new()
        .directory("etc")
        .file("etc/passwd", PASSWD)
        .file("etc/group", GROUP)
        .entry(Entry::directory("srv").owner(33, 34))
        .entry(Entry::file("srv/secret", "of web\n").mode(0o600).owner(33, 34))
        .entry(Entry::file("bin/tell", script).mode(0o755));
    Image::new()
        .layer(&busybox())
        .layer(&top)
        .env("GREETING=from <the> image")
        .env("ALONE")
        .config("Entrypoint", json!(["tell"]))
        .config("Cmd", json!(["one", "two words"]))
        .config("User", json!("web"))
        .config("WorkingDir", json!("/srv/work"))
}

const TOLD: &str = "33\n34\n34 50\n/srv/work\nfrom <the> image\n\
    /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\none two words\nbox\nof web\nweb\n\
    CapEff:\t0000000000000000\n";

/// `runc run -b <bundle> <name>`, and nothing else.
fn runc(bundle: &Path) -> Output {
    let name = format!("grootfs-bundle-{}", std::process::id());
    let mut command = Command::new("runc");
    command.arg("--root").arg(bundle.with_extension("state"));
    command.args(["run", "-b"]).arg(bundle).arg(name);
    run(&mut command)
}

fn document(bundle: &Path) -> Value {
    serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap()
}

/// Makes a root with a bundle; returns the bundle's directory.
fn bundle(
    fixture: &Fixture,
    image: &Image,
    options: &[&str],
    words: &[&str],
) -> std::path::PathBuf {
    let (url, _) = fixture.oci("image", image);
    let directory = fixture.scratch("some/bundle");
    let before = ["create", "--bundle", directory.to_str().unwrap()];
    let line = fixture.grootfs.ok(&[&before, options, &[url.as_str(), "box"], words].concat());
    // What is printed stays what it is.
    assert!(line.starts_with("{\"ociVersion\":\"\",\"process\":"), "{line}");
    assert_eq!(line.lines().count(), 1);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "config.json alone");
    directory
}

fn the_images_command_runs(fixture: &Fixture) {
    let directory = bundle(fixture, &image().volume("/data"), &[], &[]);
    assert_eq!(runc(&directory).success(), TOLD);
    let config = document(&directory);
    assert_eq!(config["root"]["path"], fixture.path("images/box/rootfs").to_str().unwrap());
    let bound: Vec<&Value> = config["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| mount["type"] == "bind")
        .collect();
    assert_eq!(bound.len(), 1, "{bound:?}");
    assert_eq!(bound[0]["destination"], "/data");
    fixture.grootfs.ok(&["delete", "box"]);
    // Garden mounts volumes itself.
    fs::remove_file(directory.join("config.json")).unwrap();
    let (url, _) = fixture.oci("image", &image().volume("/data"));
    let path = directory.to_str().unwrap();
    fixture.grootfs.ok(&["--compat", "garden", "create", "--bundle", path, &url, "box"]);
    assert_eq!(runc(&directory).success(), TOLD);
}

/// `su` makes a user root who may, with the capabilities of the bounding set.
fn set_uid_programs_of_the_image(fixture: &Fixture) {
    let everybody = "root::0:0:root:/:/bin/sh\nweb:x:33:34::/:/bin/sh\n";
    let top = Layer::new()
        .directory("etc")
        .file("etc/passwd", everybody)
        .file("etc/group", GROUP)
        .entry(Entry::file("bin/su", busybox_program()).mode(0o4755));
    let image = Image::new().layer(&busybox()).layer(&top).config("User", json!("web"));
    let ask = "id -u; grep -E 'CapEff|CapBnd' /proc/self/status";
    let script = format!("id -u; /bin/su -c \"{ask}\" root");
    let directory = bundle(fixture, &image, &[], &["--", "/bin/sh", "-c", &script]);
    let told = runc(&directory).success();
    let lines: Vec<&str> = told.lines().map(|line| line.trim_start_matches("Cap")).collect();
    let [before, after, effective, bounding] = lines[..] else { panic!("{told}") };
    assert_eq!((before, after), ("33", "0"));
    assert_eq!(effective, bounding.replace("Bnd", "Eff"));
}

/// What the image has in place of the files does not matter where nobody looks a name up.
fn numbers_need_no_files(fixture: &Fixture) {
    let broken = Layer::new()
        .directory("etc")
        .entry(Entry::fifo("etc/passwd"))
        .symlink("etc/group", "group");
    for (user, expected) in [
        ("7:8", json!({ "uid": 7, "gid": 8, "additionalGids": [8] })),
        ("7", json!({ "uid": 7, "gid": 0, "additionalGids": [0] })),
    ] {
        let image = Image::new().layer(&broken).config("Cmd", json!(["x"]));
        let (url, _) = fixture.oci("image", &image.config("User", json!(user)));
        let text = fixture.grootfs.ok(&["create", "--config-json", &url, "box"]);
        let printed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(printed["process"]["user"], expected);
        fixture.grootfs.ok(&["delete", "box"]);
    }
}

fn the_runtime_mounts(fixture: &Fixture) {
    let directory = bundle(fixture, &image(), &["--without-mount"], &[]);
    assert!(fixture.mounts().is_empty(), "{:?}", fixture.mounts());
    assert_eq!(fs::read_dir(fixture.path("images/box/rootfs")).unwrap().count(), 0);
    assert_eq!(document(&directory)["mounts"][0]["destination"], "/");
    assert_eq!(runc(&directory).success(), TOLD);
    assert!(fixture.mounts().is_empty());
    fixture.grootfs.ok(&["delete", "box"]);
    assert!(!fixture.path("images/box").exists());
}

/// What upper layers take away is away, also in a root that nobody has mounted yet.
fn users_that_layers_take_away(fixture: &Fixture) {
    for (name, layer, is_there) in [
        (
            "link",
            Layer::new()
                .symlink("etc/passwd", "../usr/users")
                .directory("usr")
                .file("usr/users", PASSWD),
            true,
        ),
        ("file", Layer::new().whiteout("etc/passwd"), false),
        ("directory", Layer::new().whiteout("etc"), false),
        ("opaque", Layer::new().directory("etc").opaque("etc"), false),
    ] {
        let top = image().layer(&layer);
        let (url, _) = fixture.oci(name, &top);
        let arguments = ["create", "--without-mount", "--config-json", &url, name];
        if is_there {
            let printed: Value = serde_json::from_str(&fixture.grootfs.ok(&arguments)).unwrap();
            assert_eq!(printed["process"]["user"]["uid"], 33);
        } else {
            fixture.grootfs.ok(&["pull", &url]);
            let text = fixture.fails_cleanly(&arguments);
            assert_contains(
                &text,
                "the image's user `web` is unknown: /etc/passwd has no such name",
            );
        }
    }
}

/// The bundle of a user's root runs in a user namespace with the ids of the store.
fn of_a_user(alice: &Alice) {
    let fixture = &alice.fixture;
    let (url, _) = fixture.oci("image", &image());
    let place = fixture.scratch("place");
    fs::create_dir(&place).unwrap();
    set_mode(&place, 0o777);
    let directory = place.join("bundle");
    let bundle = directory.to_str().unwrap();
    alice.grootfs.ok(&["create", "--without-mount", "--bundle", bundle, &url, "box"]);
    let config = document(&directory);
    for ids in ["uidMappings", "gidMappings"] {
        let expected = json!([
            { "containerID": 0, "hostID": UID, "size": 1 },
            { "containerID": 1, "hostID": FIRST_SUBID, "size": SUBIDS },
        ]);
        assert_eq!(config["linux"][ids], expected);
    }
    assert_eq!(
        config["process"]["user"],
        json!({ "uid": 33, "gid": 34, "additionalGids": [34, 50] })
    );
    assert_eq!(runc(&directory).success(), TOLD);
    assert!(fixture.mounts().is_empty());
    alice.grootfs.ok(&["delete", "box"]);
    // Of what fails, nothing is left.
    let (url, _) = fixture.oci("nobody", &image().config("User", json!("nobody-knows")));
    alice.grootfs.ok(&["pull", &url]);
    let before = fixture.listing();
    let text = alice.grootfs.fails(&["create", "--without-mount", "--config-json", &url, "box"]);
    assert_contains(&text, "the image's user `nobody-knows` is unknown");
    before.assert_same(&fixture.listing());
}

fn words_and_defaults(fixture: &Fixture) {
    let plain = Image::new().layer(&busybox());
    let (url, _) = fixture.oci("plain", &plain);
    fixture.grootfs.ok(&["pull", &url]);
    let text = fixture.fails_cleanly(&["create", "--config-json", &url, "box"]);
    assert_contains(&text, "the image names no command");
    let words = ["--", "/bin/sh", "-c", "id -u; pwd; echo \"$0\"; exit 3", "a -b"];
    let directory = bundle(fixture, &plain, &[], &words);
    let output = runc(&directory);
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), "0\n/\na -b\n"));
    // The document is the same on standard output, and nothing else is there.
    let more = [&["create", "--config-json", &url, "box-2"][..], &words].concat();
    let printed: Value = serde_json::from_str(&fixture.grootfs.ok(&more)).unwrap();
    assert_eq!(printed["process"], document(&directory)["process"]);
    assert_eq!(printed["process"]["capabilities"]["effective"].as_array().unwrap().len(), 11);
    // The entry point stays when words are given.
    let (url, _) = fixture.oci("entry", &image());
    let text = fixture.grootfs.ok(&["create", "--config-json", &url, "box-3", "--", "-x"]);
    let printed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(printed["process"]["args"], json!(["tell", "-x"]));
}

fn nothing_is_left_of_what_fails(fixture: &Fixture) {
    let directory = fixture.scratch("bundle");
    let path = directory.to_str().unwrap();
    for (key, value, reason) in [
        ("User", json!("nobody-knows"), "the image's user `nobody-knows` is unknown"),
        ("User", json!("web:nobodies"), "/etc/group has no group `nobodies`"),
        ("Cmd", json!(["a\0b"]), "command of the image has a NUL byte"),
        ("Env", json!(["A=\0"]), "environment of the image has a NUL byte"),
        ("WorkingDir", json!("/\0"), "working directory of the image has a NUL byte"),
    ] {
        let (url, _) = fixture.oci("image", &image().config(key, value));
        // The layers stay for the next try.
        fixture.grootfs.ok(&["pull", &url]);
        let text = fixture.fails_cleanly(&["create", "--bundle", path, &url, "box"]);
        assert_contains(&text, reason);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }
}

fn an_older_bundle_stays(fixture: &Fixture) {
    let directory = bundle(fixture, &image(), &[], &[]);
    let (url, _) = fixture.oci("image", &image());
    let path = directory.to_str().unwrap();
    let before = document(&directory);
    let text = fixture.fails_cleanly(&["create", "--bundle", path, &url, "box-2"]);
    assert_eq!(text, format!("{path}/config.json is there already; --force replaces it\n"));
    assert_eq!(document(&directory), before);
    fixture.grootfs.ok(&["create", "--force", "--bundle", path, &url, "box-2"]);
    assert_eq!(document(&directory)["hostname"], "box-2");
    // What is no directory cannot become one.
    let file = directory.join("config.json");
    let text = fixture.fails_cleanly(&["create", "--bundle", file.to_str().unwrap(), &url, "x"]);
    assert_contains(&text, "mkdir");
}

/// The layers are the image's own; what they have at `/etc/passwd` is up to them.
fn hostile_users(fixture: &Fixture) {
    let of_host = fixture.scratch("passwd");
    fs::write(&of_host, PASSWD).unwrap();
    let unknown = "the image's user `web` is unknown: /etc/passwd has no such name";
    let etc = |entry: Entry| Layer::new().directory("etc").entry(entry);
    let up = "../".repeat(20) + of_host.to_str().unwrap();
    let mut long = vec![b'x'; 10 << 20];
    long.extend_from_slice(b":x:1:1::/:\n");
    for (name, layer, reason) in [
        ("absolute", etc(Entry::symlink("etc/passwd", of_host.to_str().unwrap())), unknown),
        ("upwards", etc(Entry::symlink("etc/passwd", up)), unknown),
        ("loop", etc(Entry::symlink("etc/passwd", "passwd")), "too many levels of symbolic links"),
        ("fifo", etc(Entry::fifo("etc/passwd")), "it is no regular file"),
        // Which is not unpacked.
        ("device", etc(Entry::character_device("etc/passwd", 1, 5)), unknown),
        ("directory", etc(Entry::directory("etc/passwd")), "it is no regular file"),
        ("long", etc(Entry::file("etc/passwd", &long)), "has more than 4194304 bytes"),
        (
            "groups",
            etc(Entry::fifo("etc/group")).file("etc/passwd", PASSWD),
            "it is no regular file",
        ),
        (
            "no-etc",
            Layer::new().symlink("etc", of_host.parent().unwrap().to_str().unwrap()),
            unknown,
        ),
    ] {
        let hostile = Image::new().layer(&layer);
        let hostile = hostile.config("Cmd", json!(["x"])).config("User", json!("web"));
        let (url, _) = fixture.oci(name, &hostile);
        fixture.grootfs.ok(&["pull", &url]);
        for mount in ["--with-mount", "--without-mount"] {
            let text = fixture.fails_cleanly(&["create", "--config-json", mount, &url, "box"]);
            assert_contains(&text, reason);
        }
    }
}

fn in_a_mapped_store(fixture: &Fixture) {
    let ranges = ["0:5000:1", "1:100000:65000"];
    let mapped = ranges.iter().flat_map(|r| ["--uid-mapping", r, "--gid-mapping", r]);
    fixture.grootfs.ok(&[&["init-store"][..], &mapped.collect::<Vec<_>>()].concat());
    let directory = bundle(fixture, &image(), &[], &[]);
    assert_eq!(runc(&directory).success(), TOLD);
    let file = fixture.path("images/box/rootfs/srv/mine");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(file).unwrap()), 100_032);
    let (url, _) = fixture.oci("image", &image());
    let arguments = ["create", "--config-json", "--without-mount", &url, "box-2"];
    if fixture.is_overlay() {
        assert_contains(&fixture.fails_cleanly(&arguments), "leave --without-mount away");
    } else {
        fixture.grootfs.ok(&arguments);
    }
}

fn what_the_mappings_leave_out(fixture: &Fixture) {
    let ranges = ["--uid-mapping", "0:5000:40", "--gid-mapping", "0:5000:40"];
    fixture.grootfs.ok(&[&["init-store"][..], &ranges].concat());
    for (user, reason) in [
        ("40", "user id 40 of the image's user is not in the id mappings of the store"),
        ("3:40", "group id 40 of the image's user is not in the id mappings of the store"),
        ("web", "group id 50 of the image's user is not in the id mappings of the store"),
    ] {
        let (url, _) = fixture.oci("image", &image().config("User", json!(user)));
        fixture.grootfs.ok(&["pull", &url]);
        assert_contains(&fixture.fails_cleanly(&["create", "--config-json", &url, "box"]), reason);
    }
}
