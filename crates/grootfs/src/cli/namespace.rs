//! Commands of users other than root go on in a user namespace (`crate::userns`).

use std::ffi::{OsStr, OsString};

use super::Context;
use super::args::{Cli, Command};
use super::find::{Found, find};
use crate::driver::Kind;
use crate::error::{Error, chain};
use crate::store::namespace;
use crate::userns::{self, parent};

/// Has a command done in a user namespace where it needs one; its exit code then. `arguments` are those of
/// the user, the program's name first.
pub fn enter(context: &Context, cli: &Cli, arguments: &[OsString]) -> Result<Option<u8>, Error> {
    if userns::is_root() || !touches_layers(context, cli) {
        return Ok(None);
    }
    // Without a store, without mappings: the command itself says what is wrong.
    let mappings = match namespace::read(&context.layout) {
        Ok(mappings) if !mappings.is_empty() => mappings,
        _ => return Ok(None),
    };
    let helpers = &context.config.helpers;
    let help = |name: &str, arguments: &[&OsStr]| {
        let helper = match name {
            "tardis" => helpers.tardis(&context.log),
            "drax" => helpers.drax(&context.log),
            _ => return Err(format!("{name} is no helper")),
        };
        helper.run(arguments).map_err(|error| chain(&error))
    };
    let arguments = arguments.get(1..).unwrap_or_default();
    let ended = parent::run(
        arguments,
        &mappings,
        &context.config.id_tools,
        &context.interrupt,
        &context.log,
        &help,
    );
    match ended {
        Err(_) if context.interrupt.is_stopped() => Err(Error::Interrupted),
        other => Ok(Some(other?)),
    }
}

/// Whether a command makes, removes or looks for files of images.
fn touches_layers(context: &Context, cli: &Cli) -> bool {
    match &cli.command {
        Command::Create(_) | Command::Pull(_) | Command::Clean(_) => true,
        Command::DeleteStore(_) | Command::GenerateVolumeSizeMetadata(_) => true,
        Command::Delete(args) => {
            let argument = args.arguments.first().map(String::as_str).unwrap_or_default();
            matches!(find(context, argument), Ok(Found::Image(..)))
        }
        _ => false,
    }
}

/// Fails for a user who may not use the store at all.
pub fn check_owner(context: &Context) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt;
    let root = context.layout.root();
    if userns::is_root() {
        return Ok(());
    }
    let me = rustix::process::geteuid().as_raw();
    let denied = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    match (std::fs::metadata(root), std::fs::read_dir(root)) {
        (Ok(found), Err(error)) if found.uid() != me && denied(&error) => {
            Err(Error::Message(format!(
                "open {}: permission denied: the store belongs to user {}, and you are user {me}; a store for you \
                 is made by root: {}",
                root.display(),
                found.uid(),
                init_store(context)
            )))
        }
        _ => Ok(()),
    }
}

/// Fails where nobody can give files to the owners that they have in an image.
pub fn check_may_unpack(context: &Context) -> Result<(), Error> {
    if userns::is_root() {
        return Ok(());
    }
    Err(Error::Message(format!(
        "the store {} has no id mappings, so only root can unpack images in it; a store for you is made by root: {}",
        context.layout.root().display(),
        init_store(context)
    )))
}

/// Fails before anything is pulled when a root file system is to be mounted by who cannot mount.
pub fn check_may_mount(context: &Context, kind: Kind) -> Result<(), Error> {
    let mounts = !context.config.without_mount && kind == Kind::OverlayXfs;
    // Root of a namespace that was there before may have mounts of its own; the kernel knows.
    if !mounts || (userns::is_root() && !userns::is_inside()) {
        return Ok(());
    }
    let text = "mounting the root file system: operation not permitted: only root mounts, and root of a \
                namespace with mounts of its own (`unshare --user --mount`, rootlesskit); use \
                --without-mount, or `create.without_mount: true` in the configuration, and the runtime \
                mounts what is printed";
    Err(Error::Message(text.to_owned()))
}

/// The command that makes a store for the caller.
fn init_store(context: &Context) -> String {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let driver = context.driver().kind();
    format!(
        "grootfs --driver {driver} --store <directory> init-store --rootless {uid}:{gid} (with the ids that \
         /etc/subuid and /etc/subgid give you)"
    )
}
