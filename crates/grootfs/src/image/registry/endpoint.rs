//! Which servers answer for a registry: its mirrors, in order, and then itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::network::Address;
use super::super::network::tls::{self, Trust};
use super::super::reference::Reference;
use super::hosts;

/// One server.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where its API begins, with `/v2` or without by configuration; no slash at the end.
    pub base: String,
    /// The same without TLS, for a server that may be spoken to so.
    pub fallback: Option<String>,
    /// Whether it is the registry itself.
    pub is_origin: bool,
    /// Whether it may say which manifest a tag means.
    pub resolves: bool,
    /// Whether it hands out manifests by digest and blobs.
    pub pulls: bool,
    /// Its certificates, where they are configured apart.
    pub trust: Option<Trust>,
}

/// Mirrors as the configuration names them.
#[derive(Debug, Clone, Default)]
pub struct Mirrors {
    /// By registry, as it stands in references: URLs of mirrors in order.
    pub by_registry: BTreeMap<String, Vec<String>>,
    /// Directories in containerd's `certs.d` layout.
    pub directories: Vec<PathBuf>,
}

/// Why the servers of a registry are not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A mirror's URL.
    #[error("mirror of {registry}: {why}")]
    Mirror {
        /// Of which registry.
        registry: String,
        /// What is wrong.
        why: String,
    },
    /// A `hosts.toml`.
    #[error(transparent)]
    Hosts(#[from] hosts::Error),
    /// Certificates.
    #[error(transparent)]
    Certificates(#[from] tls::Error),
}

impl Endpoint {
    /// The registry itself.
    pub fn origin(reference: &Reference, insecure: bool) -> Self {
        let base = |scheme: &str| format!("{scheme}://{}/v2", reference.host());
        Self {
            base: base("https"),
            fallback: insecure.then(|| base("http")),
            is_origin: true,
            resolves: true,
            pulls: true,
            trust: None,
        }
    }

    fn mirror(url: &str) -> Result<Self, String> {
        let address = Address::parse(url)?;
        if address.uri().query().is_some() {
            return Err(format!("`{address}` has a query, which a mirror cannot have"));
        }
        let base = address.to_string();
        let base = base.trim_end_matches('/');
        let base = base.strip_suffix("/v2").unwrap_or(base);
        Ok(Self {
            base: format!("{base}/v2"),
            fallback: None,
            is_origin: false,
            resolves: true,
            pulls: true,
            trust: None,
        })
    }

    /// `host[:port]`.
    pub fn host(&self) -> &str {
        let rest = self.base.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }
}

/// All servers of a registry in the order in which they are asked.
///
/// The configuration's own mirrors come first, then those of the first directory that knows the
/// registry.
pub fn of(
    reference: &Reference,
    mirrors: &Mirrors,
    is_insecure: impl Fn(&str) -> bool,
) -> Result<Vec<Endpoint>, Error> {
    let registry = reference.domain();
    let mut endpoints = Vec::new();
    for url in mirrors.by_registry.get(registry).into_iter().flatten() {
        let failed = |why| Error::Mirror { registry: registry.to_owned(), why };
        endpoints.push(Endpoint::mirror(url).map_err(failed)?);
    }
    let mut origin = Endpoint::origin(reference, is_insecure(reference.host()));
    for directory in &mirrors.directories {
        if let Some(hosts) = hosts::read(directory, registry)? {
            endpoints.extend(hosts.mirrors);
            if let Some(server) = hosts.server {
                origin = server;
            }
            break;
        }
    }
    endpoints.push(origin);
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_first() {
        let reference: Reference = "busybox".parse().unwrap();
        let mut mirrors = Mirrors::default();
        let urls = ["http://127.0.0.1:5000", "https://m.example/prefix/"];
        let urls = urls.map(ToOwned::to_owned).to_vec();
        mirrors.by_registry.insert("docker.io".into(), urls);
        let bases = |mirrors: &Mirrors| -> Vec<String> {
            let endpoints = of(&reference, mirrors, |_| false).unwrap();
            endpoints.into_iter().map(|endpoint| endpoint.base).collect()
        };
        assert_eq!(
            bases(&mirrors),
            [
                "http://127.0.0.1:5000/v2",
                "https://m.example/prefix/v2",
                "https://registry-1.docker.io/v2"
            ]
        );
        assert_eq!(bases(&Mirrors::default()).len(), 1);
        mirrors.by_registry.insert("docker.io".into(), vec!["ftp://x".into()]);
        let error = of(&reference, &mirrors, |_| false).unwrap_err().to_string();
        assert!(error.starts_with("mirror of docker.io: `ftp://x`"), "{error}");
    }

    #[test]
    fn only_insecure_registries_do_without_tls() {
        let reference: Reference = "h:5000/a".parse().unwrap();
        let of = |insecure| of(&reference, &Mirrors::default(), |_| insecure).unwrap().remove(0);
        assert_eq!(of(false).fallback, None);
        assert_eq!(of(true).fallback.as_deref(), Some("http://h:5000/v2"));
        assert_eq!(of(true).host(), "h:5000");
    }
}
