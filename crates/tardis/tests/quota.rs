//! `tardis` on an XFS with project quotas: limits hold, are shown, and are nobody else's to change.
//!
//! Many kernels are built without these quotas. `hack/test` runs this file in User-Mode Linux, and
//! `.config/nextest.toml` leaves it out elsewhere: its tests begin with `privileged_xfs_quota_`.
//! Where somebody runs them on a kernel that cannot, they fail and say so.

#![expect(clippy::unwrap_used, reason = "a panic is the failure that the test reports")]

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use groot_sys::project_quota::{Limits, Quota, project_id, set_project_id};
use tardis::Projects;
use testkit::command::{Output, run, run_within};
use testkit::filesystem::{Kind, LoopFilesystem};
use testkit::set_uid::{
    ALICE, MALLORY, SetUid, make_directory, make_store, set_mode, while_swapping,
};

const MIB: u64 = 1 << 20;

/// The limit that Alice has, and that must stay.
const ALICES: u64 = 12 * MIB;

/// How often a race is tried. There is one processor, and every process takes its time.
const RACES: usize = 40;

/// Two users with a store each on one file system, each with the image `one`. Alice's is limited.
struct Rig {
    tardis: SetUid,
    filesystem: LoopFilesystem,
}

impl Rig {
    fn new() -> Self {
        let rig = Self {
            tardis: SetUid::new(Path::new(env!("CARGO_BIN_EXE_tardis"))),
            filesystem: LoopFilesystem::new(Kind::Xfs),
        };
        assert!(rig.filesystem.has_quotas(), "this kernel has no quotas of XFS: run hack/test");
        set_mode(rig.filesystem.path().parent().unwrap(), 0o755);
        for (name, user) in [("mallory", MALLORY), ("alice", ALICE)] {
            make_store(&rig.filesystem.path().join(name), user);
        }
        // Open doors, so that it is the program that refuses.
        set_mode(&rig.alice(""), 0o755);
        rig.image(&rig.mallory("images/one"), MALLORY);
        rig.image(&rig.alice("images/one"), ALICE);
        set_mode(&rig.alice("images/one"), 0o755);
        rig.limit(ALICE, &rig.alice("images/one"), ALICES).success();
        rig
    }

    fn alice(&self, below: &str) -> PathBuf {
        self.filesystem.path().join("alice").join(below)
    }

    fn mallory(&self, below: &str) -> PathBuf {
        self.filesystem.path().join("mallory").join(below)
    }

    fn image(&self, path: &Path, user: u32) {
        make_directory(path, user);
        fs::write(path.join("image_info"), "1000").unwrap();
        chown(path.join("image_info"), Some(user), Some(user)).unwrap();
    }

    fn run<A: AsRef<OsStr>>(&self, user: u32, arguments: &[A]) -> Output {
        run(&mut self.tardis.command(user, arguments))
    }

    fn limit(&self, user: u32, image: &Path, bytes: u64) -> Output {
        let (path, bytes) = (image.to_str().unwrap(), bytes.to_string());
        let line = ["limit", "--disk-limit-bytes", &bytes, "--image-path", path];
        run(&mut self.tardis.shell(user, "umask 0777; exec \"$@\"", &line))
    }

    fn stats(&self, user: u32, image: &Path) -> Output {
        self.run(user, &["stats", "--volume-path", image.to_str().unwrap()])
    }

    /// One number of what `stats` says.
    #[track_caller]
    fn figure(&self, image: &Path, name: &str) -> u64 {
        let json = self.stats(0, image).success();
        let after = json.split_once(&format!("\"{name}\":")).unwrap().1;
        after.split([',', '}']).next().unwrap().parse().unwrap()
    }

    fn quota(&self, store: &Path, id: u32) -> Quota {
        let open = fs::File::open(store).unwrap();
        Projects::new(open.as_fd(), store).quota(id).unwrap()
    }

    #[track_caller]
    fn alice_is_well(&self) {
        let id = id_of(&self.alice("images/one"));
        let quota = self.quota(&self.alice(""), id);
        assert_eq!((quota.limits.bytes, quota.inodes), (ALICES, 2));
    }
}

fn id_of(path: &Path) -> u32 {
    project_id(fs::File::open(path).unwrap().as_fd()).unwrap()
}

/// Writes an id on a directory, as its owner can.
fn set_id(path: &Path, id: u32) {
    set_project_id(fs::File::open(path).unwrap().as_fd(), id).unwrap();
}

/// Whether so much can be written and reaches the disk.
fn fits(path: &Path, mebibytes: u64) -> bool {
    let block = vec![7; MIB as usize];
    let fits = fs::File::create(path).and_then(|mut file| {
        (0..mebibytes).try_for_each(|_| file.write_all(&block))?;
        file.sync_all()
    });
    if let Err(error) = &fits {
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }
    fits.is_ok()
}

