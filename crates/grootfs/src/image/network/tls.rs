//! Whom to trust and how to prove who we are: system roots, certificate directories, client pairs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::error::{AtPath, PathError};

/// Largest certificate or key file that is read.
const LARGEST: u64 = 1 << 20;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A file holds something else.
    #[error("{}: {why}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What is trusted on the way to one server.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Whether any certificate is taken.
    pub anything: bool,
    /// Certificate authorities beside those of the system.
    authorities: Vec<Certificate<'static>>,
    /// What we show when the server asks.
    client: Option<(Vec<Certificate<'static>>, Arc<PrivateKey<'static>>)>,
}

impl Trust {
    /// Adds what a directory in Docker's layout holds: `*.crt` are authorities, `*.cert` with
    /// `*.key` of the same name our certificate. One that is not there holds nothing.
    pub fn add_directory(&mut self, directory: &Path) -> Result<(), Error> {
        let mut names = Vec::new();
        match fs::read_dir(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => {
                for entry in entries.at("open", directory)? {
                    names.push(entry.at("readdir", directory)?.path());
                }
            }
        }
        names.sort();
        let has = |path: &Path| names.iter().any(|name| name == path);
        for path in &names {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => self.add_authorities(path)?,
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !has(&key) {
                        return Err(unpaired(path, "key"));
                    }
                    self.set_client(path, &key)?;
                }
                Some("key") if !has(&path.with_extension("cert")) => {
                    return Err(unpaired(path, "cert"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds the authorities in a PEM file.
    pub fn add_authorities(&mut self, path: &Path) -> Result<(), Error> {
        let found = certificates(path)?;
        self.authorities.extend(found);
        Ok(())
    }

    /// Sets the certificate and the key that prove who we are.
    pub fn set_client(&mut self, certificate: &Path, key: &Path) -> Result<(), Error> {
        let chain = certificates(certificate)?;
        let pem = read(key)?;
        let none =
            || Error::File { path: key.to_owned(), why: "no private key in PEM format".to_owned() };
        let private = PrivateKey::from_pem(&pem).map_err(|_| none())?;
        let checked = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| none())?;
        check_pair(&chain, checked).map_err(|why| Error::File {
            path: certificate.to_owned(),
            why: format!("it cannot be used with {}: {why}", key.display()),
        })?;
        self.client = Some((chain, Arc::new(private)));
        Ok(())
    }

    /// The client's setting.
    pub fn config(&self) -> TlsConfig {
        let mut roots = Vec::new();
        if !self.anything {
            roots.extend_from_slice(system_roots());
            roots.extend(self.authorities.iter().cloned());
        }
        let client = self
            .client
            .as_ref()
            .map(|(chain, key)| ClientCert::new_with_certs(chain, PrivateKey::to_owned(key)));
        TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .client_cert(client)
            .disable_verification(self.anything)
            .build()
    }
}

fn unpaired(path: &Path, missing: &str) -> Error {
    let why = format!("there is no `.{missing}` file of the same name beside it");
    Error::File { path: path.to_owned(), why }
}

/// The authorities that this machine trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured.
fn system_roots() -> &'static [Certificate<'static>] {
    static ROOTS: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs().certs;
        found.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let length = fs::metadata(path).at("stat", path)?.len();
    if length > LARGEST {
        let why = format!("{length} bytes are too many for a certificate or key");
        return Err(Error::File { path: path.to_owned(), why });
    }
    Ok(fs::read(path).at("open", path)?)
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let none =
        || Error::File { path: path.to_owned(), why: "no certificate in PEM format".to_owned() };
    let mut found = Vec::new();
    for item in parse_pem(&read(path)?) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| none())? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

/// Asks the TLS library whether it would take the pair, because the client would panic on one that
/// it does not take.
fn check_pair(chain: &[Certificate<'static>], key: PrivateKeyDer<'static>) -> Result<(), String> {
    let chain = chain.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_auth_cert(chain, key)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let add = || Trust::default().add_directory(dir.path()).map_err(|error| error.to_string());
        assert!(Trust::default().add_directory(&dir.path().join("none")).is_ok());
        assert!(add().is_ok());
        fs::write(dir.path().join("notes.txt"), "x").unwrap();
        assert!(add().is_ok());
        fs::write(dir.path().join("a.key"), "x").unwrap();
        assert!(add().unwrap_err().contains("no `.cert` file of the same name"));
        fs::write(dir.path().join("a.cert"), "x").unwrap();
        assert!(add().unwrap_err().contains("a.cert: no certificate in PEM format"));
        fs::remove_file(dir.path().join("a.key")).unwrap();
        assert!(add().unwrap_err().contains("no `.key` file of the same name"));
        fs::remove_file(dir.path().join("a.cert")).unwrap();
        fs::write(dir.path().join("ca.crt"), "x").unwrap();
        assert!(add().unwrap_err().contains("ca.crt: no certificate"));
    }
}
