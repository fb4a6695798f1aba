//! Several processes and one image; one process and a large one; ends before the end.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::command::{Running, TIME_LIMIT, start};
use testkit::fault::{Fault, Rule};
use testkit::fault_proxy::{Exchange, FaultProxy};
use testkit::image::{Compression, Image};
use testkit::link::Link;
use testkit::registry::Registry;

use crate::fixture::{Driver, Fixture};
use crate::rig::{Rig, noisy, push, size_of, small};

/// Sends a signal to a program that we have started.
pub fn signal(running: &Running, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Requests for the blob that were answered with bytes.
fn of<'a>(log: &'a [Exchange], digest: &str) -> Vec<&'a Exchange> {
    log.iter().filter(|one| one.target.ends_with(digest)).collect()
}

fn one_download_for_all(driver: Driver) {
    let fixture = Fixture::without_store(driver);
    let registry = Registry::plain();
    let image = small(6);
    let written = push(&fixture, &registry, "app", &image);
    let proxy = FaultProxy::setup()
        .link(Link { round_trip: Duration::from_millis(20), bytes_per_second: None })
        .start(&registry.host());
    let rig = Rig::new(&fixture, "together").insecure(&proxy.host());
    let argument = format!("docker://{}/app", proxy.host());
    let running: Vec<Running> =
        (0..8).map(|_| start(&mut rig.command("pull", &[&argument]))).collect();
    for one in running {
        one.finish(TIME_LIMIT).success();
    }
    rig.assert_holds(&image);
    for layer in &written.layers {
        let log = proxy.log();
        assert_eq!(of(&log, layer).len(), 1, "{:#?}", of(&log, layer));
    }
}

#[test]
fn privileged_one_download_for_all_btrfs() {
    one_download_for_all(Driver::Btrfs);
}

#[test]
fn privileged_one_download_for_all_overlay_xfs() {
    one_download_for_all(Driver::OverlayXfs);
}

/// The first one hangs; killed, it makes way for those who wait.
#[test]
fn privileged_those_who_wait_take_over() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = Registry::plain();
    let image = Image::new().layer_as(&noisy("noise", 300_000, 1), Compression::None);
    let written = push(&fixture, &registry, "app", &image);
    let proxy = FaultProxy::start(&registry.host());
    let stall = Fault::StallAt(100_000, TIME_LIMIT);
    proxy.rule(Rule::on(&written.layers[0]).first(1).fault(stall));
    let rig = Rig::new(&fixture, "takeover").insecure(&proxy.host());
    let argument = format!("docker://{}/app", proxy.host());
    let first = start(&mut rig.command("pull", &[&argument]));
    proxy.wait_until(TIME_LIMIT, |log| of(log, &written.layers[0]).len() == 1);
    let others: Vec<Running> =
        (0..3).map(|_| start(&mut rig.command("pull", &[&argument]))).collect();
    // Each has read manifest and configuration, and now wants the layer.
    proxy.wait_until(TIME_LIMIT, |log| {
        log.iter().filter(|one| one.target.contains("/blobs/") && one.finished).count() >= 4
    });
    let killed = Instant::now();
    signal(&first, Signal::KILL);
    assert_eq!(first.finish(TIME_LIMIT).code, None);
    proxy.wait_until(TIME_LIMIT, |log| of(log, &written.layers[0]).len() == 2);
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    for one in others {
        one.finish(TIME_LIMIT).success();
    }
    assert_eq!(of(&proxy.log(), &written.layers[0]).len(), 2);
    // What the killed one has left is for `clean`.
    rig.grootfs.ok(&["clean"]);
    rig.pulls(&[&argument]);
    rig.assert_holds(&image);
}

