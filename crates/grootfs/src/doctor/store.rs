//! The store, its file system, and whether `clean` can ever do something.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::Finding;
use crate::config::Config;
use crate::driver::Kind;
use crate::driver::limit::Bytes;
use crate::error::chain;
use crate::observe::Log;
use crate::store::layout::Layout;
use crate::store::{self, Store};

/// Percent of a file system below which little is free.
const LITTLE: u64 = 5;

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
        Ok(()) => Finding::ok(topic, "the file system counts and limits what roots write"),
        Err(error) => {
            let fix = match kind {
                Kind::OverlayXfs => format!("mount {root}'s file system with the option pquota"),
                Kind::Btrfs => format!("btrfs quota enable {root}"),
            };
            Finding::warning(topic, chain(&error), fix)
        }
    });
    findings.extend(space(config, layout));
    findings
}

fn whole(store: &Result<Store, store::Error>, config: &Config, layout: &Layout) -> Finding {
    let (topic, root) = ("store", layout.root().display());
    match (store, config.driver, Kind::of_store(layout)) {
        (Ok(_), Some(asked), Some(made)) if asked != made => {
            let text = format!("{root} was made with the driver {made}, not {asked}");
            Finding::error(topic, text, "leave --driver and `driver:` away")
        }
        (Ok(_), ..) => Finding::ok(topic, format!("{root} is whole")),
        (Err(error @ store::Error::NotInitialised { .. }), ..) => {
            Finding::error(topic, chain(error), format!("grootfs --store {root} init-store"))
        }
        (Err(store::Error::Path(error)), ..)
            if error.error.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            let fix = format!("run grootfs as the owner of {root} or as root");
            Finding::error(topic, error.to_string(), fix)
        }
        (Err(error), ..) => {
            Finding::error(topic, chain(error), format!("ls -ld {root} {root}/meta"))
        }
    }
}

fn space(config: &Config, layout: &Layout) -> Vec<Finding> {
    let root = layout.root();
    let topic = "store: space";
    let size = match groot_sys::fs::size(root) {
        Ok(size) => size,
        Err(error) => {
            let fix = format!("df {}", root.display());
            return vec![Finding::error(topic, error.to_string(), fix)];
        }
    };
    let text = format!("{} of {} are free", Bytes(size.available), Bytes(size.total));
    let clean = format!("grootfs --store {} clean --threshold-bytes 0", root.display());
    let mut findings = vec![match size.available {
        0 => Finding::error(topic, text, clean),
        some if some < size.total / 100 * LITTLE => Finding::warning(topic, text, clean),
        _ => Finding::ok(topic, text),
    }];
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
    Some(if growth > around.available {
        let fix = format!(
            "make room where {} lies: writing fails before the store is full",
            path.display()
        );
        Finding::warning(topic, text, fix)
    } else {
        Finding::ok(topic, text)
    })
}