#[test]
fn privileged_xfs_quota_limits_hold_and_are_shown() {
    let rig = Rig::new();
    let image = rig.mallory("images/one");
    assert_eq!(rig.limit(MALLORY, &image, 8 * MIB).success(), "");
    assert!(!fits(&image.join("much"), 16));
    fs::remove_file(image.join("much")).unwrap();
    assert!(fits(&image.join("some"), 4));
    let json = rig.stats(MALLORY, &image).success();
    // The image's directory, `image_info` and `some`; one block for the short file.
    assert_eq!(
        json,
        format!(
            "{{\"disk_usage\":{{\"total_bytes_used\":{},\"exclusive_bytes_used\":{},\
             \"quota_size_bytes\":{},\"committed_space_bytes\":{},\"inodes_used\":3,\
             \"inode_limit\":0}}}}",
            4 * MIB + 4096 + 1000,
            4 * MIB + 4096,
            8 * MIB,
            8 * MIB + 1000
        )
    );
    let id = id_of(&image);
    let listed = fs::metadata(rig.mallory(&format!("projectids/{id}"))).unwrap();
    assert_eq!(listed.permissions().mode() & 0o7777, 0o755);
    rig.limit(MALLORY, &image, 0).success();
    assert!(fits(&image.join("much"), 16));
    assert_eq!(rig.figure(&image, "quota_size_bytes"), 0);
    assert_eq!(rig.figure(&image, "inode_limit"), 0);
    assert_eq!(rig.figure(&image, "exclusive_bytes_used"), 20 * MIB + 4096);
    // Fewer bytes than a sector are a limit too.
    rig.limit(MALLORY, &image, 100).success();
    assert!(!fits(&image.join("more"), 1));
    assert_eq!(id_of(&image), id);
}

#[test]
fn privileged_xfs_quota_inodes_are_limited() {
    let rig = Rig::new();
    let image = rig.mallory("images/one");
    let path = image.to_str().unwrap();
    let line = ["limit", "--disk-limit-bytes=0", "--inode-limit=10", "--image-path", path];
    rig.run(MALLORY, &line).success();
    let made = (0..20).take_while(|n| fs::write(image.join(n.to_string()), "").is_ok()).count();
    assert_eq!(made, 8);
    assert_eq!(rig.figure(&image, "inode_limit"), 10);
    assert_eq!(rig.figure(&image, "inodes_used"), 10);
}

#[test]
fn privileged_xfs_quota_what_is_there_already_is_counted() {
    let rig = Rig::new();
    let image = rig.mallory("images/one");
    fs::create_dir_all(image.join("diff/a/b")).unwrap();
    assert!(fits(&image.join("diff/a/b/file"), 3));
    fs::hard_link(image.join("diff/a/b/file"), image.join("diff/link")).unwrap();
    chown(image.join("diff/link"), Some(MALLORY), None).unwrap();
    symlink("/etc", image.join("diff/out")).unwrap();
    // A file of Alice's under a second name, where the kernel allows that.
    fs::write(rig.alice("tmp/file"), "alice").unwrap();
    chown(rig.alice("tmp/file"), Some(ALICE), None).unwrap();
    fs::hard_link(rig.alice("tmp/file"), image.join("diff/hers")).unwrap();
    rig.limit(MALLORY, &image, 8 * MIB).success();
    assert_eq!(rig.figure(&image, "exclusive_bytes_used"), 3 * MIB + 4096);
    assert_eq!(id_of(&rig.alice("tmp/file")), 0);
    assert!(!fits(&image.join("diff/a/more"), 8));
}

#[test]
fn privileged_xfs_quota_the_self_test_of_a_deployment_passes() {
    let rig = Rig::new();
    let store = rig.filesystem.path().join("store");
    make_store(&store, 0);
    let script = "cd \"$1\" && mkdir -p images/xfs_test && \
                  \"$0\" --log-timestamp-format rfc3339 limit --disk-limit-bytes 102400 \
                  --image-path \"$1/images/xfs_test\" && stat -f -c %b \"$1/images/xfs_test\" && \
                  rm -rf images/xfs_test";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(rig.tardis.path()).arg(&store);
    // The directory's own file system has 25 blocks of 4 KiB.
    assert_eq!(run(&mut shell).success(), "25\n");
}

