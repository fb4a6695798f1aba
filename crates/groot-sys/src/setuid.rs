//! What a program with the set-uid bit does before it does anything.
//!
//! Whoever starts it chooses its arguments, environment, descriptors, limits, working directory
//! and timers, and the state of the files that it is pointed at. [`harden`] throws away what can
//! be thrown away; [`Caller`] says on whose behalf the program acts; [`store`] decides which paths
//! it may touch; [`restriction`] lets an administrator say who may call at all.
//!
//! These programs have one thread: ids of a thread and of a process are the same here.

use std::fs;
use std::os::fd::RawFd;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use rustix::thread::set_thread_res_uid;

use crate::{Call, Errno, Result};

pub mod restriction;
pub mod store;

pub use rustix::process::Uid;

/// The first descriptor that is not standard input, output or error.
const FIRST_OWN: RawFd = 3;

/// Descriptors that are tried where nothing tells which ones are open: what systems allow at most
/// unless somebody raises `fs.nr_open`.
const MOST_DESCRIPTORS: RawFd = 1 << 20;

/// Descriptors that a walk through a deep tree and a small answer need, with room to spare.
const DESCRIPTORS: u64 = 256;

/// Brings the process into a known state. Call this first, before any other thread or file.
pub fn harden() -> Result<()> {
    open_standard_streams()?;
    close_from(FIRST_OWN);
    // SAFETY: there is one thread, and nobody holds a pointer into the environment: strings of the
    // standard library are copies.
    unsafe { libc::clearenv() };
    umask(Mode::from_raw_mode(0o022));
    clear_timers();
    // Not to be stopped half-way. Without CAP_SYS_RESOURCE (a container) even root cannot raise hard
    // limits; what the kernel then refuses still comes as an error.
    for resource in [Resource::Fsize, Resource::Cpu] {
        let _ = setrlimit(resource, Rlimit { current: None, maximum: None });
    }
    allow_descriptors(DESCRIPTORS);
    // A core dump of ours would hold what root can read.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .call("setrlimit", || "RLIMIT_CORE, 0".into())
}

/// Raises the number of descriptors to what we need, as far as we may.
fn allow_descriptors(needed: u64) {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= needed) {
        return;
    }
    let maximum = now.maximum.map(|maximum| maximum.max(needed));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
}

/// Opens what is closed: the first file that we open would become standard output otherwise, and
/// what we say would go into it.
fn open_standard_streams() -> Result<()> {
    for stream in 0..FIRST_OWN {
        // SAFETY: the call takes no pointer.
        if unsafe { libc::fcntl(stream, libc::F_GETFD) } != -1 {
            continue;
        }
        // SAFETY: the path ends in NUL. The lowest free number is `stream`; it stays open.
        let opened = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        if opened != stream {
            return Err(Errno::BADF).call("open", || format!("/dev/null, for descriptor {stream}"));
        }
    }
    Ok(())
}

/// Closes every descriptor from a number on.
fn close_from(first: RawFd) {
    // SAFETY: nothing in this process has opened a file yet that it would want to keep.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if closed == 0 {
        return;
    }
    // No such call before Linux 5.9.
    for descriptor in open_descriptors().unwrap_or_else(|| (first..MOST_DESCRIPTORS).collect()) {
        if descriptor >= first {
            // SAFETY: as above; one that is not open is an error that says so.
            unsafe { libc::close(descriptor) };
        }
    }
}

fn open_descriptors() -> Option<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    // The directory itself is among them, and closed by then.
    Some(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Stops the timers that pass through `execve`: their signals would kill us half-way.
fn clear_timers() {
    let never = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval { tv_sec: 0, tv_usec: 0 },
    };
    for timer in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        // SAFETY: the call reads the structure, and the old value is not asked for.
        unsafe { libc::setitimer(timer, &raw const never, std::ptr::null_mut()) };
    }
}

/// Who has started this program, and on whose behalf it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    uid: Uid,
}

impl Caller {
    /// Remembers who has started this process and makes root its real user too: the caller can no
    /// longer send it signals. `None` when it has no rights, because the set-uid bit is missing.
    pub fn take_over() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let uid = rustix::process::getuid();
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
            .call("setresuid", || "0, 0, 0".into())?;
        Ok(Some(Self { uid }))
    }

    /// The caller's user id.
    pub fn uid(self) -> u32 {
        self.uid.as_raw()
    }

    /// Whether root itself has started the program.
    pub fn is_root(self) -> bool {
        self.uid.is_root()
    }

    /// Does something with no more rights than the caller has: what the kernel refuses him, it
    /// refuses us, so nobody learns from our answers what is behind a closed door.
    pub fn with_own_rights<T>(self, act: impl FnOnce() -> T) -> Result<T> {
        if self.is_root() {
            return Ok(act());
        }
        set_effective(self.uid)?;
        let done = act();
        set_effective(Uid::ROOT)?;
        Ok(done)
    }
}

/// Sets the user whose rights count. The saved id stays root's.
fn set_effective(uid: Uid) -> Result<()> {
    set_thread_res_uid(None::<Uid>, uid, None::<Uid>)
        .call("setresuid", || format!("-1, {}, -1", uid.as_raw()))
}
