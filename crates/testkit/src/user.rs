//! A user of the machine other than root, made up for one test.
//!
//! What the machine knows about users is not touched: programs run in a mount namespace in which other files
//! lie over `/etc/passwd`, `/etc/subuid` and `/etc/subgid`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Its number, and that of its group.
pub const UID: u32 = 5000;

/// First of the ids that it may have in a user namespace.
pub const FIRST_SUBID: u32 = 100_000;

/// How many of them.
pub const SUBIDS: u32 = 65_536;

/// `alice`.
#[derive(Debug, Clone)]
pub struct User {
    etc: PathBuf,
    uid: u32,
}

impl User {
    /// Makes the user with all of its ids; `directory` is for the files that say so.
    pub fn new(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        open_up(directory);
        let user = Self { etc: directory.to_owned(), uid: UID };
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let alice = format!("alice:x:{UID}:{UID}::/:/bin/sh\n");
        fs::write(user.etc.join("passwd"), passwd + &alice).unwrap();
        fs::write(user.etc.join("program"), "").unwrap();
        user.set_subids(&format!("alice:{FIRST_SUBID}:{SUBIDS}\n"));
        user
    }

    /// The same machine, another user; it has no subordinate ids.
    #[must_use]
    pub fn other(&self, uid: u32) -> Self {
        Self { uid, ..self.clone() }
    }

    /// Writes another `/etc/subuid` and `/etc/subgid`.
    pub fn set_subids(&self, text: &str) {
        for name in ["subuid", "subgid"] {
            fs::write(self.etc.join(name), text).unwrap();
        }
    }

    /// The mappings of a store for the user, as flags of `init-store`.
    pub fn mappings(&self) -> Vec<String> {
        let root = format!("0:{UID}:1");
        let others = format!("1:{FIRST_SUBID}:{SUBIDS}");
        ["--uid-mapping", &root, "--uid-mapping", &others]
            .into_iter()
            .chain(["--gid-mapping", &root, "--gid-mapping", &others])
            .map(str::to_owned)
            .collect()
    }

    /// The command that runs a program as the user, before its arguments. The process keeps its id.
    pub fn words(&self, program: &Path) -> Vec<OsString> {
        // Where the program lies, only root may go.
        let script = format!(
            "for name in passwd subuid subgid; do mount --bind \"$0/$name\" \"/etc/$name\"; done\n\
             mount --bind \"$1\" \"$0/program\"; shift\n\
             exec setpriv --reuid {0} --regid {0} --clear-groups \"$0/program\" \"$@\"",
            self.uid
        );
        let mut words: Vec<OsString> =
            ["unshare", "--mount", "--propagation", "private", "sh", "-ec"]
                .map(OsString::from)
                .to_vec();
        words.extend([script.into(), self.etc.clone().into(), program.into()]);
        words
    }
}

/// Lets everybody through to a path in a temporary directory.
pub fn open_up(path: &Path) {
    let tmp = std::env::temp_dir();
    for above in path.ancestors().take_while(|above| *above != tmp && above.starts_with(&tmp)) {
        if above.exists() {
            let mode = fs::metadata(above).unwrap().permissions().mode() | 0o055;
            fs::set_permissions(above, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}
