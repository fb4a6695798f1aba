//! What keeps this machine and this store from working, and the command that mends it.
//!
//! Nothing is changed and no lock is taken: a store that is in trouble can be looked at.

use serde::Serialize;

use crate::config::Config;
use crate::image::registry::ping::Given;
use crate::interrupt::Interrupt;
use crate::store::layout::Layout;

mod machine;
mod registries;
mod store;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something does not work that not everybody needs.
    Warning,
    /// Roots cannot be made.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub topic: String,
    /// What was found.
    pub text: String,
    /// The command, or the change, that mends it.
    pub fix: Option<String>,
}

impl Finding {
    fn ok(topic: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Ok, topic: topic.to_owned(), text: text.into(), fix: None }
    }

    fn warning(topic: &str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        let fix = Some(fix.into());
        Self { level: Level::Warning, topic: topic.to_owned(), text: text.into(), fix }
    }

    fn error(topic: &str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Error, ..Self::warning(topic, text, fix) }
    }
}

/// Looks at everything; `given` is the login that the environment names.
pub fn examine(
    config: &Config,
    layout: &Layout,
    given: &Given,
    interrupt: &Interrupt,
) -> Vec<Finding> {
    let kind = config.driver.or_else(|| crate::driver::Kind::of_store(layout));
    let mut findings = machine::examine(config, kind);
    findings.extend(store::examine(config, layout, kind));
    findings.extend(registries::examine(config, given, interrupt));
    findings
}
