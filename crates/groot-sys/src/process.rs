//! Processes that outlive the one that starts them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::{Call, Result};

/// Descriptors that are looked at one by one where the kernel cannot do all at once.
const MOST_DESCRIPTORS: libc::c_int = 4096;

/// Starts a program that belongs to nobody: a session of its own, and none of the caller's descriptors, so
/// that nobody who waits for the end of a pipe waits for it.
pub fn spawn_detached(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec only system calls are made: setsid(2), close_range(2), fcntl(2).
    unsafe { command.pre_exec(leave) };
    let child = command.spawn().call("spawn", || program.display().to_string())?;
    // Not waited for: whoever adopts it does that.
    drop(child);
    Ok(())
}

fn leave() -> io::Result<()> {
    rustix::process::setsid()?;
    // On exec and not now: the standard library waits on one of them for the exec to succeed.
    // SAFETY: no memory is passed; the descriptors stay open until the exec.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if result == 0 {
        return Ok(());
    }
    for descriptor in 3..MOST_DESCRIPTORS {
        // SAFETY: no memory is passed; a number that is no descriptor is an error without effect.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn detached_programs_hold_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let file = std::fs::File::open("/dev/null").unwrap();
        // A number that a shell does not take for itself.
        let inherited = rustix::io::fcntl_dupfd_cloexec(&file, 777).unwrap();
        rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
        let script = format!(
            "a=$(readlink /proc/$$/fd/{}); b=$(readlink /proc/$$/fd/1); echo \"$a.$b\" >'{out}.new'; mv '{out}.new' '{out}'",
            inherited.as_raw_fd(),
            out = out.display()
        );
        spawn_detached(Command::new("sh").args(["-c", &script])).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !out.exists() && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "./dev/null\n");
    }
}
