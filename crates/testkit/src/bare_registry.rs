//! A registry of ours that serves whatever it was given, without looking at it.
//!
//! For what `docker-registry` does not take: unsigned schema 1, sha512, manifests that lie.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::http::message::{Headers, Request};
use crate::http::server::{Connection, Handler, Next, Server};

/// A running registry that speaks plain HTTP; put a fault proxy in front for TLS.
#[derive(Debug)]
pub struct BareRegistry {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    manifests: Mutex<HashMap<String, Manifest>>,
    blobs: Mutex<HashMap<String, Arc<[u8]>>>,
}

#[derive(Debug, Clone)]
struct Manifest {
    media_type: String,
    digest: Option<String>,
    bytes: Arc<[u8]>,
}

impl BareRegistry {
    /// Starts an empty one.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let handler: Arc<dyn Handler> = Arc::<Shared>::clone(&shared);
        Self { server: Server::start(None, handler), shared }
    }

    /// The host and port to put in front of a repository.
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// The URL without a path.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Serves a manifest under a tag or digest, in every repository.
    ///
    /// `digest` is what `Docker-Content-Digest` says; with `None` the field is missing.
    pub fn add_manifest(
        &self,
        reference: &str,
        media_type: &str,
        digest: Option<&str>,
        bytes: &[u8],
    ) {
        let manifest = Manifest {
            media_type: media_type.to_owned(),
            digest: digest.map(str::to_owned),
            bytes: bytes.into(),
        };
        lock(&self.shared.manifests).insert(reference.to_owned(), manifest);
    }

    /// Serves a blob in every repository.
    pub fn add_blob(&self, digest: &str, bytes: &[u8]) {
        lock(&self.shared.blobs).insert(digest.to_owned(), bytes.into());
    }

    /// Serves all blobs of an OCI layout, and `reference` of it as `tag`.
    ///
    /// The blobs are held in memory: this is for small images.
    ///
    /// # Panics
    ///
    /// When the layout cannot be read or has no such reference.
    pub fn add_layout(&self, layout: &Path, reference: &str, tag: &str) {
        let algorithms = fs::read_dir(layout.join("blobs")).expect("the layout's blobs");
        for algorithm in algorithms {
            let algorithm = algorithm.expect("a directory of blobs");
            for blob in fs::read_dir(algorithm.path()).expect("a directory of blobs") {
                let blob = blob.expect("a blob");
                let (name, hex) = (algorithm.file_name(), blob.file_name());
                let digest = format!("{}:{}", name.to_string_lossy(), hex.to_string_lossy());
                self.add_blob(&digest, &fs::read(blob.path()).expect("a blob"));
            }
        }
        let index = fs::read(layout.join("index.json")).expect("the layout's index");
        let index: Value = serde_json::from_slice(&index).expect("an index in JSON");
        let named =
            |one: &&Value| one["annotations"]["org.opencontainers.image.ref.name"] == reference;
        let descriptors = index["manifests"].as_array().expect("a list of manifests");
        let descriptor = descriptors.iter().find(named).expect("a manifest with this reference");
        self.add_described(descriptor, Some(tag));
    }

    /// Serves what a descriptor names as a manifest, and everything below it.
    fn add_described(&self, descriptor: &Value, tag: Option<&str>) {
        let (Some(digest), Some(media_type)) =
            (descriptor["digest"].as_str(), descriptor["mediaType"].as_str())
        else {
            panic!("a descriptor without digest or mediaType: {descriptor}");
        };
        let bytes = lock(&self.shared.blobs).get(digest).cloned();
        let bytes = bytes.unwrap_or_else(|| panic!("the layout lacks {digest}"));
        for reference in [Some(digest), tag].into_iter().flatten() {
            self.add_manifest(reference, media_type, Some(digest), &bytes);
        }
        let below: Value = serde_json::from_slice(&bytes).expect("a manifest in JSON");
        for one in below["manifests"].as_array().into_iter().flatten() {
            self.add_described(one, None);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handler for Shared {
    fn answer(&self, request: &Request, to: &mut Connection) -> io::Result<Next> {
        let path = request.path();
        if let Some((_, reference)) = path.rsplit_once("/manifests/") {
            let manifest = lock(&self.manifests).get(reference).cloned();
            if let Some(manifest) = manifest {
                let mut headers = Headers::from([("Content-Type", manifest.media_type.as_str())]);
                if let Some(digest) = &manifest.digest {
                    headers.add("Docker-Content-Digest", digest);
                }
                return to.reply(request, 200, &headers, &manifest.bytes);
            }
        } else if let Some((_, digest)) = path.rsplit_once("/blobs/") {
            let blob = lock(&self.blobs).get(digest).cloned();
            if let Some(blob) = blob {
                return send_blob(request, to, &blob);
            }
        } else if path == "/v2/" {
            return to.reply(request, 200, &Headers::default(), b"{}");
        }
        to.reply(request, 404, &Headers::default(), b"{\"errors\":[{\"code\":\"NOT_FOUND\"}]}")
    }
}

fn send_blob(request: &Request, to: &mut Connection, blob: &[u8]) -> io::Result<Next> {
    let mut headers =
        Headers::from([("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes")]);
    let Some(range) = request.headers.get("range") else {
        return to.reply(request, 200, &headers, blob);
    };
    let Some((start, end)) = part(range, blob.len()) else {
        headers.add("Content-Range", &format!("bytes */{}", blob.len()));
        return to.reply(request, 416, &headers, b"");
    };
    headers.add("Content-Range", &format!("bytes {start}-{}/{}", end - 1, blob.len()));
    to.reply(request, 206, &headers, &blob[start..end])
}

/// Start and end of `bytes=2-5` or `bytes=2-`; the other forms nobody here sends.
fn part(range: &str, length: usize) -> Option<(usize, usize)> {
    let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = start.parse().ok()?;
    let end = if last.is_empty() { length } else { last.parse::<usize>().ok()?.checked_add(1)? };
    let end = end.min(length);
    (start < end).then_some((start, end))
}
