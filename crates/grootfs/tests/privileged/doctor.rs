//! `doctor`: what it finds, and that it says how it is mended.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};
use testkit::command::{Output, run};
use testkit::image::Image;
use testkit::layer::Layer;
use testkit::registry::Registry;
use testkit::token_server::TokenServer;
use testkit::user::{User, open_up};

use crate::fixture::{Fixture, PROGRAM, assert_contains};

on_both_drivers!(
    a_whole_store,
    many_roots,
    how_the_store_is_mounted,
    registries_of_the_configuration,
    logins,
    the_environments_login,
);
on_both_drivers!(without_store: no_store, without_threads);

/// What a mend begins with: commands, and two changes that no command makes everywhere.
const MENDS: [&str; 17] = [
    "apt-get", "boot", "btrfs", "chown", "curl", "du", "grootfs", "install", "ls", "modprobe",
    "mount", "podman", "set", "sudo", "sysctl", "umount", "usermod",
];

fn doctor(fixture: &Fixture, config: &str) -> Output {
    let file = fixture.scratch("config.yml");
    fs::write(&file, format!("store: {}\n{config}", fixture.grootfs.store().display())).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(&file).args(["doctor", "--json"]);
    run(&mut command)
}

/// The findings about a topic. Whatever is not as it should be says what mends it.
#[track_caller]
fn findings(output: &Output, topic: &str) -> Vec<Value> {
    let all: Vec<Value> =
        output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for finding in &all {
        assert_eq!(finding["level"] == "ok", finding["fix"].is_null(), "{finding}");
        let fix = finding["fix"].as_str().and_then(|fix| fix.split(' ').next());
        assert!(fix.is_none_or(|word| MENDS.contains(&word)), "{finding}");
    }
    let has_error = all.iter().any(|finding| finding["level"] == "error");
    assert_eq!(output.code, Some(i32::from(has_error)), "{}", output.stdout);
    all.into_iter().filter(|finding| finding["topic"] == topic).collect()
}

/// Full quotas of btrfs slow creates down.
fn many_roots(fixture: &Fixture) {
    let slow = || {
        let limits = findings(&doctor(fixture, ""), "store: limits").remove(0);
        limits["text"].as_str().unwrap().contains("creates become slow")
    };
    for number in 0..100 {
        fs::create_dir(fixture.path(&format!("images/root-{number}"))).unwrap();
    }
    assert!(!slow());
    fs::create_dir(fixture.path("images/one-more")).unwrap();
    assert_eq!(slow(), !fixture.is_overlay());
}

fn a_whole_store(fixture: &Fixture) {
    let before = fixture.listing();
    let output = doctor(fixture, "clean:\n  threshold_bytes: 1000\n");
    assert_eq!(output.code, Some(0), "{}", output.stdout);
    for topic in ["store", "store: file system", "clean: threshold"] {
        assert_eq!(findings(&output, topic)[0]["level"], "ok", "{topic}");
    }
    let limits = if fixture.has_quotas() { "ok" } else { "warning" };
    assert_eq!(findings(&output, "store: limits")[0]["level"], limits);
    let output = doctor(fixture, "clean:\n  threshold_bytes: 99999999999999\n");
    assert_eq!(findings(&output, "clean: threshold")[0]["level"], "warning");
    let other = if fixture.is_overlay() { "btrfs" } else { "overlay-xfs" };
    let output = doctor(fixture, &format!("driver: {other}\n"));
    assert_eq!(findings(&output, "store")[0]["level"], "error");
    before.assert_same(&fixture.listing());
    let text = fixture.grootfs.ok(&["doctor"]);
    assert_contains(&text, "ok       store: ");
}

fn no_store(fixture: &Fixture) {
    let output = doctor(fixture, "");
    let found = findings(&output, "store");
    assert_eq!(found[0]["level"], "error");
    let fix = format!("grootfs --store {} init-store", fixture.grootfs.store().display());
    assert_eq!(found[0]["fix"], fix);
    // The report is for whoever asked, the log has what it comes to.
    let log = fixture.scratch("log");
    let text = fixture.grootfs.fails(&[
        "--log-level",
        "error",
        "--log-file",
        log.to_str().unwrap(),
        "doctor",
    ]);
    assert_contains(&text, &format!("mend: {fix}\n"));
    let log = fs::read_to_string(log).unwrap();
    assert_contains(&log, "\"error\":\"roots cannot be made: store\"");
    assert!(!log.contains("mend:"), "{log}");
    assert!(!fixture.grootfs.store().exists());
}

