//! Commands that are killed at every one of their system calls.
//!
//! A first run under `strace` shows which calls a command makes; then it is killed before each of them.
//! `strace` counts every kind of call (`openat`, `write`) for itself in every thread, and kills at whoever
//! comes to N first. So all calls of the main thread are reached, and those of other threads unless the main thread
//! has made as many of their kind before it started them. What is left to chance there is in `soak`.
//!
//! Only the process itself is killed. What it starts in the background (`settle`) goes on, as it would.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use testkit::command::{Output, TIME_LIMIT, run_within};
use testkit::tree::Tree;

use super::chance::Chance;
use super::{Before, number};
use crate::fixture::{Fixture, Spec, two_layers};

on_both_drivers!(
    cold_create,
    cached_create,
    delete,
    clean,
    limit,
    delete_without_room_for_names,
    clean_without_room_for_names,
);

/// How many calls of a command are tried where nobody asks for more: a second or two.
const SOME: usize = 12;

/// A disk on which nothing can get a new name.
const NO_ROOM_FOR_NAMES: &str = "--inject=/^rename:error=ENOSPC";

/// One call of a command: its name, and the how many-th of this name in its thread.
pub type Call = (String, usize);

/// Runs a command under `strace`.
fn traced(command: &Command, options: &[&str]) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["--follow-forks", "--quiet=all"]).args(options);
    strace.arg(command.get_program()).args(command.get_args()).current_dir("/");
    run_within(&mut strace, TIME_LIMIT)
}

/// Runs a command in which something happens to one call; the programs that it starts are left alone.
pub fn injected(command: &Command, call: &Call, what: &str) -> Output {
    let inject = format!("--inject={}:{what}:when={}", call.0, call.1);
    traced(command, &["--detach-on=execve", "--output=/dev/null", &inject])
}

/// Runs a command in which something happens to one call of it, or of a program that it starts.
pub fn injected_with_children(command: &Command, call: &Call, what: &str) -> Output {
    let inject = format!("--inject={}:{what}:when={}", call.0, call.1);
    traced(command, &["--output=/dev/null", &inject])
}

/// Runs a command that is killed at one of its calls, while more may happen to it; `None` when it was killed.
fn killed_at(command: &Command, call: &Call, more: &[&str]) -> Option<Output> {
    let inject = format!("--inject={}:signal=KILL:when={}", call.0, call.1);
    let options = [&["--detach-on=execve", "--output=/dev/null"], more, &[&inject]].concat();
    let output = traced(command, &options);
    output.code.is_some().then_some(output)
}