#[test]
fn privileged_xfs_quota_the_ids_of_old_images_stay_in_the_stores_of_root() {
    let rig = Rig::new();
    let store = rig.filesystem.path().join("store");
    make_store(&store, 0);
    rig.image(&store.join("images/old"), 0);
    fs::create_dir(store.join("projectids/700")).unwrap();
    set_id(&store.join("images/old"), 700);
    assert!(fits(&store.join("images/old/file"), 1));
    rig.limit(0, &store.join("images/old"), 4 * MIB).success();
    assert_eq!(id_of(&store.join("images/old")), 700);
    assert!(!fits(&store.join("images/old/much"), 8));
}

#[test]
fn privileged_xfs_quota_file_systems_without_are_named_with_the_remedy() {
    let rig = Rig::new();
    let mounted = rig.filesystem.path();
    let file = mounted.with_file_name("image");
    for (options, text) in [
        ("loop", "it is mounted without the option `pquota`"),
        ("loop,pqnoenforce", "it is mounted with `pqnoenforce`"),
    ] {
        run(Command::new("umount").arg(&mounted)).success();
        run(Command::new("mount").args(["-o", options]).arg(&file).arg(&mounted)).success();
        let said = rig.limit(MALLORY, &rig.mallory("images/one"), MIB).failure();
        assert!(said.contains(&format!("{} ", mounted.display())), "{said}");
        assert!(said.contains(text) && said.contains("`-o pquota`"), "{said}");
    }
    let elsewhere = rig.tardis.scratch().join("store");
    make_store(&elsewhere, MALLORY);
    rig.image(&elsewhere.join("images/one"), MALLORY);
    let said = rig.limit(MALLORY, &elsewhere.join("images/one"), MIB).failure();
    assert!(said.contains("tardis limits only what lies on XFS"), "{said}");
}

#[test]
fn privileged_xfs_quota_hostile_image_info_is_an_error() {
    let rig = Rig::new();
    let image = rig.mallory("images/one");
    let info = image.join("image_info");
    let secret = rig.alice("tmp/pin");
    fs::write(&secret, "31337").unwrap();
    set_mode(&secret, 0o600);
    let make: [(&str, &dyn Fn()); 8] = [
        ("no such file", &|| ()),
        ("not a decimal number", &|| fs::write(&info, "12 monkeys").unwrap()),
        ("not a decimal number", &|| fs::write(&info, "-1").unwrap()),
        ("not a decimal number", &|| fs::write(&info, "18446744073709551616").unwrap()),
        ("not a decimal number", &|| fs::File::create(&info).unwrap().set_len(1 << 30).unwrap()),
        ("not a regular file", &|| {
            run(Command::new("mkfifo").args(["-m", "666"]).arg(&info)).success();
        }),
        ("symbolic link", &|| symlink(&secret, &info).unwrap()),
        ("ermission denied", &|| fs::hard_link(&secret, &info).unwrap()),
    ];
    for (text, make) in make {
        fs::remove_file(&info).unwrap_or_else(|e| assert_eq!(e.kind(), ErrorKind::NotFound));
        make();
        let line = ["stats", "--volume-path", image.to_str().unwrap()];
        let limit = Duration::from_secs(20);
        let said = run_within(&mut rig.tardis.command(MALLORY, &line), limit).failure();
        assert!(said.starts_with("reading image info "), "{said}");
        assert!(said.to_lowercase().contains(text), "{text}: {said}");
        assert!(!said.contains("31337"), "{said}");
    }
}

#[test]
fn privileged_xfs_quota_foreign_images_are_refused() {
    let rig = Rig::new();
    let victim = rig.alice("images/one");
    assert!(rig.limit(MALLORY, &victim, MIB).failure().contains("belongs to user 4243"));
    rig.stats(MALLORY, &victim).failure();
    symlink(&victim, rig.mallory("images/link")).unwrap();
    lchown(rig.mallory("images/link"), Some(MALLORY), Some(MALLORY)).unwrap();
    for path in [
        rig.mallory("images/link"),
        rig.mallory("images/../../alice/images/one"),
        rig.mallory("images/one/below"),
        rig.mallory("images"),
        rig.mallory("volumes/one"),
        PathBuf::from("/"),
        PathBuf::from("/etc"),
    ] {
        rig.limit(MALLORY, &path, MIB).failure();
        rig.stats(MALLORY, &path).failure();
    }
    let said = rig.limit(MALLORY, &rig.mallory("images/none"), MIB).failure();
    assert!(said.starts_with("image path (") && said.contains(") doesn't exist: stat "), "{said}");
    rig.alice_is_well();
}