/// A mount of its own for the command, so that nobody else has the options.
fn how_the_store_is_mounted(fixture: &Fixture) {
    let point = fixture.mount_point();
    let shown = point.display();
    let mounted = |options: &str| {
        let script = "mount -o remount,bind,$1 \"$2\"; shift 2; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh", options]);
        command.arg(&point).arg(PROGRAM).arg("--store").arg(fixture.grootfs.store());
        findings(&run(command.args(["doctor", "--json"])), "store: mount")
    };
    let found = mounted("ro");
    assert_eq!((found.len(), &found[0]["level"]), (1, &"error".into()), "{found:?}");
    assert_eq!(found[0]["fix"], format!("mount -o remount,rw {shown}"));
    let found = mounted("nosuid,nodev,noexec");
    if fixture.is_overlay() {
        assert!(found.is_empty(), "an overlay is a mount of its own: {found:?}");
    } else {
        assert_eq!((found.len(), &found[0]["level"]), (1, &"warning".into()), "{found:?}");
        for option in ["nosuid", "nodev", "noexec"] {
            assert_contains(found[0]["text"].as_str().unwrap(), option);
        }
        assert_eq!(found[0]["fix"], format!("mount -o remount,exec,suid,dev {shown}"));
    }
    assert!(mounted("relatime").is_empty());
}

fn registries_of_the_configuration(fixture: &Fixture) {
    let registry = Registry::plain();
    // Nobody listens where somebody just did.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let directory = fixture.scratch("certs.d");
    let named = Registry::plain();
    fs::create_dir_all(directory.join(named.host())).unwrap();
    let hosts = format!("server = \"{}\"\n", named.url());
    fs::write(directory.join(named.host()).join("hosts.toml"), hosts).unwrap();
    let output = doctor(
        fixture,
        &format!(
            "create:\n  insecure_registries: [\"{}\", \"{gone}\"]\npull:\n  hosts_directories: [{}]\n",
            registry.host(),
            directory.display()
        ),
    );
    let there = findings(&output, &format!("registry: {}", named.host()));
    assert_eq!((there.len(), &there[0]["level"]), (1, &"ok".into()), "{there:?}");
    let there = findings(&output, &format!("registry: {}", registry.host()));
    assert_eq!((there.len(), &there[0]["level"]), (1, &"ok".into()), "{there:?}");
    // By the way that answered.
    assert_eq!(there[0]["text"], format!("http://{}/v2 answers", registry.host()));
    let silent = findings(&output, &format!("registry: {gone}"));
    assert_eq!((silent.len(), &silent[0]["level"]), (1, &"warning".into()), "{silent:?}");
    assert_contains(silent[0]["text"].as_str().unwrap(), "connection refused");
}

/// What is saved for a registry is tried there, and never shown.
fn logins(fixture: &Fixture) {
    let basic = Registry::setup().basic_login("alice", "hunter2").start();
    let tokens = TokenServer::setup().user("alice", "hunter2").start();
    let bearer = Registry::setup().token_login(&tokens).start();
    let anonymous = TokenServer::setup().anonymous_pull().start();
    let open = Registry::setup().token_login(&anonymous).start();
    let hosts = [&basic, &bearer, &open].map(|registry| registry.host());
    let insecure = [&hosts[..], &[tokens.host(), anonymous.host()]].concat();
    let saved = fixture.scratch("auth.json");
    let ask = |auths: Value| {
        fs::write(&saved, json!({ "auths": auths }).to_string()).unwrap();
        let output = with_login(fixture, &insecure, &[("REGISTRY_AUTH_FILE", saved.as_os_str())]);
        hosts.each_ref().map(|host| about(&output, host))
    };
    let (wants, takes) = ("wants a login, and none is known", "answers, and takes the login");
    let expected =
        [("warning", wants), ("ok", "answers without a login"), ("ok", "answers without a login")];
    for ((level, text), (expected, part)) in ask(json!({})).iter().zip(expected) {
        assert_eq!(level, expected, "{text}");
        assert_contains(text, part);
    }
    let right = json!({ "username": "alice", "password": "hunter2" });
    let wrong = json!({ "username": "alice", "password": "hunter3" });
    let [basic, bearer, _] = ask(json!({ &hosts[0]: right, &hosts[1]: right }));
    for (level, text) in [basic, bearer] {
        assert_eq!(level, "ok", "{text}");
        assert_contains(&text, takes);
    }
    let [basic, bearer, _] = ask(json!({ &hosts[0]: wrong, &hosts[1]: wrong }));
    for (level, text) in [basic, bearer] {
        assert_eq!(level, "warning", "{text}");
        assert_contains(&text, "answers, and refuses the login: ");
    }
}

