//! From a manifest and a configuration to the layers of an image.

use super::digest::Digest;
use super::document::{self, Configuration, Descriptor, Manifest};
use super::{Identity, Image, Layer, schema1};

/// Pairs the layers of a manifest with the diff ids of its configuration.
pub fn image(
    what: &str,
    manifest: Manifest,
    configuration: Configuration,
    verify: bool,
) -> Result<Image, document::Error> {
    let (layers, diff_ids) = (manifest.layers.len(), configuration.diff_ids.len());
    if layers != diff_ids {
        return Err(document::Error {
            what: what.to_owned(),
            why: format!(
                "the manifest has {layers} layers, but the configuration has {diff_ids} diff ids"
            ),
        });
    }
    let pairs = manifest.layers.into_iter().zip(configuration.diff_ids);
    let layers = pairs.map(|(descriptor, diff_id)| layer(descriptor, diff_id, verify)).collect();
    Ok(Image { layers, config: configuration.config })
}

fn layer(descriptor: Descriptor, diff_id: Digest, verify: bool) -> Layer {
    Layer {
        blob: descriptor.digest.to_string(),
        proof: Some(descriptor.digest.to_string()),
        digest: Some(descriptor.digest),
        size: Some(descriptor.size),
        media_type: descriptor.media_type,
        identity: Identity::DiffId(diff_id),
        base_directory: descriptor.base_directory,
        urls: descriptor.urls,
        verify,
    }
}

/// The layers of a manifest of schema 1, which knows neither their sizes nor their diff ids.
pub fn schema1_image(manifest: schema1::Manifest) -> Image {
    let layer = |digest: Digest| Layer {
        blob: digest.to_string(),
        proof: Some(digest.to_string()),
        digest: Some(digest),
        size: None,
        media_type: String::new(),
        identity: Identity::Unknown,
        base_directory: None,
        urls: Vec::new(),
        verify: true,
    };
    Image { layers: manifest.layers.into_iter().map(layer).collect(), config: manifest.config }
}
