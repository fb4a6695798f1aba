//! The set-uid program: project quotas for users who are not root.
//!
//! It runs as root on behalf of somebody who is not. What it trusts and what it does first is in
//! [`groot_sys::setuid`]; who may change which project is in [`commands`].

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use groot_sys::setuid::{self, Caller, restriction};

use crate::words::{Known, Words, Wrong};

mod commands;
mod image_info;
mod words;

// A file, because the man page shows it too.
const HELP: &str = include_str!("help.txt");

const KNOWN: Known = Known {
    valued: &[
        "log-timestamp-format",
        "disk-limit-bytes",
        "inode-limit",
        "image-path",
        "volume-path",
        "opaque-path",
    ],
    switches: &["help", "h", "version", "v"],
    commands: &["limit", "release", "stats", "handle-opqwhiteouts", "help", "h"],
};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Err(error) = setuid::harden() {
        return print(&format!("{error}\n"), ExitCode::FAILURE);
    }
    match answer(arguments) {
        Ok(text) => print(&text, ExitCode::SUCCESS),
        Err(Wrong::Command(name)) => {
            print(&format!("No help topic for '{name}'\n"), ExitCode::from(3))
        }
        Err(Wrong::Other(text)) => print(&format!("{text}\n"), ExitCode::FAILURE),
    }
}

/// Does what is asked, and returns what is to be printed.
fn answer(arguments: Vec<OsString>) -> Result<String, Wrong> {
    let words = Words::read(arguments, &KNOWN)?;
    if words.is_on("version")? || words.is_on("v")? {
        return Ok("tardis version 0.1.0\n".to_owned());
    }
    let help = words.is_on("help")? || words.is_on("h")?;
    if help || matches!(words.command.as_str(), "" | "help" | "h") {
        return Ok(HELP.to_owned());
    }
    let caller = Caller::take_over().map_err(Wrong::other)?.ok_or_else(|| {
        Wrong::other(
            "tardis has not the rights of root: its set-uid bit is missing, or the file system \
             that it lies on is mounted with `nosuid`. Do `chown root` and then `chmod u+s` on it",
        )
    })?;
    if restriction::refuses(caller) {
        return Err(Wrong::Other(restriction::explanation("Tardis", caller)));
    }
    check_log_format(&words)?;
    match words.command.as_str() {
        "limit" => commands::limit(caller, &words),
        "release" => commands::release(caller, &words),
        "stats" => commands::stats(caller, &words),
        _ => commands::opaque_whiteouts(caller, &words),
    }
}

/// There are no log lines to format: what goes wrong is the answer.
fn check_log_format(words: &Words) -> Result<(), Wrong> {
    match words.get("log-timestamp-format").map(|format| format.to_str()) {
        None | Some(Some("unix-epoch" | "rfc3339")) => Ok(()),
        Some(_) => Err(Wrong::other("flag --log-timestamp-format takes `unix-epoch` or `rfc3339`")),
    }
}

/// Everything goes to standard output, errors too: that is where callers look for them.
fn print(text: &str, code: ExitCode) -> ExitCode {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        // Nobody is left to tell.
        Err(_) => ExitCode::FAILURE,
    }
}
