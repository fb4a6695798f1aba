//! Which layers are built when.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, Scope};

use super::build::{Claim, Unpacked};
use super::plan::Planned;
use super::stop::Stop;
use super::stream::Pipe;
use super::{Error, Puller};

/// Layers that are read ahead of the one that is being unpacked, where layers must be unpacked in
/// order: enough to keep a second core and the network busy; each fills a pipe of 2 MiB.
const AHEAD: usize = 3;

/// A layer that is ours to build, and on its way.
type Started<'scope> = (Claim, Pipe<'scope>);

/// Layers that are unpacked and wait for those below, by chain id.
type Waiting = HashMap<String, Unpacked>;

impl Puller<'_> {
    /// Builds all layers that are missing; base first in the list.
    pub(super) fn build_missing(
        &self,
        planned: &[Planned<'_>],
        missing: &[&Planned<'_>],
        stop: &Stop,
    ) -> Result<(), Error> {
        if missing.is_empty() {
            Ok(())
        } else if self.driver.stacks_volumes() {
            self.build_in_order(missing, stop)
        } else {
            self.build_all(planned, missing, stop)
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
                    let unpacked = self.unpack(planned, claim, pipe, stop)?;
                    self.publish(planned, unpacked, &[])?;
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

    /// Layers beside each other. First all that nobody else builds, as many at once as there are
    /// cores, or as the source says where it is waited for, the largest first, so that nobody waits
    /// for a large one at the end. Then, base first, those that need the layers below, and those that
    /// somebody else was building.
    ///
    /// The second pass waits only for layers below all those that it holds, so nobody waits in a circle.
    fn build_all(
        &self,
        planned: &[Planned<'_>],
        missing: &[&Planned<'_>],
        stop: &Stop,
    ) -> Result<(), Error> {
        let mut alone: Vec<&Planned<'_>> = missing
            .iter()
            .copied()
            .filter(|planned| planned.layer.base_directory.is_none())
            .collect();
        alone.sort_by_key(|planned| Reverse(planned.layer.size.unwrap_or(0)));
        let waiting = Mutex::new(Waiting::new());
        let built = self.build_together(&alone, &waiting, stop);
        let mut waiting = waiting.into_inner().unwrap_or_else(|broken| broken.into_inner());
        let finished = built.and_then(|()| {
            missing.iter().try_for_each(|layer| {
                let unpacked = match waiting.remove(&layer.chain_id) {
                    Some(unpacked) => unpacked,
                    None => match self.unpack_if_missing(layer, stop)? {
                        Some(unpacked) => unpacked,
                        None => return Ok(()),
                    },
                };
                let below: Vec<&str> = planned
                    .iter()
                    .take_while(|other| other.chain_id != layer.chain_id)
                    .map(|other| other.chain_id.as_str())
                    .collect();
                self.publish(layer, unpacked, &below)
            })
        });
        for unpacked in waiting.into_values() {
            self.throw_away(unpacked);
        }
        finished
    }

    fn build_together(
        &self,
        layers: &[&Planned<'_>],
        waiting: &Mutex<Waiting>,
        stop: &Stop,
    ) -> Result<(), Error> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.source.streams().unwrap_or_else(cores);
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            while let Some(planned) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stop.is_set() {
                    return;
                }
                if let Err(error) = self.build_alone(planned, waiting, stop) {
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
                // Where no thread is to be had, fewer do it.
                if Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        match failure.into_inner().unwrap_or_else(|broken| broken.into_inner()) {
            Some(error) => Err(error),
            None if stop.is_set() => Err(Error::Stopped),
            None => Ok(()),
        }
    }

    /// Builds a layer, if nobody else does, as far as it can be without those below.
    fn build_alone(
        &self,
        planned: &Planned<'_>,
        waiting: &Mutex<Waiting>,
        stop: &Stop,
    ) -> Result<(), Error> {
        let Some(claim) = self.claim_if_free(&planned.chain_id)? else { return Ok(()) };
        let unpacked = std::thread::scope(|scope| {
            let pipe = Pipe::start(scope, self.plumbing(stop), planned.layer);
            self.unpack(planned, claim, pipe, stop)
        })?;
        if unpacked.needs_below(planned) {
            let mut waiting = waiting.lock().unwrap_or_else(|broken| broken.into_inner());
            waiting.insert(planned.chain_id.clone(), unpacked);
            return Ok(());
        }
        self.publish(planned, unpacked, &[])
    }

    /// Waits for whoever builds a layer; unpacks it here when nobody has built it.
    fn unpack_if_missing(
        &self,
        planned: &Planned<'_>,
        stop: &Stop,
    ) -> Result<Option<Unpacked>, Error> {
        let Some(claim) = self.claim(&planned.chain_id)? else { return Ok(None) };
        std::thread::scope(|scope| {
            let pipe = Pipe::start(scope, self.plumbing(stop), planned.layer);
            self.unpack(planned, claim, pipe, stop).map(Some)
        })
    }
}
