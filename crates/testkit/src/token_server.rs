//! A token server whose tokens `docker-registry` verifies.
//!
//! What it speaks is the registry project's token authentication; what a token must look like is
//! told by `registry/auth/token` of docker-registry 2.8: a JWT signed with ES256, whose header
//! carries the signer's certificate (`x5c`).

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DnType, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::http::message::{Headers, Request};
use crate::http::server::{Connection, Handler, Next, Server};

/// The name that the registry calls itself by.
pub(crate) const SERVICE: &str = "grootfs test registry";

/// The name that the token server calls itself by.
pub(crate) const ISSUER: &str = "grootfs test token server";

/// How long docker-registry 2.8 takes a token after its end (`Leeway` of its token package).
const LEEWAY: Duration = Duration::from_secs(60);

/// How long a token is good when nothing else is said.
const VALID: Duration = Duration::from_secs(300);

/// One request for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Path and query.
    pub target: String,
    /// All `scope` parameters.
    pub scopes: Vec<String>,
    /// The `service` parameter.
    pub service: Option<String>,
    /// The user who showed a password, right or wrong.
    pub user: Option<String>,
    /// The status of the answer.
    pub status: u16,
}

/// How a [`TokenServer`] is to work.
#[derive(Debug)]
pub struct TokenServerSetup<'a> {
    certificates: Option<&'a Certificates>,
    user: String,
    password: String,
    anonymous_pull: bool,
}

impl Default for TokenServerSetup<'_> {
    fn default() -> Self {
        Self {
            certificates: None,
            user: "user".into(),
            password: "secret".into(),
            anonymous_pull: false,
        }
    }
}

impl<'a> TokenServerSetup<'a> {
    /// Speaks TLS.
    #[must_use]
    pub fn tls(mut self, certificates: &'a Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Knows this user in the place of `user` with password `secret`.
    #[must_use]
    pub fn user(mut self, user: &str, password: &str) -> Self {
        user.clone_into(&mut self.user);
        password.clone_into(&mut self.password);
        self
    }

    /// Gives tokens for pulling to everybody, as public registries do.
    #[must_use]
    pub fn anonymous_pull(mut self) -> Self {
        self.anonymous_pull = true;
        self
    }

    /// Starts the server.
    pub fn start(self) -> TokenServer {
        let directory = tempfile::tempdir().expect("a directory for the token server");
        let signer = Signer::generate();
        fs::write(directory.path().join("signer.pem"), &signer.pem).expect("a certificate file");
        let shared = Arc::new(Shared {
            user: self.user,
            password: self.password,
            anonymous_pull: self.anonymous_pull,
            signer,
            state: Mutex::new(State::default()),
        });
        let tls = self.certificates.map(|certificates| certificates.server_config(false));
        let handler: Arc<dyn Handler> = Arc::<Shared>::clone(&shared);
        TokenServer { server: Server::start(tls, handler), shared, directory }
    }
}

/// A running token server.
#[derive(Debug)]
pub struct TokenServer {
    server: Server,
    shared: Arc<Shared>,
    directory: TempDir,
}

impl TokenServer {
    /// Says first how a token server is to work, then starts it.
    pub fn setup<'a>() -> TokenServerSetup<'a> {
        TokenServerSetup::default()
    }

    /// Starts one that speaks plain HTTP and knows `user` with the password `secret`.
    pub fn start() -> Self {
        Self::setup().start()
    }

