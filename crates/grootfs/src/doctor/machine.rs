//! The kernel, the programs, and the files that grant ids.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};

use super::Finding;
use crate::config::Config;
use crate::driver::Kind;
use crate::idmap::rootless::{self, Files};
use crate::program;

pub fn examine(config: &Config, kind: Option<Kind>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_root = rustix::process::geteuid().is_root();
    if kind != Some(Kind::Btrfs) {
        findings.push(filesystem("overlay"));
        findings.push(filesystem("xfs"));
        findings.push(xfs_quotas());
        findings.push(mount_api());
    }
    if kind != Some(Kind::OverlayXfs) {
        findings.push(filesystem("btrfs"));
    }
    findings.push(user_namespaces());
    findings.extend(formatters(config, kind));
    let helpers = [
        (Kind::OverlayXfs, "tardis", config.helpers.tardis.as_path()),
        (Kind::Btrfs, "drax", config.helpers.drax.as_path()),
    ];
    for (of, name, program) in helpers {
        if kind.is_none_or(|kind| kind == of) {
            findings.push(helper(name, program));
        }
    }
    for (name, program) in [
        ("newuidmap", config.id_tools.newuidmap.as_path()),
        ("newgidmap", config.id_tools.newgidmap.as_path()),
    ] {
        findings.push(mapping_tool(name, program));
    }
    findings.extend(sub_ids(is_root));
    findings
}

/// What is not there may be a module that nobody has needed yet.
fn filesystem(name: &str) -> Finding {
    let topic = format!("kernel: {name}");
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.split_whitespace().last() == Some(name)) {
        return Finding::ok(&topic, "the kernel has it");
    }
    Finding::warning(
        &topic,
        "the kernel does not have it, or not loaded",
        format!("modprobe {name}"),
    )
}

fn xfs_quotas() -> Finding {
    let topic = "kernel: XFS quotas";
    if groot_sys::project_quota::kernel_has_xfs_quotas() {
        return Finding::ok(topic, "the kernel has them");
    }
    Finding::warning(
        topic,
        "roots on overlay-xfs have no limits: the module is not loaded, or the kernel is without CONFIG_XFS_QUOTA",
        "modprobe xfs",
    )
}

fn mount_api() -> Finding {
    let topic = "kernel: mount API";
    match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NOSYS) => Finding::warning(
            topic,
            "this kernel mounts by the old call only: images of many layers do not fit into one page of options",
            "boot Linux 6.7 or newer",
        ),
        Err(Errno::PERM) => Finding::ok(topic, "only root can tell"),
        Err(errno) => {
            let text = format!("overlay is refused: {errno}");
            Finding::warning(topic, text, "modprobe overlay")
        }
        Ok(_) => Finding::ok(topic, "the kernel has it"),
    }
}

fn user_namespaces() -> Finding {
    let topic = "kernel: user namespaces";
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    if number("/proc/sys/user/max_user_namespaces").unwrap_or(0) == 0 {
        let text = "none can be made: containers with id mappings do not start";
        return Finding::warning(topic, text, "sysctl -w user.max_user_namespaces=15000");
    }
    if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        let text = "only root can make them";
        return Finding::warning(topic, text, "sysctl -w kernel.unprivileged_userns_clone=1");
    }
    Finding::ok(topic, "they can be made")
}

/// Only needed by an `init-store` that makes a file system.
fn formatters(config: &Config, kind: Option<Kind>) -> Vec<Finding> {
    let tools = [
        (Kind::OverlayXfs, "mkfs.xfs", "xfsprogs", None),
        (Kind::Btrfs, "mkfs.btrfs", "btrfs-progs", config.btrfs_progs_path.as_ref()),
    ];
    let wanted = tools.into_iter().filter(|(of, ..)| kind.is_none_or(|kind| kind == *of));
    wanted
        .map(|(_, name, package, directory)| {
            let program = directory.map_or_else(|| name.into(), |directory| directory.join(name));
            let topic = format!("program: {name}");
            match found(&program) {
                Some(path) => Finding::ok(&topic, path.display().to_string()),
                None => Finding::warning(
                    &topic,
                    "not found: `init-store --store-size-bytes` cannot make a file system",
                    format!("apt-get install {package}"),
                ),
            }
        })
        .collect()
}

fn found(program: &Path) -> Option<PathBuf> {
    program::find(program, std::env::var_os("PATH").as_deref())
}

fn helper(name: &str, program: &Path) -> Finding {
    let topic = format!("helper: {name}");
    let Some(path) = found(program) else {
        let text =
            format!("{} is not in PATH: users other than root set no limits", program.display());
        let fix = format!("install -o root -m 4755 {name} /usr/local/bin/");
        return Finding::warning(&topic, text, fix);
    };
    set_uid(&topic, &path, "users other than root set no limits")
}

fn set_uid(topic: &str, path: &Path, without: &str) -> Finding {
    let shown = path.display();
    match program::is_set_uid_root(path) {
        Ok(true) => Finding::ok(topic, format!("{shown}, set-uid root")),
        Ok(false) => {
            let text = format!("{shown} is not set-uid root: {without}");
            Finding::warning(topic, text, format!("chown root {shown} && chmod u+s {shown}"))
        }
        Err(error) => {
            let text = format!("{shown}: {}", crate::error::reason(&error));
            Finding::warning(topic, text, format!("ls -l {shown}"))
        }
    }
}

/// These have set-uid root or file capabilities, as the distribution likes it.
fn mapping_tool(name: &str, program: &Path) -> Finding {
    let topic = format!("program: {name}");
    let without = "users other than root have no id mappings";
    match found(program) {
        Some(path) if program::has_capabilities(&path) => {
            Finding::ok(&topic, format!("{}, with file capabilities", path.display()))
        }
        Some(path) => set_uid(&topic, &path, without),
        None => {
            let text = format!("{} is not in PATH: {without}", program.display());
            Finding::warning(&topic, text, "apt-get install uidmap")
        }
    }
}

fn sub_ids(is_root: bool) -> Vec<Finding> {
    let topic = "ids: /etc/subuid, /etc/subgid";
    let files = match Files::read(Path::new("/etc")) {
        Ok(files) => files,
        Err(error) => {
            return vec![Finding::warning(
                topic,
                error.to_string(),
                "ls -l /etc/subuid /etc/subgid",
            )];
        }
    };
    if is_root {
        let any = !files.subuid.trim().is_empty() && !files.subgid.trim().is_empty();
        let text = if any { "they grant ranges" } else { "they grant nothing; root needs nothing" };
        return vec![Finding::ok(topic, text)];
    }
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let fix = "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \"$(id -un)\"";
    match rootless::mappings(&files, &uid.to_string(), &gid.to_string()) {
        Err(error) => vec![Finding::warning(topic, crate::error::chain(&error), fix)],
        Ok(found) if found.notes.is_empty() => vec![Finding::ok(topic, "they grant ranges to you")],
        Ok(found) => {
            found.notes.into_iter().map(|note| Finding::warning(topic, note, fix)).collect()
        }
    }
}
