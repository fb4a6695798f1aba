//! `grootfs check`

use std::fmt::Write;

use serde::Serialize;

use super::Context;
use super::args::Check;
use crate::error::Error;
use crate::store::check::{Checker, Finding, Outcome, Remedy, Report};

pub fn run(context: &Context, args: &Check) -> Result<String, Error> {
    if !crate::userns::is_host_root() {
        let text =
            "a store can only be checked by root, to whom all of its files have their own owners";
        return Err(Error::Message(text.to_owned()));
    }
    let root = context.layout.root();
    if !root.exists() {
        return Err(Error::Message(format!("no store found at {}", root.display())));
    }
    let driver = context.driver();
    driver.check_filesystem(root)?;
    let checker = Checker {
        layout: &context.layout,
        driver: &*driver,
        verify: args.verify,
        log: &context.log,
        lock_limit: context.compat().clean_lock_limit(),
        interrupt: context.interrupt.clone(),
    };
    let checked = if args.repair { checker.repair() } else { checker.check() };
    let report = checked.map_err(|error| Error::from(error).or_interrupted(&context.interrupt))?;
    let text = match args.json {
        true => json(context, &*driver, &report)?,
        false => table(&report, args),
    };
    if report.is_whole() {
        return Ok(text + "\n");
    }
    let found = report.findings.iter().filter(|finding| finding.outcome != Outcome::Repaired);
    let summary = format!("findings left in the store: {}", found.count());
    Err(Error::Findings { report: text, summary })
}

fn table(report: &Report, args: &Check) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let Finding { subject, problem, meaning, .. } = finding;
        let then = match (&finding.outcome, &finding.remedy) {
            (Outcome::Repaired, _) => "repaired".to_owned(),
            (Outcome::Failed(why), _) => format!("repair failed: {why}"),
            (Outcome::Found, Remedy::Repair(what)) if args.repair => {
                format!("not repaired: check --repair once more {what}")
            }
            (Outcome::Found, Remedy::Repair(what)) => format!("--repair {what}"),
            (Outcome::Found, Remedy::ByHand(what)) => format!("by hand: {what}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{subject}: {problem}; {meaning}; {then}");
    }
    let repaired = report.findings.iter().filter(|f| f.outcome == Outcome::Repaired).count();
    let left = report.findings.len() - repaired;
    let (layers, images) = (count(report.volumes, "layer"), count(report.images, "image"));
    let _ = write!(out, "checked {layers} and {images}: {}", count(left, "problem"));
    if args.repair {
        let _ = write!(out, " left, {repaired} repaired");
    }
    if args.verify {
        let _ = write!(out, "; {} as before", count(report.verified, "layer"));
        if report.without_manifest > 0 {
            let _ = write!(out, ", {} without manifest", report.without_manifest);
        }
    }
    out
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// What programs get. Keys stay.
#[derive(Serialize)]
struct Printed<'a> {
    store: String,
    driver: &'static str,
    is_whole: bool,
    layers: usize,
    images: usize,
    problems: usize,
    repaired: usize,
    verified_layers: usize,
    layers_without_manifest: usize,
    findings: Vec<PrintedFinding<'a>>,
}

#[derive(Serialize)]
struct PrintedFinding<'a> {
    kind: &'static str,
    subject: &'a str,
    /// Layer or image.
    name: Option<&'a str>,
    problem: &'a str,
    meaning: &'a str,
    /// What `--repair` does; null where a person has to.
    repair: Option<&'a str>,
    by_hand: Option<&'a str>,
    is_repaired: bool,
    failure: Option<&'a str>,
}

fn json(
    context: &Context,
    driver: &dyn crate::driver::Driver,
    report: &Report,
) -> Result<String, Error> {
    let findings: Vec<PrintedFinding<'_>> = report.findings.iter().map(printed).collect();
    let repaired = findings.iter().filter(|finding| finding.is_repaired).count();
    let printed = Printed {
        store: context.layout.root().display().to_string(),
        driver: driver.kind().name(),
        is_whole: report.is_whole(),
        layers: report.volumes,
        images: report.images,
        problems: findings.len() - repaired,
        repaired,
        verified_layers: report.verified,
        layers_without_manifest: report.without_manifest,
        findings,
    };
    serde_json::to_string(&printed).map_err(|error| Error::Message(error.to_string()))
}

fn printed(finding: &Finding) -> PrintedFinding<'_> {
    let (repair, by_hand) = match &finding.remedy {
        Remedy::Repair(what) => (Some(what.as_str()), None),
        Remedy::ByHand(what) => (None, Some(what.as_str())),
    };
    let failure = match &finding.outcome {
        Outcome::Failed(why) => Some(why.as_str()),
        _ => None,
    };
    PrintedFinding {
        kind: finding.kind.name(),
        subject: &finding.subject,
        name: (!finding.name.is_empty()).then_some(finding.name.as_str()),
        problem: &finding.problem,
        meaning: &finding.meaning,
        repair,
        by_hand,
        is_repaired: finding.outcome == Outcome::Repaired,
        failure,
    }
}
