//! One layer becomes one volume, or nothing.

use super::plan::Planned;
use super::stream::{Pipe, Stop};
use super::{Error, Puller};
use crate::image::{Identity, Layer};
use crate::store;
use crate::store::locks::{self, Lock};
use crate::store::volumes::{self, Metadata};

/// The right to build a volume: nobody else does, and it is not there.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "held until it is dropped")] Lock);

impl Puller<'_> {
    /// Waits until a volume is ours to build; `None` when somebody else has built it.
    pub(super) fn claim(&self, chain_id: &str) -> Result<Option<Claim>, Error> {
        let layout = &self.store.layout;
        let lock = locks::acquire_unless(layout, chain_id, locks::Mode::Exclusive, self.interrupt)
            .map_err(Error::Lock)?
            .ok_or(Error::Stopped)?;
        self.claimed(chain_id, lock)
    }

    /// The same without waiting; also `None` when somebody else is building it.
    pub(super) fn claim_if_free(&self, chain_id: &str) -> Result<Option<Claim>, Error> {
        match locks::try_acquire(&self.store.layout, chain_id).map_err(Error::Lock)? {
            Some(lock) => self.claimed(chain_id, lock),
            None => Ok(None),
        }
    }

    fn claimed(&self, chain_id: &str, lock: Lock) -> Result<Option<Claim>, Error> {
        if volumes::exists(&self.store.layout, chain_id) {
            self.log.debug("build-layer.volume-exists", chain_id);
            return Ok(None);
        }
        Ok(Some(Claim(lock)))
    }

    /// Builds a volume from a pipe; from another one when the source has a second place to ask
    /// after wrong bytes.
    pub(super) fn build(
        &self,
        planned: &Planned<'_>,
        claim: Claim,
        pipe: Pipe<'_>,
        stop: &Stop,
    ) -> Result<(), Error> {
        let built = self.elsewhere(planned.layer, self.try_build(planned, pipe), || {
            std::thread::scope(|scope| {
                let pipe = Pipe::start(scope, self.plumbing(stop), planned.layer);
                self.try_build(planned, pipe)
            })
        });
        drop(claim);
        built
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

    fn try_build(&self, planned: &Planned<'_>, pipe: Pipe<'_>) -> Result<(), Error> {
        let layer = planned.layer;
        let name = volumes::incomplete_name(&planned.chain_id);
        let in_volume = |source: store::Error| Error::Volume { blob: layer.blob.clone(), source };
        let built = self
            .driver
            .create_volume(planned.parent.as_deref(), &name)
            .map_err(|error| in_volume(error.into()))
            .and_then(|()| self.fill(layer, planned.parent.as_deref(), &name, pipe))
            .and_then(|filled| {
                let diff_id = match &layer.identity {
                    Identity::DiffId(diff_id) if layer.verify => Some(diff_id.to_string()),
                    _ => None,
                };
                let metadata = Metadata {
                    size: filled.bytes,
                    blobs: layer.proof.iter().cloned().collect(),
                    diff_id,
                    unchecked: layer.proof.is_some() && !layer.verify,
                };
                self.publish(&name, &planned.chain_id, &metadata).map_err(in_volume)
            });
        if built.is_err() {
            // The first error is the one to report; what cannot be removed is left to `clean`.
            let _ = self.driver.destroy_volume(&name);
        }
        built
    }

    /// Writes down what is known about a volume and gives it its name.
    pub(super) fn publish(
        &self,
        name: &str,
        chain_id: &str,
        metadata: &Metadata,
    ) -> Result<(), store::Error> {
        volumes::write_metadata(&self.store.layout, chain_id, metadata)?;
        Ok(self.driver.publish_volume(name, chain_id)?)
    }
}

impl Error {
    /// Whether other bytes came than the image names.
    fn is_wrong_bytes(&self) -> bool {
        use super::stream::Error as Stream;
        match self {
            Self::Stream { source, .. } => !matches!(source, Stream::Open(_)),
            Self::Unpack { source, .. } => source.is_about_bytes(),
            _ => false,
        }
    }
}
