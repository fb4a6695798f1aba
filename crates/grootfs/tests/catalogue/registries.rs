//! Errors of registries and of the way to them.

use std::fs;

use serde_json::json;
use testkit::bare_registry::BareRegistry;
use testkit::certificates::Certificates;
use testkit::command::{Grootfs, run};
use testkit::fault::{Fault, Rule};
use testkit::fault_proxy::FaultProxy;
use testkit::image::OciLayout;
use testkit::recording_server::RecordingServer;

use crate::fixture::{Driver, Fixture, PROGRAM, two_layers};
use crate::plain::Plain;
use crate::{Said, say};

/// A store, and what is said to it.
struct Rig {
    fixture: Fixture,
    said: Said,
}

impl Rig {
    /// Pulls `app` from a server, whose address becomes a fine name in the text.
    fn fails(&mut self, name: &'static str, host: &str, flags: &[&str]) {
        self.fails_with(name, host, "", flags);
    }

    fn fails_with(&mut self, name: &'static str, host: &str, yaml: &str, flags: &[&str]) {
        let config = self.fixture.scratch("config.yml");
        fs::write(&config, format!("{yaml}\n")).unwrap();
        let grootfs = Grootfs::new(PROGRAM, self.fixture.grootfs.store())
            .with(&["--config", config.to_str().unwrap()]);
        let argument = format!("docker://{host}/app");
        let mut command = grootfs.command(&[&["pull"], flags, &[&argument]].concat());
        for name in ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
        let home = self.fixture.scratch("");
        command.env("HOME", &home);
        let plain = Plain::default().word(host, "registry.example:5000").path(&home, "/home/me/");
        let text = plain.text(&run(&mut command).failure());
        say(&mut self.said, name, &text);
    }
}

pub fn said() -> Said {
    let fixture = Fixture::new(Driver::Btrfs);
    let mut rig = Rig { fixture, said: Said::new() };
    let bare = BareRegistry::start();
    let insecure = bare.host();
    let flags = ["--insecure-registry", insecure.as_str()];
    rig.fails("manifest-unknown", &bare.host(), &flags);
    let mut layout = OciLayout::new(rig.fixture.scratch("layout"));
    let written = layout.add(&two_layers(), Some("latest"));
    bare.add_layout(layout.path(), "latest", "latest");
    answers(&mut rig, &bare, &written.layers[0]);
    logins(&mut rig);
    ways(&mut rig);
    rig.said
}

/// Answers that are none.
fn answers(rig: &mut Rig, bare: &BareRegistry, layer: &str) {
    let proxy = FaultProxy::start(&bare.host());
    let host = proxy.host();
    let flags = ["--insecure-registry", host.as_str()];
    let once = "pull: {attempts: 1}";
    for (name, part, fault) in [
        ("registry-status", "manifests", Fault::status(500)),
        ("registry-status", "manifests", Fault::status(404)),
        ("registry-status", layer, Fault::status(403)),
    ] {
        proxy.rule(Rule::on(part).fault(fault));
        rig.fails_with(name, &host, once, &flags);
        proxy.clear_rules();
        rig.fixture.grootfs.ok(&["clean"]);
    }
}

/// Servers that ask who we are.
fn logins(rig: &mut Rig) {
    for body in [
        json!({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}),
        json!({"errors": [{"code": "DENIED", "message": "requested access is denied"}]}),
    ] {
        let server = RecordingServer::start(403, body.to_string().as_bytes());
        let host = server.host();
        rig.fails("registry-refusal", &host, &["--insecure-registry", &host]);
    }
    let registry = testkit::registry::Registry::setup().basic_login("me", "right").start();
    let host = registry.host();
    let insecure = ["--insecure-registry", host.as_str()];
    rig.fails("login-wanted", &host, &insecure);
    let wrong = [&insecure[..], &["--username", "me", "--password", "wrong"]].concat();
    rig.fails("login-refused", &host, &wrong);
    let server = testkit::token_server::TokenServer::setup().user("me", "right").start();
    let registry = testkit::registry::Registry::setup().token_login(&server).start();
    let host = registry.host();
    let insecure = ["--insecure-registry", host.as_str()];
    let wrong = [&insecure[..], &["--username", "me", "--password", "wrong"]].concat();
    let realm = server.host();
    rig.fails("token-refused", &host, &wrong);
    let plain = Plain::default().word(&realm, "token.example");
    for texts in rig.said.values_mut() {
        texts.iter_mut().for_each(|text| *text = plain.text(text));
    }
    let file = rig.fixture.scratch(".docker/config.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "{\"auths\": ").unwrap();
    rig.fails("saved-login", &host, &insecure);
    fs::remove_file(&file).unwrap();
}

/// Ways that lead nowhere.
fn ways(rig: &mut Rig) {
    let once = "pull: {attempts: 1}";
    rig.fails_with("connection", "127.0.0.1:1", once, &[]);
    let certificates = Certificates::generate();
    let server = RecordingServer::start_tls(200, b"{}", &certificates);
    rig.fails_with("certificate", &server.host(), once, &[]);
    let yaml = "registries: {\"127.0.0.1:1\": {mirrors: [\"ftp://mirror/x\"]}}";
    rig.fails_with("mirror", "127.0.0.1:1", yaml, &[]);
    let directory = rig.fixture.scratch("certs.d/127.0.0.1:1");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("ca.crt"), "no certificate").unwrap();
    let yaml = format!(
        "pull: {{certificate_directories: [{}]}}",
        rig.fixture.scratch("certs.d").display()
    );
    rig.fails_with("certificate-file", "127.0.0.1:1", &yaml, &[]);
    let directory = rig.fixture.scratch("hosts.d/127.0.0.1:1");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("hosts.toml"), "server = 5\n").unwrap();
    let yaml =
        format!("pull: {{hosts_directories: [{}]}}", rig.fixture.scratch("hosts.d").display());
    rig.fails_with("hosts-file", "127.0.0.1:1", &yaml, &[]);
    // A server of text that is no manifest.
    let server = RecordingServer::start(200, b"<html>");
    let host = server.host();
    rig.fails("registry-nonsense", &host, &["--insecure-registry", &host]);
}
