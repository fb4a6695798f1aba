//! A cell of Garden: the two stores, their configuration files, and what happens when it starts.

use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;
use testkit::command::run;
use testkit::filesystem::{Scratch, mounts_below, require_root};
use testkit::metrics_agent::MetricsAgent;
use testkit::set_uid::set_mode;

use super::gdn::{Metrics, Plugin};
use crate::fixture::{Driver, PROGRAM};
use crate::matrix::built;

/// Bytes of the disk that each store takes. The formatters of today refuse less than 300 MiB.
pub const DISK: u64 = 512 << 20;

/// The ids of Garden's unprivileged containers.
pub const MAPPINGS: [&str; 2] = ["0:4294967294:1", "1:1:4294967293"];

/// Keys that Garden's thresholder knows. It writes all of them, and no other.
const KNOWN: [(&str, &[(&str, &str)]); 4] = [
    (
        "",
        &[
            ("store", "''"),
            ("driver", "''"),
            ("btrfs_progs_path", "''"),
            ("drax_bin", "''"),
            ("tardis_bin", "''"),
            ("newuidmap_bin", "''"),
            ("newgidmap_bin", "''"),
            ("metron_endpoint", "''"),
            ("log_level", "''"),
            ("log_file", "''"),
            ("log_timestamp_format", "''"),
        ],
    ),
    (
        "create",
        &[
            ("exclude_image_from_quota", "false"),
            ("skip_layer_validation", "false"),
            ("without_mount", "false"),
            ("with_clean", "false"),
            ("disk_limit_size_bytes", "0"),
            ("insecure_registries", "[]"),
            ("remote_layer_client_certificates_path", "''"),
            ("clean_log_file", "''"),
        ],
    ),
    ("clean", &[("threshold_bytes", "0")]),
    (
        "init",
        &[
            ("store_size_bytes", "0"),
            ("with_direct_io", "false"),
            ("owneruser", "''"),
            ("ownergroup", "''"),
        ],
    ),
];

/// A cell.
#[derive(Debug)]
pub struct Cell {
    scratch: Scratch,
    pub driver: Driver,
    pub metron: MetricsAgent,
    pub unprivileged: Plugin,
    pub privileged: Plugin,
}

/// What the operator sets.
#[derive(Debug, Default)]
pub struct Wishes<'a> {
    /// `--compat garden` among the arguments of both plugins, or nothing.
    pub extra: &'a [&'a str],
    pub insecure_registries: &'a [String],
    /// `grootfs.skip_mount`.
    pub skip_mount: bool,
}

impl Cell {
    /// Installs everything, and starts for the first time.
    pub fn new(driver: Driver, wishes: &Wishes<'_>) -> Self {
        require_root();
        let scratch = Scratch::new();
        let metron = MetricsAgent::start();
        for directory in [
            "packages/grootfs/bin",
            "packages/garden-idmapper/bin",
            "data/grootfs/store",
            "data/tmp",
            "sys/log/garden",
            "jobs/garden/certs",
            "jobs/garden/config",
        ] {
            fs::create_dir_all(scratch.join(directory)).unwrap();
        }
        symlink(PROGRAM, scratch.join("packages/grootfs/bin/grootfs")).unwrap();
        for name in ["tardis", "drax"] {
            let program = scratch.join("packages/grootfs/bin").join(name);
            fs::copy(built(name), &program).unwrap();
            set_mode(&program, 0o4755);
        }
        let plugin = |name: &str| {
            let config = scratch.join("jobs/garden/config").join(format!("{name}.yml"));
            fs::write(&config, configuration(name, driver, &scratch, &metron, wishes)).unwrap();
            let extra = ["--config", config.to_str().unwrap()];
            Plugin {
                program: scratch.join("packages/grootfs/bin/grootfs"),
                extra: extra.iter().chain(wishes.extra).map(|&word| word.to_owned()).collect(),
                environment: environment(&scratch),
                directory: scratch.path().to_owned(),
            }
        };
        let (unprivileged, privileged) = (plugin("unprivileged"), plugin("privileged"));
        let cell = Self { scratch, driver, metron, unprivileged, privileged };
        cell.start();
        cell
    }

