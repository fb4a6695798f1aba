//! Where a user name and a password come from: the command line, or what `docker login` and
//! `podman login` have saved, also in credential helpers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use super::super::network::Network;
use super::super::reference::Reference;
use super::super::secret::Secret;
use super::endpoint::Endpoint;
use super::error::Error;

/// Largest file of saved logins.
const LARGEST: u64 = 4 << 20;

/// Largest answer of a credential helper.
const LARGEST_ANSWER: u64 = 1 << 20;

/// How long a credential helper may take; some ask a service in the network.
const HELPER_TIME: Duration = Duration::from_secs(30);

/// What Docker calls its default registry where it saves logins.
const DEFAULT_REGISTRY_KEY: &str = "https://index.docker.io/v1/";

/// Who we are at one registry; read when it is needed.
#[derive(Debug, Clone)]
pub struct Login {
    /// The registry as it stands in references.
    pub registry: String,
    /// What the command line says.
    pub given: Option<(String, Secret)>,
    /// Files of saved logins, the first that knows the registry counts.
    pub files: Vec<PathBuf>,
}

/// What proves who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// A name and a password.
    Password {
        /// Name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// A token that is exchanged for shorter ones.
    IdentityToken(Secret),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: Option<BTreeMap<String, Entry>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: Secret,
}

impl Login {
    /// Who we are at a server that is asked for a reference. What is `given` is meant for the registry itself,
    /// and no mirror gets it.
    pub fn at(
        endpoint: &Endpoint,
        reference: &Reference,
        given: Option<&(String, Secret)>,
        files: &[PathBuf],
    ) -> Self {
        let (registry, given) = if endpoint.is_origin {
            (reference.domain(), given.cloned())
        } else {
            (endpoint.host(), None)
        };
        Self { registry: registry.to_owned(), given, files: files.to_owned() }
    }

    /// Looks it up.
    pub fn saved(&self, network: &Network) -> Result<Option<Saved>, Error> {
        if let Some((user, password)) = &self.given {
            let (user, password) = (user.clone(), password.clone());
            return Ok(Some(Saved::Password { user, password }));
        }
        for path in &self.files {
            if let Some(saved) = self.in_file(path, network)? {
                return Ok(Some(saved));
            }
        }
        Ok(None)
    }

    fn failure(&self, why: String) -> Error {
        Error::Credentials { host: self.registry.clone(), why }
    }

    fn in_file(&self, path: &Path, network: &Network) -> Result<Option<Saved>, Error> {
        let broken = |why: String| self.failure(format!("{}: {why}", path.display()));
        let length = match fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            // Not there, or another user's: nothing that is meant for us.
            Err(_) => return Ok(None),
        };
        if length > LARGEST {
            return Err(broken(format!("{length} bytes are too many")));
        }
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
            other => other.map_err(|error| broken(crate::error::reason(&error)))?,
        };
        // The text of a JSON error could repeat a password.
        let file: File = serde_json::from_slice(&bytes)
            .map_err(|error| broken(format!("broken JSON in line {}", error.line())))?;
        let keys = self.keys();
        let helpers = file.cred_helpers.unwrap_or_default();
        if let Some(name) = keys.iter().find_map(|key| helpers.get(key)) {
            return self.ask_helper(name, network);
        }
        let auths = file.auths.unwrap_or_default();
        let entry = auths
            .iter()
            .find(|(key, _)| keys.contains(&normal_key(key)) || keys.contains(key))
            .map(|(_, entry)| entry);
        if let Some(saved) = entry.map(saved_in).transpose().map_err(broken)?.flatten() {
            return Ok(Some(saved));
        }
        match file.creds_store.filter(|store| !store.is_empty()) {
            Some(store) => self.ask_helper(&store, network),
            None => Ok(None),
        }
    }

    /// Under which names the registry may be saved.
    fn keys(&self) -> Vec<String> {
        if self.registry == "docker.io" {
            let names =
                [DEFAULT_REGISTRY_KEY, "index.docker.io", "docker.io", "registry-1.docker.io"];
            return names.map(ToOwned::to_owned).to_vec();
        }
        vec![self.registry.clone(), format!("https://{}", self.registry)]
    }

    /// Runs `docker-credential-<name> get` (docker-credential-helpers, "Development").
    fn ask_helper(&self, name: &str, network: &Network) -> Result<Option<Saved>, Error> {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(word) {
            return Err(self.failure("the name of a credential helper is no word".to_owned()));
        }
        let program = format!("docker-credential-{name}");
        let key = if self.registry == "docker.io" { DEFAULT_REGISTRY_KEY } else { &self.registry };
        let answer = run_helper(&program, key, network, HELPER_TIME)
            .map_err(|why| self.failure(format!("{program}: {why}")))?;
        let Some(answer) = answer else { return Ok(None) };
        let answer: HelperAnswer = serde_json::from_slice(&answer)
            .map_err(|_| self.failure(format!("{program}: its answer cannot be read")))?;
        Ok(Some(if answer.username == "<token>" {
            Saved::IdentityToken(answer.secret)
        } else {
            Saved::Password { user: answer.username, password: answer.secret }
        }))
    }
}

