//! The files of a layout: in a directory, or in a tar of that directory.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::OFlags;

use super::document;
use super::{Blob, Cause};
use crate::error::{AtPath, PathError};

/// Most entries of an archive: a layout has two for each layer.
const MOST_ENTRIES: usize = 1 << 16;

/// How many links in an archive are followed one after the other.
const MOST_LINKS: usize = 8;

/// Files that can be read by name.
pub trait Files: Send + Sync + fmt::Debug {
    /// Opens a file by its path below the top, without `./`.
    fn open(&self, name: &str) -> Result<Blob, Cause>;

    /// Bytes of a file, where that is known without reading it.
    fn size(&self, name: &str) -> Result<u64, Cause>;

    /// Reads a whole document, if it is not too large to be one.
    fn read(&self, name: &str) -> Result<Vec<u8>, Cause> {
        let mut bytes = Vec::new();
        let mut blob = self.open(name)?.take(document::LARGEST + 1);
        blob.read_to_end(&mut bytes).at("read", Path::new(name))?;
        if bytes.len() as u64 > document::LARGEST {
            return Err(Cause::Document(document::too_large(name)));
        }
        Ok(bytes)
    }
}

/// A directory.
#[derive(Debug)]
pub struct Directory(pub PathBuf);

impl Files for Directory {
    fn open(&self, name: &str) -> Result<Blob, Cause> {
        Ok(Box::new(open_file(&self.0.join(name))?))
    }

    fn size(&self, name: &str) -> Result<u64, Cause> {
        let path = self.0.join(name);
        Ok(std::fs::metadata(&path).at("stat", &path)?.len())
    }
}

/// Opens a regular file for reading; links are followed (Garden links its base layers).
pub fn open_file(path: &Path) -> Result<File, Cause> {
    // Not blocking: the name may be that of a pipe.
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .at("open", path)?;
    let kind = file.metadata().at("stat", path)?.file_type();
    if kind.is_dir() {
        return Err(Cause::Directory(path.to_owned()));
    }
    if !kind.is_file() {
        return Err(Cause::NoFile(path.to_owned()));
    }
    Ok(file)
}

/// Modification time in nanoseconds since 1970: a file that changed is another file.
pub fn changed(metadata: &std::fs::Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

/// Longest reason that is repeated.
const LONGEST_REASON: usize = 100;

/// A tar, in which files are found by one look at its headers.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    entries: OnceLock<HashMap<String, Entry>>,
}

#[derive(Debug, Clone)]
enum Entry {
    File { offset: u64, size: u64 },
    Link(String),
}

