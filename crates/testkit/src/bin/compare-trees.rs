//! Prints what differs between two directory trees, entry by entry; see `testkit::tree`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use testkit::tree::Tree;

const USAGE: &str = "usage: compare-trees [--without-devices] <reference> <found>";

/// Lines that are printed of one kind of difference; the rest is counted.
const SHOWN: usize = 10;

/// Exit code when the trees differ; other failures have 2, as with `diff`.
const DIFFERENT: u8 = 1;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let without_devices = arguments.first().is_some_and(|first| first == "--without-devices");
    if without_devices {
        arguments.remove(0);
    }
    let [reference, found] = &arguments[..] else {
        let _ = writeln!(io::stderr(), "{USAGE}");
        return ExitCode::from(2);
    };
    let reference = Tree::read(Path::new(reference));
    let devices = reference.entries.values().filter(|entry| entry.kind.ends_with("device")).count();
    let reference = reference.without(|_, entry| without_devices && entry.kind.ends_with("device"));
    match report(&reference, &Tree::read(Path::new(found)), devices, &mut io::stdout()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(DIFFERENT),
        Err(_) => ExitCode::from(2),
    }
}

/// Prints a summary and the first differences of each kind; returns how many there are.
fn report(
    reference: &Tree,
    found: &Tree,
    devices: usize,
    out: &mut dyn Write,
) -> io::Result<usize> {
    let differences = reference.diff(found).0;
    let counted = |is: &dyn Fn(&testkit::tree::Entry) -> bool| {
        reference.entries.values().filter(|entry| is(entry)).count()
    };
    writeln!(
        out,
        "{} entries ({} directories, {} links, {} names of hard links, {} with xattrs, {} devices \
         in the reference): {} differences",
        reference.entries.len(),
        counted(&|entry| entry.kind == "directory"),
        counted(&|entry| entry.kind == "symlink"),
        counted(&|entry| !entry.same_as.is_empty()),
        counted(&|entry| !entry.xattrs.is_empty()),
        devices,
        differences.len(),
    )?;
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in &differences {
        kinds.entry(kind(line)).or_default().push(line);
    }
    for (kind, lines) in kinds {
        writeln!(out, "  {kind}: {}", lines.len())?;
        for line in lines.iter().take(SHOWN) {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(differences.len())
}

/// What a line of a [`testkit::tree::Diff`] is about: a field, or a file that is only on one side.
fn kind(line: &str) -> &str {
    match line.as_bytes().first() {
        Some(b'-') => "missing",
        Some(b'+') => "too much",
        _ => {
            line.rsplit_once(": ").and_then(|(_, rest)| rest.split(" `").next()).unwrap_or("other")
        }
    }
}
