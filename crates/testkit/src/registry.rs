//! Debian's `docker-registry` on a loopback port of its own.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::daemon::Daemon;
pub use crate::push::Format;
use crate::token_server::{ISSUER, SERVICE, TokenServer};

/// What bcrypt costs at least; a test does not need more.
const BCRYPT_COST: u32 = 4;

/// How a [`Registry`] is to work. Removing blobs and manifests is always allowed.
#[derive(Debug, Default)]
pub struct RegistrySetup<'a> {
    tls: Option<(&'a Certificates, bool)>,
    login: Login<'a>,
    mirror: Option<Origin<'a>>,
}

#[derive(Debug, Default)]
enum Login<'a> {
    #[default]
    None,
    Basic(&'a str, &'a str),
    Token(&'a TokenServer),
}

#[derive(Debug)]
struct Origin<'a> {
    url: String,
    credentials: Option<String>,
    trust: Option<&'a Certificates>,
}

impl<'a> RegistrySetup<'a> {
    /// Speaks TLS with the server's certificate of this authority.
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

    /// Wants a user and a password on every request.
    #[must_use]
    pub fn basic_login(mut self, user: &'a str, password: &'a str) -> Self {
        self.login = Login::Basic(user, password);
        self
    }

    /// Wants tokens of this server.
    #[must_use]
    pub fn token_login(mut self, server: &'a TokenServer) -> Self {
        self.login = Login::Token(server);
        self
    }

    /// Passes on what another registry has, and keeps it; nothing can be pushed here.
    ///
    /// The URL may be that of a proxy in front of the other one. For a moment after its first
    /// answer for a blob, docker-registry 2.8 may answer 500 for it: it reads its own half-written
    /// files. A client that does not give up has to live with that.
    #[must_use]
    pub fn mirror_of(mut self, url: &str) -> Self {
        self.mirror = Some(Origin { url: url.to_owned(), credentials: None, trust: None });
        self
    }

    /// Passes on what another registry of ours has, with its login and its authority.
    ///
    /// docker-registry 2.8 shows its origin tokens only: one with a basic login it cannot mirror.
    #[must_use]
    pub fn mirror_of_registry(
        mut self,
        origin: &Registry,
        trust: Option<&'a Certificates>,
    ) -> Self {
        let credentials = origin.access.credentials.clone();
        self.mirror = Some(Origin { url: origin.url(), credentials, trust });
        self
    }

    /// Starts the registry and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it cannot be started, with its log or the package to install.
    pub fn start(self) -> Registry {
        let directory = tempfile::tempdir().expect("a directory for the registry");
        let config = directory.path().join("config.yml");
        fs::write(&config, self.configuration(directory.path())).expect("the config file");
        let config = config.to_str().expect("a temporary path in UTF-8");
        let trust = self.mirror.as_ref().and_then(|origin| origin.trust).map(Certificates::ca);
        let trust = trust.as_ref().map(|ca| ca.to_str().expect("a temporary path in UTF-8"));
        let environment: Vec<(&str, &str)> =
            trust.map(|ca| ("SSL_CERT_FILE", ca)).into_iter().collect();
        let arguments = ["serve", config];
        let daemon = Daemon::start("docker-registry", "docker-registry", &arguments, &environment);
        let port = daemon.wait_for(listening_port).unwrap_or_else(|error| panic!("{error}"));
        let access = Access {
            tls: self.tls.is_some(),
            certificates: self.tls.map(|(certificates, _)| certificates.client_directory()),
            credentials: match self.login {
                Login::None => None,
                Login::Basic(user, password) => Some(format!("{user}:{password}")),
                Login::Token(server) => Some(server.credentials()),
            },
        };
        Registry { daemon, port, access, directory }
    }

