//! Everybody who may use a store, on both drivers, with every kind of image, from the create to the clean: root,
//! root in a store with mappings, and a plain user in a store that root made for him.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::command::Grootfs;
use testkit::container::run_mapped;
use testkit::image::{Compression, Image, busybox, busybox_program, write_tar};
use testkit::layer::{Entry, Layer};
use testkit::push::Format;
use testkit::registry::Registry;
use testkit::set_uid::SetUid;
use testkit::user::{FIRST_SUBID, SUBIDS, UID, User, open_up};

use crate::fixture::{Driver, Fixture, PROGRAM, assert_contains};

/// Makes two tests of each role: one a driver.
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

/// Where file capabilities are.
const CAPABILITY: &str = "security.capability";

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
    /// Root makes the store under `umask`, which everything else runs under as well.
    fn new(role: Role, driver: Driver, umask: u32) -> Self {
        let fixture = Fixture::without_store(driver);
        let user = User::new(&fixture.scratch("etc"));
        let mut init = vec!["init-store".to_owned()];
        if role != Role::Root {
            init.extend(user.mappings());
            open_up(&fixture.mount_point());
        }
        fixture.grootfs.clone().umask(umask).ok(&init);
        let helpers = ["tardis", "drax"].map(|name| SetUid::new(&built(name)));
        let mut grootfs = fixture.grootfs.clone().umask(umask);
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

    fn create(&self, options: &[&str], image: &[&str], id: &str) -> String {
        let mut arguments = vec!["create"];
        if self.role == Role::PlainUser {
            arguments.push("--without-mount");
        }
        arguments.extend(options.iter().chain(image));
        arguments.push(id);
        self.grootfs.ok(&arguments)
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
pub fn built(name: &str) -> PathBuf {
    let path = Path::new(PROGRAM).with_file_name(name);
    assert!(path.exists(), "{} is missing: cargo build --package {name}", path.display());
    path
}

/// What a program may do whoever runs it: `CAP_CHOWN`, effective at once (revision 2 of the attribute).
const MAY_CHOWN: [u32; 5] = [0x0200_0001, 1, 0, 0, 0];

/// The same where root of the container is [`UID`] outside (revision 3, which has that id at the end).
const MAY_CHOWN_INSIDE: [u32; 6] = [0x0300_0001, 1, 0, 0, 0, UID];

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A base with a program that has a capability, and a user to run it.
fn base() -> Layer {
    let program = busybox_program();
    busybox()
        .entry(Entry::file("bin/chown", program).mode(0o755).xattr(CAPABILITY, bytes(&MAY_CHOWN)))
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:33:44::/tmp:/bin/sh\n")
}

/// Owners and modes of several kinds.
fn owners(layer: Layer) -> Layer {
    layer
        .entry(Entry::directory("srv").owner(33, 44).mode(0o2750))
        .entry(Entry::file("srv/data", "data").owner(33, 44).mode(0o4640))
        .entry(Entry::directory("root").mode(0o700))
}

/// Three layers: the last one takes away from those below.
fn image() -> Image {
    let middle = owners(Layer::new())
        .file("gone", "x")
        .directory("emptied")
        .file("emptied/old", "x")
        .entry(Entry::directory("spool").owner(33, 44))
        .file("spool/old", "x");
    let top =
        Layer::new().whiteout("gone").opaque("emptied").opaque("spool").file("spool/new", "y");
    Image::new().layer(&base()).layer(&middle).layer(&top)
}

/// What is left of [`image`], in one layer.
fn whole() -> Layer {
    owners(base())
        .directory("emptied")
        .entry(Entry::directory("spool").owner(33, 44))
        .file("spool/new", "y")
}

fn whole_life(role: Role, driver: Driver) {
    for umask in [0o022, 0o077] {
        let life = Life::new(role, driver, umask);
        let fixture = &life.fixture;
        let image = image();
        let (oci, _) = fixture.oci("image", &image);
        let tar = fixture.scratch("image.tar");
        write_tar(&tar, &whole(), Compression::None);
        let registry = Registry::plain();
        registry.push_layout(&fixture.scratch("image"), "latest", "test/box", "v1", Format::Kept);
        let host = registry.host();
        let docker = format!("docker://{host}/test/box:v1");
        one_image(&life, &[&oci], "oci");
        has_capability(&life, &image.chain_ids()[0]);
        one_image(&life, &[tar.to_str().unwrap()], "tar");
        // From the registry, and not from the store.
        assert_eq!(life.grootfs.ok(&["clean"]), "clean completed\n");
        one_image(&life, &["--insecure-registry", &host, &docker], "docker");
        has_capability(&life, &image.chain_ids()[0]);
        assert_eq!(life.grootfs.ok(&["clean"]), "clean completed\n");
        for directory in ["images", "volumes", "meta/dependencies"] {
            assert!(fixture.names(directory).is_empty(), "{directory} with umask {umask:o}");
        }
        assert!(fixture.mounts().is_empty());
    }
}

/// The attribute on disk, as a process outside of every user namespace sees it.
fn has_capability(life: &Life, layer: &str) {
    let file = life.fixture.path(&format!("volumes/{layer}/bin/chown"));
    let mut value = [0_u8; 64];
    let length = rustix::fs::lgetxattr(&file, CAPABILITY, &mut value).unwrap();
    let expected = match life.role {
        Role::Root => bytes(&MAY_CHOWN),
        Role::MappedRoot | Role::PlainUser => bytes(&MAY_CHOWN_INSIDE),
    };
    assert_eq!(value[..length], expected);
}

/// What a process sees of the image, one line each.
const SEEN: [(&str, &str); 8] = [
    ("stat -c '%u:%g %a' /srv", "33:44 2750"),
    ("stat -c '%u:%g %a' /srv/data", "33:44 4640"),
    // Root of the container writes and gives away.
    ("echo x > /root/file; chown 5:6 /root/file; stat -c %u:%g /root/file", "5:6"),
    ("id -u", "0"),
    // What layers take away is away.
    ("ls -d /gone 2> /dev/null || echo none", "none"),
    ("ls -A /emptied /spool | busybox tr '\\n' ' '", "/emptied:  /spool: new "),
    // A user of the container may give away files only through the program that may.
    ("busybox su app -c 'touch mine; busybox chown 0:0 mine 2> /dev/null || echo no'", "no"),
    ("busybox su app -c '/bin/chown 0:0 mine; stat -c %u:%g mine'", "0:0"),
];

fn one_image(life: &Life, image: &[&str], id: &str) {
    let limit = LIMIT.to_string();
    let limited = ["--disk-limit-size-bytes", &limit];
    let options: &[&str] = if life.fixture.has_limits() { &limited } else { &[] };
    let line = life.create(options, image, id);
    let script: Vec<String> = SEEN.map(|(script, _)| format!("({script}) | cat; echo")).into();
    let seen = life.run(&line, &format!("cd /tmp; {}", script.join("; "))).success();
    let seen: Vec<&str> = seen.split("\n").filter(|line| !line.is_empty()).collect();
    assert_eq!(seen, SEEN.map(|(_, expected)| expected), "{id}");
    // From outside: the ids that the store maps those of the image to.
    let file = fs::metadata(life.written(id).join("root/file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (life.on_disk(5), life.on_disk(6)), "{id}");
    let directory = fs::metadata(life.fixture.path(&format!("images/{id}"))).unwrap();
    assert_eq!((directory.uid(), directory.mode() & 0o777), (life.on_disk(0), 0o700), "{id}");
    limits(life, &line, id);
    assert_eq!(life.grootfs.ok(&["delete", id]), format!("Image {id} deleted\n"));
    assert_contains(&life.grootfs.fails(&["stats", id]), "not found");
}

/// The limit of the create holds in the container, and so does the next one.
fn limits(life: &Life, line: &str, id: &str) {
    let before = exclusive(&life.grootfs, id);
    if !life.fixture.has_limits() {
        // XFS of a kernel without quotas: nobody counts.
        assert_eq!(before, 0, "{id}");
        let text = life.grootfs.fails(&["limit", "--disk-limit-size-bytes", "20000000", id]);
        assert_contains(&text, "this kernel was built without");
        assert_contains(&text, "use another kernel, or the driver btrfs");
        return;
    }
    let fill = "dd if=/dev/zero of=/root/large bs=65536 count=1000 2>/dev/null || echo full";
    assert_eq!(life.run(line, fill).success(), "full\n");
    let full = exclusive(&life.grootfs, id);
    assert!((LIMIT / 4..=LIMIT + (1 << 16)).contains(&full) && full > before, "{id}: {full}");
    let more = (2 * LIMIT).to_string();
    life.grootfs.ok(&["limit", "--disk-limit-size-bytes", &more, id]);
    assert_eq!(life.run(line, fill).success(), "full\n");
    let after = exclusive(&life.grootfs, id);
    assert!(after > full + LIMIT / 2, "{id}: {full} {after}");
}

fn exclusive(grootfs: &Grootfs, id: &str) -> u64 {
    let stats: Value = serde_json::from_str(&grootfs.ok(&["stats", id])).unwrap();
    stats["disk_usage"]["exclusive_bytes_used"].as_u64().unwrap()
}
