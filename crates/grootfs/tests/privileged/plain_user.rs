//! Users other than root in a store that root made for them (contract 9): everything but the mount.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use testkit::command::{Grootfs, run, start};
use testkit::container::run_mapped;
use testkit::image::{Compression, Image, busybox, write_tar};
use testkit::layer::{Entry, Layer};
use testkit::tree::Tree;
use testkit::user::{FIRST_SUBID, UID, User, open_up};

use crate::fixture::{Driver, Fixture, Spec, assert_contains};

/// A store of a user's, and what the user runs.
#[derive(Debug)]
pub struct Alice {
    pub fixture: Fixture,
    pub user: User,
    pub grootfs: Grootfs,
}

impl Alice {
    /// Root makes the store.
    pub fn new(driver: Driver) -> Self {
        let fixture = Fixture::without_store(driver);
        let user = User::new(&fixture.scratch("etc"));
        let init = [vec!["init-store".to_owned()], user.mappings()].concat();
        fixture.grootfs.ok(&init);
        open_up(&fixture.mount_point());
        let grootfs = fixture.grootfs.clone().user(&user);
        Self { fixture, user, grootfs }
    }

    /// A program that grootfs takes for a set-uid helper: it says who runs it and how, and answers with
    /// `answer`. Scripts get no power from their set-uid bit, so it shows the user.
    pub fn helper(&self, name: &str, answer: &str) -> (PathBuf, PathBuf) {
        let directory = self.fixture.scratch(name);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        let (program, notes) = (directory.join(name), directory.join("notes"));
        let script = format!(
            "#!/bin/sh\necho \"$(id -u) $(wc -l < /proc/self/uid_map) $*\" >> {}\n{answer}\n",
            notes.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        (program, notes)
    }
}

/// Makes two tests of each function that takes an [`Alice`]: one a driver.
macro_rules! for_alice {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::fixture::Driver;
            use crate::plain_user::Alice;

            #[test]
            fn privileged_overlay_xfs() {
                super::$name(&Alice::new(Driver::OverlayXfs));
            }

            #[test]
            fn privileged_btrfs() {
                super::$name(&Alice::new(Driver::Btrfs));
            }
        }
    )+};
}
pub(crate) use for_alice;

for_alice!(
    from_create_to_clean,
    as_root_makes_it,
    a_process_runs,
    set_uid_helpers_run_outside,
    root_and_the_user_share_a_store,
    nothing_outlives_the_user_s_process,
    sigterm_takes_away_what_was_begun,
);

/// Owners, modes, whiteouts, links, a directory that its owner may not write to.
fn image() -> Image {
    let base = Layer::new()
        .entry(Entry::directory("srv").owner(33, 44).mode(0o2750))
        .entry(Entry::file("srv/data", "data").owner(33, 44).mode(0o4640))
        .entry(Entry::hard_link("srv/same", "srv/data"))
        .entry(Entry::symlink("srv/link", "data").owner(65_536, 1))
        .entry(Entry::directory("closed").owner(1, 1).mode(0o500))
        .entry(Entry::file("closed/inside", "x").owner(2, 2).xattr("user.note", "kept"))
        .entry(Entry::file("ping", "x").xattr("security.capability", capability()))
        .entry(Entry::file("shared", "x").mode(0o640).xattr("system.posix_acl_access", acl()))
        .file("gone", "x")
        .entry(Entry::directory("old").owner(7, 7))
        .file("old/file", "x");
    let top = Layer::new().whiteout("gone").whiteout("old").file("closed/new", "y");
    Image::new().layer(&busybox()).layer(&base).layer(&top)
}

