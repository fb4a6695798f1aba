//! Docker manifests of schema 1: what registries of 2015 hand out, signed or not.
//!
//! Such a manifest names compressed layers only. What the plain layers are is learned while they
//! are unpacked, so a layer of such an image has no diff id yet.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::ImageConfig;
use super::digest::Digest;
use super::document::{MOST_LAYERS, RawConfig};

/// One image.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Digests of the compressed layers, base first; empty layers are left out.
    pub layers: Vec<Digest>,
    /// What the image says about its process.
    pub config: ImageConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(rename = "fsLayers")]
    layers: Vec<RawLayer>,
    history: Vec<RawHistory>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLayer {
    blob_sum: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHistory {
    v1_compatibility: String,
}

/// What one text of the history holds of use.
#[derive(Deserialize)]
struct Compatibility {
    config: Option<RawConfig>,
    /// Set where the step changed no file.
    throwaway: Option<bool>,
}

/// What was signed of a signed manifest: its digest is the manifest's. `None` where there is no
/// signature that says what it signs.
///
/// The signature names how many of the manifest's first bytes it is about, and what then follows.
pub fn signed(bytes: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Protected {
        format_length: usize,
        format_tail: String,
    }
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let protected = value.get("signatures")?.get(0)?.get("protected")?.as_str()?;
    let protected = BASE64_URL_SAFE_NO_PAD.decode(protected).ok()?;
    let protected: Protected = serde_json::from_slice(&protected).ok()?;
    let mut signed = bytes.get(..protected.format_length)?.to_vec();
    signed.extend(BASE64_URL_SAFE_NO_PAD.decode(protected.format_tail).ok()?);
    Some(signed)
}

/// Reads a manifest whose `schemaVersion` is 1. A signature in it is not what makes it trusted:
/// as for every other client today, that is the registry, or the digest that was asked for.
pub fn parse(value: Value) -> Result<Manifest, String> {
    let raw: Raw = serde_json::from_value(value)
        .map_err(|error| format!("broken manifest of schema 1: {error}"))?;
    let (layers, steps) = (raw.layers.len(), raw.history.len());
    if layers == 0 {
        return Err("the image has no layers".to_owned());
    }
    if layers != steps {
        return Err(format!("it has {layers} layers and a history of {steps} steps"));
    }
    if layers > MOST_LAYERS {
        return Err(format!("it has {layers} layers, at most {MOST_LAYERS} are taken"));
    }
    let steps = raw
        .history
        .iter()
        .map(|step| serde_json::from_str::<Compatibility>(&step.v1_compatibility))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("broken history: {error}"))?;
    let mut digests = Vec::with_capacity(layers);
    // The manifest begins with the top.
    for (layer, step) in raw.layers.iter().zip(&steps).rev() {
        if step.throwaway != Some(true) {
            let digest = layer.blob_sum.parse::<Digest>().map_err(|error| error.to_string())?;
            digests.push(digest);
        }
    }
    let top = steps.into_iter().next().and_then(|step| step.config);
    Ok(Manifest { layers: digests, config: top.unwrap_or_default().into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(steps: &[(&str, Value)]) -> Value {
        let layers: Vec<Value> = steps
            .iter()
            .map(|(name, _)| json!({"blobSum": Digest::sha256_of(name.as_bytes()).to_string()}))
            .collect();
        let history: Vec<Value> =
            steps.iter().map(|(_, step)| json!({"v1Compatibility": step.to_string()})).collect();
        json!({"schemaVersion": 1, "fsLayers": layers, "history": history, "signatures": []})
    }

    #[test]
    fn turns_the_order_and_drops_empty_layers() {
        let value = manifest(&[
            ("top", json!({"config": {"Env": ["A=b"]}})),
            ("empty", json!({"throwaway": true})),
            ("base", json!({"id": "x"})),
        ]);
        let manifest = parse(value).unwrap();
        assert_eq!(manifest.layers, [Digest::sha256_of(b"base"), Digest::sha256_of(b"top")]);
        assert_eq!(manifest.config.env, ["A=b"]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut short = manifest(&[("a", json!({})), ("b", json!({}))]);
        short["history"].as_array_mut().unwrap().pop();
        let mut broken = manifest(&[("a", json!({}))]);
        broken["history"][0]["v1Compatibility"] = "{".into();
        for value in [short, broken, manifest(&[]), json!({"fsLayers": 1})] {
            assert!(parse(value.clone()).is_err(), "{value}");
        }
    }
}
