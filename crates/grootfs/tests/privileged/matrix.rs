//! Everybody who may use a store, on both drivers, with every kind of image, from the create to the clean: root,
//! root in a store with mappings, and a plain user in a store that root made for him.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::command::Grootfs;
use testkit::container::run_mapped;
use testkit::image::{Compression, Image, busybox, write_tar};
use testkit::layer::{Entry, Layer};
use testkit::push::Format;
use testkit::registry::Registry;
use testkit::set_uid::SetUid;
use testkit::user::{FIRST_SUBID, SUBIDS, UID, User, open_up};

use crate::fixture::{Driver, Fixture, PROGRAM, assert_contains};

/// Makes four tests of each role: one a driver and umask.
macro_rules! of_roles {
    ($($name:ident: $role:expr),+ $(,)?) => {$(
        mod $name {
            use super::Role;
            use crate::fixture::Driver;

            #[test]
            fn privileged_overlay_xfs() {
                super::whole_life($role, Driver::OverlayXfs);
            }

            #[test]
            fn privileged_btrfs() {
                super::whole_life($role, Driver::Btrfs);
            }
        }
    )+};
}

of_roles!(root: Role::Root, mapped_root: Role::MappedRoot, plain_user: Role::PlainUser);

/// Who uses a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Root; ids are as they are.
    Root,
    /// Root, in a store with mappings.
    MappedRoot,
    /// A user other than root, in a store with mappings.
    PlainUser,
}

/// More than the image, and so small that it can be reached.
const LIMIT: u64 = 16 << 20;

struct Life {
    role: Role,
    fixture: Fixture,
    grootfs: Grootfs,
    /// What helps users other than root.
    _helpers: [SetUid; 2],
}

impl Life {
    fn new(role: Role, driver: Driver) -> Self {
        let fixture = Fixture::without_store(driver);
        let user = User::new(&fixture.scratch("etc"));
        let mut init = vec!["init-store".to_owned()];
        if role != Role::Root {
            init.extend(user.mappings());
            open_up(&fixture.mount_point());
        }
        fixture.grootfs.ok(&init);
        let helpers = ["tardis", "drax"].map(|name| SetUid::new(&built(name)));
        let mut grootfs = fixture.grootfs.clone();
        if role == Role::PlainUser {
            let [tardis, drax] = helpers.each_ref().map(|helper| helper.path().to_str().unwrap());
            grootfs = grootfs.with(&["--tardis-bin", tardis, "--drax-bin", drax]).user(&user);
        }
        Self { role, fixture, grootfs, _helpers: helpers }
    }

    /// The id on disk of an id of the image.
    fn on_disk(&self, id: u32) -> u32 {
        match (self.role, id) {
            (Role::Root, id) => id,
            (_, 0) => UID,
            (_, id) => FIRST_SUBID + id - 1,
        }
    }

    /// What is written in a root.
    fn written(&self, id: &str) -> PathBuf {
        let below = match (self.fixture.is_overlay(), self.role) {
            (true, _) => "diff",
            (false, Role::PlainUser) => "snapshot",
            (false, _) => "rootfs",
        };
        self.fixture.path(&format!("images/{id}/{below}"))
    }

    fn create(&self, grootfs: &Grootfs, options: &[&str], image: &[&str], id: &str) -> String {
        let mut arguments = vec!["create"];
        if self.role == Role::PlainUser {
            arguments.push("--without-mount");
        }
        arguments.extend(options.iter().chain(image));
        arguments.push(id);
        grootfs.ok(&arguments)
    }

    /// Runs a shell script as root of a container.
    fn run(&self, line: &str, script: &str) -> testkit::command::Output {
        let others = format!("1:{FIRST_SUBID}:{SUBIDS}");
        let root = format!("0:{UID}:1");
        let mapped = [root.as_str(), others.as_str()];
        let mappings: &[&str] = if self.role == Role::Root { &[] } else { &mapped };
        run_mapped(line, mappings, &["/bin/sh", "-ec", script])
    }
}

/// The built program of another package of this workspace.
fn built(name: &str) -> PathBuf {
    let path = Path::new(PROGRAM).with_file_name(name);
    assert!(path.exists(), "{} is missing: cargo build --package {name}", path.display());
    path
}

