//! From a manifest and a configuration to the layers that the store knows by chain id.

use super::digest::Digest;
use super::document::{self, Configuration, Descriptor, Manifest};
use super::{Image, Layer};

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
    let mut parent: Option<String> = None;
    let mut out = Vec::with_capacity(layers);
    for (descriptor, diff_id) in manifest.layers.into_iter().zip(configuration.diff_ids) {
        let chain_id = chain_id(parent.as_deref(), &diff_id);
        out.push(layer(descriptor, diff_id, chain_id.clone(), parent.take(), verify));
        parent = Some(chain_id);
    }
    Ok(Image { layers: out, config: configuration.config })
}

fn layer(
    descriptor: Descriptor,
    diff_id: Digest,
    chain_id: String,
    parent: Option<String>,
    verify: bool,
) -> Layer {
    Layer {
        blob: descriptor.digest.to_string(),
        digest: Some(descriptor.digest),
        size: Some(descriptor.size),
        media_type: descriptor.media_type,
        diff_id: Some(diff_id),
        chain_id,
        parent,
        base_directory: descriptor.base_directory,
        urls: descriptor.urls,
        verify,
    }
}

/// The name of a layer on top of another one (contract 3.5; not the OCI chain id).
pub fn chain_id(parent: Option<&str>, diff_id: &Digest) -> String {
    match parent {
        None => diff_id.hex().to_owned(),
        Some(parent) => {
            Digest::sha256_of(format!("{parent} {}", diff_id.hex()).as_bytes()).hex().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_are_the_originals() {
        let digest = |hex: &str| format!("sha256:{hex}").parse::<Digest>().unwrap();
        let base = chain_id(
            None,
            &digest("afe200c63655576eaa5cabe036a2c09920d6aee67653ae75a9d35e0ec27205a5"),
        );
        assert_eq!(base, "afe200c63655576eaa5cabe036a2c09920d6aee67653ae75a9d35e0ec27205a5");
        let top = digest("d7c6a5f0d9a15779521094fa5eaf026b719984fb4bfe8e0012bd1da1b62615b0");
        assert_eq!(
            chain_id(Some(&base), &top),
            "9242945d3c9c7cf5f127f9352fea38b1d3efe62ee76e25f70a3e6db63a14c233"
        );
    }
}
