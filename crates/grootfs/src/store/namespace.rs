//! The id mappings of a store: `meta/namespace.json` (contract 3.2).

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::{Doing, Error};
use crate::error::AtPath;
use crate::idmap::{IdMapping, IdMappings, Owner, list};

/// Larger files are not read: 340 mappings, the kernel's limit, need some 12 KiB.
const LARGEST: u64 = 1 << 20;

/// Who makes stores.
const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// For everybody.
const READABLE: u32 = 0o444;

#[derive(Serialize, Deserialize)]
struct File {
    #[serde(rename = "uid-mappings")]
    uids: Vec<String>,
    #[serde(rename = "gid-mappings")]
    gids: Vec<String>,
}

/// Reads the mappings.
pub fn read(layout: &Layout) -> Result<IdMappings, Error> {
    let path = layout.namespace_file();
    let broken =
        |why: String| Error::Broken { what: "invalid namespace file", path: path.clone(), why };
    // The owner of the store may put anything here: not waited for, not followed.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(CWD, &path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Err(Error::NotInitialised { missing: path }),
        other => fs::File::from(other.at("open", &path).doing("reading namespace file")?),
    };
    if !file.metadata().at("stat", &path).doing("reading namespace file")?.is_file() {
        return Err(broken("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .at("read", &path)
        .doing("reading namespace file")?;
    if bytes.len() as u64 > LARGEST {
        return Err(broken(format!("it has more than {LARGEST} bytes")));
    }
    let file: File = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    let parse = |what: &str, texts: &[String]| {
        list::parse(texts)
            .map_err(|error| broken(format!("invalid {what} mappings format: {error}")))
    };
    Ok(IdMappings { uids: parse("uid", &file.uids)?, gids: parse("gid", &file.gids)? })
}

/// Writes the mappings of a new store, or compares them with those that it has.
pub fn write_or_compare(layout: &Layout, mappings: &IdMappings) -> Result<(), Error> {
    let file = File { uids: sorted(&mappings.uids), gids: sorted(&mappings.gids) };
    let path = layout.namespace_file();
    let for_others = mappings.owner(ROOT) != ROOT;
    match read(layout) {
        Ok(existing) => {
            compare("UID", &file.uids, &sorted(&existing.uids))?;
            compare("GID", &file.gids, &sorted(&existing.gids))?;
            let mode = fs::symlink_metadata(&path).at("stat", &path)?.mode();
            if !for_others || mode & READABLE == READABLE {
                return Ok(());
            }
            // A new file, and no chmod of what is there: that may have become a link to anything.
            write(layout, &file, for_others)
        }
        Err(Error::NotInitialised { .. }) => write(layout, &file, for_others),
        Err(error) => Err(error),
    }
}

/// Writes the mappings over what there is.
pub(super) fn replace(layout: &Layout, mappings: &IdMappings) -> Result<(), Error> {
    let file = File { uids: sorted(&mappings.uids), gids: sorted(&mappings.gids) };
    let store = fs::metadata(layout.root()).at("stat", layout.root())?;
    write(layout, &file, store.uid() != ROOT.uid)
}

/// Writes the file; `for_others` are those who own the store and not the file, and read it whatever the umask
/// of who makes it is.
fn write(layout: &Layout, file: &File, for_others: bool) -> Result<(), Error> {
    let path = layout.namespace_file();
    let mut text = serde_json::to_string(file).map_err(|e| Error::Message(e.to_string()))?;
    text.push('\n');
    // Written aside and renamed, so that a reader never sees half of it.
    let aside = path.with_extension("json.new");
    // What a killed one left is removed, and not opened: the directory belongs to the store's owner,
    // who could have it lead anywhere.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        other => other.at("unlink", &aside)?,
    }
    let mut out = fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o755)
        .open(&aside)
        .at("open", &aside)?;
    if for_others {
        out.set_permissions(fs::Permissions::from_mode(0o755)).at("chmod", &aside)?;
    }
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).at("write", &aside)?;
    fs::rename(&aside, &path).at("rename", &path)?;
    Ok(())
}

fn compare(kind: &str, given: &[String], existing: &[String]) -> Result<(), Error> {
    if given == existing {
        return Ok(());
    }
    Err(Error::Message(format!(
        "provided {kind} mappings do not match those already configured in the store \
         (given: [{}], store: [{}]); use the store's, or delete-store and begin a new one",
        given.join(" "),
        existing.join(" ")
    )))
}

