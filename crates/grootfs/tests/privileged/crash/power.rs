//! Power cuts: no image is made from a layer that was not on disk when the power went.
//!
//! A kernel of its own (User-Mode Linux) makes roots on a disk that is a file here, and is killed at a moment of
//! chance's choice. What it had not written to the disk is lost. The next one mounts the disk, makes a root of
//! every image, compares each with what was put into its layers, takes everything away, finds nothing left,
//! and goes on making roots from the beginning until it is killed in its turn.
//!
//! That the test can fail was tried by hand (2026-11-27): in a scratch build no layer was ever mistrusted (in
//! `store::durability`, `trust` told of `Settled` instead of `Lost`, `is_lost` and `is_cut_off` of false). On XFS the first root
//! after the first power cut had files of no bytes, on btrfs one after the fourth. With `trust` alone changed the test
//! passes mostly: the metadata of a new layer is on disk no earlier than its files, and when it is empty it tells the
//! same. And without [`somebody_else`] and pulls that no create follows, btrfs lost nothing in 25 power cuts.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::command::{Grootfs, run};
use testkit::filesystem::{Scratch, require_root};
use testkit::image::{Hash, Image, OciLayout};
use testkit::layer::{DEFAULT_MTIME, Entry, Layer};
use testkit::tree::{self, Tree};
use testkit::uml::{Guest, Machine, make_disk};

use super::chance::Chance;
use super::number;
use crate::fixture::{Driver, PROGRAM, Spec};

/// How often the power goes where nobody asks for more.
const CUTS: u64 = 3;

/// Images, each of its own layers on one base.
const IMAGES: u64 = 4;

/// Where the guest mounts the disk.
const MOUNT: &str = "/run/disk";

/// What the guest writes when it has looked at everything.
const READY: &str = "everything is whole";

const DRIVER: &str = "GROOTFS_GUEST_DRIVER";
const LAYOUT: &str = "GROOTFS_GUEST_LAYOUT";

/// The files of an image's layers, and what is in them.
fn files(image: u64) -> Vec<Vec<(String, Vec<u8>)>> {
    let content = |seed: u64, length: usize| {
        let mut chance = Chance::from(seed);
        let bytes = (0..length.div_ceil(8)).flat_map(|_| chance.next().to_le_bytes());
        bytes.take(length).collect::<Vec<u8>>()
    };
    let layer = |name: String, seed: u64, files: u64| {
        let mut layer: Vec<(String, Vec<u8>)> = (0..files)
            .map(|file| (format!("{name}-{file}"), content(seed * 1000 + file, 5000)))
            .collect();
        layer.push((format!("{name}-large"), content(seed * 1000 + 999, 700_000)));
        layer
    };
    vec![
        layer("base".into(), 1, 40),
        layer(format!("middle-{image}"), 10 + image, 30),
        layer(format!("top-{image}"), 100 + image, 10),
    ]
}

fn image(number: u64) -> Image {
    files(number).into_iter().fold(Image::new(), |image, files| {
        let layer = files
            .iter()
            .fold(Layer::new(), |layer, (name, content)| layer.entry(Entry::file(name, content)));
        image.layer(&layer)
    })
}

/// The tree that an image must become, its top left out.
fn expected(number: u64) -> Tree {
    let mut tree = Tree::default();
    for (name, content) in files(number).into_iter().flatten() {
        let sha256 = Hash::Sha256.digest(&content).replace("sha256:", "");
        let size = content.len() as u64;
        let mtime = i128::from(DEFAULT_MTIME) * 1_000_000_000;
        let entry = tree::Entry {
            kind: "file",
            mode: 0o644,
            size,
            sha256,
            mtime,
            ..tree::Entry::default()
        };
        tree.entries.insert(name.into(), entry);
    }
    tree
}

