//! Runs the commands of a document, in their order and in one shell, and compares what they print.
//!
//! Blocks marked `console` are run. A line behind `$ ` is a command, those behind `> ` continue it, the others are what
//! it prints; where nothing stands below a command, nothing is compared. Comments in front say more:
//!
//! | | |
//! |---|---|
//! | ```` ```console fails ```` | at least one of the commands fails |
//! | `<!-- run: why`, lines of shell, `-->` | what has to be there before, and readers need not see |
//! | `<!-- as: alice -->` | whose commands the next block has |
//! | `<!-- not run: why -->` | the next block is not run |
//! | `<!-- recorded -->` | what the next block shows is written by `hack/record-session` |

use std::fmt::Write;
use std::fs;

use crate::compare::is_same;
use crate::markdown::{Block, Item, items};
use crate::place::Place;
use crate::{checkout, documents, read};

/// Makes a test of each document that has commands.
macro_rules! documents_with_commands {
    ($($name:ident: $path:literal),+ $(,)?) => {
        const WITH_COMMANDS: &[&str] = &[$($path),+];

        $(
            #[test]
            fn $name() {
                runs($path);
            }
        )+
    };
}

documents_with_commands!(
    privileged_readme: "README.md",
    privileged_cleaning: "docs/cleaning.md",
    privileged_configuration: "docs/configuration.md",
    privileged_images: "docs/images.md",
    privileged_install: "docs/install.md",
    privileged_limits: "docs/limits.md",
    privileged_mappings: "docs/mappings.md",
    privileged_metrics: "docs/metrics.md",
    privileged_roots: "docs/roots.md",
    privileged_runtimes: "docs/runtimes.md",
    privileged_stores: "docs/stores.md",
    privileged_troubleshooting: "docs/troubleshooting.md",
);

#[test]
fn every_document_with_commands_is_run() {
    let mut found = documents();
    found.retain(|document| !commands(&steps(&read(document))).is_empty());
    assert_eq!(found, WITH_COMMANDS);
}

/// A part of a session.
#[derive(Debug)]
enum Step {
    /// Nobody sees it.
    Prepare(String),
    Show(Shown),
}

/// A block of commands.
#[derive(Debug)]
struct Shown {
    block: Block,
    user: Option<String>,
    fails: bool,
    is_recorded: bool,
    commands: Vec<Shell>,
}

/// A command, and the lines that follow it.
#[derive(Debug, Default)]
struct Shell {
    text: String,
    expected: Vec<String>,
    /// Its last line in the block.
    last: usize,
}

fn steps(text: &str) -> Vec<Step> {
    let mut found = Vec::new();
    let (mut user, mut is_run, mut is_recorded) = (None, true, false);
    for item in items(text) {
        match item {
            Item::Comment(comment) => match comment.split_once(':') {
                Some(("run", rest)) => {
                    let (_why, script) = rest.split_once('\n').expect("why, and what is run");
                    found.push(Step::Prepare(script.to_owned()));
                }
                Some(("as", name)) => user = Some(name.trim().to_owned()),
                Some(("not run", _)) => is_run = false,
                None if comment == "recorded" => is_recorded = true,
                _ => {}
            },
            Item::Block(block) => {
                let mut words = block.info.split(' ');
                let is_console = words.next() == Some("console");
                let fails = words.next() == Some("fails");
                if is_console && is_run {
                    let (user, commands) = (user.take(), shells(&block));
                    found.push(Step::Show(Shown { block, user, fails, is_recorded, commands }));
                }
                (user, is_run, is_recorded) = (None, true, false);
            }
        }
    }
    found
}

fn shells(block: &Block) -> Vec<Shell> {
    let mut found: Vec<Shell> = Vec::new();
    for (number, line) in block.lines.iter().enumerate() {
        if let Some(text) = line.strip_prefix("$ ") {
            found.push(Shell { text: text.to_owned(), last: number, ..Shell::default() });
            continue;
        }
        let shell = found.last_mut().expect("a command before its output");
        match line.strip_prefix("> ") {
            Some(more) if shell.expected.is_empty() => {
                shell.text = format!("{}\n{more}", shell.text);
                shell.last = number;
            }
            _ => shell.expected.push(line.clone()),
        }
    }
    found
}