fn sorted(mappings: &[IdMapping]) -> Vec<String> {
    let mut texts: Vec<String> = mappings.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned());
        fs::create_dir(layout.meta()).unwrap();
        (dir, layout)
    }

    fn mappings(uids: &[&str], gids: &[&str]) -> IdMappings {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        IdMappings { uids: list(uids), gids: list(gids) }
    }

    #[track_caller]
    fn refused(layout: &Layout) -> String {
        crate::error::chain(&read(layout).unwrap_err())
    }

    #[test]
    fn the_order_means_nothing() {
        let (_dir, layout) = place();
        let list = ["1:1:9", "0:4294967294:1"];
        let given = mappings(&list, &list);
        write_or_compare(&layout, &given).unwrap();
        assert_eq!(
            fs::read_to_string(layout.namespace_file()).unwrap(),
            "{\"uid-mappings\":[\"0:4294967294:1\",\"1:1:9\"],\
             \"gid-mappings\":[\"0:4294967294:1\",\"1:1:9\"]}\n"
        );
        let turned: Vec<IdMapping> = given.uids.iter().rev().copied().collect();
        let turned = IdMappings { uids: turned.clone(), gids: turned };
        write_or_compare(&layout, &turned).unwrap();
        assert_eq!(read(&layout).unwrap(), turned, "sorted in the file");
    }

    #[test]
    fn other_mappings_show_both_lists() {
        let (_dir, layout) = place();
        write_or_compare(&layout, &mappings(&["0:5:1", "1:100:9"], &["0:6:1"])).unwrap();
        let before = fs::read(layout.namespace_file()).unwrap();
        for (uids, gids, expected) in [
            (
                &["0:5:1"][..],
                &["0:6:1"][..],
                "provided UID mappings do not match those already configured in the store \
                 (given: [0:5:1], store: [0:5:1 1:100:9]); ",
            ),
            (
                &["1:100:9", "0:5:1"],
                &[],
                "provided GID mappings do not match those already configured in the store \
                 (given: [], store: [0:6:1]); ",
            ),
        ] {
            let text = write_or_compare(&layout, &mappings(uids, gids)).unwrap_err().to_string();
            assert!(text.starts_with(expected), "{text}");
        }
        assert_eq!(fs::read(layout.namespace_file()).unwrap(), before);
    }

    #[test]
    fn what_the_original_wrote_is_read() {
        let (_dir, layout) = place();
        for (text, expected) in [
            (r#"{"uid-mappings":[],"gid-mappings":[]}"#, mappings(&[], &[])),
            // Keys that somebody adds later, and one kind only.
            (
                r#"{"uid-mappings":["0:5000:1","1:100000:65000"],"gid-mappings":[],"x":1}"#,
                mappings(&["0:5000:1", "1:100000:65000"], &[]),
            ),
        ] {
            fs::write(layout.namespace_file(), text).unwrap();
            assert_eq!(read(&layout).unwrap(), expected);
        }
    }

    #[test]
    fn wrong_content_is_refused_with_the_path() {
        let (_dir, layout) = place();
        let huge = format!("{{\"uid-mappings\":[{}", "\"0:0:1\",".repeat(200_000));
        let many: Vec<String> = (0..341).map(|n| format!("\"{n}:{n}:1\"")).collect();
        let many = format!("{{\"uid-mappings\":[{}],\"gid-mappings\":[]}}", many.join(","));
        for (text, reason) in [
            ("", "EOF while parsing"),
            ("[]", "invalid length 0"),
            ("{}", "missing field `uid-mappings`"),
            (r#"{"uid-mappings":[]}"#, "missing field `gid-mappings`"),
            (r#"{"uid-mappings":{},"gid-mappings":[]}"#, "invalid type: map"),
            (r#"{"uid-mappings":[7],"gid-mappings":[]}"#, "invalid type: integer `7`"),
            (r#"{"uid-mappings":null,"gid-mappings":[]}"#, "invalid type: null"),
            (
                r#"{"uid-mappings":["0:x:1"],"gid-mappings":[]}"#,
                "invalid uid mappings format: expected integer: `x`",
            ),
            (
                r#"{"uid-mappings":[],"gid-mappings":["0:1:1","0:2:1"]}"#,
                "invalid gid mappings format: `0:1:1` and `0:2:1` overlap: both have the namespace",
            ),
            (
                r#"{"uid-mappings":["0:1:1","0:1:1"],"gid-mappings":[]}"#,
                "invalid uid mappings format: `0:1:1` and `0:1:1` overlap",
            ),
            (
                r#"{"uid-mappings":["0:4294967295:1"],"gid-mappings":[]}"#,
                "invalid uid mappings format: `0:4294967295:1` goes up to 4294967295",
            ),
            (&many, "invalid uid mappings format: 341 mappings are too many"),
            (&huge, "it has more than 1048576 bytes"),
        ] {
            fs::write(layout.namespace_file(), text).unwrap();
            let path = layout.namespace_file();
            let start = format!("invalid namespace file {}: {reason}", path.display());
            let found = refused(&layout);
            assert!(found.starts_with(&start), "{found}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let (_dir, layout) = place();
        let path = layout.namespace_file();
        assert!(matches!(read(&layout), Err(Error::NotInitialised { missing }) if missing == path));
        fs::create_dir(&path).unwrap();
        assert!(refused(&layout).ends_with("namespace.json: it is not a regular file"));
        fs::remove_dir(&path).unwrap();
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(refused(&layout).ends_with("namespace.json: it is not a regular file"));
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        let text = refused(&layout);
        assert!(text.starts_with("reading namespace file: open "), "{text}");
    }

    #[test]
    fn a_file_in_the_way_is_replaced_and_not_followed() {
        let (dir, layout) = place();
        let beside = dir.path().join("beside");
        fs::write(&beside, "somebody's").unwrap();
        symlink(&beside, layout.meta().join("namespace.json.new")).unwrap();
        write_or_compare(&layout, &IdMappings::default()).unwrap();
        assert_eq!(fs::read_to_string(&beside).unwrap(), "somebody's");
        assert!(layout.namespace_file().symlink_metadata().unwrap().is_file());
        let names: Vec<_> = fs::read_dir(layout.meta()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}
