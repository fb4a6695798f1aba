//! Cleaning: layers that no image uses, and what killed processes left behind.
//!
//! Two phases, as in the original. Under the global lock, held alone, unused volumes get names that
//! begin with `gc.`: a slice at a time, so that no create waits long. Afterwards, without that lock,
//! everything of such a name is removed. What goes and what stays is decided in [`judge`]; what else killed
//! processes leave is in [`leftovers`].

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::layout::{GARBAGE, ImagePaths, Layout};
use super::locks::{self, Patience};
use super::{Doing, Error, Store, durability, images, volumes};
use crate::driver::{Driver, Told};
use crate::error::AtPath;
use crate::interrupt::Interrupt;
use crate::observe::metrics::Timing;
use crate::observe::{Log, Metrics};

mod judge;
mod leftovers;
mod sizes;

pub use judge::{Judged, Verdict};
pub(super) use leftovers::seen as leftovers_seen;
pub use sizes::sizes;

/// How long a create waits at most for a slice of a clean.
const SLICE: Duration = Duration::from_millis(30);

/// Longest time of a clean (contract B5); what is left then is left to the next one.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// Volumes that are removed at the same time, at most.
const WORKERS: usize = 4;

/// What is to be cleaned.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Bytes below which nothing is removed; 0: always.
    pub threshold: u64,
    /// Whether the bytes that limits promise count with those of the layers.
    pub counts_promised: bool,
    /// Whether only as much is removed as the threshold asks for, least recently used first.
    pub keep_recent: bool,
    /// Images, by the names of their records, whose layers stay.
    pub ignored: Vec<String>,
    /// How long other processes' locks are waited for.
    pub lock_limit: Duration,
    /// Who is told how long locks were waited for.
    pub metrics: Metrics,
    /// What ends it early.
    pub interrupt: Interrupt,
}

/// What a clean did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The store holds less than the threshold.
    BelowThreshold,
    /// Everything that was to go is gone.
    Cleaned,
}

/// A clean of one store.
#[derive(Debug)]
pub struct Cleaner<'a> {
    /// The store.
    pub store: &'a Store,
    /// How its layers are kept.
    pub driver: &'a dyn Driver,
    /// What is to be cleaned.
    pub request: &'a Request,
    /// Where steps are logged.
    pub log: &'a Log,
}

