//! A server with a thread for each connection, which can go away and come back.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::message::{Body, Headers, Request, read_request, reason};

/// What becomes of a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It waits for the next request.
    Keep,
    /// It is closed in the polite way.
    Close,
    /// It is closed as if the server had died: with TLS, no goodbye.
    Cut,
    /// It is reset: the client may lose bytes that it has not read yet.
    Reset,
}

/// Answers requests; called from many threads.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request. An error closes the connection.
    fn answer(&self, request: &Request, to: &mut Connection) -> io::Result<Next>;
}

/// A running server. Dropping it closes every connection and waits for its threads.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Shared {
    handler: Arc<dyn Handler>,
    tls: Option<Arc<ServerConfig>>,
    connections: AtomicUsize,
}

struct Running {
    stop: Arc<Stop>,
    acceptor: JoinHandle<()>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens on a free port of 127.0.0.1.
    pub(crate) fn start(tls: Option<Arc<ServerConfig>>, handler: Arc<dyn Handler>) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), tls, handler)
    }

    /// Listens on a free port of another loopback address.
    pub(crate) fn start_on(
        address: IpAddr,
        tls: Option<Arc<ServerConfig>>,
        handler: Arc<dyn Handler>,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared { handler, tls, connections: AtomicUsize::new(0) });
        let running = Mutex::new(Some(run(listener, &shared)));
        Self { address, shared, running }
    }

    /// Host and port, as they stand in a URL.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The URL without a path.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Closes the port and every connection: from here on the kernel refuses new ones.
    pub(crate) fn go_away(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { stop, acceptor }) = running else { return };
        stop.now();
        // The acceptor sees the stop when it accepts the next connection: this one.
        let _ = TcpStream::connect(self.address);
        let _ = acceptor.join();
    }

    /// Listens on the same port again.
    pub(crate) fn come_back(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            let listener = TcpListener::bind(self.address).expect("the port that was ours");
            *running = Some(run(listener, &self.shared));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.go_away();
    }
}

fn run(listener: TcpListener, shared: &Arc<Shared>) -> Running {
    let stop = Arc::new(Stop::default());
    let (shared, seen) = (Arc::clone(shared), Arc::clone(&stop));
    Running { stop, acceptor: thread::spawn(move || accept(listener, &shared, &seen)) }
}

fn accept(listener: TcpListener, shared: &Arc<Shared>, stop: &Arc<Stop>) {
    let mut threads = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        let Some(number) = stop.register(&stream) else { break };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let (shared, stop) = (Arc::clone(shared), Arc::clone(stop));
        threads.push(thread::spawn(move || {
            // An error is the client's: it went away, or did not like our certificate.
            let _ = serve(stream, number, &shared, &stop);
            stop.forget(number);
        }));
    }
    // The port is closed before the threads are awaited: nobody may connect any more.
    drop(listener);
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

fn serve(stream: TcpStream, number: u64, shared: &Shared, stop: &Arc<Stop>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = match &shared.tls {
        None => Stream::Plain(stream),
        Some(config) => {
            let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            Stream::Tls(Box::new(StreamOwned::new(session, stream)))
        }
    };
    let stream = BufReader::new(stream);
    let mut connection = Connection { stream, number, requests: 0, stop: Arc::clone(stop) };
    while let Some(request) = read_request(&mut connection.stream)? {
        connection.requests += 1;
        match shared.handler.answer(&request, &mut connection)? {
            Next::Keep if !request.wants_close() => {}
            Next::Keep | Next::Close => return connection.stream.get_mut().goodbye(),
            Next::Cut => return Ok(()),
            Next::Reset => return reset(connection.socket()),
        }
    }
    Ok(())
}

fn reset(socket: &TcpStream) -> io::Result<()> {
    // A close that lingers for no time is a reset (socket(7), SO_LINGER).
    Ok(set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// Tells all threads of a server to end, and closes what they may be waiting on.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    state: Mutex<StopState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct StopState {
    stopped: bool,
    last: u64,
    sockets: HashMap<u64, TcpStream>,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, StopState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, stream: &TcpStream) -> Option<u64> {
        let mut state = self.lock();
        if state.stopped {
            return None;
        }
        state.last += 1;
        let number = state.last;
        state.sockets.insert(number, stream.try_clone().ok()?);
        Some(number)
    }

    fn forget(&self, number: u64) {
        self.lock().sockets.remove(&number);
    }

    fn now(&self) {
        let mut state = self.lock();
        state.stopped = true;
        for socket in state.sockets.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }

    /// Waits; an error when the server stops meanwhile.
    fn wait(&self, time: Duration) -> io::Result<()> {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), time, |state| !state.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        if state.stopped { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<Stream>,
    number: u64,
    requests: u64,
    stop: Arc<Stop>,
}

impl Connection {
    /// Which connection of the server this is; the first is 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Which request of the connection is being answered; the first is 1.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether the bytes are encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.stream.get_ref(), Stream::Tls(_))
    }

    /// The body of the request; the client is told to go on when it asks whether it may.
    pub(crate) fn body(&mut self, request: &Request) -> io::Result<Body<&mut impl BufRead>> {
        if request.headers.get("expect").is_some() {
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(Body::new(&mut self.stream, request.framing()))
    }

    /// Waits; an error when the server stops meanwhile.
    pub(crate) fn wait(&self, time: Duration) -> io::Result<()> {
        self.stop.wait(time)
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Sends a whole answer with its length, after reading what is left of the request.
    pub(crate) fn reply(
        &mut self,
        request: &Request,
        status: u16,
        headers: &Headers,
        body: &[u8],
    ) -> io::Result<Next> {
        let mut rest = self.body(request)?;
        io::copy(&mut rest, &mut io::sink())?;
        let mut headers = headers.clone();
        headers.set("Content-Length", &body.len().to_string());
        let mut answer = format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes();
        headers.write(&mut answer);
        if request.method != "HEAD" {
            answer.extend_from_slice(body);
        }
        self.send(&answer)?;
        Ok(Next::Keep)
    }

    /// Waits until the client closes the connection or sends anything, or the time is over.
    pub(crate) fn wait_for_client(&self, time: Duration) -> io::Result<()> {
        let socket = self.socket();
        let end = Instant::now() + time;
        socket.set_read_timeout(Some(time.max(Duration::from_millis(1))))?;
        // With TLS the bytes mean nothing here, but that they came does: nobody sends a request
        // while an answer is under way, so they are a goodbye.
        let gone = socket.peek(&mut [0]).is_ok();
        socket.set_read_timeout(None)?;
        if gone || Instant::now() >= end { Ok(()) } else { self.wait(Duration::ZERO) }
    }

    fn socket(&self) -> &TcpStream {
        match self.stream.get_ref() {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        }
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    fn goodbye(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