    /// What the job does each time before `gdn server` comes (garden.md, section 4).
    pub fn start(&self) {
        let mappings: Vec<&str> = ["--uid-mapping", "--gid-mapping"]
            .iter()
            .flat_map(|flag| MAPPINGS.iter().flat_map(move |range| [*flag, *range]))
            .collect();
        for (name, plugin, mappings) in [
            ("unprivileged", &self.unprivileged, &mappings[..]),
            ("privileged", &self.privileged, &[]),
        ] {
            if self.driver == Driver::Btrfs {
                self.make_btrfs(name);
            }
            self.job(plugin, &[&["init-store"], mappings].concat());
            self.job(plugin, &["generate-volume-size-metadata"]);
            if self.driver == Driver::OverlayXfs && self.has_limits() {
                self.quota_self_test(name);
            }
        }
    }

    fn job(&self, plugin: &Plugin, arguments: &[&str]) {
        let answer = plugin.call(arguments);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), ""), "{arguments:?}");
    }

    /// Until 2018 the job made the file systems of btrfs stores itself.
    fn make_btrfs(&self, name: &str) {
        let store = self.store(name);
        let file = store.with_extension("backing-store");
        if !file.exists() {
            fs::File::create(&file).unwrap().set_len(DISK).unwrap();
            run(Command::new("mkfs.btrfs").arg("-q").arg(&file)).success();
            fs::create_dir(&store).unwrap();
        }
        if mounts_below(&store).is_empty() {
            let options = "loop,user_subvol_rm_allowed,noatime";
            run(Command::new("mount").args(["-o", options]).arg(&file).arg(&store)).success();
        }
        run(Command::new("btrfs").args(["quota", "enable"]).arg(&store)).success();
    }

    fn quota_self_test(&self, name: &str) {
        let store = self.store(name);
        let image = store.join("images/xfs_test");
        fs::create_dir_all(&image).unwrap();
        let words = ["--log-timestamp-format", "rfc3339", "limit", "--disk-limit-bytes", "102400"];
        let mut tardis = Command::new(self.scratch.join("packages/grootfs/bin/tardis"));
        tardis.args(words).arg("--image-path").arg(&image).current_dir(&store);
        run(&mut tardis).success();
        fs::remove_dir_all(&image).unwrap();
    }

    /// Everything that was mounted is gone; files are where they were.
    pub fn reboot(&self) {
        for target in mounts_below(&self.store("")).iter().rev() {
            run(Command::new("umount").arg(target)).success();
        }
        assert!(mounts_below(&self.store("")).is_empty());
    }

    /// `garden.Destroy`: both, and the second one only if the first has succeeded.
    pub fn destroy(&self, handle: &str) -> Result<[String; 2], String> {
        Ok([self.unprivileged.destroy(handle)?, self.privileged.destroy(handle)?])
    }

    /// `garden.Metrics`: the second one only if the first has failed.
    pub fn metrics(&self, handle: &str) -> Result<Metrics, String> {
        self.unprivileged.metrics(handle).or_else(|_| self.privileged.metrics(handle))
    }

    /// A path below the one that stands for `/var/vcap`.
    pub fn path(&self, below: &str) -> PathBuf {
        self.scratch.join(below)
    }

    /// A store, or what is in it.
    pub fn store(&self, below: &str) -> PathBuf {
        self.scratch.join("data/grootfs/store").join(below)
    }

    /// Names in a directory of a store.
    pub fn names(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.store(below)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Waits for cleans that creates have started and nobody waits for.
    pub fn wait_for_cleans(&self) {
        let place = self.scratch.path().as_os_str().as_bytes();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let name = process.file_name();
            let Ok(id) = name.to_string_lossy().parse() else { continue };
            // It may end at any moment.
            let Ok(words) = fs::read(process.path().join("cmdline")) else { continue };
            let is_ours = words.windows(place.len()).any(|part| part == place);
            if is_ours && words.windows(7).any(|part| part == b"\0clean\0") {
                let Ok(process) = pidfd_open(Pid::from_raw(id).unwrap(), PidfdFlags::empty())
                else {
                    continue;
                };
                poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();
            }
        }
    }

    /// Whether the stores hold limits: XFS does so only on some kernels.
    pub fn has_limits(&self) -> bool {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let store = self.store("unprivileged");
        let line = table.lines().find(|line| line.split(' ').nth(4).map(Path::new) == Some(&store));
        self.driver == Driver::Btrfs || line.is_some_and(|line| line.contains("prjquota"))
    }
}

