//! Whether the registries of the configuration answer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Finding;
use crate::config::Config;
use crate::image::network::retry::Policy;
use crate::image::network::{NetworkOptions, Timeouts};
use crate::image::registry::endpoint::Mirrors;
use crate::image::registry::ping::{Answer, Given, ping};
use crate::interrupt::Interrupt;
use crate::observe::Log;

/// Somebody waits at a terminal.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn examine(config: &Config, given: &Given, interrupt: &Interrupt) -> Vec<Finding> {
    let mirrors = Mirrors {
        by_registry: config.pull.mirrors.clone(),
        directories: config.pull.hosts_directories.clone(),
    };
    let options = NetworkOptions {
        timeouts: Timeouts { connect: PATIENCE, read: PATIENCE, total: Some(PATIENCE) },
        retry: Policy { attempts: 1, ..Policy::default() },
        insecure: config.insecure_registries.clone(),
        certificates: config.pull.certificate_directories.clone(),
        interrupt: interrupt.clone(),
        log: Log::silent(),
    };
    let registries: BTreeSet<&String> =
        config.pull.mirrors.keys().chain(&config.insecure_registries).collect();
    // All at once: one that is silent costs no more than its own time.
    std::thread::scope(|scope| {
        let asked: Vec<_> = registries
            .into_iter()
            .map(|registry| (registry, scope.spawn(|| ping(registry, &mirrors, &options, given))))
            .collect();
        let told = asked.into_iter().flat_map(|(registry, asked)| {
            let answers = asked.join().unwrap_or_default();
            answers.into_iter().map(move |(server, answer)| finding(registry, &server, answer))
        });
        told.collect()
    })
}

fn finding(registry: &str, server: &str, answer: Answer) -> Finding {
    let topic = format!("registry: {registry}");
    match answer {
        Answer::Open => Finding::ok(&topic, format!("{server} answers")),
        Answer::Anonymous => {
            // Which images it then shows is another matter.
            Finding::ok(&topic, format!("{server} answers without a login"))
        }
        Answer::LoggedIn => Finding::ok(&topic, format!("{server} answers, and takes the login")),
        Answer::WantsLogin => {
            let text = format!("{server} wants a login, and none is known for {registry}");
            Finding::warning(&topic, text, log_in(registry))
        }
        Answer::Refused(why) => {
            let text = format!("{server} answers, and refuses the login: {why}");
            Finding::warning(&topic, text, log_in(registry))
        }
        Answer::Status(status) => {
            let text = format!("{server} answers with status {status}, as no registry should");
            Finding::warning(&topic, text, format!("curl -i {server}/"))
        }
        Answer::Silent(why) => {
            Finding::warning(&topic, format!("{server}: {why}"), format!("curl -v {server}/"))
        }
    }
}

fn log_in(registry: &str) -> String {
    format!(
        "podman login {registry}, docker login {registry}, or set GROOTFS_USERNAME and GROOTFS_PASSWORD"
    )
}
