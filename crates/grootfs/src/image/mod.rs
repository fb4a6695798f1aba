//! Where images come from: references, registries, OCI layouts, archives, plain tars.
//!
//! Everything that this room reads is hostile until it is checked. It knows no store: it says
//! which layers an image has and hands out their bytes, and [`crate::pull`] decides which of
//! them are needed and checks the digests while they stream.

use std::io::Read;
use std::path::PathBuf;

use crate::error::PathError;

pub(crate) mod argument;
pub(crate) mod choose;
pub mod digest;
mod docker_archive;
pub(crate) mod document;
mod files;
pub(crate) mod layers;
pub mod network;
mod oci_layout;
pub mod platform;
pub(crate) mod reference;
pub mod registry;
pub(crate) mod schema1;
mod secret;
mod tarball;

use argument::Argument;
use digest::Digest;
use network::NetworkOptions;
use platform::Platform;
use registry::Pull;
use registry::endpoint::{self, Mirrors};
pub use secret::Secret;

/// How images are looked for.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Time limits, trust, what ends waiting.
    pub network: NetworkOptions,
    /// How much is fetched at once.
    pub pull: Pull,
    /// Which servers stand in for registries.
    pub mirrors: Mirrors,
    /// User name at the registry.
    pub username: Option<String>,
    /// Password at the registry.
    pub password: Option<Secret>,
    /// Whether digests and sizes of `oci:` layers go unchecked.
    pub skip_layer_validation: bool,
    /// Directory with certificates for remote layers of layouts.
    pub remote_layer_client_certificates_path: Option<PathBuf>,
    /// Whether the name of a tar's volume shows the modification time.
    pub mtime_in_tar_id: bool,
    /// Which of several platforms' images is wanted.
    pub platform: Platform,
}

/// Reads an image argument. Nothing is fetched yet.
pub fn open(argument: &str, options: &SourceOptions) -> Result<Box<dyn ImageSource>, Error> {
    Ok(match argument::parse(argument)? {
        Argument::Tarball(path) => Box::new(tarball::Tarball::new(&path, options.mtime_in_tar_id)),
        Argument::OciLayout(located) => {
            let files = Box::new(files::Directory(located.path));
            Box::new(oci_layout::OciLayout::new(files, located.name, options))
        }
        Argument::Registry(reference) => {
            let source = registry::RegistrySource::new(reference, options);
            Box::new(source.map_err(Error::Reference)?)
        }
        Argument::OciArchive(located) => {
            let files = Box::new(files::Archive::new(&located.path));
            Box::new(oci_layout::OciLayout::new(files, located.name, options))
        }
        Argument::DockerArchive(located) => Box::new(docker_archive::DockerArchive::new(located)),
    })
}

/// One name for all spellings of an image argument; `None` where it is not understood. Without the image's
/// digest or tag this is the tag `latest`, as for a pull.
pub fn name(argument: &str) -> Option<String> {
    let absolute = |path: &std::path::Path| {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
    };
    let located = |scheme: &str, located: argument::Located| {
        let name = located.name.map_or_else(String::new, |name| format!(":{name}"));
        format!("{scheme}:{}{name}", absolute(&located.path))
    };
    Some(match argument::parse(argument).ok()? {
        Argument::Tarball(path) => absolute(std::path::Path::new(&path)),
        Argument::Registry(reference) => format!("docker://{reference}"),
        Argument::OciLayout(image) => located("oci", image),
        Argument::OciArchive(image) => located("oci-archive", image),
        Argument::DockerArchive(image) => located("docker-archive", image),
    })
}

/// One image: what its layers are and what its configuration says.
#[derive(Debug, Clone)]
pub struct Image {
    /// The layers, base first.
    pub layers: Vec<Layer>,
    /// What the image says about the process to run.
    pub config: ImageConfig,
}

/// The parts of an image configuration that somebody uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `NAME=value` pairs, as in the image.
    pub env: Vec<String>,
    /// Declared volumes: absolute paths inside the root, sorted.
    pub volumes: Vec<String>,
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub cmd: Vec<String>,
    /// `user[:group]`, names or numbers, empty when not given.
    pub user: String,
    /// Working directory, empty when not given.
    pub working_dir: String,
}

