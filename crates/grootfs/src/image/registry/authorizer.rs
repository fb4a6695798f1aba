//! Proving who we are to one registry for one repository: nothing, basic, or a bearer token.
//!
//! Nothing is asked beforehand. The first refusal says how to log in; what is then learned serves
//! all further requests of all threads, and is renewed when it ends.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use ureq::http::StatusCode;

use super::super::network::retry::Whole;
use super::super::network::{Address, Network, Request, Response};
use super::super::secret::Secret;
use super::challenge::{self, Challenge};
use super::error::Error;
use super::login::{Login, Saved};

/// Longest answer of a token server.
const LARGEST_TOKEN: u64 = 1 << 20;

/// A token that says nothing about its end is good for this long (Docker's token specification).
const SHORTEST_LIFE: u64 = 60;

/// How long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(5);

/// Holds what proves who we are.
#[derive(Debug)]
pub struct Authorizer {
    repository: String,
    login: Login,
    current: Mutex<Option<Proof>>,
}

#[derive(Debug, Clone)]
struct Proof {
    header: Secret,
    until: Option<Instant>,
}

impl Authorizer {
    /// Nothing is known yet; nothing is read yet.
    pub fn new(repository: &str, login: Login) -> Self {
        Self { repository: repository.to_owned(), login, current: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Proof>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes into the `Authorization` header, as far as it is known and still good.
    pub fn header(&self) -> Option<Secret> {
        let current = self.lock();
        let good = |proof: &&Proof| proof.until.is_none_or(|until| Instant::now() < until);
        current.as_ref().filter(good).map(|proof| proof.header.clone())
    }

    /// Whether what was shown is a name and a password, and no token.
    pub fn shows_password(used: Option<&Secret>) -> bool {
        used.is_some_and(|used| used.expose().starts_with("Basic "))
    }

    /// Answers a refusal; `used` is what was refused. `None` when there is nothing better to show,
    /// or when it is not `server` that refuses, but one to which it has sent us on: who we are is
    /// nothing that such a one may ask.
    ///
    /// Only one thread logs in; the others wait for it and use what it got.
    pub fn renew(
        &self,
        network: &Network,
        server: &Address,
        refusal: &Response,
        used: Option<&Secret>,
    ) -> Result<Option<Secret>, Error> {
        if !refusal.address.same_origin(server) {
            return Ok(None);
        }
        let mut current = self.lock();
        if let Some(proof) = &*current
            && Some(&proof.header) != used
            && proof.until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(Some(proof.header.clone()));
        }
        let challenges = challenge::of(&refusal.headers);
        let find = |scheme| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let proof = if let Some(bearer) = find("bearer") {
            self.token(network, &refusal.address, bearer)?
        } else if find("basic").is_some() {
            match self.login.saved(network)? {
                // The same again would be refused again.
                Some(Saved::Password { user, password }) if used.is_none() => {
                    Proof { header: basic(&user, &password), until: None }
                }
                _ => return Ok(None),
            }
        } else {
            return Ok(None);
        };
        *current = Some(proof.clone());
        Ok(Some(proof.header))
    }

    /// Fetches a token.
    fn token(
        &self,
        network: &Network,
        registry: &Address,
        challenge: &Challenge,
    ) -> Result<Proof, Error> {
        let realm = challenge.get("realm").unwrap_or_default();
        let realm = registry.join(realm).map_err(|why| Error::Token(format!("realm {why}")))?;
        let saved = self.login.saved(network)?;
        let plain = !realm.is_https() && registry.is_https();
        if saved.is_some() && plain {
            let why = format!("{realm} is not encrypted, so no password is sent there");
            return Err(Error::Token(why));
        }
        let scope = challenge
            .get("scope")
            .map_or_else(|| format!("repository:{}:pull", self.repository), ToOwned::to_owned);
        let service = challenge.get("service").unwrap_or_default();
        let response = match &saved {
            Some(Saved::IdentityToken(token)) => {
                let form = Secret::new(format!(
                    "grant_type=refresh_token&client_id=grootfs&service={}&scope={}&refresh_token={}",
                    encode(service),
                    encode(&scope),
                    encode(token.expose())
                ));
                let request = Request {
                    address: &realm,
                    headers: &[],
                    authorization: None,
                    form: Some(&form),
                };
                network.whole(LARGEST_TOKEN, || network.ask(&request))?
            }
            _ => {
                let separator = if realm.uri().query().is_some() { '&' } else { '?' };
                let query = format!("service={}&scope={}", encode(service), encode(&scope));
                let address = Address::parse(&format!("{}{separator}{query}", realm.uri()))
                    .map_err(Error::Token)?;
                let header = match &saved {
                    Some(Saved::Password { user, password }) => Some(basic(user, password)),
                    _ => None,
                };
                let authorization = header.as_ref();
                let request =
                    Request { address: &address, headers: &[], authorization, form: None };
                network.whole(LARGEST_TOKEN, || network.ask(&request))?
            }
        };
        read_token(response, Instant::now())
    }
}

fn read_token(response: Whole, now: Instant) -> Result<Proof, Error> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let (status, address) = (response.status, response.address);
    if status == StatusCode::UNAUTHORIZED {
        return Err(Error::Login(address));
    }
    if !status.is_success() {
        let why = format!("unexpected http code: {}, URL: {address}", status.as_u16());
        return Err(Error::Token(why));
    }
    let broken = || Error::Token(format!("the answer of {address} holds no token"));
    let answer: Answer = serde_json::from_slice(&response.bytes).map_err(|_| broken())?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
    let is_printable = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
    let token = token.filter(|token| !token.is_empty()).filter(is_printable).ok_or_else(broken)?;
    let life = Duration::from_secs(answer.expires_in.unwrap_or(0).max(SHORTEST_LIFE));
    Ok(Proof {
        header: Secret::new(format!("Bearer {token}")),
        until: now.checked_add(life - MARGIN.min(life)),
    })
}

fn basic(user: &str, password: &Secret) -> Secret {
    let pair = format!("{user}:{}", password.expose());
    Secret::new(format!("Basic {}", BASE64.encode(pair)))
}

/// Percent-encodes everything but letters, digits and `-._~` (RFC 3986 section 2.3).
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_for_urls() {
        assert_eq!(encode("repository:a/b:pull"), "repository%3Aa%2Fb%3Apull");
        assert_eq!(encode("a b&c=ü"), "a%20b%26c%3D%C3%BC");
        assert_eq!(basic("u", &Secret::new("p")).expose(), "Basic dTpw");
    }
}
