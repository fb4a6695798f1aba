//! `newuidmap` and `newgidmap`: which ids a user may have in a namespace is root's to say, in `/etc/subuid`
//! and `/etc/subgid`. These set-uid programs look there and write the kernel's tables.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Error;
use crate::idmap::IdMapping;
use crate::program;

/// Ids of one kind.
#[derive(Debug)]
pub struct Ids {
    /// As in the contract's texts.
    kind: &'static str,
    /// Where root says who may have which.
    file: &'static str,
    flag: &'static str,
    /// That of the caller, which needs no permission.
    own: u32,
}

impl Ids {
    /// User ids.
    pub fn user() -> Self {
        let own = rustix::process::getuid().as_raw();
        Self { kind: "uid", file: "/etc/subuid", flag: "--newuidmap-bin", own }
    }

    /// Group ids.
    pub fn group() -> Self {
        let own = rustix::process::getgid().as_raw();
        Self { kind: "gid", file: "/etc/subgid", flag: "--newgidmap-bin", own }
    }

    /// Gives a process in a new namespace its ids.
    pub fn write(&self, tool: &Path, process: u32, mappings: &[IdMapping]) -> Result<(), Error> {
        self.try_write(tool, process, mappings).map_err(|why| Error::Map { kind: self.kind, why })
    }

    fn try_write(&self, tool: &Path, process: u32, mappings: &[IdMapping]) -> Result<(), String> {
        let name = tool.display();
        let path = program::find(tool, std::env::var_os("PATH").as_deref()).ok_or_else(|| {
            format!(
                "{name} was not found in the $PATH; install the package uidmap (shadow-utils on some systems), \
                 or give its path with {}",
                self.flag
            )
        })?;
        let path = path.as_path();
        let failed =
            |error: std::io::Error| format!("{}: {}", path.display(), crate::error::reason(&error));
        if !program::is_set_uid_root(path).map_err(failed)? && !program::has_capabilities(path) {
            return Err(format!(
                "missing the setuid bit on {name} ({path}); as root: chown root {path} && chmod u+s {path}",
                path = path.display()
            ));
        }
        let mut command = Command::new(path);
        command.arg(process.to_string());
        for mapping in mappings {
            command.args([mapping.ns, mapping.host, mapping.size].map(|id| id.to_string()));
        }
        let output = command.stdin(Stdio::null()).output().map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let text = [output.stdout, output.stderr].concat();
        Err(format!(
            "{}, {}: {}{}",
            path.display(),
            String::from_utf8_lossy(&text).trim(),
            output.status.to_string().replace("exit status: ", "exit status "),
            self.advice(mappings)
        ))
    }

    /// What root has to do so that it works; empty when that cannot be seen.
    fn advice(&self, mappings: &[IdMapping]) -> String {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])) {
            return "; this process was started so that set-uid programs have no power \
                    (no_new_privs)"
                .to_owned();
        }
        // Both files name users.
        let uid = rustix::process::getuid().as_raw();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = user_name(&passwd, uid).unwrap_or_else(|| uid.to_string());
        let ranges = std::fs::read_to_string(self.file).unwrap_or_default();
        let ranges = ranges_of(&ranges, &user, uid);
        let Some(missing) = mappings.iter().find(|mapping| !self.allows(&ranges, mapping)) else {
            return String::new();
        };
        let last = u64::from(missing.host) + u64::from(missing.size) - 1;
        let what = if ranges.is_empty() {
            format!("{user} has no line in {}", self.file)
        } else {
            format!("the lines of {user} in {} do not cover {}-{last}", self.file, missing.host)
        };
        format!(
            "; {what}: add a line like `{user}:{}:{}` to {}",
            missing.host, missing.size, self.file
        )
    }

    fn allows(&self, ranges: &[(u64, u64)], mapping: &IdMapping) -> bool {
        if mapping.size == 1 && mapping.host == self.own {
            return true;
        }
        let (mut next, end) =
            (u64::from(mapping.host), u64::from(mapping.host) + u64::from(mapping.size));
        // Ranges may touch each other.
        while let Some((first, size)) = ranges
            .iter()
            .find(|(first, size)| (*first..first.saturating_add(*size)).contains(&next))
        {
            next = first.saturating_add(*size);
            if next >= end {
                return true;
            }
        }
        false
    }
}

/// Name of a user in `/etc/passwd`.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// First ids and sizes of a user's lines, which name the user or have the number.
fn ranges_of(text: &str, user: &str, uid: u32) -> Vec<(u64, u64)> {
    let line = |line: &str| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (name == user || name.parse() == Ok(uid)).then_some(range)
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_user() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbroken\n";
        assert_eq!(user_name(passwd, 1000), Some("alice".to_owned()));
        assert_eq!(user_name(passwd, 1001), None);
        let text = "bob:1:2\nalice:100000:65536\n\nalice:x:1\n1000:200000:1\nalice:3\n";
        assert_eq!(ranges_of(text, "alice", 1000), [(100_000, 65_536), (200_000, 1)]);
    }

    #[test]
    fn what_is_allowed() {
        let ids = Ids { own: 1000, ..Ids::user() };
        let allows =
            |ranges: &[(u64, u64)], mapping: &str| ids.allows(ranges, &mapping.parse().unwrap());
        assert!(allows(&[], "0:1000:1"));
        assert!(!allows(&[], "0:1000:2") && !allows(&[], "0:1001:1"));
        assert!(allows(&[(100, 10), (110, 10)], "1:105:15"));
        assert!(!allows(&[(100, 10), (110, 10)], "1:105:16"));
        assert!(!allows(&[(100, 0), (u64::MAX, u64::MAX)], "1:100:1"));
    }
}