/// gdn's, in a job of BOSH.
fn environment(scratch: &Scratch) -> Vec<(String, String)> {
    let path = format!(
        "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        scratch.join("packages/garden-idmapper/bin").display()
    );
    let temporary = scratch.join("data/tmp").display().to_string();
    // Nobody listens there: who does not heed NO_PROXY gets nothing.
    let proxy = "http://127.0.0.1:9";
    let mut variables = vec![("PATH", path.as_str()), ("TMPDIR", &temporary)];
    for (name, value) in
        [("http_proxy", proxy), ("https_proxy", proxy), ("no_proxy", "localhost,127.0.0.1")]
    {
        variables.push((name, value));
    }
    let mut all: Vec<(String, String)> =
        variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let upper: Vec<_> = all
        .iter()
        .filter(|(name, _)| name.ends_with("_proxy"))
        .map(|(name, value)| (name.to_uppercase(), value.clone()))
        .collect();
    all.extend(upper);
    all
}

/// The file of the manual, with what this operator sets, as it is when the thresholder has been at it.
fn configuration(
    name: &str,
    driver: Driver,
    scratch: &Scratch,
    metron: &MetricsAgent,
    wishes: &Wishes<'_>,
) -> String {
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/garden").join(format!("{name}.yml"));
    let text = fs::read_to_string(example).unwrap();
    let text = text.replace("/var/vcap", scratch.path().to_str().unwrap());
    let mut values: Value = serde_saphyr::from_str(&text).unwrap();
    values["metron_endpoint"] = metron.endpoint().into();
    values["create"]["insecure_registries"] = wishes.insecure_registries.into();
    values["create"]["without_mount"] = wishes.skip_mount.into();
    if driver == Driver::Btrfs {
        values["driver"] = driver.name().into();
        values["drax_bin"] = scratch.join("packages/grootfs/bin/drax").to_str().into();
        values["btrfs_progs_path"] = "/usr/bin".into();
    }
    // The machine's own.
    for tool in ["newuidmap", "newgidmap"] {
        values[format!("{tool}_bin")] = tool.into();
    }
    // Routine cleaning: all of the disk is reserved for others.
    thresholder(&mut values, DISK, DISK);
    if driver == Driver::Btrfs {
        // Its file system is the job's.
        values["init"]["store_size_bytes"] = 0.into();
    }
    rewritten(&values)
}

/// The sizing rule of garden.md, section 4.
fn thresholder(values: &mut Value, disk: u64, reserved: u64) {
    const LEAST: u64 = 15 << 30;
    let rest = disk.saturating_sub(reserved);
    values["clean"]["threshold_bytes"] = rest.into();
    values["create"]["with_clean"] = true.into();
    values["init"]["store_size_bytes"] = if rest < LEAST { disk } else { rest }.into();
}

/// What Go writes: every key that the program knows, and no other one.
fn rewritten(values: &Value) -> String {
    let mut text = String::new();
    for (section, keys) in KNOWN {
        let (indent, values) =
            if section.is_empty() { ("", values) } else { ("  ", &values[section]) };
        if !section.is_empty() {
            writeln!(text, "{section}:").unwrap();
        }
        for (key, empty) in keys {
            match values.get(key) {
                // JSON is YAML.
                Some(value) => writeln!(text, "{indent}{key}: {value}").unwrap(),
                None => writeln!(text, "{indent}{key}: {empty}").unwrap(),
            }
        }
    }
    text
}
