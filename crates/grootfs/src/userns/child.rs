//! The process in the namespace, from its start until it is an ordinary command.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use groot_sys::Errno;

use super::PARENT;
use super::channel::{Channel, Kind};

/// The name that this program is started under. Not a command: it is of use to nobody else.
pub const NAME: &str = "grootfs-in-user-namespace";

/// The environment variable with the session of the log that this process does a part of.
pub const SESSION: &str = "GROOTFS_LOG_SESSION";

/// Why this process cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// A person started it.
    NotForPeople,
    /// The parent knows, or is gone.
    Told,
}

/// Takes the arguments of this process (its name first). In one that a parent has started for its
/// namespace, enters that, and returns the arguments of the user's command; does nothing in others.
///
/// To be called before anything else: only a process of one thread can enter a user namespace.
pub fn begin(arguments: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    if arguments.first().is_none_or(|name| name != NAME) {
        return Ok(arguments);
    }
    let mut rest = arguments.into_iter().skip(1);
    let mut number = || rest.next()?.to_str()?.parse::<i32>().ok();
    let (Some(socket), Some(parent)) = (number(), number()) else {
        return Err(Failure::NotForPeople);
    };
    let is_parent = rustix::process::getppid().is_some_and(|id| id.as_raw_pid() == parent);
    let socket = groot_sys::userns::inherited_socket(socket as RawFd);
    let (true, Ok(socket)) = (is_parent, socket) else { return Err(Failure::NotForPeople) };
    let mut channel = Channel(UnixStream::from(socket));
    if let Err(text) = enter(&mut channel, parent) {
        // A parent that is gone needs no answer.
        let _ = channel.send(Kind::Failed, text.as_bytes());
        return Err(Failure::Told);
    }
    // It is set once, here.
    let _ = PARENT.set(Mutex::new(channel));
    Ok(std::iter::once(OsString::from("grootfs")).chain(rest).collect())
}

fn enter(channel: &mut Channel, parent: i32) -> Result<(), String> {
    use groot_sys::userns::{become_root, die_with_parent, enter_new};
    enter_new().map_err(|error| explained(&error))?;
    let text = |error: groot_sys::Error| error.to_string();
    // Until the ids are mapped the channel's end tells that the parent is gone.
    channel.send(Kind::Ready, b"").map_err(|error| error.to_string())?;
    match channel.receive() {
        Ok(Some((Kind::Go, _))) => {}
        _ => return Err("the process outside of the namespace is gone".to_owned()),
    }
    become_root().map_err(text)?;
    die_with_parent(parent).map_err(text)
}

/// What the kernel says, and what mends it.
fn explained(error: &groot_sys::Error) -> String {
    let hint = match error.errno() {
        Errno::PERM | Errno::ACCESS => {
            "this machine does not let users have user namespaces; as root, where these are there: sysctl \
             kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 (in a \
             container, its seccomp profile may forbid it)"
        }
        Errno::NOSPC | Errno::USERS => {
            "there are as many user namespaces as may be; as root: sysctl user.max_user_namespaces=<more>"
        }
        Errno::INVAL => "this kernel was built without user namespaces (CONFIG_USER_NS)",
        _ => return error.to_string(),
    };
    format!("{error}: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin_with(arguments: &[&str]) -> Result<Vec<OsString>, Failure> {
        begin(arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn is_of_no_use_to_people() {
        assert_eq!(begin_with(&["grootfs", "list"]), Ok(vec!["grootfs".into(), "list".into()]));
        assert_eq!(begin_with(&[]), Ok(vec![]));
        let parent = rustix::process::getppid().unwrap().as_raw_pid().to_string();
        for arguments in [
            &[NAME][..],
            &[NAME, "3"],
            &[NAME, "x", &parent, "list"],
            &[NAME, "3", "x", "list"],
            &[NAME, "0", &parent, "list"],
            &[NAME, "1048576", &parent, "list"],
            &[NAME, "-1", &parent, "list"],
            &[NAME, "99999999999", &parent, "list"],
        ] {
            assert_eq!(begin_with(arguments), Err(Failure::NotForPeople), "{arguments:?}");
        }
    }
}
