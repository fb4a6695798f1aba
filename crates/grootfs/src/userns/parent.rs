//! The process of the user: starts the one in the namespace, maps its ids, runs helpers for it, and ends
//! as that one does.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::channel::{self, Channel, Kind};
use super::{Error, child, maps};
use crate::idmap::{IdMapping, IdMappings};
use crate::interrupt::Interrupt;
use crate::observe::log::data;
use crate::observe::{Level, Log};

/// Where the programs are that map ids.
#[derive(Debug, Clone)]
pub struct Tools {
    /// For user ids.
    pub newuidmap: PathBuf,
    /// For group ids.
    pub newgidmap: PathBuf,
}

impl Default for Tools {
    fn default() -> Self {
        Self { newuidmap: "newuidmap".into(), newgidmap: "newgidmap".into() }
    }
}

/// Runs a set-uid helper by its name; returns what it printed, or why it failed.
pub type Help<'a> = &'a dyn Fn(&str, &[&OsStr]) -> Result<String, String>;

/// Has the command with these arguments (without the program's name) done in a user namespace with the
/// ids of a store; returns its exit code. It prints by itself.
///
/// When somebody asks to stop, it is asked to.
pub fn run(
    arguments: &[OsString],
    store: &IdMappings,
    tools: &Tools,
    interrupt: &Interrupt,
    log: &Log,
    help: Help<'_>,
) -> Result<u8, Error> {
    let log = log.session("ns-id-mapper-unpacking");
    let _step = log.detail();
    let (mut channel, mut child) = start(arguments, &log)?;
    log.tell(Level::Debug, "starting-unpack-command", || data([("pid", child.id().into())]));
    let done = map(&mut channel, &child, store, tools, &log)
        .and_then(|()| forward(&child, interrupt))
        .and_then(|()| serve(&mut channel, help));
    // One that still waits for its ids ends when nobody is left to send them.
    drop(channel);
    let status = child.wait().map_err(Error::Start)?;
    done?;
    exit_code(status)
}

fn start(arguments: &[OsString], log: &Log) -> Result<(Channel, Child), Error> {
    let (ours, theirs) = UnixStream::pair().map_err(Error::Start)?;
    let theirs = OwnedFd::from(theirs);
    fcntl_setfd(&theirs, FdFlags::empty()).map_err(|errno| Error::Start(errno.into()))?;
    let child = Command::new("/proc/self/exe")
        .arg0(child::NAME)
        .arg(theirs.as_raw_fd().to_string())
        .arg(std::process::id().to_string())
        .args(arguments)
        .env(child::SESSION, log.number())
        .stdin(Stdio::inherit())
        .spawn()
        .map_err(Error::Start)?;
    Ok((Channel(ours), child))
}

fn map(
    channel: &mut Channel,
    child: &Child,
    store: &IdMappings,
    tools: &Tools,
    log: &Log,
) -> Result<(), Error> {
    match channel.receive().map_err(Error::Start)? {
        Some((Kind::Ready, _)) => {}
        Some((_, text)) => return Err(Error::Refused(String::from_utf8_lossy(&text).into_owned())),
        // It has been ended; the exit code says how.
        None => return Ok(()),
    }
    // A store that maps ids of one kind only: of the other one, a user has his own.
    let or_own = |mappings: &[IdMapping], own: u32| match mappings {
        [] => vec![IdMapping { ns: 0, host: own, size: 1 }],
        some => some.to_vec(),
    };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (uids, gids) = (or_own(&store.uids, uid), or_own(&store.gids, gid));
    maps::Ids::user().write(&tools.newuidmap, child.id(), &uids)?;
    maps::Ids::group().write(&tools.newgidmap, child.id(), &gids)?;
    for (session, action, ids) in
        [("mapUID", "uid-mappings-are-set", &uids), ("mapGID", "gid-mappings-are-set", &gids)]
    {
        let shown = || ids.iter().map(ToString::to_string).collect();
        log.session(session).tell(Level::Debug, action, || data([("mappings", shown())]));
    }
    channel.send(Kind::Go, b"").map_err(Error::Start)
}

/// Passes on that somebody asked to stop. Not the signal itself: a terminal sends that to both.
fn forward(child: &Child, interrupt: &Interrupt) -> Result<(), Error> {
    let start = |errno: rustix::io::Errno| Error::Start(errno.into());
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(rustix::io::Errno::SRCH).map_err(start)?;
    let child = pidfd_open(pid, PidfdFlags::empty()).map_err(start)?;
    interrupt.on_stop(move || {
        // One that has just ended needs no telling.
        let _ = pidfd_send_signal(&child, Signal::TERM);
    });
    Ok(())
}

/// Does what the child asks for until it ends.
fn serve(channel: &mut Channel, help: Help<'_>) -> Result<(), Error> {
    loop {
        let (kind, answer) = match channel.receive() {
            Ok(Some((Kind::Help, request))) => {
                let (helper, arguments) = channel::split(&request);
                let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
                match help(&helper, &arguments) {
                    Ok(text) => (Kind::Answer, text),
                    Err(text) => (Kind::Refusal, text),
                }
            }
            Ok(Some((Kind::Failed, text))) => {
                return Err(Error::Refused(String::from_utf8_lossy(&text).into_owned()));
            }
            // It has ended.
            _ => return Ok(()),
        };
        if channel.send(kind, answer.as_bytes()).is_err() {
            return Ok(());
        }
    }
}

fn exit_code(status: ExitStatus) -> Result<u8, Error> {
    match status.code() {
        Some(code) => Ok(u8::try_from(code).unwrap_or(crate::error::EXIT_FAILURE)),
        None => Err(Error::Ended(status.signal().unwrap_or_default())),
    }
}
