//! Images in registries (OCI distribution specification, Docker registry API version 2).
//!
//! Each part of the conversation has a file: which servers are asked ([`endpoint`], [`hosts`]), who
//! we are ([`challenge`], [`authorizer`], [`login`]), one question ([`client`]), the bytes of a blob
//! ([`blob`], [`parts`]).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::digest::Digest;
use super::document::{self, Descriptor, Document, Manifest};
use super::network::Network;
use super::reference::Reference;
use super::{Blob, Cause, Error as ImageError, Image, ImageSource, Layer, SourceOptions};
use super::{choose, layers, schema1};

mod authorizer;
mod blob;
pub(crate) mod challenge;
mod client;
pub mod endpoint;
mod error;
pub(crate) mod hosts;
pub mod login;
mod parts;
pub mod ping;
mod session;
pub mod urls;

use blob::{BlobReader, Wanted};
use client::Client;
use endpoint::Endpoint;
pub use error::Error;
use login::Login;
pub use session::Pull;
use session::{Servers, Session};
use urls::Urls;

/// How deep indexes may lie in indexes.
const DEEPEST: usize = 4;

/// One image of a registry.
#[derive(Debug)]
pub struct RegistrySource {
    session: Arc<Session>,
    reference: Reference,
    options: SourceOptions,
    /// Layers that a mirror may have handed out.
    mirrored: Mutex<HashSet<String>>,
}

impl RegistrySource {
    /// Finds out whom to ask; connects nowhere yet.
    pub fn new(reference: Reference, options: &SourceOptions) -> Result<Self, Cause> {
        let insecure = |host: &str| options.network.insecure.iter().any(|known| known == host);
        let endpoints = endpoint::of(&reference, &options.mirrors, insecure)?;
        let mut trust = std::collections::HashMap::new();
        for endpoint in &endpoints {
            if let Some(special) = &endpoint.trust {
                trust.insert(endpoint.host().to_owned(), special.clone());
            }
        }
        let files = login::files(|name| std::env::var(name).ok());
        let given = options.username.clone().filter(|user| !user.is_empty());
        let given = given.zip(Some(options.password.clone().unwrap_or_default()));
        let clients = endpoints.into_iter().map(|endpoint| {
            let login = Login::at(&endpoint, &reference, given.as_ref(), &files);
            Client::new(endpoint, &reference, login)
        });
        let network = Arc::new(Network::new(options.network.clone(), trust));
        let session = Session::new(network, Servers::Registry(clients.collect()), options.pull);
        Ok(Self {
            session: Arc::new(session),
            reference,
            options: options.clone(),
            mirrored: Mutex::default(),
        })
    }

    /// Follows the reference to the manifest of one image.
    fn document(&self) -> Result<(String, Document), Cause> {
        let name = self.reference.manifest();
        let expected = self.reference.digest();
        let mut what = format!("manifest {name} in {}", self.reference.path());
        let mut document = self.fetch(&what, &name, |bytes| match expected {
            Some(digest) => document::check_digest(digest, bytes).map_or(Ok(()), Err),
            None => Ok(()),
        })?;
        for _ in 0..DEEPEST {
            let Document::Index(entries) = &document else { return Ok((what, document)) };
            let found = choose::for_platform(&what, entries, &self.options.platform)?.clone();
            what = format!("manifest {} in {}", found.digest, self.reference.path());
            document = self.fetch(&what, &found.digest.to_string(), |bytes| {
                found.check(&what, bytes).map_err(|error| error.why)
            })?;
        }
        let why = format!("indexes lie in each other, more than {DEEPEST} deep");
        Err(Cause::Document(document::Error { what, why }))
    }

    /// Fetches a manifest or an index, from the first server whose answer holds.
    fn fetch(
        &self,
        what: &str,
        name: &str,
        check: impl Fn(&[u8]) -> Result<(), String>,
    ) -> Result<Document, Cause> {
        let by_tag = name.parse::<Digest>().is_err();
        let can = |endpoint: &Endpoint| if by_tag { endpoint.resolves } else { endpoint.pulls };
        let nonsense = |why: String| Error::Nonsense { what: what.to_owned(), why };
        let (bytes, said) = self.session.first_of(can, |client| {
            let answer = client.manifest(&self.session.network, name, document::LARGEST)?;
            // A digest that the registry tells is a promise; one of an unknown kind is none.
            let told = answer.header("docker-content-digest").parse::<Digest>().ok();
            let holds = |bytes: &[u8]| {
                check(bytes)?;
                let wrong = told.as_ref().and_then(|told| document::check_digest(told, bytes));
                wrong.map_or(Ok(()), |why| Err(format!("Docker-Content-Digest: {why}")))
            };
            let said = answer.header("content-type").to_owned();
            let Err(why) = holds(&answer.bytes) else { return Ok((answer.bytes, said)) };
            // The digest of a signed manifest is that of what was signed.
            match schema1::signed(&answer.bytes) {
                Some(signed) if holds(&signed).is_ok() => Ok((signed, said)),
                _ => Err(nonsense(why)),
            }
        })?;
        Ok(document::parse(what, &said, &bytes)?)
    }

