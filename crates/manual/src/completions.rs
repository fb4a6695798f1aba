//! Completions for bash, zsh and fish.
//!
//! clap_complete makes them from a description of the command line that is simpler than clap's own: words
//! where the program reads any text, one argument after the other where it counts them itself. What a
//! shell has to look up, images and ids, is in files of our own, which are put behind.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::{Shell, generate};

use crate::pages::shown;

/// Flags that take one of some words. The program checks them itself, with errors of its own.
const WORDS: [(&str, &[&str]); 5] = [
    ("driver", &["btrfs", "overlay-xfs"]),
    ("log-level", &["debug", "info", "error", "fatal"]),
    ("log-format", &["json", "text"]),
    ("log-timestamp-format", &["unix-epoch", "rfc3339"]),
    ("compat", &["v0.30", "garden"]),
];

/// Names of arguments in help texts, and what is looked up for them.
const LOOKED_UP: [(&str, &str); 2] = [("IMAGE", "images"), ("ID", "ids")];

/// File names and texts.
pub fn all() -> Vec<(String, String)> {
    vec![
        ("grootfs.bash".to_owned(), bash()),
        ("_grootfs".to_owned(), zsh()),
        ("grootfs.fish".to_owned(), fish()),
    ]
}

fn bash() -> String {
    let program = program();
    let valued: Vec<String> = flags_with_values(&program);
    // A command, and how many arguments stand in front.
    let first_argument_of = |argument| {
        let commands = taking(&program, argument);
        commands.iter().map(|name| format!("{name}:0")).collect::<Vec<_>>().join(" | ")
    };
    let more = include_str!("completions/more.bash")
        .replace("@VALUED@", &valued.join(" "))
        .replace("@COMMANDS@", &names(&program).join(" "))
        .replace("@IMAGES@", &first_argument_of("IMAGE"))
        .replace("@IDS@", &first_argument_of("ID"));
    generated(Shell::Bash, program) + &more
}

/// zsh loads the file as one function, so that ours come first.
fn zsh() -> String {
    let mut text = generated(Shell::Zsh, program());
    for (_, what) in LOOKED_UP {
        let (plain, looked_up) =
            (format!(":{what}:_default'"), format!(":{what}:_grootfs_{what}'"));
        assert!(text.contains(&plain), "clap_complete writes {plain} differently");
        text = text.replace(&plain, &looked_up);
    }
    let first = "#compdef grootfs\n";
    assert!(text.starts_with(first), "clap_complete begins differently");
    text.replacen(first, &format!("{first}\n{}", include_str!("completions/more.zsh")), 1)
}

/// The generator forgets the positional arguments, and the value of an option in front of the command.
fn fish() -> String {
    let program = program();
    let mut more = include_str!("completions/more.fish").to_owned();
    for (flag, words) in WORDS {
        more += &format!("complete -c grootfs -l {flag} -x -a \"{}\"\n", words.join(" "));
    }
    let help = (vec!["help".to_owned()], names(&program).join(" "));
    let looked_up = LOOKED_UP
        .map(|(argument, what)| (taking(&program, argument), format!("(__fish_grootfs_{what})")));
    for (commands, values) in std::iter::once(help).chain(looked_up) {
        let condition = format!("__fish_grootfs_using_subcommand {}", commands.join(" "));
        more += &format!("complete -c grootfs -n \"{condition}\" -f -a \"{values}\"\n");
    }
    generated(Shell::Fish, program) + &more
}

fn generated(shell: Shell, mut program: Command) -> String {
    let mut out = Vec::new();
    generate(shell, &mut program, "grootfs", &mut out);
    let text = String::from_utf8_lossy(&out).into_owned();
    // The generator leaves spaces at the ends of lines.
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The command line, for completion.
fn program() -> Command {
    let mut whole = grootfs::cli::command();
    // Gives each command the global options too.
    whole.build();
    let mut program = described(&whole).disable_help_subcommand(true);
    for command in shown(&whole).filter(|command| command.get_name() != "help") {
        program = program.subcommand(described(command));
    }
    let names = names(&program);
    let help = Command::new("help").about("Print the help of a command");
    program.subcommand(help.arg(Arg::new("command").value_parser(PossibleValuesParser::new(names))))
}

fn described(command: &Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    let mut description =
        Command::new(command.get_name().to_owned()).about(about).disable_help_flag(true);
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let one = !arg.is_positional();
        description =
            if one { description.arg(flag(arg)) } else { description.args(positionals(arg)) };
    }
    description
}