/// CAP_NET_RAW for whoever runs the file (revision 2, effective).
fn capability() -> Vec<u8> {
    [0x0200_0001_u32, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat()
}

/// User 33 may read.
fn acl() -> Vec<u8> {
    let entries = [
        (1_u16, 6_u16, u32::MAX),
        (2, 4, 33),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ];
    let entry = |(tag, permissions, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [vec![2, 0, 0, 0], entries.map(entry).concat()].concat()
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

fn from_create_to_clean(alice: &Alice) {
    let fixture = &alice.fixture;
    let (url, _) = fixture.oci("image", &image());
    let tar = fixture.scratch("image.tar");
    write_tar(&tar, &busybox(), Compression::None);
    let tar = tar.to_str().unwrap();
    for umask in [0o077, 0o022] {
        let grootfs = alice.grootfs.clone().umask(umask);
        grootfs.ok(&["create", "--without-mount", &url, "x"]);
        grootfs.ok(&["create", "--without-mount", tar, "y"]);
        let ids = grootfs.ok(&["list"]);
        assert_eq!(ids.lines().count(), 2);
        // Nothing of the image, and nothing of the store's own, belongs to root (contract 3.1).
        let roots = ["meta/namespace.json", "storeDevice"];
        for (path, entry) in Tree::read(fixture.grootfs.store()).entries {
            let is_root = roots.iter().any(|root| path == Path::new(root));
            assert!(is_root || entry.uid != 0, "{} is root's", path.display());
        }
        for name in ["images/x", "images/x/rootfs", "meta/dependencies/image:x.json"] {
            assert_eq!(owner(&fixture.path(name)), (UID, UID), "{name}");
        }
        assert_eq!(fs::metadata(fixture.path("images/x")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(fixture.path("images/x/rootfs")).unwrap().mode() & 0o777, 0o755);
        let text = grootfs.fails(&["create", "--without-mount", &url, "x"]);
        assert_eq!(text, "image for id `x` already exists\n");
        assert_eq!(grootfs.ok(&["delete", "x"]), "Image x deleted\n");
        assert_eq!(grootfs.ok(&["delete", "x"]), "Image `x` not found. Skipping delete.\n");
        assert_eq!(grootfs.ok(&["delete", "y"]), "Image y deleted\n");
        assert_eq!(grootfs.ok(&["clean"]), "clean completed\n");
        for directory in ["images", "volumes", "tmp", "meta/dependencies"] {
            assert!(fixture.names(directory).is_empty(), "{directory}");
        }
    }
}

/// The layers are those that root unpacks with the same mappings.
fn as_root_makes_it(alice: &Alice) {
    let fixture = &alice.fixture;
    let (url, _) = fixture.oci("image", &image());
    let volumes = || {
        let tree = Tree::read(&fixture.path("volumes"));
        tree.map(|path, entry| {
            // The volumes themselves are made when they are made.
            if path.components().count() < 2 {
                entry.mtime = 0;
            }
        })
    };
    alice.grootfs.ok(&["create", "--without-mount", &url, "x"]);
    let theirs = volumes();
    let with = |name: &str| theirs.entries.values().filter(|e| e.xattrs.contains_key(name)).count();
    assert!(with("system.posix_acl_access") > 0 && with("security.capability") > 0);
    alice.grootfs.ok(&["delete", "x"]);
    alice.grootfs.ok(&["clean"]);
    fixture.grootfs.ok(&["create", "--without-mount", &url, "x"]);
    let ours = volumes();
    // Whiteouts are links to one device, or devices.
    let same = |_: &Path, entry: &mut testkit::tree::Entry| entry.same_as.clear();
    ours.map(same).assert_same(&theirs.map(same));
}

fn a_process_runs(alice: &Alice) {
    let (url, _) = alice.fixture.oci("image", &image());
    let line = alice.grootfs.ok(&["create", "--without-mount", &url, "x"]);
    let script = "cd /; stat -c '%u:%g %a %n' srv srv/data closed closed/inside closed/new; ls -d gone old; \
                  id -u; echo written > /root/file; chown 5:5 /root/file; stat -c %u /root/file";
    let mappings = ["0:5000:1", "1:100000:65536"];
    let output = run_mapped(&line, &mappings, &["/bin/sh", "-c", script]).success();
    assert_eq!(
        output,
        "33:44 2750 srv\n33:44 4640 srv/data\n1:1 500 closed\n2:2 644 closed/inside\n0:0 644 closed/new\n0\n5\n"
    );
    let written = if alice.fixture.is_overlay() { "diff" } else { "snapshot" };
    let file = alice.fixture.path(&format!("images/x/{written}/root/file"));
    assert_eq!(owner(&file), (FIRST_SUBID + 4, FIRST_SUBID + 4));
    assert_eq!(alice.grootfs.ok(&["delete", "x"]), "Image x deleted\n");
    assert!(alice.fixture.names("images").is_empty() && alice.fixture.names("tmp").is_empty());
}

/// They have no power in a user namespace, so the process of the user runs them.
fn set_uid_helpers_run_outside(alice: &Alice) {
    let overlay = alice.fixture.is_overlay();
    let answer = if overlay {
        "[ $1 = stats ] && echo '{\"disk_usage\":{\"total_bytes_used\":9,\"exclusive_bytes_used\":7}}'; exit 0"
    } else {
        "[ $1 = stats ] && \
         echo '{\"referenced\":9,\"exclusive\":7,\"referenced_limit\":0,\"exclusive_limit\":0}'; exit 0"
    };
    let name = if overlay { "tardis" } else { "drax" };
    let (program, notes) = alice.helper(name, answer);
    let grootfs =
        alice.grootfs.clone().with(&[&format!("--{name}-bin"), program.to_str().unwrap()]);
    let (url, _) = alice.fixture.oci("image", &image());
    let limit = ["create", "--without-mount", "--disk-limit-size-bytes", "100000000"];
    grootfs.ok(&[&limit[..], &[&url, "x"]].concat());
    let text = fs::read_to_string(&notes).unwrap();
    let limited = text.lines().find(|line| line.contains(" limit ")).unwrap();
    // The user, in a namespace of one line.
    assert!(limited.starts_with(&format!("{UID} 1 limit ")), "{limited}");
    let target = if overlay { "images/x" } else { "images/x/snapshot" };
    assert_contains(limited, alice.fixture.path(target).to_str().unwrap());
    assert_contains(&grootfs.ok(&["stats", "x"]), "\"exclusive_bytes_used\":7");
    grootfs.ok(&["limit", "--disk-limit-size-bytes", "200000000", "x"]);
    grootfs.ok(&["delete", "x"]);
    // What a helper says when it fails is told, and nothing is left.
    fs::write(&program, "#!/bin/sh\necho no quotas here\nexit 1\n").unwrap();
    let before = alice.fixture.listing();
    let text = grootfs.fails(&[&limit[..], &[&url, "x"]].concat());
    assert_contains(&text, "making image: creating image: ");
    assert_contains(&text, name);
    before.assert_same(&alice.fixture.listing());
}

fn root_and_the_user_share_a_store(alice: &Alice) {
    let fixture = &alice.fixture;
    let (url, _) = fixture.oci("image", &image());
    let spec = fixture.create(&url, "roots");
    fs::write(spec.rootfs().join("file"), "x").unwrap();
    // The layers are there, and the locks that root made are the user's too.
    alice.grootfs.ok(&["create", "--without-mount", &url, "x"]);
    if fixture.is_overlay() {
        let text = alice.grootfs.fails(&["delete", "roots"]);
        assert_contains(
            &text,
            "rootfs\" is a mountpoint and cannot be unmounted when running rootless",
        );
        assert!(spec.rootfs().join("file").exists());
        run(Command::new("umount").arg(spec.rootfs())).success();
    }
    // Overlay has left a directory of root's that nobody else may look into. Where there are quotas, root's
    // has a project.
    let (program, _) = alice.helper("tardis", "exit 0");
    let helped = alice.grootfs.clone().with(&["--tardis-bin", program.to_str().unwrap()]);
    assert_eq!(helped.ok(&["delete", "roots"]), "Image roots deleted\n");
    alice.grootfs.ok(&["delete", "x"]);
    alice.grootfs.ok(&["clean"]);
    assert!(fixture.names("volumes").is_empty() && fixture.names("tmp").is_empty());
}

/// The process in the namespace.
fn child_of(parent: u32) -> Pid {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        for child in children.split_whitespace() {
            let arguments = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            if arguments.starts_with(b"grootfs-in-user-namespace\0") {
                return Pid::from_raw(child.parse().unwrap()).unwrap();
            }
        }
        assert!(Instant::now() < end, "{parent} has no child");
        std::thread::yield_now();
    }
}

/// Becomes readable when a file is opened.
fn watch(file: &Path) -> OwnedFd {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let watch = init(CreateFlags::CLOEXEC).unwrap();
    add_watch(&watch, file, WatchFlags::OPEN).unwrap();
    watch
}

/// Whether a watch sees something, or a process ends, within half a minute.
fn happens(event: &OwnedFd) -> bool {
    let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
    poll(&mut [PollFd::new(event, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

fn nothing_outlives_the_user_s_process(alice: &Alice) {
    let (url, _) = alice.fixture.oci("image", &image());
    alice.grootfs.ok(&["create", "--without-mount", &url, "before"]);
    let lock_file = alice.fixture.path("locks/global-groot-lock.lock");
    let lock = File::open(&lock_file).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    for at_work in [false, true] {
        let opened = watch(&lock_file);
        let running = start(&mut alice.grootfs.command(&["create", "--without-mount", &url, "x"]));
        let child = child_of(running.id());
        let child_fd = pidfd_open(child, PidfdFlags::empty()).unwrap();
        if at_work {
            assert!(happens(&opened));
        }
        let parent = Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
        kill_process(parent, Signal::KILL).unwrap();
        assert!(happens(&child_fd), "the child is left, at work: {at_work}");
        assert_eq!(running.finish(Duration::from_secs(30)).code, None);
    }
    flock(&lock, FlockOperation::Unlock).unwrap();
    // And the other way round: the user is told.
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let opened = watch(&lock_file);
    let running = start(&mut alice.grootfs.command(&["create", "--without-mount", &url, "x"]));
    let child = child_of(running.id());
    assert!(happens(&opened));
    kill_process(child, Signal::KILL).unwrap();
    let text = running.finish(Duration::from_secs(30)).failure();
    assert_eq!(
        text,
        "the process in the user namespace was ended by signal 9; run the command again, it takes up what is left\n"
    );
    drop(lock);
    alice.grootfs.ok(&["create", "--without-mount", &url, "x"]);
}

fn sigterm_takes_away_what_was_begun(alice: &Alice) {
    let (url, _) = alice.fixture.oci("image", &image());
    alice.grootfs.ok(&["create", "--without-mount", &url, "before"]);
    let before = alice.fixture.listing();
    let lock_file = alice.fixture.path("locks/global-groot-lock.lock");
    let lock = File::open(&lock_file).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let opened = watch(&lock_file);
    let running = start(&mut alice.grootfs.command(&["create", "--without-mount", &url, "x"]));
    let child = child_of(running.id());
    assert!(happens(&opened));
    let parent = Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
    // As a terminal does: both get it.
    kill_process(child, Signal::INT).unwrap();
    kill_process(parent, Signal::INT).unwrap();
    let output = running.finish(Duration::from_secs(30));
    assert_eq!(output.code, Some(130), "{}", output.report());
    assert_eq!(output.stdout, "interrupted; what was begun has been taken away\n");
    before.assert_same(&alice.fixture.listing());
}

/// An opaque directory needs two marks: that for overlays that root mounts, which only a set-uid helper
/// can set, and that for overlays that a user mounts.
#[test]
fn privileged_overlay_xfs_opaque_directories() {
    let alice = Alice::new(Driver::OverlayXfs);
    let (program, notes) = alice.helper("tardis", "[ $1 = handle-opqwhiteouts ] || exit 1");
    let grootfs = alice.grootfs.clone().with(&["--tardis-bin", program.to_str().unwrap()]);
    let base = Layer::new()
        .directory("etc")
        .file("etc/old", "x")
        .directory("replaced")
        .file("replaced/old", "x");
    let top = Layer::new()
        .opaque("etc")
        .file("etc/new", "y")
        .opaque("a/b")
        .opaque("replaced")
        // What is no directory in the end is not marked, and nothing that a link leads to.
        .symlink("replaced", "etc");
    let image = Image::new().layer(&busybox()).layer(&base).layer(&top);
    let (url, _) = alice.fixture.oci("image", &image);
    let line = grootfs.ok(&["create", "--without-mount", &url, "x"]);
    let text = fs::read_to_string(&notes).unwrap();
    let marked: Vec<&str> = text.trim().split(" --opaque-path ").collect();
    assert_eq!(marked[0], format!("{UID} 1 handle-opqwhiteouts"), "{text}");
    let volume = alice.fixture.path("volumes");
    let below: Vec<String> = marked[1..]
        .iter()
        .map(|path| {
            let path = Path::new(path).strip_prefix(&volume).unwrap();
            let mut parts = path.components();
            assert_contains(&parts.next().unwrap().as_os_str().to_string_lossy(), "-incomplete-");
            parts.as_path().to_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(below, ["a/b", "etc"]);
    // The user mounts what is printed, in a namespace of the user's own.
    assert_contains(&line, "/workdir,userxattr\"");
    assert_eq!(mounted_by(&alice, &line, "ls etc"), "new\n");
    // Without the helper there is no such layer; those below may be whole.
    alice.grootfs.ok(&["delete", "x"]);
    alice.grootfs.ok(&["clean"]);
    let text = alice.grootfs.fails(&["create", "--without-mount", &url, "x"]);
    assert_contains(&text, "handling opaque whiteouts: tardis was not found in the $PATH");
    let top = image.chain_ids().pop().unwrap();
    let volumes = alice.fixture.names("volumes");
    assert!(!volumes.iter().any(|name| name.starts_with(&top)), "{volumes:?}");
    assert!(alice.fixture.names("images").is_empty() && alice.fixture.names("tmp").is_empty());
}

/// Mounts a root file system as the user may, and runs a script in it.
fn mounted_by(alice: &Alice, line: &str, script: &str) -> String {
    let spec: serde_json::Value = serde_json::from_str(line).unwrap();
    let rootfs = Spec::new(line.to_owned()).rootfs();
    let options = spec["mounts"][0]["options"][0].as_str().unwrap();
    let script = format!(
        "mount -t overlay -o '{options}' overlay '{0}' && cd '{0}' && {script}",
        rootfs.display()
    );
    in_namespace(alice, &["sh", "-ec", &script])
}

/// Runs a program of the user's in a namespace with mounts of its own and the ids of the store.
fn in_namespace(alice: &Alice, program: &[&str]) -> String {
    let words = alice.user.words(Path::new("/usr/bin/unshare"));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args([
        "--user",
        "--map-root-user",
        "--map-users=100000,1,65536",
        "--map-groups=100000,1,65536",
        "--mount",
    ]);
    run(command.args(program)).success()
}

/// The other commands that look into layers, too.
#[test]
fn privileged_overlay_xfs_metadata_and_the_end_of_a_store() {
    let alice = Alice::new(Driver::OverlayXfs);
    let (url, _) = alice.fixture.oci("image", &image());
    assert_contains(&alice.grootfs.ok(&["pull", &url]), "Pulled 3 layers");
    let metadata = || {
        let names = alice.fixture.names("meta").into_iter();
        names.filter(|name| name.starts_with("volume-")).collect::<Vec<_>>()
    };
    let before = metadata();
    for name in &before {
        fs::remove_file(alice.fixture.path(&format!("meta/{name}"))).unwrap();
    }
    alice.grootfs.ok(&["generate-volume-size-metadata"]);
    assert_eq!(metadata(), before);
    // The directory above is root's.
    assert_contains(&alice.grootfs.fails(&["delete-store"]), "deleting store path: rmdir ");
    assert_eq!(Tree::read(alice.fixture.grootfs.store()).paths(), ["."]);
}

/// Who is root of a namespace that was there before may mount in it.
#[test]
fn privileged_overlay_xfs_with_mount_in_a_namespace_of_the_user_s() {
    let alice = Alice::new(Driver::OverlayXfs);
    let (url, _) = alice.fixture.oci("image", &image());
    let program = alice.fixture.scratch("grootfs");
    fs::copy(crate::fixture::PROGRAM, &program).unwrap();
    let script = format!(
        "{0} --store {1} create --with-mount {url} x >&2 && cd {1}/images/x/rootfs; \
         stat -c '%u:%g' srv/data; ls -d gone 2>/dev/null || echo gone; echo y > new; cd /; \
         {0} --store {1} delete x",
        program.display(),
        alice.fixture.grootfs.store().display()
    );
    let output = in_namespace(&alice, &["sh", "-c", &script]);
    assert_eq!(output, "33:44\ngone\nImage x deleted\n");
    assert_eq!(owner(&alice.fixture.path("volumes")), (UID, UID));
    alice.grootfs.ok(&["clean"]);
    assert!(alice.fixture.names("volumes").is_empty());
}
