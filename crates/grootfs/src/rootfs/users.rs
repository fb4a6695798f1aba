//! Who a process in a root runs as: the image's `user` text, by the root's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are those of Docker, which every image is written for: a number is an id whether a file has
//! it or not, a name must be in the file, and whoever names no group gets those of the files.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::io::Errno;

/// The files, as their paths in a root.
const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

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
    find(text, |file| read(root, file))
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

/// What `read` is not asked for is never looked at, and who gives numbers depends on no file.
fn find(text: &str, read: impl Fn(&'static str) -> Result<Vec<u8>, Error>) -> Result<User, Error> {
    let (user, wanted) = text.split_once(':').unwrap_or((text, ""));
    let unknown = |why| Error::Unknown { user: text.to_owned(), why };
    // A text of digits is an id, even where somebody has such a name.
    let number = if user.is_empty() { Some(0) } else { id(user.as_bytes()) };
    let named = match (wanted, id(wanted.as_bytes())) {
        ("", _) => None,
        (_, Some(gid)) => Some(gid),
        (name, None) => {
            let gid = group_id(name, &read(GROUP)?);
            Some(gid.ok_or_else(|| unknown(format!("/etc/group has no group `{name}`")))?)
        }
    };
    if let (Some(uid), Some(gid)) = (number, named) {
        return Ok(User { uid, gid, groups: vec![gid] });
    }
    let read = |file| match read(file) {
        Err(_) if number.is_some() => Ok(Vec::new()),
        other => other,
    };
    let passwd = read(PASSWD)?;
    let account = accounts(&passwd).find(|account| match number {
        Some(uid) => account.uid == uid,
        None => account.name == user.as_bytes(),
    });
    let Some(account) = account else {
        let no_name = || unknown("/etc/passwd has no such name".to_owned());
        let uid = number.ok_or_else(no_name)?;
        return Ok(User { uid, gid: 0, groups: vec![0] });
    };
    let gid = named.unwrap_or(account.gid);
    let mut groups = vec![gid];
    if named.is_none() {
        let mut seen = HashSet::from([gid]);
        let group = read(GROUP)?;
        let others = groups_of(account.name, &group).filter(|gid| seen.insert(*gid));
        groups.extend(others.take(MOST_GROUPS - 1));
    }
    Ok(User { uid: account.uid, gid, groups })
}

/// The id of a group.
fn group_id(name: &str, group: &[u8]) -> Option<u32> {
    lines(group)
        .filter(|fields| fields.first().copied() == Some(name.as_bytes()))
        .find_map(|fields| id(fields.get(2)?))
}

/// The ids of the groups that list a user.
fn groups_of<'a>(name: &'a [u8], group: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
    lines(group).filter_map(move |fields| {
        let mut members = fields.get(3)?.split(|byte| *byte == b',');
        members.any(|member| member == name).then(|| id(fields.get(2)?)).flatten()
    })
}

/// A line of `/etc/passwd`.
struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
}

