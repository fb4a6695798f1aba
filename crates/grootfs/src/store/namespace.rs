//! The id mappings of a store: `meta/namespace.json` (contract 3.2).

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::{Doing, Error};
use crate::error::AtPath;
use crate::idmap::{IdMapping, IdMappings};

/// Larger files are not read: 340 mappings, the kernel's limit, need some 12 KiB.
const LARGEST: u64 = 1 << 20;

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
    let metadata = match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NotInitialised { missing: path });
        }
        other => other.at("stat", &path).doing("reading namespace file")?,
    };
    let broken =
        |why: String| Error::Broken { what: "invalid namespace file", path: path.clone(), why };
    if metadata.len() > LARGEST {
        return Err(broken(format!("{} bytes are too many", metadata.len())));
    }
    let bytes = fs::read(&path).at("open", &path).doing("reading namespace file")?;
    let file: File = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    let parse = |what: &str, texts: &[String]| {
        texts
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<IdMapping>, _>>()
            .map_err(|error| broken(format!("invalid {what} mappings format: {error}")))
    };
    Ok(IdMappings { uids: parse("uid", &file.uids)?, gids: parse("gid", &file.gids)? })
}

/// Writes the mappings of a new store, or compares them with those that it has.
pub fn write_or_compare(layout: &Layout, mappings: &IdMappings) -> Result<(), Error> {
    let file = File { uids: sorted(&mappings.uids), gids: sorted(&mappings.gids) };
    match read(layout) {
        Ok(existing) => {
            compare("UID", &file.uids, &sorted(&existing.uids))?;
            compare("GID", &file.gids, &sorted(&existing.gids))
        }
        Err(Error::NotInitialised { .. }) => write(layout, &file),
        Err(error) => Err(error),
    }
}

fn write(layout: &Layout, file: &File) -> Result<(), Error> {
    let path = layout.namespace_file();
    let mut text = serde_json::to_string(file).map_err(|e| Error::Message(e.to_string()))?;
    text.push('\n');
    // Written aside and renamed, so that a reader never sees half of it.
    let aside = path.with_extension("json.new");
    let mut out = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o755)
        .open(&aside)
        .at("open", &aside)?;
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
