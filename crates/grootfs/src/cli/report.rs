//! What a command tells its metrics at its end, and logs of its failure.

use std::time::{Instant, SystemTime};

use super::{Context, clean, exit_code};
use crate::config::Config;
use crate::error::{Error, chain};
use crate::observe::Log;
use crate::observe::metrics::dropsonde::{self, Endpoint};
use crate::observe::metrics::{Ending, Metrics, Report, Sizes, textfile};
use crate::store::gc::{self, Cleaner};
use crate::store::{Store, namespace};

/// Commands that nobody measures: they look at no store, or nobody has asked for them.
const UNMEASURED: &[&str] = &["capacity", "config", "settle"];

/// Commands after which a store holds other layers or images.
const CHANGING: &[&str] = &["create", "pull", "delete", "clean"];

/// A recorder, if somebody wants to know.
pub fn metrics(config: &Config, command: &str) -> Metrics {
    let wanted = config.metron_endpoint.is_some() || config.metrics_textfile.is_some();
    if wanted && !UNMEASURED.contains(&command) { Metrics::on() } else { Metrics::default() }
}

/// Tells of one command.
#[derive(Debug)]
pub struct Reporter<'a> {
    context: &'a Context,
    command: &'static str,
    begin: Instant,
    endpoint: Option<Endpoint>,
}

impl<'a> Reporter<'a> {
    /// Begins before the command does.
    pub fn new(context: &'a Context, command: &'static str) -> Self {
        let endpoint = context.config.metron_endpoint.as_deref();
        let wanted = context.metrics.is_on() && dropsonde::is_measured(command);
        let endpoint = endpoint.filter(|_| wanted).map(Endpoint::new);
        Self { context, command, begin: Instant::now(), endpoint }
    }

    /// Tells how the command ended. Nothing that goes wrong here changes that.
    pub fn report(&self, result: &Result<String, Error>) {
        if let Err(error) = result {
            self.context.log.error(action(self.command), error);
        }
        if !self.context.metrics.is_on() {
            return;
        }
        let (measured, ending) = self.context.metrics.take();
        let ending = match (ending, result) {
            (Some(ending), Ok(_)) => ending,
            (None, Ok(_)) => Ending::Success,
            (_, Err(error)) => Ending::Failure { code: exit_code(error), text: chain(error) },
        };
        if ending == Ending::NotThere {
            return;
        }
        let config = &self.context.config;
        let report = Report {
            command: self.command,
            store: &config.store.to_string_lossy(),
            measured,
            sizes: self.sizes(&ending),
            ending,
            at: SystemTime::now(),
            took: self.begin.elapsed(),
            cleaned_after: self.command == "create"
                && config.with_clean
                && config.compat.cleans_after_create(),
        };
        if let Some(endpoint) = &self.endpoint
            && let Err(error) = endpoint.send(&report, config.compat.metric_set())
        {
            self.context.log.error("metrics-failed", &error);
        }
        if let Some(path) = &config.metrics_textfile
            && let Err(error) = textfile::add(path, &report)
        {
            self.context.log.error("metrics-failed", &error);
        }
    }

    /// Bytes of the store, if somebody wants to know.
    fn sizes(&self, ending: &Ending) -> Option<Sizes> {
        let context = self.context;
        let set = context.config.compat.metric_set();
        let to_file = context.config.metrics_textfile.is_some() && CHANGING.contains(&self.command);
        let to_send = self.endpoint.is_some() && dropsonde::tells_sizes(self.command, ending, set);
        if !(to_file || to_send) || !context.layout.volumes().is_dir() {
            return None;
        }
        let mappings = namespace::read(&context.layout).ok()?;
        let store = Store { layout: context.layout.clone(), mappings };
        let request = clean::request(context);
        // What a clean would tell of stray directories is not for every command to tell.
        let log = Log::silent();
        let driver = context.driver();
        let cleaner = Cleaner { store: &store, driver: &*driver, request: &request, log: &log };
        let with_promised = to_file || set == dropsonde::Set::Later;
        match gc::sizes(&cleaner, with_promised) {
            Ok(sizes) => Some(sizes),
            Err(error) => {
                context.log.error("metrics-failed", &error);
                None
            }
        }
    }
}

/// What the original logged when a command failed (contract 8.3).
fn action(command: &str) -> &'static str {
    match command {
        "create" => "creating",
        "delete" => "deleting-image-failed",
        "stats" => "fetching-stats",
        "clean" => "cleaning-up-unused-resources",
        _ => "failed",
    }
}
