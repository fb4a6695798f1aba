//! Images: OCI layouts and plain tars, from layers that a test makes; and how to break them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::Digest as _;

use crate::layer::{Entry, Layer};

mod layout;
pub mod preloaded;

pub use layout::{OciLayout, Written};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How a layer's tar is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// Compresses bytes.
    pub fn compress(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::None => bytes.to_vec(),
            Self::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }

    fn media_type(self) -> String {
        match self {
            Self::None => LAYER.to_owned(),
            Self::Gzip => format!("{LAYER}+gzip"),
            Self::Zstd => format!("{LAYER}+zstd"),
        }
    }
}

/// The hash of digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// The usual one.
    Sha256,
    /// The other one that OCI allows.
    Sha512,
}

impl Hash {
    /// `sha256:<hex>` of some bytes.
    pub fn digest(self, bytes: &[u8]) -> String {
        match self {
            Self::Sha256 => format!("sha256:{}", hex(&sha2::Sha256::digest(bytes))),
            Self::Sha512 => format!("sha512:{}", hex(&sha2::Sha512::digest(bytes))),
        }
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One way to break an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One byte of the last layer's blob is another one; its length stays.
    WrongLayerDigest,
    /// The last layer's blob ends in the middle; digest and size are those of the whole.
    TruncatedLayer,
    /// The last layer's compressed stream ends in the middle; digest and size are those of what
    /// is there.
    TruncatedStream,
    /// The last layer's tar ends in the middle of a file; digests, size and diff id are those of
    /// what is there.
    TruncatedTar,
    /// The last layer's blob is not there.
    MissingLayer,
    /// The manifest says one byte too many about the last layer.
    WrongLayerSize,
    /// The last layer's diff id is that of something else.
    WrongDiffId,
    /// The configuration has one diff id too few.
    FewerDiffIds,
    /// Neither layers nor diff ids.
    NoLayers,
    /// The manifest ends in the middle (its descriptor fits what is there).
    BrokenManifest,
    /// The configuration ends in the middle (its descriptor fits what is there).
    BrokenConfig,
    /// The manifest was changed after its digest was taken.
    WrongManifestDigest,
    /// The configuration was changed after its digest was taken.
    WrongConfigDigest,
    /// The configuration is not there.
    MissingConfig,
    /// `index.json` ends in the middle.
    BrokenIndex,
}

#[derive(Debug, Clone)]
struct StoredLayer {
    tar: Vec<u8>,
    /// Whether the bytes are those of the blob, and not of its tar.
    is_blob: bool,
    compression: Compression,
    media_type: String,
    annotations: BTreeMap<String, String>,
}

/// An image before it is written.
#[derive(Debug, Clone)]
pub struct Image {
    layers: Vec<StoredLayer>,
    config: Value,
    architecture: String,
    hash: Hash,
    fault: Option<Fault>,
}

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

impl Image {
    /// An image without layers, for this machine's architecture.
    pub fn new() -> Self {
        Self {
            layers: Vec::new(),
            config: json!({}),
            architecture: architecture().to_owned(),
            hash: Hash::Sha256,
            fault: None,
        }
    }

    /// Adds a layer, gzip.
    #[must_use]
    pub fn layer(self, layer: &Layer) -> Self {
        self.layer_as(layer, Compression::Gzip)
    }

    /// Adds a layer.
    #[must_use]
    pub fn layer_as(self, layer: &Layer, compression: Compression) -> Self {
        self.raw_layer(layer.tar(), compression)
    }

    /// Adds any bytes as a layer's tar.
    #[must_use]
    pub fn raw_layer(self, tar: Vec<u8>, compression: Compression) -> Self {
        self.bytes(tar, compression, false)
    }

    /// Adds bytes that are compressed already. The diff id is that of the compressed bytes: for
    /// layers that must fail before somebody looks at it.
    #[must_use]
    pub fn stored_layer(self, blob: Vec<u8>, compression: Compression) -> Self {
        self.bytes(blob, compression, true)
    }

    fn bytes(mut self, tar: Vec<u8>, compression: Compression, is_blob: bool) -> Self {
        let media_type = compression.media_type();
        self.layers.push(StoredLayer {
            tar,
            is_blob,
            compression,
            media_type,
            annotations: BTreeMap::new(),
        });
        self
    }

