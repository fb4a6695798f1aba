//! Which layers are built when.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Scope;

use super::build::Claim;
use super::plan::Planned;
use super::stream::{Pipe, Stop};
use super::{Error, Puller};

/// Layers that are read ahead of the one that is being unpacked, where layers must be unpacked in
/// order: enough to keep a second core and the network busy; each fills a pipe of 2 MiB.
const AHEAD: usize = 3;

/// A layer that is ours to build, and on its way.
type Started<'scope> = (Claim, Pipe<'scope>);

impl Puller<'_> {
    /// Builds all layers that are missing; base first in the list.
    pub(super) fn build_missing(&self, missing: &[&Planned<'_>], stop: &Stop) -> Result<(), Error> {
        if missing.is_empty() {
            Ok(())
        } else if self.driver.stacks_volumes() {
            self.build_in_order(missing, stop)
        } else {
            self.build_all(missing, stop)
        }
    }

    /// Layers on top of each other: unpacked in order, read ahead.
    ///
    /// Layers ahead are only claimed if nobody else has them. Who waits for a layer holds only
    /// layers above it, so nobody waits in a circle.
    fn build_in_order(&self, missing: &[&Planned<'_>], stop: &Stop) -> Result<(), Error> {
        let most_ahead =
            self.source.streams().map_or(AHEAD, |most| AHEAD.min(most.saturating_sub(1)));
        std::thread::scope(|scope| {
            let mut ahead: VecDeque<Option<Started<'_>>> = VecDeque::new();
            for (position, planned) in missing.iter().enumerate() {
                let started = match ahead.pop_front().flatten() {
                    Some(started) => Some(started),
                    None => self.claim(&planned.chain_id)?.map(|claim| {
                        (claim, Pipe::start(scope, self.plumbing(stop), planned.layer))
                    }),
                };
                while let Some(next) = missing.get(position + 1 + ahead.len())
                    && ahead.len() < most_ahead
                {
                    ahead.push_back(self.start_ahead(scope, next, stop)?);
                }
                if let Some((claim, pipe)) = started {
                    self.build(planned, claim, pipe, stop)?;
                }
            }
            Ok(())
        })
    }

    fn start_ahead<'scope, 'env>(
        &'scope self,
        scope: &'scope Scope<'scope, 'env>,
        planned: &'scope Planned<'_>,
        stop: &'scope Stop,
    ) -> Result<Option<Started<'scope>>, Error> {
        let claim = self.claim_if_free(&planned.chain_id)?;
        Ok(claim.map(|claim| (claim, Pipe::start(scope, self.plumbing(stop), planned.layer))))
    }

    /// Layers beside each other: as many at once as there are cores, or as the source says where it
    /// is waited for; the largest first, so that nobody waits for a large one at the end.
    fn build_all(&self, layers: &[&Planned<'_>], stop: &Stop) -> Result<(), Error> {
        // Layers with a base directory look into those below, so these come before.
        let (based, mut simple): (Vec<&Planned<'_>>, Vec<&Planned<'_>>) =
            layers.iter().copied().partition(|planned| planned.layer.base_directory.is_some());
        simple.sort_by_key(|planned| Reverse(planned.layer.size.unwrap_or(0)));
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.build_together(&simple, self.source.streams().unwrap_or_else(cores), stop)?;
        based.iter().try_for_each(|planned| self.build_one(planned, stop))
    }

    fn build_together(
        &self,
        layers: &[&Planned<'_>],
        workers: usize,
        stop: &Stop,
    ) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            while let Some(planned) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stop.is_set() {
                    return;
                }
                if let Err(error) = self.build_one(planned, stop) {
                    stop.set();
                    let mut failure = failure.lock().unwrap_or_else(|broken| broken.into_inner());
                    // The first real failure is what the user must see, not its consequences.
                    if !matches!(error, Error::Stopped) {
                        failure.get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..workers.min(layers.len()) {
                scope.spawn(work);
            }
            work();
        });
        match failure.into_inner().unwrap_or_else(|broken| broken.into_inner()) {
            Some(error) => Err(error),
            None if stop.is_set() => Err(Error::Stopped),
            None => Ok(()),
        }
    }

    /// Builds one layer unless somebody else does it meanwhile.
    fn build_one(&self, planned: &Planned<'_>, stop: &Stop) -> Result<(), Error> {
        let Some(claim) = self.claim(&planned.chain_id)? else { return Ok(()) };
        std::thread::scope(|scope| {
            let pipe = Pipe::start(scope, self.plumbing(stop), planned.layer);
            self.build(planned, claim, pipe, stop)
        })
    }
}
