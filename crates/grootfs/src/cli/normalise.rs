//! Makes the original's way of writing flags one that the parser takes.
//!
//! The original knew `-flag` as well as `--flag`, and a flag that takes a value took the next word
//! whatever it looked like. Here every such pair becomes one word, `--flag=value`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Command;

/// Rewrites the arguments; the first is the program's name and stays.
pub fn normalise(command: &Command, arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut out = Vec::with_capacity(arguments.len());
    let mut arguments = arguments.into_iter();
    out.extend(arguments.next());
    let mut names_command = false;
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            out.push(argument);
            out.extend(arguments);
            break;
        }
        let Some(name) = flag_name(bytes) else {
            // The original's short name for `help`, where a command may stand.
            let is_help = bytes == b"h" && !names_command;
            names_command = true;
            out.push(if is_help { OsString::from("help") } else { argument });
            continue;
        };
        if name == b"h" || name == b"v" {
            out.push(argument);
            continue;
        }
        let body = bytes.get(bytes.len() - flag_body(bytes).len()..).unwrap_or_default();
        let mut word = b"--".to_vec();
        word.extend_from_slice(body);
        if !body.contains(&b'=') && takes_value(command, name) {
            let Some(value) = arguments.next() else {
                return Err(format!("flag needs an argument: -{}", String::from_utf8_lossy(name)));
            };
            word.push(b'=');
            word.extend_from_slice(value.as_bytes());
        }
        out.push(OsString::from_vec(word));
    }
    Ok(out)
}

/// The sub-command among already rewritten arguments.
pub fn subcommand(command: &Command, arguments: &[OsString]) -> Option<String> {
    arguments
        .iter()
        .skip(1)
        .filter_map(|argument| argument.to_str())
        .find(|argument| command.find_subcommand(argument).is_some())
        .map(ToOwned::to_owned)
}

/// What stands behind the dashes; nothing for a word that is no flag, such as `-` or `-1`.
fn flag_body(word: &[u8]) -> &[u8] {
    let body = word.strip_prefix(b"--").or_else(|| word.strip_prefix(b"-")).unwrap_or_default();
    if body.first().is_some_and(u8::is_ascii_alphabetic) { body } else { &[] }
}

fn flag_name(word: &[u8]) -> Option<&[u8]> {
    flag_body(word).split(|byte| *byte == b'=').next().filter(|name| !name.is_empty())
}

/// Whether some command has a flag of this name that needs a value.
fn takes_value(command: &Command, name: &[u8]) -> bool {
    std::iter::once(command)
        .chain(command.get_subcommands())
        .flat_map(Command::get_arguments)
        .filter(|arg| arg.get_long().is_some_and(|long| long.as_bytes() == name))
        .any(|arg| {
            arg.get_action().takes_values()
                && arg.get_num_args().is_none_or(|values| values.min_values() > 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn normalised(words: &[&str]) -> Result<Vec<String>, String> {
        let words = std::iter::once("grootfs").chain(words.iter().copied()).map(OsString::from);
        let mut command = crate::cli::args::Cli::command();
        command.build();
        let out = normalise(&command, words.collect())?;
        Ok(out.iter().skip(1).map(|word| word.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn joins_flags_and_values() {
        for (words, expected) in [
            (&["-store", "/s", "list"][..], &["--store=/s", "list"][..]),
            (&["--store=/s", "list"], &["--store=/s", "list"]),
            (&["create", "-with-clean", "a", "b"], &["create", "--with-clean", "a", "b"]),
            (&["create", "--password", "-x", "a", "b"], &["create", "--password=-x", "a", "b"]),
            (
                &["create", "--disk-limit-size-bytes", "-1", "a", "b"],
                &["create", "--disk-limit-size-bytes=-1", "a", "b"],
            ),
            (&["delete", "--", "-store", "x"], &["delete", "--", "-store", "x"]),
            (&["-h"], &["-h"]),
            (&["h", "create"], &["help", "create"]),
            (&["delete", "h"], &["delete", "h"]),
            (&["--unknown", "x"], &["--unknown", "x"]),
        ] {
            assert_eq!(normalised(words).unwrap(), expected);
        }
        assert!(normalised(&["--store"]).is_err());
    }
}