    /// Calls the last layer by another media type.
    #[must_use]
    pub fn media_type(mut self, media_type: &str) -> Self {
        self.layers.last_mut().unwrap().media_type = media_type.to_owned();
        self
    }

    /// Adds an annotation to the last layer.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.layers.last_mut().unwrap().annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds `NAME=value`.
    #[must_use]
    pub fn env(mut self, pair: &str) -> Self {
        match self.config["Env"].as_array_mut() {
            Some(env) => env.push(json!(pair)),
            None => self.config["Env"] = json!([pair]),
        }
        self
    }

    /// Declares a volume.
    #[must_use]
    pub fn volume(mut self, path: &str) -> Self {
        self.config["Volumes"][path] = json!({});
        self
    }

    /// Sets any key of the configuration: `Entrypoint`, `Cmd`, `User`, `WorkingDir`.
    #[must_use]
    pub fn config(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Makes it an image for another architecture, in the words of OCI (`arm64`).
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        self.architecture = architecture.to_owned();
        self
    }

    /// Uses another hash for digests and diff ids.
    #[must_use]
    pub fn hash(self, hash: Hash) -> Self {
        Self { hash, ..self }
    }

    /// Breaks it.
    #[must_use]
    pub fn fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// The diff ids, base first, as the whole image has them.
    pub fn diff_ids(&self) -> Vec<String> {
        self.layers.iter().map(|layer| self.hash.digest(&layer.tar)).collect()
    }

    /// The names of its volumes in a store, base first (contract 3.5; what goes below a base directory has a
    /// name of its own, with the parts of its path behind that of the contract).
    pub fn chain_ids(&self) -> Vec<String> {
        let sha256 = |text: String| hex(&sha2::Sha256::digest(text.as_bytes()));
        let mut chain: Vec<String> = Vec::new();
        for (diff_id, layer) in self.diff_ids().iter().zip(&self.layers) {
            let (_, hex_digits) = diff_id.split_once(':').unwrap();
            let mut name = match chain.last() {
                None => hex_digits.to_owned(),
                Some(parent) => sha256(format!("{parent} {hex_digits}")),
            };
            if let Some(base) = layer.annotations.get(BASE_DIRECTORY) {
                let parts = base.split('/').filter(|part| !["", ".", ".."].contains(part));
                let path: String = parts.map(|part| format!("/{part}")).collect();
                name = sha256(format!("{name}{path}"));
            }
            chain.push(name);
        }
        chain
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

/// Which directory of the layers below a layer goes into (contract 4).
const BASE_DIRECTORY: &str = "org.cloudfoundry.experimental.image.base-directory";

/// What OCI calls this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// Writes one layer as a plain tar image.
pub fn write_tar(path: &Path, layer: &Layer, compression: Compression) {
    fs::write(path, compression.compress(&layer.tar())).unwrap();
}

/// A small real root file system: Debian's static busybox with its most used names.
pub fn busybox() -> Layer {
    let mut layer = Layer::new()
        .directory("bin")
        .directory("dev")
        .directory("etc")
        .directory("proc")
        .directory("root")
        .directory("sys")
        .entry(Entry::directory("tmp").mode(0o1777))
        .entry(Entry::file("bin/busybox", busybox_program()).mode(0o755))
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .file("etc/group", "root:x:0:\n");
    for name in ["cat", "dd", "echo", "id", "ls", "mkdir", "mount", "rm", "sh", "stat", "touch"] {
        layer = layer.entry(Entry::hard_link(format!("bin/{name}"), "bin/busybox"));
    }
    layer
}

/// The program of [`busybox`].
pub fn busybox_program() -> Vec<u8> {
    let candidates = ["/bin/busybox", "/usr/bin/busybox"];
    let program = candidates.iter().find_map(|path| fs::read(path).ok());
    program.expect("no /bin/busybox (apt-get install busybox-static)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_are_the_contracts() {
        // The example of contract 3.5, computed from the texts of two diff ids.
        let first = "afe200c63655576eaa5cabe036a2c09920d6aee67653ae75a9d35e0ec27205a5";
        let second = "d7c6a5f0d9a15779521094fa5eaf026b719984fb4bfe8e0012bd1da1b62615b0";
        let chained = hex(&sha2::Sha256::digest(format!("{first} {second}").as_bytes()));
        assert_eq!(chained, "9242945d3c9c7cf5f127f9352fea38b1d3efe62ee76e25f70a3e6db63a14c233");
    }
}