/// `https://host/v1/` and `host/path` are saved for `host`.
fn normal_key(key: &str) -> String {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or_default().to_owned()
}

fn saved_in(entry: &Entry) -> Result<Option<Saved>, String> {
    if let Some(token) = entry.identitytoken.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(Saved::IdentityToken(token.clone())));
    }
    if let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.is_empty()) {
        let broken = || "an `auth` that is not base64 of name:password".to_owned();
        let pair = BASE64.decode(auth.expose().trim()).map_err(|_| broken())?;
        let pair = String::from_utf8(pair).map_err(|_| broken())?;
        let (user, password) = pair.split_once(':').ok_or_else(broken)?;
        // Old clients padded the password with NULs.
        let password = Secret::new(password.trim_end_matches('\0'));
        return Ok(Some(Saved::Password { user: user.to_owned(), password }));
    }
    let user = entry.username.clone().filter(|user| !user.is_empty());
    Ok(user.zip(entry.password.clone()).map(|(user, password)| Saved::Password { user, password }))
}

/// The helper's answer within some time; `None` when it knows nothing about the registry.
fn run_helper(
    program: &str,
    key: &str,
    network: &Network,
    time: Duration,
) -> Result<Option<Vec<u8>>, String> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| crate::error::reason(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read says by its exit status what it thinks of the question.
        let _ = stdin.write_all(key.as_bytes());
    }
    let end = Instant::now() + time;
    let answer = read_until(&mut child, network, end);
    let status = wait_until(&mut child, network, end);
    if status.is_none() {
        // It is ours, and nobody waits for it any more.
        let _ = child.kill();
        let _ = child.wait();
    }
    let late = || format!("no answer within {} seconds", time.as_secs());
    let (answer, status) = answer.zip(status).ok_or_else(late)?;
    if status.success() {
        return Ok(Some(answer));
    }
    let said = String::from_utf8_lossy(&answer);
    if said.contains("credentials not found") {
        return Ok(None);
    }
    Err(format!("{status}"))
}

/// How often is looked whether somebody wants to stop.
const STEP: Duration = Duration::from_millis(20);

fn read_until(child: &mut Child, network: &Network, end: Instant) -> Option<Vec<u8>> {
    let stdout = child.stdout.take()?;
    let (done, answer) = mpsc::channel();
    let listening = std::thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        if stdout.take(LARGEST_ANSWER).read_to_end(&mut bytes).is_ok() {
            // Nobody is there any more when it took too long.
            let _ = done.send(bytes);
        }
    });
    listening.ok()?;
    while Instant::now() < end && !network.options.interrupt.is_stopped() {
        match answer.recv_timeout(STEP) {
            Ok(bytes) => return Some(bytes),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
        }
    }
    None
}

/// Waits for the end of a helper: one may close its output and stay.
fn wait_until(child: &mut Child, network: &Network, end: Instant) -> Option<ExitStatus> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().ok()? {
            return Some(status);
        }
        if Instant::now() >= end || network.options.interrupt.wait(pause) {
            return None;
        }
        pause = (pause * 2).min(STEP);
    }
}

