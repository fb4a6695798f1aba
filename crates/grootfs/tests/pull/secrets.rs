//! Nothing that must stay secret shows anywhere, however much is told: logs, metrics, errors, output.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use testkit::bare_registry::BareRegistry;
use testkit::command::run;
use testkit::fault::{Fault, Rule};
use testkit::fault_proxy::FaultProxy;
use testkit::http::message::Headers;
use testkit::image::OciLayout;
use testkit::metrics_agent::MetricsAgent;
use testkit::registry::Registry;
use testkit::token_server::TokenServer;

use crate::fixture::{Driver, Fixture};
use crate::rig::{Rig, push, small};

const USER: &str = "me";
const PASSWORD: &str = "s3cret-and-long";
const WRONG: &str = "an0ther-secret";

/// What an object store signs a URL with.
const SIGNATURE: &str = "5ignature-of-a-url";

/// What every token of the test's token server begins with: a JSON object in base64.
const TOKEN: &str = "eyJ";

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
        let words = [PASSWORD, WRONG, SIGNATURE, TOKEN].map(str::to_owned);
        for secret in words.into_iter().chain([basic(PASSWORD), basic(WRONG)]) {
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

/// What servers hand out is as secret as what they are shown: tokens, and URLs that are signed.
#[test]
fn privileged_secrets_of_servers_show_nowhere() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let listen = |rig: &Rig, places: &dyn Fn(&mut Ears<'_>)| {
        let mut ears = Ears { rig, agent: MetricsAgent::start(), told: Vec::new() };
        places(&mut ears);
        ears.check();
    };

    let bare = BareRegistry::start();
    let mut layout = OciLayout::new(fixture.scratch("signed-layout"));
    let written = layout.add(&small(1), Some("latest"));
    bare.add_layout(layout.path(), "latest", "latest");
    let proxy = FaultProxy::start(&bare.host());
    let layer = &written.layers[0];
    let image = format!("docker://{}/app", proxy.host());
    let signed =
        Rig::with_config(&fixture, "signed", "pull: {attempts: 1}\n").insecure(&proxy.host());
    let redirect = |faults: &[Fault]| {
        proxy.clear_rules();
        let url = format!("{}/v2/app/blobs/{layer}?X-Amz-Signature={SIGNATURE}", proxy.url());
        let there = Headers::from([("Location", url.as_str())]);
        // What goes wrong behind the redirect comes first: the first rule decides.
        for fault in faults {
            proxy.rule(Rule::on(SIGNATURE).fault(fault.clone()));
        }
        proxy.rule(Rule::on(SIGNATURE).fault(Fault::Delay(std::time::Duration::ZERO)));
        proxy.rule(Rule::on(layer).fault(Fault::Answer(307, there, Vec::new())));
    };
    listen(&signed, &|ears| {
        redirect(&[]);
        ears.hear("signed", "pull", &[&image], true);
        for fault in [
            Fault::status(403),
            Fault::status(500),
            Fault::CutAt(10),
            Fault::NotHttp,
            Fault::RedirectLoop,
        ] {
            redirect(std::slice::from_ref(&fault));
            ears.hear(&format!("signed, {fault:?}"), "pull", &[&image], false);
        }
    });
    assert!(proxy.log().iter().any(|exchange| exchange.target.contains(SIGNATURE)));

    let tokens = TokenServer::setup().user(USER, PASSWORD).start();
    let registry = Registry::setup().token_login(&tokens).start();
    let host = registry.host();
    let image = format!("docker://{host}/app");
    let rig = Rig::with_config(&fixture, "token", "pull: {attempts: 1}\n").insecure(&host);
    listen(&rig, &|ears| {
        // The token is fine; there is no such image.
        let login = ["--username", USER, "--password", PASSWORD];
        ears.hear("token", "pull", &[&login[..], &[&image]].concat(), false);
        let login = ["--username", USER, "--password", WRONG];
        ears.hear("token, wrong login", "pull", &[&login[..], &[&image]].concat(), false);
    });
    assert!(tokens.requests().iter().any(|request| request.status == 200));
}