impl Cleaner<'_> {
    /// Removes what is to be removed.
    pub fn clean(&self) -> Result<Outcome, Error> {
        let until = Instant::now() + TIME_LIMIT;
        if self.is_below_threshold()? {
            return Ok(Outcome::BelowThreshold);
        }
        let patience = self.patience();
        let layout = &self.store.layout;
        let _only = self.request.metrics.timed(Timing::CleanLock, || {
            locks::acquire(layout, locks::CLEAN, locks::Mode::Exclusive, &patience)
        })?;
        self.mark(until)?;
        self.tidy()?;
        self.collect(until)?;
        Ok(Outcome::Cleaned)
    }

    /// What a clean would do now, without doing it. Takes no lock, so the answer is that of this moment.
    pub fn judge(&self) -> Result<Vec<Judged>, Error> {
        let mut judged = self.judged(&self.used_without_lock()?)?;
        if self.is_below_threshold()? {
            for volume in judged.iter_mut().filter(|volume| volume.verdict.is_to_go()) {
                volume.verdict = Verdict::BelowThreshold;
            }
        }
        Ok(judged)
    }

    /// Bytes that are compared with the threshold.
    pub fn measured(&self) -> Result<u64, Error> {
        let layout = &self.store.layout;
        let layers = volumes_size(layout)?;
        if !self.request.counts_promised {
            return Ok(layers);
        }
        Ok(layers.saturating_add(promised(layout)?))
    }

    fn is_below_threshold(&self) -> Result<bool, Error> {
        let threshold = self.request.threshold;
        Ok(threshold > 0 && self.measured()? < threshold)
    }

    fn patience(&self) -> Patience {
        Patience::of(self.request.lock_limit, &self.request.interrupt)
    }

    /// Gives volumes that are to go a name that begins with `gc.`. Looks without the lock first: that takes as
    /// long as the store is large, and mostly there is nothing to do. Under the lock, a slice at a time, only
    /// what has come since is looked at, so that no create waits longer in a large store.
    fn mark(&self, until: Instant) -> Result<(), Error> {
        let log = self.log.session("garbage-collector-mark-unused");
        let _step = log.step();
        let driver = Told::new(self.driver, &log);
        let mut used = self.used_without_lock()?;
        let judged = self.judged(&used)?;
        let mut to_go = judged.iter().filter(|volume| volume.verdict.is_to_go()).peekable();
        while to_go.peek().is_some() {
            self.in_time(until)?;
            let _lock = self.lock()?;
            let slice = Instant::now() + SLICE;
            self.add_new(&mut used)?;
            // One at least, however long the look has taken: it ends in any case.
            for volume in to_go.by_ref() {
                if self.verdict(&volume.name, &used)?.is_to_go() {
                    let retired = self.retire(&driver, &volume.name);
                    logged(&log, "marking-unused-failed", retired);
                }
                if Instant::now() >= slice {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Gives back what images had that are gone, and removes what else killed processes have left.
    fn tidy(&self) -> Result<(), Error> {
        if leftovers::any(&self.store.layout)? {
            let _lock = self.lock()?;
            logged(self.log, "garbage-collector-reclaim.failed", self.reclaim());
            logged(self.log, "garbage-collector-leftovers.failed", leftovers::remove(self));
        }
        Ok(())
    }

    /// Removes what killed processes have left, and nothing else: unused layers stay.
    pub fn remove_leftovers(&self) -> Result<(), Error> {
        let layout = &self.store.layout;
        let _only = locks::acquire(layout, locks::CLEAN, locks::Mode::Exclusive, &self.patience())?;
        let lock = self.lock()?;
        let judged = self.judged(&self.used()?)?;
        for volume in judged.iter().filter(|volume| volume.verdict == Verdict::Unfinished) {
            self.retire(self.driver, &volume.name)?;
        }
        self.reclaim()?;
        leftovers::remove(self)?;
        drop(lock);
        self.collect(Instant::now() + TIME_LIMIT)
    }

    fn lock(&self) -> Result<locks::Lock, Error> {
        let patience = self.patience();
        let lock = || locks::global_exclusive(&self.store.layout, &patience);
        self.request
            .metrics
            .timed_in_all(Timing::ChoosingLock, lock)
            .doing("garbage collector acquiring lock")
    }

    fn in_time(&self, until: Instant) -> Result<(), Error> {
        if self.request.interrupt.is_stopped() {
            return Err(Error::Interrupted);
        }
        if Instant::now() < until {
            return Ok(());
        }
        let text = format!("timed out cleaning after '{}s'", TIME_LIMIT.as_secs());
        Err(Error::Message(text))
    }

    fn retire(&self, driver: &dyn Driver, name: &str) -> Result<(), Error> {
        let layout = &self.store.layout;
        let mut garbage = format!("{GARBAGE}{name}");
        if layout.volume(&garbage).exists() {
            // Left by an earlier clean that was killed; the layer has been pulled again since.
            garbage = format!("{GARBAGE}{}-{}", volumes::unique(), name.get(..64).unwrap_or(name));
        }
        match driver.retire_volume(name, &garbage) {
            Err(error) if error.is_no_room() => return self.destroy_at_once(driver, name),
            other => other?,
        }
        match fs::rename(layout.volume_metadata(name), layout.volume_metadata(&garbage)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Ok(Err(error).at("rename", &layout.volume_metadata(name))?)
            }
            _ => Ok(()),
        }
    }

    /// Removes a volume under its own name: a full disk may have no room for another one. Where that takes several
    /// steps, the volume first becomes one that no create trusts.
    fn destroy_at_once(&self, driver: &dyn Driver, name: &str) -> Result<(), Error> {
        let layout = &self.store.layout;
        if !driver.stacks_volumes() {
            durability::distrust(layout, name)?;
        }
        destroy(layout, driver, name)
    }

    /// Gives back what images had that are gone. The caller holds the lock, so none is being made.
    fn reclaim(&self) -> Result<(), Error> {
        let layout = &self.store.layout;
        // In this order: one that a delete moves aside meanwhile is found there.
        let mut roots: Vec<_> = images::list(layout)?.into_iter().map(ImagePaths::at).collect();
        roots.extend(asides(layout)?);
        Ok(self.driver.reclaim(&roots)?)
    }

    /// Removes everything that is marked, several at once.
    fn collect(&self, until: Instant) -> Result<(), Error> {
        let log = self.log.session("garbage-collector-collect");
        let _step = log.step();
        let driver = Told::new(self.driver, &log);
        let layout = &self.store.layout;
        let names = volumes::list(layout)?;
        let garbage: Vec<&String> = names.iter().filter(|name| name.starts_with(GARBAGE)).collect();
        let asides = asides(layout)?;
        let failed = Mutex::new(None);
        let next = AtomicUsize::new(0);
        let work = || {
            while let Ok(()) = self.in_time(until) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let result = match (garbage.get(at), asides.get(at.wrapping_sub(garbage.len()))) {
                    (Some(name), _) => destroy(layout, &driver, name),
                    (None, Some(aside)) => finish_removal(&driver, aside),
                    (None, None) => return,
                };
                if let Err(error) = result {
                    log.error("failed-to-destroy-volume", &error);
                    let mut failed = failed.lock().unwrap_or_else(|broken| broken.into_inner());
                    failed.get_or_insert(error);
                }
            }
        };
        let many = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = (garbage.len() + asides.len()).min(many).min(WORKERS);
        std::thread::scope(|scope| {
            for _ in 1..workers {
                // Where no thread is to be had, fewer do it.
                if Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        // Costs nobody a byte when it fails, and the next clean tries again.
        logged(&log, "sweep-failed", self.driver.sweep().map_err(Error::from));
        self.in_time(until)?;
        match failed.into_inner().unwrap_or_else(|broken| broken.into_inner()) {
            None => Ok(()),
            Some(error) => Err(error).doing("destroying volumes failed"),
        }
    }
}

/// Goes on with the removal of an image whose process is gone.
fn finish_removal(driver: &dyn Driver, aside: &ImagePaths) -> Result<(), Error> {
    // Two at once would give the project id back twice: the second time when it is another's.
    match images::lock_aside(aside.dir())? {
        Some(_lock) => Ok(driver.destroy_root(aside)?),
        None => Ok(()),
    }
}

fn logged(log: &Log, action: &str, result: Result<(), Error>) {
    if let Err(error) = result {
        log.error(action, &error);
    }
}

/// Bytes of all volumes by their metadata; one without counts nothing (contract B5).
pub fn volumes_size(layout: &Layout) -> Result<u64, Error> {
    let names = volumes::list(layout).doing("measuring store usage")?;
    let size = |name: &String| volumes::read_metadata(layout, name).map_or(0, |found| found.size);
    Ok(names.iter().map(size).fold(0, u64::saturating_add))
}

/// Bytes that limits promise to all images (contract B5).
fn promised(layout: &Layout) -> Result<u64, Error> {
    let images = images::list(layout).doing("measuring store usage")?;
    let quota = |path| crate::driver::read_number(&ImagePaths::at(path).quota());
    Ok(images
        .into_iter()
        .filter_map(|path| quota(path).ok().flatten())
        .fold(0, u64::saturating_add))
}

/// Images that are being removed.
pub(super) fn asides(layout: &Layout) -> Result<Vec<ImagePaths>, Error> {
    let names = volumes::names(&layout.tmp())?;
    let asides = names.into_iter().filter(|name| images::is_aside(name));
    Ok(asides.map(|name| ImagePaths::at(layout.tmp().join(name))).collect())
}

/// Removes a volume with its metadata.
pub(super) fn destroy(layout: &Layout, driver: &dyn Driver, name: &str) -> Result<(), Error> {
    driver.destroy_volume(name).doing(format!("destroying volume ({name})"))?;
    let metadata = layout.volume_metadata(name);
    match fs::remove_file(&metadata) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Ok(Err(error).at("unlink", &metadata)?)
        }
        _ => Ok(()),
    }
}