#[test]
fn privileged_signals_end_a_stalled_pull() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = Registry::plain();
    let image = Image::new().layer_as(&noisy("noise", 300_000, 1), Compression::None);
    let written = push(&fixture, &registry, "app", &image);
    let layer = written.layers[0].as_str();
    for (name, which, on, fault) in [
        ("int-body", Signal::INT, layer, Fault::StallAt(100_000, TIME_LIMIT)),
        ("term-body", Signal::TERM, layer, Fault::StallAt(100_000, TIME_LIMIT)),
        ("int-head", Signal::INT, "/manifests/", Fault::Delay(TIME_LIMIT)),
        ("term-wait", Signal::TERM, "/manifests/", Fault::retry_after_seconds(429, 50)),
    ] {
        let proxy = FaultProxy::start(&registry.host());
        proxy.rule(Rule::on(on).fault(fault));
        let rig = Rig::new(&fixture, name).insecure(&proxy.host());
        let before = rig.listing();
        let running = start(&mut rig.command("pull", &[&format!("docker://{}/app", proxy.host())]));
        proxy.wait_until(TIME_LIMIT, |log| {
            let reached = |one: &&Exchange| match which {
                _ if on == layer => one.body_bytes >= 100_000,
                _ => one.target.contains(on) && (name == "int-head" || one.finished),
            };
            log.iter().any(|one| reached(&one))
        });
        let sent = Instant::now();
        signal(&running, which);
        let output = running.finish(Duration::from_secs(20));
        assert!(sent.elapsed() < Duration::from_secs(1), "{name}: {:?}", sent.elapsed());
        assert_eq!(output.code, Some(130), "{name}: {}", output.report());
        assert!(output.stdout.starts_with("interrupted"), "{name}: {}", output.report());
        before.assert_same(&rig.listing());
    }
}

/// Peak resident memory in KiB of a process that still runs; it only grows. 0 as long as it is this program:
/// the kernel says that a new process runs another one a moment before it lets go of the memory that it
/// shares with us, which holds the images of the test.
fn peak_memory(pid: u32) -> Option<u64> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    if program == std::env::current_exe().unwrap() {
        return Some(0);
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn privileged_large_layers_come_in_parts_and_memory_stays_small() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = Registry::plain();
    let image = Image::new().layer_as(&noisy("noise", 300_000_000, 1), Compression::None);
    let written = push(&fixture, &registry, "app", &image);
    let layer = written.layers[0].as_str();
    let proxy = FaultProxy::setup()
        .link(Link { round_trip: Duration::from_millis(30), bytes_per_second: Some(60 << 20) })
        .start(&registry.host());
    // One of the parts breaks off.
    proxy.rule(Rule::on(layer).ranged(true).nth(3).fault(Fault::CutAt(1 << 20)));
    let rig = Rig::new(&fixture, "large").insecure(&proxy.host());
    let running = start(&mut rig.command("pull", &[&format!("docker://{}/app", proxy.host())]));
    let mut peak = 0;
    while let Some(now) = peak_memory(running.id()) {
        peak = peak.max(now);
        std::thread::sleep(Duration::from_millis(20));
    }
    running.finish(TIME_LIMIT).success();
    rig.assert_holds(&image);
    let log = proxy.log();
    let parts = of(&log, layer).into_iter().filter(|one| one.range().is_some()).count();
    let connections: std::collections::BTreeSet<u64> =
        of(&log, layer).into_iter().map(|one| one.connection).collect();
    assert!(parts > 10 && connections.len() > 2, "{parts} parts, {connections:?}");
    // Each thread keeps its connection from part to part.
    assert!(connections.len() <= 7, "{parts} parts, {connections:?}");
    let (sent, size) = (proxy.body_bytes(layer), size_of(&registry, layer));
    assert!(sent < size + (12 << 20), "{sent} bytes of {size}");
    assert!(peak > 0 && peak < 50 << 10, "{peak} KiB");
}

#[test]
fn privileged_connections_are_used_again() {
    for driver in [Driver::Btrfs, Driver::OverlayXfs] {
        let fixture = Fixture::without_store(driver);
        let registry = Registry::plain();
        let image = small(10);
        push(&fixture, &registry, "app", &image);
        for concurrency in [1, 4] {
            let proxy = FaultProxy::start(&registry.host());
            let config = format!("pull: {{concurrency: {concurrency}}}");
            let name = format!("connections-{concurrency}");
            let rig = Rig::with_config(&fixture, &name, &config).insecure(&proxy.host());
            rig.pulls(&[&format!("docker://{}/app", proxy.host())]);
            rig.assert_holds(&image);
            assert_eq!(proxy.log().len(), 12);
            // One more is the question whether the server speaks TLS.
            let connections = proxy.connections();
            assert!(connections <= concurrency + 1, "{driver:?}: {connections} of {concurrency}");
        }
    }
}
