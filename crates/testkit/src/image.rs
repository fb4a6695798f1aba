//! Images: OCI layouts and plain tars, from layers that a test makes; and how to break them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest as _;

use crate::layer::{Entry, Layer};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
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
    pub fn raw_layer(mut self, tar: Vec<u8>, compression: Compression) -> Self {
        let media_type = compression.media_type();
        self.layers.push(StoredLayer {
            tar,
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

    /// The names of its volumes in a store, base first (contract 3.5).
    pub fn chain_ids(&self) -> Vec<String> {
        let mut chain: Vec<String> = Vec::new();
        for diff_id in self.diff_ids() {
            let (_, hex_digits) = diff_id.split_once(':').unwrap();
            chain.push(match chain.last() {
                None => hex_digits.to_owned(),
                Some(parent) => {
                    hex(&sha2::Sha256::digest(format!("{parent} {hex_digits}").as_bytes()))
                }
            });
        }
        chain
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

/// What OCI calls this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// A manifest in a layout.
#[derive(Debug, Clone)]
pub struct Written {
    /// The digest of the manifest.
    pub digest: String,
    /// Its length in bytes.
    pub size: usize,
    /// The blobs of its layers, base first: digests.
    pub layers: Vec<String>,
    architecture: String,
}

impl Written {
    fn descriptor(&self) -> Value {
        json!({
            "mediaType": MANIFEST,
            "digest": self.digest,
            "size": self.size,
            "platform": { "os": "linux", "architecture": self.architecture },
        })
    }
}

/// An OCI image layout on disk.
#[derive(Debug)]
pub struct OciLayout {
    path: PathBuf,
    manifests: Vec<Value>,
    broken_index: bool,
}

impl OciLayout {
    /// Makes an empty layout in a directory, which is made too.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let layout = Self { path: path.into(), manifests: Vec::new(), broken_index: false };
        fs::create_dir_all(layout.path.join("blobs/sha256")).unwrap();
        fs::write(layout.path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        layout.write_index();
        layout
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The image argument for a reference in it.
    pub fn url(&self, reference: &str) -> String {
        format!("oci://{}:{reference}", self.path.display())
    }

    /// The file of a blob.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.path.join("blobs").join(digest.replace(':', "/"))
    }

    /// Adds an image under a reference (`org.opencontainers.image.ref.name`), or without one.
    pub fn add(&mut self, image: &Image, reference: Option<&str>) -> Written {
        let written = self.write_image(image);
        self.list(written.descriptor(), reference);
        written
    }

    /// Adds several images as one index, a platform each.
    pub fn add_index(&mut self, images: &[&Image], reference: Option<&str>) -> Vec<Written> {
        let written: Vec<Written> = images.iter().map(|image| self.write_image(image)).collect();
        let manifests: Vec<Value> = written.iter().map(Written::descriptor).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let bytes = index.to_string().into_bytes();
        let digest = self.write_blob(Hash::Sha256, &bytes);
        let descriptor = json!({ "mediaType": INDEX, "digest": digest, "size": bytes.len() });
        self.list(descriptor, reference);
        written
    }

    fn list(&mut self, mut descriptor: Value, reference: Option<&str>) {
        if let Some(reference) = reference {
            let name = "org.opencontainers.image.ref.name";
            descriptor["annotations"] = json!({ name: reference });
        }
        self.manifests.push(descriptor);
        self.write_index();
    }

    fn write_index(&self) {
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests }).to_string();
        let length = if self.broken_index { index.len() / 2 } else { index.len() };
        fs::write(self.path.join("index.json"), &index[..length]).unwrap();
    }

    fn write_blob(&self, hash: Hash, bytes: &[u8]) -> String {
        let digest = hash.digest(bytes);
        let path = self.blob(&digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        digest
    }

    fn write_image(&mut self, image: &Image) -> Written {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        let count = if image.has(Fault::NoLayers) { 0 } else { image.layers.len() };
        for (index, layer) in image.layers.iter().take(count).enumerate() {
            let fault = image.fault.filter(|_| index + 1 == count);
            let (descriptor, diff_id) = self.write_layer(image.hash, layer, fault);
            layers.push(descriptor);
            diff_ids.push(diff_id);
        }
        if image.has(Fault::FewerDiffIds) {
            diff_ids.pop();
        }
        let config = json!({
            "architecture": image.architecture,
            "os": "linux",
            "config": image.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let (broken, wrong) = (image.has(Fault::BrokenConfig), image.has(Fault::WrongConfigDigest));
        let (digest, size) = self.write_document(image.hash, &config, broken, wrong);
        if image.has(Fault::MissingConfig) {
            fs::remove_file(self.blob(&digest)).unwrap();
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": digest, "size": size },
            "layers": layers,
        });
        let (broken, wrong) =
            (image.has(Fault::BrokenManifest), image.has(Fault::WrongManifestDigest));
        let (digest, size) = self.write_document(image.hash, &manifest, broken, wrong);
        self.broken_index |= image.has(Fault::BrokenIndex);
        let layers = layers.iter().map(|l| l["digest"].as_str().unwrap().to_owned()).collect();
        Written { digest, size, layers, architecture: image.architecture.clone() }
    }

    fn write_layer(
        &self,
        hash: Hash,
        layer: &StoredLayer,
        fault: Option<Fault>,
    ) -> (Value, String) {
        let has = |other| fault == Some(other);
        let mut tar = layer.tar.as_slice();
        if has(Fault::TruncatedTar) {
            // One header, and half a block of what should follow it.
            tar = &tar[..tar.len().min(512 + 256)];
        }
        let mut blob = layer.compression.compress(tar);
        if has(Fault::TruncatedStream) {
            blob.truncate(blob.len() / 2);
        }
        let digest = self.write_blob(hash, &blob);
        let file = self.blob(&digest);
        let mut size = blob.len();
        match fault {
            Some(Fault::WrongLayerDigest) => {
                let middle = blob.len() / 2;
                blob[middle] ^= 0x55;
                fs::write(file, &blob).unwrap();
            }
            Some(Fault::TruncatedLayer) => fs::write(file, &blob[..blob.len() / 2]).unwrap(),
            Some(Fault::MissingLayer) => fs::remove_file(file).unwrap(),
            Some(Fault::WrongLayerSize) => size += 1,
            _ => {}
        }
        let diff_id = hash.digest(if has(Fault::WrongDiffId) { b"another" } else { tar });
        let mut descriptor =
            json!({ "mediaType": layer.media_type, "digest": digest, "size": size });
        if !layer.annotations.is_empty() {
            descriptor["annotations"] = json!(layer.annotations);
        }
        (descriptor, diff_id)
    }

    /// Writes a document; returns digest and length for its descriptor.
    fn write_document(
        &self,
        hash: Hash,
        document: &Value,
        broken: bool,
        wrong: bool,
    ) -> (String, usize) {
        let mut bytes = document.to_string().into_bytes();
        if broken {
            bytes.truncate(bytes.len() / 2);
        }
        let digest = self.write_blob(hash, &bytes);
        if wrong {
            // Blanks are no part of a JSON document's meaning, and the length stays the same.
            let mut changed =
                document.to_string().replacen(r#""os":"linux""#, r#""os":"linus""#, 1);
            changed = changed.replacen(r#""schemaVersion":2"#, r#""schemaVersion":3"#, 1);
            fs::write(self.blob(&digest), changed).unwrap();
        }
        (digest, bytes.len())
    }
}

/// Writes one layer as a plain tar image.
pub fn write_tar(path: &Path, layer: &Layer, compression: Compression) {
    fs::write(path, compression.compress(&layer.tar())).unwrap();
}

/// A small real root file system: Debian's static busybox with its most used names.
pub fn busybox() -> Layer {
    let candidates = ["/bin/busybox", "/usr/bin/busybox"];
    let program = candidates.iter().find_map(|path| fs::read(path).ok());
    let program = program.expect("no /bin/busybox (apt-get install busybox-static)");
    let mut layer = Layer::new()
        .directory("bin")
        .directory("dev")
        .directory("etc")
        .directory("proc")
        .directory("root")
        .directory("sys")
        .entry(Entry::directory("tmp").mode(0o1777))
        .entry(Entry::file("bin/busybox", program).mode(0o755))
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .file("etc/group", "root:x:0:\n");
    for name in ["cat", "dd", "echo", "id", "ls", "mkdir", "mount", "rm", "sh", "stat", "touch"] {
        layer = layer.entry(Entry::hard_link(format!("bin/{name}"), "bin/busybox"));
    }
    layer
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

    #[test]
    fn a_layout_holds_what_its_descriptors_say() {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = OciLayout::new(dir.path().join("l"));
        let image = Image::new()
            .layer(&Layer::new().file("a", "1"))
            .layer_as(&Layer::new().file("b", "2"), Compression::Zstd)
            .env("A=b")
            .volume("/data");
        let written = layout.add(&image, Some("r"));
        let manifest = fs::read(layout.blob(&written.digest)).unwrap();
        assert_eq!(Hash::Sha256.digest(&manifest), written.digest);
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        for (layer, digest) in manifest["layers"].as_array().unwrap().iter().zip(&written.layers) {
            let blob = fs::read(layout.blob(digest)).unwrap();
            assert_eq!(layer["size"], blob.len());
            assert_eq!(Hash::Sha256.digest(&blob), *digest);
        }
        let config = fs::read(layout.blob(manifest["config"]["digest"].as_str().unwrap())).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["config"]["Env"], json!(["A=b"]));
        assert_eq!(config["rootfs"]["diff_ids"], json!(image.diff_ids()));
    }

    #[test]
    fn faults_change_what_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let image = Image::new().layer(&Layer::new().file("a", [7; 4000]));
        let broken = |name: &str, fault: Fault| {
            let mut layout = OciLayout::new(dir.path().join(name));
            let written = layout.add(&image.clone().fault(fault), Some("r"));
            (layout, written)
        };
        let (layout, written) = broken("digest", Fault::WrongLayerDigest);
        let blob = fs::read(layout.blob(&written.layers[0])).unwrap();
        assert_ne!(Hash::Sha256.digest(&blob), written.layers[0]);
        let (layout, written) = broken("manifest", Fault::WrongManifestDigest);
        let manifest = fs::read(layout.blob(&written.digest)).unwrap();
        assert_eq!(manifest.len(), written.size);
        assert_ne!(Hash::Sha256.digest(&manifest), written.digest);
        let (layout, _) = broken("index", Fault::BrokenIndex);
        let index = fs::read(layout.path().join("index.json")).unwrap();
        assert!(serde_json::from_slice::<Value>(&index).is_err());
    }
}
