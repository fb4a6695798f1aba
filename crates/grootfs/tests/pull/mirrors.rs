//! Servers that stand in for a registry: asked first, in order, and never trusted.

use std::fs;

use testkit::certificates::Certificates;
use testkit::fault::{Fault, Rule};
use testkit::fault_proxy::{Exchange, FaultProxy};
use testkit::image::{Image, Written};
use testkit::registry::Registry;

use crate::fixture::{Driver, Fixture};
use crate::rig::{Rig, noisy, push, small};

/// A registry with an image, seen through a proxy that keeps a log.
struct Server {
    registry: Registry,
    front: FaultProxy,
}

impl Server {
    fn with(fixture: &Fixture, image: &Image) -> (Self, Written) {
        let registry = Registry::plain();
        let written = push(fixture, &registry, "app", image);
        let front = FaultProxy::start(&registry.host());
        (Self { registry, front }, written)
    }

    fn empty() -> Self {
        let registry = Registry::plain();
        let front = FaultProxy::start(&registry.host());
        Self { registry, front }
    }

    fn argument(&self) -> String {
        format!("docker://{}/app", self.front.host())
    }

    fn log(&self) -> Vec<Exchange> {
        self.front.log()
    }
}

fn mirrored(origin: &Server, mirrors: &[&str]) -> String {
    format!("registries: {{'{}': {{mirrors: ['{}']}}}}", origin.front.host(), mirrors.join("', '"))
}

fn rig(fixture: &Fixture, name: &str, origin: &Server, mirrors: &[&str]) -> Rig {
    Rig::with_config(fixture, name, &mirrored(origin, mirrors)).insecure(&origin.front.host())
}

#[test]
fn privileged_in_order_and_then_the_origin() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let image = small(2);
    let (origin, _) = Server::with(&fixture, &image);
    let (first, _) = Server::with(&fixture, &image);
    let (second, _) = Server::with(&fixture, &image);
    let none = Server::empty();
    let url = |server: &Server| server.front.url();

    let one = rig(&fixture, "first", &origin, &[&url(&first), &url(&second)]);
    one.pulls(&[&origin.argument()]);
    one.assert_holds(&image);
    assert_eq!(
        (first.log().len(), second.front.connections(), origin.front.connections()),
        (4, 0, 0)
    );
    let ns = format!("?ns={}", origin.front.host());
    assert!(first.log().iter().all(|one| one.target.ends_with(&ns)), "{:#?}", first.log());
    first.front.clear_log();

    let two = rig(&fixture, "second", &origin, &[&url(&none), &url(&second)]);
    two.pulls(&[&origin.argument()]);
    two.assert_holds(&image);
    assert_eq!((second.log().len(), origin.front.connections()), (4, 0));
    assert!(none.log().iter().all(|one| one.status == 404));

    first.front.go_away();
    second.front.rule(Rule::on("").fault(Fault::status(500)));
    let last = rig(&fixture, "origin", &origin, &[&url(&first), &url(&second)]);
    last.pulls(&[&origin.argument()]);
    last.assert_holds(&image);
    assert_eq!(origin.log().len(), 4);
    assert!(origin.log().iter().all(|one| !one.target.contains("?ns=")));
    // The error is the origin's.
    let argument = format!("docker://{}/none", origin.front.host());
    let text = last.fails(&[&argument]);
    assert!(text.contains("manifest unknown") && text.contains(&origin.front.host()), "{text}");
    drop(none.registry);
}

