//! Disk limits (contract 4.9): that they hold, what counts, and that nothing of them stays behind.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use groot_sys::project_quota::{ProjectQuotas, Quota, project_id};
use rustix::io::Errno;
use serde_json::Value;
use testkit::command::run;
use testkit::image::Image;
use testkit::layer::{Entry, Layer};

use crate::fixture::{Fixture, Spec};

mod arithmetic;
mod backing_store;
mod bad_limits;
mod changes;
mod content;
mod escapes;
mod inodes;
mod projects;
mod pulls;
mod simple_quotas;
mod unmounted;
mod without_quotas;

pub const MIB: u64 = 1 << 20;

/// Most bytes by which a limit may be off. XFS counts blocks, and not one more may be taken. btrfs
/// also counts the nodes that describe files, 16 KiB each: it reserves them before they are
/// known, and one change may touch a node and split it on each of two levels.
pub fn tolerance(fixture: &Fixture) -> u64 {
    if fixture.is_overlay() { 4096 } else { 4 * 16384 }
}

/// What `stats` prints about a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    pub total: u64,
    pub exclusive: u64,
    pub quota: u64,
    pub committed: u64,
    /// How many there are, how many there may be.
    pub inodes: Option<(u64, u64)>,
}

impl Stats {
    pub fn of(fixture: &Fixture, id: &str) -> Self {
        Self::parse(&serde_json::from_str(&fixture.grootfs.ok(&["stats", id])).unwrap())
    }

    pub fn parse(line: &Value) -> Self {
        let number = |key: &str| line["disk_usage"][key].as_u64();
        Self {
            total: number("total_bytes_used").unwrap(),
            exclusive: number("exclusive_bytes_used").unwrap(),
            quota: number("quota_size_bytes").unwrap(),
            committed: number("committed_space_bytes").unwrap(),
            inodes: number("inodes_used").map(|used| (used, number("inode_limit").unwrap())),
        }
    }
}

/// An image of so many files of 64 KiB, and its argument.
pub fn image_of(fixture: &Fixture, files: usize) -> String {
    let entry =
        |n: usize| Entry::file(format!("image/{n}"), vec![u8::try_from(n % 250).unwrap(); 65536]);
    let layer = (0..files).map(entry).fold(Layer::new().directory("image"), Layer::entry);
    fixture.oci(&format!("image-{files}"), &Image::new().layer(&layer)).0
}

/// Makes a root with more options.
pub fn create_with(fixture: &Fixture, options: &[&str], url: &str, id: &str) -> Spec {
    Spec::new(fixture.grootfs.ok(&[&["create"], options, &[url, id]].concat()))
}

/// Makes a root that may hold so many bytes besides its image.
pub fn create_limited(fixture: &Fixture, limit: u64, url: &str, id: &str) -> Spec {
    let limit = limit.to_string();
    create_with(
        fixture,
        &["--disk-limit-size-bytes", &limit, "--exclude-image-from-quota"],
        url,
        id,
    )
}

/// Whether the file system refused for lack of room: XFS says that a project is full as if the disk
/// were, btrfs names the quota.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

/// Repeats something until the file system refuses it; returns how often it went well.
pub fn until_refused(mut step: impl FnMut(u64) -> io::Result<()>) -> u64 {
    // More than any limit here lets through.
    for number in 0..200_000 {
        match step(number) {
            Ok(()) => {}
            Err(error) if is_refusal(&error) => return number,
            Err(error) => panic!("step {number}: {error}"),
        }
    }
    panic!("nothing was refused");
}

/// Writes a file of this many bytes; panics unless it can be.
pub fn write(path: &Path, bytes: u64) {
    fs::write(path, vec![1; usize::try_from(bytes).unwrap()]).unwrap();
}

/// Fills a directory in steps that get smaller, to the last block.
pub fn fill(directory: &Path) {
    use std::io::Write;
    // All before the first is full: a file more is refused then.
    let files = [65536_usize, 4096, 1]
        .map(|size| (size, fs::File::create(directory.join(format!("fill-{size}"))).unwrap()));
    for (size, mut file) in files {
        let bytes = vec![7; size];
        until_refused(|_| file.write_all(&bytes));
    }
}

