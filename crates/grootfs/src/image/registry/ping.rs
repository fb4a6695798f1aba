//! Whether the servers of a registry answer at all, and whether they take the login that is known for them.

use std::collections::HashMap;

use super::super::network::{Address, Network, NetworkOptions, Request};
use super::super::reference::Reference;
use super::super::secret::Secret;
use super::authorizer::Authorizer;
use super::endpoint::{self, Endpoint, Mirrors};
use super::error::Error;
use super::login::{self, Login};

/// A repository to name where one has to be named; nothing is asked of it.
const NOBODYS: &str = "ping/ping";

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It lets everybody in.
    Open,
    /// Its token server gives everybody a token, for what everybody may see.
    Anonymous,
    /// It takes the login that is known.
    LoggedIn,
    /// It wants a login, and none is known.
    WantsLogin,
    /// It refuses the login that is known, and why.
    Refused(String),
    /// It is there, but answers something else.
    Status(u16),
    /// It cannot be asked, and why.
    Silent(String),
    /// The configuration does not say who is to be asked, and why.
    Unknown(String),
}

/// A name and a password, which are meant for the registry itself.
pub type Given = Option<(String, Secret)>;

/// Asks each server of a registry, `host[:port]`, for the address that all registries have.
pub fn ping(
    registry: &str,
    mirrors: &Mirrors,
    options: &NetworkOptions,
    given: &Given,
) -> Vec<(String, Answer)> {
    let unknown = |why: String| vec![(registry.to_owned(), Answer::Unknown(why))];
    let reference: Reference = match format!("{registry}/{NOBODYS}").parse() {
        Ok(reference) => reference,
        Err(_) => return unknown("it is no host[:port]".to_owned()),
    };
    let insecure = |host: &str| options.insecure.iter().any(|server| server == host);
    let endpoints = match endpoint::of(&reference, mirrors, insecure) {
        Ok(endpoints) => endpoints,
        Err(error) => return unknown(crate::error::chain(&error)),
    };
    let files = login::files(|name| std::env::var(name).ok());
    let login = |endpoint: &Endpoint| Login::at(endpoint, &reference, given.as_ref(), &files);
    endpoints.iter().map(|endpoint| ask(endpoint, options, &login(endpoint))).collect()
}

/// The address that was asked last, and its answer.
fn ask(endpoint: &Endpoint, options: &NetworkOptions, login: &Login) -> (String, Answer) {
    let trust: HashMap<_, _> =
        endpoint.trust.iter().map(|trust| (endpoint.host().to_owned(), trust.clone())).collect();
    let network = Network::new(options.clone(), trust);
    let told = |base: &str| one(&network, base, login).unwrap_or_else(Answer::Silent);
    let answer = told(&endpoint.base);
    match (&answer, &endpoint.fallback) {
        (Answer::Silent(_), Some(fallback)) => (fallback.clone(), told(fallback)),
        _ => (endpoint.base.clone(), answer),
    }
}

/// What one server says; an error when it does not answer.
fn one(network: &Network, base: &str, login: &Login) -> Result<Answer, String> {
    let address = Address::parse(&format!("{base}/"))?;
    let ask = |authorization: Option<&Secret>| {
        let request = Request { address: &address, headers: &[], authorization, form: None };
        network.exchange(&request).map_err(|error| crate::error::chain(&error))
    };
    let refusal = ask(None)?;
    match refusal.status.as_u16() {
        200..=299 => return Ok(Answer::Open),
        401 => {}
        status => return Ok(Answer::Status(status)),
    }
    let is_known = match login.saved(network) {
        Ok(saved) => saved.is_some(),
        Err(error) => return Ok(Answer::Refused(crate::error::chain(&error))),
    };
    let authorizer = Authorizer::new(NOBODYS, login.clone());
    let proof = match authorizer.renew(network, &address, &refusal, None) {
        Ok(Some(proof)) => proof,
        Ok(None) => return Ok(Answer::WantsLogin),
        Err(Error::Login(_)) if !is_known => return Ok(Answer::WantsLogin),
        Err(error) => return Ok(Answer::Refused(crate::error::chain(&error))),
    };
    Ok(match ask(Some(&proof))?.status.as_u16() {
        200..=299 if is_known => Answer::LoggedIn,
        200..=299 => Answer::Anonymous,
        401 | 403 if is_known => Answer::Refused("the name or the password is wrong".to_owned()),
        401 | 403 => Answer::WantsLogin,
        status => Answer::Status(status),
    })
}
