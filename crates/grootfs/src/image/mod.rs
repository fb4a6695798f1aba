//! Where images come from: references, registries, OCI layouts, archives, plain tars.
//!
//! Everything that this room reads is hostile until it is checked. It knows no store: it says
//! which layers an image has and hands out their bytes, and [`crate::pull`] decides which of
//! them are needed and checks the digests while they stream.

use std::io::Read;
use std::path::PathBuf;

mod argument;
pub mod digest;
mod reference;
mod secret;
pub use secret::Secret;

/// Stub.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// x
    pub insecure_registries: Vec<String>,
    /// x
    pub username: Option<String>,
    /// x
    pub password: Option<Secret>,
    /// x
    pub skip_layer_validation: bool,
    /// x
    pub remote_layer_client_certificates_path: Option<PathBuf>,
    /// x
    pub mtime_in_tar_id: bool,
}
/// Stub
pub fn open(argument: &str, _options: &SourceOptions) -> Result<Box<dyn ImageSource>, Error> {
    argument::parse(argument).map_err(|e| Error::Other(e.to_string()))?;
    Err(Error::Other("stub".into()))
}

use digest::Digest;

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

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What the layer is called in messages: the blob's digest, or the path of a tar.
    pub blob: String,
    /// The blob's digest over the bytes as they are stored or sent; `None` for a plain tar.
    pub digest: Option<Digest>,
    /// Length of the blob in bytes; `None` where nobody has said it.
    pub size: Option<u64>,
    /// What the manifest calls it; empty where nobody has said it.
    pub media_type: String,
    /// Digest over the uncompressed tar; `None` for a plain tar, whose volume has another name.
    pub diff_id: Option<Digest>,
    /// Name of the layer's volume in the store: hex chain id (contract 3.5).
    pub chain_id: String,
    /// Chain id of the layer below.
    pub parent: Option<String>,
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
}

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Placeholder until the image room is filled.
    #[error("{0}")]
    Other(String),
}
impl Error {
    /// stub
    pub fn humanised(&self, _a: &str) -> Option<String> {
        None
    }
}
