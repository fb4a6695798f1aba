//! One layer becomes one volume, or nothing.

use std::time::{Duration, Instant};

use super::layer::Filled;
use super::plan::Planned;
use super::stop::Stop;
use super::stream::Pipe;
use super::{Error, Puller};
use crate::driver::{Driver, Told};
use crate::image::{Identity, Layer};
use crate::observe::metrics::Timing;
use crate::store;
use crate::store::durability;
use crate::store::locks::{self, Lock, Patience};
use crate::store::volumes::{self, Metadata};

/// The right to build a volume: nobody else does, and it is not there.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "held until it is dropped")] Lock);

/// A layer that is in the store but has no name yet.
#[derive(Debug)]
pub struct Unpacked {
    #[expect(dead_code, reason = "held until it is dropped")]
    claim: Claim,
    name: String,
    filled: Filled,
}

impl Unpacked {
    /// Whether the layers below are needed before it can get its name.
    pub fn needs_below(&self, planned: &Planned<'_>) -> bool {
        planned.parent.is_some() && !self.filled.undescribed.is_empty()
    }
}

impl Puller<'_> {
    /// Waits until a volume is ours to build; `None` when somebody else has built it.
    pub(super) fn claim(&self, chain_id: &str) -> Result<Option<Claim>, Error> {
        let layout = &self.store.layout;
        let patience = self.patience();
        let begin = Instant::now();
        let lock = locks::acquire_layer(layout, chain_id, &patience).map_err(Error::Lock)?;
        let waited = begin.elapsed();
        let claim = self.claimed(chain_id, lock)?;
        // A look at a layer that is there is no wait.
        if claim.is_some() || waited > locks::SHORTEST_PAUSE {
            self.metrics.took(Timing::ExclusiveLock, waited);
        }
        Ok(claim)
    }

    /// How long somebody else's download is waited for.
    pub(super) fn patience(&self) -> Patience {
        Patience::of(self.longest_download, self.interrupt)
    }

    /// The same without waiting; also `None` when somebody else is building it.
    pub(super) fn claim_if_free(&self, chain_id: &str) -> Result<Option<Claim>, Error> {
        match locks::try_acquire(&self.store.layout, chain_id).map_err(Error::Lock)? {
            Some(lock) => {
                let claim = self.claimed(chain_id, lock)?;
                if claim.is_some() {
                    self.metrics.took(Timing::ExclusiveLock, Duration::ZERO);
                }
                Ok(claim)
            }
            None => Ok(None),
        }
    }

    fn claimed(&self, chain_id: &str, lock: Lock) -> Result<Option<Claim>, Error> {
        let layout = &self.store.layout;
        if volumes::exists(layout, chain_id) {
            let in_volume = |source| Error::Volume { blob: chain_id.to_owned(), source };
            if !durability::is_lost(layout, chain_id).map_err(in_volume)? {
                self.log.debug("build-layer.volume-exists", chain_id);
                return Ok(None);
            }
            self.log.info("build-layer.not-on-disk-when-the-power-went", chain_id);
            durability::discard(layout, self.driver, chain_id).map_err(in_volume)?;
        }
        Ok(Some(Claim(lock)))
    }

    /// Unpacks a layer from a pipe; from another one when the source has a second place to ask
    /// after wrong bytes.
    pub(super) fn unpack(
        &self,
        planned: &Planned<'_>,
        claim: Claim,
        pipe: Pipe<'_>,
        stop: &Stop,
    ) -> Result<Unpacked, Error> {
        let tried = self.try_unpack(planned, pipe);
        let (name, filled) = self.elsewhere(planned.layer, tried, || {
            std::thread::scope(|scope| {
                let pipe = Pipe::start(scope, self.plumbing(stop), planned.layer);
                self.try_unpack(planned, pipe)
            })
        })?;
        Ok(Unpacked { claim, name, filled })
    }

    /// Tries once more after wrong bytes, when the source has a second place to ask.
    pub(super) fn elsewhere<T>(
        &self,
        layer: &Layer,
        tried: Result<T, Error>,
        again: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match tried {
            Err(error) if error.is_wrong_bytes() && self.source.distrust(layer) => {
                self.log.error("build-layer.wrong-bytes-trying-elsewhere", &error);
                again()
            }
            other => other,
        }
    }

    fn try_unpack(&self, planned: &Planned<'_>, pipe: Pipe<'_>) -> Result<(String, Filled), Error> {
        let layer = planned.layer;
        let log = self.log.session("build-layer");
        let log = log.with("blobID", &layer.blob).with("chainID", &planned.chain_id);
        let log = log.with("parentChainID", planned.parent.as_deref().unwrap_or_default());
        let _step = log.detail();
        let driver = Told::new(self.driver, &log);
        let name = volumes::incomplete_name(&planned.chain_id);
        let parent = planned.parent.as_deref();
        let filled = driver
            .create_volume(parent, &name)
            .map_err(|error| Error::Volume { blob: layer.blob.clone(), source: error.into() })
            .and_then(|()| self.fill(layer, parent, &name, pipe, &log));
        // The first error is the one to report; what cannot be removed is left to `clean`.
        if filled.is_err()
            && let Err(error) = driver.destroy_volume(&name)
        {
            log.error("volume-cleanup-failed", &error);
        }
        filled.map(|filled| (name, filled))
    }

    /// Gives a layer its name. `below` are the volumes below, base first, if the layer needs them.
    pub(super) fn publish(
        &self,
        planned: &Planned<'_>,
        unpacked: Unpacked,
        below: &[&str],
    ) -> Result<(), Error> {
        let layer = planned.layer;
        let published = if unpacked.filled.undescribed.is_empty() || below.is_empty() {
            Ok(())
        } else {
            let below: Vec<&str> = below.iter().rev().copied().collect();
            self.look_like_below(&unpacked.name, &unpacked.filled.undescribed, &below)
        };
        let published = published.and_then(|()| {
            // Also where nobody asked for a check: then it may stand for layers that are checked.
            let is_true = unpacked.filled.is_true;
            let diff_id = match &layer.identity {
                Identity::DiffId(diff_id) if is_true => Some(diff_id.to_string()),
                _ => None,
            };
            let in_volume = |source| Error::Volume { blob: layer.blob.clone(), source };
            let metadata = Metadata {
                size: unpacked.filled.bytes,
                opaque_for_users: unpacked.filled.opaque_for_users,
                blobs: layer.proof.iter().cloned().collect(),
                diff_id,
                unchecked: layer.proof.is_some() && !is_true,
                boot: Some(durability::mark().map_err(in_volume)?),
                manifest: None,
            };
            self.name_volume(&unpacked.name, &planned.chain_id, &metadata).map_err(in_volume)
        });
        if published.is_err() {
            self.throw_away(unpacked);
        }
        published
    }

    /// Removes what is unpacked and will not be needed.
    pub(super) fn throw_away(&self, unpacked: Unpacked) {
        // Something else has failed before; what cannot be removed is left to `clean`.
        let _ = self.driver.destroy_volume(&unpacked.name);
    }

    /// Writes down what is known about a volume and gives it its name.
    pub(super) fn name_volume(
        &self,
        name: &str,
        chain_id: &str,
        metadata: &Metadata,
    ) -> Result<(), store::Error> {
        volumes::write_metadata(&self.store.layout, chain_id, metadata)?;
        Told::new(self.driver, self.log).publish_volume(name, chain_id)?;
        self.log.debug("build-layer.volume-created", chain_id);
        Ok(())
    }
}

impl Error {
    /// Whether other bytes came than the image names.
    fn is_wrong_bytes(&self) -> bool {
        use super::stream::Error as Stream;
        match self {
            Self::Stream { source, .. } => !matches!(source, Stream::Open(_) | Stream::Thread(_)),
            Self::Unpack { source, .. } => source.is_about_bytes(),
            _ => false,
        }
    }
}
