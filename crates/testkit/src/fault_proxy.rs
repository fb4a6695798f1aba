//! A proxy in front of a registry that keeps a log and makes answers go wrong.
//!
//! ```no_run
//! # use testkit::{fault::{Fault, Rule}, fault_proxy::FaultProxy, registry::Registry};
//! let registry = Registry::plain();
//! let proxy = FaultProxy::start(&registry.host());
//! // Every blob breaks off once, and one of the later tries has to wait.
//! proxy.rule(Rule::on("/blobs/").each_path().first(1).fault(Fault::CutAt(1000)));
//! proxy.rule(Rule::on("/blobs/").ranged(true).first(1).fault(Fault::retry_after_seconds(429, 1)));
//! // ... pull from proxy.host() ...
//! assert!(proxy.log().iter().filter(|one| one.range() == Some("bytes=1000-")).count() >= 1);
//! ```

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::certificates::Certificates;
use crate::delivery::{Delivery, Reply};
use crate::fault::{Fault, Rule, decide};
use crate::http::message::{Headers, Request};
use crate::http::server::{Connection, Handler, Next, Server};
use crate::http::upstream;
use crate::link::{Link, Pace};

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Which connection it came on; the first is 1.
    pub connection: u64,
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// Path and query.
    pub target: String,
    /// All header fields of the request.
    pub headers: Headers,
    /// The status that was sent; 0 while there is none.
    pub status: u16,
    /// Bytes of the body that were handed to the kernel for the client, so far.
    pub body_bytes: u64,
    /// Whether the answer is over, in whatever way.
    pub finished: bool,
    /// What was made to go wrong.
    pub faults: Vec<Fault>,
}

impl Exchange {
    /// The `Range` field of the request.
    pub fn range(&self) -> Option<&str> {
        self.headers.get("range")
    }

    /// Whether the request had an `Authorization` field.
    pub fn authorized(&self) -> bool {
        self.headers.get("authorization").is_some()
    }
}

/// How a [`FaultProxy`] is to listen.
#[derive(Debug, Default)]
pub struct ProxySetup<'a> {
    tls: Option<(&'a Certificates, bool)>,
    ipv6: bool,
    link: Link,
}

impl<'a> ProxySetup<'a> {
    /// Speaks TLS to the client, and plain HTTP to the server behind.
    #[must_use]
    pub fn tls(mut self, certificates: &'a Certificates) -> Self {
        self.tls = Some((certificates, false));
        self
    }

    /// Speaks TLS, and turns away clients without a certificate of the same authority.
    #[must_use]
    pub fn tls_with_client(mut self, certificates: &'a Certificates) -> Self {
        self.tls = Some((certificates, true));
        self
    }

    /// Listens on `[::1]`.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Imitates a slow and distant network.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Starts the proxy in front of `upstream`, a host and port that speaks plain HTTP.
    pub fn start(self, upstream: &str) -> FaultProxy {
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            link: self.link,
            pace: Pace::new(self.link.bytes_per_second),
            rules: Mutex::new(Vec::new()),
            log: Log::default(),
        });
        let address: IpAddr =
            if self.ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        let tls = self.tls.map(|(certificates, client)| certificates.server_config(client));
        let handler: Arc<dyn Handler> = Arc::<Shared>::clone(&shared);
        FaultProxy { server: Server::start_on(address, tls, handler), shared }
    }
}

/// A running proxy. Dropping it closes every connection.
#[derive(Debug)]
pub struct FaultProxy {
    server: Server,
    shared: Arc<Shared>,
}

impl FaultProxy {
    /// Says first how a proxy is to work, then starts it.
    pub fn setup<'a>() -> ProxySetup<'a> {
        ProxySetup::default()
    }

    /// Starts a proxy that speaks plain HTTP in front of `upstream`, a host and port.
    pub fn start(upstream: &str) -> Self {
        Self::setup().start(upstream)
    }

    /// Host and port, as they stand in an image reference.
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// The URL without a path.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Adds a rule behind those that there are.
    pub fn rule(&self, rule: Rule) {
        lock(&self.shared.rules).push(rule);
    }

    /// From here on nothing goes wrong.
    pub fn clear_rules(&self) {
        lock(&self.shared.rules).clear();
    }

    /// All requests so far, in the order in which they came.
    pub fn log(&self) -> Vec<Exchange> {
        lock(&self.shared.log.exchanges).clone()
    }

    /// Forgets the requests so far; only between pulls, when no answer is under way.
    pub fn clear_log(&self) {
        lock(&self.shared.log.exchanges).clear();
    }

    /// Bytes of bodies that were sent for targets that contain `part`.
    pub fn body_bytes(&self, part: &str) -> u64 {
        let exchanges = lock(&self.shared.log.exchanges);
        exchanges.iter().filter(|one| one.target.contains(part)).map(|one| one.body_bytes).sum()
    }