fn commands(steps: &[Step]) -> Vec<(&Shown, &Shell)> {
    let shown = steps.iter().filter_map(|step| match step {
        Step::Show(shown) => Some(shown),
        Step::Prepare(_) => None,
    });
    shown.flat_map(|shown| shown.commands.iter().map(move |shell| (shown, shell))).collect()
}

/// The session as a script: the output and the exit status of each command go into files.
fn script(steps: &[Step]) -> String {
    let mut text = String::new();
    let mut number = 0;
    for step in steps {
        match step {
            Step::Prepare(script) => {
                writeln!(text, "exec >/out/prepare 2>&1\nset -e\n{script}\nset +e").unwrap();
            }
            Step::Show(shown) => {
                for shell in &shown.commands {
                    let command = match &shown.user {
                        None => shell.text.clone(),
                        Some(user) => format!(
                            "setpriv --reuid {user} --regid {user} --clear-groups \\\n\
                             bash -c {}",
                            quoted(&shell.text)
                        ),
                    };
                    writeln!(
                        text,
                        "exec >/out/{number} 2>&1\n{command}\nstatus=$?\necho $status >/out/{number}.status"
                    )
                    .unwrap();
                    if !shown.fails {
                        text.push_str("((status == 0)) || exit 1\n");
                    }
                    number += 1;
                }
            }
        }
    }
    text
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Runs a document in a place of its own.
fn runs(document: &str) {
    let text = read(document);
    let steps = steps(&text);
    let place = Place::new();
    fs::write(place.path("session"), script(&steps)).unwrap();
    let session = place.run();
    let printed = |name: &str| fs::read_to_string(place.path("out").join(name)).unwrap_or_default();
    let mut outputs = Vec::new();
    let mut wrong = String::new();
    let mut failures = 0;
    for (number, (shown, shell)) in commands(&steps).into_iter().enumerate() {
        let status = printed(&format!("{number}.status"));
        let output = printed(&number.to_string());
        let lines: Vec<String> = output.lines().map(str::to_owned).collect();
        let is_right = shell.expected.is_empty() || is_same(&shell.expected, &lines);
        let has_ended = status == "0\n" || shown.fails && !status.is_empty();
        failures += usize::from(status != "0\n");
        if !has_ended || !(is_right || shown.is_recorded && is_recording()) {
            writeln!(
                wrong,
                "line {}: $ {}\nexit status {}printed:\n{output}instead of:\n{}\n",
                shown.block.first + shell.last + 1,
                shell.text,
                if status.is_empty() { "none\n" } else { &status },
                shell.expected.join("\n")
            )
            .unwrap();
        }
        outputs.push((shown, shell, lines));
    }
    assert!(wrong.is_empty(), "{document}:\n{wrong}{}\n{}", printed("prepare"), session.report());
    let blocks = steps.iter().filter(|step| matches!(step, Step::Show(shown) if shown.fails));
    assert!(failures >= blocks.count(), "{document}: what should fail works");
    if is_recording() {
        record(document, &text, &outputs);
    }
}

/// Whether documents are to be written, and not only read.
fn is_recording() -> bool {
    std::env::var_os("GROOTFS_RECORD_SESSION").is_some()
}

/// Puts what was printed into the recorded blocks.
fn record(document: &str, text: &str, outputs: &[(&Shown, &Shell, Vec<String>)]) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // From the end, so that numbers of lines before stay right.
    for (shown, shell, printed) in outputs.iter().rev().filter(|(shown, ..)| shown.is_recorded) {
        let from = shown.block.first + shell.last + 1;
        lines.splice(from..from + shell.expected.len(), printed.clone());
    }
    fs::write(checkout().join(document), lines.join("\n") + "\n").unwrap();
}
