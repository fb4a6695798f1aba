//! Somebody who renames in a volume while it is being filled cannot move a write out of it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use grootfs::idmap::IdMappings;
use grootfs::unpack::{Limits, OnDisk, Target, unpack};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};
use testkit::command::run;
use testkit::filesystem::{Kind, LoopFilesystem, Scratch};
use testkit::hostile::shape;
use testkit::layer::{Entry, Layer};

/// How often a layer is unpacked while names change places: some seconds.
const ROUNDS: usize = 100;

/// Every kind of write, below two directories that come and go.
fn layer() -> Vec<u8> {
    let mut layer = Layer::new();
    for number in 0..20 {
        for top in ["d", "d/e"] {
            layer = layer
                .entry(Entry::directory(top).mode(0o751).owner(3, 4).xattr("user.a", "x"))
                .entry(Entry::file(format!("{top}/file"), "written").mode(0o4711).owner(5, 6))
                .entry(Entry::file(format!("{top}/new-{number}"), "written").xattr("user.a", "x"))
                .entry(Entry::symlink(format!("{top}/link"), "written").owner(7, 8))
                .entry(Entry::fifo(format!("{top}/fifo")).owner(7, 8))
                .entry(Entry::hard_link(format!("{top}/hard"), format!("{top}/file")))
                .entry(Entry::directory(format!("{top}/sub")).mode(0o700).owner(9, 9))
                .entry(Entry::whiteout(&format!("{top}/victim")))
                .entry(Entry::opaque(&format!("{top}/sub")))
                .entry(Entry::file(format!("{top}/sub/file"), "written"));
        }
    }
    layer.tar()
}

/// What must not change: the same names as in the layer, so that every write would hit.
fn make_outside(outside: &Path) {
    for directory in ["", "e", "sub", "e/sub"] {
        fs::create_dir_all(outside.join(directory)).unwrap();
        for name in ["file", "victim", "hard", "fifo", "link"] {
            fs::write(outside.join(directory).join(name), "kept").unwrap();
        }
    }
}

fn state(outside: &Path) -> Vec<String> {
    let mut lines = shape::read(outside);
    for path in ["", "e", "sub", "e/sub", "file", "victim", "e/file", "e/victim"] {
        lines.extend(shape::facts(&outside.join(path)));
    }
    lines
}

/// Exchanges directories for links out of the volume until it is told to stop.
fn exchange(root: &Path, stop: &AtomicBool, done: &AtomicU64) {
    let top = File::open(root).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Never through a link: this thread is not the one that is tested.
    let swap = |directory: &str, name: &str, evil: &str| {
        let Ok(from) = openat(&top, directory, flags, Mode::empty()) else { return };
        if renameat_with(&from, name, &top, evil, RenameFlags::EXCHANGE).is_ok() {
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let names =
        [(".", "d", "evil-0"), ("d", "e", "evil-1"), ("d", "sub", "evil-2"), ("d", "e", "evil-3")];
    while !stop.load(Ordering::Relaxed) {
        for (directory, name, evil) in names {
            swap(directory, name, evil);
            swap(directory, name, evil);
        }
        // What was moved away is not there any more.
        for (number, target) in
            ["../outside", "/outside", "../outside/sub", "../../outside/e"].into_iter().enumerate()
        {
            let evil = root.join(format!("evil-{number}"));
            if !evil.is_symlink() {
                let _ = fs::remove_dir_all(&evil).or_else(|_| fs::remove_file(&evil));
                let _ = symlink(target, &evil);
            }
        }
    }
}

/// Unpacks again and again while names change places; whether a round succeeds does not matter.
fn race(top: &Path, for_overlay: bool) {
    let (root, outside) = (top.join("root"), top.join("outside"));
    make_outside(&outside);
    let before = state(&outside);
    let device = top.join("device");
    groot_sys::fs::make_device(CWD, &device, 0).unwrap();
    let device = openat(CWD, &device, OFlags::PATH, Mode::empty()).unwrap();
    let tar = layer();
    let (mut fine, done) = (0, AtomicU64::new(0));
    for round in 0..ROUNDS {
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::create_dir_all(root.join("d/sub")).unwrap();
        let stop = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| exchange(&root, &stop, &done));
            let open = File::open(&root).unwrap();
            let whiteout_device = device.as_fd();
            let target = Target {
                root: open.as_fd(),
                on_disk: if for_overlay {
                    OnDisk::Overlay { whiteout_device }
                } else {
                    OnDisk::Plain
                },
                mappings: &IdMappings::default(),
                base_directory: None,
                limits: Limits { bytes: u64::MAX, entries: u64::MAX },
            };
            let result = unpack(&mut tar.as_slice(), &target);
            stop.store(true, Ordering::Relaxed);
            result
        });
        fine += usize::from(result.is_ok());
        assert_eq!(state(&outside), before, "round {round}: {result:?}");
        fs::remove_dir_all(&root).unwrap();
    }
    // Or nobody raced.
    let done = done.into_inner();
    assert!(done > ROUNDS as u64, "only {done} exchanges in {ROUNDS} rounds, {fine} fine");
}

#[test]
fn privileged_on_btrfs() {
    let filesystem = LoopFilesystem::new(Kind::Btrfs);
    race(&filesystem.path(), false);
}

#[test]
fn privileged_on_tmpfs_for_overlay() {
    let scratch = Scratch::new();
    let top = scratch.join("tmpfs");
    fs::create_dir(&top).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&top)).success();
    race(&top, true);
}

/// The same in a process of its own, for which `openat2` is missing.
#[test]
fn privileged_without_openat2() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let wrapper = crate::hostile::without_openat2(log.path());
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(std::env::current_exe().unwrap());
    command.args(["rename_race::privileged_on_", "--test-threads", "1"]);
    let output = run(&mut command).success();
    assert!(output.contains("2 passed"), "{output}");
    assert!(fs::read_to_string(log.path()).unwrap().contains("(INJECTED)"));
}