/// Wrong bytes of a mirror cost a second download and nothing else, for many layers at once too.
#[test]
fn privileged_mirrors_with_wrong_bytes() {
    for driver in [Driver::Btrfs, Driver::OverlayXfs] {
        let fixture = Fixture::without_store(driver);
        let image = (0..6).fold(Image::new(), |image, number| {
            image.layer(&noisy(&format!("file-{number}"), 200_000, number))
        });
        let (origin, written) = Server::with(&fixture, &image);
        let (mirror, _) = Server::with(&fixture, &image);
        for (name, part, corrupt) in [
            ("layers", "/blobs/", Fault::Corrupt(100_000, 1)),
            ("headers", "/blobs/", Fault::Corrupt(1500, 1)),
            ("config", "/blobs/", Fault::Corrupt(5, 1)),
            ("manifest", "/manifests/", Fault::Corrupt(20, 1)),
        ] {
            mirror.front.clear_rules();
            mirror.front.rule(Rule::on(part).fault(corrupt));
            origin.front.clear_log();
            let rig = rig(&fixture, name, &origin, &[&mirror.front.url()]);
            rig.pulls(&[&origin.argument()]);
            rig.assert_holds(&image);
            let log = origin.log();
            let asked = |digest: &String| log.iter().any(|one| one.target.ends_with(digest));
            match name {
                "layers" => assert!(written.layers.iter().all(asked), "{log:#?}"),
                "manifest" => assert_eq!(log.len(), 1, "{log:#?}"),
                _ => assert!(!log.is_empty()),
            }
        }
    }
}

/// A mirror that breaks off again and again: the origin goes on where it stopped.
#[test]
fn privileged_mirrors_that_break_off() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let image = Image::new().layer(&noisy("noise", 400_000, 1));
    let (origin, written) = Server::with(&fixture, &image);
    let (mirror, _) = Server::with(&fixture, &image);
    let layer = written.layers[0].as_str();
    for (name, config, expected) in
        [("three", "", &["bytes=2000-"]), ("one", "pull: {attempts: 1}\n", &["bytes=1000-"])]
    {
        mirror.front.clear_rules();
        mirror.front.rule(Rule::on(layer).fault(Fault::CutAt(1000)));
        origin.front.clear_log();
        let config = format!("{config}{}", mirrored(&origin, &[&mirror.front.url()]));
        let rig = Rig::with_config(&fixture, name, &config).insecure(&origin.front.host());
        rig.pulls(&[&origin.argument()]);
        rig.assert_holds(&image);
        let log = origin.log();
        let ranges: Vec<&str> = log.iter().filter_map(Exchange::range).collect();
        assert_eq!(ranges, expected, "{log:#?}");
    }
    // One break is bad luck: the mirror goes on itself.
    mirror.front.clear_rules();
    mirror.front.rule(Rule::on(layer).first(1).fault(Fault::CutAt(1000)));
    origin.front.clear_log();
    let rig = rig(&fixture, "again", &origin, &[&mirror.front.url()]);
    rig.pulls(&[&origin.argument()]);
    rig.assert_holds(&image);
    assert!(origin.log().is_empty());
}

#[test]
fn privileged_pull_through_registry() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let image = small(5);
    let (origin, _) = Server::with(&fixture, &image);
    let mirror = Registry::setup().mirror_of(&origin.front.url()).start();
    let cold = rig(&fixture, "cold", &origin, &[&mirror.url()]);
    cold.pulls(&[&origin.argument()]);
    cold.assert_holds(&image);
    let bytes = origin.front.body_bytes("/blobs/");
    let warm = rig(&fixture, "warm", &origin, &[&mirror.url()]);
    warm.pulls(&[&origin.argument()]);
    warm.assert_holds(&image);
    assert!(origin.front.body_bytes("/blobs/") <= bytes.max(1) * 2);
}

/// The origin's login is not the mirror's, but a mirror may have one of its own.
#[test]
fn privileged_mirrors_get_no_login_of_the_origin() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let image = small(2);
    let closed = |user: &str, password: &str| {
        let registry = Registry::setup().basic_login(user, password).start();
        push(&fixture, &registry, "app", &image);
        let front = FaultProxy::start(&registry.host());
        Server { registry, front }
    };
    let (origin, mirror) = (closed("me", "s3cret"), closed("mirror", "other"));
    let login = ["--username", "me", "--password", "s3cret"];
    let argument = origin.argument();
    let arguments = [&login[..], &[argument.as_str()]].concat();
    let rig = rig(&fixture, "flags", &origin, &[&mirror.front.url()]);
    rig.pulls(&arguments);
    rig.assert_holds(&image);
    assert!(!mirror.log().is_empty() && !mirror.log().iter().any(Exchange::authorized));
    assert!(origin.log().iter().any(Exchange::authorized));
    origin.front.clear_log();

    let config = mirrored(&origin, &[&mirror.front.url()]);
    let rig = Rig::with_config(&fixture, "own", &config).insecure(&origin.front.host());
    let auth = format!(
        r#"{{"auths": {{"{}": {{"username": "mirror", "password": "other"}}}}}}"#,
        mirror.front.host()
    );
    fs::create_dir_all(rig.path(".docker")).unwrap();
    fs::write(rig.path(".docker/config.json"), auth).unwrap();
    rig.pulls(&arguments);
    rig.assert_holds(&image);
    assert!(origin.log().is_empty());
    drop((origin.registry, mirror.registry));
}

