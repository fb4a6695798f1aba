//! Names of entries, made safe: relative to the layer's root, without `.`, `..` and links.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Error;

/// Longest path that is unpacked, as the kernel's `PATH_MAX`: nothing could open a longer one.
const LONGEST: usize = 4095;

/// Longest single name (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

/// A path below the layer's root: `a/b/c`; empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Cleans a name from an archive. `..` above the root stays at the root, as in a chroot.
    pub fn clean(base: Option<&Path>, raw: &[u8]) -> Result<Self, Error> {
        let refuse = |why: &str| Error::Refused { path: show(raw), why: why.to_owned() };
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(parts.pop()),
                _ if part.contains(&0) => return Err(refuse("a NUL byte in the name")),
                _ if part.len() > LONGEST_NAME => return Err(refuse("file name too long")),
                _ => parts.push(part),
            }
        }
        let mut path = Self::default();
        if let Some(base) = base {
            path = Self::clean(None, base.as_os_str().as_bytes())?;
        }
        // Known before anything is put together: a name may have 2^19 components.
        let length = path.0.len() + parts.iter().map(|part| part.len() + 1).sum::<usize>();
        if length > LONGEST + usize::from(path.is_root()) {
            return Err(refuse("file name too long"));
        }
        for part in parts {
            path = path.join(part);
        }
        Ok(path)
    }

    /// A path with one more component.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        if self.0.is_empty() {
            return Self(name.to_vec());
        }
        Self([&self.0, &b"/"[..], name].concat())
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is another path, or lies below that.
    pub fn is_at_or_below(&self, other: &Self) -> bool {
        match self.0.strip_prefix(other.0.as_slice()) {
            None => false,
            Some(rest) => rest.is_empty() || other.is_root() || rest.starts_with(b"/"),
        }
    }

    /// Whether it lies in a directory that is one of AUFS's notes to itself.
    pub fn is_in_note(&self) -> bool {
        let slash = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let directory = self.0.get(..slash).unwrap_or_default();
        directory.split(|byte| *byte == b'/').any(|part| part.starts_with(b".wh..wh."))
    }

    /// The directory and the name in it; the root has neither.
    pub fn split(&self) -> (Self, &OsStr) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            None => (Self::default(), OsStr::from_bytes(&self.0)),
            Some(slash) => {
                let (directory, name) = self.0.split_at_checked(slash).unwrap_or_default();
                let name = name.get(1..).unwrap_or_default();
                (Self(directory.to_vec()), OsStr::from_bytes(name))
            }
        }
    }

    /// The components from the root on.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// For system calls that take a path relative to the root.
    pub fn as_path(&self) -> &Path {
        if self.0.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(&self.0)) }
    }

    /// For messages.
    pub fn show(&self) -> String {
        show(&self.0)
    }
}

/// A name from an archive as a message may show it: no control characters for a terminal.
pub fn show(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    text.chars()
        .take(1000)
        .flat_map(|c| {
            let escape = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escape.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_below_the_root() {
        for (raw, expected) in [
            (&b"a/b"[..], "a/b"),
            (b"/a//b/", "a/b"),
            (b"./a/./b", "a/b"),
            (b"../../etc/passwd", "etc/passwd"),
            (b"a/../../b", "b"),
            (b"a/..", ""),
            (b"./", ""),
            (b"", ""),
            (b"...", "..."),
        ] {
            let path = EntryPath::clean(None, raw).unwrap();
            assert_eq!(path.show(), expected);
            let below = EntryPath::clean(Some(Path::new("/base/dir")), raw).unwrap();
            assert_eq!(below.show(), format!("base/dir/{expected}").trim_end_matches('/'));
        }
        assert!(EntryPath::clean(None, b"a\0b").is_err());
        assert!(EntryPath::clean(None, &[b'a'; 256]).is_err());
        assert!(EntryPath::clean(None, &b"ab/".repeat(1400)).is_err());
        assert!(EntryPath::clean(None, &b"ab/".repeat(350_000)).is_err());
        let longest = [b'd', b'/'].repeat(2047);
        assert_eq!(EntryPath::clean(None, &longest).unwrap().0.len(), 4093);
        let below = |raw: &[u8]| EntryPath::clean(Some(Path::new("/b")), raw);
        assert_eq!(below(&longest).unwrap().0.len(), 4095);
        assert!(below(&[&longest[..], b"d"].concat()).is_err());
        assert!(EntryPath::clean(None, &[&longest[..], b"d"].concat()).is_ok());
        assert!(EntryPath::clean(None, &[&longest[..], b"dd"].concat()).is_err());
        assert_eq!(show(b"a\x1b[2Jb"), "a\\u{1b}[2Jb");
    }

    #[test]
    fn lies_below() {
        let path = |text: &str| EntryPath::clean(None, text.as_bytes()).unwrap();
        for (path_of, other, expected) in [
            ("a/b", "a", true),
            ("a/b", "a/b", true),
            ("a/b", "", true),
            ("ab", "a", false),
            ("a", "a/b", false),
        ] {
            assert_eq!(path(path_of).is_at_or_below(&path(other)), expected, "{path_of} {other}");
        }
    }

    #[test]
    fn notes_of_aufs() {
        for (path, expected) in [
            (".wh..wh.plnk/1.2", true),
            ("a/.wh..wh.orph/b/c", true),
            (".wh..wh.plnk", false),
            ("a.wh..wh.b/c", false),
            (".wh.a/b", false),
            ("a", false),
        ] {
            let path = EntryPath::clean(None, path.as_bytes()).unwrap();
            assert_eq!(path.is_in_note(), expected, "{}", path.show());
        }
    }

    #[test]
    fn splits() {
        let path = EntryPath::clean(None, b"a/b/c").unwrap();
        let (directory, name) = path.split();
        assert_eq!((directory.show().as_str(), name), ("a/b", OsStr::new("c")));
        let (directory, _) = directory.split();
        assert_eq!(directory.split().0, EntryPath::default());
    }
}
