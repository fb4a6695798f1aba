//! What an operator of the original greps for (contract 8.3).

use std::fs;
use std::process::Command;

use serde_json::Value;
use testkit::command::run;
use testkit::image::{Compression, busybox, write_tar};

use crate::fixture::{Fixture, PROGRAM, two_layers};
use crate::plain_user::{Alice, for_alice};

on_both_drivers!(sessions_of_the_original, levels, a_line_is_one_call);
for_alice!(of_a_user);

/// The lines of a log: message, level and data.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a command at level `debug`; its log.
fn log(fixture: &Fixture, arguments: &[&str]) -> Vec<Value> {
    let output = fixture.grootfs.clone().with(&["--log-level", "debug"]).run(arguments);
    lines(&output.stderr)
}

/// The line with this message; its data.
#[track_caller]
fn find<'a>(lines: &'a [Value], message: &str) -> &'a Value {
    let line = lines.iter().find(|line| line["message"] == format!("grootfs.{message}"));
    let all =
        || lines.iter().map(|line| line["message"].to_string()).collect::<Vec<_>>().join("\n");
    &line.unwrap_or_else(|| panic!("no {message} in\n{}", all()))["data"]
}

fn sessions_of_the_original(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let (overlay, layers) = (fixture.is_overlay(), two_layers().chain_ids());
    let name = |ours: &'static str, btrfs: &'static str| if overlay { ours } else { btrfs };

    let lines = log(fixture, &["create", &url, "web-1"]);
    let config = &find(&lines, "create.create-config")["currentConfig"];
    assert_eq!(config["store"], fixture.grootfs.store().to_str().unwrap());
    assert_eq!(config["create"]["with_clean"], false);
    let creating = "create.groot-creating";
    let outer = find(&lines, &format!("{creating}.starting"));
    assert_eq!((&outer["imageID"], &outer["spec"]["ID"]), (&"web-1".into(), &"web-1".into()));
    assert_eq!(outer["spec"]["BaseImageURL"], url.as_str());
    let infos = find(&lines, &format!("{creating}.fetching-image-manifest.fetched-layer-infos"));
    assert_eq!(infos["layers"].as_array().unwrap().len(), 2);
    let layer = format!("{creating}.image-pulling.build-layer");
    let volume = name("overlayxfs-creating-volume", "btrfs-creating-volume");
    for message in
        ["starting", "ending", "unpacking-layer.starting", "unpacking-layer.layer-unpacked"]
    {
        find(&lines, &format!("{layer}.{message}"));
    }
    assert_eq!(
        find(&lines, &format!("{layer}.starting"))["parentChainID"].as_str().unwrap().len() % 64,
        0
    );
    let data = find(&lines, &format!("{layer}.{volume}.starting"));
    let (outer, inner) = (outer["session"].as_str().unwrap(), data["session"].as_str().unwrap());
    assert!(inner.starts_with(&format!("{outer}.")), "{inner} is not in {outer}");
    assert!(data["id"].as_str().unwrap().contains("-incomplete-"));
    let root = name("overlayxfs-creating-image", "btrfs-creating-snapshot");
    let data = find(&lines, &format!("{creating}.making-image.{root}.starting"));
    assert_eq!(data["volumes"], Value::from(layers.clone()));

    let lines = log(fixture, &["create", &url, "web-2"]);
    let pulling = format!("{creating}.image-pulling.");
    assert!(!lines.iter().any(|line| line["message"].as_str().unwrap().contains("build-layer")));
    find(&lines, &format!("{pulling}ending"));
    if fixture.has_quotas() {
        let stats = log(fixture, &["stats", "web-1"]);
        let fetching = name("overlayxfs-fetching-stats", "btrfs-fetching-stats");
        assert_eq!(find(&stats, &format!("stats.{fetching}.starting"))["session"], "1.1");
    }
    let missing = log(fixture, &["stats", "nobody"]);
    let data = find(&missing, "stats.find-id-failed");
    assert_eq!((&data["id"], &data["storePath"]), (&"nobody".into(), &config["store"]));
    let skipped = log(fixture, &["delete", "nobody"]);
    let data = find(&skipped, "delete.id-not-found-skipping");
    assert!(data["errorMessage"].as_str().unwrap().contains("not found"));

    for id in ["web-1", "web-2"] {
        let deleted = log(fixture, &["delete", id]);
        let session = name("overlayxfs-destroying-image", "btrfs-destroying-image");
        find(&deleted, &format!("delete.deleting-image.{session}.starting"));
    }
    let cleaned = log(fixture, &["clean"]);
    for message in ["garbage-collector-mark-unused.starting", "garbage-collector-collect.ending"] {
        find(&cleaned, &format!("clean.groot-cleaning.{message}"));
    }
    let session = name("overlayxfs-destroying-volume", "btrfs-deleting-volume");
    let gone = format!("grootfs.clean.groot-cleaning.garbage-collector-collect.{session}.ending");
    assert_eq!(
        cleaned.iter().filter(|line| line["message"] == gone.as_str()).count(),
        layers.len()
    );
    let init = log(fixture, &["init-store"]);
    find(&init, "init-store.store-manager-init-store.store-already-initialized");
    find(
        &init,
        "init-store.store-manager-init-store.store-manager-configure-store.store-path-already-exists",
    );
}

