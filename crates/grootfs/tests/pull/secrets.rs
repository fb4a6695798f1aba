//! Nothing that must stay secret shows anywhere, however much is told: logs, metrics, errors, output.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use testkit::command::run;
use testkit::metrics_agent::MetricsAgent;
use testkit::registry::Registry;

use crate::fixture::{Driver, Fixture};
use crate::rig::{Rig, push, small};

const USER: &str = "me";
const PASSWORD: &str = "s3cret-and-long";
const WRONG: &str = "an0ther-secret";

/// Where everything is told.
struct Ears<'a> {
    rig: &'a Rig,
    agent: MetricsAgent,
    told: Vec<(String, String)>,
}

impl Ears<'_> {
    /// Runs a command that tells all it can, and keeps what it told. How it must end is said by `succeeds`.
    fn hear(&mut self, what: &str, command: &str, arguments: &[&str], succeeds: bool) {
        let (log, textfile) = (self.rig.path("log"), self.rig.path("metrics"));
        for format in ["json", "text"] {
            for to_file in [false, true] {
                let endpoint = self.agent.endpoint();
                let mut all = vec!["--log-level", "debug", "--log-format", format];
                all.extend(["--metron-endpoint", &endpoint]);
                all.extend(["--metrics-textfile", textfile.to_str().unwrap()]);
                if to_file {
                    all.extend(["--log-file", log.to_str().unwrap()]);
                }
                all.extend(arguments);
                let output = run(&mut self.rig.command(command, &all));
                assert_eq!(output.code == Some(0), succeeds, "{what}: {}", output.report());
                assert!(to_file || !output.stderr.is_empty(), "{what}: nothing is logged");
                let datagrams = self.agent.datagrams().concat();
                assert!(!datagrams.is_empty(), "{what}: nothing is measured");
                self.keep(what, &output.stdout);
                self.keep(what, &output.stderr);
                self.keep(what, &String::from_utf8_lossy(&datagrams));
                // So that the next one fetches again.
                let store = self.rig.grootfs.clone();
                if command == "create" && succeeds {
                    store.ok(&["delete", "x"]);
                }
                store.ok(&["clean"]);
            }
        }
    }

    fn keep(&mut self, what: &str, text: &str) {
        self.told.push((what.to_owned(), text.to_owned()));
    }

    /// Fails where a secret, or what it is on the wire, is in something that was told.
    fn check(mut self) {
        for name in ["log", "metrics"] {
            let text = fs::read_to_string(self.rig.path(name)).unwrap();
            assert!(text.lines().count() > 1, "{name}: {text}");
            self.keep(name, &text);
        }
        let basic = |password: &str| BASE64_STANDARD.encode(format!("{USER}:{password}"));
        for secret in [PASSWORD.to_owned(), WRONG.to_owned(), basic(PASSWORD), basic(WRONG)] {
            for (what, text) in &self.told {
                assert!(!text.contains(&secret), "{what}: `{secret}` is in: {text}");
            }
        }
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn privileged_secrets_show_nowhere() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = Registry::setup().basic_login(USER, PASSWORD).start();
    push(&fixture, &registry, "app", &small(2));
    let host = registry.host();
    let rig = |name: &str| Rig::new(&fixture, name).insecure(&host);
    let listen = |rig: &Rig, places: &dyn Fn(&mut Ears<'_>)| {
        let mut ears = Ears { rig, agent: MetricsAgent::start(), told: Vec::new() };
        places(&mut ears);
        ears.check();
    };
    let image = format!("docker://{host}/app");
    let missing = format!("docker://{host}/not-there");

    listen(&rig("flags"), &|ears| {
        for (password, succeeds) in [(PASSWORD, true), (WRONG, false)] {
            let login = ["--username", USER, "--password", password];
            ears.hear("flags", "create", &[&login[..], &[&image, "x"]].concat(), succeeds);
            ears.hear("flags", "pull", &[&login[..], &[&image]].concat(), succeeds);
            ears.hear("flags", "pull", &[&login[..], &[&missing]].concat(), false);
        }
        // User information in the argument is no login, but must not show either.
        for password in [PASSWORD, WRONG] {
            let argument = format!("docker://{USER}:{password}@{host}/app");
            ears.hear("argument", "pull", &[&argument], false);
            ears.hear("argument", "create", &[&argument, "x"], false);
        }
    });
    let variables =
        rig("variables").env("GROOTFS_USERNAME", USER).env("GROOTFS_PASSWORD", PASSWORD);
    listen(&variables, &|ears| {
        ears.hear("variables", "create", &[&image, "x"], true);
        ears.hear("variables", "pull", &[&missing], false);
    });
    let file = rig("file");
    write(&file.path("password"), PASSWORD);
    write(&file.path("wrong"), WRONG);
    listen(&file, &|ears| {
        for (name, succeeds) in [("password", true), ("wrong", false)] {
            let path = file.path(name);
            let login = ["--username", USER, "--password-file", path.to_str().unwrap(), &image];
            ears.hear("file", "pull", &login, succeeds);
        }
    });
    for (name, password, succeeds) in [("saved", PASSWORD, true), ("saved-wrong", WRONG, false)] {
        let saved = rig(name);
        let auth = BASE64_STANDARD.encode(format!("{USER}:{password}"));
        let text = format!(r#"{{"auths": {{"{host}": {{"auth": "{auth}"}}}}}}"#);
        write(&saved.path(".docker/config.json"), &text);
        listen(&saved, &|ears| ears.hear("saved", "pull", &[&image], succeeds));
    }
    let proxy = format!("http://{USER}:{PASSWORD}@127.0.0.1:1");
    let proxied = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"]
        .iter()
        .fold(rig("proxy"), |rig, name| rig.env(name, &proxy));
    // Loopback may be exempt; another name is not.
    listen(&proxied, &|ears| ears.hear("proxy", "pull", &["docker://registry.invalid/app"], false));
    let yaml = format!(
        "registries:\n  {host}:\n    mirrors: [\"http://{USER}:{PASSWORD}@127.0.0.1:1\"]\nnot_known: {PASSWORD}\n"
    );
    let mirrored = Rig::with_config(&fixture, "mirror", &yaml).insecure(&host);
    listen(&mirrored, &|ears| ears.hear("mirror", "pull", &[&image], false));
}
