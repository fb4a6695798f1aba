//! The corpus of hostile layers: each fails cleanly or gives exactly what its oracle says, touches
//! nothing outside of the store, and leaves nothing in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use testkit::command::{Output, run_within};
use testkit::filesystem::mounts_below;
use testkit::hostile::{Case, Oracle, corpus, shape};
use testkit::image::OciLayout;
use testkit::jail::Jail;

use crate::fixture::{Driver, PROGRAM};

/// No case may take longer, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Lets `openat2` fail as on kernels before 5.6, for a program and all that it starts.
pub fn without_openat2(log: &Path) -> Vec<&str> {
    let inject = ["-e", "trace=openat2", "-e", "inject=openat2:error=ENOSYS"];
    let mut wrapper = vec!["strace", "-f", "--seccomp-bpf", "-A", "-o", log.to_str().unwrap()];
    wrapper.extend(inject);
    wrapper
}

/// A store in a jail.
struct Corpus {
    jail: Jail,
    driver: Driver,
    wrapper: Vec<String>,
    failures: Vec<String>,
    _settling: UnixDatagram,
}

fn in_jail(jail: &Jail, wrapper: &[String], driver: Driver, arguments: &[&str]) -> Output {
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mut command = jail.command(&wrapper, "grootfs");
    command.args(["--store", "/mnt/store", "--driver", driver.name()]).args(arguments);
    run_within(&mut command, LIMIT)
}

/// Looks as if a process were waiting to write the store's layers to disk, so that no create starts one:
/// `strace` would wait for it each time.
fn settling(store: &Path) -> UnixDatagram {
    let store = fs::metadata(store).unwrap();
    let name = format!("grootfs-settle-{}-{}", store.dev(), store.ino());
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

impl Corpus {
    fn new(driver: Driver, wrapper: &[&str]) -> Self {
        let jail = Jail::new(driver.filesystem(), Path::new(PROGRAM));
        let wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        let output = in_jail(&jail, &[], driver, &["init-store"]);
        output.success();
        let settling = settling(&jail.path("mnt/store"));
        Self { jail, driver, wrapper, failures: Vec::new(), _settling: settling }
    }

    fn grootfs(&self, arguments: &[&str]) -> Output {
        in_jail(&self.jail, &self.wrapper, self.driver, arguments)
    }

    /// Names in the store that a failure must not change, apart from volumes of whole layers.
    fn store(&self) -> BTreeMap<&'static str, BTreeSet<String>> {
        let mut found = BTreeMap::new();
        for directory in ["", "volumes", "tmp", "images", "meta", "meta/dependencies", "projectids"]
        {
            let Ok(entries) = fs::read_dir(self.jail.path("mnt/store").join(directory)) else {
                continue;
            };
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            // What an image was made of is remembered, and a process in the background writes layers to
            // disk and, by way of such a file, takes their marks away.
            let names = names.filter(|name| {
                let record = directory == "meta/dependencies" && name.starts_with("baseimage:");
                let written = directory == "tmp" && name.starts_with("new-");
                !record && !written
            });
            found.insert(directory, names.collect());
        }
        found
    }

    /// Runs one case; what is wrong is written down, so that one run shows everything.
    fn run(&mut self, number: usize, case: &Case) {
        let layout = self.jail.path(&format!("images/{number}"));
        let image = case.image();
        let chain_ids = image.chain_ids();
        OciLayout::new(&layout).add(&image, Some("latest"));
        let (canaries, store) = (self.jail.canaries(), self.store());
        let output = self.grootfs(&["create", &format!("oci:///images/{number}:latest"), "x"]);
        let oracle = if self.driver == Driver::Btrfs { &case.btrfs } else { &case.overlay };
        let mut wrong = match oracle {
            Oracle::Fails(text) => fails(&output, text),
            Oracle::Gives(lines) => self.gives(&output, lines, case),
        };
        if output.code == Some(0) {
            let deleted = self.grootfs(&["delete", "x"]);
            if deleted.code != Some(0) {
                wrong.push(deleted.report());
            }
        }
        let whole = |name: &String| {
            let below = chain_ids.split_last().map_or(&[][..], |(_, below)| below);
            let allowed = if output.code == Some(0) { &chain_ids[..] } else { below };
            allowed.iter().any(|id| *name == *id || *name == format!("volume-{id}"))
        };
        for (directory, names) in self.store() {
            let before = store.get(directory).cloned().unwrap_or_default();
            let left: Vec<_> = names.difference(&before).filter(|name| !whole(name)).collect();
            if !left.is_empty() || !before.is_subset(&names) {
                wrong.push(format!("`{directory}` of the store has {left:?} now"));
            }
        }
        let mounts = mounts_below(&self.jail.path("mnt/store"));
        if !mounts.is_empty() {
            wrong.push(format!("mounts are left: {mounts:?}"));
        }
        let after = self.jail.canaries();
        if after != canaries {
            let changed: Vec<_> = after.iter().filter(|line| !canaries.contains(line)).collect();
            wrong.push(format!("canaries are touched: {changed:?}"));
        }
        fs::remove_dir_all(layout).unwrap();
        let name = format!("{}: {}", case.family, case.name);
        self.failures.extend(wrong.into_iter().map(|wrong| format!("{name}: {wrong}")));
    }

    fn gives(&self, output: &Output, lines: &[String], case: &Case) -> Vec<String> {
        if output.code != Some(0) {
            return vec![format!("does not succeed: {}", output.report())];
        }
        let json: Value = serde_json::from_str(&output.stdout).unwrap();
        let rootfs = self.jail.path(json["root"]["path"].as_str().unwrap());
        let found = shape::read(&rootfs);
        let mut wrong = Vec::new();
        let differs = |left: &[String], right: &[String]| -> Vec<String> {
            left.iter().filter(|line| !right.contains(line)).take(9).cloned().collect()
        };
        if found != lines {
            let (missing, more) = (differs(lines, &found), differs(&found, lines));
            wrong.push(format!("missing {missing:?}, too much {more:?}"));
            return wrong;
        }
        for (path, fact) in &case.facts {
            let facts = shape::facts(&rootfs.join(path));
            if !facts.iter().any(|found| found == fact) {
                wrong.push(format!("`{path}` is not `{fact}` but {facts:?}"));
            }
        }
        for (path, start) in &case.absent {
            let facts = shape::facts(&rootfs.join(path));
            if facts.iter().any(|found| found.starts_with(start)) {
                wrong.push(format!("`{path}` has `{start}`: {facts:?}"));
            }
        }
        wrong
    }

    /// Everything can be cleaned away again.
    #[track_caller]
    fn finish(mut self) {
        let cleaned = self.grootfs(&["clean"]);
        if cleaned.code != Some(0) {
            self.failures.push(cleaned.report());
        }
        for (directory, names) in self.store() {
            if matches!(directory, "volumes" | "tmp" | "images" | "meta/dependencies")
                && !names.is_empty()
            {
                self.failures.push(format!("`{directory}` has {names:?} after a clean"));
            }
        }
        let count = self.failures.len();
        assert!(count == 0, "{count} are wrong:\n{}", self.failures.join("\n"));
    }
}

