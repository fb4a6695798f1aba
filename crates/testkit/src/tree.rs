//! Directory trees as lists of facts, and what differs between two of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

/// What there is to know about one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// `file`, `directory`, `symlink`, `fifo`, `socket`, `character device`, `block device`.
    pub kind: &'static str,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a regular file; 0 for everything else.
    pub size: u64,
    /// SHA-256 of a regular file's content; empty for everything else.
    pub sha256: String,
    /// Target of a symbolic link.
    pub target: String,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// First name, in the order of names, of a file that has several in the tree; otherwise empty.
    pub same_as: String,
    /// Time of the last change, nanoseconds since 1970.
    pub mtime: i128,
    /// Extended attributes, sorted by name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Entry {
    /// Names and values of all fields, for messages.
    fn fields(&self) -> [(&'static str, String); 11] {
        let xattrs = self.xattrs.iter().map(|(k, v)| format!("{k}={}", String::from_utf8_lossy(v)));
        [
            ("type", self.kind.to_owned()),
            ("mode", format!("{:04o}", self.mode)),
            ("uid", self.uid.to_string()),
            ("gid", self.gid.to_string()),
            ("size", self.size.to_string()),
            ("sha256", self.sha256.clone()),
            ("target", self.target.clone()),
            ("device", format!("{}:{}", self.device.0, self.device.1)),
            ("same file as", self.same_as.clone()),
            ("mtime", self.mtime.to_string()),
            ("xattrs", xattrs.collect::<Vec<_>>().join(" ")),
        ]
    }
}

/// A tree. Paths are relative to its top, which is `.`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// All entries by path.
    pub entries: BTreeMap<PathBuf, Entry>,
}

impl Tree {
    /// Reads a directory with everything below it.
    pub fn read(top: &Path) -> Self {
        let mut tree = Self::default();
        let mut inodes = BTreeMap::new();
        let mut directories = vec![PathBuf::from(".")];
        while let Some(directory) = directories.pop() {
            let full = top.join(&directory);
            let own = fs::symlink_metadata(&full).unwrap();
            tree.entries.insert(directory.clone(), describe(&full, &own));
            for entry in fs::read_dir(&full).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let relative = path.strip_prefix(top).unwrap().strip_prefix(".");
                let relative = relative.unwrap_or(path.strip_prefix(top).unwrap()).to_owned();
                if metadata.is_dir() {
                    directories.push(relative);
                    continue;
                }
                if metadata.nlink() > 1 {
                    let names: &mut Vec<PathBuf> =
                        inodes.entry((metadata.dev(), metadata.ino())).or_default();
                    names.push(relative.clone());
                }
                tree.entries.insert(relative, describe(&path, &metadata));
            }
        }
        tree.name_hard_links(inodes.into_values());
        tree
    }

    fn name_hard_links(&mut self, groups: impl Iterator<Item = Vec<PathBuf>>) {
        for mut names in groups.filter(|names| names.len() > 1) {
            names.sort();
            for name in &names {
                let entry = self.entries.get_mut(name).unwrap();
                entry.same_as = names[0].display().to_string();
            }
        }
    }

    /// Leaves entries out.
    #[must_use]
    pub fn without(mut self, drop: impl Fn(&Path, &Entry) -> bool) -> Self {
        self.entries.retain(|path, entry| !drop(path, entry));
        self
    }

    /// Changes every entry: to forget what may differ.
    #[must_use]
    pub fn map(mut self, change: impl Fn(&Path, &mut Entry)) -> Self {
        self.entries.iter_mut().for_each(|(path, entry)| change(path, entry));
        self
    }

    /// The paths, as texts.
    pub fn paths(&self) -> Vec<String> {
        self.entries.keys().map(|path| path.display().to_string()).collect()
    }

    /// One entry; panics when there is none.
    #[track_caller]
    pub fn get(&self, path: &str) -> &Entry {
        let found = self.entries.get(Path::new(path));
        found.unwrap_or_else(|| panic!("no {path} in {:?}", self.paths()))
    }

    /// What differs in another tree, one line a difference; empty when nothing does.
    pub fn diff(&self, other: &Self) -> Diff {
        let mut lines = Vec::new();
        for (path, entry) in &self.entries {
            match other.entries.get(path) {
                None => lines.push(format!("- {} ({})", path.display(), entry.kind)),
                Some(found) => {
                    let pairs = entry.fields().into_iter().zip(found.fields());
                    for ((name, left), (_, right)) in pairs.filter(|(l, r)| l.1 != r.1) {
                        lines.push(format!("! {}: {name} `{left}` is `{right}`", path.display()));
                    }
                }
            }
        }
        for (path, entry) in &other.entries {
            if !self.entries.contains_key(path) {
                lines.push(format!("+ {} ({})", path.display(), entry.kind));
            }
        }
        Diff(lines)
    }

    /// Panics with the differences when another tree is not the same.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        let diff = self.diff(other);
        assert!(diff.0.is_empty(), "the trees differ:\n{diff}");
    }
}

