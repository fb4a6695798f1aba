//! One HTTP exchange: connect, send, follow redirects, hand out the answer.
//!
//! What all sources of images share: time limits, proxies, certificates, and the rule that a
//! secret goes to the server that it is meant for and to no other. Whether something is tried again
//! is decided by [`retry`]; what an answer means, by those who asked.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;
use ureq::http::StatusCode;
use ureq::http::header::{AUTHORIZATION, HeaderMap, LOCATION};
use ureq::unversioned::transport::DefaultConnector;

use super::secret::Secret;
use crate::interrupt::Interrupt;
use crate::observe::Log;

pub mod address;
mod error;
mod names;
pub mod proxy;
pub mod retry;
pub mod tls;

pub use address::Address;
pub use error::Error;
use proxy::Proxies;
use tls::Trust;

/// How many redirects are followed, as every browser and Go's client do.
const MOST_REDIRECTS: usize = 10;

/// Bytes of all headers of an answer: twice what the common servers send at most.
const LARGEST_HEADERS: usize = 64 * 1024;

/// Bytes that are read from a connection at once.
const INPUT_BUFFER: usize = 128 * 1024;

/// Connections to a server that are kept for the next request: as many as `pull.concurrency` can
/// be. With fewer, parts of a layer begin with a new connection and its slow start.
const IDLE: usize = 64;

/// How we introduce ourselves.
const USER_AGENT: &str = concat!("grootfs/", env!("CARGO_PKG_VERSION"));

/// How long is waited for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection with all that belongs to it: name, proxy, TLS.
    pub connect: Duration,
    /// For the next bytes of an answer.
    pub read: Duration,
    /// For one exchange with its body; `None` for no limit.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        // The original's 30 seconds to connect; a minute without a byte is a dead connection.
        Self { connect: Duration::from_secs(30), read: Duration::from_secs(60), total: None }
    }
}

/// Everything that decides how a server is spoken to.
#[derive(Debug, Clone, Default)]
pub struct NetworkOptions {
    /// Time limits.
    pub timeouts: Timeouts,
    /// When a failed exchange is tried again.
    pub retry: retry::Policy,
    /// Servers, `host[:port]`, whose certificates are not checked and that may be without TLS.
    pub insecure: Vec<String>,
    /// Directories with one directory of certificates for each `host[:port]`.
    pub certificates: Vec<PathBuf>,
    /// Ends waiting.
    pub interrupt: Interrupt,
    /// Is told what is tried again.
    pub log: Log,
}

/// Talks to servers; shared by all threads of a pull.
pub struct Network {
    /// How.
    pub options: NetworkOptions,
    proxies: Proxies,
    /// Trust for servers that were configured apart, by `host[:port]`.
    trust: HashMap<String, Trust>,
    /// Connections are kept and used again by server.
    agents: Mutex<HashMap<(bool, String), Agent>>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Where.
    pub address: &'a Address,
    /// Headers beside those below.
    pub headers: &'a [(&'static str, String)],
    /// Value of the `Authorization` header; never sent to another server.
    pub authorization: Option<&'a Secret>,
    /// A form to post; without one, the request is a GET.
    pub form: Option<&'a Secret>,
}

/// What was answered.
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Where it came from, after redirects.
    pub address: Address,
    /// How often it was asked for.
    pub tries: u32,
    body: ureq::BodyReader<'static>,
}

impl Network {
    /// Begins; connects nowhere.
    pub fn new(options: NetworkOptions, trust: HashMap<String, Trust>) -> Self {
        Self { options, proxies: Proxies::from_env(), trust, agents: Mutex::default() }
    }

    /// Whether a server may be spoken to without TLS or with any certificate.
    pub fn is_insecure(&self, address: &Address) -> bool {
        self.options.insecure.iter().any(|host| host == address.host())
    }

