//! `tinyproxy` on a loopback port: the proxy that `HTTP_PROXY` and its like name.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use tempfile::TempDir;

use crate::daemon::Daemon;

/// How often somebody else may take the port between our looking and the program's binding.
const TRIES: u32 = 10;

/// A running proxy. Dropping it stops the program.
#[derive(Debug)]
pub struct HttpProxy {
    daemon: Daemon,
    port: u16,
    login: Option<(String, String)>,
    _directory: TempDir,
}

impl HttpProxy {
    /// Starts a proxy for everybody.
    ///
    /// # Panics
    ///
    /// When it cannot be started, with its log or the package to install.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a proxy that wants a user and a password.
    ///
    /// # Panics
    ///
    /// When it cannot be started, with its log or the package to install.
    pub fn with_login(user: &str, password: &str) -> Self {
        Self::start_with(Some((user.to_owned(), password.to_owned())))
    }

    fn start_with(login: Option<(String, String)>) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the proxy");
        let config = directory.path().join("tinyproxy.conf");
        let arguments = ["-d", "-c", config.to_str().expect("a temporary path in UTF-8")];
        let mut last = String::new();
        for _ in 0..TRIES {
            let port = free_port();
            let mut text = format!(
                "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nMaxClients 100\n\
                 LogLevel Info\n"
            );
            if let Some((user, password)) = &login {
                text.push_str(&format!("BasicAuth {user} {password}\n"));
            }
            fs::write(&config, text).expect("the proxy's config file");
            let daemon = Daemon::start("tinyproxy", "tinyproxy", &arguments, &[]);
            match daemon.wait_for(|log| log.contains("Accepting connections").then_some(())) {
                Ok(()) => return Self { daemon, port, login, _directory: directory },
                Err(error) => last = error,
            }
        }
        panic!("{last}");
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL for `HTTP_PROXY` or `HTTPS_PROXY`, with the login in it when there is one.
    pub fn url(&self) -> String {
        match &self.login {
            Some((user, password)) => format!("http://{user}:{password}@{}", self.host()),
            None => format!("http://{}", self.host()),
        }
    }

    /// What clients asked for, in order: `CONNECT host:port` or `GET http://host/path`.
    ///
    /// Requests without the right login are there too. The log comes through a pipe: what was just
    /// asked may be missing for a moment, see [`Self::wait_for_requests`].
    pub fn requests(&self) -> Vec<String> {
        requests(&self.daemon.log())
    }

    /// Waits until there are so many requests; gives all.
    ///
    /// # Panics
    ///
    /// After 20 seconds, with the log.
    pub fn wait_for_requests(&self, count: usize) -> Vec<String> {
        let enough = |log: &str| Some(requests(log)).filter(|all| all.len() >= count);
        self.daemon.wait_for(enough).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The hosts to which the proxy made connections, in order, without their ports.
    pub fn connected(&self) -> Vec<String> {
        connected(&self.daemon.log())
    }

    /// Waits until there are so many connections; gives the hosts of all.
    ///
    /// # Panics
    ///
    /// After 20 seconds, with the log.
    pub fn wait_for_connected(&self, count: usize) -> Vec<String> {
        let enough = |log: &str| Some(connected(log)).filter(|all| all.len() >= count);
        self.daemon.wait_for(enough).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Everything that the program has printed so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

fn requests(log: &str) -> Vec<String> {
    let asked = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once("Request (file descriptor ")?;
        let (_, request) = rest.split_once("): ")?;
        Some(request.rsplit_once(" HTTP/")?.0.to_owned())
    });
    asked.collect()
}

fn connected(log: &str) -> Vec<String> {
    let made = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once("Established connection to host \"")?;
        Some(rest.split('"').next()?.to_owned())
    });
    made.collect()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
    listener.local_addr().expect("a bound port").port()
}
