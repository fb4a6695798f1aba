//! Why a registry did not give what was asked for.

use serde::Deserialize;
use ureq::http::StatusCode;

use super::super::network::{self, Address};

/// A failed question to a registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// An answer that is a refusal.
    #[error("{what}: {errors} ({address}: status {}{})", status.as_u16(), times(*tries))]
    Refused {
        /// What was being done.
        what: String,
        /// Where.
        address: Address,
        /// With which status.
        status: StatusCode,
        /// What the registry says.
        errors: Errors,
        /// How often it was tried.
        tries: u32,
    },
    /// An answer without a body that explains it.
    #[error("{what}: {address}: Invalid status code returned: {}{}", status.as_u16(), times(*tries))]
    Status {
        /// What was being done.
        what: String,
        /// Where.
        address: Address,
        /// The status.
        status: StatusCode,
        /// How often it was tried.
        tries: u32,
    },
    /// A login that was not taken.
    #[error("unable to retrieve auth token: invalid username/password ({0})")]
    Login(Address),
    /// A name and a password that the registry itself did not take.
    #[error("{what}: authentication required ({address} did not take the login)")]
    Password {
        /// What was being done.
        what: String,
        /// Where.
        address: Address,
    },
    /// A token server that does not answer as it should.
    #[error("unable to retrieve auth token: {0}")]
    Token(String),
    /// Saved credentials that cannot be used.
    #[error("reading credentials for {host}: {why}")]
    Credentials {
        /// For which registry.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// An answer that cannot be what was asked for.
    #[error("{what}: {why}")]
    Nonsense {
        /// What was asked for.
        what: String,
        /// What is wrong.
        why: String,
    },
}

fn times(tries: u32) -> String {
    if tries > 1 { format!(" (tried {tries} times)") } else { String::new() }
}

/// What a registry says about a refusal (OCI distribution specification, error codes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(Vec<One>);

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct One {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Most of a registry's words that are repeated.
const LONGEST: usize = 300;

impl Errors {
    /// Reads the body of a refusal; `None` when it explains nothing.
    pub fn parse(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            errors: Vec<One>,
        }
        let body: Body = serde_json::from_slice(body).ok()?;
        (!body.errors.is_empty()).then(|| Self(body.errors.into_iter().take(10).collect()))
    }

    fn has(&self, code: &str) -> bool {
        self.0.iter().any(|one| one.code == code)
    }
}

/// As the original showed them: one as `<code in words>: <message>`, several below each other.
impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |one: &One| {
            let code = one.code.replace('_', " ").to_lowercase();
            let text = match one.message.as_str() {
                "" => code,
                message => format!("{code}: {message}"),
            };
            text.chars().take(LONGEST).flat_map(char::escape_debug).collect::<String>()
        };
        match self.0.as_slice() {
            [one] => f.write_str(&show(one)),
            many => {
                f.write_str("errors:")?;
                many.iter().try_for_each(|one| write!(f, "\n{}", show(one)))
            }
        }
    }
}

impl Error {
    /// Whether another server may do better: everything but a request that makes no sense anywhere.
    pub fn is_of_this_server(&self) -> bool {
        !matches!(self, Self::Network(network::Error::Interrupted))
    }

    /// Says it in the words that people know (contract 1.6, humanising). `argument` has no
    /// secrets in it.
    pub fn humanised(&self, argument: &str) -> Option<String> {
        match self {
            Self::Network(network::Error::UnknownAuthority { address, why }) => Some(format!(
                "This registry is insecure. To pull images from this registry, please use the \
                 --insecure-registry option. ({}: x509: certificate signed by unknown authority: \
                 {why}; a certificate of its own authority goes into /etc/docker/certs.d/{}/ca.crt)",
                address.host(),
                address.host()
            )),
            Self::Refused { status, errors, address, .. }
                if *status == StatusCode::UNAUTHORIZED || errors.has("UNAUTHORIZED") =>
            {
                Some(Self::no_permission(argument, address))
            }
            Self::Status { status, address, .. } if *status == StatusCode::UNAUTHORIZED => {
                Some(Self::no_permission(argument, address))
            }
            Self::Password { address, .. } => Some(format!(
                "{argument} does not exist or you do not have permissions to see it. \
                 (authorization failed: username and password are invalid, {} did not take them)",
                address.host()
            )),
            Self::Login(address) => Some(format!(
                "authorization failed: username and password are invalid ({} did not take them)",
                address.host()
            )),
            Self::Refused { what, errors, address, tries, .. } => {
                Some(format!("{errors} ({what}, asked of {}{})", address.host(), times(*tries)))
            }
            _ => None,
        }
    }

    fn no_permission(argument: &str, address: &Address) -> String {
        format!(
            "{argument} does not exist or you do not have permissions to see it. ({} asks for a \
             login: --username and --password, or an entry in Docker's config.json)",
            address.host()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_what_the_registry_says() {
        let body =
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        let errors = Errors::parse(body).unwrap();
        assert_eq!(errors.to_string(), "manifest unknown: manifest unknown");
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b"},{"code":"B_C"}]}"#;
        assert_eq!(Errors::parse(body).unwrap().to_string(), "errors:\ndenied: no\\u{1b}\nb c");
        for none in [&b""[..], b"<html>", b"{}", br#"{"errors":[]}"#] {
            assert!(Errors::parse(none).is_none());
        }
    }
}