    fn configuration(&self, manifest: &Manifest) -> Result<document::Configuration, Cause> {
        let descriptor: &Descriptor = &manifest.config;
        let what = format!("configuration {}", descriptor.digest);
        if descriptor.size > document::LARGEST {
            return Err(document::too_large(&what).into());
        }
        let fetch = || -> Result<Vec<u8>, Cause> {
            let digest = descriptor.digest.to_string();
            let wanted = Wanted { digest, size: Some(descriptor.size) };
            let mut reader = BlobReader::open(&self.session, wanted)?;
            let mut bytes = Vec::new();
            std::io::Read::take(&mut reader, descriptor.size + 1).read_to_end_into(&mut bytes)?;
            descriptor.check(&what, &bytes)?;
            Ok(bytes)
        };
        let bytes = match fetch() {
            // Wrong bytes of a mirror.
            Err(Cause::Document(_)) if self.session.give_up_mirrors() => fetch()?,
            other => other?,
        };
        Ok(document::configuration(&what, &bytes)?)
    }
}

impl ImageSource for RegistrySource {
    fn image(&self) -> Result<Image, ImageError> {
        let (what, document) = self.document().map_err(ImageError::Reference)?;
        match document {
            Document::Manifest(manifest) => {
                let configuration =
                    self.configuration(&manifest).map_err(ImageError::Configuration)?;
                layers::image(&what, manifest, configuration, true)
                    .map_err(|error| ImageError::Configuration(error.into()))
            }
            Document::Schema1(manifest) => Ok(layers::schema1_image(manifest)),
            // `document` goes on until it has found something else.
            Document::Index(_) => Err(ImageError::Reference(Cause::NoDigest)),
        }
    }

    fn open(&self, layer: &Layer) -> Result<Blob, ImageError> {
        let elsewhere = (!layer.urls.is_empty()).then(|| {
            let urls = Urls::new(&layer.urls)?;
            urls::open(&self.session.network, urls, layer, self.options.pull)
        });
        if let Some(Ok(reader)) = elsewhere {
            return Ok(Box::new(reader));
        }
        let digest = layer.digest.as_ref().ok_or(ImageError::Blob(Cause::NoDigest))?;
        let is_mirror = |client: &Client| !client.endpoint.is_origin && client.is_usable();
        if self.session.clients().iter().any(is_mirror) {
            let mut mirrored = self.mirrored.lock().unwrap_or_else(PoisonError::into_inner);
            mirrored.insert(layer.blob.clone());
        }
        let wanted =
            Wanted { digest: digest.to_string(), size: layer.size.filter(|_| layer.verify) };
        let reader = match (BlobReader::open(&self.session, wanted), elsewhere) {
            (Ok(reader), _) => reader,
            // Such layers are mostly nowhere but at their URLs.
            (Err(_), Some(Err(error))) | (Err(error), _) => {
                return Err(ImageError::Blob(error.into()));
            }
        };
        Ok(Box::new(reader))
    }

    fn distrust(&self, layer: &Layer) -> bool {
        self.session.give_up_mirrors();
        let mut mirrored = self.mirrored.lock().unwrap_or_else(PoisonError::into_inner);
        mirrored.remove(&layer.blob)
    }

    fn streams(&self) -> Option<usize> {
        Some(self.session.pull.concurrency)
    }
}

/// Reads to the end; the errors of a blob's reader are ours.
trait ReadToEndInto {
    fn read_to_end_into(self, bytes: &mut Vec<u8>) -> Result<(), Error>;
}

impl<R: std::io::Read> ReadToEndInto for R {
    fn read_to_end_into(mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        self.read_to_end(bytes).map(drop).map_err(|error| {
            error.downcast::<Error>().unwrap_or_else(|error| Error::Nonsense {
                what: "configuration".to_owned(),
                why: error.to_string(),
            })
        })
    }
}