fn image() -> Image {
    let layer = Layer::new()
        .entry(Entry::directory("srv").owner(33, 44).mode(0o2750))
        .entry(Entry::file("srv/data", "data").owner(33, 44).mode(0o4640))
        .entry(Entry::directory("root").mode(0o700));
    Image::new().layer(&busybox()).layer(&layer)
}

fn whole_life(role: Role, driver: Driver) {
    let life = Life::new(role, driver);
    let fixture = &life.fixture;
    let (oci, _) = fixture.oci("image", &image());
    let tar = fixture.scratch("image.tar");
    // One layer with all of it.
    write_tar(&tar, &whole(), Compression::None);
    let registry = Registry::plain();
    registry.push_layout(&fixture.scratch("image"), "latest", "test/box", "v1", Format::Kept);
    let host = registry.host();
    let docker = format!("docker://{host}/test/box:v1");
    let images: [(&str, Vec<&str>); 3] = [
        ("oci", vec![&oci]),
        ("tar", vec![tar.to_str().unwrap()]),
        ("docker", vec!["--insecure-registry", &host, &docker]),
    ];
    for umask in [0o022, 0o077] {
        let grootfs = life.grootfs.clone().umask(umask);
        for (id, image) in &images {
            one_image(&life, &grootfs, image, id);
        }
        assert_eq!(grootfs.ok(&["clean"]), "clean completed\n");
        for directory in ["images", "volumes", "meta/dependencies"] {
            assert!(fixture.names(directory).is_empty(), "{directory} with umask {umask:o}");
        }
        assert!(fixture.mounts().is_empty());
    }
}

/// The layers of [`image`] in one.
fn whole() -> Layer {
    busybox()
        .entry(Entry::directory("srv").owner(33, 44).mode(0o2750))
        .entry(Entry::file("srv/data", "data").owner(33, 44).mode(0o4640))
        .entry(Entry::directory("root").mode(0o700))
}

fn one_image(life: &Life, grootfs: &Grootfs, image: &[&str], id: &str) {
    let limit = LIMIT.to_string();
    let limited = ["--disk-limit-size-bytes", &limit];
    let options: &[&str] = if life.fixture.has_limits() { &limited } else { &[] };
    let line = life.create(grootfs, options, image, id);
    // From inside: the image's own ids; root of the container writes and gives away.
    let script = "stat -c '%u:%g %a' /srv /srv/data; echo x > /root/file; chown 5:6 /root/file; \
                  stat -c %u:%g /root/file; id -u";
    let seen = life.run(&line, script).success();
    assert_eq!(seen, "33:44 2750\n33:44 4640\n5:6\n0\n", "{id}");
    // From outside: those that the store maps them to.
    let file = fs::metadata(life.written(id).join("root/file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (life.on_disk(5), life.on_disk(6)), "{id}");
    let directory = fs::metadata(life.fixture.path(&format!("images/{id}"))).unwrap();
    assert_eq!((directory.uid(), directory.mode() & 0o777), (life.on_disk(0), 0o700), "{id}");
    limits(life, grootfs, &line, id);
    assert_eq!(grootfs.ok(&["delete", id]), format!("Image {id} deleted\n"));
    assert_contains(&grootfs.fails(&["stats", id]), "not found");
}

/// The limit of the create holds in the container, and so does the next one.
fn limits(life: &Life, grootfs: &Grootfs, line: &str, id: &str) {
    if !life.fixture.has_limits() {
        let text = grootfs.fails(&["limit", "--disk-limit-size-bytes", "20000000", id]);
        assert_contains(&text, "quota");
        return;
    }
    let fill = "dd if=/dev/zero of=/root/large bs=65536 count=1000 2>/dev/null || echo full";
    assert_eq!(life.run(line, fill).success(), "full\n");
    let before = exclusive(grootfs, id);
    assert!((LIMIT / 4..=LIMIT + (1 << 16)).contains(&before), "{id}: {before}");
    let more = (2 * LIMIT).to_string();
    grootfs.ok(&["limit", "--disk-limit-size-bytes", &more, id]);
    assert_eq!(life.run(line, fill).success(), "full\n");
    let after = exclusive(grootfs, id);
    assert!(after > before + LIMIT / 2, "{id}: {before} {after}");
}

fn exclusive(grootfs: &Grootfs, id: &str) -> u64 {
    let stats: Value = serde_json::from_str(&grootfs.ok(&["stats", id])).unwrap();
    stats["disk_usage"]["exclusive_bytes_used"].as_u64().unwrap()
}
