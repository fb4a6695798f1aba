//! containerd's `hosts.toml`: which servers stand in for a registry (containerd, `docs/hosts.md`).

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::network::Address;
use super::super::network::tls::{self, Trust};
use super::endpoint::Endpoint;
use crate::error::{AtPath, PathError};

/// Largest file that is read.
const LARGEST: u64 = 1 << 20;

/// What a directory says about a registry.
#[derive(Debug)]
pub struct Hosts {
    /// In order.
    pub mirrors: Vec<Endpoint>,
    /// In place of the registry's own address.
    pub server: Option<Endpoint>,
}

/// Why a `hosts.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error(transparent)]
    Path(#[from] PathError),
    /// It is not what it should be.
    #[error("{}: {why}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Certificates that it names.
    #[error(transparent)]
    Certificates(#[from] tls::Error),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    server: Option<String>,
    /// In the order of the file, which is the order in which servers are asked.
    host: toml::Table,
    #[serde(flatten)]
    of_server: Host,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Host {
    capabilities: Option<Vec<String>>,
    ca: Option<Paths>,
    client: Option<Clients>,
    skip_verify: bool,
    override_path: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Paths {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Clients {
    /// Certificate and key in one file.
    One(PathBuf),
    Many(Vec<Client>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Client {
    One(PathBuf),
    Pair([PathBuf; 2]),
}

/// Looks a registry up in a directory; `None` when that says nothing about it.
pub fn read(directory: &Path, registry: &str) -> Result<Option<Hosts>, Error> {
    // containerd's own order; a colon is not allowed in file names everywhere.
    let names = [registry.to_owned(), registry.replace(':', "_") + "_", "_default".to_owned()];
    for name in names.iter().filter(|name| *name != "_default_") {
        let path = directory.join(name).join("hosts.toml");
        let length = match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.at("stat", &path)?.len(),
        };
        let fail = |why: String| Error::File { path: path.clone(), why };
        if length > LARGEST {
            return Err(fail(format!("{length} bytes are too many")));
        }
        let text = fs::read_to_string(&path).at("open", &path)?;
        return parse(&text, &directory.join(name)).map(Some).map_err(|error| match error {
            Broken::Text(why) => fail(why),
            Broken::Certificates(error) => error.into(),
        });
    }
    Ok(None)
}

/// The registries that a directory has something about, but for the one of all others.
pub fn registries(directory: &Path) -> Result<Vec<String>, PathError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("open", directory)?,
    };
    let mut registries = Vec::new();
    for entry in entries {
        let entry = entry.at("read", directory)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name == "_default" || !entry.path().join("hosts.toml").is_file() {
            continue;
        }
        // As [`read`] looks for `host:port`.
        let with_port = name.strip_suffix('_').and_then(|name| name.rsplit_once('_'));
        registries.push(with_port.map_or(name.clone(), |(host, port)| format!("{host}:{port}")));
    }
    Ok(registries)
}

#[derive(Debug)]
enum Broken {
    Text(String),
    Certificates(tls::Error),
}

impl From<tls::Error> for Broken {
    fn from(error: tls::Error) -> Self {
        Self::Certificates(error)
    }
}

/// Reads the text; paths in it are relative to `directory`.
fn parse(text: &str, directory: &Path) -> Result<Hosts, Broken> {
    servers(text, |host| trust(host, directory))
}

/// The same without a look at the certificates that the text names.
#[cfg(any(test, fuzzing))]
pub(crate) fn parse_alone(text: &str) -> Result<Hosts, String> {
    servers(text, |_| Ok(None)).map_err(|error| match error {
        Broken::Text(why) => why,
        Broken::Certificates(error) => error.to_string(),
    })
}

fn servers(
    text: &str,
    trust: impl Fn(&Host) -> Result<Option<Trust>, Broken>,
) -> Result<Hosts, Broken> {
    let file: File = toml::from_str(text)
        .map_err(|error| Broken::Text(error.message().to_owned() + &place(text, &error)))?;
    let mut mirrors = Vec::new();
    for (url, table) in file.host {
        let host: Host = table.try_into().map_err(|error: toml::de::Error| {
            Broken::Text(format!("host {url}: {}", error.message()))
        })?;
        mirrors.push(endpoint(&url, &host, trust(&host)?, false)?);
    }
    let server = file.server.filter(|server| !server.is_empty());
    let server = server
        .map(|url| endpoint(&url, &file.of_server, trust(&file.of_server)?, true))
        .transpose()?;
    Ok(Hosts { mirrors, server })
}

fn place(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or_else(String::new, |before| format!(" (line {})", before.lines().count().max(1)))
}

fn endpoint(
    url: &str,
    host: &Host,
    trust: Option<Trust>,
    is_origin: bool,
) -> Result<Endpoint, Broken> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let address = Address::parse(&with_scheme).map_err(Broken::Text)?;
    let base = address.to_string().trim_end_matches('/').to_owned();
    let base = if host.override_path {
        base
    } else {
        format!("{}/v2", base.strip_suffix("/v2").unwrap_or(&base))
    };
    let capabilities = host.capabilities.as_deref();
    let can = |name: &str| capabilities.is_none_or(|all| all.iter().any(|one| one == name));
    Ok(Endpoint {
        base,
        fallback: None,
        is_origin,
        resolves: can("resolve"),
        pulls: can("pull"),
        trust,
    })
}

fn trust(host: &Host, directory: &Path) -> Result<Option<Trust>, Broken> {
    if host.ca.is_none() && host.client.is_none() && !host.skip_verify {
        return Ok(None);
    }
    let mut trust = Trust::default();
    trust.anything = host.skip_verify;
    let authorities = match &host.ca {
        None => &[][..],
        Some(Paths::One(path)) => std::slice::from_ref(path),
        Some(Paths::Many(paths)) => paths,
    };
    for path in authorities {
        trust.add_authorities(&directory.join(path))?;
    }
    match &host.client {
        None => {}
        Some(Clients::One(path)) => set_client(&mut trust, directory, path, path)?,
        Some(Clients::Many(all)) => {
            for client in all {
                match client {
                    Client::One(path) => set_client(&mut trust, directory, path, path)?,
                    Client::Pair([certificate, key]) => {
                        set_client(&mut trust, directory, certificate, key)?;
                    }
                }
            }
        }
    }
    Ok(Some(trust))
}

fn set_client(
    trust: &mut Trust,
    directory: &Path,
    certificate: &Path,
    key: &Path,
) -> Result<(), tls::Error> {
    trust.set_client(&directory.join(certificate), &directory.join(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_servers_in_order() {
        let text = r#"
            server = "https://registry.example"
            [host."https://z.example:5000"]
              capabilities = ["pull", "resolve", "push"]
              skip_verify = true
            [host."http://a.example/some/path"]
              capabilities = ["pull"]
              override_path = true
              [host."http://a.example/some/path".header]
                x = ["y"]
            [host."m.example"]
        "#;
        let hosts = parse(text, Path::new("/d")).unwrap();
        let bases: Vec<&str> = hosts.mirrors.iter().map(|host| host.base.as_str()).collect();
        assert_eq!(
            bases,
            ["https://z.example:5000/v2", "http://a.example/some/path", "https://m.example/v2"]
        );
        assert!(hosts.mirrors[0].trust.as_ref().unwrap().anything);
        assert!(
            hosts.mirrors[0].resolves && !hosts.mirrors[1].resolves && hosts.mirrors[2].resolves
        );
        let server = hosts.server.unwrap();
        assert_eq!((server.base.as_str(), server.is_origin), ("https://registry.example/v2", true));
    }

    #[test]
    fn directories_name_registries() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.example", "a.example_5000_", "c.example:6000", "_default"] {
            fs::create_dir(directory.path().join(name)).unwrap();
            fs::write(directory.path().join(name).join("hosts.toml"), "").unwrap();
        }
        fs::create_dir(directory.path().join("certificates-only")).unwrap();
        let mut found = registries(directory.path()).unwrap();
        found.sort();
        assert_eq!(found, ["a.example:5000", "b.example", "c.example:6000"]);
        assert!(registries(&directory.path().join("none")).unwrap().is_empty());
        assert!(registries(Path::new("/proc/version")).is_err());
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [
            ("server = ", "line 1"),
            ("server = \"ftp://x\"", "neither http:// nor https://"),
            ("[host.\"https://x\"]\ncapabilities = 1", "host https://x"),
            ("[host.\"https://x\"]\nca = \"none.pem\"", "/d/none.pem"),
        ] {
            let error = match parse(text, Path::new("/d")).unwrap_err() {
                Broken::Text(why) => why,
                Broken::Certificates(error) => error.to_string(),
            };
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn looks_under_the_registrys_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path(), "h:5000").unwrap().is_none());
        for (name, server) in [("_default", "https://d"), ("h:5000", "https://h")] {
            fs::create_dir(dir.path().join(name)).unwrap();
            let text = format!("server = \"{server}\"");
            fs::write(dir.path().join(name).join("hosts.toml"), text).unwrap();
        }
        let server = |registry| read(dir.path(), registry).unwrap().unwrap().server.unwrap().base;
        assert_eq!(server("h:5000"), "https://h/v2");
        assert_eq!(server("other"), "https://d/v2");
    }
}
