//! Layouts as Garden generates them for `preloaded+layer`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Hash, LAYER};

/// An image of a stack's tar on this machine and one layer somewhere else.
///
/// Its layout has no tag, no `oci-layout`, no sizes. The first layer's "digest" is that of the tar's path and
/// time, and its blob is a link to the tar. The second one is nowhere in the layout.
#[derive(Debug)]
pub struct Preloaded<'a> {
    /// The plain tar of the first layer.
    pub stack: &'a Path,
    /// Where the second layer is.
    pub url: &'a str,
    /// The second layer, gzip.
    pub layer: &'a [u8],
    /// The directory below which the second layer goes.
    pub base_directory: &'a str,
}

impl Preloaded<'_> {
    /// Writes the layout; returns the image argument.
    pub fn write(&self, directory: &Path) -> String {
        fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        let base = Hash::Sha256.digest(format!("{}-1510162456", self.stack.display()).as_bytes());
        symlink(self.stack, blob(directory, &base)).unwrap();
        let top = Hash::Sha256.digest(self.layer);
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [base, top]},
        });
        let config = write_blob(directory, &config);
        let manifest = json!({
            "schemaVersion": 2,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 0,
            },
            "layers": [
                {"mediaType": LAYER, "digest": base, "size": 0},
                {
                    "mediaType": format!("{LAYER}+gzip"),
                    "digest": top, "size": 0, "urls": [self.url],
                    "annotations": {
                        "org.cloudfoundry.experimental.image.base-directory": self.base_directory,
                    },
                },
            ],
        });
        let manifest = write_blob(directory, &manifest);
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": manifest, "size": 0,
            }],
        });
        fs::write(directory.join("index.json"), index.to_string()).unwrap();
        format!("oci://{}", directory.display())
    }
}

fn blob(directory: &Path, digest: &str) -> PathBuf {
    directory.join("blobs").join(digest.replace(':', "/"))
}

/// Writes a document into a layout; returns its digest.
pub fn write_blob(directory: &Path, document: &Value) -> String {
    let bytes = document.to_string().into_bytes();
    let digest = Hash::Sha256.digest(&bytes);
    fs::write(blob(directory, &digest), bytes).unwrap();
    digest
}
