//! Who we are: where a login comes from, how it is shown to whom, and that nobody else sees it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use testkit::certificates::Certificates;
use testkit::command::{TIME_LIMIT, start};
use testkit::fault::{Fault, Rule};
use testkit::fault_proxy::{Exchange, FaultProxy};
use testkit::http::message::Headers;
use testkit::image::OciLayout;
use testkit::push::Format;
use testkit::recording_server::RecordingServer;
use testkit::registry::Registry;
use testkit::token_server::TokenServer;

use crate::fixture::{Driver, Fixture, assert_contains};
use crate::rig::{Rig, push, small};

const USER: &str = "me";
const PASSWORD: &str = "s3cret-and-long";

/// A registry that wants a login, with an image of two layers in it.
fn basic(fixture: &Fixture) -> Registry {
    let registry = Registry::setup().basic_login(USER, PASSWORD).start();
    push(fixture, &registry, "app", &small(2));
    registry
}

/// A file of saved logins for one host.
fn saved(host: &str, password: &str) -> String {
    let auth = BASE64_STANDARD.encode(format!("{USER}:{password}"));
    format!(r#"{{"auths": {{"other": {{}}, "{host}": {{"auth": "{auth}"}}}}}}"#)
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A credential helper in a directory of its own, which is then put into `PATH`.
fn helper(rig: Rig, script: &str) -> Rig {
    let program = rig.path("bin/docker-credential-fake");
    write(&program, &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", rig.path("bin").display());
    rig.env("PATH", &path)
}

/// Says what it was asked, and answers.
fn answering(password: &str) -> String {
    format!(
        "read -r host; echo \"$1 $host\" >> \"$HOME/asked\"\n\
         echo '{{\"ServerURL\":\"x\",\"Username\":\"{USER}\",\"Secret\":\"{password}\"}}'"
    )
}

#[test]
fn privileged_places_of_a_login() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = basic(&fixture);
    let host = registry.host();
    let rig = |name: &str| Rig::new(&fixture, name).insecure(&host);
    let text = saved(&host, PASSWORD);
    let argument = format!("docker://{host}/app");
    let works = |rig: &Rig, flags: &[&str]| {
        let all = [flags, &[argument.as_str()]].concat();
        rig.pulls(&all);
        rig.assert_holds(&small(2));
    };

    works(&rig("flags"), &["--username", USER, "--password", PASSWORD]);
    let variables = [("GROOTFS_USERNAME", USER), ("GROOTFS_PASSWORD", PASSWORD)];
    let with = |rig: Rig| variables.iter().fold(rig, |rig, (name, value)| rig.env(name, value));
    works(&with(rig("variables")), &[]);
    let file = rig("file");
    write(&file.path("password"), &format!("{PASSWORD}\nsecond line\n"));
    works(&file, &["--username", USER, "--password-file", file.path("password").to_str().unwrap()]);
    let config = rig("docker-config");
    write(&config.path("docker/config.json"), &text);
    let directory = config.path("docker");
    works(&config.env("DOCKER_CONFIG", directory.to_str().unwrap()), &[]);
    let home = rig("home");
    write(&home.path(".docker/config.json"), &text);
    works(&home, &[]);
    let auth = rig("auth-file");
    write(&auth.path("auth.json"), &text);
    // The first file that knows the registry counts.
    write(&auth.path(".docker/config.json"), &saved(&host, "wrong"));
    let path = auth.path("auth.json");
    works(&auth.env("REGISTRY_AUTH_FILE", path.to_str().unwrap()), &[]);
    let runtime = rig("runtime");
    write(&runtime.path("run/containers/auth.json"), &text);
    let directory = runtime.path("run");
    works(&runtime.env("XDG_RUNTIME_DIR", directory.to_str().unwrap()), &[]);
    for (name, text) in [
        ("helper", format!(r#"{{"credHelpers": {{"{host}": "fake"}}}}"#)),
        ("store", r#"{"credsStore": "fake"}"#.to_owned()),
    ] {
        let rig = helper(rig(name), &answering(PASSWORD));
        write(&rig.path(".docker/config.json"), &text);
        works(&rig, &[]);
        assert_eq!(fs::read_to_string(rig.path("asked")).unwrap(), format!("get {host}\n"));
    }
}

#[test]
fn privileged_logins_that_are_refused() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = basic(&fixture);
    let host = registry.host();
    let rig = |name: &str| Rig::new(&fixture, name).insecure(&host);
    let argument = format!("docker://{host}/app");
    let none = format!("{argument} does not exist or you do not have permissions to see it.");
    let wrong = "authorization failed: username and password are invalid";

    assert_contains(&rig("none").fails(&[&argument]), &none);
    let text = rig("wrong").fails(&["--username", USER, "--password", "hunter2", &argument]);
    assert_contains(&text, wrong);
    assert!(!text.contains("hunter2"), "{text}");
    let file = rig("saved");
    write(&file.path(".docker/config.json"), &saved(&host, "hunter2"));
    assert_contains(&file.fails(&[&argument]), wrong);
    let broken = rig("broken");
    write(&broken.path(".docker/config.json"), r#"{"auths": "hunter2"}"#);
    let text = broken.fails(&[&argument]);
    assert_contains(&text, ".docker/config.json: broken JSON");
    assert!(!text.contains("hunter2"), "{text}");
    for (name, script, part) in [
        ("failing", "echo no key >&2; exit 3", "docker-credential-fake: exit status: 3"),
        ("mumbling", "echo hunter2", "docker-credential-fake: its answer cannot be read"),
        ("knows-nothing", "echo credentials not found in native keychain; exit 1", none.as_str()),
    ] {
        let rig = helper(rig(name), script);
        write(&rig.path(".docker/config.json"), r#"{"credsStore": "fake"}"#);
        let text = rig.fails(&[&argument]);
        assert_contains(&text, part);
        assert!(!text.contains("hunter2"), "{text}");
    }
    let missing = rig("missing");
    write(&missing.path(".docker/config.json"), r#"{"credsStore": "not-there"}"#);
    let text = missing.fails(&[&argument]);
    assert_contains(&text, "docker-credential-not-there: no such file or directory");
    let text = rig("both").fails(&["--password", "a", "--password-file", "b", &argument]);
    assert_contains(&text, "cannot be used together");
}

/// A helper that never answers does not keep us from stopping.
#[test]
fn privileged_helper_that_hangs_is_left_at_a_signal() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = basic(&fixture);
    let script =
        "echo $$ > \"$HOME/begun.new\"; mv \"$HOME/begun.new\" \"$HOME/begun\"; exec sleep 600";
    let rig = helper(Rig::new(&fixture, "hang").insecure(&registry.host()), script);
    write(&rig.path(".docker/config.json"), r#"{"credsStore": "fake"}"#);
    let before = rig.listing();
    let argument = format!("docker://{}/app", registry.host());
    let running = start(&mut rig.command("pull", &[&argument]));
    let end = std::time::Instant::now() + TIME_LIMIT;
    while !rig.path("begun").exists() {
        assert!(std::time::Instant::now() < end, "the helper was not started");
        std::thread::sleep(Duration::from_millis(5));
    }
    crate::together::signal(&running, rustix::process::Signal::TERM);
    let output = running.finish(Duration::from_secs(2));
    assert_eq!(output.code, Some(130), "{}", output.report());
    before.assert_same(&rig.listing());
    let helper = fs::read_to_string(rig.path("begun")).unwrap();
    assert!(!Path::new("/proc").join(helper.trim()).exists(), "the helper still runs");
}

/// A registry whose tokens come from a server of its own.
fn with_tokens(fixture: &Fixture, server: &TokenServer, layers: u64) -> Registry {
    let registry = Registry::setup().token_login(server).start();
    let mut layout = OciLayout::new(fixture.scratch("layout-tokens"));
    layout.add(&small(layers), Some("latest"));
    registry.push_layout(layout.path(), "latest", "app", "latest", Format::Kept);
    registry
}

#[test]
fn privileged_one_token_for_a_whole_pull() {
    let fixture = Fixture::without_store(Driver::OverlayXfs);
    let server = TokenServer::setup().anonymous_pull().start();
    let registry = with_tokens(&fixture, &server, 10);
    let proxy = FaultProxy::start(&registry.host());
    let argument = format!("docker://{}/app", proxy.host());
    for (name, flags, user) in [
        ("user", &["--username", "user", "--password", "secret"][..], Some("user")),
        ("nobody", &[], None),
    ] {
        let before = server.requests().len();
        proxy.clear_log();
        let rig = Rig::new(&fixture, name).insecure(&proxy.host());
        rig.pulls(&[flags, &[argument.as_str()]].concat());
        rig.assert_holds(&small(10));
        let asked = server.requests().split_off(before);
        assert_eq!(asked.len(), 1, "{asked:#?}");
        assert_eq!(asked[0].user.as_deref(), user);
        assert_eq!(asked[0].scopes, ["repository:app:pull"]);
        // Manifest, configuration and ten layers, and one refusal that says how to log in.
        assert_eq!(proxy.log().len(), 13, "{:#?}", proxy.log());
        assert_eq!(proxy.log().iter().filter(|one| one.status == 401).count(), 1);
    }
    let rig = Rig::new(&fixture, "wrong").insecure(&proxy.host());
    let text = rig.fails(&["--username", "user", "--password", "hunter2", &argument]);
    assert_contains(&text, "authorization failed: username and password are invalid");
    assert!(!text.contains("hunter2"));
}

#[test]
fn privileged_answers_of_token_servers() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let server = TokenServer::start();
    let registry = with_tokens(&fixture, &server, 2);
    let host = registry.host();
    let argument = format!("docker://{host}/app");
    let login = ["--username", "user", "--password", "secret"];
    let arguments = [&login[..], &[argument.as_str()]].concat();
    let works = |name: &str| {
        let rig = Rig::new(&fixture, name).insecure(&host);
        rig.pulls(&arguments);
        rig.assert_holds(&small(2));
    };
    server.say_expires_in(None);
    works("without-an-end");
    server.name_token(&["token"]);
    works("token");
    server.name_token(&["access_token"]);
    works("access-token");
    server.fail(503, 2);
    works("busy");
    let fails = |name: &str| Rig::new(&fixture, name).insecure(&host).fails(&arguments);
    server.name_token(&[]);
    assert_contains(&fails("nothing"), "unable to retrieve auth token");
    server.name_token(&["token"]);
    server.fail(500, 3);
    assert_contains(&fails("broken"), "unexpected http code: 500, URL: ");
    // No login: the token server gives a token that opens nothing.
    let rig = Rig::new(&fixture, "nobody").insecure(&host);
    let text = rig.fails(&[&argument]);
    let none = format!("{argument} does not exist or you do not have permissions to see it.");
    assert_contains(&text, &none);
}

/// The registry stops taking the token between two layers, and in the middle of one.
#[test]
fn privileged_tokens_are_renewed_in_the_middle_of_a_pull() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let server = TokenServer::start();
    server.say_expires_in(Some(1));
    let registry = with_tokens(&fixture, &server, 6);
    let proxy = FaultProxy::start(&registry.host());
    let realm = format!(
        "Bearer realm=\"{}\",service=\"grootfs test registry\",\
                         scope=\"repository:app:pull\",error=\"invalid_token\"",
        server.realm()
    );
    let refusal = Fault::Answer(401, Headers::from([("WWW-Authenticate", realm.as_str())]), vec![]);
    proxy.rule(Rule::on("/blobs/").ranged(true).first(1).fault(refusal.clone()));
    proxy.rule(Rule::on("/blobs/").nth(3).fault(refusal));
    proxy.rule(Rule::on("/blobs/").nth(5).fault(Fault::CutAt(1000)));
    let before = server.requests().len();
    let rig = Rig::new(&fixture, "renewed").insecure(&proxy.host());
    let argument = format!("docker://{}/app", proxy.host());
    rig.pulls(&["--username", "user", "--password", "secret", &argument]);
    rig.assert_holds(&small(6));
    assert_eq!(server.requests().len() - before, 3);
    assert!(proxy.log().iter().any(|one| one.range().is_some() && one.status == 206));
}

/// A server to which a registry sends us on may not ask who we are.
#[test]
fn privileged_no_login_for_servers_behind_a_redirect() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = basic(&fixture);
    let thief = RecordingServer::start(200, br#"{"token":"x"}"#);
    let front = FaultProxy::start(&registry.host());
    let asking = FaultProxy::start(&registry.host());
    for challenge in ["Basic realm=x".to_owned(), format!("Bearer realm=\"{}/t\"", thief.url())] {
        let headers = Headers::from([("WWW-Authenticate", challenge.as_str())]);
        asking.clear_rules();
        asking.rule(Rule::on("").fault(Fault::Answer(401, headers, vec![])));
        front.clear_rules();
        front.rule(Rule::on("/blobs/").fault(Fault::Redirect(307, asking.url())));
        let name = challenge.split(' ').next().unwrap();
        let rig = Rig::new(&fixture, name).insecure(&front.host());
        let argument = format!("docker://{}/app", front.host());
        rig.fails(&["--username", USER, "--password", PASSWORD, &argument]);
        assert!(!asking.log().is_empty() && !asking.log().iter().any(Exchange::authorized));
        assert!(thief.requests().is_empty(), "{:#?}", thief.requests());
    }
}

/// A token server with TLS is believed only when its certificate is.
#[test]
fn privileged_token_servers_are_verified() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let certificates = Certificates::generate();
    let server = TokenServer::setup().tls(&certificates).start();
    let registry = Registry::setup().tls(&certificates).token_login(&server).start();
    push(&fixture, &registry, "app", &small(1));
    let directories = fixture.scratch("certs.d");
    let know = |host: &str| {
        fs::create_dir_all(directories.join(host)).unwrap();
        fs::copy(certificates.ca(), directories.join(host).join("ca.crt")).unwrap();
    };
    know(&registry.host());
    let config = format!("pull: {{certificate_directories: [{}]}}", directories.display());
    let rig = Rig::with_config(&fixture, "tokens", &config);
    let argument = format!("docker://{}/app", registry.host());
    let arguments = ["--username", "user", "--password", "secret", &argument];
    let before = server.requests().len();
    assert_contains(&rig.fails(&arguments), "x509: certificate signed by unknown authority");
    assert_eq!(server.requests().len(), before);
    know(&server.host());
    rig.pulls(&arguments);
    rig.assert_holds(&small(1));
}

/// Standard output, standard error, the log of everything, and the arguments of children.
#[test]
fn privileged_secrets_show_nowhere() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let server = TokenServer::setup().user(USER, PASSWORD).start();
    let registry = with_tokens(&fixture, &server, 2);
    // The helper notes what its own arguments and those of its parent are.
    let script = format!(
        "tr '\\0' ' ' < /proc/$$/cmdline >> \"$HOME/seen\"\n\
         tr '\\0' ' ' < /proc/$PPID/cmdline >> \"$HOME/seen\"\n{}",
        answering(PASSWORD)
    );
    let rig = helper(Rig::new(&fixture, "quiet").insecure(&registry.host()), &script);
    write(&rig.path(".docker/config.json"), r#"{"credsStore": "fake"}"#);
    let log = rig.path("log");
    for (number, reference) in ["app", "none"].iter().enumerate() {
        let argument = format!("docker://{}/{reference}", registry.host());
        let mut command = rig.command("pull", &[&argument]);
        command.args(["--log-level", "debug", "--log-file", log.to_str().unwrap()]);
        let output = testkit::command::run(&mut command);
        assert_eq!(output.code, Some(i32::from(number == 1)), "{}", output.report());
        let seen = fs::read_to_string(rig.path("seen")).unwrap();
        let log = fs::read_to_string(&log).unwrap();
        assert!(seen.contains("docker-credential-fake"), "{seen}");
        let all = format!("{}{}{log}{seen}", output.stdout, output.stderr);
        let basic = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        for secret in [PASSWORD, basic.as_str(), "eyJ", "Bearer"] {
            assert!(!all.contains(secret), "`{secret}` is in: {all}");
        }
    }
}