/// Every command, with secrets in all places at once, in which it has nothing to do with them.
#[test]
fn privileged_no_command_tells_secrets() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let address = format!("http://{USER}:{PASSWORD}@127.0.0.1:1");
    let yaml = format!(
        "registries: {{\"127.0.0.1:1\": {{mirrors: [\"{address}\"]}}}}\nnot_known: {PASSWORD}\n\
         create: {{insecure_registries: [\"{USER}:{PASSWORD}@h:1\"]}}\nclean: {{ignore_images: [\"docker://{USER}:{PASSWORD}@h/x\"]}}\n\
         metron_endpoint: \"{USER}:{PASSWORD}@127.0.0.1:1\"\n"
    );
    let rig = Rig::with_config(&fixture, "every", &yaml)
        .env("GROOTFS_USERNAME", USER)
        .env("GROOTFS_PASSWORD", PASSWORD);
    let rig = ["http_proxy", "https_proxy", "all_proxy"]
        .iter()
        .fold(rig, |rig, name| rig.env(name, &address));
    let auth = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let saved = format!(
        r#"{{"auths": {{"127.0.0.1:1": {{"auth": "{auth}", "identitytoken": "{WRONG}"}}}}}}"#
    );
    write(&rig.path(".docker/config.json"), &saved);
    let (url, _) = fixture.oci("every-image", &small(1));
    let argument = format!("docker://{USER}:{PASSWORD}@127.0.0.1:1/app");
    let flags = ["--password", PASSWORD];
    let runs: &[(&str, &[&str])] = &[
        ("init-store", &[]),
        ("create", &[&url, "web-1"]),
        ("create", &[flags[0], flags[1], &url, "web-1"]),
        ("create", &[flags[0], flags[1], &argument]),
        ("create", &[flags[0], flags[1], "--no-such-flag", &argument, "x"]),
        ("create", &["docker://127.0.0.1:1/app", "web-2"]),
        ("create", &[&argument, "web-2"]),
        ("create", &[&url, &argument]),
        ("pull", &[flags[0], flags[1], "docker://127.0.0.1:1/app"]),
        ("stats", &["web-1"]),
        ("stats", &[&argument]),
        ("limit", &["--disk-limit-size-bytes", "100000000", "web-1"]),
        ("limit", &["--disk-limit-size-bytes", "100000000", &argument]),
        ("doctor", &[]),
        ("doctor", &["--json"]),
        ("df", &[]),
        ("df", &["--json"]),
        ("list", &[]),
        ("check", &[]),
        ("config", &[]),
        ("capacity", &[]),
        ("clean", &[]),
        ("generate-volume-size-metadata", &[]),
        ("delete", &[&argument]),
        ("delete", &["web-1"]),
        ("help", &[]),
        ("delete-store", &[]),
    ];
    let mut told = Vec::new();
    for format in ["json", "text"] {
        for (command, arguments) in runs {
            let log = ["--log-level", "debug", "--log-format", format];
            let output = run(&mut rig.command_alone(command, &[&log[..], arguments].concat()));
            told.push((format!("{command} {arguments:?}"), output.stdout + &output.stderr));
        }
    }
    // A configuration that is wrong shows where, and not what.
    for wrong in [
        format!("registries: {{docker.io: \"{address}\"}}\n"),
        format!("clean: {{threshold_bytes: {PASSWORD}}}\n"),
        format!("create: {{with_clean: \"{address}\"}}\n"),
        format!("{address}\n"),
    ] {
        let path = rig.path("wrong.yml");
        write(&path, &wrong);
        let output = run(&mut rig.command_alone("list", &["--config", path.to_str().unwrap()]));
        assert_eq!(output.code, Some(1), "{}", output.report());
        told.push((wrong, output.stdout + &output.stderr));
    }
    for (what, text) in &told {
        for secret in [PASSWORD, WRONG, &auth] {
            assert!(!text.contains(secret), "{what}: `{secret}` is in: {text}");
        }
    }
    let help = run(&mut rig.command_alone("help", &[])).success();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in commands.take_while(|line| !line.is_empty()) {
        let Some(name) = line.strip_prefix("  ").filter(|name| !name.starts_with(' ')) else {
            continue;
        };
        let name = name.split_whitespace().next().unwrap();
        assert!(runs.iter().any(|(command, _)| *command == name), "{name} is not run here");
    }
}
