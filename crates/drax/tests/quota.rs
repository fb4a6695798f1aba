//! `drax` on a btrfs with quotas: limits hold, and are shown.

#![expect(clippy::unwrap_used, reason = "a panic is the failure that the test reports")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::command::{Output, run};
use testkit::filesystem::{Kind, LoopFilesystem};
use testkit::set_uid::{ALICE, SetUid, make_directory, make_store, set_mode};

const MIB: usize = 1 << 20;

/// A store of a user with one image, and the program.
struct Rig {
    drax: SetUid,
    filesystem: LoopFilesystem,
}

impl Rig {
    fn new() -> Self {
        let rig = Self {
            drax: SetUid::new(Path::new(env!("CARGO_BIN_EXE_drax"))),
            filesystem: LoopFilesystem::new(Kind::Btrfs),
        };
        set_mode(rig.filesystem.path().parent().unwrap(), 0o755);
        make_store(&rig.store(), ALICE);
        make_directory(&rig.image(), ALICE);
        rig
    }

    fn store(&self) -> PathBuf {
        self.filesystem.path().join("store")
    }

    fn image(&self) -> PathBuf {
        self.store().join("images/one")
    }

    fn subvolume(&self, path: &Path) {
        run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(path)).success();
        chown(path, Some(ALICE), Some(ALICE)).unwrap();
    }

    fn run(&self, command: &str, path: &Path, flags: &[&str]) -> Output {
        let path = path.to_str().unwrap();
        let arguments = [&[command, "--volume-path", path], flags].concat();
        run(&mut self.drax.command(ALICE, &arguments))
    }

    fn list(&self, path: &Path) -> String {
        run(&mut self.drax.command(ALICE, &["list", path.to_str().unwrap()])).success()
    }
}

/// Whether so much can be written and reaches the disk.
fn fits(path: &Path, mebibytes: usize) -> bool {
    let mut file = fs::File::create(path).unwrap();
    let block = vec![7; MIB];
    let written = (0..mebibytes).try_for_each(|_| file.write_all(&block));
    let fits = written.and_then(|()| file.sync_all());
    if let Err(error) = &fits {
        assert_eq!(error.kind(), std::io::ErrorKind::QuotaExceeded, "{error}");
    }
    fits.is_ok()
}