#[test]
fn privileged_xfs_quota_an_id_that_a_user_wrote_is_not_believed() {
    let rig = Rig::new();
    let image = rig.mallory("images/one");
    let alices = id_of(&rig.alice("images/one"));
    make_directory(&rig.mallory(&format!("projectids/{alices}")), MALLORY);
    set_id(&image, alices);
    for bytes in [0, MIB, 0] {
        rig.limit(MALLORY, &image, bytes).success();
        let quota = rig.quota(&rig.alice(""), alices);
        assert_eq!(quota.limits, Limits { bytes: ALICES, inodes: 0 });
    }
    // It got a project of its own instead, which the limit holds for.
    assert_ne!(id_of(&image), alices);
    rig.limit(MALLORY, &image, MIB).success();
    assert!(!fits(&image.join("much"), 4));
    rig.alice_is_well();
}

#[test]
fn privileged_xfs_quota_a_mark_is_no_key_to_a_later_project() {
    let rig = Rig::new();
    let image = rig.mallory("images/one");
    rig.limit(MALLORY, &image, MIB).success();
    let marked = id_of(&image);
    // Nothing of the project is left but the mark on the image.
    rig.limit(MALLORY, &image, 0).success();
    for path in [image.join("image_info"), image.clone()] {
        set_id(&path, 0);
    }
    fs::remove_dir(rig.mallory(&format!("projectids/{marked}"))).unwrap();
    for name in ["two", "three", "four"] {
        let later = rig.alice(&format!("images/{name}"));
        rig.image(&later, ALICE);
        rig.limit(ALICE, &later, ALICES).success();
        assert_ne!(id_of(&later), marked);
    }
}

#[test]
fn privileged_xfs_quota_two_stores_at_once_share_no_project() {
    let rig = Rig::new();
    let images: Vec<(u32, PathBuf)> = (0..8)
        .flat_map(|n| {
            let name = format!("images/many{n}");
            [(MALLORY, rig.mallory(&name)), (ALICE, rig.alice(&name))]
        })
        .collect();
    std::thread::scope(|scope| {
        for (user, image) in &images {
            rig.image(image, *user);
            scope.spawn(|| rig.limit(*user, image, MIB).success());
        }
    });
    let mut ids: Vec<u32> = images.iter().map(|(_, image)| id_of(image)).collect();
    ids.push(id_of(&rig.alice("images/one")));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), images.len() + 1);
    rig.alice_is_well();
}

#[test]
fn privileged_xfs_quota_a_race_over_the_image_gains_nothing() {
    let rig = Rig::new();
    let (image, evil) = (rig.mallory("images/one"), rig.mallory("images/evil"));
    symlink(rig.alice("images/one"), &evil).unwrap();
    let line = ["limit", "--disk-limit-bytes=1048576", "--image-path", image.to_str().unwrap()];
    while_swapping(&image, &evil, || {
        for _ in 0..RACES {
            let output = rig.run(MALLORY, &line);
            assert!(matches!(output.code, Some(0 | 1)), "{}", output.report());
        }
    });
    rig.alice_is_well();
}

#[test]
fn privileged_xfs_quota_opaque_directories_are_marked_in_layers_only() {
    let rig = Rig::new();
    let layer = rig.mallory("volumes/layer-incomplete-1");
    for below in ["", "a", "a/volumes", "a/volumes/b"] {
        make_directory(&layer.join(below), if below.is_empty() { MALLORY } else { 100_000 });
    }
    symlink(rig.alice("volumes"), layer.join("link")).unwrap();
    make_directory(&rig.alice("volumes/layer"), ALICE);
    fs::write(layer.join("file"), "").unwrap();
    let opaque = |path: &Path| {
        let mut value = [0; 8];
        match rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value) {
            Ok(length) => value[..length] == *b"y",
            Err(errno) => {
                assert_eq!(errno, rustix::io::Errno::NODATA);
                false
            }
        }
    };
    let mark = |paths: &[PathBuf]| {
        let mut line = vec!["handle-opqwhiteouts".to_owned()];
        line.extend(paths.iter().map(|path| format!("--opaque-path={}", path.display())));
        rig.run(MALLORY, &line)
    };
    let good = [layer.join("a"), layer.join("a/volumes/b")];
    assert_eq!(mark(&good).success(), "");
    assert!(good.iter().all(|path| opaque(path)));
    assert!(!opaque(&layer.join("a/volumes")) && !opaque(&layer));
    for bad in [
        layer.join("link"),
        layer.join("link/layer"),
        layer.join("file"),
        layer.join("none"),
        layer.join("a/../a"),
        rig.alice("volumes/layer"),
        rig.mallory("images/one"),
        PathBuf::from("/etc"),
    ] {
        let said = mark(std::slice::from_ref(&bad)).failure();
        assert!(said.starts_with(&format!("set xattr for {}: ", bad.display())), "{said}");
    }
    assert!(!opaque(&rig.alice("volumes/layer")));
}
