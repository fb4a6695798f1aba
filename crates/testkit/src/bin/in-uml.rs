//! Runs a command inside User-Mode Linux and exits with its status; see `testkit::uml`.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use testkit::uml::{self, Machine};

const USAGE: &str = "\
usage: in-uml [options] -- <command> [arguments]
  --memory <size>        memory of the guest, in M or G (1G)
  --disk <file>:<size>   a disk, /dev/ubda and so on; the file is made if it is missing, and stays
  --timeout <seconds>    kill the guest after this time (300)
  --env <name>[=<value>] set a variable, or pass it on from here; may be repeated
Variables that begin with RUST_, CARGO_ or GROOTFS_ are passed on without being asked.";

/// Exit code for a guest that gave no status: `env` and `timeout` use the same one.
const FAILED: u8 = 125;

/// Variables that steer test binaries and the program under test.
const PASSED_ON: [&str; 3] = ["RUST_", "CARGO_", "GROOTFS_"];

fn main() -> ExitCode {
    let result = parse(std::env::args_os().skip(1))
        .and_then(|(machine, command)| machine.run(&command).map_err(|error| chain(&error)));
    match result {
        Ok(ended) => {
            let status = ended.status.and_then(|status| u8::try_from(status).ok());
            ExitCode::from(status.unwrap_or(FAILED))
        }
        Err(text) => {
            // With standard error gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "in-uml: {text}");
            ExitCode::from(FAILED)
        }
    }
}

fn parse(
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<(Machine, Vec<OsString>), String> {
    let mut machine = Machine::new().pass_through();
    for (name, value) in std::env::vars_os() {
        if PASSED_ON.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes())) {
            machine = machine.env(name, value);
        }
    }
    while let Some(option) = arguments.next() {
        if option == "--" {
            let command: Vec<OsString> = arguments.collect();
            return if command.is_empty() { Err(USAGE.to_owned()) } else { Ok((machine, command)) };
        }
        let value = arguments.next().ok_or(USAGE)?;
        machine = match option.to_str() {
            Some("--memory") => machine.memory_mib(bytes(&value)? >> 20),
            Some("--timeout") => machine.time_limit(Duration::from_secs(number(&value)?)),
            Some("--disk") => disk(machine, &value)?,
            Some("--env") => variable(machine, &value),
            _ => return Err(format!("unknown option {}\n{USAGE}", option.display())),
        };
    }
    Err(USAGE.to_owned())
}

fn disk(machine: Machine, value: &OsStr) -> Result<Machine, String> {
    let text = value.to_str().ok_or("the disk's path is no UTF-8")?;
    let (file, size) = text.rsplit_once(':').ok_or("--disk needs <file>:<size>")?;
    let (file, size) = (Path::new(file), bytes(OsStr::new(size))?);
    match std::fs::metadata(file) {
        Ok(about) if about.len() == size => {}
        Ok(about) => return Err(format!("{} has {} bytes", file.display(), about.len())),
        Err(_) => uml::make_disk(file, size).map_err(|error| chain(&error))?,
    }
    Ok(machine.disk(file))
}

fn variable(machine: Machine, value: &OsStr) -> Machine {
    let bytes = value.as_bytes();
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(at) => {
            machine.env(OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..]))
        }
        None => match std::env::var_os(value) {
            Some(here) => machine.env(value, here),
            None => machine,
        },
    }
}

/// Reads a size in bytes with an optional `K`, `M` or `G`.
fn bytes(value: &OsStr) -> Result<u64, String> {
    let text = value.to_string_lossy();
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (&*text, 0),
    };
    let count = number(OsStr::new(digits))?;
    count.checked_mul(1 << shift).ok_or_else(|| format!("{text} is too much"))
}

fn number(value: &OsStr) -> Result<u64, String> {
    let text = value.to_string_lossy();
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