fn power_cuts(driver: Driver) {
    require_root();
    let mut chance = Chance::new(&format!("power cuts, {}", driver.name()));
    let scratch = Scratch::new();
    let disk = scratch.join("disk");
    make_disk(&disk, 400 << 20).unwrap();
    let mkfs = match driver {
        Driver::OverlayXfs => "mkfs.xfs",
        Driver::Btrfs => "mkfs.btrfs",
    };
    run(Command::new(mkfs).arg("-q").arg(&disk)).success();
    let mut layout = OciLayout::new(scratch.join("images"));
    for number in 0..IMAGES {
        layout.add(&image(number), Some(&number.to_string()));
    }
    let cuts = number("GROOTFS_POWER_CUTS").unwrap_or(CUTS);
    let mut seen = Seen::default();
    for cut in 0..=cuts {
        let machine = Machine::new()
            .disk(&disk)
            .env(DRIVER, driver.name())
            .env(LAYOUT, layout.path())
            .env("GROOTFS_SEED", chance.below(1_000_000).to_string());
        let program = std::env::current_exe().unwrap();
        let mut command = vec![program.display().to_string()];
        command.extend(
            ["--exact", "crash::power::privileged_in_the_guest", "--ignored", "--nocapture"]
                .map(str::to_owned),
        );
        let mut guest = Guest::start(&machine, &command).unwrap_or_else(|error| panic!("{error}"));
        if let Err(error) = guest.wait_for_output(READY) {
            let ended = guest.power_cut().unwrap_or_else(|error| panic!("{error}"));
            let output = [ended.stdout, ended.stderr].concat();
            panic!("after {cut} power cuts: {error}:\n{}", String::from_utf8_lossy(&output));
        }
        // Mostly while layers come in; sometimes when those of before are being written to disk.
        let wait = if chance.below(4) > 0 { chance.below(1500) } else { 4500 + chance.below(2500) };
        std::thread::sleep(Duration::from_millis(wait));
        let ended = guest.power_cut().unwrap_or_else(|error| panic!("{error}"));
        seen.add(&String::from_utf8_lossy(&ended.stdout));
        if cut > 0 && cut % 10 == 0 {
            println!("power cuts, {}: {cut} of {cuts}", driver.name());
        }
    }
    println!("power cuts, {}: {cuts} cuts, {seen:?}, no findings", driver.name());
}

#[test]
fn privileged_power_cuts_xfs() {
    power_cuts(Driver::OverlayXfs);
}

#[test]
fn privileged_power_cuts_btrfs() {
    power_cuts(Driver::Btrfs);
}

/// What guests found before they looked closer.
#[derive(Debug, Default)]
struct Seen {
    volumes: usize,
    not_trusted: usize,
    incomplete: usize,
    images: usize,
    made: usize,
}

impl Seen {
    fn add(&mut self, output: &str) {
        let sum = |name: &str| -> usize {
            let lines = output.lines().filter_map(|line| line.strip_prefix(name));
            lines.map(|rest| rest.trim().parse::<usize>().unwrap_or_default()).sum()
        };
        self.volumes += sum("volumes:");
        self.not_trusted += sum("not trusted:");
        self.incomplete += sum("incomplete:");
        self.images += sum("images:");
        self.made += output.matches("made:").count();
    }
}

#[test]
#[ignore = "is what the guests of the tests above run"]
fn privileged_in_the_guest() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let store = Store::mounted(&variable(DRIVER), PathBuf::from(variable(LAYOUT)));
    let mut chance = Chance::new("guest");
    store.tell();
    // A delete that was not on disk when the power went has not happened: no id is used twice.
    store.check(chance.next());
    println!("{READY}");
    let is_btrfs = store.is_btrfs;
    let own = chance.branch();
    std::thread::spawn(move || somebody_else(is_btrfs, own));
    for round in 0.. {
        let mut images: Vec<u64> = (0..IMAGES).collect();
        while !images.is_empty() {
            let at = usize::try_from(chance.below(images.len() as u64)).unwrap();
            let number = images.swap_remove(at);
            // On btrfs a layer is on disk as soon as something is made of it: some must be without that.
            if chance.below(2) == 0 {
                store.pull(number);
                continue;
            }
            store.create(number, &format!("round-{round}-{number}"));
            println!("made: {number}");
        }
        if chance.below(2) == 0 {
            store.take_away();
        }
    }
}