    /// The program takes a free port itself and says which, so no two tests can race for one.
    fn configuration(&self, directory: &Path) -> String {
        let mut text = format!(
            "version: 0.1\n\
             log: {{level: info, formatter: text}}\n\
             compatibility: {{schema1: {{enabled: true}}}}\n\
             storage:\n\
             \x20 filesystem: {{rootdirectory: {}}}\n\
             \x20 delete: {{enabled: true}}\n\
             http:\n\
             \x20 addr: 127.0.0.1:0\n\
             \x20 relativeurls: true\n\
             \x20 secret: of this test\n",
            storage(directory).display()
        );
        self.write_tls(&mut text).expect("a string takes everything");
        self.write_login(&mut text, directory).expect("a string takes everything");
        if let Some(origin) = &self.mirror {
            text.push_str(&format!("proxy:\n  remoteurl: {}\n", origin.url));
            let credentials = origin.credentials.as_deref().and_then(|both| both.split_once(':'));
            if let Some((user, password)) = credentials {
                text.push_str(&format!("  username: {user}\n  password: {password}\n"));
            }
        }
        text
    }

    fn write_tls(&self, text: &mut String) -> std::fmt::Result {
        let Some((certificates, demand_client)) = self.tls else { return Ok(()) };
        writeln!(text, "  tls:")?;
        writeln!(text, "    certificate: {}", certificates.server_certificate().display())?;
        writeln!(text, "    key: {}", certificates.server_key().display())?;
        if demand_client {
            writeln!(text, "    clientcas: [{}]", certificates.ca().display())?;
        }
        Ok(())
    }

    fn write_login(&self, text: &mut String, directory: &Path) -> std::fmt::Result {
        match self.login {
            Login::None => Ok(()),
            Login::Basic(user, password) => {
                let hash = bcrypt::hash(password, BCRYPT_COST).expect("a password of some bytes");
                let file = directory.join("htpasswd");
                fs::write(&file, format!("{user}:{hash}\n")).expect("the password file");
                writeln!(text, "auth:\n  htpasswd:\n    realm: test\n    path: {}", file.display())
            }
            Login::Token(server) => {
                writeln!(text, "auth:\n  token:\n    realm: {}", server.realm())?;
                writeln!(text, "    service: {SERVICE}\n    issuer: {ISSUER}")?;
                writeln!(text, "    rootcertbundle: {}", server.signer().display())
            }
        }
    }
}

/// What a client needs to talk to the registry.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) tls: bool,
    pub(crate) certificates: Option<PathBuf>,
    /// User and password, with a colon between them.
    pub(crate) credentials: Option<String>,
}

/// A running registry. Dropping it stops the program and removes its storage.
#[derive(Debug)]
pub struct Registry {
    daemon: Daemon,
    port: u16,
    pub(crate) access: Access,
    // After the daemon: fields are dropped in order, and the storage goes last.
    directory: TempDir,
}

impl Registry {
    /// Says first how a registry is to work, then starts it.
    pub fn setup<'a>() -> RegistrySetup<'a> {
        RegistrySetup::default()
    }

    /// Starts a registry that speaks plain HTTP and knows no login.
    ///
    /// # Panics
    ///
    /// When it cannot be started, with its log or the package to install.
    pub fn plain() -> Self {
        Self::setup().start()
    }

    /// The host and port to put in front of a repository, such as `127.0.0.1:40123`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL without a path.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.access.tls { "https" } else { "http" }, self.host())
    }

    /// The process id of the program.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Everything that the program has printed so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Where the bytes of a blob lie, to look at or to damage.
    pub fn blob_file(&self, digest: &str) -> PathBuf {
        let (algorithm, hex) = digest.split_once(':').expect("a digest with its algorithm");
        let blobs = storage(self.directory.path()).join("docker/registry/v2/blobs");
        blobs.join(algorithm).join(&hex[..2]).join(hex).join("data")
    }
}

fn storage(directory: &Path) -> PathBuf {
    directory.join("storage")
}

fn listening_port(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("listening on 127.0.0.1:")?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
    rest[..digits].parse().ok()
}
