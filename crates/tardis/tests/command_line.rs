//! What `tardis` prints and with which exit code it ends, before it touches anything.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use testkit::command::{Output, run};
use testkit::set_uid::{ALICE, SetUid, make_directory, make_store, set_mode};

fn tardis(arguments: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_tardis")).args(arguments))
}

#[test]
fn version_and_help() {
    for flag in ["--version", "-version", "-v"] {
        assert_eq!(tardis(&[flag]).success(), "tardis version 0.1.0\n");
    }
    let help = tardis(&[]).success();
    assert!(help.starts_with("tardis - ") && help.contains("--inode-limit"));
    for line in [&["help"][..], &["h"], &["--help"], &["-h"], &["limit", "--help"]] {
        assert_eq!(tardis(line).success(), help, "{line:?}");
    }
}

#[test]
fn unknown_commands_have_an_exit_code_of_their_own() {
    let output = tardis(&["--log-timestamp-format", "rfc3339", "frobnicate", "--path"]);
    assert_eq!(output.code, Some(3));
    assert_eq!(output.stdout, "No help topic for 'frobnicate'\n");
}

#[test]
fn privileged_bad_arguments_are_named() {
    testkit::filesystem::require_root();
    for (line, text) in [
        (&["limit", "--disk-limit-bytes", "1"][..], "flag --image-path is missing"),
        (&["limit", "--image-path", "/a"], "flag --disk-limit-bytes is missing"),
        (
            &["limit", "--image-path", "/a", "--disk-limit-bytes=-1"],
            "\"-1\" for flag --disk-limit-bytes",
        ),
        (
            &["limit", "--image-path", "/a", "--disk-limit-bytes", "18446744073709551616"],
            "\"18446744073709551616\" for flag --disk-limit-bytes",
        ),
        (&["limit", "--image-path", "/a", "--disk-limit-bytes", "1k"], "\"1k\" for flag"),
        (
            &["limit", "--image-path", "/a", "--disk-limit-bytes", "1", "--inode-limit", "-2"],
            "\"-2\" for flag --inode-limit",
        ),
        (&["stats", "--volume-path"], "--volume-path needs a value"),
        (&["stats", "--volume-path", "/a", "/b"], "unexpected argument `/b`"),
        (&["stats", "--image-path", "/a"], "is not for the command `stats`"),
        (&["handle-opqwhiteouts"], "flag --opaque-path is missing"),
        (&["limit", "--nonsense", "/a"], "flag provided but not defined: -nonsense"),
        (
            &["--log-timestamp-format", "unix", "stats", "--volume-path", "/a"],
            "takes `unix-epoch` or `rfc3339`",
        ),
    ] {
        let said = tardis(line).failure();
        assert!(said.contains(text), "{line:?}: {said}");
    }
}

#[test]
fn privileged_no_program_is_started() {
    let tardis = SetUid::new(Path::new(env!("CARGO_BIN_EXE_tardis")));
    let store = tardis.scratch().join("store");
    make_store(&store, ALICE);
    make_directory(&store.join("images/one"), ALICE);
    make_directory(&store.join("volumes/layer"), ALICE);
    std::fs::write(store.join("images/one/image_info"), "7").unwrap();
    let image = store.join("images/one").display().to_string();
    let layer = store.join("volumes/layer").display().to_string();
    let log = tardis.scratch().join("log");
    for (line, codes) in [
        (["stats", "--volume-path", &image].as_slice(), 0..=0),
        (&["handle-opqwhiteouts", "--opaque-path", &layer], 0..=0),
        // The file system below a scratch directory seldom has project quotas.
        (&["limit", "--disk-limit-bytes=1048576", "--image-path", &image], 0..=1),
        (&["stats", "--volume-path", "/etc"], 1..=1),
    ] {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=execve,execveat,fork,vfork,clone,clone3", "-o"]).arg(&log);
        let output = run(strace.arg(tardis.path()).args(line));
        assert!(output.code.is_some_and(|code| codes.contains(&code)), "{}", output.report());
        let log = std::fs::read_to_string(&log).unwrap();
        let calls: Vec<&str> = log.lines().filter(|line| line.contains('(')).collect();
        assert!(calls.len() == 1 && calls[0].contains("execve("), "{line:?}: {log}");
    }
    let stats = run(&mut tardis.command(ALICE, &["stats", "--volume-path", &image])).success();
    assert!(stats.starts_with(r#"{"disk_usage":{"total_bytes_used":7,"exclusive_bytes_used":0,"#));
}

#[test]
fn privileged_without_the_bit_it_says_so() {
    let tardis = SetUid::new(Path::new(env!("CARGO_BIN_EXE_tardis")));
    set_mode(tardis.path(), 0o755);
    let line = ["stats", "--volume-path", "/a/images/b"];
    let said = run(&mut tardis.command(ALICE, &line)).failure();
    assert!(said.contains("its set-uid bit is missing"), "{said}");
}

#[test]
fn few_crates_run_as_root() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            "tardis",
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
    assert!(names.contains("tardis") && names.contains("rustix"), "{names:?}");
    assert!(names.len() < 8, "{names:?}");
    for tool in ["serde", "clap", "thiserror", "grootfs"] {
        assert!(!names.contains(tool), "{names:?}");
    }
}