/// What makes a layer this layer and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The digest over the plain tar.
    DiffId(Digest),
    /// The name of a tar file's volume (contract 3.5): a file that changed is another layer.
    Tar(String),
    /// The digest over the plain tar, which is not known before the layer was read (schema 1).
    Unknown,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What the layer is called in messages: the blob's digest, or the path of a tar.
    pub blob: String,
    /// The blob's digest over the bytes as they are stored or sent; `None` for a plain tar.
    pub digest: Option<Digest>,
    /// What a volume remembers of having been made of this layer's bytes: the blob's digest, or the
    /// place of a file that has none; `None` where the layer's identity says as much.
    pub proof: Option<String>,
    /// Length of the blob in bytes; `None` where nobody has said it.
    pub size: Option<u64>,
    /// What the manifest calls it; empty where nobody has said it.
    pub media_type: String,
    /// What makes it this layer and no other.
    pub identity: Identity,
    /// Where in the root the entries go (`org.cloudfoundry.experimental.image.base-directory`).
    pub base_directory: Option<PathBuf>,
    /// Foreign URLs to get the blob from instead of the registry or the layout.
    pub urls: Vec<String>,
    /// Whether digest, size and diff id must hold (not with `--skip-layer-validation` on `oci:`).
    pub verify: bool,
}

/// The bytes of one layer from some offset on.
pub type Blob = Box<dyn Read + Send>;

/// A place that one image comes from. Shared between the threads that download layers.
pub trait ImageSource: Send + Sync + std::fmt::Debug {
    /// Reads manifest and configuration. May be repeated; the answer may then differ (a tag moves).
    fn image(&self) -> Result<Image, Error>;

    /// Opens a layer's blob as it is stored (compressed or not), at its first byte.
    ///
    /// The bytes are **not** checked here, except that a source never hands out more than it has
    /// promised by a protocol (`Content-Length`); the caller hashes and counts. A reader that
    /// breaks off is retried within the source as far as its protocol can (Range requests).
    fn open(&self, layer: &Layer) -> Result<Blob, Error>;

    /// Tells that a layer's bytes were wrong. Returns whether there is another place that may have
    /// the right ones, which [`ImageSource::open`] then asks.
    fn distrust(&self, _layer: &Layer) -> bool {
        false
    }

    /// How many layers may be read at once, where reading is mostly waiting and the other side has a
    /// say in it; `None` where only the cores count.
    fn streams(&self) -> Option<usize> {
        None
    }
}

/// Why an image cannot be had: which step failed, in the contract's words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image argument cannot be read.
    #[error(transparent)]
    Argument(#[from] argument::ParseError),
    /// A tar cannot be looked at.
    #[error("fetching image timestamp: {0}")]
    Timestamp(PathError),
    /// No manifest.
    #[error("fetching image reference: creating image")]
    Reference(#[source] Cause),
    /// No configuration, or one that does not fit the manifest.
    #[error("fetching image configuration")]
    Configuration(#[source] Cause),
    /// No layer.
    #[error(transparent)]
    Blob(Cause),
}

/// Why one step failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A file.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A document that is not what it should be.
    #[error(transparent)]
    Document(#[from] document::Error),
    /// A tar that is gone.
    #[error("local image not found in `{}`: {error}", path.display())]
    LocalImage {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        error: PathError,
    },
    /// A directory in place of a file.
    #[error("invalid base image: directory provided instead of a tar file (`{}`)", .0.display())]
    Directory(PathBuf),
    /// A pipe, a device, a socket.
    #[error("`{}` is no regular file; an image is a file that can be read again", .0.display())]
    NoFile(PathBuf),
    /// A tar that was written to meanwhile.
    #[error("reading local image: `{}` changed while it was being read; try again", .0.display())]
    Changed(PathBuf),
    /// A layer without a digest where blobs are found by theirs.
    #[error("the layer has no digest in the manifest, and blobs are found by theirs")]
    NoDigest,
    /// A registry.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Configured servers of a registry.
    #[error(transparent)]
    Endpoint(#[from] endpoint::Error),
    /// Certificates of ours.
    #[error(transparent)]
    Certificates(#[from] network::tls::Error),
}

impl Error {
    /// Says it more clearly where the cause is plain (contract 1.6, humanising).
    pub fn humanised(&self, argument: &str) -> Option<String> {
        match self {
            Self::Reference(Cause::Registry(error))
            | Self::Configuration(Cause::Registry(error))
            | Self::Blob(Cause::Registry(error)) => error.humanised(&argument::redacted(argument)),
            Self::Reference(Cause::Path(error))
                if error.error.kind() == std::io::ErrorKind::NotFound =>
            {
                Some(format!("Image source doesn't exist: {error}"))
            }
            Self::Blob(cause @ Cause::Directory(_)) => Some(cause.to_string()),
            _ => None,
        }
    }
}
