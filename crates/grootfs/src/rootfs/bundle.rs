//! A complete OCI bundle: the `config.json` with which any runtime runs the image's command in a root.
//!
//! What the image says is converted as the image specification has it (conversion.md); what it says
//! nothing about is what `runc spec` writes, but for three things that images rely on: nothing asks for a
//! terminal; root in the container has the capabilities that Podman gives it, without which no image can
//! change to its own user; and set-uid programs work, as they do with Docker and Podman.

use std::fs;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use super::declared_mounts;
use super::users::{self, User};
use crate::driver::Mount;
use crate::error::{AtPath, PathError};
use crate::idmap::{IdMapping, IdMappings};
use crate::image::ImageConfig;
use crate::store::layout::ImagePaths;

/// The version of the runtime specification that is written; later ones only add to it.
const VERSION: &str = "1.0.2";

/// Where programs are looked for in an image that does not say it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What root in the container may do.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Longest host name that the kernel takes.
const LONGEST_HOSTNAME: usize = 64;

/// The group of terminals, in every distribution.
const TTY_GROUP: u32 = 5;

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image does not say what to run, and neither did the caller.
    #[error(
        "the image names no command: give one behind the id, as in `create --bundle DIR IMAGE ID -- /bin/sh`"
    )]
    NoCommand,
    /// A text that no process can get.
    #[error("{0} of the image has a NUL byte")]
    Nul(&'static str),
    /// The image's user.
    #[error(transparent)]
    User(#[from] users::Error),
    /// A user or group that the store's mappings leave out.
    #[error("{kind} id {id} of the image's user is not in the id mappings of the store")]
    NotMapped {
        /// `user` or `group`.
        kind: &'static str,
        /// Which one.
        id: u32,
    },
    /// A bundle that is there.
    #[error("{} is there already; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// A file operation.
    #[error(transparent)]
    Path(#[from] PathError),
    /// It cannot be written as JSON.
    #[error("writing config.json: {0}")]
    Json(#[from] serde_json::Error),
}

/// What a bundle is made of.
#[derive(Debug)]
pub struct Bundle<'a> {
    /// Name of the root.
    pub id: &'a str,
    /// Where the root lies.
    pub paths: &'a ImagePaths,
    /// What the image says.
    pub config: &'a ImageConfig,
    /// What replaces the image's default arguments; none leaves them.
    pub words: &'a [String],
    /// What mounts the root, where nobody has.
    pub mount: Option<&'a Mount>,
    /// Whether volumes that the image declares are bind-mounted.
    pub declared_volumes: bool,
    /// The mappings of the store.
    pub mappings: &'a IdMappings,
}

impl Bundle<'_> {
    /// The document, with lines for a person. `root` is the open root, in which users are looked up.
    pub fn document(&self, root: BorrowedFd<'_>) -> Result<String, Error> {
        let user = users::resolve(root, &self.config.user)?;
        let document = json!({
            "ociVersion": VERSION,
            "process": self.process(&user)?,
            "root": { "path": self.paths.rootfs(), "readonly": false },
            "hostname": hostname(self.id),
            "mounts": self.mounts(),
            "linux": self.linux(),
        });
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }

    fn process(&self, user: &User) -> Result<Value, Error> {
        let ImageConfig { entrypoint, cmd, env, working_dir, .. } = self.config;
        let words = if self.words.is_empty() { cmd.as_slice() } else { self.words };
        let args: Vec<&String> = entrypoint.iter().chain(words).collect();
        // An empty name is no command: what Docker wrote for one that was taken away.
        if args.first().is_none_or(|program| program.is_empty()) {
            return Err(Error::NoCommand);
        }
        let mut env: Vec<&str> = env.iter().map(String::as_str).collect();
        // Names alone mean nothing to a new process.
        env.retain(|pair| pair.find('=').is_some_and(|position| position > 0));
        if !env.iter().any(|pair| pair.starts_with("PATH=")) {
            env.push(PATH);
        }
        // A relative one counts from the top.
        let cwd = format!("/{}", working_dir.trim_start_matches('/'));
        no_nul("command", args.iter().map(|word| word.as_str()))?;
        no_nul("environment", env.iter().copied())?;
        no_nul("working directory", std::iter::once(cwd.as_str()))?;
        self.check_mapped(user)?;
        // Another user has none of them. Set-uid programs of the image (sudo, su) get them back, but never
        // more than these: the bounding set is the limit, so new privileges are not forbidden.
        let effective: &[&str] = if user.uid == 0 { &CAPABILITIES } else { &[] };
        Ok(json!({
            "terminal": false,
            "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
            "args": args,
            "env": env,
            "cwd": cwd,
            "capabilities": {
                "bounding": CAPABILITIES, "effective": effective, "permitted": effective,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": false,
        }))
    }

    fn check_mapped(&self, user: &User) -> Result<(), Error> {
        if self.mappings.host_uid(user.uid).is_none() {
            return Err(Error::NotMapped { kind: "user", id: user.uid });
        }
        match user.groups.iter().find(|gid| self.mappings.host_gid(**gid).is_none()) {
            Some(gid) => Err(Error::NotMapped { kind: "group", id: *gid }),
            None => Ok(()),
        }
    }

    fn mounts(&self) -> Vec<Value> {
        // Over the empty directory of the root, before anything in it.
        let mut mounts: Vec<Value> = self.mount.map(root_mount).into_iter().collect();
        let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
        let group = format!("gid={TTY_GROUP}");
        if self.mappings.host_gid(TTY_GROUP).is_some() {
            terminals.push(&group);
        }
        let mut add = |destination: &str, kind: &str, source: &str, options: &[&str]| {
            mounts.push(json!({
                "destination": destination, "type": kind, "source": source, "options": options,
            }));
        };
        let plain = ["nosuid", "noexec", "nodev"];
        add("/proc", "proc", "proc", &plain);
        add("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]);
        add("/dev/pts", "devpts", "devpts", &terminals);
        let shm = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
        add("/dev/shm", "tmpfs", "shm", &shm);
        add("/dev/mqueue", "mqueue", "mqueue", &plain);
        add("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]);
        let groups = ["nosuid", "noexec", "nodev", "relatime", "ro"];
        add("/sys/fs/cgroup", "cgroup", "cgroup", &groups);
        if self.declared_volumes {
            let volumes = declared_mounts(self.paths, self.config);
            mounts.extend(volumes.map(|volume| {
                let destination = format!("/{}", volume.destination.trim_start_matches('/'));
                json!({
                    "destination": destination, "type": volume.kind,
                    "source": volume.source, "options": volume.options,
                })
            }));
        }
        mounts
    }

    fn linux(&self) -> Value {
        let mut kinds = vec!["pid", "network", "ipc", "uts", "mount", "cgroup"];
        if !self.mappings.is_empty() {
            kinds.push("user");
        }
        let namespaces: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
        let mut linux = json!({
            "namespaces": namespaces,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        });
        if let (false, Some(linux)) = (self.mappings.is_empty(), linux.as_object_mut()) {
            linux.insert("uidMappings".to_owned(), ranges(&self.mappings.uids));
            linux.insert("gidMappings".to_owned(), ranges(&self.mappings.gids));
        }
        linux
    }
}

/// A list as a runtime takes it; where only the other kind of id is mapped, everybody is who they are.
fn ranges(mappings: &[IdMapping]) -> Value {
    let range = |ns, host, size| json!({ "containerID": ns, "hostID": host, "size": size });
    if mappings.is_empty() {
        return json!([range(0, 0, u32::MAX)]);
    }
    mappings.iter().map(|mapping| range(mapping.ns, mapping.host, mapping.size)).collect()
}

fn root_mount(mount: &Mount) -> Value {
    let mount = super::root_mount(mount, "/".to_owned());
    let kind = if mount.kind.is_empty() { "bind" } else { mount.kind };
    json!({
        "destination": mount.destination, "type": kind,
        "source": mount.source, "options": mount.options,
    })
}

fn no_nul<'a>(what: &'static str, mut texts: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    if texts.any(|text| text.contains('\0')) { Err(Error::Nul(what)) } else { Ok(()) }
}

/// The root's name, as far as it can be a host's.
fn hostname(id: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    id.chars().take(LONGEST_HOSTNAME).map(fits).collect()
}

/// The `config.json` of a bundle that is to be made.
#[derive(Debug)]
pub struct Target<'a> {
    /// Directory of the bundle.
    pub directory: &'a Path,
    /// Whether one that is there is replaced.
    pub force: bool,
}

impl Target<'_> {
    fn path(&self) -> PathBuf {
        self.directory.join("config.json")
    }

    /// Makes the directory, and fails when the bundle is there: before anything else is done.
    pub fn prepare(&self) -> Result<(), Error> {
        fs::create_dir_all(self.directory).at("mkdir", self.directory)?;
        let path = self.path();
        let is_there = fs::symlink_metadata(&path).is_ok();
        if is_there && !self.force { Err(Error::Exists(path)) } else { Ok(()) }
    }

    /// Writes the document. Nobody sees a part of it, and none but `force` replaces another's.
    pub fn write(&self, document: &str) -> Result<(), Error> {
        let path = self.path();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let aside = self.directory.join(format!(".config.json.{}-{now}", std::process::id()));
        let written = self.write_aside(&aside, document).and_then(|()| self.publish(&aside, &path));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&aside);
        }
        written
    }

    fn write_aside(&self, aside: &Path, document: &str) -> Result<(), Error> {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o644).open(aside).at("open", aside)?;
        file.write_all(document.as_bytes()).and_then(|()| file.sync_all()).at("write", aside)?;
        Ok(())
    }

    fn publish(&self, aside: &Path, path: &Path) -> Result<(), Error> {
        if self.force {
            return Ok(fs::rename(aside, path).at("rename", path)?);
        }
        match renameat_with(CWD, aside, CWD, path, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => Err(Error::Exists(path.to_owned())),
            // File systems of other machines do not know the flag.
            Err(rustix::io::Errno::INVAL) => {
                self.prepare()?;
                Ok(fs::rename(aside, path).at("rename", path)?)
            }
            other => Ok(other.at("rename", path)?),
        }
    }
}