/// Writes `hosts.toml` for a registry; the configuration that names the directory.
fn hosts(fixture: &Fixture, name: &str, registry: &str, text: &str) -> String {
    let directory = fixture.scratch(name);
    fs::create_dir_all(directory.join(registry)).unwrap();
    fs::write(directory.join(registry).join("hosts.toml"), text).unwrap();
    format!("pull: {{hosts_directories: ['{}']}}", directory.display())
}

#[test]
fn privileged_hosts_toml() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let image = small(2);
    let (origin, _) = Server::with(&fixture, &image);
    let (mirror, _) = Server::with(&fixture, &image);
    let (host, url) = (origin.front.host(), mirror.front.url());
    let pull = |name: &str, registry: &str, text: &str| {
        origin.front.clear_log();
        mirror.front.clear_log();
        let config = hosts(&fixture, &format!("hosts-{name}"), registry, text);
        let rig = Rig::with_config(&fixture, name, &config).insecure(&host);
        rig.pulls(&[&origin.argument()]);
        rig.assert_holds(&image);
        (mirror.log().len(), origin.log().len())
    };
    assert_eq!(pull("plain", &host, &format!("[host.\"{url}\"]\n")), (4, 0));
    let text = format!("[host.\"{url}\"]\ncapabilities = [\"pull\"]\n");
    assert_eq!(pull("pull-only", &host, &text), (3, 1), "the tag is the origin's to know");
    let text = format!("[host.\"{url}\"]\ncapabilities = [\"resolve\"]\n");
    assert_eq!(pull("resolve-only", &host, &text), (1, 3));
    let text = format!("server = \"{url}\"\n");
    assert_eq!(pull("server", &host, &text), (4, 0));
    assert_eq!(pull("default", "_default", &format!("[host.\"{url}\"]\n")), (4, 0));
    assert_eq!(pull("underscore", &(host.replace(':', "_") + "_"), &text), (4, 0));
    assert_eq!(pull("others", "127.0.0.1:1", &text), (0, 4));
    let text = format!("[host.\"{url}/v2\"]\noverride_path = true\n");
    assert_eq!(pull("override", &host, &text), (4, 0));
    let text = format!("[host.\"{url}/elsewhere\"]\noverride_path = true\n");
    let (asked, _) = pull("override-elsewhere", &host, &text);
    assert!(asked > 0);
    assert!(mirror.log().iter().all(|one| one.target.starts_with("/elsewhere/app/")));
}

#[test]
fn privileged_hosts_toml_with_certificates() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let image = small(1);
    let (origin, _) = Server::with(&fixture, &image);
    let certificates = Certificates::generate();
    let safe = FaultProxy::setup().tls_with_client(&certificates).start(&origin.registry.host());
    let directory = certificates.client_directory();
    let host = origin.front.host();
    for (name, keys, served) in [
        ("ca", format!("ca = '{}'", certificates.ca().display()), false),
        (
            "pair",
            format!(
                "ca = ['{0}/ca.crt']\nclient = [['{0}/client.cert', '{0}/client.key']]",
                directory.display()
            ),
            true,
        ),
        (
            "skip",
            format!(
                "skip_verify = true\nclient = [['{0}/client.cert', '{0}/client.key']]",
                directory.display()
            ),
            true,
        ),
        ("nothing", String::new(), false),
    ] {
        safe.clear_log();
        let text = format!("[host.\"{}\"]\n{keys}\n", safe.url());
        let config = hosts(&fixture, &format!("hosts-{name}"), &host, &text);
        let rig = Rig::with_config(&fixture, name, &config).insecure(&host);
        rig.pulls(&[&origin.argument()]);
        rig.assert_holds(&image);
        assert_eq!(!safe.log().is_empty(), served, "{name}");
    }
}