/// At level `info` there are the main steps and no details; by default there is nothing.
fn levels(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let file = fixture.scratch("log");
    fixture
        .grootfs
        .clone()
        .with(&["--log-file", file.to_str().unwrap()])
        .ok(&["create", &url, "x"]);
    let told = lines(&fs::read_to_string(&file).unwrap());
    find(&told, "create.groot-creating.making-image.ending");
    assert!(told.iter().all(|line| line["log_level"] == 1), "{told:?}");
    let silent = fixture.grootfs.run(&["create", &url, "y"]);
    assert!(silent.stderr.is_empty(), "{}", silent.report());
}

/// Garden takes each write for a line of its own.
fn a_line_is_one_call(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    // With its layers in the store, no process is left that goes on for a while.
    fixture.grootfs.ok(&["create", &url, "x"]);
    let calls = fixture.scratch("calls");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=write,writev", "-s", "100000", "-o"]);
    strace.arg(&calls).arg(PROGRAM).arg("--store").arg(fixture.grootfs.store());
    strace.args(["--driver", fixture.driver.name(), "--log-level", "debug", "create", &url, "y"]);
    let output = run(&mut strace);
    let lines = output.stderr.lines().count();
    output.success();
    let calls = fs::read_to_string(&calls).unwrap();
    let calls: Vec<&str> = calls.lines().filter(|call| call.contains("(2, ")).collect();
    assert!(calls.iter().all(|call| call.contains("write(2, \"{") && call.contains("}\\n\", ")));
    assert!(lines > 10 && calls.len() == lines, "{lines} lines, {} calls", calls.len());
}

/// What a user's command has done by other processes is part of its session.
fn of_a_user(alice: &Alice) {
    let tar = alice.fixture.scratch("image.tar");
    write_tar(&tar, &busybox(), Compression::None);
    let (name, flag) = if alice.fixture.is_overlay() {
        ("tardis", "--tardis-bin")
    } else {
        ("drax", "--drax-bin")
    };
    let (program, _) = alice.helper(name, "exit 7");
    let grootfs = alice.grootfs.clone().with(&["--log-level", "debug"]);
    let create = |flags: &[&str], id: &str| {
        let fixed = [flag, program.to_str().unwrap(), "create", "--without-mount"];
        let output = grootfs.run(&[&fixed, flags, &[tar.to_str().unwrap(), id]].concat());
        (lines(&output.stderr), output.code)
    };
    let (told, code) = create(&[], "x");
    assert_eq!(code, Some(0));
    let outer = find(&told, "create.ns-id-mapper-unpacking.starting");
    let number = outer["session"].as_str().unwrap();
    find(&told, "create.ns-id-mapper-unpacking.starting-unpack-command");
    for (session, action) in
        [("mapUID", "uid-mappings-are-set"), ("mapGID", "gid-mappings-are-set")]
    {
        let data = find(&told, &format!("create.ns-id-mapper-unpacking.{session}.{action}"));
        assert_eq!(data["mappings"].as_array().unwrap().len(), 2);
    }
    let inner = find(&told, "create.groot-creating.starting")["session"].as_str().unwrap();
    assert!(inner.starts_with(&format!("{number}.")), "{inner} is not in {number}");

    let (told, code) = create(&["--disk-limit-size-bytes", "99999999"], "y");
    assert_eq!(code, Some(1));
    let arguments = find(&told, &format!("create.run-{name}.starting"))["args"].to_string();
    assert!(arguments.contains("/images/y"), "{arguments}");
    let data = find(&told, &format!("create.run-{name}.{name}-failed"));
    assert!(data["error"].as_str().unwrap().len() > 5, "{data}");
}