/// Has something else on the disk written down all the time, as databases do: the file system then writes down what it
/// knows of new files too, but not yet what is in them. Left alone it would do that twice a minute.
fn somebody_else(is_btrfs: bool, mut chance: Chance) {
    let place = Path::new(MOUNT).join("somebody-else");
    let empty = Path::new(MOUNT).join("empty");
    let subvolume = |action: &str, paths: &[&Path]| {
        run(Command::new("btrfs").args(["subvolume", action]).args(paths)).success()
    };
    if is_btrfs && !empty.exists() {
        subvolume("create", &[&empty]);
    }
    loop {
        if is_btrfs {
            // To make a snapshot, here of nothing, ends the transaction of all.
            if place.exists() {
                subvolume("delete", &[&place]);
            }
            subvolume("snapshot", &[&empty, &place]);
        } else {
            let mut file = File::options().create(true).append(true).open(&place).unwrap();
            file.write_all(b"x").unwrap();
            file.sync_all().unwrap();
        }
        std::thread::sleep(Duration::from_millis(chance.below(200)));
    }
}

/// A store on the guest's disk.
struct Store {
    grootfs: Grootfs,
    layout: PathBuf,
    is_btrfs: bool,
}

impl Store {
    fn mounted(driver: &str, layout: PathBuf) -> Self {
        std::fs::create_dir(MOUNT).unwrap();
        let is_btrfs = driver == "btrfs";
        let option = if is_btrfs { "noatime" } else { "noatime,pquota" };
        run(Command::new("mount").args(["-o", option, "/dev/ubda", MOUNT])).success();
        let store = Path::new(MOUNT).join("store");
        let grootfs = Grootfs::new(PROGRAM, store).with(&["--driver", driver]);
        grootfs.ok(&["init-store"]);
        Self { grootfs, layout, is_btrfs }
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.grootfs.path(directory)) else {
            return Vec::new();
        };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Says what the power cut has left.
    fn tell(&self) {
        // Behind what the test harness has begun to say.
        println!();
        let volumes = self.names("volumes").into_iter().filter(|name| !name.starts_with("gc."));
        let (incomplete, whole): (Vec<_>, Vec<_>) =
            volumes.partition(|name| name.contains("-incomplete-"));
        let marked = |name: &&String| {
            let metadata = self.grootfs.path(&format!("meta/volume-{name}"));
            // A volume never comes without it: it would be taken for one of an earlier release, and trusted.
            let text = std::fs::read_to_string(&metadata)
                .unwrap_or_else(|error| panic!("{}: {error}", metadata.display()));
            text.is_empty() || text.contains("Boot")
        };
        println!("not trusted: {}", whole.iter().filter(marked).count());
        println!("volumes: {}", whole.len());
        println!("incomplete: {}", incomplete.len());
        println!("images: {}", self.names("images").len());
    }

    fn url(&self, number: u64) -> String {
        format!("oci://{}:{number}", self.layout.display())
    }

    fn create(&self, number: u64, id: &str) -> Spec {
        Spec::new(self.grootfs.ok(&["create", &self.url(number), id]))
    }

    fn pull(&self, number: u64) {
        self.grootfs.ok(&["pull", &self.url(number)]);
    }

    /// Every image becomes what it must, and everything can be taken away.
    fn check(&self, boot: u64) {
        for number in 0..IMAGES {
            let spec = self.create(number, &format!("check-{boot}-{number}"));
            let found = Tree::read(&spec.rootfs()).without(|path, _| path == Path::new("."));
            let diff = expected(number).diff(&found);
            assert!(diff.0.is_empty(), "image {number} is not what was put into it:\n{diff}");
        }
        self.take_away();
        for directory in ["volumes", "images", "projectids"] {
            assert_eq!(self.names(directory), [""; 0], "{directory} after a clean");
        }
        if self.is_btrfs {
            // The kernel begins to empty what was removed half a minute after it is mounted, which nobody here lives to
            // see: without this the disk is full after some forty cuts.
            for action in [["filesystem", "sync"], ["subvolume", "sync"]] {
                run(Command::new("btrfs").args(action).arg(MOUNT)).success();
            }
        }
    }

    fn take_away(&self) {
        for id in self.names("images") {
            self.grootfs.ok(&["delete", &id]);
        }
        self.grootfs.ok(&["clean"]);
    }
}