/// The calls that a command makes, which is run for that.
pub fn calls_of(command: &Command, options: &[&str]) -> Vec<Call> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = format!("--output={}", file.path().display());
    traced(command, &[options, &[&output]].concat());
    let log = std::fs::read_to_string(file.path()).unwrap();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in log.lines() {
        // `1234 openat(...) = 3`; a call that is resumed was counted before.
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let name = rest.trim_start().split('(').next().unwrap_or_default();
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            *counts.entry((name, thread)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((name, _), count) in counts {
        let most = most.entry(name).or_default();
        *most = count.max(*most);
    }
    most.into_iter().flat_map(|(name, count)| (1..=count).map(|n| (name.to_owned(), n))).collect()
}

/// Tries some calls, spread evenly and beginning by chance, or every `GROOTFS_KILLS`-th.
///
/// `lives` is asked for each and says whether the command has lived to its end, as it may where threads
/// share their work in another way each time.
pub fn at_calls(test: &str, calls: &[Call], some: usize, mut lives: impl FnMut(&Call) -> bool) {
    let mut chance = Chance::new(test);
    let begin = Instant::now();
    let step = number("GROOTFS_KILLS").unwrap_or(calls.len().div_ceil(some) as u64).max(1);
    let step = usize::try_from(step).unwrap();
    let first = usize::try_from(chance.below(step as u64)).unwrap();
    let (mut tried, mut lived) = (0, 0);
    for call in calls.iter().skip(first).step_by(step) {
        tried += 1;
        lived += usize::from(lives(call));
    }
    println!(
        "{test}: {tried} of {} calls tried, {} times killed, {:.1} s",
        calls.len(),
        tried - lived,
        begin.elapsed().as_secs_f32()
    );
    assert!(lived < tried, "{test} was never killed");
}

/// The tree of a root that nobody disturbed.
pub fn reference(fixture: &Fixture, url: &str) -> Tree {
    let tree = fixture.create(url, "reference").tree();
    fixture.grootfs.ok(&["delete", "reference"]);
    fixture.grootfs.ok(&["clean"]);
    tree
}

/// The next create works, and its root is what it must be.
#[track_caller]
fn assert_next_works(fixture: &Fixture, url: &str, reference: &Tree, what: &str) {
    let found = reference.diff(&fixture.create(url, "next").tree());
    assert!(found.0.is_empty(), "{what}: the next create made something else:\n{found}");
}

fn cold_create(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let reference = reference(fixture, &url);
    let before = Before::of(fixture);
    killed_creates(fixture, "cold create", &url, &reference, &before);
}

fn cached_create(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let reference = reference(fixture, &url);
    fixture.create(&url, "keeps-the-layers");
    let before = Before::of(fixture);
    killed_creates(fixture, "cached create", &url, &reference, &before);
}

fn killed_creates(fixture: &Fixture, test: &str, url: &str, reference: &Tree, before: &Before) {
    let victim = fixture.grootfs.command(&["create", url, "victim"]);
    let calls = calls_of(&victim, &["--detach-on=execve"]);
    before.assert_restored(fixture, test);
    at_calls(test, &calls, SOME, |call| {
        let what = format!("{test} killed at {call:?}");
        let lived = killed_at(&victim, call, &[]);
        if let Some(output) = &lived {
            assert_eq!(output.code, Some(0), "{what}: {}", output.report());
        }
        assert_next_works(fixture, url, reference, &what);
        // Again: the id is taken as soon as there is something that a delete could remove.
        let again = fixture.grootfs.run(&["create", url, "victim"]);
        if again.code == Some(0) {
            reference.assert_same(&Spec::new(again.stdout).tree());
        } else {
            assert_eq!(again.failure(), "image for id `victim` already exists\n", "{what}");
        }
        before.assert_restored(fixture, &what);
        lived.is_some()
    });
    before.assert_nothing_stale(fixture);
}

fn delete(fixture: &Fixture) {
    killed_deletes(fixture, "delete", &[]);
}

fn delete_without_room_for_names(fixture: &Fixture) {
    killed_deletes(fixture, "delete without room for names", &[NO_ROOM_FOR_NAMES]);
}

fn killed_deletes(fixture: &Fixture, test: &str, more: &[&str]) {
    let (url, _) = fixture.oci("image", &two_layers());
    let reference = reference(fixture, &url);
    fixture.create(&url, "keeps-the-layers");
    let before = Before::of(fixture);
    let victim = fixture.grootfs.command(&["delete", "victim"]);
    fixture.create(&url, "victim");
    let calls = calls_of(&victim, more);
    assert!(!fixture.path("images/victim").exists(), "{test} deletes nothing");
    at_calls(test, &calls, SOME, |call| {
        let what = format!("{test} killed at {call:?}");
        fixture.create(&url, "victim");
        let lived = killed_at(&victim, call, more);
        assert_next_works(fixture, &url, &reference, &what);
        let again = fixture.grootfs.ok(&["delete", "victim"]);
        let gone = "Image `victim` not found. Skipping delete.\n";
        match &lived {
            Some(output) => {
                assert_eq!((output.code, again.as_str()), (Some(0), gone), "{}", output.report());
            }
            None => assert!([gone, "Image victim deleted\n"].contains(&again.as_str()), "{again}"),
        }
        // The id is free.
        fixture.create(&url, "victim");
        before.assert_restored(fixture, &what);
        lived.is_some()
    });
    before.assert_nothing_stale(fixture);
}

fn clean(fixture: &Fixture) {
    killed_cleans(fixture, "clean", &[]);
}

fn clean_without_room_for_names(fixture: &Fixture) {
    killed_cleans(fixture, "clean without room for names", &[NO_ROOM_FOR_NAMES]);
}

fn killed_cleans(fixture: &Fixture, test: &str, more: &[&str]) {
    let (url, _) = fixture.oci("image", &two_layers());
    let reference = reference(fixture, &url);
    let before = Before::of(fixture);
    let victim = fixture.grootfs.command(&["clean"]);
    let make_garbage = || {
        fixture.create(&url, "old");
        fixture.grootfs.ok(&["delete", "old"]);
    };
    make_garbage();
    let calls = calls_of(&victim, more);
    assert_eq!(fixture.names("volumes"), [""; 0], "{test} removes nothing");
    at_calls(test, &calls, SOME, |call| {
        let what = format!("{test} killed at {call:?}");
        make_garbage();
        let lived = killed_at(&victim, call, more);
        if let Some(output) = &lived {
            assert_eq!(output.stdout, "clean completed\n", "{what}: {}", output.report());
        }
        assert_next_works(fixture, &url, &reference, &what);
        before.assert_restored(fixture, &what);
        lived.is_some()
    });
    before.assert_nothing_stale(fixture);
}

/// Where the kernel holds no limits, the command fails, and leaves as little.
fn limit(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let reference = reference(fixture, &url);
    let before = Before::of(fixture);
    let arguments = ["limit", "--disk-limit-size-bytes", "50000000", "victim"];
    fixture.create(&url, "victim");
    let expected = fixture.grootfs.run(&arguments);
    assert!(matches!(expected.code, Some(0 | 1)), "{}", expected.report());
    let victim = fixture.grootfs.command(&arguments);
    let calls = calls_of(&victim, &[]);
    at_calls("limit", &calls, SOME, |call| {
        let what = format!("limit killed at {call:?}");
        fixture.grootfs.ok(&["delete", "victim"]);
        fixture.create(&url, "victim");
        let lived = killed_at(&victim, call, &[]);
        assert_next_works(fixture, &url, &reference, &what);
        fixture.grootfs.ok(&["delete", "next"]);
        let again = fixture.grootfs.run(&arguments);
        assert_eq!(
            (again.code, &again.stdout),
            (expected.code, &expected.stdout),
            "{what}: {}",
            again.report()
        );
        fixture.grootfs.ok(&["stats", "victim"]);
        lived.is_some()
    });
    before.assert_restored(fixture, "limit");
    before.assert_nothing_stale(fixture);
}
