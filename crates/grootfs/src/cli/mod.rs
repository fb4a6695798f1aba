//! The commands: read arguments, call the library, print.
//!
//! What a person or Garden reads goes to standard output, errors too; standard error carries
//! nothing but logs (contract 1.1).

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::config::{Compat, Config, Flags};
use crate::driver::Driver;
use crate::error::{EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_UNKNOWN_COMMAND, Error};
use crate::interrupt::Interrupt;
use crate::observe::log::data;
use crate::observe::{Level, Log, Metrics};
use crate::store::layout::Layout;
use crate::store::{Store, healing};
use crate::userns;

mod args;
mod bundle;
mod capacity;
mod check;
mod clean;
mod config;
mod create;
mod delete;
mod delete_store;
mod detached;
mod df;
mod doctor;
mod find;
mod generate_metadata;
mod init_store;
mod limit;
mod list;
mod namespace;
mod normalise;
mod progress;
mod pull;
mod report;
mod room;
mod settle;
mod signals;
mod source;
mod stats;
mod table;

use args::{Cli, Command};

/// What every command gets.
#[derive(Debug)]
struct Context {
    config: Config,
    layout: Layout,
    log: Log,
    metrics: Metrics,
    interrupt: Interrupt,
    progress: progress::Mode,
    quiet: bool,
}

impl Context {
    /// The driver that was asked for, or the one that the store was made with.
    fn driver(&self) -> Box<dyn Driver> {
        let kind = self.config.driver.or_else(|| crate::driver::Kind::of_store(&self.layout));
        kind.unwrap_or(crate::driver::Kind::OverlayXfs).driver(
            &self.layout,
            &self.config.helpers,
            &self.log,
        )
    }

    fn store(&self) -> Result<Store, Error> {
        let made_with = crate::driver::Kind::of_store(&self.layout);
        if let (Some(asked), Some(made)) = (self.config.driver, made_with)
            && asked != made
        {
            return Err(Error::Message(format!(
                "the store {} was made with the driver {made}, not {asked}: leave --driver away",
                self.layout.root().display()
            )));
        }
        for path in healing::make_parts(&self.layout, &*self.driver())? {
            let text = format!("{} was missing and has been made again", path.display());
            self.log.error("store-part-made-again", &Error::Message(text));
        }
        let opened = Store::open(self.layout.root());
        if let Err(error) = &opened {
            self.log.error("store-verification-failed", error);
        }
        Ok(opened?)
    }

