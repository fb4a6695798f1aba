//! A server that answers everything alike and remembers what it was asked.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::certificates::Certificates;
use crate::http::message::{Headers, Request};
use crate::http::server::{Connection, Handler, Next, Server};

/// The place to which redirects lead, and which must not see a secret.
#[derive(Debug)]
pub struct RecordingServer {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    status: u16,
    body: Vec<u8>,
    requests: Mutex<Vec<Request>>,
}

impl RecordingServer {
    /// Starts a server that answers with this status and body.
    pub fn start(status: u16, body: &[u8]) -> Self {
        Self::start_with(status, body, None)
    }

    /// Starts the same with TLS.
    pub fn start_tls(status: u16, body: &[u8], certificates: &Certificates) -> Self {
        Self::start_with(status, body, Some(certificates))
    }

    fn start_with(status: u16, body: &[u8], certificates: Option<&Certificates>) -> Self {
        let requests = Mutex::default();
        let shared = Arc::new(Shared { status, body: body.to_vec(), requests });
        let tls = certificates.map(|certificates| certificates.server_config(false));
        let handler: Arc<dyn Handler> = Arc::<Shared>::clone(&shared);
        Self { server: Server::start(tls, handler), shared }
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// The URL without a path.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Handler for Shared {
    fn answer(&self, request: &Request, to: &mut Connection) -> io::Result<Next> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request.clone());
        drop(requests);
        to.reply(request, self.status, &Headers::default(), &self.body)
    }
}
