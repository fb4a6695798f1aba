//! Layers: tar archives with every kind of entry, well-formed or not.
//!
//! Names and links are written byte for byte as they are given, so that `../x` and `/x` reach
//! the unpacker. Whatever does not fit the old header goes into a pax header.

use tar::{Builder, EntryType, Header};

/// When an entry was changed, if nobody says otherwise: 2017-11-08, in seconds since 1970.
pub const DEFAULT_MTIME: i64 = 1_510_099_200;

/// One entry of a layer.
#[derive(Debug, Clone)]
pub struct Entry {
    name: Vec<u8>,
    kind: EntryType,
    content: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
    mtime: (i64, u32),
    device: (u32, u32),
    xattrs: Vec<(String, Vec<u8>)>,
    pax: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// An entry of any type.
    pub fn new(name: impl AsRef<[u8]>, kind: EntryType, mode: u32) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            kind,
            content: Vec::new(),
            link: Vec::new(),
            mode,
            owner: (0, 0),
            mtime: (DEFAULT_MTIME, 0),
            device: (0, 0),
            xattrs: Vec::new(),
            pax: Vec::new(),
        }
    }

    /// A regular file, 0644.
    pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let entry = Self::new(name, EntryType::Regular, 0o644);
        Self { content: content.as_ref().to_vec(), ..entry }
    }

    /// A directory, 0755. As tar writes it, with a slash at the end of its name.
    pub fn directory(name: impl AsRef<[u8]>) -> Self {
        let mut name = name.as_ref().to_vec();
        if !name.ends_with(b"/") {
            name.push(b'/');
        }
        Self::new(name, EntryType::Directory, 0o755)
    }

    /// A symbolic link.
    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let entry = Self::new(name, EntryType::Symlink, 0o777);
        Self { link: target.as_ref().to_vec(), ..entry }
    }

    /// Another name of a file that comes before it.
    pub fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let entry = Self::new(name, EntryType::Link, 0o644);
        Self { link: target.as_ref().to_vec(), ..entry }
    }

    /// A named pipe, 0644.
    pub fn fifo(name: impl AsRef<[u8]>) -> Self {
        Self::new(name, EntryType::Fifo, 0o644)
    }

    /// A character device, 0666.
    pub fn character_device(name: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self { device: (major, minor), ..Self::new(name, EntryType::Char, 0o666) }
    }

    /// A block device, 0660.
    pub fn block_device(name: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self { device: (major, minor), ..Self::new(name, EntryType::Block, 0o660) }
    }

    /// Takes away what the layers below have at this path.
    pub fn whiteout(path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').map_or(("", path), |(p, n)| (p, n));
        let slash = if parent.is_empty() { "" } else { "/" };
        Self::file(format!("{parent}{slash}.wh.{name}"), "")
    }

    /// Hides all that the layers below have in this directory.
    pub fn opaque(directory: &str) -> Self {
        Self::file(format!("{directory}/.wh..wh..opq"), "")
    }

    /// Sets the permission bits, set-id and sticky bits too.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Sets user and group.
    #[must_use]
    pub fn owner(self, uid: u64, gid: u64) -> Self {
        Self { owner: (uid, gid), ..self }
    }

    /// Sets the time of the last change: seconds since 1970, and nanoseconds.
    #[must_use]
    pub fn mtime(self, seconds: i64, nanoseconds: u32) -> Self {
        Self { mtime: (seconds, nanoseconds), ..self }
    }

    /// Adds an extended attribute (`SCHILY.xattr`).
    #[must_use]
    pub fn xattr(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.xattrs.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Adds any other pax record.
    #[must_use]
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    fn write(&self, tar: &mut Builder<Vec<u8>>) {
        let mut header = Header::new_ustar();
        let mut records: Vec<(String, Vec<u8>)> = self.pax.clone();
        for (name, value) in &self.xattrs {
            records.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_size(self.content.len() as u64);
        if !put(&mut header.as_old_mut().name, &self.name) {
            records.push(("path".into(), self.name.clone()));
        }
        if !put(&mut header.as_old_mut().linkname, &self.link) {
            records.push(("linkpath".into(), self.link.clone()));
        }
        self.write_owner(&mut header, &mut records);
        self.write_mtime(&mut header, &mut records);
        header.set_device_major(self.device.0).unwrap();
        header.set_device_minor(self.device.1).unwrap();
        header.set_cksum();
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        tar.append_pax_extensions(records).unwrap();
        tar.append(&header, self.content.as_slice()).unwrap();
    }

    fn write_owner(&self, header: &mut Header, records: &mut Vec<(String, Vec<u8>)>) {
        /// What seven octal digits hold.
        const LARGEST: u64 = 0o7_777_777;
        let (uid, gid) = self.owner;
        header.set_uid(uid.min(LARGEST));
        header.set_gid(gid.min(LARGEST));
        for (key, id) in [("uid", uid), ("gid", gid)] {
            if id > LARGEST {
                records.push((key.into(), id.to_string().into_bytes()));
            }
        }
    }

    fn write_mtime(&self, header: &mut Header, records: &mut Vec<(String, Vec<u8>)>) {
        let (seconds, nanoseconds) = self.mtime;
        header.set_mtime(u64::try_from(seconds).unwrap_or(0));
        if nanoseconds == 0 && seconds >= 0 {
            return;
        }
        // -1.25 is a quarter of a second before -1: pax times are decimal numbers.
        let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let sign = if total < 0 { "-" } else { "" };
        let total = total.abs();
        let (whole, fraction) = (total / 1_000_000_000, total % 1_000_000_000);
        records.push(("mtime".into(), format!("{sign}{whole}.{fraction:09}").into_bytes()));
    }
}

/// Writes bytes into a header field; `false` when they do not fit or need a pax header.
fn put(field: &mut [u8], bytes: &[u8]) -> bool {
    let short = &bytes[..bytes.len().min(field.len())];
    field[..short.len()].copy_from_slice(short);
    short.len() == bytes.len() && bytes.is_ascii()
}

/// One layer: entries in the order in which they are written.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: Vec<Entry>,
}

