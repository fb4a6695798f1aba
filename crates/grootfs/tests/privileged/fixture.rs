//! What every test begins with: a file system, an initialised store on it, and some images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::command::{Grootfs, run};
use testkit::filesystem::{Kind, LoopFilesystem, Scratch, mounts_below};
use testkit::image::{Image, OciLayout, Written};
use testkit::layer::Layer;
use testkit::tree::Tree;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_grootfs");

/// The drivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    OverlayXfs,
    Btrfs,
}

impl Driver {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::OverlayXfs => "overlay-xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Its file system.
    pub fn filesystem(self) -> Kind {
        match self {
            Self::OverlayXfs => Kind::Xfs,
            Self::Btrfs => Kind::Btrfs,
        }
    }
}

/// A store on a file system of its own.
#[derive(Debug)]
pub struct Fixture {
    // Before the file system: dropped first.
    scratch: Scratch,
    filesystem: LoopFilesystem,
    pub driver: Driver,
    pub grootfs: Grootfs,
}

impl Fixture {
    /// A file system with an initialised store.
    pub fn new(driver: Driver) -> Self {
        let fixture = Self::without_store(driver);
        fixture.grootfs.ok(&["init-store"]);
        fixture
    }

    /// A file system that holds limits, with an initialised store.
    #[track_caller]
    pub fn with_limits(driver: Driver) -> Self {
        let fixture = Self::new(driver);
        assert!(
            fixture.has_limits(),
            "this kernel has no project quotas of XFS: run this test in User-Mode Linux, as hack/test does"
        );
        fixture
    }

    /// A file system on which the store is still to be made.
    pub fn without_store(driver: Driver) -> Self {
        let filesystem = LoopFilesystem::new(driver.filesystem());
        let store = filesystem.path().join("store");
        let grootfs = Grootfs::new(PROGRAM, store).with(&["--driver", driver.name()]);
        Self { scratch: Scratch::new(), filesystem, driver, grootfs }
    }

    /// Whether the file system counts, and holds limits.
    pub fn has_limits(&self) -> bool {
        self.filesystem.has_quotas()
    }

    /// Whether the driver is overlay-xfs.
    pub fn is_overlay(&self) -> bool {
        self.driver == Driver::OverlayXfs
    }

    /// Whether the file system counts and limits what roots write.
    pub fn has_quotas(&self) -> bool {
        self.filesystem.has_quotas()
    }

    /// A path beside the store, on another file system.
    pub fn scratch(&self, below: &str) -> PathBuf {
        self.scratch.join(below)
    }

    /// The mount point of the file system that the store lies on.
    pub fn mount_point(&self) -> PathBuf {
        self.filesystem.path()
    }

    /// Waits until btrfs has removed the content of destroyed subvolumes.
    pub fn wait_for_destroyed_subvolumes(&self) {
        let btrfs = |action: [&str; 2]| {
            run(Command::new("btrfs").args(action).arg(self.mount_point())).success()
        };
        // It begins with that after a commit of this kind, or half a minute later.
        btrfs(["filesystem", "sync"]);
        btrfs(["subvolume", "sync"]);
        btrfs(["filesystem", "sync"]);
    }

    /// A path in the store.
    pub fn path(&self, below: &str) -> PathBuf {
        self.grootfs.path(below)
    }

    /// An image in an OCI layout of its own; the argument that names it, and what was written.
    pub fn oci(&self, name: &str, image: &Image) -> (String, Written) {
        let mut layout = self.layout(name);
        let written = layout.add(image, Some("latest"));
        (layout.url("latest"), written)
    }

    /// An empty OCI layout.
    pub fn layout(&self, name: &str) -> OciLayout {
        OciLayout::new(self.scratch(name))
    }

    /// Makes a root file system; returns what `create` prints.
    pub fn create(&self, argument: &str, id: &str) -> Spec {
        Spec::new(self.grootfs.ok(&["create", argument, id]))
    }

    /// Mounts below the store, without the store's own.
    pub fn mounts(&self) -> Vec<PathBuf> {
        mounts_below(self.grootfs.store())
    }

    /// Names in a directory of the store, sorted. In `tmp` without small files that are there for a moment: a
    /// process in the background takes the marks of layers away by way of them.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| directory != "tmp" || !name.starts_with("new-"));
        names.sort();
        names
    }

    /// Everything that is in the store. Lock files may appear, on kernels before 5.14 also the node that
    /// they are asked about quotas with, and times may change.
    pub fn listing(&self) -> Tree {
        let is_lock = |path: &Path| path.extension().is_some_and(|extension| extension == "lock");
        Tree::read(self.grootfs.store())
            .without(|path, _| path.starts_with("locks") && is_lock(path))
            // There for a moment, while a layer's mark is taken away.
            .without(|path, _| path.to_string_lossy().starts_with("tmp/new-"))
            .without(|path, _| {
                path == Path::new(tardis::DEVICE) && groot_sys::project_quota::kernel_needs_device()
            })
            // A layer's mark goes away a few seconds after it came, when it is on disk.
            .map(|path, entry| {
                entry.mtime = 0;
                if path.starts_with("meta") && path.to_string_lossy().contains("volume-") {
                    (entry.size, entry.sha256) = (0, String::new());
                }
            })
    }

    /// Runs something that must fail and must leave nothing in the store; returns its text.
    #[track_caller]
    pub fn fails_cleanly(&self, arguments: &[&str]) -> String {
        let (before, mounts) = (self.listing(), self.mounts());
        let text = self.grootfs.fails(arguments);
        before.assert_same(&self.listing());
        assert_eq!(self.mounts(), mounts);
        text
    }
}

/// What `create` printed.
#[derive(Debug)]
pub struct Spec {
    /// The line.
    pub line: String,
    json: Value,
}

impl Spec {
    /// Reads a printed line.
    pub fn new(line: String) -> Self {
        let json = serde_json::from_str(&line).unwrap();
        Self { line, json }
    }

    /// The root file system.
    pub fn rootfs(&self) -> PathBuf {
        PathBuf::from(self.json["root"]["path"].as_str().unwrap())
    }

    /// The tree of the root file system. The top's own time is that of the create.
    pub fn tree(&self) -> Tree {
        Tree::read(&self.rootfs()).map(|path, entry| {
            if path.as_os_str() == "." {
                entry.mtime = 0;
            }
        })
    }
}

/// Two layers; the second one changes and deletes what the first one brings.
pub fn two_layers() -> Image {
    let base = Layer::new()
        .directory("etc")
        .file("etc/kept", "base")
        .file("etc/changed", "old")
        .file("etc/deleted", "gone");
    let top = Layer::new().directory("etc").file("etc/changed", "new").whiteout("etc/deleted");
    Image::new().layer(&base).layer(&top)
}

/// Panics unless a text contains another one.
#[track_caller]
pub fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in: {text}");
}
