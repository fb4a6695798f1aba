//! Writing images as OCI layouts.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Fault, Hash, Image, StoredLayer};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

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
        let mut blob = if layer.is_blob { tar.to_vec() } else { layer.compression.compress(tar) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Compression;
    use crate::layer::Layer;

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
