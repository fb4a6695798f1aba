//! Why an exchange failed, and whether trying again could help.

use std::error::Error as StdError;
use std::io;

use super::Address;
use super::tls;

/// A failed exchange.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A connection that could not be made or broke: the next one may do better.
    #[error("{address}: {why}")]
    Connection {
        /// Which server.
        address: Address,
        /// What happened.
        why: String,
    },
    /// A certificate of an authority that is not trusted.
    #[error("{address}: x509: certificate signed by unknown authority ({why})")]
    UnknownAuthority {
        /// Which server.
        address: Address,
        /// What the TLS library says.
        why: String,
    },
    /// Something else about TLS: a server without it, a name that does not match.
    #[error("{address}: TLS: {why}")]
    Tls {
        /// Which server.
        address: Address,
        /// What the TLS library says.
        why: String,
    },
    /// An answer that makes no sense or is not safe to follow.
    #[error("{address}: {why}")]
    Protocol {
        /// Which server.
        address: Address,
        /// What is wrong.
        why: String,
    },
    /// Certificates of ours.
    #[error(transparent)]
    Certificates(#[from] tls::Error),
    /// The program is to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// An answer that makes no sense.
    pub fn protocol(address: &Address, why: impl Into<String>) -> Self {
        Self::Protocol { address: address.clone(), why: why.into() }
    }

    /// Whether the same request may succeed when it is made again.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Connection { .. })
    }

    /// Sorts an error of the HTTP client.
    pub fn from_client(address: &Address, error: ureq::Error) -> Self {
        let address = address.clone();
        match error {
            ureq::Error::Io(error) => Self::from_io(address, &error),
            ureq::Error::Rustls(error) => Self::from_tls(address, &error),
            ureq::Error::Tls(why) => Self::Tls { address, why: why.to_owned() },
            ureq::Error::Timeout(which) => {
                let why = match which {
                    ureq::Timeout::Connect | ureq::Timeout::Resolve => "timed out connecting",
                    ureq::Timeout::PerCall | ureq::Timeout::Global => "took longer than allowed",
                    _ => "timed out waiting for an answer",
                };
                Self::Connection { address, why: why.to_owned() }
            }
            ureq::Error::HostNotFound => {
                let why = format!("no such host: {}", address.host_name());
                Self::Connection { address, why }
            }
            ureq::Error::ConnectionFailed => {
                Self::Connection { address, why: "the connection failed".to_owned() }
            }
            // A proxy that refuses us does not change its mind; one that cannot do it now may.
            ureq::Error::ConnectProxyFailed(why) if why.contains("responded 4") => {
                Self::Protocol { address, why: format!("the proxy says: {why}") }
            }
            ureq::Error::ConnectProxyFailed(why) => {
                Self::Connection { address, why: format!("the proxy says: {why}") }
            }
            ureq::Error::LargeResponseHeader(..) => {
                Self::Protocol { address, why: "an answer with too large headers".to_owned() }
            }
            other => Self::Protocol { address, why: other.to_string() },
        }
    }

    /// Sorts an error of reading a body.
    pub fn from_reading(address: &Address, error: io::Error) -> Self {
        // The client puts its own errors into those of a reader.
        match error.downcast::<ureq::Error>() {
            Ok(error) => Self::from_client(address, error),
            Err(error) => Self::from_io(address.clone(), &error),
        }
    }

    fn from_io(address: Address, error: &io::Error) -> Self {
        let mut inner: Option<&(dyn StdError + 'static)> =
            error.get_ref().map(|inner| inner as &(dyn StdError + 'static));
        while let Some(cause) = inner {
            if let Some(error) = cause.downcast_ref::<rustls::Error>() {
                return Self::from_tls(address, error);
            }
            inner = cause.source();
        }
        Self::Connection { address, why: crate::error::reason(error) }
    }

    fn from_tls(address: Address, error: &rustls::Error) -> Self {
        use rustls::CertificateError;
        let why = error.to_string();
        match error {
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Self::UnknownAuthority { address, why },
            // The library has a variant of its own for authorities that name themselves.
            rustls::Error::InvalidCertificate(CertificateError::Other(_))
                if why.contains("CaUsedAsEndEntity") =>
            {
                Self::UnknownAuthority { address, why }
            }
            rustls::Error::InvalidMessage(_) => {
                let host = address.host();
                let hint = format!("a server without TLS? then use --insecure-registry {host}");
                Self::Tls { why: format!("{why} ({hint})"), address }
            }
            _ => Self::Tls { address, why },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connections_may_do_better() {
        let address = Address::parse("https://h/v2/x?secret=1").unwrap();
        let reset = io::Error::from_raw_os_error(104);
        let error = Error::from_client(&address, ureq::Error::Io(reset));
        assert!(error.is_passing());
        assert_eq!(error.to_string(), "https://h/v2/x: connection reset by peer");
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = Error::from_reading(&address, io::Error::other(unknown));
        assert!(matches!(error, Error::UnknownAuthority { .. }) && !error.is_passing());
        let error = Error::from_client(&address, ureq::Error::LargeResponseHeader(9, 8));
        assert!(!error.is_passing());
        let wrapped = io::Error::other(ureq::Error::HostNotFound);
        assert_eq!(
            Error::from_reading(&address, wrapped).to_string(),
            "https://h/v2/x: no such host: h"
        );
    }
}
