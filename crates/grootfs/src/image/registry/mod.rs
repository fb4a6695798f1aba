//! Images in registries (OCI distribution specification, Docker registry API version 2).
//!
//! Each part of the conversation has a file: which servers are asked ([`endpoint`], [`hosts`]), who
//! we are ([`challenge`], [`authorizer`], [`login`]), one question ([`client`]), the bytes of a blob
//! ([`blob`], [`parts`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::digest::Digest;
use super::document::{self, Descriptor, Document, Manifest};
use super::network::{self, Network};
use super::reference::Reference;
use super::{Blob, Cause, Error as ImageError, Image, ImageSource, Layer, SourceOptions};
use super::{choose, layers};

mod authorizer;
mod blob;
mod challenge;
mod client;
pub mod endpoint;
mod error;
mod hosts;
pub mod login;
mod parts;

use blob::{BlobReader, Wanted};
use client::Client;
use endpoint::Endpoint;
pub use error::Error;
use login::Login;

/// How deep indexes may lie in indexes.
const DEEPEST: usize = 4;

/// How much is fetched at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pull {
    /// Connections for layers at once.
    pub concurrency: usize,
    /// Bytes of a part, where one blob is fetched over several connections.
    pub chunk_size: u64,
}

impl Default for Pull {
    fn default() -> Self {
        // With a part for each connection and one to spare, 20 MiB of memory at most.
        Self { concurrency: 4, chunk_size: 4 << 20 }
    }
}

/// One image of a registry.
#[derive(Debug)]
pub struct RegistrySource {
    session: Arc<Session>,
    reference: Reference,
    options: SourceOptions,
}

/// What all threads of a pull share.
#[derive(Debug)]
pub struct Session {
    network: Network,
    clients: Vec<Client>,
    pull: Pull,
    /// Connections that may still be opened beside those that read from the front.
    permits: AtomicUsize,
}

/// The right to one more connection.
#[derive(Debug)]
struct Permit(Arc<Session>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.permits.fetch_add(1, Ordering::Relaxed);
    }
}

impl Session {
    fn permit(self: &Arc<Self>) -> Option<Permit> {
        let less = |permits: usize| permits.checked_sub(1);
        let taken = self.permits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok().then(|| Permit(Arc::clone(self)))
    }

    /// Asks the servers in order until one gives what is asked for; the error is that of the last.
    fn first_of<T>(
        &self,
        can: impl Fn(&Endpoint) -> bool,
        ask: impl Fn(&Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut failure = None;
        for client in &self.clients {
            if !can(&client.endpoint) || !client.is_usable() {
                continue;
            }
            match ask(client) {
                Ok(found) => return Ok(found),
                Err(error @ Error::Network(network::Error::Interrupted)) => return Err(error),
                Err(error) => {
                    // A mirror that cannot be reached once is not waited for again.
                    if !client.endpoint.is_origin && matches!(error, Error::Network(_)) {
                        client.give_up();
                    }
                    failure = Some(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::Nonsense {
            what: "registry".to_owned(),
            why: "no server is configured that may be asked".to_owned(),
        }))
    }
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
            // What is given on the command line is meant for the registry itself.
            let (registry, given) = if endpoint.is_origin {
                (reference.domain().to_owned(), given.clone())
            } else {
                (endpoint.host().to_owned(), None)
            };
            let login = Login { registry, given, files: files.clone() };
            Client::new(endpoint, &reference, login)
        });
        let pull = options.pull;
        let session = Session {
            clients: clients.collect(),
            network: Network::new(options.network.clone(), trust),
            pull,
            permits: AtomicUsize::new(pull.concurrency),
        };
        Ok(Self { session: Arc::new(session), reference, options: options.clone() })
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
            let response = client.manifest(&self.session.network, name)?;
            let said = response.header("content-type").unwrap_or_default().to_owned();
            let digest = response.header("docker-content-digest").map(ToOwned::to_owned);
            let bytes = response.bytes(document::LARGEST)?;
            check(&bytes).map_err(nonsense)?;
            // A digest that the registry tells is a promise; one of an unknown kind is none.
            if let Some(Ok(digest)) = digest.map(|digest| digest.parse::<Digest>())
                && let Some(why) = document::check_digest(&digest, &bytes)
            {
                return Err(nonsense(format!("Docker-Content-Digest: {why}")));
            }
            Ok((bytes, said))
        })?;
        Ok(document::parse(what, &said, &bytes)?)
    }

    fn configuration(&self, manifest: &Manifest) -> Result<document::Configuration, Cause> {
        let descriptor: &Descriptor = &manifest.config;
        let what = format!("configuration {}", descriptor.digest);
        if descriptor.size > document::LARGEST {
            return Err(document::too_large(&what).into());
        }
        let wanted = Wanted { digest: descriptor.digest.to_string(), size: Some(descriptor.size) };
        let mut reader = BlobReader::open(&self.session, wanted)?;
        let mut bytes = Vec::new();
        std::io::Read::take(&mut reader, descriptor.size + 1).read_to_end_into(&mut bytes)?;
        descriptor.check(&what, &bytes)?;
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
            Document::Schema1(_) | Document::Index(_) => {
                Err(ImageError::Reference(Cause::NotYet("images of schema 1")))
            }
        }
    }

    fn open(&self, layer: &Layer) -> Result<Blob, ImageError> {
        if !layer.urls.is_empty() {
            return Err(ImageError::Blob(Cause::NotYet("layers with URLs")));
        }
        let digest = layer.digest.as_ref().ok_or(ImageError::Blob(Cause::NoDigest))?;
        let wanted =
            Wanted { digest: digest.to_string(), size: layer.size.filter(|_| layer.verify) };
        let reader = BlobReader::open(&self.session, wanted)
            .map_err(|error| ImageError::Blob(error.into()))?;
        Ok(Box::new(reader))
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