    /// How many connections clients have made.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Waits until the log is as wanted.
    ///
    /// # Panics
    ///
    /// After `limit`, with the log.
    pub fn wait_until(&self, limit: Duration, wanted: impl Fn(&[Exchange]) -> bool) {
        let end = Instant::now() + limit;
        let mut exchanges = lock(&self.shared.log.exchanges);
        while !wanted(&exchanges) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the proxy waited {limit:?} in vain; its log: {exchanges:#?}");
            let changed = &self.shared.log.changed;
            exchanges =
                changed.wait_timeout(exchanges, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Closes the port and all connections: new ones are refused.
    pub fn go_away(&self) {
        self.server.go_away();
    }

    /// Listens on the same port again.
    pub fn come_back(&self) {
        self.server.come_back();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    link: Link,
    pace: Pace,
    rules: Mutex<Vec<Rule>>,
    log: Log,
}

#[derive(Debug, Default)]
struct Log {
    exchanges: Mutex<Vec<Exchange>>,
    changed: Condvar,
}

impl Log {
    fn add(&self, exchange: Exchange) -> usize {
        let mut exchanges = lock(&self.exchanges);
        exchanges.push(exchange);
        self.changed.notify_all();
        exchanges.len() - 1
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Exchange)) {
        // The log may have been cleared meanwhile.
        if let Some(exchange) = lock(&self.exchanges).get_mut(index) {
            change(exchange);
        }
        self.changed.notify_all();
    }
}

impl Handler for Shared {
    fn answer(&self, request: &Request, to: &mut Connection) -> io::Result<Next> {
        let faults = decide(&mut lock(&self.rules), request);
        let index = self.log.add(Exchange {
            connection: to.number(),
            method: request.method.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            status: 0,
            body_bytes: 0,
            finished: false,
            faults: faults.clone(),
        });
        let done = self.deliver(request, &faults, to, index);
        self.log.change(index, |exchange| exchange.finished = true);
        done
    }
}

impl Shared {
    fn deliver(
        &self,
        request: &Request,
        faults: &[Fault],
        to: &mut Connection,
        index: usize,
    ) -> io::Result<Next> {
        to.wait(self.link.delay(to.requests() == 1, to.is_tls()))?;
        for fault in faults {
            match fault {
                Fault::Delay(time) => to.wait(*time)?,
                Fault::Close => return Ok(Next::Cut),
                Fault::NotHttp => {
                    to.send(b"\0\x01\x02 this is no answer\n\n")?;
                    return Ok(Next::Cut);
                }
                _ => {}
            }
        }
        let (reply, keep) = self.reply(request, faults, to)?;
        self.log.change(index, |exchange| exchange.status = reply.status);
        let sent = |count| self.log.change(index, |exchange| exchange.body_bytes += count);
        let head_only = request.method == "HEAD";
        let next = Delivery::new(faults, &self.pace, &sent).run(reply, head_only, to)?;
        Ok(if keep || next != Next::Keep { next } else { Next::Close })
    }

    /// What is to be sent, and whether the request was read to its end.
    fn reply(
        &self,
        request: &Request,
        faults: &[Fault],
        to: &mut Connection,
    ) -> io::Result<(Reply, bool)> {
        let own = faults.iter().find_map(|fault| own_answer(fault, request));
        let mut passed = request.clone();
        if faults.contains(&Fault::IgnoreRange) {
            passed.headers.remove("Range");
        }
        let mut body = to.body(request)?;
        let Some(mut own) = own else {
            let reply = match upstream::ask(&self.upstream, &passed, &mut body) {
                Ok(answer) => answer.into(),
                Err(error) => {
                    let text = format!("the server behind the proxy: {error}\n");
                    Reply::fixed(502, Headers::default(), text.into())
                }
            };
            return Ok((reply, body.ended()));
        };
        io::copy(&mut body.by_ref(), &mut io::sink())?;
        own.headers.set("Server", "fault proxy");
        Ok((own, true))
    }
}

fn own_answer(fault: &Fault, request: &Request) -> Option<Reply> {
    let redirect = |status, location: &str| {
        Reply::fixed(status, Headers::from([("Location", location)]), Vec::new())
    };
    match fault {
        Fault::Answer(status, headers, body) => {
            Some(Reply::fixed(*status, headers.clone(), body.clone()))
        }
        Fault::Redirect(status, url) => {
            Some(redirect(*status, &format!("{url}{}", request.target)))
        }
        Fault::RedirectLoop => {
            let hop = request.query("hop").and_then(|hop| hop.parse::<u64>().ok()).unwrap_or(0);
            Some(redirect(307, &format!("{}?hop={}", request.path(), hop + 1)))
        }
        _ => None,
    }
}