/// Where logins are saved, by the rules of podman and docker; the first file that knows counts.
pub fn files(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut files = Vec::new();
    files.extend(path("REGISTRY_AUTH_FILE"));
    files.extend(path("DOCKER_CONFIG").map(|directory| directory.join("config.json")));
    files.extend(path("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json")));
    let home = path("HOME");
    let configuration = path("XDG_CONFIG_HOME").or(home.as_ref().map(|home| home.join(".config")));
    files.extend(configuration.map(|directory| directory.join("containers/auth.json")));
    files.extend(home.map(|home| home.join(".docker/config.json")));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::network::NetworkOptions;

    fn network() -> Network {
        Network::new(NetworkOptions::default(), std::collections::HashMap::new())
    }

    fn find(registry: &str, text: &str) -> Result<Option<Saved>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, text).unwrap();
        let login = Login { registry: registry.into(), given: None, files: vec![path] };
        login.saved(&network()).map_err(|error| error.to_string())
    }

    fn password(user: &str, password: &str) -> Option<Saved> {
        Some(Saved::Password { user: user.into(), password: Secret::new(password) })
    }

    #[test]
    fn finds_logins_by_registry() {
        let auth = BASE64.encode("me:pass:word");
        for (registry, key) in [
            ("h:5000", "h:5000"),
            ("h", "https://h/v1/"),
            ("h", "https://h"),
            ("docker.io", "https://index.docker.io/v1/"),
            ("docker.io", "docker.io"),
        ] {
            let text = format!(r#"{{"auths":{{"other":{{}},"{key}":{{"auth":"{auth}"}}}}}}"#);
            assert_eq!(find(registry, &text), Ok(password("me", "pass:word")), "{key}");
        }
        let plain = r#"{"auths":{"h":{"username":"u","password":"p"}}}"#;
        assert_eq!(find("h", plain), Ok(password("u", "p")));
        let token = r#"{"auths":{"h":{"auth":"","identitytoken":"t"}}}"#;
        assert_eq!(find("h", token), Ok(Some(Saved::IdentityToken(Secret::new("t")))));
        assert_eq!(find("h2", plain), Ok(None));
        assert_eq!(find("h", "{}"), Ok(None));
    }

    #[test]
    fn broken_files_are_told_without_their_content() {
        for text in
            [r#"{"auths":{"h":{"auth":"secret!"}}}"#, r#"{"auths":{"h":"secret"}}"#, "{secret"]
        {
            let error = find("h", text).unwrap_err();
            assert!(error.starts_with("reading credentials for h: /"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let error = find("h", r#"{"credHelpers":{"h":"../x"}}"#).unwrap_err();
        assert!(error.contains("no word"), "{error}");
        let error = find("h", r#"{"credsStore":"surely-not-installed"}"#).unwrap_err();
        assert!(error.contains("docker-credential-surely-not-installed: no such file"), "{error}");
    }

    #[test]
    fn helpers_have_their_time() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("helper");
        for script in ["exec sleep 60", "exec >&-; exec sleep 60", "echo '{}'; exec >&-; sleep 60"]
        {
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
            let begun = Instant::now();
            let limit = Duration::from_millis(200);
            let answer = run_helper(program.to_str().unwrap(), "h", &network(), limit);
            assert_eq!(answer, Err("no answer within 0 seconds".to_owned()), "{script}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{script}");
        }
    }

    #[test]
    fn the_command_line_wins() {
        let login = Login {
            registry: "h".into(),
            given: Some(("u".into(), Secret::new("p"))),
            files: vec!["/no/such".into()],
        };
        assert_eq!(login.saved(&network()).unwrap(), password("u", "p"));
    }

    #[test]
    fn looks_where_others_save() {
        let found = files(|name| match name {
            "HOME" => Some("/home/me".into()),
            "DOCKER_CONFIG" => Some("/d".into()),
            _ => None,
        });
        let expected = [
            "/d/config.json",
            "/home/me/.config/containers/auth.json",
            "/home/me/.docker/config.json",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
