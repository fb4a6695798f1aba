//! Commands of users other than root go on as root of a user namespace.
//!
//! Owners and modes of an image's files can only be set by somebody who is root over their ids. So the
//! process of the user ([`parent`]) starts the same program once more; that process ([`child`]) moves into
//! a new user namespace, `newuidmap` and `newgidmap` ([`maps`]) give it the ids of the store, and it does
//! the whole command there. What needs root of the machine itself, the set-uid helpers, cannot work in
//! there: the child asks its parent to run them ([`channel`]). Neither outlives the other.
//!
//! Being user 0 says little, then: [`is_host_root`] tells who may do what only root of the machine may.

use std::ffi::OsStr;
use std::io;
use std::sync::{Mutex, OnceLock};

use crate::idmap::{IdMapping, IdMappings};

mod channel;
pub mod child;
mod maps;
pub mod parent;

use channel::{Channel, Kind};

/// The way to the parent, in a process that is the child.
static PARENT: OnceLock<Mutex<Channel>> = OnceLock::new();

/// Why a command cannot go on in a user namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The second process could not be started, or talked with.
    #[error("starting a process in a user namespace: {}", crate::error::reason(.0))]
    Start(io::Error),
    /// The kernel refuses the namespace.
    #[error("making a user namespace: {0}")]
    Refused(String),
    /// The ids could not be mapped.
    #[error("setting {kind} mapping: {why}")]
    Map {
        /// `uid` or `gid`.
        kind: &'static str,
        /// Why, and what to do.
        why: String,
    },
    /// The second process did not come to its end.
    #[error(
        "the process in the user namespace was ended by signal {0}; run the command again, it takes up what is \
         left"
    )]
    Ended(i32),
}

/// Whether this process is the second one, which does the work.
pub fn is_inside() -> bool {
    PARENT.get().is_some()
}

/// Whether this process is user 0, of whichever user namespace: it may write files of every owner that
/// its namespace knows.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this process is root of the machine, and not just of a user namespace.
pub fn is_host_root() -> bool {
    is_root() && !is_inside() && own_maps().is_none()
}

/// Has the parent run a set-uid helper; `None` where this process has no such parent and runs it itself.
pub fn ask_parent(helper: &str, arguments: &[&OsStr]) -> Option<Result<String, String>> {
    let mut parent = PARENT.get()?.lock().unwrap_or_else(|broken| broken.into_inner());
    let asked =
        parent.send(Kind::Help, &channel::join(helper, arguments)).and_then(|()| parent.receive());
    Some(match asked {
        Ok(Some((Kind::Answer, text))) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Ok(Some((_, text))) => Err(String::from_utf8_lossy(&text).into_owned()),
        Ok(None) => Err(format!("running {helper}: the process outside of the namespace is gone")),
        Err(error) => Err(format!("running {helper}: {error}")),
    })
}

/// The mappings of a store, whose host ids are those of the machine, as this process has to use them.
///
/// In a user namespace the same files have other owners: in ours, an id of the image is the same id on
/// disk. In somebody else's, which knows nothing of the store's root, they are left as they are.
pub fn as_seen_here(store: IdMappings) -> IdMappings {
    match own_maps() {
        Some(here) if !store.is_empty() => translate(&store, here).unwrap_or(store),
        _ => store,
    }
}

fn translate(store: &IdMappings, here: &IdMappings) -> Option<IdMappings> {
    let seen = IdMappings {
        uids: intersect(&store.uids, &here.uids),
        gids: intersect(&store.gids, &here.gids),
    };
    (seen.host_uid(0).is_some() && !seen.uids.is_empty() && !seen.gids.is_empty()).then_some(seen)
}

/// What of a store's ranges a namespace has; `here` maps ids of the namespace to those of the machine. A
/// store without ranges has all of them.
fn intersect(store: &[IdMapping], here: &[IdMapping]) -> Vec<IdMapping> {
    if store.is_empty() {
        return here.iter().map(|range| IdMapping { host: range.ns, ..*range }).collect();
    }
    let mut seen = Vec::new();
    for (range, known) in
        store.iter().flat_map(|range| here.iter().map(move |known| (range, known)))
    {
        let first = range.host.max(known.host);
        let end = |range: &IdMapping| u64::from(range.host) + u64::from(range.size);
        let size = end(range).min(end(known)).saturating_sub(u64::from(first));
        if let Ok(size) = u32::try_from(size)
            && size > 0
        {
            let ns = range.ns + (first - range.host);
            seen.push(IdMapping { ns, host: known.ns + (first - known.host), size });
        }
    }
    seen
}

/// The ids of the namespace that this process is in; `None` where they are those of the machine. A process
/// that has begun its work stays where it is.
fn own_maps() -> Option<&'static IdMappings> {
    static HERE: OnceLock<Option<IdMappings>> = OnceLock::new();
    HERE.get_or_init(read_maps).as_ref()
}

fn read_maps() -> Option<IdMappings> {
    let read = |file: &str| std::fs::read_to_string(file).ok().map(|text| parse(&text));
    let uids = read("/proc/self/uid_map")?;
    let gids = read("/proc/self/gid_map")?;
    let everything = IdMapping { ns: 0, host: 0, size: u32::MAX };
    (uids != [everything]).then_some(IdMappings { uids, gids })
}

fn parse(text: &str) -> Vec<IdMapping> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(IdMapping { ns: next()?, host: next()?, size: next()? })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<IdMapping> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_store_in_its_own_namespace_maps_nothing() {
        let store = list(&["0:5000:1", "1:100000:65000"]);
        let here = parse("         0       5000          1\n         1     100000      65000\n");
        assert_eq!(here, store);
        assert_eq!(intersect(&store, &here), list(&["0:0:1", "1:1:65000"]));
        assert_eq!(intersect(&[], &here), list(&["0:0:1", "1:1:65000"]));
    }

    #[test]
    fn a_namespace_may_know_a_part_of_it() {
        let store = list(&["0:5000:1", "1:100000:65000"]);
        let seen = intersect(&store, &list(&["0:5000:1", "10:100100:50"]));
        assert_eq!(seen, list(&["0:0:1", "101:10:50"]));
        let stranger = IdMappings { uids: list(&["0:7:1"]), gids: list(&["0:7:1"]) };
        assert_eq!(translate(&IdMappings { uids: store.clone(), gids: store }, &stranger), None);
    }

    #[test]
    fn the_ends_of_ranges() {
        let all = list(&["0:0:4294967295"]);
        assert_eq!(intersect(&all, &all), all);
        let last = list(&["0:4294967294:1"]);
        assert_eq!(intersect(&last, &last), list(&["0:0:1"]));
        assert_eq!(parse("0 x 1\n\n0 1\n"), []);
    }
}
