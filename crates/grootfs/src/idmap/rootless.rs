//! Mappings for a user and a group from the files of the machine (`init-store --rootless`).
//!
//! The files are read themselves: a program without a dynamic linker has no name service switch.

use std::fs;
use std::io;
use std::path::Path;

use super::list::{self, ListError};
use super::subid::{Range, SubIds};
use super::{IdMapping, IdMappings};
use crate::error::{AtPath, PathError};

/// The four files, as texts.
#[derive(Debug, Default)]
pub struct Files {
    /// `/etc/passwd`
    pub passwd: String,
    /// `/etc/group`
    pub group: String,
    /// `/etc/subuid`
    pub subuid: String,
    /// `/etc/subgid`
    pub subgid: String,
}

impl Files {
    /// Reads them from a directory. One that is not there is an empty one.
    pub fn read(etc: &Path) -> Result<Self, PathError> {
        let read = |name: &str| {
            let path = etc.join(name);
            match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
                // Names and ids are ASCII; somebody's full name in another encoding is no matter.
                other => Ok(String::from_utf8_lossy(&other.at("open", &path)?).into_owned()),
            }
        };
        Ok(Self {
            passwd: read("passwd")?,
            group: read("group")?,
            subuid: read("subuid")?,
            subgid: read("subgid")?,
        })
    }
}

/// Why there are no mappings for somebody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name that is not in the file, and no number.
    #[error(
        "error reading mappings for {kind} '{name}': no matching entries in {file} file \
         (only /etc/{file} is read, not LDAP or other name services; a numeric id works for everybody)"
    )]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// As it was given.
        name: String,
        /// `passwd` or `group`.
        file: &'static str,
    },
    /// The ranges cannot be one list of mappings.
    #[error("error reading mappings for {kind} '{name}' from /etc/{file}: {why}")]
    List {
        /// `user` or `group`.
        kind: &'static str,
        /// As it was given.
        name: String,
        /// `subuid` or `subgid`.
        file: &'static str,
        /// Why. Part of the text, so no `source`.
        why: ListError,
    },
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The mappings.
    pub mappings: IdMappings,
    /// What whoever asks why they are so wants to know.
    pub notes: Vec<String>,
}

/// A user or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account<'a> {
    /// Its name, if it has one.
    pub name: Option<&'a str>,
    /// Its id.
    pub id: u32,
}

impl<'a> Account<'a> {
    /// Looks up a name or a numeric id in the text of `passwd(5)` or `group(5)`; both have the id
    /// in the third field. Names come first, as for `chown(1)`; an id needs no entry.
    pub fn find(text: &'a str, wanted: &str) -> Option<Self> {
        let entries = || {
            text.lines().filter_map(|line| {
                let mut fields = line.split(':');
                let (name, id) = (fields.next()?, fields.nth(1)?);
                Some(Self { name: Some(name), id: id.parse().ok()? })
            })
        };
        if let Some(found) = entries().find(|entry| entry.name == Some(wanted)) {
            return Some(found);
        }
        let id = wanted.parse().ok()?;
        Some(entries().find(|entry| entry.id == id).unwrap_or(Self { name: None, id }))
    }

    /// Whether a name or a numeric id is this one's.
    pub fn is(&self, owner: &str) -> bool {
        self.name == Some(owner) || owner.parse() == Ok(self.id)
    }
}

/// The mappings for a user and a group: themselves as root, then the ranges that they are granted.
pub fn mappings(files: &Files, user: &str, group: &str) -> Result<Found, Error> {
    let unknown = |kind, name: &str, file| Error::Unknown { kind, name: name.to_owned(), file };
    let owner =
        Account::find(&files.passwd, user).ok_or_else(|| unknown("user", user, "passwd"))?;
    let owning_group =
        Account::find(&files.group, group).ok_or_else(|| unknown("group", group, "group"))?;
    let subuid = SubIds::parse("/etc/subuid", &files.subuid);
    let subgid = SubIds::parse("/etc/subgid", &files.subgid);
    let uid_ranges = subuid.of(&owner);
    // The original looked for the group, newgidmap(1) looks for the user.
    let mut gid_ranges = subgid.of(&owning_group);
    if gid_ranges.is_empty() {
        gid_ranges = subgid.of(&owner);
    }
    let mut notes = [subuid.notes, subgid.notes].concat();
    for (none, kind, name, file) in [
        (uid_ranges.is_empty(), "user", user, "subuid"),
        (gid_ranges.is_empty(), "group", group, "subgid"),
    ] {
        if none {
            notes.push(format!(
                "/etc/{file} grants nothing to {kind} '{name}': only root is mapped"
            ));
        }
    }
    let failed =
        |kind, name: &str, file, why| Error::List { kind, name: name.to_owned(), file, why };
    let uids = consecutive(owner.id, &uid_ranges)
        .map_err(|error| failed("user", user, "subuid", error))?;
    let gids = consecutive(owning_group.id, &gid_ranges)
        .map_err(|error| failed("group", group, "subgid", error))?;
    Ok(Found { mappings: IdMappings { uids, gids }, notes })
}