#[test]
fn privileged_limits_hold_and_are_shown() {
    let rig = Rig::new();
    let root = rig.image().join("rootfs");
    rig.subvolume(&root);
    assert_eq!(rig.run("limit", &root, &["--disk-limit-bytes", "8388608"]).success(), "");
    let json = rig.run("stats", &root, &["--json", "--force-sync"]).success();
    assert!(json.ends_with(r#""referenced_limit":8388608,"exclusive_limit":0}"#), "{json}");
    assert!(!fits(&root.join("much"), 16));
    fs::remove_file(root.join("much")).unwrap();
    let table = rig.run("stats", &root, &["--force-sync"]).success();
    assert!(table.starts_with("qgroupid         rfer         excl \n--------"), "{table}");
    let numbers: Vec<u64> = table
        .lines()
        .last()
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|n| n.parse().unwrap())
        .collect();
    assert_eq!(numbers.len(), 2, "{table}");

    // One limit takes the other's place.
    let flags = ["--exclude-image-from-quota", "--disk-limit-bytes", "4194304"];
    assert_eq!(rig.run("limit", &root, &flags).success(), "");
    let json = rig.run("stats", &root, &["--json"]).success();
    assert!(json.ends_with(r#""referenced_limit":0,"exclusive_limit":4194304}"#), "{json}");
    assert!(!fits(&root.join("much"), 16));

    rig.run("limit", &root, &["--disk-limit-bytes", "0"]).success();
    assert!(fits(&root.join("much"), 16));
    let json = rig.run("stats", &root, &["--json", "--force-sync"]).success();
    assert!(json.ends_with(r#""referenced_limit":0,"exclusive_limit":0}"#), "{json}");
    let referenced: u64 =
        json["{\"referenced\":".len()..].split(',').next().unwrap().parse().unwrap();
    assert!(referenced > 16 * MIB as u64, "{json}");
}

#[test]
fn privileged_an_image_without_mount_is_its_snapshot() {
    let rig = Rig::new();
    let root = rig.image().join("rootfs");
    fs::create_dir(&root).unwrap();
    let said = rig.run("limit", &root, &["--disk-limit-bytes", "1"]).failure();
    assert!(said.contains("is not a btrfs volume"), "{said}");
    rig.subvolume(&rig.image().join("snapshot"));
    rig.run("limit", &root, &["--disk-limit-bytes", "4194304"]).success();
    let of_snapshot = rig.run("stats", &rig.image().join("snapshot"), &["--json"]).success();
    assert!(of_snapshot.contains(r#""referenced_limit":4194304"#), "{of_snapshot}");
    assert!(!fits(&rig.image().join("snapshot/much"), 16));
}

#[test]
fn privileged_subvolumes_are_listed_from_the_inside_out() {
    let rig = Rig::new();
    let root = rig.image().join("rootfs");
    assert_eq!(rig.list(&rig.image()), "");
    rig.subvolume(&root);
    rig.subvolume(&root.join("a"));
    rig.subvolume(&root.join("a/b"));
    fs::create_dir(root.join("plain")).unwrap();
    rig.subvolume(&root.join("plain/c"));
    // A neighbour whose name begins in the same way.
    make_directory(&rig.store().join("images/one0"), ALICE);
    rig.subvolume(&rig.store().join("images/one0/rootfs"));
    let expected: Vec<String> = ["plain/c", "a/b", "a", ""]
        .iter()
        .map(|below| root.join(below).to_str().unwrap().trim_end_matches('/').to_owned())
        .collect();
    for path in [&rig.image(), &root] {
        assert_eq!(rig.list(path), expected.join("\n"));
    }
    let layer = rig.store().join("volumes/layer");
    rig.subvolume(&layer);
    assert_eq!(rig.list(&layer), layer.to_str().unwrap());
}

#[test]
fn privileged_destroy_leaves_what_lives() {
    let rig = Rig::new();
    let root = rig.image().join("rootfs");
    rig.subvolume(&root);
    rig.run("limit", &root, &["--disk-limit-bytes", "8388608"]).success();
    assert_eq!(rig.run("destroy", &root, &[]).success(), "");
    let json = rig.run("stats", &root, &["--json"]).success();
    assert!(json.contains(r#""referenced_limit":8388608"#), "{json}");
    let said = rig.run("destroy", &rig.store().join("images/none/rootfs"), &[]).failure();
    assert!(said.contains("is not a btrfs volume") && said.contains("no such file"), "{said}");
}

#[test]
fn privileged_without_quotas_the_remedy_is_named() {
    let rig = Rig::new();
    let root = rig.image().join("rootfs");
    rig.subvolume(&root);
    let mounted = rig.filesystem.path();
    run(Command::new("btrfs").args(["quota", "disable"]).arg(&mounted)).success();
    for (command, flags) in [("limit", &["--disk-limit-bytes", "1"][..]), ("stats", &[])] {
        let said = rig.run(command, &root, flags).failure();
        let remedy = format!("btrfs quota enable {}", mounted.display());
        assert!(said.contains(&remedy), "{said}");
    }
    assert_eq!(rig.list(&root), root.to_str().unwrap());
}

#[test]
fn privileged_old_kernels_do_the_same() {
    let rig = Rig::new();
    let root = rig.image().join("rootfs");
    rig.subvolume(&root);
    rig.subvolume(&root.join("inner"));
    let log = rig.drax.scratch().join("log");
    // As root: strace takes the set-uid bit away for others.
    let mut strace = Command::new("strace");
    strace.arg("-o").arg(&log).args(["-e", "trace=openat2,close_range"]);
    strace.args(["-e", "inject=openat2,close_range:error=ENOSYS"]);
    let listed = run(strace.arg(rig.drax.path()).arg("list").arg(&root)).success();
    assert_eq!(listed, format!("{0}/inner\n{0}", root.display()));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("openat2(") && log.contains("close_range("), "{log}");
    let let_through = log.lines().find(|line| line.contains(" = ") && !line.contains("INJECTED"));
    assert_eq!(let_through, None);
}
