//! The ways in for the fuzzers of `fuzz/`, and what has to hold whatever they find.
//!
//! Each function takes bytes as a stranger may send them and panics when a promise is broken. The
//! module is there with `--cfg fuzzing`, which cargo-fuzz sets, and in unit tests, which read every
//! seed of `fuzz/seeds`. It is no part of the product.

use std::path::Path;

use crate::config::{Config, Flags, file};
use crate::image::document::{self, Document, Kind, MOST_LAYERS};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::registry::{challenge, hosts};
use crate::image::{argument, choose, layers};

mod layer;
mod tar;
#[cfg(test)]
mod tests;

pub use layer::{Disk, unpack};
pub use tar::{mend, tar};

/// An image reference. One that is taken reads the same after it was written down, and every part is
/// safe in a URL.
pub fn reference(text: &str) {
    let Ok(reference) = text.parse::<Reference>() else { return };
    let shown = reference.to_string();
    let again = shown.parse::<Reference>();
    let again = again.unwrap_or_else(|error| panic!("{shown:?} of {text:?}: {error}"));
    assert_eq!(again.to_string(), shown, "{text:?}");
    assert_eq!(again.host(), reference.host(), "{text:?}");
    assert_eq!(again.manifest(), reference.manifest(), "{text:?}");
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    assert!(reference.path().chars().all(safe), "{text:?}");
    assert!(reference.path().split('/').all(|part| !matches!(part, "" | "." | "..")), "{text:?}");
    let manifest = reference.manifest();
    assert!(manifest.chars().all(|c| safe(c) && c != '/' || c == ':'), "{text:?}");
    assert!(!manifest.starts_with('.'), "{text:?}");
    let host = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    assert!(reference.host().chars().all(host), "{text:?}");
}

/// An image argument. No error and no log shows a password in it.
pub fn argument(text: &str) {
    const SECRET: &str = "open-sesame";
    let _ = argument::parse(text);
    let shown = argument::redacted(text);
    assert_eq!(argument::redacted(&shown), shown, "{text:?}");
    if text.contains(SECRET) {
        return;
    }
    // Without a repository behind it, `name:tag@sha256:...` is a reference with a digest.
    if text.starts_with("sha256:") || text.starts_with("sha512:") {
        return;
    }
    for scheme in ["docker", "http", "oci"] {
        let with_user = format!("{scheme}://user:{SECRET}@{text}");
        assert!(!argument::redacted(&with_user).contains(SECRET), "{with_user:?}");
        if let Err(error) = argument::parse(&with_user)
            && !matches!(scheme, "oci")
        {
            assert!(!error.to_string().contains(SECRET), "{with_user:?}: {error}");
        }
    }
}

/// What a registry or a layout says about an image: a manifest or an index, and behind a byte of zero
/// a configuration. A document is one kind of document, whatever it is called.
pub fn documents(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let configuration = document::configuration("configuration", second).ok();
    let plain = document::parse("document", "", first).ok();
    for (said, kind) in [
        ("application/vnd.oci.image.index.v1+json", Kind::Index),
        ("application/vnd.docker.distribution.manifest.v2+json", Kind::Manifest),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", Kind::Schema1),
    ] {
        let taken = document::parse("document", said, first).is_ok();
        let is_that = plain.as_ref().is_some_and(|document| kind_of(document) == kind);
        assert_eq!(taken, is_that, "as {said}");
    }
    match plain {
        None => {}
        Some(Document::Index(entries)) => {
            let _ = choose::for_platform("index", &entries, &Platform::host());
            for name in [None, Some("latest")] {
                let _ = choose::by_name(&entries, name, &Platform::host());
            }
        }
        Some(Document::Manifest(manifest)) => {
            let count = manifest.layers.len();
            assert!((1..=MOST_LAYERS).contains(&count), "{count} layers");
            let Some(configuration) = configuration else { return };
            let fits = configuration.diff_ids.len() == count;
            let image = layers::image("image", manifest, configuration, true);
            assert_eq!(image.is_ok_and(|image| image.layers.len() == count), fits);
        }
        Some(Document::Schema1(manifest)) => {
            let image = layers::schema1_image(manifest);
            assert!(image.layers.len() <= MOST_LAYERS);
        }
    }
}

fn kind_of(document: &Document) -> Kind {
    match document {
        Document::Index(_) => Kind::Index,
        Document::Manifest(_) => Kind::Manifest,
        Document::Schema1(_) => Kind::Schema1,
    }
}

/// A `WWW-Authenticate` header. Every challenge has a scheme in lower case.
pub fn challenge(text: &str) {
    for challenge in challenge::parse(text) {
        assert!(!challenge.scheme.is_empty(), "{text:?}");
        assert_eq!(challenge.scheme.to_ascii_lowercase(), challenge.scheme, "{text:?}");
        for name in ["realm", "service", "scope"] {
            let length = challenge.get(name).map_or(0, str::len);
            assert!(length <= text.len(), "{text:?}: {name}");
        }
    }
}

/// A `hosts.toml`; the certificates that it names are not looked at. Every server has a URL.
pub fn hosts(text: &str) {
    let Ok(hosts) = hosts::parse_alone(text) else { return };
    for endpoint in hosts.mirrors.iter().chain(&hosts.server) {
        let web = endpoint.base.starts_with("http://") || endpoint.base.starts_with("https://");
        assert!(web && !endpoint.host().is_empty(), "{text:?}: {}", endpoint.base);
        assert!(!endpoint.base.contains(char::is_control), "{text:?}: {}", endpoint.base);
    }
}

/// The YAML configuration. One that is taken has an absolute path and sane numbers.
pub fn configuration(text: &str) {
    let file = match file::parse(text) {
        Ok(read) => read.file,
        Err(why) => {
            assert!(why.starts_with("line "), "{why}");
            return;
        }
    };
    let Ok(config) = Config::merge(Flags::default(), file, None) else { return };
    assert!(config.store.is_absolute() && config.store != Path::new("/"), "{text:?}");
    assert!((1..=64).contains(&config.pull.concurrency), "{text:?}");
    assert!((64 << 10..=64 << 20).contains(&config.pull.chunk_size), "{text:?}");
    assert!(config.pull.attempts >= 1 && !config.pull.read_timeout.is_zero(), "{text:?}");
}
