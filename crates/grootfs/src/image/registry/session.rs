//! What all threads of a pull share: connections, the servers to ask, how much at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::network::{self, Network, Response};
use super::blob::Wanted;
use super::client::Client;
use super::endpoint::Endpoint;
use super::error::Error;
use super::urls::Urls;

/// How much is fetched at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pull {
    /// Connections for layers at once.
    pub concurrency: usize,
    /// Bytes of a part, where one blob is fetched over several connections.
    pub chunk_size: u64,
}

/// Where blobs come from.
#[derive(Debug)]
pub enum Servers {
    /// A registry, its mirrors in front of it.
    Registry(Vec<Client>),
    /// Addresses of one blob.
    Urls(Urls),
}

/// What all threads of a pull share.
#[derive(Debug)]
pub struct Session {
    /// Connections.
    pub network: Arc<Network>,
    /// Whom to ask.
    pub servers: Servers,
    /// How much at once.
    pub pull: Pull,
    /// Connections that may still be opened beside those that read from the front.
    permits: AtomicUsize,
}

/// The right to one more connection.
#[derive(Debug)]
pub struct Permit(Arc<Session>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.permits.fetch_add(1, Ordering::Relaxed);
    }
}

impl Session {
    /// Nobody is asked anything yet.
    pub fn new(network: Arc<Network>, servers: Servers, pull: Pull) -> Self {
        Self { network, servers, pull, permits: AtomicUsize::new(pull.concurrency) }
    }

    /// The right to one more connection; `None` when all are taken.
    pub fn permit(self: &Arc<Self>) -> Option<Permit> {
        let less = |permits: usize| permits.checked_sub(1);
        let taken = self.permits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok().then(|| Permit(Arc::clone(self)))
    }

    /// The servers of the registry.
    pub fn clients(&self) -> &[Client] {
        match &self.servers {
            Servers::Registry(clients) => clients,
            Servers::Urls(_) => &[],
        }
    }

    /// Notes that a blob of the server with this number broke off; whether it is left out from now
    /// on, so that another one is asked. `last` says that it is the last chance.
    pub fn broke(&self, server: usize, last: bool) -> bool {
        self.clients().get(server).is_some_and(|client| client.broke(last))
    }

    /// Leaves all mirrors out from now on; whether there were any.
    pub fn give_up_mirrors(&self) -> bool {
        let mirrors = || self.clients().iter().filter(|client| !client.endpoint.is_origin);
        let usable = mirrors().any(Client::is_usable);
        mirrors().for_each(Client::give_up);
        usable
    }

    /// Asks for a blob from `first` on up to `last`, which is included; the first answer that
    /// `accept` takes is the one. Also tells the number of the server.
    pub fn blob<T>(
        &self,
        wanted: &Wanted,
        first: u64,
        last: Option<u64>,
        accept: impl Fn(Response) -> Result<T, Error>,
    ) -> Result<(T, usize), Error> {
        match &self.servers {
            Servers::Urls(urls) => {
                urls.first_of(&self.network, first, last, accept).map(|found| (found, 0))
            }
            Servers::Registry(clients) => self.first_of(
                |endpoint| endpoint.pulls,
                |client| {
                    let answer = client.blob(&self.network, &wanted.digest, first, last)?;
                    let number = clients.iter().position(|other| std::ptr::eq(other, client));
                    Ok((accept(answer)?, number.unwrap_or(0)))
                },
            ),
        }
    }

    /// Asks the servers in order until one gives what is asked for; the error is that of the last.
    pub fn first_of<T>(
        &self,
        can: impl Fn(&Endpoint) -> bool,
        ask: impl Fn(&Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut failure = None;
        for client in self.clients() {
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
