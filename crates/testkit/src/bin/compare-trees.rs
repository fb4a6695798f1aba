//! Prints what differs between two directory trees, entry by entry; see `testkit::tree`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use testkit::tree::{Entry, Tree};

const USAGE: &str = "\
usage: compare-trees [options] <reference> <found>
  --without-devices  the reference's device files must be missing in the other
  --without-top      the top directories themselves are not compared";

/// Lines that are printed of one kind of difference; the rest is counted.
const SHOWN: usize = 10;

/// Exit code when the trees differ; other failures have 2, as with `diff`.
const DIFFERENT: u8 = 1;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut given = |option: &str| {
        let before = arguments.len();
        arguments.retain(|argument| argument != option);
        arguments.len() < before
    };
    let (without_devices, without_top) = (given("--without-devices"), given("--without-top"));
    let [reference, found] = &arguments[..] else {
        let _ = writeln!(io::stderr(), "{USAGE}");
        return ExitCode::from(2);
    };
    let read = |top: &OsString| {
        let tree = Tree::read(Path::new(top)).map(|_, entry| forget_second_names(entry));
        tree.without(|path, _| without_top && path == Path::new("."))
    };
    let reference = read(reference);
    let is_device = |entry: &Entry| entry.kind.ends_with("device");
    let devices = reference.entries.values().filter(|entry| is_device(entry)).count();
    let reference = reference.without(|_, entry| without_devices && is_device(entry));
    match report(&reference, &read(found), devices, &mut io::stdout()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(DIFFERENT),
        Err(_) => ExitCode::from(2),
    }
}

/// XFS shows an ACL under a name of its own as well; other file systems do not.
fn forget_second_names(entry: &mut Entry) {
    entry.xattrs.retain(|name, _| !name.starts_with("trusted.SGI_ACL_"));
}

/// Prints a summary and the first differences of each kind; returns how many there are.
fn report(
    reference: &Tree,
    found: &Tree,
    devices: usize,
    out: &mut dyn Write,
) -> io::Result<usize> {
    let differences = reference.diff(found).0;
    let counted =
        |is: &dyn Fn(&Entry) -> bool| reference.entries.values().filter(|entry| is(entry)).count();
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