/// Differences, one a line: `-` is missing, `+` is too much, `!` differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff(pub Vec<String>);

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

fn describe(path: &Path, metadata: &Metadata) -> Entry {
    let kind = metadata.file_type();
    let is_device = kind.is_char_device() || kind.is_block_device();
    let rdev = if is_device { metadata.rdev() } else { 0 };
    Entry {
        kind: match kind {
            kind if kind.is_file() => "file",
            kind if kind.is_dir() => "directory",
            kind if kind.is_symlink() => "symlink",
            kind if kind.is_fifo() => "fifo",
            kind if kind.is_socket() => "socket",
            kind if kind.is_char_device() => "character device",
            _ => "block device",
        },
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: if kind.is_file() { metadata.len() } else { 0 },
        sha256: if kind.is_file() { hash(path) } else { String::new() },
        target: match fs::read_link(path) {
            Ok(target) => target.display().to_string(),
            Err(_) => String::new(),
        },
        device: (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
        same_as: String::new(),
        mtime: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        xattrs: xattrs(path),
    }
}

fn hash(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer).unwrap() {
            0 => return crate::image::hex(&hasher.finalize()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// Largest list of names and largest value that the kernel allows (`XATTR_LIST_MAX`).
const LARGEST: usize = 64 << 10;

/// The extended attributes of a file, which is not followed.
pub fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0_u8; LARGEST];
    let Ok(length) = rustix::fs::llistxattr(path, names.as_mut_slice()) else {
        return BTreeMap::new();
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; LARGEST];
        let name = OsStr::from_bytes(name);
        if let Ok(length) = rustix::fs::lgetxattr(path, name, value.as_mut_slice()) {
            value.truncate(length);
            found.insert(name.to_string_lossy().into_owned(), value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [a.path(), b.path()] {
            fs::create_dir(dir.join("d")).unwrap();
            fs::write(dir.join("d/f"), "same").unwrap();
            fs::hard_link(dir.join("d/f"), dir.join("d/g")).unwrap();
        }
        let timeless = |_: &Path, entry: &mut Entry| entry.mtime = 0;
        let tree = |dir: &Path| Tree::read(dir).map(timeless);
        assert_eq!(tree(a.path()).paths(), [".", "d", "d/f", "d/g"]);
        assert_eq!(tree(a.path()).get("d/g").same_as, "d/f");
        tree(a.path()).assert_same(&tree(b.path()));
        fs::remove_file(b.path().join("d/g")).unwrap();
        fs::write(b.path().join("d/f"), "changed").unwrap();
        std::os::unix::fs::symlink("x", b.path().join("s")).unwrap();
        let diff = tree(a.path()).diff(&tree(b.path())).to_string();
        for line in ["- d/g (file)", "! d/f: size `4` is `7`", "! d/f: sha256 `", "+ s (symlink)"] {
            assert!(diff.contains(line), "{line} not in:\n{diff}");
        }
    }
}
