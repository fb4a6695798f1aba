//! No server program outlives the test process.

#![expect(clippy::unwrap_used, reason = "a panic here is the test's failure")]

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use testkit::daemon::Daemon;
use testkit::registry::Registry;

/// Set for the process that is to be killed.
const CHILD: &str = "TESTKIT_DIES_WITH_A_REGISTRY";

#[test]
fn registry_dies_with_a_killed_test_process() {
    if std::env::var_os(CHILD).is_some() {
        // From a thread that ends: that must not end the registry.
        let registry = std::thread::spawn(Registry::plain).join().unwrap();
        println!("\nregistry={}", registry.pid());
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "registry_dies_with_a_killed_test_process", "--nocapture"]);
    // A killed process cannot remove its files: they are ours to remove.
    let directory = tempfile::tempdir().unwrap();
    command.env(CHILD, "1").env("TMPDIR", directory.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let pid = lines.find_map(|line| line.unwrap().strip_prefix("registry=")?.parse().ok());
    let registry = pidfd_open(Pid::from_raw(pid.unwrap()).unwrap(), PidfdFlags::empty()).unwrap();
    assert!(!ends_within(&registry, 300), "the registry ended with the thread that started it");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ends_within(&registry, 20_000), "the registry with pid {pid:?} still runs");
}

fn ends_within(process: &OwnedFd, milliseconds: u64) -> bool {
    let limit = Timespec::try_from(Duration::from_millis(milliseconds)).unwrap();
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

#[test]
#[should_panic(expected = "no-such-program is not installed: this test needs the package nothing")]
fn missing_program_names_its_package() {
    Daemon::start("no-such-program", "nothing", &[], &[]);
}

#[test]
fn program_that_ends_at_once_shows_its_log() {
    let daemon = Daemon::start("sh", "dash", &["-c", "echo reason >&2; exit 3"], &[]);
    let error = daemon.wait_for(|log| log.contains("never").then_some(())).unwrap_err();
    assert!(error.starts_with("sh ended") && error.contains("reason"), "{error}");
}
