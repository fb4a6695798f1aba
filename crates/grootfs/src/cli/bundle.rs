//! What `create` writes for an OCI runtime: the line, a bundle, or the bundle's document.

use super::Context;
use super::args::BundleArgs;
use crate::driver::{Kind, Mount, look};
use crate::error::{Error, chain};
use crate::image::ImageConfig;
use crate::rootfs::bundle::{Bundle, Target};
use crate::rootfs::{self, Shape};
use crate::store::id::ImageId;
use crate::store::{Store, namespace};
use crate::userns;

/// A root file system that was just made.
pub struct Made<'a> {
    pub id: &'a ImageId,
    pub config: &'a ImageConfig,
    pub words: &'a [String],
    pub mount: Option<&'a Mount>,
    pub shape: Shape,
}

/// Fails when there could be no bundle, before anything is pulled.
pub fn prepare(
    context: &Context,
    args: &BundleArgs,
    store: &Store,
    kind: Kind,
) -> Result<(), Error> {
    let unmounted = context.config.without_mount && kind == Kind::OverlayXfs;
    if args.is_wanted() && unmounted && !store.mappings.is_empty() && userns::is_host_root() {
        // Overlay does not see there what layers delete: the marks are for root only. Layers that a user has
        // unpacked have those for users as well.
        return Err(Error::Message(
            "a runtime cannot mount this root, because the store has id mappings and it would do so in the \
             container's user namespace: leave --without-mount away"
                .to_owned(),
        ));
    }
    target(args).map_or(Ok(()), |target| target.prepare().map_err(message))
}

/// Writes the bundle that was asked for; returns what goes to standard output.
pub fn describe(args: &BundleArgs, store: &Store, made: &Made<'_>) -> Result<String, Error> {
    let paths = store.layout.image(made.id);
    let Made { id, config, words, mount, shape } = *made;
    if args.is_wanted() {
        let declared_volumes = shape.declared_volumes;
        // As they are on the machine: the runtime starts there, and not in a namespace of ours.
        let mappings = &namespace::read(&store.layout)?;
        let (id, paths) = (id.as_str(), &paths);
        let bundle = Bundle { id, paths, config, words, mount, declared_volumes, mappings };
        let document = look::into(paths, mount, |root| bundle.document(root))?.map_err(message)?;
        match target(args) {
            Some(target) => target.write(&document).map_err(message)?,
            None => return Ok(document),
        }
    }
    let spec = rootfs::spec(&paths, config, mount, shape)
        .map_err(|error| Error::Message(error.to_string()))?;
    Ok(spec + "\n")
}

fn target(args: &BundleArgs) -> Option<Target<'_>> {
    args.bundle.as_deref().map(|directory| Target { directory, force: args.force })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn message(error: rootfs::bundle::Error) -> Error {
    Error::Message(chain(&error))
}
