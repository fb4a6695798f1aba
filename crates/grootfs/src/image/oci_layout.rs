//! OCI image layouts: a directory with `index.json` and `blobs/`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::argument::Located;
use super::document::{self, Descriptor, Document, Manifest};
use super::{Blob, Cause, Error, Image, ImageSource, Layer, SourceOptions, choose, layers};
use crate::error::AtPath;

/// How deep indexes may lie in indexes.
const DEEPEST: usize = 8;

/// One image of a layout.
#[derive(Debug)]
pub struct OciLayout {
    located: Located,
    options: SourceOptions,
}

impl OciLayout {
    /// Names an image; nothing is read yet.
    pub fn new(located: Located, options: &SourceOptions) -> Self {
        Self { located, options: options.clone() }
    }

    fn blob(&self, descriptor: &Descriptor) -> PathBuf {
        blob_path(&self.located.path, &descriptor.digest)
    }

    fn manifest(&self) -> Result<(String, Manifest), Cause> {
        let path = self.located.path.join("index.json");
        let bytes = read_small(&path)?;
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
        let (name, wanted) = (self.located.name.as_deref(), &self.options.platform);
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
        let bytes = read_small(&self.blob(descriptor))?;
        descriptor.check(what, &bytes)?;
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
            return Err(Error::Blob(Cause::NotYet("fetching layers of a layout from URLs")));
        }
        let digest = layer.digest.as_ref().ok_or(Error::Blob(Cause::NoDigest))?;
        let path = blob_path(&self.located.path, digest);
        Ok(Box::new(open_file(&path).map_err(Error::Blob)?))
    }
}

/// Where a layout keeps a blob. A checked digest is safe as a name.
fn blob_path(layout: &Path, digest: &super::digest::Digest) -> PathBuf {
    layout.join("blobs").join(digest.algorithm().name()).join(digest.hex())
}

/// Opens a regular file for reading; links are followed (Garden links its base layers).
pub fn open_file(path: &Path) -> Result<File, Cause> {
    // Not blocking: the name may be that of a pipe.
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .at("open", path)?;
    let kind = file.metadata().at("stat", path)?.file_type();
    if kind.is_dir() {
        return Err(Cause::Directory(path.to_owned()));
    }
    if !kind.is_file() {
        return Err(Cause::NoFile(path.to_owned()));
    }
    Ok(file)
}

/// Reads a whole document, if it is not too large to be one.
fn read_small(path: &Path) -> Result<Vec<u8>, Cause> {
    let mut bytes = Vec::new();
    open_file(path)?.take(document::LARGEST + 1).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 > document::LARGEST {
        return Err(Cause::Document(document::too_large(&path.display().to_string())));
    }
    Ok(bytes)
}
