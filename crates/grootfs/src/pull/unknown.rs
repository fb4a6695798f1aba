//! Layers that are known by reading them only: those of schema 1.
//!
//! Each is unpacked once, under a name of its own, while the digest over its plain bytes is
//! computed; that digest then says under which name it is published. The volume remembers blob and
//! digest, so that the next create finds it without reading anything.

use super::plan::chain_id;
use super::stop::Stop;
use super::stream::Pipe;
use super::{Error, Pulled, Puller};
use crate::driver::{Driver, Told};
use crate::image::Layer;
use crate::image::digest::Digest;
use crate::observe::metrics::Timing;
use crate::store::volumes::{self, Metadata};
use crate::store::{self, durability, locks};

impl Puller<'_> {
    /// Brings the layers in, one after the other: the place of each depends on those below.
    pub(super) fn pull_unknown(&self, layers: &[Layer], stop: &Stop) -> Result<Pulled, Error> {
        let mut pulled = Pulled::default();
        for layer in layers {
            let parent = pulled.volumes.last().cloned();
            let (name, size) = match self.known(layer, parent.as_deref())? {
                Some(found) => found,
                None => self.learn(layer, &pulled.volumes, stop)?,
            };
            pulled.push(name, size);
        }
        Ok(pulled)
    }

    /// The volume of a layer that was read before.
    fn known(&self, layer: &Layer, parent: Option<&str>) -> Result<Option<(String, u64)>, Error> {
        let layout = &self.store.layout;
        let in_volume = |source: store::Error| Error::Volume { blob: layer.blob.clone(), source };
        let Some(diff_id) = volumes::diff_id_of_blob(layout, &layer.blob).map_err(in_volume)?
        else {
            return Ok(None);
        };
        let Ok(diff_id) = diff_id.parse::<Digest>() else { return Ok(None) };
        let name = chain_id(parent, &diff_id);
        if !volumes::exists(layout, &name)
            || durability::is_lost(layout, &name).map_err(in_volume)?
        {
            return Ok(None);
        }
        let metadata = volumes::metadata(layout, &name, self.log).map_err(in_volume)?;
        // Another chain may have the same name from other blobs; only a record says it is this one.
        let recorded = metadata.blobs.contains(&layer.blob);
        Ok(recorded.then_some((name, metadata.size)))
    }

    /// Reads a layer, and finds out what it is.
    fn learn(&self, layer: &Layer, below: &[String], stop: &Stop) -> Result<(String, u64), Error> {
        let parent = below.last().map(String::as_str);
        let layout = &self.store.layout;
        let (key, patience) = (lock_key(layer), self.patience());
        let lock = || locks::acquire_layer(layout, &key, &patience);
        let _lock = self.metrics.timed(Timing::ExclusiveLock, lock).map_err(Error::Lock)?;
        if let Some(found) = self.known(layer, parent)? {
            return Ok(found);
        }
        let learn = || self.try_to_learn(layer, below, stop);
        self.elsewhere(layer, learn(), learn)
    }

    fn try_to_learn(
        &self,
        layer: &Layer,
        below: &[String],
        stop: &Stop,
    ) -> Result<(String, u64), Error> {
        let layout = &self.store.layout;
        let parent = below.last().map(String::as_str);
        let in_volume = |source: store::Error| Error::Volume { blob: layer.blob.clone(), source };
        // The name of the lock that is held, by which `clean` sees that somebody is at it.
        let incomplete = volumes::incomplete_name(&lock_key(layer));
        let log = self.log.session("build-layer").with("blobID", &layer.blob);
        let _step = log.detail();
        let driver = Told::new(self.driver, &log);
        let learned = driver
            .create_volume(parent, &incomplete)
            .map_err(|error| in_volume(error.into()))
            .and_then(|()| {
                std::thread::scope(|scope| {
                    let pipe = Pipe::start(scope, self.plumbing(stop), layer);
                    self.fill(layer, parent, &incomplete, pipe, &log)
                })
            })
            .and_then(|filled| {
                let diff_id = filled.diff_id.ok_or(Error::Stopped)?;
                if !self.driver.stacks_volumes() {
                    let below: Vec<&str> = below.iter().rev().map(String::as_str).collect();
                    self.look_like_below(&incomplete, &filled.undescribed, &below)?;
                }
                let name = chain_id(parent, &diff_id);
                let metadata = Metadata {
                    size: filled.bytes,
                    opaque_for_users: filled.opaque_for_users,
                    blobs: self.blobs_of(&name, layer),
                    diff_id: Some(diff_id.to_string()),
                    unchecked: false,
                    boot: Some(durability::mark().map_err(in_volume)?),
                    manifest: None,
                };
                if volumes::exists(layout, &name)
                    && durability::is_lost(layout, &name).map_err(in_volume)?
                {
                    durability::discard(layout, self.driver, &name).map_err(in_volume)?;
                }
                self.name_volume(&incomplete, &name, &metadata).map_err(in_volume)?;
                Ok((name, filled.bytes))
            });
        // The first error is the one to report; what cannot be removed is left to `clean`.
        if learned.is_err()
            && let Err(error) = driver.destroy_volume(&incomplete)
        {
            log.error("volume-cleanup-failed", &error);
        }
        learned
    }

    /// The blobs that a volume is known to be made of, this one among them.
    fn blobs_of(&self, name: &str, layer: &Layer) -> Vec<String> {
        let layout = &self.store.layout;
        let mut blobs = if volumes::exists(layout, name) {
            volumes::read_metadata(layout, name).map(|found| found.blobs).unwrap_or_default()
        } else {
            Vec::new()
        };
        if !blobs.contains(&layer.blob) {
            blobs.push(layer.blob.clone());
        }
        blobs
    }
}

/// The lock of a layer whose name in the store is not known yet.
fn lock_key(layer: &Layer) -> String {
    format!("blob-{}", layer.digest.as_ref().map_or("layer", Digest::hex))
}
