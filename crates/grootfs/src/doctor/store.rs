//! The store, its file system, and whether `clean` can ever do something.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use groot_sys::fs::Size;
use groot_sys::mountinfo::{self, Mount};
use rustix::fs::StatVfsMountFlags;

use super::Finding;
use crate::config::Config;
use crate::driver::limit::Bytes;
use crate::driver::{Kind, QuotaMode};
use crate::error::chain;
use crate::observe::Log;
use crate::store::layout::Layout;
use crate::store::{self, Store};

/// Percent of a file system, or of its inodes, below which little is free.
const LITTLE: u64 = 5;

/// Roots from which on full quotas of btrfs cost some ten milliseconds a create (docs/performance.md).
const MANY: usize = 100;

pub fn examine(config: &Config, layout: &Layout, kind: Option<Kind>) -> Vec<Finding> {
    let root = layout.root().display();
    let store = Store::open(layout.root());
    let mut findings = vec![whole(&store, config, layout)];
    if store.is_err() {
        return findings;
    }
    let kind = kind.unwrap_or(Kind::OverlayXfs);
    let driver = kind.driver(layout, &config.helpers, &Log::silent());
    let topic = "store: file system";
    findings.push(match driver.check_filesystem(layout.root()) {
        Ok(()) => Finding::ok(topic, format!("{}, as {kind} needs it", kind.filesystem())),
        Err(error) => {
            let fix = format!(
                "grootfs --store {root}.new --driver {kind} init-store --store-size-bytes N"
            );
            Finding::error(topic, chain(&error), fix)
        }
    });
    let topic = "store: limits";
    findings.push(match driver.check_limits() {
        Ok(()) if driver.quotas() == Some(QuotaMode::Full) && images(layout) > MANY => {
            let instead = match groot_sys::qgroup::kernel_has_simple_quotas() {
                true => "btrfs init-store --with-simple-quotas",
                false => "overlay-xfs init-store",
            };
            let fix = format!("grootfs --store {root}.new --driver {instead} --store-size-bytes N");
            Finding::warning(
                topic,
                format!("full quotas, and more than {MANY} roots: creates become slow"),
                fix,
            )
        }
        Ok(()) => Finding::ok(topic, "the file system counts and limits what roots write"),
        Err(error) => {
            let fix = match kind {
                Kind::OverlayXfs => xfs_quotas(layout),
                Kind::Btrfs => format!("btrfs quota enable {root}"),
            };
            Finding::warning(topic, chain(&error), fix)
        }
    });
    match groot_sys::fs::size(layout.root()) {
        Ok(size) => {
            findings.extend(mounted(layout, size.flags, kind));
            findings.extend(space(config, layout, &size));
        }
        Err(error) => {
            findings.push(Finding::error("store: space", error.to_string(), format!("df {root}")));
        }
    }
    findings
}

fn images(layout: &Layout) -> usize {
    store::images::list(layout).map_or(0, |found| found.len())
}

/// The command with which XFS counts.
fn xfs_quotas(layout: &Layout) -> String {
    if !groot_sys::project_quota::kernel_has_xfs_quotas() {
        return "modprobe xfs".to_owned();
    }
    let root = layout.root();
    let Some(mount) = mount_of(root) else {
        return format!("grootfs --store {} init-store", root.display());
    };
    let file = layout.backing_file();
    let is_own = mount.point == root && file.is_file();
    mounting_with_quotas(&mount, is_own.then_some(&file))
}

/// `file` is what the store's own file system lies in.
fn mounting_with_quotas(mount: &Mount, file: Option<&PathBuf>) -> String {
    if mount.point == Path::new("/") {
        return "boot with rootflags=pquota".to_owned();
    }
    // The device of a file is gone with the mount.
    let (options, source) = match file {
        Some(file) => ("loop,pquota", file),
        None => ("pquota", &mount.source),
    };
    let (point, source) = (mount.point.display(), source.display());
    format!("umount {point} && mount -o {options} {source} {point}")
}

fn mount_of(path: &Path) -> Option<Mount> {
    let directory = fs::File::open(path).ok()?;
    mountinfo::of(directory.as_fd()).ok()?
}

/// Options of the mount that roots suffer from.
fn mounted(layout: &Layout, flags: StatVfsMountFlags, kind: Kind) -> Option<Finding> {
    let topic = "store: mount";
    let point =
        mount_of(layout.root()).map_or_else(|| layout.root().to_owned(), |found| found.point);
    let point = point.display();
    if flags.contains(StatVfsMountFlags::RDONLY) {
        let text = format!("{point} is mounted read-only");
        return Some(Finding::error(topic, text, format!("mount -o remount,rw {point}")));
    }
    // An overlay is a mount of its own, and has none of those that its directories lie on.
    if kind != Kind::Btrfs {
        return None;
    }
    let (found, undone): (Vec<&str>, Vec<&str>) = [
        (StatVfsMountFlags::NOEXEC, "noexec: containers can run no programs", "exec"),
        (StatVfsMountFlags::NOSUID, "nosuid: their set-uid programs have no power", "suid"),
        (StatVfsMountFlags::NODEV, "nodev: their devices cannot be opened", "dev"),
    ]
    .into_iter()
    .filter(|(flag, ..)| flags.contains(*flag))
    .map(|(_, text, undo)| (text, undo))
    .unzip();
    (!found.is_empty()).then(|| {
        let text = format!("{point} is mounted {}", found.join(", "));
        Finding::warning(topic, text, format!("mount -o remount,{} {point}", undone.join(",")))
    })
}