fn fails(output: &Output, text: &str) -> Vec<String> {
    let clean = output.code == Some(1)
        && output.stderr.is_empty()
        && output.stdout.lines().count() == 1
        && output.stdout.contains(text);
    if clean { Vec::new() } else { vec![format!("should fail with `{text}`: {}", output.report())] }
}

/// Cases of one name part only, for whoever looks for a fault: `GROOTFS_HOSTILE_CASE=opaque`.
fn chosen() -> Vec<Case> {
    let part = std::env::var("GROOTFS_HOSTILE_CASE").unwrap_or_default();
    let name = |case: &Case| format!("{}: {}", case.family, case.name);
    corpus().into_iter().filter(|case| name(case).contains(&part)).collect()
}

#[track_caller]
fn run_corpus(driver: Driver, wrapper: &[&str]) {
    let mut corpus = Corpus::new(driver, wrapper);
    for (number, case) in chosen().iter().enumerate() {
        corpus.run(number, case);
    }
    corpus.finish();
}

#[test]
fn privileged_overlay_xfs() {
    run_corpus(Driver::OverlayXfs, &[]);
}

#[test]
fn privileged_btrfs() {
    run_corpus(Driver::Btrfs, &[]);
}

/// The same where paths are walked by hand.
#[track_caller]
fn run_without_openat2(driver: Driver) {
    let log = tempfile::NamedTempFile::new().unwrap();
    run_corpus(driver, &without_openat2(log.path()));
    let log = fs::read_to_string(log.path()).unwrap();
    assert!(log.contains("(INJECTED)"), "nothing was injected");
    let passed = |line: &&str| line.contains("openat2") && line.contains(" = ");
    let passed = log.lines().filter(passed).find(|line| !line.contains("ENOSYS"));
    assert_eq!(passed, None, "a call was let through");
}

#[test]
fn privileged_overlay_xfs_without_openat2() {
    run_without_openat2(Driver::OverlayXfs);
}

#[test]
fn privileged_btrfs_without_openat2() {
    run_without_openat2(Driver::Btrfs);
}
