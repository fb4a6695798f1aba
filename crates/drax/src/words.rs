//! The words of a command line: flags as Go's programs take them, and values.
//!
//! `-name` is `--name`, `--name=value` is `--name value`, and flags may stand anywhere. `tardis` has
//! the same file: two programs that run as root share no more than they must.

use std::ffi::{OsStr, OsString};

use lexopt::Arg;

/// Flags that a program knows: those with a value, and those without.
#[derive(Debug)]
pub struct Known {
    /// Names of flags with a value.
    pub valued: &'static [&'static str],
    /// Names of flags that are there or not; they take `=true` and `=false` too.
    pub switches: &'static [&'static str],
    /// Commands.
    pub commands: &'static [&'static str],
}

/// A command line, taken apart.
#[derive(Debug, Default)]
pub struct Words {
    /// The command; empty if there is none.
    pub command: String,
    /// What follows it and is no flag.
    pub values: Vec<OsString>,
    flags: Vec<(&'static str, OsString)>,
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// There is no such command.
    Command(String),
    /// Anything else.
    Other(String),
}

impl Wrong {
    /// What a failure says.
    pub fn other(text: impl std::fmt::Display) -> Self {
        Self::Other(text.to_string())
    }
}

impl Words {
    /// Takes a command line apart.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        known: &Known,
    ) -> Result<Self, Wrong> {
        let mut words = Self::default();
        let mut parser = lexopt::Parser::from_args(arguments);
        loop {
            let argument = parser.next().map_err(|error| Wrong::Other(error.to_string()))?;
            let (name, attached) = match argument {
                None => return Ok(words),
                Some(Arg::Value(value)) => {
                    words.add_value(value, known)?;
                    continue;
                }
                Some(Arg::Long(name)) => {
                    let name = name.to_owned();
                    (name, parser.optional_value())
                }
                // lexopt reads one letter and leaves the others as its value.
                Some(Arg::Short(first)) => split(first, parser.optional_value()),
            };
            let is = |names: &[&'static str]| names.iter().copied().find(|known| *known == name);
            if let Some(name) = is(known.valued) {
                let value = match attached {
                    Some(value) => value,
                    None => parser.value().map_err(|_| {
                        Wrong::Other(format!("flag --{name} needs a value: give --{name} <value>"))
                    })?,
                };
                words.flags.push((name, value));
            } else if let Some(name) = is(known.switches) {
                words.flags.push((name, attached.unwrap_or_else(|| "true".into())));
            } else {
                return Err(Wrong::Other(format!("flag provided but not defined: -{name}")));
            }
        }
    }

    fn add_value(&mut self, value: OsString, known: &Known) -> Result<(), Wrong> {
        if !self.command.is_empty() {
            self.values.push(value);
            return Ok(());
        }
        let name = value.to_string_lossy();
        if !known.commands.iter().any(|command| *command == name) {
            return Err(Wrong::Command(name.into_owned()));
        }
        self.command = name.into_owned();
        Ok(())
    }

    /// All values of a flag, in their order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &OsStr> {
        self.flags.iter().filter(move |(flag, _)| *flag == name).map(|(_, value)| value.as_os_str())
    }

    /// The value of a flag; the last one counts.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.all(name).last()
    }

    /// The value of a flag that must be there.
    pub fn required(&self, name: &str) -> Result<&OsStr, Wrong> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Wrong::Other(format!("flag --{name} is missing: `{}` needs it", self.command))
        })
    }

    /// A number that is not negative.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Wrong> {
        let Some(value) = self.get(name) else { return Ok(None) };
        // `parse` would take a `+` too.
        let digits = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Wrong::Other(format!(
                "invalid value \"{}\" for flag --{name}: give a number from 0 to {}",
                value.display(),
                u64::MAX
            ))),
        }
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> Result<bool, Wrong> {
        match self.get(name).map(OsStr::to_str) {
            None | Some(Some("false")) => Ok(false),
            Some(Some("true")) => Ok(true),
            Some(_) => Err(Wrong::Other(format!("flag --{name} takes `true` or `false`"))),
        }
    }

    /// Refuses flags that the command does not have, and more values than it takes.
    pub fn only(&self, flags: &[&str], values: usize) -> Result<(), Wrong> {
        if let Some((name, _)) = self.flags.iter().find(|(name, _)| !flags.contains(name)) {
            let command = &self.command;
            return Err(Wrong::Other(format!("flag --{name} is not for the command `{command}`")));
        }
        match self.values.get(values) {
            None => Ok(()),
            Some(value) => Err(Wrong::Other(format!("unexpected argument `{}`", value.display()))),
        }
    }
}

/// A name that was written with one dash, and what follows a `=` in it.
fn split(first: char, rest: Option<OsString>) -> (String, Option<OsString>) {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let rest = rest.unwrap_or_default();
    let mut parts = rest.as_bytes().splitn(2, |byte| *byte == b'=');
    let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let value = parts.next().map(|value| OsString::from_vec(value.to_vec()));
    (format!("{first}{name}"), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known =
        Known { valued: &["path", "p"], switches: &["sync", "v"], commands: &["limit", "list"] };

    fn read(line: &[&str]) -> Result<Words, Wrong> {
        Words::read(line.iter().map(OsString::from), &KNOWN)
    }

    #[test]
    fn all_spellings_are_one() {
        for line in [
            &["limit", "--path", "/a=b", "--sync"][..],
            &["limit", "--path=/a=b", "--sync=true"],
            &["limit", "-path", "/a=b", "-sync"],
            &["-path=/a=b", "-sync=true", "limit"],
            &["--path", "x", "limit", "-sync=false", "-sync", "-path", "/a=b"],
        ] {
            let words = read(line).unwrap();
            assert_eq!(words.command, "limit", "{line:?}");
            assert_eq!(words.get("path").unwrap(), "/a=b", "{line:?}");
            assert!(words.is_on("sync").unwrap(), "{line:?}");
        }
        let words = read(&["list", "-v", "--", "-path"]).unwrap();
        assert_eq!((words.values, words.flags.len()), (vec![OsString::from("-path")], 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |line: &[&str]| match read(line).unwrap_err() {
            Wrong::Other(text) => text,
            Wrong::Command(name) => format!("command {name}"),
        };
        assert_eq!(wrong(&["frob", "--none"]), "command frob");
        assert_eq!(wrong(&["limit", "--none=3"]), "flag provided but not defined: -none");
        assert_eq!(wrong(&["limit", "-none"]), "flag provided but not defined: -none");
        assert!(wrong(&["limit", "--path"]).contains("--path needs a value"));
        let words = read(&["limit", "--sync=maybe", "x"]).unwrap();
        assert!(words.is_on("sync").is_err());
        assert!(words.only(&["sync"], 0).is_err() && words.only(&["path"], 1).is_err());
        assert!(words.only(&["sync"], 1).is_ok());
        assert!(words.required("path").is_err());
    }

    #[test]
    fn numbers_are_decimal_and_not_negative() {
        for (text, number) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("+1", None),
            ("1k", None),
            ("0x10", None),
            (" 1", None),
            ("", None),
        ] {
            let words = read(&["limit", "--path", text]).unwrap();
            assert_eq!(words.number("path").ok().flatten(), number, "{text:?}");
        }
    }
}
