//! `doctor`: what it finds, and that it says how it is mended.

use std::fs;

use serde_json::Value;
use testkit::command::{Output, run};
use testkit::registry::Registry;
use testkit::token_server::TokenServer;

use crate::fixture::{Fixture, PROGRAM, assert_contains};

on_both_drivers!(a_whole_store, registries_of_the_configuration, logins);
on_both_drivers!(without_store: no_store);

fn doctor(fixture: &Fixture, config: &str) -> Output {
    let file = fixture.scratch("config.yml");
    fs::write(&file, format!("store: {}\n{config}", fixture.grootfs.store().display())).unwrap();
    let mut command = std::process::Command::new(PROGRAM);
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
    }
    let has_error = all.iter().any(|finding| finding["level"] == "error");
    assert_eq!(output.code, Some(i32::from(has_error)), "{}", output.stdout);
    all.into_iter().filter(|finding| finding["topic"] == topic).collect()
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
    let text = fixture.grootfs.fails(&["doctor"]);
    assert_contains(&text, &format!("mend: {fix}\n"));
    assert!(!fixture.grootfs.store().exists());
}

fn registries_of_the_configuration(fixture: &Fixture) {
    let registry = Registry::plain();
    // Nobody listens where somebody just did.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = doctor(
        fixture,
        &format!("create:\n  insecure_registries: [\"{}\", \"{gone}\"]\n", registry.host()),
    );
    let there = findings(&output, &format!("registry: {}", registry.host()));
    assert_eq!((there.len(), &there[0]["level"]), (1, &"ok".into()), "{there:?}");
    let silent = findings(&output, &format!("registry: {gone}"));
    assert_eq!((silent.len(), &silent[0]["level"]), (1, &"warning".into()), "{silent:?}");
    assert_contains(silent[0]["text"].as_str().unwrap(), "connection refused");
}

/// What is known about a registry is tried there, and never shown.
fn logins(fixture: &Fixture) {
    let basic = Registry::setup().basic_login("alice", "hunter2").start();
    let tokens = TokenServer::setup().user("alice", "hunter2").start();
    let bearer = Registry::setup().token_login(&tokens).start();
    let anonymous = TokenServer::setup().anonymous_pull().start();
    let open = Registry::setup().token_login(&anonymous).start();
    let hosts = [&basic, &bearer, &open].map(|registry| registry.host());
    let insecure = [&hosts[..], &[tokens.host(), anonymous.host()]].concat();
    let file = fixture.scratch("config.yml");
    let list = insecure.iter().map(|host| format!("{host:?}")).collect::<Vec<_>>().join(", ");
    let store = fixture.grootfs.store().display();
    fs::write(&file, format!("store: {store}\ncreate:\n  insecure_registries: [{list}]\n"))
        .unwrap();
    let ask = |user: &str, password: &str| {
        let mut command = std::process::Command::new(PROGRAM);
        command.arg("--config").arg(&file).args(["doctor", "--json"]);
        if !user.is_empty() {
            command.env("GROOTFS_USERNAME", user).env("GROOTFS_PASSWORD", password);
        }
        let output = run(&mut command);
        assert!(!output.stdout.contains("hunter"), "{}", output.stdout);
        hosts.each_ref().map(|host| {
            let found = findings(&output, &format!("registry: {host}"));
            assert_eq!(found.len(), 1, "{found:?}");
            let part = |key: &str| found[0][key].as_str().unwrap().to_owned();
            (part("level"), part("text"))
        })
    };
    let (wants, takes) = ("wants a login, and none is known", "answers, and takes the login");
    let expected =
        [("warning", wants), ("ok", "answers without a login"), ("ok", "answers without a login")];
    for ((level, text), (expected, part)) in ask("", "").iter().zip(expected) {
        assert_eq!(level, expected, "{text}");
        assert_contains(text, part);
    }
    let [basic, bearer, _] = ask("alice", "hunter2");
    for (level, text) in [basic, bearer] {
        assert_eq!(level, "ok", "{text}");
        assert_contains(&text, takes);
    }
    let refused = "answers, and refuses the login: ";
    let [basic, bearer, _] = ask("alice", "hunter3");
    for (level, text) in [basic, bearer] {
        assert_eq!(level, "warning", "{text}");
        assert_contains(&text, refused);
    }
}
