//! `grootfs clean`

use std::fmt::Write;
use std::time::SystemTime;

use super::args::Clean;
use super::{Context, detached};
use crate::driver::Driver;
use crate::driver::limit::Bytes;
use crate::error::Error;
use crate::image;
use crate::observe::metrics::{Ending, Timing};
use crate::store::gc::{Cleaner, Judged, Outcome, Request, Verdict};
use crate::store::{self, Store};

pub fn run(context: &Context, args: &Clean) -> Result<String, Error> {
    if !context.layout.root().exists() {
        let text = format!("no store found at {}", context.layout.root().display());
        context.metrics.ends_as(Ending::Failure { code: 0, text: text.clone() });
        return Ok(text + "\n");
    }
    let store = context.store()?;
    let driver = context.driver();
    warn_of_threshold(context);
    if args.dry_run {
        return dry_run(context, &store, &*driver);
    }
    Ok(match clean(context, &store, &*driver)? {
        Outcome::Cleaned => "clean completed\n".to_owned(),
        Outcome::BelowThreshold => {
            context.metrics.ends_as(Ending::Skipped);
            "threshold not reached: skipping clean\n".to_owned()
        }
    })
}

/// Cleans as the configuration says.
pub fn clean(context: &Context, store: &Store, driver: &dyn Driver) -> Result<Outcome, Error> {
    let request = request(context);
    let log = context.log.session("groot-cleaning");
    let _step = log.step();
    let cleaner = Cleaner { store, driver, request: &request, log: &log };
    context.metrics.timed(Timing::ImageClean, || cleaner.clean()).map_err(|error| match error {
        store::Error::Interrupted => Error::Interrupted,
        other => other.into(),
    })
}

/// Cleans in a process of its own, which nobody waits for (contract B3).
pub fn start_detached(context: &Context) -> Result<(), Error> {
    let config = &context.config;
    detached::start(context, |command| {
        if let Some(file) = config.clean_log_file.as_ref().or(config.log_file.as_ref()) {
            command.arg("--log-file").arg(file);
        }
        if let Some(endpoint) = &config.metron_endpoint {
            command.arg("--metron-endpoint").arg(endpoint);
        }
        if let Some(file) = &config.metrics_textfile {
            command.arg("--metrics-textfile").arg(file);
        }
        command.args(["clean", "--threshold-bytes", &config.clean_threshold.to_string()]);
    })
}

/// A threshold above the size of the file system is never reached, and nothing is ever cleaned.
pub fn warn_of_threshold(context: &Context) {
    let threshold = context.config.clean_threshold;
    let Ok(size) = groot_sys::fs::size(context.layout.root()) else { return };
    if threshold > size.total {
        let text = format!(
            "the clean threshold of {} is above the size of the file system of {}, {}: nothing will ever \
             be cleaned; lower clean.threshold_bytes",
            Bytes(threshold),
            context.layout.root().display(),
            Bytes(size.total)
        );
        context.warn("threshold-never-reached", &Error::Message(text));
    }
}

/// What the configuration asks for.
pub fn request(context: &Context) -> Request {
    let config = &context.config;
    let compat = context.compat();
    Request {
        threshold: config.clean_threshold,
        counts_promised: compat.counts_promised_bytes(),
        keep_recent: config.keep_recent,
        ignored: config.ignore_images.iter().filter_map(|name| image::name(name)).collect(),
        lock_limit: compat.clean_lock_limit(),
        metrics: context.metrics.clone(),
        interrupt: context.interrupt.clone(),
    }
}

fn dry_run(context: &Context, store: &Store, driver: &dyn Driver) -> Result<String, Error> {
    let request = request(context);
    let cleaner = Cleaner { store, driver, request: &request, log: &context.log };
    let judged = cleaner.judge()?;
    let mut out = String::new();
    let mut back: u64 = 0;
    for volume in &judged {
        if volume.verdict.goes() {
            back = back.saturating_add(volume.size);
        }
        line(&mut out, volume);
    }
    let threshold = match request.threshold {
        0 => "no threshold".to_owned(),
        threshold => format!("the threshold is {}", Bytes(threshold)),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "a clean would remove {} of {} layers with {}; the store holds {}, {threshold}",
        judged.iter().filter(|volume| volume.verdict.goes()).count(),
        judged.len(),
        Bytes(back),
        Bytes(cleaner.measured()?),
    );
    Ok(out)
}

fn line(out: &mut String, volume: &Judged) {
    let why = match &volume.verdict {
        Verdict::Unused => format!("no image uses it{}", since(volume.last_used)),
        Verdict::Unfinished => "half of a layer, whose process is gone".to_owned(),
        Verdict::Garbage => "an earlier clean has not finished with it".to_owned(),
        Verdict::Used(images) => {
            let images: Vec<&str> = images.iter().map(String::as_str).collect();
            format!("used by {}", images.join(", "))
        }
        Verdict::Ignored(image) => format!("{image} has it, which clean.ignore_images names"),
        Verdict::Wanted => "a pull that is going on needs it".to_owned(),
        Verdict::BeingWritten => "it is being written".to_owned(),
        Verdict::Recent => {
            format!("the threshold is met without it{}", since(volume.last_used))
        }
        Verdict::BelowThreshold => "the store holds less than the threshold".to_owned(),
    };
    let what = if volume.verdict.goes() { "remove" } else { "keep" };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{what:<6} {} {}: {why}", volume.name, Bytes(volume.size));
}

fn since(last_used: Option<SystemTime>) -> String {
    let age = last_used.and_then(|at| at.elapsed().ok()).map(|age| age.as_secs());
    match age {
        None => String::new(),
        Some(seconds) if seconds < 120 => ", last used a moment ago".to_owned(),
        Some(seconds) if seconds < 2 * 3600 => format!(", last used {} minutes ago", seconds / 60),
        Some(seconds) if seconds < 48 * 3600 => format!(", last used {} hours ago", seconds / 3600),
        Some(seconds) => format!(", last used {} days ago", seconds / 86400),
    }
}