impl Layer {
    /// A layer without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry.
    #[must_use]
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Adds a file, 0644, of root.
    #[must_use]
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(Entry::file(name, content))
    }

    /// Adds a directory, 0755, of root.
    #[must_use]
    pub fn directory(self, name: &str) -> Self {
        self.entry(Entry::directory(name))
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(Entry::symlink(name, target))
    }

    /// Adds a whiteout.
    #[must_use]
    pub fn whiteout(self, path: &str) -> Self {
        self.entry(Entry::whiteout(path))
    }

    /// Adds an opaque marker.
    #[must_use]
    pub fn opaque(self, directory: &str) -> Self {
        self.entry(Entry::opaque(directory))
    }

    /// The tar archive.
    pub fn tar(&self) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for entry in &self.entries {
            entry.write(&mut tar);
        }
        tar.into_inner().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn another_reader_sees_what_was_written() {
        let long = "d/".repeat(80) + "long";
        let layer = Layer::new()
            .entry(Entry::directory("d").mode(0o1777).owner(1, 2))
            .entry(
                Entry::file("d/f", "text")
                    .mode(0o4755)
                    .owner(3_000_000, 70_000)
                    .mtime(1_000, 7)
                    .xattr("user.a", "b"),
            )
            .entry(Entry::hard_link("d/h", "d/f"))
            .entry(Entry::symlink("d/s", "../x"))
            .entry(Entry::file(&long, ""))
            .opaque("d")
            .whiteout("d/w")
            .whiteout("top");
        let tar = layer.tar();
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path_bytes().into_owned();
            if path == b"d/f" {
                assert_eq!(entry.header().mode().unwrap(), 0o4755);
                let pax: Vec<(String, String)> = entry
                    .pax_extensions()
                    .unwrap()
                    .unwrap()
                    .map(|record| record.unwrap())
                    .map(|r| (r.key().unwrap().to_owned(), r.value().unwrap().to_owned()))
                    .collect();
                let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
                assert_eq!(
                    pax,
                    [
                        pair("SCHILY.xattr.user.a", "b"),
                        pair("uid", "3000000"),
                        pair("mtime", "1000.000000007")
                    ]
                );
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                assert_eq!(text, "text");
            }
            names.push(String::from_utf8(path).unwrap());
        }
        assert_eq!(
            names,
            ["d/", "d/f", "d/h", "d/s", &long, "d/.wh..wh..opq", "d/.wh.w", ".wh.top"]
        );
    }

    #[test]
    fn times_before_1970() {
        let tar = Layer::new().entry(Entry::file("f", "").mtime(-2, 750_000_000)).tar();
        let text = String::from_utf8_lossy(&tar).into_owned();
        assert!(text.contains("mtime=-1.250000000\n"), "{text}");
    }
}