/// Writes everything out and finishes what is being deleted, so that what is counted is what lies on
/// the disk.
pub fn sync(fixture: &Fixture) {
    let top = fs::File::open(fixture.mount_point()).unwrap();
    rustix::fs::syncfs(&top).unwrap();
    if fixture.is_overlay() {
        // Since Linux 5.14 XFS frees the blocks of deleted files behind our back; this waits for it.
        let mut command = Command::new("xfs_spaceman");
        run(command.args(["-c", "prealloc -s"]).arg(fixture.mount_point())).success();
    }
}

/// Bytes of the blocks below a directory, each file once, other file systems left out.
pub fn blocks_below(top: &Path) -> u64 {
    let device = fs::symlink_metadata(top).unwrap().dev();
    let mut seen = std::collections::HashSet::new();
    let mut todo = vec![top.to_owned()];
    let mut blocks = 0;
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.dev() != device || !seen.insert(metadata.ino()) {
            continue;
        }
        blocks += metadata.blocks();
        if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    blocks * 512
}

/// The directory whose content a limit counts.
pub fn counted_directory(fixture: &Fixture, id: &str) -> PathBuf {
    let below = if fixture.is_overlay() { "" } else { "/rootfs" };
    fixture.path(&format!("images/{id}{below}"))
}

/// The project quota of an id on the fixture's file system.
pub fn quota_of(fixture: &Fixture, id: u32) -> Quota {
    let top = fs::File::open(fixture.mount_point()).unwrap();
    ProjectQuotas::new(top.as_fd(), fixture.scratch("node")).get(id).unwrap()
}

/// The project that a file or directory belongs to.
pub fn project_of(path: &Path) -> u32 {
    project_id(fs::File::open(path).unwrap().as_fd()).unwrap()
}

/// Free bytes of the file system, when everything that was deleted is really gone.
pub fn free(fixture: &Fixture) -> u64 {
    sync(fixture);
    if !fixture.is_overlay() {
        fixture.wait_for_destroyed_subvolumes();
    }
    let found = rustix::fs::statvfs(fixture.mount_point()).unwrap();
    found.f_bfree * found.f_frsize
}

/// Quota groups of subvolumes, without the file system's own.
pub fn quota_groups(fixture: &Fixture) -> Vec<String> {
    let show = run(Command::new("btrfs").args(["qgroup", "show"]).arg(fixture.mount_point()));
    let text = show.success();
    let groups = text.lines().filter_map(|line| line.split_whitespace().next());
    groups.filter(|group| group.starts_with("0/") && *group != "0/5").map(str::to_owned).collect()
}

/// Deletes a root; panics when anything of its limit stays.
pub fn delete(fixture: &Fixture, id: &str) {
    let project = fixture.is_overlay().then(|| project_of(&fixture.path(&format!("images/{id}"))));
    fixture.grootfs.ok(&["delete", id]);
    if let Some(project) = project {
        assert!(!fixture.path(&format!("projectids/{project}")).exists(), "{project}");
        sync(fixture);
        assert_eq!(quota_of(fixture, project), Quota::default(), "project {project}");
    }
}

/// Deletes all that is in the store; panics when quota groups, ids or mounts are left.
pub fn delete_all(fixture: &Fixture) {
    for id in fixture.names("images") {
        delete(fixture, &id);
    }
    free(fixture);
    fixture.grootfs.ok(&["clean"]);
    free(fixture);
    fixture.grootfs.ok(&["clean"]);
    assert!(fixture.mounts().is_empty() && fixture.names("tmp").is_empty());
    if fixture.is_overlay() {
        assert!(fixture.names("projectids").is_empty());
    } else {
        assert!(quota_groups(fixture).is_empty(), "{:?}", quota_groups(fixture));
    }
}