fn whole(store: &Result<Store, store::Error>, config: &Config, layout: &Layout) -> Finding {
    let (topic, root) = ("store", layout.root().display());
    match (store, config.driver, Kind::of_store(layout)) {
        (Ok(_), Some(asked), Some(made)) if asked != made => {
            let text = format!("{root} was made with the driver {made}, not {asked}");
            Finding::error(topic, text, format!("grootfs --store {root} --driver {made} doctor"))
        }
        (Ok(_), ..) => Finding::ok(topic, format!("{root} is whole")),
        (Err(error @ store::Error::NotInitialised { .. }), ..) => {
            Finding::error(topic, chain(error), format!("grootfs --store {root} init-store"))
        }
        (Err(store::Error::Path(error)), ..)
            if error.error.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            let fix = format!("sudo grootfs --store {root} doctor");
            Finding::error(topic, error.to_string(), fix)
        }
        (Err(error), ..) => {
            Finding::error(topic, chain(error), format!("ls -ld {root} {root}/meta"))
        }
    }
}

fn space(config: &Config, layout: &Layout, size: &Size) -> Vec<Finding> {
    let clean = format!("grootfs --store {} clean --threshold-bytes 0", layout.root().display());
    let left = |topic: &str, free: u64, total: u64, text: String| match free {
        0 => Finding::error(topic, text, clean.as_str()),
        _ if free.saturating_mul(100) < total.saturating_mul(LITTLE) => {
            Finding::warning(topic, text, clean.as_str())
        }
        _ => Finding::ok(topic, text),
    };
    let text = format!("{} of {} are free", Bytes(size.available), Bytes(size.total));
    let mut findings = vec![left("store: space", size.available, size.total, text)];
    if size.inodes > 0 {
        let text = format!("{} of {} are free", size.free_inodes, size.inodes);
        findings.push(left("store: inodes", size.free_inodes, size.inodes, text));
    }
    let (topic, threshold) = ("clean: threshold", config.clean_threshold);
    findings.push(if threshold > size.total {
        let text = format!(
            "{} is more than the file system has, {}: `clean` never removes anything",
            Bytes(threshold),
            Bytes(size.total)
        );
        Finding::warning(topic, text, format!("set clean.threshold_bytes below {}", size.total))
    } else if threshold == 0 {
        Finding::ok(topic, "none: every `clean` removes what is unused")
    } else {
        Finding::ok(topic, format!("{}, which can be reached", Bytes(threshold)))
    });
    findings.extend(backing_file(layout));
    findings
}

/// A file that may grow more than there is room for.
fn backing_file(layout: &Layout) -> Option<Finding> {
    let (path, topic) = (layout.backing_file(), "store: backing file");
    let file = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let growth = file.len().saturating_sub(file.blocks().saturating_mul(512));
    let around = groot_sys::fs::size(path.parent()?).ok()?;
    let text = format!("may grow by {}, {} are free", Bytes(growth), Bytes(around.available));
    if growth <= around.available {
        return Some(Finding::ok(topic, text));
    }
    let point = mount_of(path.parent()?).map_or_else(|| path.clone(), |mount| mount.point);
    Some(Finding::warning(
        topic,
        format!("{text}: writing fails before the store is full"),
        format!("du -xhd1 {} | sort -h", point.display()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;
    use crate::doctor::Level;

    #[test]
    fn blocks_and_inodes_run_out() {
        let config = Config::load(Flags::default()).unwrap();
        let layout = Layout::new("/s".into());
        let levels = |available, inodes, free_inodes| {
            let flags = StatVfsMountFlags::empty();
            let size = Size { total: 1000, available, inodes, free_inodes, flags };
            let found = space(&config, &layout, &size).into_iter();
            let found = found.filter(|finding| finding.topic != "clean: threshold");
            found.map(|finding| (finding.topic, finding.level)).collect::<Vec<_>>()
        };
        let (bytes, inodes) = ("store: space".to_owned(), "store: inodes".to_owned());
        for (free, level) in
            [(0, Level::Error), (49, Level::Warning), (50, Level::Ok), (1000, Level::Ok)]
        {
            assert_eq!(levels(free, 0, 0), [(bytes.clone(), level)], "btrfs counts no inodes");
            let expected = [(bytes.clone(), Level::Ok), (inodes.clone(), level)];
            assert_eq!(levels(1000, 1000, free), expected);
        }
    }

    #[test]
    fn quotas_need_another_mount() {
        let mount = |point: &str| Mount {
            point: point.into(),
            kind: "xfs".into(),
            source: "/dev/vdb".into(),
        };
        let text = "umount /s && mount -o pquota /dev/vdb /s";
        assert_eq!(mounting_with_quotas(&mount("/s"), None), text);
        let file = PathBuf::from("/s.backing-store");
        let text = "umount /s && mount -o loop,pquota /s.backing-store /s";
        assert_eq!(mounting_with_quotas(&mount("/s"), Some(&file)), text);
        assert_eq!(mounting_with_quotas(&mount("/"), None), "boot with rootflags=pquota");
    }
}