    /// Tells of something that is no failure but that somebody should know: in the log, and to a person at
    /// a terminal.
    fn warn(&self, action: &str, error: &(dyn std::error::Error + 'static)) {
        self.log.error(action, error);
        let mut terminal = std::io::stderr();
        if terminal.is_terminal() && !self.quiet && !self.log.shows_errors() {
            // Nobody is left to be told when the terminal is gone.
            let _ = writeln!(terminal, "warning: {}", crate::error::chain(error));
        }
    }

    fn compat(&self) -> Compat {
        self.config.compat
    }
}

/// The command line as clap knows it, for whoever describes it: man pages, completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with its arguments (the program's name first).
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // Before there is a second thread.
    let given = match userns::child::begin(arguments.collect()) {
        Ok(arguments) => arguments,
        Err(userns::child::Failure::NotForPeople) => {
            let text = format!("{} is started by grootfs itself\n", userns::child::NAME);
            return print(&text, ExitCode::from(EXIT_FAILURE));
        }
        Err(userns::child::Failure::Told) => return ExitCode::from(EXIT_FAILURE),
    };
    // Not built, as the parser builds the one command that it meets, and not taken apart at the end, when
    // all memory goes: that is half of what starting costs.
    let mut command = ManuallyDrop::new(Cli::command());
    let arguments = match normalise::normalise(&command, given.clone()) {
        Ok(arguments) => arguments,
        Err(text) => return usage_error(&mut command, None, &text),
    };
    let help_asked = arguments.len() < 2;
    if help_asked {
        return print_help(&mut command, None);
    }
    let matches = match command.try_get_matches_from_mut(&arguments) {
        Ok(matches) => matches,
        Err(error) => return parse_failure(&mut command, &arguments, &error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return parse_failure(&mut command, &arguments, &error),
    };
    match dispatch(cli, &given) {
        Ok(Done::Here(text)) => print(&text, ExitCode::SUCCESS),
        Ok(Done::InNamespace(code)) => ExitCode::from(code),
        Err(error) => failure(&mut command, &error),
    }
}

/// What a command comes to.
enum Done {
    /// What it prints.
    Here(String),
    /// The exit code of the process that did it, and printed.
    InNamespace(u8),
}

fn dispatch(cli: Cli, given: &[OsString]) -> Result<Done, Error> {
    match &cli.command {
        Command::Create(args) => args.check()?,
        Command::Delete(args) => args.check()?,
        Command::Pull(args) => args.check()?,
        Command::Stats(args) => args.check()?,
        Command::Limit(args) => args.check()?,
        Command::Df(args) => args.check()?,
        Command::Check(args) => args.check()?,
        Command::List(args) => args.check()?,
        Command::Doctor(args) => args.check()?,
        Command::InitStore(args) => args.check()?,
        Command::GenerateVolumeSizeMetadata(args) => args.check()?,
        _ => {}
    }
    let context = context(&cli)?;
    for key in &context.config.unknown_keys {
        context.log.info("config-unknown-key", key);
    }
    context.log.tell(Level::Debug, &format!("{}-config", cli.command.name()), || {
        data([("currentConfig", config::current(&context.config))])
    });
    let needs_no_store = matches!(
        cli.command,
        Command::InitStore(_) | Command::Capacity(_) | Command::Config(_) | Command::Doctor(_)
    );
    if !needs_no_store {
        namespace::check_owner(&context)?;
    }
    // The process in the namespace tells of what it does itself.
    if let Some(code) = namespace::enter(&context, &cli, given)? {
        return Ok(Done::InNamespace(code));
    }
    let reporter = report::Reporter::new(&context, cli.command.name());
    let brings_in = matches!(cli.command, Command::Create(_) | Command::Pull(_));
    let result = execute(&context, cli.command);
    reporter.report(&result);
    match result {
        Err(error) if brings_in => Err(room::told(error, &context.layout)),
        other => other.map(Done::Here),
    }
}

fn execute(context: &Context, command: Command) -> Result<String, Error> {
    match command {
        Command::InitStore(args) => init_store::run(context, &args),
        Command::DeleteStore(args) => delete_store::run(context, &args),
        Command::Check(args) => check::run(context, &args),
        Command::GenerateVolumeSizeMetadata(_) => generate_metadata::run(context),
        Command::Create(args) => create::run(context, &args),
        Command::Pull(args) => pull::run(context, &args),
        Command::Delete(args) => delete::run(context, &args),
        Command::Stats(args) => stats::run(context, &args),
        Command::Limit(args) => limit::run(context, &args),
        Command::Df(args) => df::run(context, &args),
        Command::Clean(args) => clean::run(context, &args),
        Command::List(args) => list::run(context, &args),
        Command::Doctor(args) => doctor::run(context, &args),
        Command::Settle(args) => settle::run(context, &args),
        Command::Capacity(_) => Ok(capacity::run(context)),
        Command::Config(_) => Ok(config::run(context)),
    }
}

fn context(cli: &Cli) -> Result<Context, Error> {
    let mut flags: Flags = cli.global.flags();
    match &cli.command {
        Command::Create(args) => args.add_to(&mut flags)?,
        Command::Pull(args) => args.add_to(&mut flags),
        Command::Limit(args) => args.add_to(&mut flags),
        Command::Clean(args) => {
            flags.threshold_bytes = args.threshold_bytes;
            flags.keep_recent = args.keep_recent;
        }
        Command::InitStore(args) => args.add_to(&mut flags),
        _ => {}
    }
    let config = Config::load(flags)?;
    let log = Log::open(config.log_level, config.log_format, config.log_file.as_deref())
        .map_err(crate::config::Error::LogFile)?;
    let outer = std::env::var(userns::child::SESSION).ok().filter(|_| userns::is_inside());
    let log = match outer {
        Some(number) => log.within(&number),
        None => log,
    };
    let layout = Layout::new(config.store.clone());
    let interrupt = match cli.command {
        Command::Create(_) | Command::Pull(_) | Command::Clean(_) | Command::Check(_) => {
            signals::interrupt()
        }
        _ => Interrupt::default(),
    };
    let metrics = report::metrics(&config, cli.command.name());
    let log = log.session(cli.command.name());
    let quiet = cli.global.quiet;
    let progress = if quiet { progress::Mode::None } else { cli.global.progress };
    Ok(Context { log, config, layout, metrics, interrupt, progress, quiet })
}

/// Prints what went wrong; after a failed preparation also the help, as the original did.
fn failure(command: &mut clap::Command, error: &Error) -> ExitCode {
    let text = error.text() + "\n";
    if let Error::Config(config) = error
        && config.is_preparation()
    {
        // Nobody is left to be told when standard error is closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
        let help = help_text(command, None);
        return print(&format!("{text}\n{help}"), ExitCode::from(EXIT_FAILURE));
    }
    print(&text, ExitCode::from(exit_code(error)))
}

fn exit_code(error: &Error) -> u8 {
    if error.is_interruption() { EXIT_INTERRUPTED } else { EXIT_FAILURE }
}

fn parse_failure(
    command: &mut clap::Command,
    arguments: &[OsString],
    error: &clap::Error,
) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp => print(&error.to_string(), ExitCode::SUCCESS),
        ErrorKind::DisplayVersion => {
            print(&format!("grootfs version {}\n", env!("CARGO_PKG_VERSION")), ExitCode::SUCCESS)
        }
        ErrorKind::MissingSubcommand => print_help(command, None),
        ErrorKind::InvalidSubcommand => {
            let name = error
                .get(clap::error::ContextKind::InvalidSubcommand)
                .map(ToString::to_string)
                .unwrap_or_default();
            print(&format!("No help topic for '{name}'\n"), ExitCode::from(EXIT_UNKNOWN_COMMAND))
        }
        _ => {
            let text = error.to_string();
            let reason = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            let name = normalise::subcommand(command, arguments);
            usage_error(command, name.as_deref(), reason)
        }
    }
}

/// The original's first words, why, an empty line, the help of the command.
fn usage_error(command: &mut clap::Command, name: Option<&str>, reason: &str) -> ExitCode {
    let help = help_text(command, name);
    print(&format!("Incorrect Usage. {reason}\n\n{help}"), ExitCode::from(EXIT_FAILURE))
}

fn print_help(command: &mut clap::Command, name: Option<&str>) -> ExitCode {
    let help = help_text(command, name);
    print(&help, ExitCode::SUCCESS)
}

fn help_text(command: &mut clap::Command, name: Option<&str>) -> String {
    command.build();
    match name.and_then(|name| command.find_subcommand_mut(name)) {
        Some(found) => found.render_help().to_string(),
        None => command.render_help().to_string(),
    }
}

/// Writes to standard output; a reader that is gone is no failure of the command. Where that fails, standard
/// error is all that is left to say it on.
fn print(text: &str, code: ExitCode) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let why = crate::error::reason(&error);
            // Nobody is left to tell when this fails too.
            let _ = writeln!(std::io::stderr(), "writing the answer to standard output: {why}");
            ExitCode::from(EXIT_FAILURE)
        }
        _ => code,
    }
}
