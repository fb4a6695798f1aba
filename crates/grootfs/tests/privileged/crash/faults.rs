//! What the kernel refuses: room, reads and writes, descriptors, memory. A clear error, and a whole store.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate};
use testkit::command::{Output, run};
use testkit::image::Image;
use testkit::layer::{Entry, Layer};
use testkit::memory_cgroup::MemoryCgroup;
use testkit::tree::Tree;

use super::Before;
use super::kills::{at_calls, calls_of, injected, reference};
use crate::fixture::{Fixture, Spec, assert_contains, two_layers};

on_both_drivers!(full_disk, errors, few_descriptors, little_memory, killed_for_memory, read_only);

/// What is left of the disk, from nothing to enough. On btrfs it is data that runs out first.
const FREE: [u64; 7] = [0, 32 << 10, 128 << 10, 512 << 10, 1 << 20, 2 << 20, 16 << 20];

/// A file that takes all the room there is, but for some.
struct Balloon {
    path: PathBuf,
    file: File,
}

impl Balloon {
    fn new(directory: &Path) -> Self {
        let path = directory.join("balloon");
        let file = File::create(&path).unwrap();
        Self { path, file }
    }

    fn leave(&self, free: u64) {
        let mut length = self.file.metadata().unwrap().len();
        for step in [16 << 20, 1 << 20, 64 << 10] {
            while fallocate(&self.file, FallocateFlags::empty(), length, step).is_ok() {
                length += step;
            }
        }
        self.file.set_len(length - free.min(length)).unwrap();
        self.file.sync_all().unwrap();
    }
}

impl Drop for Balloon {
    fn drop(&mut self) {
        // Gone with the file system in any case.
        let _ = fs::remove_file(&self.path);
    }
}

/// Two layers of some MiB together.
fn large_image() -> Image {
    let layer = |name: &str, byte: u8| {
        let files = (0..30).map(|n| Entry::file(format!("{name}-{n}"), vec![byte + n; 60_000]));
        files.fold(Layer::new(), Layer::entry)
    };
    Image::new().layer(&layer("a", 1)).layer(&layer("b", 100))
}

/// Either it worked, or it says why not.
#[track_caller]
fn assert_whole_or_clear(output: Output, reference: &Tree, reasons: &[&str], what: &str) -> bool {
    if output.code == Some(0) {
        let found = reference.diff(&Spec::new(output.stdout).tree());
        assert!(found.0.is_empty(), "{what}: not what it was made of:\n{found}");
        return true;
    }
    let text = output.stdout.to_lowercase() + &output.stderr.to_lowercase();
    // 127 is the dynamic loader's, before the program begins.
    let is_clear =
        matches!(output.code, Some(1 | 127)) && reasons.iter().any(|reason| text.contains(reason));
    assert!(is_clear, "{what}: {}", output.report());
    false
}

/// Nothing is half made.
#[track_caller]
fn assert_nothing_half(fixture: &Fixture, what: &str) {
    let half = |name: &String| name.contains("-incomplete-");
    let volumes = fixture.names("volumes");
    assert!(!volumes.iter().any(half), "{what}: {volumes:?}");
    assert_eq!(fixture.names("images"), [""; 0], "{what}");
}

fn full_disk(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &large_image());
    let reference = reference(fixture, &url);
    let before = Before::of(fixture);
    let balloon = Balloon::new(&fixture.mount_point());
    let mut made = Vec::new();
    for free in FREE {
        let what = format!("with {free} bytes left");
        balloon.leave(free);
        let output = fixture.grootfs.run(&["create", &url, "x"]);
        let reasons = ["no space left on device", "disk quota exceeded"];
        let worked = assert_whole_or_clear(output, &reference, &reasons, &what);
        if !worked {
            assert_nothing_half(fixture, &what);
        }
        made.push(worked);
        // A full disk is when cleaning is needed most.
        before.assert_restored(fixture, &what);
    }
    assert_eq!((made.first(), made.last()), (Some(&false), Some(&true)), "{made:?}");
    drop(balloon);
    reference.assert_same(&fixture.create(&url, "x").tree());
}

/// Calls on files; others have errors of their own.
const ON_FILES: [&str; 24] = [
    "openat",
    "openat2",
    "mkdir",
    "mkdirat",
    "write",
    "rename",
    "renameat",
    "renameat2",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "chown",
    "fchown",
    "fchownat",
    "chmod",
    "fchmod",
    "ioctl",
    "flock",
    "fsconfig",
    "fsmount",
    "getdents64",
];

