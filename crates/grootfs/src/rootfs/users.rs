//! Who a process in a root runs as: the image's `user` text, by the root's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are those of Docker, which every image is written for: a number is an id whether a file has
//! it or not, a name must be in the file, and whoever names no group gets those of the files.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::io::Errno;

/// Larger files are refused: ten thousand users need some 600 KiB.
const LARGEST: u64 = 4 << 20;

/// Most groups that a process can have (`NGROUPS_MAX` in the kernel).
const MOST_GROUPS: usize = 65_536;

/// The ids of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
}

/// Why a `user` text is nobody.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files do not have it.
    #[error("the image's user `{user}` is unknown: {why}")]
    Unknown {
        /// The text.
        user: String,
        /// What is missing.
        why: String,
    },
    /// A file that is not what it should be.
    #[error("reading /{file} of the image")]
    File {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// A file that cannot be opened.
    #[error("opening /{file} of the image")]
    Open {
        /// Which file.
        file: &'static str,
        /// Which system call failed.
        source: groot_sys::Error,
    },
    /// A file with more than anybody reads.
    #[error("/{0} of the image has more than {LARGEST} bytes")]
    TooLarge(&'static str),
}

/// Looks a `user[:group]` text up in a root.
pub fn resolve(root: BorrowedFd<'_>, text: &str) -> Result<User, Error> {
    let passwd = read(root, "etc/passwd")?;
    let group = read(root, "etc/group")?;
    find(text, &passwd, &group).map_err(|why| Error::Unknown { user: text.to_owned(), why })
}

/// A file of the root; empty where it has none.
fn read(root: BorrowedFd<'_>, file: &'static str) -> Result<Vec<u8>, Error> {
    let opened = match groot_sys::resolve::file_in_root(root, Path::new(file)) {
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => {
            return Ok(Vec::new());
        }
        other => other.map_err(|source| Error::Open { file, source })?,
    };
    let mut bytes = Vec::new();
    File::from(opened)
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::File { file, source })?;
    if bytes.len() as u64 > LARGEST { Err(Error::TooLarge(file)) } else { Ok(bytes) }
}

fn find(text: &str, passwd: &[u8], group: &[u8]) -> Result<User, String> {
    let (user, wanted) = text.split_once(':').unwrap_or((text, ""));
    // A text of digits is an id, even where somebody has such a name.
    let number = if user.is_empty() { Some(0) } else { user.parse().ok() };
    let line = lines(passwd).find(|fields| match number {
        Some(uid) => field(fields, 2) == Some(uid),
        None => fields.first().copied() == Some(user.as_bytes()),
    });
    let uid = match (number, &line) {
        (Some(uid), _) => uid,
        (None, Some(fields)) => field(fields, 2).ok_or("its line in /etc/passwd has no user id")?,
        (None, None) => return Err("/etc/passwd has no such name".to_owned()),
    };
    if uid == u32::MAX {
        return Err(format!("{uid} is no user id"));
    }
    let name = line.as_ref().and_then(|fields| fields.first().copied());
    let gid = if wanted.is_empty() {
        line.as_ref().and_then(|fields| field(fields, 3)).unwrap_or(0)
    } else {
        group_id(wanted, group)?
    };
    let mut groups = vec![gid];
    if wanted.is_empty()
        && let Some(name) = name
    {
        groups.extend(groups_of(name, group).filter(|other| *other != gid));
        groups.truncate(MOST_GROUPS);
    }
    Ok(User { uid, gid, groups })
}

/// The id of a group that is named or numbered.
fn group_id(wanted: &str, group: &[u8]) -> Result<u32, String> {
    let id = match wanted.parse() {
        Ok(gid) => Some(gid),
        Err(_) => lines(group)
            .find(|fields| fields.first().copied() == Some(wanted.as_bytes()))
            .and_then(|fields| field(&fields, 2)),
    };
    id.filter(|gid| *gid != u32::MAX).ok_or_else(|| format!("/etc/group has no group `{wanted}`"))
}

/// The ids of the groups that list a user.
fn groups_of<'a>(name: &'a [u8], group: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
    lines(group).filter_map(move |fields| {
        let members = fields.get(3).copied().unwrap_or_default();
        let is_member = members.split(|byte| *byte == b',').any(|member| member == name);
        field(&fields, 2).filter(|gid| is_member && *gid != u32::MAX)
    })
}

/// The lines of such a file as fields. What is no line of it is skipped, as the C library does.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| line.splitn(7, |byte| *byte == b':').collect())
}

