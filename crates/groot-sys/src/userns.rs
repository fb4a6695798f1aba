//! User namespaces, and a process that lives no longer than its parent.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{FileType, fstat};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, set_thread_res_gid, set_thread_res_uid, unshare_unsafe};

use crate::{Call, Errno, Result};

/// Moves this process into a new user namespace, in which nothing is mapped yet. The kernel refuses it
/// (`EINVAL`) to a process of several threads.
pub fn enter_new() -> Result<()> {
    // SAFETY: of what CLONE_NEWUSER changes, memory safety relies on nothing; files stay shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }.call("unshare", || "CLONE_NEWUSER".into())
}

/// Becomes user 0 and group 0 of the namespace that this process is in. Other groups stay: what may be
/// read through them may still be read.
///
/// Only the calling thread changes, and the threads that it starts: to be called before there are others.
pub fn become_root() -> Result<()> {
    let (uid, gid) = (process::Uid::ROOT, process::Gid::ROOT);
    set_thread_res_gid(gid, gid, gid).call("setresgid", || "0, 0, 0".into())?;
    set_thread_res_uid(uid, uid, uid).call("setresuid", || "0, 0, 0".into())
}

/// Lets the kernel kill this process when its parent ends; an error (`ESRCH`) if that is no longer
/// `parent`. To be called after the last change of user or group, which takes this back.
pub fn die_with_parent(parent: i32) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .call("prctl", || "PR_SET_PDEATHSIG, SIGKILL".into())?;
    // It may have ended just before.
    if Pid::as_raw(getppid()) == parent {
        Ok(())
    } else {
        Err(Errno::SRCH).call("getppid", String::new)
    }
}

/// Takes over a socket that the parent left open for us under this number; an error where there is
/// something else or nothing.
pub fn inherited_socket(number: RawFd) -> Result<OwnedFd> {
    let show = || number.to_string();
    if number <= 2 {
        return Err(Errno::BADF).call("fstat", show);
    }
    // SAFETY: used for the next two calls only, which fail on a number that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let found = fstat(borrowed).call("fstat", show)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(Errno::NOTSOCK).call("fstat", show);
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).call("fcntl", show)?;
    // SAFETY: it is open, and called once, at the start of the process, before anything else of ours
    // opens files: nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn only_sockets_are_taken_over() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let number = theirs.into_raw_fd();
        assert_eq!(inherited_socket(number).unwrap().as_raw_fd(), number);
        let file = tempfile::tempfile().unwrap();
        assert_eq!(inherited_socket(file.as_raw_fd()).unwrap_err().errno(), Errno::NOTSOCK);
        assert_eq!(inherited_socket(1 << 20).unwrap_err().errno(), Errno::BADF);
        assert_eq!(inherited_socket(0).unwrap_err().errno(), Errno::BADF);
        assert_eq!(inherited_socket(-1).unwrap_err().errno(), Errno::BADF);
        drop(ours);
    }
}
