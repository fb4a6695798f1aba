//! `grootfs df`

use super::args::Df;
use super::{Context, clean};
use crate::config::Config;
use crate::driver::Kind;
use crate::driver::limit::Bytes;
use crate::error::Error;
use crate::store::accounting::{self, Accounting, VolumeState};
use crate::store::gc::{Cleaner, Request};

mod json;
mod table;

/// What is told, for a person or a program.
struct Report<'a> {
    store: &'a str,
    driver: Kind,
    /// `clean.threshold_bytes`; 0 is none.
    threshold: u64,
    /// `clean.keep_recent`.
    keep_recent: bool,
    accounting: &'a Accounting,
    warnings: Vec<String>,
}

pub fn run(context: &Context, args: &Df) -> Result<String, Error> {
    let root = context.layout.root();
    if !root.exists() {
        return Err(Error::Message(format!("no store found at {}", root.display())));
    }
    let store = context.store()?;
    let driver = context.driver();
    // All that can go; the threshold is told beside it.
    let request = Request { threshold: 0, keep_recent: false, ..clean::request(context) };
    let cleaner = Cleaner { store: &store, driver: &*driver, request: &request, log: &context.log };
    let accounting = accounting::measure(&cleaner)?;
    let report = Report {
        store: &root.to_string_lossy(),
        driver: driver.kind(),
        threshold: context.config.clean_threshold,
        keep_recent: context.config.keep_recent,
        accounting: &accounting,
        warnings: warnings(&accounting, &context.config),
    };
    if args.json { json::print(&report) } else { Ok(table::print(&report)) }
}

impl Report<'_> {
    /// Whether a `clean` would do anything, as it decides.
    fn threshold_reached(&self) -> bool {
        self.accounting.measured >= self.threshold
    }

    /// Whether no store on this file system could ever reach the threshold.
    fn threshold_unreachable(&self) -> bool {
        self.threshold > self.accounting.space.size
    }
}

/// What a person should know and would not look for.
fn warnings(books: &Accounting, config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let (threshold, size) = (config.clean_threshold, books.space.size);
    if threshold > size {
        warnings.push(format!(
            "the threshold of `clean` is {}, the file system has only {}: it is never reached, and `clean` \
             removes nothing; lower clean.threshold_bytes",
            Bytes(threshold),
            Bytes(size)
        ));
    }
    let promised = books.promised();
    if promised.growth > books.space.free {
        warnings.push(format!(
            "images may still write {} within their limits, {} are free: the disk can be full before a limit \
             is reached",
            Bytes(promised.growth),
            Bytes(books.space.free)
        ));
    }
    if let Some(backing) = &books.backing {
        let growth = backing.size.saturating_sub(backing.allocated);
        if growth > backing.free {
            warnings.push(format!(
                "{} can grow by {}, {} are free where it lies: writing fails before the store is full",
                backing.path.display(),
                Bytes(growth),
                Bytes(backing.free)
            ));
        }
    }
    if books.layers(VolumeState::Used).unknown + books.layers(VolumeState::Unused).unknown > 0 {
        warnings.push(
            "layers without a known size count as 0 bytes, also for `clean`: their metadata is missing or \
             broken; `grootfs generate-volume-size-metadata` writes it where it is missing"
                .to_owned(),
        );
    }
    if let Some(why) = &books.stale {
        warnings.push(format!("what images hold may be some seconds old: {why}"));
    }
    warnings
}
