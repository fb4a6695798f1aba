//! Looking for whatever is wrong with a store, and mending it.
//!
//! Looking takes no lock and changes nothing. Others work on the store meanwhile, and what they are in the middle of
//! looks wrong for a moment: so whoever finds something looks again, and only what is still there counts.
//! Mending holds the global lock alone, one piece at a time, and looks once more when it is done: what is
//! gone then was repaired.

use std::time::Duration;

use super::layout::Layout;
use super::{Error, volumes};
use crate::driver::Driver;
use crate::interrupt::Interrupt;
use crate::observe::Log;

mod content;
mod finding;
mod images;
mod leftovers;
mod parts;
mod repair;
mod volume;

pub use finding::{Finding, Kind, Outcome, Remedy};
use repair::Fix;

/// Time between the two looks: others have done by then what takes moments.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// A check of one store.
#[derive(Debug)]
pub struct Checker<'a> {
    /// Where everything lies. The store need not be whole.
    pub layout: &'a Layout,
    /// How its layers are kept.
    pub driver: &'a dyn Driver,
    /// Whether the trees of volumes are looked at too.
    pub verify: bool,
    /// Where steps are logged.
    pub log: &'a Log,
    /// How long other processes' locks are waited for, when something is mended.
    pub lock_limit: Duration,
    /// What ends it early.
    pub interrupt: Interrupt,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is or was wrong.
    pub findings: Vec<Finding>,
    /// Volumes that were looked at.
    pub volumes: usize,
    /// Images that were looked at.
    pub images: usize,
    /// Volumes whose trees are what they were.
    pub verified: usize,
    /// Volumes of which nobody wrote down what they were.
    pub without_manifest: usize,
}

impl Report {
    /// Whether nothing is wrong any more.
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.outcome == Outcome::Repaired)
    }
}

impl Checker<'_> {
    /// Looks, and changes nothing.
    pub fn check(&self) -> Result<Report, Error> {
        let mut report = Report { findings: self.look_twice()?, ..Report::default() };
        if self.verify {
            let verified = self.verify_all()?;
            report.verified = verified.whole;
            report.without_manifest = verified.without_manifest;
            report.findings.extend(verified.findings);
        }
        report.volumes = parts::names(&self.layout.volumes())?.len();
        report.images = parts::names(&self.layout.images())?.len();
        Ok(report)
    }

    /// Looks, and mends what can be mended.
    pub fn repair(&self) -> Result<Report, Error> {
        let mut report = self.check()?;
        self.mend(&mut report.findings)?;
        let left = self.look_twice()?;
        for finding in &mut report.findings {
            let is_left = match finding.kind {
                // Its tree was looked at; taken out of the way, it is not there.
                Kind::VolumeContent => volumes::exists(self.layout, &finding.name),
                _ => left.iter().any(|other| other.is_same(finding)),
            };
            if !is_left {
                finding.outcome = Outcome::Repaired;
            }
        }
        // What shows only now: images whose layer was taken out of the way.
        for finding in left {
            if !report.findings.iter().any(|other| other.is_same(&finding)) {
                report.findings.push(finding);
            }
        }
        Ok(report)
    }

    fn look_twice(&self) -> Result<Vec<Finding>, Error> {
        let first = self.look()?;
        if first.is_empty() {
            return Ok(first);
        }
        if self.interrupt.wait(SECOND_LOOK) {
            return Err(Error::Interrupted);
        }
        let mut second = self.look()?;
        second.retain(|finding| first.iter().any(|other| other.is_same(finding)));
        Ok(second)
    }

    fn look(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        self.look_at_parts(&mut findings)?;
        self.look_at_volumes(&mut findings)?;
        self.look_at_images(&mut findings)?;
        self.look_at_projects(&mut findings)?;
        self.look_at_leftovers(&mut findings)?;
        Ok(findings)
    }
}
