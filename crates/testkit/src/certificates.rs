//! A certificate authority of one test, with certificates for a loopback server and a client.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;

/// What is wrong with the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It ended years ago.
    Expired,
    /// It is for `registry.example`, not for this machine.
    OtherHost,
}

/// Where the files that a client needs lie below the directory of all.
const CLIENT: &str = "certs.d";

/// PEM files of one authority. Dropping it removes them.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes an authority, a certificate for `127.0.0.1`, `[::1]` and `localhost`, and one for a
    /// client.
    pub fn generate() -> Self {
        Self::generate_with(None)
    }

    /// Makes the same with a server certificate that no client may accept.
    pub fn flawed(flaw: Flaw) -> Self {
        Self::generate_with(Some(flaw))
    }

    fn generate_with(flaw: Option<Flaw>) -> Self {
        let made = Self { directory: tempfile::tempdir().expect("a directory for certificates") };
        fs::create_dir(made.client_directory()).expect("a directory for the client's files");
        let authority = authority();
        made.write("certs.d/ca.crt", &authority.pem());
        let hosts: &[&str] = match flaw {
            Some(Flaw::OtherHost) => &["registry.example"],
            _ => &["127.0.0.1", "::1", "localhost"],
        };
        let mut server = params(hosts, "grootfs test server");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if flaw == Some(Flaw::Expired) {
            server.not_after = date_time_ymd(2001, 1, 1);
        }
        made.sign(&authority, &server, "server.crt", "server.key");
        let mut client = params(&[], "grootfs test client");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        made.sign(&authority, &client, "certs.d/client.cert", "certs.d/client.key");
        made
    }

    fn sign(
        &self,
        authority: &CertifiedIssuer<'_, KeyPair>,
        params: &CertificateParams,
        certificate: &str,
        key: &str,
    ) {
        let pair = KeyPair::generate().expect("a key pair");
        let signed = params.signed_by(&pair, authority).expect("a signed certificate");
        self.write(certificate, &signed.pem());
        self.write(key, &pair.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).expect("a PEM file");
    }

    /// A directory like `/etc/docker/certs.d/<host>/`, with `ca.crt`, `client.cert`, `client.key`.
    pub fn client_directory(&self) -> PathBuf {
        self.directory.path().join(CLIENT)
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.client_directory().join("ca.crt")
    }

    /// The server's certificate.
    pub fn server_certificate(&self) -> PathBuf {
        self.directory.path().join("server.crt")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.directory.path().join("server.key")
    }

    /// The client's certificate.
    pub fn client_certificate(&self) -> PathBuf {
        self.client_directory().join("client.cert")
    }

    /// The client's key.
    pub fn client_key(&self) -> PathBuf {
        self.client_directory().join("client.key")
    }

    /// What a TLS server of ours needs; with `demand_client` it turns away clients without a
    /// certificate of this authority.
    pub(crate) fn server_config(&self, demand_client: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3");
        let builder = if demand_client {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(&self.ca())).expect("an authority's certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .expect("a verifier of client certificates");
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_file(self.server_key()).expect("the server's key");
        let config = builder
            .with_single_cert(vec![certificate(&self.server_certificate())], key)
            .expect("a certificate that belongs to its key");
        Arc::new(config)
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate file")
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(&[], "grootfs test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let pair = KeyPair::generate().expect("a key pair");
    CertifiedIssuer::self_signed(params, pair).expect("a self-signed certificate")
}

fn params(hosts: &[&str], name: &str) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names and addresses");
    params.distinguished_name.push(DnType::CommonName, name);
    // Far from both ends, so that no clock of a test machine matters.
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}
