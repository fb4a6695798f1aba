//! `grootfs settle`: writes new layers to disk. A create that brought layers in starts it with `--later` and
//! does not wait for it.
//!
//! One process waits for each store, and begins its work after the creates that find it waiting: it does theirs
//! too. It must not hold a file of the store meanwhile, which would keep the file system busy; what says
//! that it waits is the name of a socket, which goes with the process.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::args::Settle;
use super::{Context, detached};
use crate::error::Error;
use crate::store::durability;

/// Writes new layers to disk, now or a moment later.
pub fn run(context: &Context, args: &Settle) -> Result<String, Error> {
    if !args.later {
        durability::settle(&context.layout, || {})?;
        return Ok(String::new());
    }
    let Some(waiting) = Waiting::begin(context) else { return Ok(String::new()) };
    std::thread::sleep(durability::PAUSE);
    if !context.layout.root().exists() {
        return Ok(String::new());
    }
    // Whatever is being started has the processor first.
    let _ = rustix::process::nice(19);
    let settled = durability::settle(&context.layout, || drop(waiting))?;
    context.log.info("settled", &settled.to_string());
    Ok(String::new())
}

/// Does so in a process of its own, unless one waits that will. Where none can be started, layers are pulled
/// again after a power cut, and nothing worse.
pub fn start_detached(context: &Context) {
    // Looked at only: the new process takes the name itself.
    if Waiting::begin(context).is_none() {
        return;
    }
    let started = detached::start(context, |command| {
        command.args(["settle", "--later"]);
    });
    if let Err(error) = started {
        context.log.error("settling-failed", &error);
    }
}

/// Held by the one process that waits for a store.
struct Waiting(#[expect(dead_code, reason = "held until it is dropped")] Option<UnixDatagram>);

impl Waiting {
    /// `None` when another process waits. Where there are no such names, everybody waits.
    fn begin(context: &Context) -> Option<Self> {
        let store = std::fs::metadata(context.layout.root()).ok()?;
        let name = format!("grootfs-settle-{}-{}", store.dev(), store.ino());
        let Ok(address) = SocketAddr::from_abstract_name(name) else { return Some(Self(None)) };
        match UnixDatagram::bind_addr(&address) {
            Ok(socket) => Some(Self(Some(socket))),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => None,
            Err(_) => Some(Self(None)),
        }
    }
}
