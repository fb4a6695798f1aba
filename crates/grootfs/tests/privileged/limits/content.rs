//! Every way to write, until the limit.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{FallocateFlags, XattrFlags, fallocate, setxattr};
use testkit::command::run;
use testkit::container::run_in;
use testkit::image::{Image, busybox};

use super::*;

with_limits!(data, descriptions, in_a_container);

const LIMIT: u64 = 2 * MIB;

/// What fills a root file system until it is refused.
type Way = (&'static str, fn(&Path));

/// Ways to write data: what is counted is what a walk of the tree finds.
const DATA: [Way; 9] = [
    ("one-file", one_file),
    ("small-files", small_files),
    ("appends", appends),
    ("fallocate", |top| allocate(top, FallocateFlags::empty())),
    ("fallocate-keep-size", |top| allocate(top, FallocateFlags::KEEP_SIZE)),
    ("sparse", sparse),
    ("direct", direct),
    ("mapped", mapped),
    ("copy-up", copy_up),
];

/// Ways to fill a file system without data. btrfs keeps these in nodes of which `stat` knows nothing.
const DESCRIPTIONS: [Way; 3] =
    [("attributes", attributes), ("directories", directories), ("links", links)];

fn one_file(top: &Path) {
    fill(top);
}

/// Each larger than what btrfs keeps beside the file's description, smaller than a block.
fn small_files(top: &Path) {
    until_refused(|n| fs::write(top.join(n.to_string()), [5; 3500]));
}

fn appends(top: &Path) {
    until_refused(|_| {
        let mut file = OpenOptions::new().create(true).append(true).open(top.join("log"))?;
        file.write_all(&[6; 5000])
    });
}

fn allocate(top: &Path, flags: FallocateFlags) {
    let file = File::create(top.join("allocated")).unwrap();
    let mut at = 0;
    for step in [256 << 10, 4096] {
        until_refused(|_| {
            fallocate(&file, flags, at, step)?;
            at += step;
            Ok(())
        });
    }
}

/// A file that is large and empty, filled block by block, each apart from the others.
fn sparse(top: &Path) {
    let file = File::create(top.join("sparse")).unwrap();
    file.set_len(64 * MIB).unwrap();
    until_refused(|n| file.write_all_at(&[8; 4096], n * 16384));
}

fn direct(top: &Path) {
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap();
    let path = top.join("direct");
    let file = OpenOptions::new().create(true).write(true).custom_flags(flags).open(path).unwrap();
    let buffer = vec![9; 3 * 4096];
    let start = buffer.as_ptr().align_offset(4096);
    until_refused(|n| file.write_all_at(&buffer[start..start + 8192], n * 8192));
}

/// What is written through memory is refused by a signal.
fn mapped(top: &Path) {
    let mut program = Command::new("xfs_io");
    program.args(["-f", "-c", "truncate 32m", "-c", "mmap -rw 0 32m"]);
    program.args(["-c", "mwrite 0 32m", "-c", "msync -s 0 32m"]);
    let output = run(program.arg(top.join("mapped")));
    assert_ne!(output.code, Some(0), "{}", output.report());
}

/// On overlay the first byte copies the whole file; on btrfs only what is written is new.
fn copy_up(top: &Path) {
    let bytes = [10; 65536];
    until_refused(|n| {
        let path = top.join(format!("image/{n}"));
        OpenOptions::new().write(true).open(path)?.write_all_at(&bytes, 0)
    });
}

fn attributes(top: &Path) {
    let value = [11; 3000];
    until_refused(|n| {
        let path = top.join(format!("described-{}", n / 4));
        OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(setxattr(&path, format!("user.{}", n % 4), &value, XattrFlags::empty())?)
    });
}

fn directories(top: &Path) {
    until_refused(|n| fs::create_dir(top.join(format!("{n:0>250}"))));
}

fn links(top: &Path) {
    let target = "t".repeat(1000);
    until_refused(|n| symlink(&target, top.join(format!("{n:0>200}"))));
}

fn data(fixture: &Fixture) {
    let url = image_of(fixture, 100);
    fixture.grootfs.ok(&["pull", &url]);
    let before = free(fixture);
    for (name, way) in DATA {
        let spec = create_limited(fixture, LIMIT, &url, name);
        let stats = full(fixture, name, || way(&spec.rootfs()));
        let walked = blocks_below(&counted_directory(fixture, name));
        // The walk of btrfs finds the image too.
        let image = if fixture.is_overlay() { 0 } else { 100 * 65536 };
        let own = if name == "copy-up" && !fixture.is_overlay() { walked } else { walked - image };
        if own == walked - image {
            let off = stats.exclusive.abs_diff(own);
            assert!(off <= described(fixture, name), "{name}: {stats:?}, walked {own}");
        }
        delete(fixture, name);
    }
    let after = free(fixture);
    assert!(before.saturating_sub(after) <= MIB, "{before} {after}");
    delete_all(fixture);
}

/// Most bytes between what a walk finds and what is counted. On XFS blocks are all there is. btrfs
/// describes them in nodes of 16 KiB, which may be half empty: some 400 bytes a file, 53 an extent.
fn described(fixture: &Fixture, way: &str) -> u64 {
    match way {
        _ if fixture.is_overlay() => tolerance(fixture),
        "small-files" => 8 * 16384 + LIMIT / 4096 * 400 * 2,
        // An extent a block, and holes between them.
        "sparse" => 8 * 16384 + LIMIT / 4096 * 2 * 53 * 2,
        _ => 8 * 16384,
    }
}

/// Fills a root; panics unless its limit is what stopped it.
fn full(fixture: &Fixture, name: &str, fill: impl FnOnce()) -> Stats {
    fill();
    sync(fixture);
    let stats = Stats::of(fixture, name);
    assert_eq!(stats.quota, LIMIT, "{name}");
    // When a file of many pieces is written out, XFS writes a list of them and refuses no block of that:
    // 16 bytes a piece, in blocks that are half full. That is its way, and at most a hundredth.
    let pieces = if name == "sparse" && fixture.is_overlay() { LIMIT * 16 * 2 / 4096 } else { 0 };
    assert!(stats.exclusive <= LIMIT + tolerance(fixture) + pieces, "{name}: {stats:?}");
    // What file systems reserve before they know what a change needs.
    let reserved = if fixture.is_overlay() { 256 << 10 } else { 512 << 10 };
    assert!(stats.exclusive >= LIMIT - reserved, "{name}: {stats:?}");
    stats
}

fn descriptions(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    for (name, way) in DESCRIPTIONS {
        let spec = create_limited(fixture, LIMIT, &url, name);
        let stats = full(fixture, name, || way(&spec.rootfs()));
        if fixture.is_overlay() {
            let walked = blocks_below(&counted_directory(fixture, name));
            assert!(stats.exclusive.abs_diff(walked) <= 4096, "{name}: {stats:?}, {walked}");
        }
        delete(fixture, name);
    }
    delete_all(fixture);
}

fn in_a_container(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &Image::new().layer(&busybox()));
    let spec = create_limited(fixture, LIMIT, &url, "x");
    let fills =
        "echo kept > /root/kept; dd if=/dev/zero of=/root/file bs=64k; echo $?; cat /root/kept";
    let output = run_in(&spec.line, &["/bin/sh", "-c", fills]);
    let refused = if fixture.is_overlay() { "No space left" } else { "quota exceeded" };
    assert!(output.stderr.contains(refused), "{}", output.report());
    // Who has filled it goes on and reads.
    assert_eq!(output.success(), "1\nkept\n");
    full(fixture, "x", || {});
    // And makes room.
    fs::remove_file(spec.rootfs().join("root/file")).unwrap();
    sync(fixture);
    let again = "dd if=/dev/zero of=/root/file bs=64k count=16 && echo again";
    assert_eq!(run_in(&spec.line, &["/bin/sh", "-c", again]).success(), "again\n");
    delete_all(fixture);
}
