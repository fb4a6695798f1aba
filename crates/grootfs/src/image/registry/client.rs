//! Asking one server for a manifest or a blob, logged in as far as it wants that.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ureq::http::StatusCode;

use super::super::network::retry::{self, Whole};
use super::super::network::{self, Address, Network, Request, Response};
use super::super::reference::Reference;
use super::authorizer::Authorizer;
use super::endpoint::Endpoint;
use super::error::{Error, Errors};
use super::login::Login;

/// Longest explanation of a refusal that is read.
const LARGEST_REFUSAL: u64 = 64 * 1024;

/// How many blobs of a mirror may break off before it is left out: one is bad luck.
const MOST_BREAKS: u32 = 2;

/// Every kind of manifest that we understand, the richest first.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.v1+prettyjws, \
     application/vnd.docker.distribution.manifest.v1+json";

/// One server, for one repository.
#[derive(Debug)]
pub struct Client {
    /// Which server.
    pub endpoint: Endpoint,
    repository: String,
    /// Tells a mirror whose images are meant.
    namespace: Option<String>,
    authorizer: Authorizer,
    /// Whether the server was found to speak without TLS only.
    without_tls: AtomicBool,
    /// Whether the server failed in a way that makes asking it again a waste of time.
    given_up: AtomicBool,
    /// How many of its blobs broke off.
    breaks: AtomicU32,
}

impl Client {
    /// Connects nowhere yet.
    pub fn new(endpoint: Endpoint, reference: &Reference, login: Login) -> Self {
        let namespace = (!endpoint.is_origin).then(|| reference.domain().to_owned());
        let repository = reference.path().to_owned();
        Self {
            authorizer: Authorizer::new(&repository, login),
            repository,
            namespace,
            endpoint,
            without_tls: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            breaks: AtomicU32::new(0),
        }
    }

    /// Whether it makes sense to ask.
    pub fn is_usable(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed)
    }

    /// Leaves this server out from now on.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Notes that a blob broke off; whether this server, a mirror, is left out from now on.
    /// `last` says that it is the last chance.
    pub fn broke(&self, last: bool) -> bool {
        let breaks = self.breaks.fetch_add(1, Ordering::Relaxed) + 1;
        let enough = !self.endpoint.is_origin && (last || breaks >= MOST_BREAKS);
        if enough {
            self.give_up();
        }
        enough
    }

    /// Asks for a manifest by tag or digest, of at most so many bytes.
    pub fn manifest(&self, network: &Network, name: &str, most: u64) -> Result<Whole, Error> {
        let what = format!("reading manifest {name} in {}", self.repository);
        let path = format!("manifests/{name}");
        let accept = [("accept", MANIFESTS.to_owned())];
        let ask = || self.get(network, &what, &path, &accept);
        // A mirror that fails is passed over.
        if self.endpoint.is_origin { network.whole(most, ask) } else { Ok(ask()?.whole(most)?) }
    }

    /// Asks for a blob, or for its bytes from `first` on up to `last`, which is included.
    pub fn blob(
        &self,
        network: &Network,
        digest: &str,
        first: u64,
        last: Option<u64>,
    ) -> Result<Response, Error> {
        let what = format!("reading blob {digest} in {}", self.repository);
        let mut headers = Vec::new();
        if first > 0 || last.is_some() {
            let last = last.map_or_else(String::new, |last| last.to_string());
            headers.push(("range", format!("bytes={first}-{last}")));
        }
        self.get(network, &what, &format!("blobs/{digest}"), &headers)
    }

    fn address(&self, path: &str, plain: bool) -> Result<Address, Error> {
        let base = match &self.endpoint.fallback {
            Some(fallback) if plain => fallback,
            _ => &self.endpoint.base,
        };
        let query = self.namespace.as_ref().map_or_else(String::new, |ns| format!("?ns={ns}"));
        let url = format!("{base}/{}/{path}{query}", self.repository);
        Address::parse(&url).map_err(|why| Error::Nonsense { what: "address".to_owned(), why })
    }

    /// One question, with another login where that is wanted. What is no success is an error.
    fn get(
        &self,
        network: &Network,
        what: &str,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Response, Error> {
        let mut authorization = self.authorizer.header();
        // At most twice: a token that has just ended, and one that asks for more.
        for _ in 0..2 {
            let response = self.ask(network, path, headers, authorization.as_ref())?;
            if response.status != StatusCode::UNAUTHORIZED {
                return Self::checked(what, response);
            }
            let server = self.address(path, self.without_tls.load(Ordering::Relaxed))?;
            match self.authorizer.renew(network, &server, &response, authorization.as_ref())? {
                Some(renewed) => authorization = Some(renewed),
                None if Authorizer::shows_password(authorization.as_ref()) => {
                    let (what, address) = (what.to_owned(), response.address);
                    return Err(Error::Password { what, address });
                }
                None => return Self::checked(what, response),
            }
        }
        let response = self.ask(network, path, headers, authorization.as_ref())?;
        Self::checked(what, response)
    }

    /// Asks with TLS, and without where that is allowed and TLS is what fails.
    fn ask(
        &self,
        network: &Network,
        path: &str,
        headers: &[(&'static str, String)],
        authorization: Option<&super::super::secret::Secret>,
    ) -> Result<Response, Error> {
        let ask = |plain| {
            let address = self.address(path, plain)?;
            let request = Request { address: &address, headers, authorization, form: None };
            // A mirror that fails is passed over; only the last resort is worth waiting for.
            let answer = if self.endpoint.is_origin {
                network.ask(&request)
            } else {
                network.exchange(&request)
            };
            answer.map_err(Error::from)
        };
        if self.without_tls.load(Ordering::Relaxed) {
            return ask(true);
        }
        if self.endpoint.fallback.is_none() {
            return ask(false);
        }
        // One try: what speaks no TLS does not begin to because it is asked again.
        let address = self.address(path, false)?;
        let request = Request { address: &address, headers, authorization, form: None };
        match network.exchange(&request) {
            Err(network::Error::Tls { .. } | network::Error::Connection { .. }) => {
                let answer = ask(true)?;
                self.without_tls.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(answer) if retry::is_passing(answer.status) => ask(false),
            other => Ok(other?),
        }
    }

    fn checked(what: &str, response: Response) -> Result<Response, Error> {
        let tries = response.tries;
        let (status, address) = (response.status, response.address.clone());
        if status.is_success() {
            return Ok(response);
        }
        let what = what.to_owned();
        // A refusal that cannot be read is a refusal all the same.
        let body = response.bytes(LARGEST_REFUSAL).unwrap_or_default();
        Err(match Errors::parse(&body) {
            Some(errors) => Error::Refused { what, address, status, errors, tries },
            None => Error::Status { what, address, status, tries },
        })
    }
}
