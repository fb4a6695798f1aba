//! What `drax` prints and with which exit code it ends, before it touches anything.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use testkit::command::{Output, run};

fn drax(arguments: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_drax")).args(arguments))
}

#[test]
fn version_and_help() {
    for flag in ["--version", "-version", "-v"] {
        assert_eq!(drax(&[flag]).success(), "drax version 0.1.0\n");
    }
    let help = drax(&[]).success();
    assert!(help.starts_with("drax - ") && help.contains("--exclude-image-from-quota"));
    for line in [&["help"][..], &["h"], &["--help"], &["-h"], &["limit", "--help"]] {
        assert_eq!(drax(line).success(), help, "{line:?}");
    }
}

#[test]
fn unknown_commands_have_an_exit_code_of_their_own() {
    let output = drax(&["--btrfs-bin", "btrfs", "frobnicate", "--path"]);
    assert_eq!(output.code, Some(3));
    assert_eq!(output.stdout, "No help topic for 'frobnicate'\n");
}

#[test]
fn privileged_bad_arguments_are_named() {
    testkit::filesystem::require_root();
    for (line, text) in [
        (&["limit", "--disk-limit-bytes", "1"][..], "flag --volume-path is missing"),
        (&["limit", "--volume-path", "/a"], "flag --disk-limit-bytes is missing"),
        (
            &["limit", "--volume-path", "/a", "--disk-limit-bytes=-1"],
            "\"-1\" for flag --disk-limit-bytes",
        ),
        (
            &["limit", "--volume-path", "/a", "--disk-limit-bytes", "18446744073709551616"],
            "\"18446744073709551616\" for flag --disk-limit-bytes",
        ),
        (&["limit", "--volume-path", "/a", "--disk-limit-bytes", "1k"], "\"1k\" for flag"),
        (&["stats", "--volume-path"], "--volume-path needs a value"),
        (&["stats", "--volume-path", "/a", "/b"], "unexpected argument `/b`"),
        (&["stats", "--json", "--disk-limit-bytes", "1"], "is not for the command `stats`"),
        (&["destroy"], "flag --volume-path is missing"),
        (&["list"], "missing path argument"),
        (&["list", "--nonsense", "/a"], "flag provided but not defined: -nonsense"),
        (&["--log-timestamp-format", "unix", "list", "/a"], "takes `unix-epoch` or `rfc3339`"),
    ] {
        let said = drax(line).failure();
        assert!(said.contains(text), "{line:?}: {said}");
    }
}

#[test]
fn the_words_are_read_as_in_tardis() {
    let ours = include_str!("../src/words.rs").replace("`tardis` has", "`drax` has");
    assert_eq!(ours, include_str!("../../tardis/src/words.rs"));
}

#[test]
fn few_crates_run_as_root() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            "drax",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    let names: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("drax") && names.contains("rustix"), "{names:?}");
    assert!(names.len() < 8, "{names:?}");
    for tool in ["serde", "clap", "thiserror", "grootfs"] {
        assert!(!names.contains(tool), "{names:?}");
    }
}