fn field(fields: &[&[u8]], position: usize) -> Option<u32> {
    std::str::from_utf8(fields.get(position)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    const PASSWD: &[u8] = b"# users\nroot:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34::/:/bin/false\n\
        1000:x:7:8::/:\nwrong:x:many:0::/:\nnone:x:4294967295:0::/:\n\xff\xfe:x:9:9::/:\nweb:x:99:99::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nweb:x:34:web\nlogs:x:50:root,web\nssl:x:51:other,web\n\
        webby:x:52:webb\nmany:x:oops:web\n";

    #[test]
    fn docker_would_say_the_same() {
        let user = |uid, gid, groups: &[u32]| Ok(User { uid, gid, groups: groups.to_vec() });
        let unknown = |why: &str| Err(why.to_owned());
        for (text, expected) in [
            ("", user(0, 0, &[0, 50])),
            ("root", user(0, 0, &[0, 50])),
            ("0", user(0, 0, &[0, 50])),
            ("web", user(33, 34, &[34, 50, 51])),
            ("33", user(33, 34, &[34, 50, 51])),
            ("web:logs", user(33, 50, &[50])),
            ("web:77", user(33, 77, &[77])),
            (":logs", user(0, 50, &[50])),
            // An id whether or not somebody has it, and although it is a name.
            ("1000", user(1000, 0, &[0])),
            ("4294967294:4294967294", user(u32::MAX - 1, u32::MAX - 1, &[u32::MAX - 1])),
            ("nobody", unknown("/etc/passwd has no such name")),
            ("-1", unknown("/etc/passwd has no such name")),
            ("99999999999", unknown("/etc/passwd has no such name")),
            ("broken", unknown("its line in /etc/passwd has no user id")),
            ("wrong", unknown("its line in /etc/passwd has no user id")),
            ("none", unknown("4294967295 is no user id")),
            ("4294967295", unknown("4294967295 is no user id")),
            ("web:no", unknown("/etc/group has no group `no`")),
            ("web:many", unknown("/etc/group has no group `many`")),
            ("web:4294967295", unknown("/etc/group has no group `4294967295`")),
            ("web:a:b", unknown("/etc/group has no group `a:b`")),
        ] {
            assert_eq!(find(text, PASSWD, GROUP), expected, "{text}");
        }
        assert_eq!(find("", b"", b"").unwrap().groups, [0]);
        assert!(find("web", b"", b"").is_err());
    }

    #[test]
    fn hostile_files() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("passwd"), PASSWD).unwrap();
        let root = outside.path().join("root");
        let etc = root.join("etc");
        std::fs::create_dir_all(&etc).unwrap();
        let (passwd, host) = (etc.join("passwd"), outside.path().join("passwd"));
        let look = |user: &str| {
            let open = std::fs::File::open(&root).unwrap();
            resolve(open.as_fd(), user).map(|user| user.uid).map_err(|e| crate::error::chain(&e))
        };
        let none = "the image's user `web` is unknown: /etc/passwd has no such name";
        for target in [host.to_str().unwrap(), "../../passwd", "/proc/self/environ"] {
            symlink(target, &passwd).unwrap();
            assert_eq!(look("web"), Err(none.to_owned()), "{target}");
            assert_eq!(look("5"), Ok(5));
            std::fs::remove_file(&passwd).unwrap();
        }
        rustix::fs::mkfifoat(rustix::fs::CWD, &passwd, rustix::fs::Mode::RUSR).unwrap();
        assert!(look("").unwrap_err().contains("it is no regular file"));
        std::fs::remove_file(&passwd).unwrap();
        std::fs::create_dir(&passwd).unwrap();
        assert!(look("").unwrap_err().contains("it is no regular file"));
        std::fs::remove_dir(&passwd).unwrap();
        // As many bytes as are read, in one line; and one that takes no place on disk.
        std::fs::write(&passwd, vec![b':'; usize::try_from(LARGEST).unwrap()]).unwrap();
        assert_eq!(look("web"), Err(none.to_owned()));
        std::fs::File::create(&passwd).unwrap().set_len(1 << 40).unwrap();
        let text = "/etc/passwd of the image has more than 4194304 bytes";
        assert_eq!(look("web"), Err(text.to_owned()));
        std::fs::write(&passwd, "\0\nweb:x:5:5\0\nweb:x:6:6::/:\n").unwrap();
        assert_eq!(look("web"), Ok(5));
        std::fs::remove_file(&passwd).unwrap();
        std::fs::create_dir(etc.join("real")).unwrap();
        std::fs::write(etc.join("real/passwd"), PASSWD).unwrap();
        symlink("/etc/real/passwd", &passwd).unwrap();
        assert_eq!(look("web"), Ok(33), "as images do that are made of read-only parts");
    }
}
