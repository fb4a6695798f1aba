//! OCI image layouts: a directory, or a tar of one, with `index.json` and `blobs/`.

use std::sync::Arc;

use super::digest::Digest;
use super::document::{self, Descriptor, Document, Manifest};
use super::files::Files;
use super::registry::urls::{self, Urls};
use super::{Blob, Cause, Error, Image, ImageSource, Layer, SourceOptions, choose, layers};

/// How deep indexes may lie in indexes.
const DEEPEST: usize = 8;

/// One image of a layout.
#[derive(Debug)]
pub struct OciLayout {
    files: Box<dyn Files>,
    name: Option<String>,
    options: SourceOptions,
}

impl OciLayout {
    /// Names an image; nothing is read yet.
    pub fn new(files: Box<dyn Files>, name: Option<String>, options: &SourceOptions) -> Self {
        Self { files, name, options: options.clone() }
    }

    /// Opens a layer that lies elsewhere (contract 4.5).
    fn remote(&self, layer: &Layer) -> Result<Blob, Cause> {
        let options = &self.options;
        let urls = Urls::new(&layer.urls)?;
        let certificates = options.remote_layer_client_certificates_path.as_deref();
        let network = Arc::new(urls::network(&urls, &options.network, certificates)?);
        Ok(Box::new(urls::open(&network, urls, layer, options.pull)?))
    }

    fn manifest(&self) -> Result<(String, Manifest), Cause> {
        let bytes = self.files.read("index.json")?;
        let Document::Index(entries) = document::parse("index.json", "", &bytes)? else {
            return Err(Cause::Document(document::Error {
                what: "index.json".to_owned(),
                why: "it is no index of images".to_owned(),
            }));
        };
        let wanted = &self.options.platform;
        let mut found = self.named(&entries)?;
        for _ in 0..DEEPEST {
            let what = format!("manifest {}", found.digest);
            let bytes = self.read(&what, &found)?;
            match document::parse(&what, &found.media_type, &bytes)? {
                Document::Manifest(manifest) => return Ok((what, manifest)),
                Document::Index(entries) => {
                    found = choose::for_platform(&what, &entries, wanted)?.clone();
                }
                Document::Schema1(_) => {
                    let why = "a layout cannot hold manifests of schema 1".to_owned();
                    return Err(Cause::Document(document::Error { what, why }));
                }
            }
        }
        let why = format!("indexes lie in each other, more than {DEEPEST} deep");
        Err(Cause::Document(document::Error { what: "index.json".to_owned(), why }))
    }

    /// The entry that is asked for: in the index itself, or else in the indexes that it names.
    fn named(&self, entries: &[Descriptor]) -> Result<Descriptor, Cause> {
        let (name, wanted) = (self.name.as_deref(), &self.options.platform);
        let error = match choose::by_name(entries, name, wanted) {
            Ok(found) => return Ok(found.clone()),
            Err(error) => error,
        };
        let is_index = |entry: &&Descriptor| {
            document::Kind::of_media_type(&entry.media_type) == Some(document::Kind::Index)
        };
        for entry in entries.iter().filter(is_index).filter(|_| name.is_some()) {
            let what = format!("index {}", entry.digest);
            let bytes = self.read(&what, entry)?;
            if let Document::Index(inner) = document::parse(&what, &entry.media_type, &bytes)?
                && let Ok(found) = choose::by_name(&inner, name, wanted)
            {
                return Ok(found.clone());
            }
        }
        Err(error.into())
    }

    /// Reads a document and checks it against its descriptor.
    fn read(&self, what: &str, descriptor: &Descriptor) -> Result<Vec<u8>, Cause> {
        let bytes = self.files.read(&blob_name(&descriptor.digest))?;
        if descriptor.size == 0 && self.options.skip_layer_validation {
            // Garden writes layouts without the sizes of manifest and configuration.
            let described = Descriptor { size: bytes.len() as u64, ..descriptor.clone() };
            described.check(what, &bytes)?;
        } else {
            descriptor.check(what, &bytes)?;
        }
        Ok(bytes)
    }
}

impl ImageSource for OciLayout {
    fn image(&self) -> Result<Image, Error> {
        let (what, manifest) = self.manifest().map_err(Error::Reference)?;
        let read = || {
            let what = format!("configuration {}", manifest.config.digest);
            let bytes = self.read(&what, &manifest.config)?;
            Ok(document::configuration(&what, &bytes)?)
        };
        let configuration = read().map_err(Error::Configuration)?;
        let verify = !self.options.skip_layer_validation;
        layers::image(&what, manifest, configuration, verify)
            .map_err(|error| Error::Configuration(error.into()))
    }

    fn open(&self, layer: &Layer) -> Result<Blob, Error> {
        if !layer.urls.is_empty() {
            return self.remote(layer).map_err(Error::Blob);
        }
        let digest = layer.digest.as_ref().ok_or(Error::Blob(Cause::NoDigest))?;
        self.files.open(&blob_name(digest)).map_err(Error::Blob)
    }
}

/// Where a layout keeps a blob. A checked digest is safe as a name.
fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}
