//! Layers that lie at URLs of their own: those of other vendors in a registry, and the remote layers
//! of a layout (contract 4.5).
//!
//! Nobody is told who we are there, except by a client certificate where one is configured.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::super::network::tls::Trust;
use super::super::network::{Address, Network, NetworkOptions, Request, Response};
use super::super::{Cause, Layer};
use super::blob::{BlobReader, Wanted};
use super::error::Error;
use super::session::{Pull, Servers, Session};

/// Most URLs of one layer.
const MOST: usize = 32;

/// Where one layer lies.
#[derive(Debug, Clone)]
pub struct Urls(Vec<Address>);

impl Urls {
    /// Reads the URLs of a layer.
    pub fn new(texts: &[String]) -> Result<Self, Error> {
        let nonsense = |why: String| Error::Nonsense { what: "layer".to_owned(), why };
        if texts.len() > MOST {
            return Err(nonsense(format!("it has {} URLs, at most {MOST} are taken", texts.len())));
        }
        let urls = texts.iter().map(|text| Address::parse(text)).collect::<Result<_, _>>();
        urls.map(Self).map_err(nonsense)
    }

    /// Asks one after the other; an error tells about each.
    pub fn first_of<T>(
        &self,
        network: &Network,
        first: u64,
        last: Option<u64>,
        accept: impl Fn(Response) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let last = last.map_or_else(String::new, |last| last.to_string());
        let range = format!("bytes={first}-{last}");
        let headers = if first == 0 && last.is_empty() { vec![] } else { vec![("range", range)] };
        let mut failures = Vec::new();
        for address in &self.0 {
            let request = Request { address, headers: &headers, authorization: None, form: None };
            let answer = network.ask(&request).map_err(Error::from).and_then(|response| {
                let status = response.status;
                if status.is_success() {
                    return accept(response);
                }
                let what = format!("fetching {address} failed, response code not 200");
                Err(Error::Nonsense { what, why: status.to_string() })
            });
            match answer {
                Ok(found) => return Ok(found),
                Err(error) => failures.push(error.to_string()),
            }
        }
        Err(Error::Nonsense {
            what: failures.join(": "),
            why: "failed fetching external blob from all urls".to_owned(),
        })
    }
}

/// Connections to the servers of a layout's remote layers, with the certificates in a directory.
pub fn network(
    urls: &Urls,
    options: &NetworkOptions,
    certificates: Option<&Path>,
) -> Result<Network, Cause> {
    let mut trust = Trust::default();
    if let Some(directory) = certificates {
        trust.add_directory(directory)?;
    }
    let by_host: HashMap<String, Trust> =
        urls.0.iter().map(|address| (address.host().to_owned(), trust.clone())).collect();
    Ok(Network::new(options.clone(), by_host))
}

/// Opens a layer at its URLs.
pub fn open(
    network: &Arc<Network>,
    urls: Urls,
    layer: &Layer,
    pull: Pull,
) -> Result<BlobReader, Error> {
    let session = Session::new(Arc::clone(network), Servers::Urls(urls), pull);
    let wanted = Wanted { digest: layer.blob.clone(), size: layer.size.filter(|_| layer.verify) };
    BlobReader::open(&Arc::new(session), wanted)
}