/// The accounts of the file; a line without ids is none.
fn accounts(passwd: &[u8]) -> impl Iterator<Item = Account<'_>> {
    lines(passwd).filter_map(|fields| {
        Some(Account { name: fields.first()?, uid: id(fields.get(2)?)?, gid: id(fields.get(3)?)? })
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

/// A text of digits as an id. The largest number means nobody to the kernel.
fn id(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    // A sign would be read as well.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    const USERS: &[u8] =
        b"# users\nroot:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34::/:/bin/false\n\
        1000:x:7:8::/:\nwrong:x:many:0::/:\nwrong:x:5:many::/:\nplus:x:+5:0::/:\nlater:x:no:1::/:\n\
        later:x:6:6::/:\nnone:x:4294967295:0::/:\n\xff\xfe:x:9:9::/:\nweb:x:99:99::/:\n";
    const GROUPS: &[u8] = b"root:x:0:\nweb:x:34:web\nlogs:x:50:root,web\nssl:x:51:other,web\n\
        webby:x:52:webb\nmany:x:oops:web\nagain:x:50:web\nown:x:34:web\nplus:x:+7:web\n\
        late:x:no:\nlate:x:53:\n";

    /// Files of a root, and which of them are read.
    fn look(text: &str, passwd: &[u8], group: &[u8]) -> (Result<User, String>, Vec<&'static str>) {
        let asked = std::cell::RefCell::new(Vec::new());
        let found = find(text, |file| {
            asked.borrow_mut().push(file);
            Ok(if file == PASSWD { passwd.to_vec() } else { group.to_vec() })
        });
        let found = found.map_err(|error| match error {
            Error::Unknown { why, .. } => why,
            other => other.to_string(),
        });
        (found, asked.into_inner())
    }

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
            ("later", user(6, 6, &[6])),
            ("web:late", user(33, 53, &[53])),
            ("broken", unknown("/etc/passwd has no such name")),
            ("wrong", unknown("/etc/passwd has no such name")),
            ("plus", unknown("/etc/passwd has no such name")),
            ("+1", unknown("/etc/passwd has no such name")),
            ("none", unknown("/etc/passwd has no such name")),
            ("4294967295", unknown("/etc/passwd has no such name")),
            ("web:+1", unknown("/etc/group has no group `+1`")),
            ("web:plus", unknown("/etc/group has no group `plus`")),
            ("web:no", unknown("/etc/group has no group `no`")),
            ("web:many", unknown("/etc/group has no group `many`")),
            ("web:4294967295", unknown("/etc/group has no group `4294967295`")),
            ("web:a:b", unknown("/etc/group has no group `a:b`")),
        ] {
            assert_eq!(look(text, USERS, GROUPS).0, expected, "{text}");
        }
        assert_eq!(look("", b"", b"").0.unwrap().groups, [0]);
        assert!(look("web", b"", b"").0.is_err());
    }

    #[test]
    fn no_more_files_are_read_than_needed() {
        for (text, files) in [
            ("7:8", &[][..]),
            (":8", &[]),
            ("7:logs", &[GROUP]),
            ("web:8", &[PASSWD]),
            ("8", &[PASSWD]),
            ("33", &[PASSWD, GROUP]),
            ("web", &[PASSWD, GROUP]),
            ("web:logs", &[GROUP, PASSWD]),
        ] {
            let (found, read) = look(text, USERS, GROUPS);
            assert!(found.is_ok(), "{text}: {found:?}");
            assert_eq!(read, files, "{text}");
        }
    }

    #[test]
    fn a_process_has_no_more_groups_than_it_can() {
        let many: String = (0..100_000).map(|gid| format!("g{gid}:x:{gid}:web\n")).collect();
        let groups = look("web", USERS, many.as_bytes()).0.unwrap().groups;
        assert_eq!(groups.len(), MOST_GROUPS);
        assert_eq!(groups.iter().filter(|gid| **gid == 34).count(), 1);
    }

    #[test]
    fn hostile_files() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("passwd"), USERS).unwrap();
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
        assert!(look("web").unwrap_err().contains("it is no regular file"));
        assert_eq!(look("7"), Ok(7), "a number needs no file");
        std::fs::remove_file(&passwd).unwrap();
        std::fs::create_dir(&passwd).unwrap();
        assert!(look("web").unwrap_err().contains("it is no regular file"));
        assert_eq!(look(""), Ok(0));
        std::fs::remove_dir(&passwd).unwrap();
        // As many bytes as are read, in one line; and one that takes no place on disk.
        std::fs::write(&passwd, vec![b':'; usize::try_from(LARGEST).unwrap()]).unwrap();
        assert_eq!(look("web"), Err(none.to_owned()));
        std::fs::File::create(&passwd).unwrap().set_len(1 << 40).unwrap();
        let text = "/etc/passwd of the image has more than 4194304 bytes";
        assert_eq!(look("web"), Err(text.to_owned()));
        std::fs::write(&passwd, "\0\nweb:x:5:5\0\nweb:x:6:6::/:\n").unwrap();
        assert_eq!(look("web"), Ok(6));
        std::fs::remove_file(&passwd).unwrap();
        std::fs::create_dir(etc.join("real")).unwrap();
        std::fs::write(etc.join("real/passwd"), USERS).unwrap();
        symlink("/etc/real/passwd", &passwd).unwrap();
        assert_eq!(look("web"), Ok(33), "as images do that are made of read-only parts");
    }
}