    /// The URL that a registry names as the realm.
    pub fn realm(&self) -> String {
        format!("{}/token", self.server.url())
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// User and password, with a colon between them.
    pub fn credentials(&self) -> String {
        format!("{}:{}", self.shared.user, self.shared.password)
    }

    /// The certificate of the signer, for the registry.
    pub(crate) fn signer(&self) -> PathBuf {
        self.directory.path().join("signer.pem")
    }

    /// What later answers say in `expires_in`; with `None` they do not say it.
    pub fn say_expires_in(&self, seconds: Option<u64>) {
        self.shared.state().expires_in = seconds;
    }

    /// How long the registry really takes later tokens; whole seconds.
    pub fn valid_for(&self, time: Duration) {
        self.shared.state().valid = time;
    }

    /// Later answers name the token only `token`, only `access_token`, or (as at the start) both.
    pub fn name_token(&self, names: &[&'static str]) {
        self.shared.state().names = names.to_vec();
    }

    /// The next so many requests get this status.
    pub fn fail(&self, status: u16, times: u64) {
        self.shared.state().failures = (status, times);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.shared.state().requests.clone()
    }
}

#[derive(Debug)]
struct Shared {
    user: String,
    password: String,
    anonymous_pull: bool,
    signer: Signer,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    expires_in: Option<u64>,
    valid: Duration,
    names: Vec<&'static str>,
    failures: (u16, u64),
    requests: Vec<TokenRequest>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            expires_in: Some(VALID.as_secs()),
            valid: VALID,
            names: vec!["token", "access_token"],
            failures: (500, 0),
            requests: Vec::new(),
        }
    }
}

/// Who asks.
enum Caller {
    User,
    Anonymous,
    Wrong,
}

impl Handler for Shared {
    fn answer(&self, request: &Request, to: &mut Connection) -> io::Result<Next> {
        let (user, caller) = self.caller(request);
        let scopes: Vec<String> = request.queries("scope").collect();
        let (status, body) = self.decide(request, &caller, &scopes);
        self.state().requests.push(TokenRequest {
            target: request.target.clone(),
            scopes,
            service: request.query("service"),
            user,
            status,
        });
        let headers = Headers::from([("Content-Type", "application/json")]);
        to.reply(request, status, &headers, body.to_string().as_bytes())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn caller(&self, request: &Request) -> (Option<String>, Caller) {
        let Some(field) = request.headers.get("authorization") else {
            return (None, Caller::Anonymous);
        };
        let plain = field.strip_prefix("Basic ").and_then(|text| BASE64_STANDARD.decode(text).ok());
        let plain = plain.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let right = plain == format!("{}:{}", self.user, self.password);
        let user = plain.split(':').next().map(str::to_owned);
        (user, if right { Caller::User } else { Caller::Wrong })
    }

    fn decide(&self, request: &Request, caller: &Caller, scopes: &[String]) -> (u16, Value) {
        let mut state = self.state();
        let error = |status, text: &str| {
            (status, json!({"errors": [{"code": "UNAUTHORIZED", "message": text}]}))
        };
        if state.failures.1 > 0 {
            state.failures.1 -= 1;
            return error(state.failures.0, "made to fail");
        }
        if request.path() != "/token" || request.method != "GET" {
            return error(404, "no such page");
        }
        if request.query("service").as_deref() != Some(SERVICE) {
            return error(400, "another service");
        }
        let allowed: &[&str] = match caller {
            Caller::Wrong => return error(401, "wrong user or password"),
            Caller::User => &["pull", "push", "delete", "*"],
            Caller::Anonymous if self.anonymous_pull => &["pull"],
            Caller::Anonymous => &[],
        };
        let access: Vec<Value> = scopes
            .iter()
            .flat_map(|all| all.split(' '))
            .filter_map(|one| grant(one, allowed))
            .collect();
        let token = self.signer.token(&self.user, &access, state.valid, state.requests.len());
        let mut answer = json!({});
        for name in &state.names {
            answer[*name] = json!(token);
        }
        if let Some(seconds) = state.expires_in {
            answer["expires_in"] = json!(seconds);
        }
        (200, answer)
    }
}

/// `repository:library/app:pull,push` as the registry reads it in a token.
fn grant(scope: &str, allowed: &[&str]) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions: Vec<&str> = actions.split(',').filter(|one| allowed.contains(one)).collect();
    Some(json!({"type": kind, "name": name, "actions": actions}))
}

#[derive(Debug)]
struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    pem: String,
    der: Vec<u8>,
}

impl Signer {
    fn generate() -> Self {
        let pair = KeyPair::generate().expect("a key pair");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, ISSUER);
        let certificate = params.self_signed(&pair).expect("a self-signed certificate");
        let random = SystemRandom::new();
        let key = pair.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random);
        let key = key.expect("the key that was just made");
        Self { key, random, pem: certificate.pem(), der: certificate.der().to_vec() }
    }

    fn token(&self, user: &str, access: &[Value], valid: Duration, number: usize) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let header = json!({
            "typ": "JWT", "alg": "ES256", "x5c": [BASE64_STANDARD.encode(&self.der)],
        });
        let claims = json!({
            "iss": ISSUER, "sub": user, "aud": SERVICE, "access": access,
            "jti": format!("{number}"), "iat": now, "nbf": now - 600,
            "exp": now + valid.as_secs() - LEEWAY.as_secs(),
        });
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(&self.random, signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}