impl Archive {
    /// Names an archive; nothing is read yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), entries: OnceLock::new() }
    }

    /// What tells this archive from every other one, and from itself after a change.
    pub fn version(&self) -> Result<String, Cause> {
        let metadata = std::fs::metadata(&self.path).at("stat", &self.path)?;
        let path = std::path::absolute(&self.path).at("absolute", &self.path)?;
        Ok(format!("{}-{}", path.display(), changed(&metadata)))
    }

    fn entries(&self) -> Result<&HashMap<String, Entry>, Cause> {
        if let Some(entries) = self.entries.get() {
            return Ok(entries);
        }
        let found = self.scan()?;
        Ok(self.entries.get_or_init(|| found))
    }

    fn broken(&self, why: impl Into<String>) -> Cause {
        let what = self.path.display().to_string();
        Cause::Document(document::Error { what, why: why.into() })
    }

    fn scan(&self) -> Result<HashMap<String, Entry>, Cause> {
        let file = open_file(&self.path)?;
        let mut start = [0; 4];
        let length = file.read_at(&mut start, 0).at("read", &self.path)?;
        if start.starts_with(&[0x1f, 0x8b]) || start == [0x28, 0xb5, 0x2f, 0xfd] {
            let why = "the archive is compressed; decompress it first (gunzip, zstd -d)";
            return Err(self.broken(why));
        }
        if length == 0 {
            return Err(self.broken("the archive is empty"));
        }
        // The error repeats bytes of the file.
        let shown = |error: std::io::Error| -> String {
            error.to_string().chars().take(LONGEST_REASON).flat_map(char::escape_debug).collect()
        };
        let no_tar = |error| self.broken(format!("no tar: {}", shown(error)));
        let mut archive = tar::Archive::new(file);
        let mut entries = HashMap::new();
        for entry in archive.entries_with_seek().map_err(no_tar)? {
            let entry = entry.map_err(no_tar)?;
            let Ok(name) = String::from_utf8(entry.path_bytes().into_owned()) else { continue };
            let name = normal(&name);
            let kind = entry.header().entry_type();
            let found = if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let Ok(target) = String::from_utf8(target) else { continue };
                let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                let from = if kind.is_symlink() { directory } else { "" };
                Entry::Link(normal(&format!("{from}/{target}")))
            } else if kind.is_file() {
                Entry::File { offset: entry.raw_file_position(), size: entry.size() }
            } else {
                continue;
            };
            entries.insert(name, found);
            if entries.len() > MOST_ENTRIES {
                return Err(self.broken(format!("it has more than {MOST_ENTRIES} files")));
            }
        }
        Ok(entries)
    }

    fn find(&self, name: &str) -> Result<(u64, u64), Cause> {
        let entries = self.entries()?;
        let mut at = normal(name);
        for _ in 0..MOST_LINKS {
            match entries.get(&at) {
                Some(Entry::File { offset, size }) => return Ok((*offset, *size)),
                Some(Entry::Link(target)) => at.clone_from(target),
                None if matches!(name, "manifest.json" | "index.json") => {
                    let kind = if name == "index.json" { "oci" } else { "docker" };
                    return Err(self.broken(format!(
                        "it holds no {name}, so it is no {kind}-archive (a tar of one layer is given by its path \
                         alone)"
                    )));
                }
                None => {
                    let error =
                        std::io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error());
                    let path = self.path.join(name);
                    return Err(PathError { operation: "open", path, error }.into());
                }
            }
        }
        Err(self.broken(format!("too many links at `{name}`")))
    }
}

impl Files for Archive {
    fn open(&self, name: &str) -> Result<Blob, Cause> {
        let (position, left) = self.find(name)?;
        let file = open_file(&self.path)?;
        Ok(Box::new(Stretch { file, position, left }))
    }

    fn size(&self, name: &str) -> Result<u64, Cause> {
        self.find(name).map(|(_, size)| size)
    }
}

/// A stretch of a file.
struct Stretch {
    file: File,
    position: u64,
    left: u64,
}

impl Read for Stretch {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let length =
            self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.position)?;
        if length == 0 && most > 0 {
            let why = "the archive ends inside of a file";
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why));
        }
        self.position += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}

/// A path without `.`, `..` and doubled slashes; `..` above the top stays at the top.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> (tempfile::TempDir, Archive) {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        let path = dir.path().join("a.tar");
        std::fs::write(&path, builder.into_inner().unwrap()).unwrap();
        let archive = Archive::new(&path);
        (dir, archive)
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content).unwrap();
    }

    fn link(builder: &mut tar::Builder<Vec<u8>>, path: &str, target: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, path, target).unwrap();
    }

    #[test]
    fn finds_files_also_through_links() {
        let (_dir, archive) = archive(|builder| {
            add(builder, "./blobs/x", b"content");
            add(builder, "a/layer.tar", &[7; 2000]);
            link(builder, "b/layer.tar", "../a/layer.tar");
            link(builder, "c", "../../c");
        });
        assert_eq!(archive.read("blobs/x").unwrap(), b"content");
        assert_eq!(archive.read("b/layer.tar").unwrap(), [7; 2000]);
        assert_eq!(archive.size("b/layer.tar").unwrap(), 2000);
        assert!(archive.read("c").unwrap_err().to_string().contains("too many links"));
        let error = archive.read("none").unwrap_err();
        assert!(error.to_string().ends_with("a.tar/none: no such file or directory"), "{error}");
    }

    #[test]
    fn says_what_is_no_archive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (bytes, why) in
            [(&b""[..], "empty"), (&[0x1f, 0x8b, 8, 0], "compressed"), (&[b'x'; 1024], "no tar")]
        {
            std::fs::write(&path, bytes).unwrap();
            let error = Archive::new(&path).read("a").unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(Archive::new(dir.path()).read("a").is_err());
    }
}
