//! Which volumes an image is made of, and which of them are missing.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use crate::image::digest::Digest;
use crate::image::{Identity, Image, Layer};

/// A layer and its place in the store.
#[derive(Debug, Clone)]
pub struct Planned<'a> {
    /// The layer.
    pub layer: &'a Layer,
    /// Name of its volume.
    pub chain_id: String,
    /// Name of the volume below.
    pub parent: Option<String>,
}

/// The places of all layers, base first; `None` when some can only be known by reading them.
pub fn plan(image: &Image) -> Option<Vec<Planned<'_>>> {
    let mut parent: Option<String> = None;
    let mut planned = Vec::with_capacity(image.layers.len());
    for layer in &image.layers {
        let chain_id = match &layer.identity {
            Identity::DiffId(diff_id) => {
                let chain_id = chain_id(parent.as_deref(), diff_id);
                match &layer.base_directory {
                    Some(base) => below(&chain_id, base),
                    None => chain_id,
                }
            }
            Identity::Tar(name) => name.clone(),
            Identity::Unknown => return None,
        };
        planned.push(Planned { layer, chain_id: chain_id.clone(), parent: parent.take() });
        parent = Some(chain_id);
    }
    Some(planned)
}

/// The name of a layer on top of another one (contract 3.5; not the OCI chain id).
pub fn chain_id(parent: Option<&str>, diff_id: &Digest) -> String {
    match parent {
        None => diff_id.hex().to_owned(),
        Some(parent) => {
            let text = format!("{parent} {}", diff_id.hex());
            Digest::sha256_of(text.as_bytes()).hex().to_owned()
        }
    }
}

/// The name of a layer that goes below a directory. The same layer below another one is another volume: the
/// original gave both one name, and whoever came second got the files in the wrong place.
fn below(chain_id: &str, base: &Path) -> String {
    let mut text = chain_id.as_bytes().to_vec();
    for part in base.components() {
        if let Component::Normal(name) = part {
            text.push(b'/');
            text.extend(name.as_bytes());
        }
    }
    Digest::sha256_of(&text).hex().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_directory_is_part_of_the_name() {
        let name = |base: &str| below("ab", Path::new(base));
        assert_eq!(name("/home/vcap"), name("home/./vcap/"));
        assert_eq!(name("/home/vcap"), Digest::sha256_of(b"ab/home/vcap").hex());
        assert_ne!(name("/home/vcap"), name("/home"));
    }

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