fn errors(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let reference = reference(fixture, &url);
    let before = Before::of(fixture);
    let victim = fixture.grootfs.command(&["create", &url, "x"]);
    let mut calls = calls_of(&victim, &["--detach-on=execve"]);
    calls.retain(|(name, _)| ON_FILES.contains(&name.as_str()));
    before.assert_restored(fixture, "errors");
    for (error, reason) in [("EIO", "input/output error"), ("ENOSPC", "no space left on device")] {
        at_calls(error, &calls, 20, |call| {
            let what = format!("{error} from {call:?}");
            let output = injected(&victim, call, &format!("error={error}"));
            // What was made and could not be told is made all the same.
            let told = !output.stderr.starts_with("writing the answer to standard output");
            let worked = assert_whole_or_clear(output, &reference, &[reason], &what);
            if !worked && told {
                assert_nothing_half(fixture, &what);
            }
            let id = if worked || !told { "y" } else { "x" };
            let found = reference.diff(&fixture.create(&url, id).tree());
            assert!(found.0.is_empty(), "{what}: the next create made something else:\n{found}");
            before.assert_restored(fixture, &what);
            worked
        });
    }
}

/// The command, started by a shell that does something first.
fn shelled(fixture: &Fixture, first: &str, arguments: &[&str]) -> Command {
    let command = fixture.grootfs.command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first} && exec \"$0\" \"$@\"")]).current_dir("/");
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

fn few_descriptors(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let reference = reference(fixture, &url);
    let before = Before::of(fixture);
    let mut worked = Vec::new();
    for most in (4..32).step_by(3) {
        let what = format!("with {most} descriptors");
        let first = format!("ulimit -n {most}");
        let output = run(&mut shelled(fixture, &first, &["create", &url, "x"]));
        let reasons = ["too many open files", "no file descriptors available"];
        worked.push(assert_whole_or_clear(output, &reference, &reasons, &what));
        before.assert_restored(fixture, &what);
    }
    assert_eq!((worked.first(), worked.last()), (Some(&false), Some(&true)), "{worked:?}");
}

/// Who has no memory ends by a signal, as after a kill.
fn little_memory(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &large_image());
    let reference = reference(fixture, &url);
    let before = Before::of(fixture);
    let mut worked = Vec::new();
    for mebibytes in [4, 16, 20, 24, 28, 32, 40, 48, 64, 1024] {
        let what = format!("with {mebibytes} MiB");
        let first = format!("ulimit -v {}", mebibytes << 10);
        let output = run(&mut shelled(fixture, &first, &["create", &url, "x"]));
        let made = match output.code {
            None => false,
            Some(_) => assert_whole_or_clear(
                output,
                &reference,
                &["memory", "resource temporarily unavailable", "failed to map"],
                &what,
            ),
        };
        worked.push(made);
        before.assert_restored(fixture, &what);
    }
    assert_eq!((worked.first(), worked.last()), (Some(&false), Some(&true)), "{worked:?}");
}

/// Who takes more than its control group has is killed, wherever it is. Where nobody can make a control group this
/// says so and looks at nothing.
fn killed_for_memory(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &large_image());
    let reference = reference(fixture, &url);
    let before = Before::of(fixture);
    let mut worked = Vec::new();
    let mut left = 0;
    for kibibytes in (512..8192).step_by(512).chain([64 << 10]) {
        let what = format!("in {kibibytes} KiB");
        let group = match MemoryCgroup::new(kibibytes << 10) {
            Ok(group) => group,
            Err(error) => return println!("killed for memory: not tested: {error}"),
        };
        let output = run(&mut group.command(&fixture.grootfs.command(&["create", &url, "x"])));
        let reasons = ["memory", "resource temporarily unavailable"];
        let made =
            output.code.is_some() && assert_whole_or_clear(output, &reference, &reasons, &what);
        left += usize::from(!made && !fixture.names("volumes").is_empty());
        worked.push(made);
        drop(group);
        before.assert_restored(fixture, &what);
    }
    println!("killed for memory: {worked:?}, {left} times in the middle of a layer");
    assert!(left > 0, "never killed in the middle of a layer");
    assert_eq!((worked.first(), worked.last()), (Some(&false), Some(&true)), "{worked:?}");
}

fn read_only(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    // A mounted root keeps its file system from becoming read-only.
    fixture.grootfs.ok(&["create", "--without-mount", &url, "x"]);
    let remount = |how: &str| {
        let option = format!("remount,{how}");
        run(Command::new("mount").args(["-o", &option]).arg(fixture.mount_point())).success();
    };
    let before = fixture.listing();
    remount("ro");
    for arguments in
        [&["create", &url, "y"][..], &["delete", "x"], &["clean"], &["init-store"], &["pull", &url]]
    {
        let output = fixture.grootfs.run(arguments);
        // What finds nothing to do has nothing to complain about.
        let idle = output.code == Some(0) && ["pull", "clean"].contains(&arguments[0]);
        if !idle {
            assert_contains(&output.failure().to_lowercase(), "read-only file system");
        }
    }
    assert_contains(&fixture.grootfs.ok(&["list"]), "images/x");
    remount("rw");
    before.assert_same(&fixture.listing());
    assert_eq!(fixture.grootfs.ok(&["delete", "x"]), "Image x deleted\n");
    fixture.create(&url, "x");
}
