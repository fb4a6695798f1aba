//! A tree as lines that a person can write down, one a name, sorted by name.
//!
//! | line | what |
//! |---|---|
//! | `a/` | directory |
//! | `a = text` | regular file; a long one is `a = 70000 bytes` |
//! | `a -> target` | symbolic link |
//! | `b == a` | another name of the file `a` |
//! | `a \|` | named pipe |
//! | `a ?` | listed, but cannot be looked up |
//! | `a !` | anything else |

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use crate::tree::xattrs;

/// Longest content that is shown.
const SHOWN: u64 = 100;

struct Found {
    line: String,
    inode: Option<(u64, u64)>,
}

/// Reads the tree below a directory. Works at any depth: nothing is opened by its whole path.
pub fn read(top: &Path) -> Vec<String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = Rc::new(openat(CWD, top, flags, Mode::empty()).unwrap());
    let mut found: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
    let mut todo: Vec<(Rc<OwnedFd>, Vec<u8>)> = vec![(top, Vec::new())];
    while let Some((directory, path)) = todo.pop() {
        for entry in Dir::read_from(&*directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
            let full = [&path, slash, name].concat();
            let os = OsStr::from_bytes(name);
            let stat = statat(&*directory, os, AtFlags::SYMLINK_NOFOLLOW);
            if let Ok(stat) = &stat
                && FileType::from_raw_mode(stat.st_mode).is_dir()
            {
                let below = openat(&*directory, os, flags, Mode::empty()).unwrap();
                todo.push((Rc::new(below), full.clone()));
            }
            let shown = full.escape_ascii().to_string();
            found.insert(full, describe(&directory, os, &shown, stat.ok().as_ref()));
        }
    }
    lines(found)
}

fn lines(found: BTreeMap<Vec<u8>, Found>) -> Vec<String> {
    let mut first: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut lines: Vec<String> = Vec::new();
    for (path, Found { line, inode }) in found {
        let shown = path.escape_ascii().to_string();
        match inode.map(|inode| (inode, first.get(&inode))) {
            Some((_, Some(other))) => lines.push(format!("{shown} == {other}")),
            Some((inode, None)) => {
                first.insert(inode, shown);
                lines.push(line);
            }
            None => lines.push(line),
        }
    }
    lines.sort();
    lines
}

fn describe(directory: &OwnedFd, name: &OsStr, shown: &str, stat: Option<&Stat>) -> Found {
    let Some(stat) = stat else { return Found { line: format!("{shown} ?"), inode: None } };
    let kind = FileType::from_raw_mode(stat.st_mode);
    let line = match kind {
        FileType::Directory => format!("{shown}/"),
        FileType::Symlink => {
            let target = readlinkat(directory, name, Vec::new()).unwrap();
            format!("{shown} -> {}", target.to_bytes().escape_ascii())
        }
        FileType::Fifo => format!("{shown} |"),
        FileType::RegularFile => {
            let size = u64::try_from(stat.st_size).unwrap();
            if size > SHOWN {
                format!("{shown} = {size} bytes")
            } else {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut content = Vec::new();
                let mut file = File::from(openat(directory, name, flags, Mode::empty()).unwrap());
                file.read_to_end(&mut content).unwrap();
                format!("{shown} = {}", content.escape_ascii())
            }
        }
        _ => format!("{shown} !"),
    };
    let inode =
        (stat.st_nlink > 1 && kind != FileType::Directory).then_some((stat.st_dev, stat.st_ino));
    Found { line, inode }
}

/// Facts about one path: `mode 0644`, `owner 0:0`, `mtime 1.5`, `xattr user.a=b`, and `small` when
/// it takes no more than 64 KiB of the disk.
pub fn facts(path: &Path) -> Vec<String> {
    let found = std::fs::symlink_metadata(path).unwrap();
    let mut facts = vec![
        format!("mode {:04o}", found.mode() & 0o7777),
        format!("owner {}:{}", found.uid(), found.gid()),
        format!("mtime {}.{:09}", found.mtime(), found.mtime_nsec()),
    ];
    for (name, value) in xattrs(path) {
        facts.push(format!("xattr {name}={}", value.escape_ascii()));
    }
    if found.blocks() * 512 <= 64 << 10 {
        facts.push("small".to_owned());
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_kind_has_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/f"), "a\nb").unwrap();
        fs::hard_link(path("d/f"), path("g")).unwrap();
        fs::write(path("long"), [7; 101]).unwrap();
        std::os::unix::fs::symlink("/x", path("l")).unwrap();
        rustix::fs::mknodat(CWD, path("p"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(
            read(dir.path()),
            ["d/", "d/f = a\\nb", "g == d/f", "l -> /x", "long = 101 bytes", "p |"]
        );
        assert!(facts(&path("long")).contains(&"small".to_owned()));
    }
}