    /// Asks once, and follows redirects.
    pub fn exchange(&self, request: &Request<'_>) -> Result<Response, Error> {
        let mut address = request.address.clone();
        let mut authorization = request.authorization;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send(&address, request, authorization)?;
            let status = response.status;
            if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            let location = response.header(LOCATION.as_str()).ok_or_else(|| {
                Error::protocol(&address, format!("status {status} without a Location header"))
            })?;
            let next = address
                .join(location)
                .map_err(|why| Error::protocol(&address, format!("a redirect to {why}")))?;
            if address.is_https() && !next.is_https() {
                let why = format!("a redirect from https to http ({next}) is not followed");
                return Err(Error::protocol(&address, why));
            }
            if request.form.is_some() {
                let why = format!("a redirect of a login to {next} is not followed");
                return Err(Error::protocol(&address, why));
            }
            if !next.same_origin(request.address) {
                authorization = None;
            }
            address = next;
        }
        let why = format!("more than {MOST_REDIRECTS} redirects");
        Err(Error::protocol(request.address, why))
    }

    fn send(
        &self,
        address: &Address,
        request: &Request<'_>,
        authorization: Option<&Secret>,
    ) -> Result<Response, Error> {
        if self.options.interrupt.is_stopped() {
            return Err(Error::Interrupted);
        }
        let agent = self.agent(address)?;
        let failed = |error| self.failure(address, error);
        let mut headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if let Some(secret) = authorization {
            headers.push((AUTHORIZATION.as_str(), secret.expose()));
        }
        let answer = match request.form {
            Some(form) => {
                let post = agent.post(address.uri());
                let post =
                    headers.iter().fold(post, |post, (name, value)| post.header(*name, *value));
                post.content_type("application/x-www-form-urlencoded").send(form.expose())
            }
            None => {
                let get = agent.get(address.uri());
                headers.iter().fold(get, |get, (name, value)| get.header(*name, *value)).call()
            }
        };
        let (parts, body) = answer.map_err(failed)?.into_parts();
        Ok(Response {
            status: parts.status,
            headers: parts.headers,
            address: address.clone(),
            tries: 1,
            body: body.into_with_config().limit(u64::MAX).reader(),
        })
    }

    fn failure(&self, address: &Address, error: ureq::Error) -> Error {
        if self.options.interrupt.is_stopped() {
            Error::Interrupted
        } else {
            Error::from_client(address, error)
        }
    }

    /// The connections to a server.
    fn agent(&self, address: &Address) -> Result<Agent, Error> {
        let key = (address.is_https(), address.host().to_owned());
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let agent = self.new_agent(address)?;
        let closing = agent.clone();
        // Wakes reads that wait for a server that says nothing any more.
        self.options.interrupt.on_stop(move || closing.shutdown());
        agents.insert(key, agent.clone());
        Ok(agent)
    }

    fn new_agent(&self, address: &Address) -> Result<Agent, Error> {
        let timeouts = self.options.timeouts;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .accept_encoding("identity")
            .max_response_header_size(LARGEST_HEADERS)
            .input_buffer_size(INPUT_BUFFER)
            .max_idle_connections(IDLE)
            .max_idle_connections_per_host(IDLE)
            .timeout_connect(Some(timeouts.connect))
            .timeout_per_read(Some(timeouts.read))
            .timeout_per_write(Some(timeouts.read))
            .timeout_recv_response(Some(timeouts.read))
            .timeout_per_call(timeouts.total)
            .proxy(self.proxy(address)?);
        if address.is_https() {
            config = config.tls_config(self.trust(address)?.config());
        }
        Ok(Agent::with_parts(config.build(), DefaultConnector::default(), names::Names::default()))
    }

    fn proxy(&self, address: &Address) -> Result<Option<ureq::Proxy>, Error> {
        let Some(proxy) = self.proxies.to(address) else { return Ok(None) };
        ureq::Proxy::new(proxy).map(Some).map_err(|_| {
            let why = format!("the proxy `{}` is no URL of a proxy", address::redacted(proxy));
            Error::protocol(address, why)
        })
    }

    fn trust(&self, address: &Address) -> Result<Trust, Error> {
        let mut trust = self.trust.get(address.host()).cloned().unwrap_or_default();
        trust.anything |= self.is_insecure(address);
        for directory in &self.options.certificates {
            trust.add_directory(&directory.join(address.host()))?;
        }
        Ok(trust)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Response {
    /// A header's text; `None` where it is missing or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A header that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name).and_then(|value| value.trim().parse().ok())
    }

    /// Reads the whole body, if it is not longer than `most` bytes.
    pub fn bytes(mut self, most: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        (&mut self.body)
            .take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::from_reading(&self.address, error))?;
        if bytes.len() as u64 > most {
            let why = format!("an answer of more than {most} bytes");
            return Err(Error::protocol(&self.address, why));
        }
        Ok(bytes)
    }

    /// The body as a stream.
    pub fn into_body(self) -> Body {
        Body { address: self.address, body: self.body }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({} from {})", self.status, self.address)
    }
}

/// The body of an answer.
pub struct Body {
    address: Address,
    body: ureq::BodyReader<'static>,
}

impl Body {
    /// Where it comes from.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Reads some bytes; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.body.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| Error::from_reading(&self.address, error)),
            }
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body(from {})", self.address)
    }
}