/// `root` is 0 inside, the ranges follow one another from 1 on.
fn consecutive(root: u32, ranges: &[Range]) -> Result<Vec<IdMapping>, ListError> {
    let mut list = vec![IdMapping::new(0, root.into(), 1)?];
    let mut next = 1;
    for range in ranges {
        list.push(IdMapping::new(next, range.first, range.size)?);
        next = next.saturating_add(range.size);
    }
    list::check(&list)?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        alice:x:1000:1000:Alice,,,:/home/alice:/bin/sh\n\
        broken:x:many:1:::\n\
        +::::::\n\
        1001:x:5:5:a name of digits::\n\
        dora:x:1003:50:::\n";
    const GROUP: &str = "root:x:0:\nalice:x:1000:\nstaff:x:50:dora,alice\ngamers:x:60:alice\n";
    const SUBUID: &str = "alice:100000:65536\nrest\n1000:300000:1000\n4000:700000:10\n";
    const SUBGID: &str = "alice:100000:65536\n60:500000:10\nstaff:600000:5\ngamers:510000:10\n\
        4000:700000:10\n";

    fn files() -> Files {
        Files {
            passwd: PASSWD.to_owned(),
            group: GROUP.to_owned(),
            subuid: SUBUID.to_owned(),
            subgid: SUBGID.to_owned(),
        }
    }

    fn shown(list: &[IdMapping]) -> String {
        list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ranges_follow_one_another() {
        let alice = "0:1000:1 1:100000:65536 65537:300000:1000";
        for (user, group, uids, gids) in [
            ("alice", "alice", alice, "0:1000:1 1:100000:65536"),
            ("1000", "1000", alice, "0:1000:1 1:100000:65536"),
            // By name and by id of the group.
            ("alice", "gamers", alice, "0:60:1 1:500000:10 11:510000:10"),
            ("alice", "60", alice, "0:60:1 1:500000:10 11:510000:10"),
            ("alice", "staff", alice, "0:50:1 1:600000:5"),
            // The group has nothing, so the user's.
            ("alice", "root", alice, "0:0:1 1:100000:65536"),
            // No entries, only ids.
            ("4000", "70", "0:4000:1 1:700000:10", "0:70:1 1:700000:10"),
            // Nothing is granted.
            ("dora", "root", "0:1003:1", "0:0:1"),
            // A name of digits is a name first.
            ("1001", "root", "0:5:1", "0:0:1"),
        ] {
            let found = mappings(&files(), user, group).unwrap();
            assert_eq!(shown(&found.mappings.uids), uids, "{user}:{group}");
            assert_eq!(shown(&found.mappings.gids), gids, "{user}:{group}");
        }
    }

    #[test]
    fn notes_say_what_is_missing() {
        let skipped = "/etc/subuid line 2 skipped: it is not <owner>:<first id>:<number of ids>";
        assert_eq!(mappings(&files(), "alice", "alice").unwrap().notes, [skipped]);
        assert_eq!(
            mappings(&files(), "dora", "root").unwrap().notes,
            [
                skipped,
                "/etc/subuid grants nothing to user 'dora': only root is mapped",
                "/etc/subgid grants nothing to group 'root': only root is mapped",
            ]
        );
    }

    #[test]
    fn who_is_not_there() {
        for (user, group, start) in [
            (
                "nobody-here",
                "alice",
                "error reading mappings for user 'nobody-here': no matching entries in passwd file \
                 (only /etc/passwd is read, not LDAP",
            ),
            (
                "alice",
                "nobody-here",
                "error reading mappings for group 'nobody-here': no matching entries in group file \
                 (only /etc/group is read, not LDAP",
            ),
            ("broken", "alice", "error reading mappings for user 'broken': no matching"),
            ("4294967296", "0", "error reading mappings for user '4294967296': no matching"),
            (
                "4294967295",
                "0",
                "error reading mappings for user '4294967295' from /etc/subuid: \
                 `0:4294967295:1` goes up to 4294967295",
            ),
        ] {
            let text = mappings(&files(), user, group).unwrap_err().to_string();
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn ranges_that_are_no_mappings() {
        for (subuid, reason) in [
            ("alice:900:200\n", "`1:900:200` and `0:1000:1` overlap: both have the host ids 1000"),
            (
                "alice:1:10\nalice:5:10\n",
                "`1:1:10` and `11:5:10` overlap: both have the host ids 5",
            ),
            ("alice:100000:4294967296\n", "`1:100000:4294967296` goes up to 4294967296"),
            ("alice:4294967000:1000\n", "`1:4294967000:1000` goes up to 4294967999"),
            ("alice:18446744073709551615:2\n", "`1:18446744073709551615:2` goes up to"),
        ] {
            let files = Files { subuid: subuid.to_owned(), ..files() };
            let text = mappings(&files, "alice", "alice").unwrap_err().to_string();
            let start = "error reading mappings for user 'alice' from /etc/subuid: ";
            assert!(text.starts_with(&format!("{start}{reason}")), "{text}");
        }
        let many = (0..340).map(|n| format!("alice:{}:1\n", 5000 + n)).collect();
        let text = mappings(&Files { subgid: many, ..files() }, "alice", "alice").unwrap_err();
        assert_eq!(
            text.to_string(),
            "error reading mappings for group 'alice' from /etc/subgid: \
             341 mappings are too many: the kernel takes 340"
        );
    }

    #[test]
    fn files_of_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("passwd"), b"b\xe9a:x:1:1:Ren\xe9:/:/\nalice:x:1000:1:\xff::\n")
            .unwrap();
        fs::write(dir.path().join("group"), "users:x:100:\n").unwrap();
        let files = Files::read(dir.path()).unwrap();
        let found = mappings(&files, "alice", "users").unwrap().mappings;
        assert_eq!((shown(&found.uids), shown(&found.gids)), ("0:1000:1".into(), "0:100:1".into()));
        fs::create_dir(dir.path().join("subuid")).unwrap();
        let text = Files::read(dir.path()).unwrap_err().to_string();
        assert!(text.ends_with("subuid: is a directory"), "{text}");
    }
}