fn flag(arg: &Arg) -> Arg {
    let flag = Arg::new(arg.get_id().clone()).help(arg.get_help().cloned().unwrap_or_default());
    let flag = match arg.get_long() {
        Some(long) => flag.long(long.to_owned()),
        None => flag,
    };
    let flag = match arg.get_short() {
        Some(short) => flag.short(short),
        None => flag,
    };
    // `--with-clean` may be `--with-clean=true`; nobody writes that who completes.
    if !needs_value(arg) {
        return flag.action(ArgAction::SetTrue);
    }
    // zsh takes a colon for the end of the name.
    let names =
        arg.get_value_names().unwrap_or_default().iter().map(|name| name.replace(':', " and "));
    let flag = flag.value_names(names.collect::<Vec<_>>()).action(arg.get_action().clone());
    let words = WORDS.iter().find(|(name, _)| Some(*name) == arg.get_long());
    if let Some((_, words)) = words {
        return flag.value_parser(PossibleValuesParser::new(*words));
    }
    let is_directory = arg.get_value_names().is_some_and(|names| names.iter().any(|n| n == "DIR"));
    flag.value_hint(match arg.get_value_hint() {
        ValueHint::AnyPath if is_directory => ValueHint::DirPath,
        ValueHint::AnyPath => ValueHint::FilePath,
        ValueHint::Unknown => ValueHint::Other,
        hint => hint,
    })
}

fn needs_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
        && arg.get_num_args().is_none_or(|values| values.min_values() > 0)
}

/// The program takes all arguments as one list and counts them itself.
fn positionals(arg: &Arg) -> Vec<Arg> {
    let names = arg.get_value_names().unwrap_or_default();
    let looked_up = |name: &str| LOOKED_UP.iter().find(|(known, _)| *known == name);
    names
        .iter()
        .enumerate()
        .map(|(at, name)| match looked_up(name) {
            // A new name is nothing to look up.
            Some((_, what)) if at == 0 => Arg::new(*what),
            _ => Arg::new(name.to_lowercase()).value_hint(ValueHint::Other),
        })
        .collect()
}

fn names(program: &Command) -> Vec<String> {
    program.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

fn flags_with_values(program: &Command) -> Vec<String> {
    let all = std::iter::once(program).chain(program.get_subcommands());
    let valued = all.flat_map(Command::get_arguments).filter(|arg| needs_value(arg));
    let mut names: Vec<String> = valued.filter_map(Arg::get_long).map(ToOwned::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// Commands whose first argument is of this kind.
fn taking(program: &Command, argument: &str) -> Vec<String> {
    let what = LOOKED_UP.iter().find(|(name, _)| *name == argument).map(|(_, what)| *what);
    let takes = |command: &&Command| {
        command.get_positionals().next().map(|arg| arg.get_id().as_str()) == what
    };
    program.get_subcommands().filter(takes).map(|command| command.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use grootfs::config::{Config, Flags};
    use grootfs::observe::log::Level;

    #[test]
    fn words_are_those_of_the_program() {
        let program = grootfs::cli::command();
        let takes = |flag: &str, text: &str| {
            let word = Some(text.to_owned());
            let flags = match flag {
                "driver" => Flags { driver: word, ..Flags::default() },
                "compat" => Flags { compat: word, ..Flags::default() },
                "log-format" => Flags { log_format: word, ..Flags::default() },
                "log-timestamp-format" => Flags { log_timestamp_format: word, ..Flags::default() },
                // What is no level counts as `fatal`.
                _ => return Level::parse(text).name() == text,
            };
            Config::load(flags).is_ok()
        };
        for (flag, words) in WORDS {
            assert!(program.get_arguments().any(|arg| arg.get_long() == Some(flag)), "--{flag}");
            for word in words {
                assert!(takes(flag, word), "--{flag} {word}");
            }
            assert!(!takes(flag, "other"), "--{flag}");
        }
    }

    #[test]
    fn hidden_commands_stay_hidden() {
        for (name, text) in all() {
            assert!(text.contains("delete-store"), "{name}");
            for hidden in ["settle", "generate-volume-size-metadata"] {
                assert!(!text.contains(hidden), "{hidden} is in {name}");
            }
        }
    }

    #[test]
    fn arguments_are_looked_up() {
        let program = program();
        assert_eq!(taking(&program, "IMAGE"), ["create", "pull"]);
        assert_eq!(taking(&program, "ID"), ["delete", "stats", "limit"]);
        let flags = flags_with_values(&program);
        assert!(flags.iter().any(|flag| flag == "store"), "{flags:?}");
        assert!(!flags.iter().any(|flag| flag == "with-clean"), "{flags:?}");
    }
}
