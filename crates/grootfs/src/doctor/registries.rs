//! Whether the registries of the configuration answer.

use std::collections::BTreeSet;
use std::thread::Builder;
use std::time::Duration;

use super::Finding;
use crate::config::Config;
use crate::image::network::address::redacted;
use crate::image::network::retry::Policy;
use crate::image::network::{NetworkOptions, Timeouts};
use crate::image::registry::endpoint::Mirrors;
use crate::image::registry::hosts;
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
    let mut findings = Vec::new();
    let mut registries: BTreeSet<String> =
        config.pull.mirrors.keys().chain(&config.insecure_registries).cloned().collect();
    for directory in &config.pull.hosts_directories {
        match hosts::registries(directory) {
            Ok(found) => registries.extend(found),
            Err(error) => {
                let fix = format!("ls -la {}", directory.display());
                findings.push(Finding::warning("registries", error.to_string(), fix));
            }
        }
    }
    // A pull gives it to the registry of its image; here nothing says which one that is.
    let is_for_one = registries.len() == 1;
    if given.is_some() && registries.len() > 1 {
        let text =
            "GROOTFS_USERNAME does not say for which registry it is: its login was not tried";
        findings.push(Finding::ok("registries: login", text));
    }
    let given = given.clone().filter(|_| is_for_one);
    let ask = |registry: &str| ping(registry, &mirrors, &options, &given);
    let ask = &ask;
    // All at once: one that is silent costs no more than its own time.
    std::thread::scope(|scope| {
        let asked: Vec<_> = registries
            .iter()
            .map(|registry| (registry, Builder::new().spawn_scoped(scope, || ask(registry))))
            .collect();
        for (registry, asked) in asked {
            // Where there can be no more threads, one after the other.
            let answers =
                asked.map_or_else(|_| ask(registry), |asking| asking.join().unwrap_or_default());
            findings.extend(
                answers.into_iter().map(|(server, answer)| finding(registry, &server, answer)),
            );
        }
    });
    findings
}

/// The names are those of the configuration, where somebody may have put a password.
fn finding(registry: &str, server: &str, answer: Answer) -> Finding {
    let (registry, server) = (&redacted(registry), &redacted(server));
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
        Answer::Unknown(why) => Finding::warning(&topic, why, "grootfs config"),
        Answer::Silent(why) => {
            Finding::warning(&topic, format!("{server}: {why}"), format!("curl -v {server}/"))
        }
    }
}

fn log_in(registry: &str) -> String {
    format!("podman login {registry}")
}