/// It is for one registry, and nobody else gets it.
fn the_environments_login(fixture: &Fixture) {
    let basic = Registry::setup().basic_login("alice", "hunter2").start();
    let tokens = TokenServer::setup().user("alice", "hunter2").start();
    let bearer = Registry::setup().token_login(&tokens).start();
    let login = [("GROOTFS_USERNAME", "alice".as_ref()), ("GROOTFS_PASSWORD", "hunter2".as_ref())];
    let output = with_login(fixture, &[basic.host()], &login);
    assert_eq!(about(&output, &basic.host()).0, "ok");
    assert!(findings(&output, "registries: login").is_empty());
    let output = with_login(fixture, &[basic.host(), bearer.host(), tokens.host()], &login);
    assert_contains(&about(&output, &basic.host()).1, "wants a login, and none is known");
    assert!(tokens.requests().iter().all(|request| request.user.is_none()));
    let untried = findings(&output, "registries: login");
    assert_eq!((untried.len(), &untried[0]["level"]), (1, &"ok".into()), "{untried:?}");
}

fn with_login(fixture: &Fixture, insecure: &[String], login: &[(&str, &OsStr)]) -> Output {
    let file = fixture.scratch("config.yml");
    let store = fixture.grootfs.store().display();
    let text = format!("store: {store}\ncreate:\n  insecure_registries: {insecure:?}\n");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(&file).args(["doctor", "--json"]).envs(login.iter().copied());
    let output = run(&mut command);
    assert!(!output.stdout.contains("hunter"), "{}", output.stdout);
    output
}

/// Level and text of what is found about a registry.
#[track_caller]
fn about(output: &Output, host: &str) -> (String, String) {
    let found = findings(output, &format!("registry: {host}"));
    assert_eq!(found.len(), 1, "{found:?}");
    let part = |key: &str| found[0][key].as_str().unwrap().to_owned();
    (part("level"), part("text"))
}

/// Where a user may start no more threads, nothing breaks: one registry is asked after the other, and a
/// pull that comes so far shows no progress.
fn without_threads(fixture: &Fixture) {
    let user = User::new(&fixture.scratch("etc"));
    // The kernel counts the processes of a user: this one has no others.
    let uid = 200_000 + std::process::id() % 100_000;
    let mut passwd = File::options().append(true).open(fixture.scratch("etc/passwd")).unwrap();
    writeln!(passwd, "carol:x:{uid}:{uid}::/:/bin/sh").unwrap();
    let mapping = format!("0:{uid}:1");
    fixture.grootfs.ok(&["init-store", "--uid-mapping", &mapping, "--gid-mapping", &mapping]);
    open_up(&fixture.mount_point());
    let carol = fixture.grootfs.clone().user(&user.other(uid));
    let limited = |most: u32, arguments: &[&str]| {
        let wanted = carol.command(arguments);
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={most}")).arg(wanted.get_program()).args(wanted.get_args());
        run(&mut command)
    };
    let registries = [Registry::plain(), Registry::plain()];
    let hosts = registries.each_ref().map(Registry::host);
    let config = fixture.scratch("config.yml");
    fs::write(&config, format!("create:\n  insecure_registries: {hosts:?}\n")).unwrap();
    open_up(&config);
    let output = limited(1, &["--config", config.to_str().unwrap(), "doctor", "--json"]);
    assert_eq!(hosts.each_ref().map(|host| about(&output, host).0), ["ok", "ok"]);
    let (url, _) = fixture.oci("image", &Image::new().layer(&Layer::new().file("a", "b")));
    open_up(&fixture.scratch("image"));
    // How many there are at which point is for the machine to know.
    let codes = (1..12).map(|most| {
        let output = limited(most, &["--progress", "plain", "pull", &url]);
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        output.code
    });
    let codes: Vec<_> = codes.collect();
    assert_eq!((codes.first(), codes.last()), (Some(&Some(1)), Some(&Some(0))), "{codes:?}");
}
