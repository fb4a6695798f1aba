//! Whether the servers of a registry answer at all.

use std::collections::HashMap;

use super::super::network::{Address, Network, NetworkOptions, Request};
use super::super::reference::Reference;
use super::endpoint::{self, Endpoint, Mirrors};

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It lets everybody in.
    Open,
    /// It wants a login.
    WantsLogin,
    /// It is there, but answers something else.
    Status(u16),
    /// It cannot be asked, and why.
    Silent(String),
}

/// Asks each server of a registry, `host[:port]`, for the address that all registries have.
pub fn ping(registry: &str, mirrors: &Mirrors, options: &NetworkOptions) -> Vec<(String, Answer)> {
    let silent = |why: String| vec![(registry.to_owned(), Answer::Silent(why))];
    // The repository does not matter: it is not asked for.
    let reference: Reference = match format!("{registry}/ping/ping").parse() {
        Ok(reference) => reference,
        Err(_) => return silent("it is no host[:port]".to_owned()),
    };
    let insecure = |host: &str| options.insecure.iter().any(|server| server == host);
    let endpoints = match endpoint::of(&reference, mirrors, insecure) {
        Ok(endpoints) => endpoints,
        Err(error) => return silent(crate::error::chain(&error)),
    };
    endpoints.iter().map(|endpoint| (endpoint.base.clone(), ask(endpoint, options))).collect()
}

fn ask(endpoint: &Endpoint, options: &NetworkOptions) -> Answer {
    let trust: HashMap<_, _> =
        endpoint.trust.iter().map(|trust| (endpoint.host().to_owned(), trust.clone())).collect();
    let network = Network::new(options.clone(), trust);
    let mut answer = Answer::Silent("it has no address".to_owned());
    for base in std::iter::once(&endpoint.base).chain(&endpoint.fallback) {
        answer = one(&network, base);
        if !matches!(answer, Answer::Silent(_)) {
            break;
        }
    }
    answer
}

fn one(network: &Network, base: &str) -> Answer {
    let address = match Address::parse(&format!("{base}/")) {
        Ok(address) => address,
        Err(why) => return Answer::Silent(why),
    };
    let request = Request { address: &address, headers: &[], authorization: None, form: None };
    match network.exchange(&request).map(|response| response.status.as_u16()) {
        Ok(200..=299) => Answer::Open,
        Ok(401) => Answer::WantsLogin,
        Ok(status) => Answer::Status(status),
        Err(error) => Answer::Silent(crate::error::chain(&error)),
    }
}
