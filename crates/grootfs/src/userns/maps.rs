//! `newuidmap` and `newgidmap`: which ids a user may have in a namespace is root's to say, in `/etc/subuid`
//! and `/etc/subgid`. These set-uid programs look there and write the kernel's tables.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Error;
use crate::idmap::IdMapping;
use crate::idmap::rootless::{Account, Files};
use crate::idmap::subid::{Range, SubIds};
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
        let Ok(files) = Files::read(Path::new("/etc")) else { return String::new() };
        let unnamed = Account { name: None, id: uid };
        let account = Account::find(&files.passwd, &uid.to_string()).unwrap_or(unnamed);
        let user = account.name.map_or_else(|| uid.to_string(), str::to_owned);
        let granted = if self.kind == "uid" { &files.subuid } else { &files.subgid };
        let ranges = SubIds::parse(self.file, granted).of(&account);
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

    fn allows(&self, granted: &[Range], mapping: &IdMapping) -> bool {
        if mapping.size == 1 && mapping.host == self.own {
            return true;
        }
        let end = |range: &Range| range.first.saturating_add(range.size);
        let (mut next, last) =
            (u64::from(mapping.host), u64::from(mapping.host) + u64::from(mapping.size));
        // Ranges may touch each other.
        while let Some(range) =
            granted.iter().find(|range| (range.first..end(range)).contains(&next))
        {
            next = end(range);
            if next >= last {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed() {
        let ids = Ids { own: 1000, ..Ids::user() };
        let allows = |ranges: &[(u64, u64)], mapping: &str| {
            let granted: Vec<Range> =
                ranges.iter().map(|(first, size)| Range { first: *first, size: *size }).collect();
            ids.allows(&granted, &mapping.parse().unwrap())
        };
        assert!(allows(&[], "0:1000:1"));
        assert!(!allows(&[], "0:1000:2") && !allows(&[], "0:1001:1"));
        assert!(allows(&[(100, 10), (110, 10)], "1:105:15"));
        assert!(!allows(&[(100, 10), (110, 10)], "1:105:16"));
        assert!(!allows(&[(100, 0), (u64::MAX, u64::MAX)], "1:100:1"));
    }
}
