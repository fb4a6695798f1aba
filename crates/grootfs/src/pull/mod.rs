//! The layer pipeline: from an image to volumes in the store.
//!
//! Plan first: layers that the store has cost nothing. The missing ones are streamed, each through
//! one pipe without a copy on disk: source, hash, decompress, hash, unpack ([`stream`]).
//! A volume gets its name only when all of its checks hold; what fails is removed at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::driver::Driver;
use crate::image::{self, Image, ImageSource, Layer};
use crate::observe::Log;
use crate::store::{self, Store, locks, volumes};
use crate::unpack;

mod decompress;
mod layer;
mod stream;

/// Why an image could not be brought into the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image's bytes could not be had, or are not what they should be.
    #[error("streaming blob `{blob}`")]
    Stream {
        /// Which layer.
        blob: String,
        /// Why.
        source: stream::Error,
    },
    /// The layer's tar could not be unpacked.
    #[error("unpacking layer `{blob}`")]
    Unpack {
        /// Which layer.
        blob: String,
        /// Why.
        source: unpack::Error,
    },
    /// The layer's place in the store.
    #[error("creating volume for layer `{blob}`")]
    Volume {
        /// Which layer.
        blob: String,
        /// Why.
        source: store::Error,
    },
    /// A base directory that the layers below do not have, or that leads elsewhere.
    #[error("{0}")]
    BaseDirectory(String),
    /// A lock.
    #[error("acquiring lock")]
    Lock(#[source] store::Error),
    /// Another layer failed first.
    #[error("stopped because another layer failed")]
    Stopped,
}

impl Error {
    /// The image source's own error, where that is the cause.
    pub fn source_error(&self) -> Option<&image::Error> {
        match self {
            Self::Stream { source: stream::Error::Open(error), .. } => Some(error),
            _ => None,
        }
    }
}

/// Brings images into one store.
#[derive(Debug)]
pub struct Puller<'a> {
    /// The store.
    pub store: &'a Store,
    /// How its layers are kept.
    pub driver: &'a dyn Driver,
    /// Where the image comes from.
    pub source: &'a dyn ImageSource,
    /// Where steps are logged.
    pub log: &'a Log,
}

impl Puller<'_> {
    /// Brings the missing layers of an image into the store; returns all its chain ids, base first.
    ///
    /// The caller holds the global lock, shared.
    pub fn pull(&self, image: &Image) -> Result<Vec<String>, Error> {
        let mut missing: Vec<&Layer> = Vec::new();
        for layer in &image.layers {
            let listed = missing.iter().any(|other| other.chain_id == layer.chain_id);
            if !listed && !volumes::exists(&self.store.layout, &layer.chain_id) {
                missing.push(layer);
            }
        }
        if self.driver.stacks_volumes() {
            let running = AtomicBool::new(false);
            missing.iter().try_for_each(|layer| self.build(layer, &running))?;
        } else {
            self.build_all(missing)?;
        }
        Ok(image.layers.iter().map(|layer| layer.chain_id.clone()).collect())
    }

    /// Builds layers that do not depend on each other: as many at once as there are cores, the
    /// largest first, so that no core waits for a large one at the end.
    fn build_all(&self, mut layers: Vec<&Layer>) -> Result<(), Error> {
        if layers.is_empty() {
            return Ok(());
        }
        // Layers with a base directory look into those below, so these come before.
        layers.sort_by_key(|layer| {
            (layer.base_directory.is_some(), std::cmp::Reverse(layer.size.unwrap_or(0)))
        });
        let stop = AtomicBool::new(false);
        let (simple, based): (Vec<&Layer>, Vec<&Layer>) =
            layers.into_iter().partition(|layer| layer.base_directory.is_none());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.build_together(&simple, cores, &stop)?;
        based.iter().try_for_each(|layer| self.build(layer, &stop))
    }

    fn build_together(
        &self,
        layers: &[&Layer],
        workers: usize,
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(error) = self.build(layer, stop) {
                    stop.store(true, Ordering::Relaxed);
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
            None if stop.load(Ordering::Relaxed) => Err(Error::Stopped),
            None => Ok(()),
        }
    }

    /// Builds one layer unless somebody else does it meanwhile.
    fn build(&self, layer: &Layer, stop: &AtomicBool) -> Result<(), Error> {
        let layout = &self.store.layout;
        let _lock =
            locks::acquire(layout, &layer.chain_id, locks::Mode::Exclusive).map_err(Error::Lock)?;
        if volumes::exists(layout, &layer.chain_id) {
            self.log.debug("build-layer.volume-exists", &layer.chain_id);
            return Ok(());
        }
        let name = volumes::incomplete_name(&layer.chain_id);
        let in_volume = |source: store::Error| Error::Volume { blob: layer.blob.clone(), source };
        let built = self
            .driver
            .create_volume(layer.parent.as_deref(), &name)
            .map_err(|error| in_volume(error.into()))
            .and_then(|()| self.fill(layer, &name, stop))
            .and_then(|size| {
                let metadata = volumes::Metadata { size };
                volumes::write_metadata(layout, &layer.chain_id, &metadata)
                    .and_then(|()| Ok(self.driver.publish_volume(&name, &layer.chain_id)?))
                    .map_err(in_volume)
            });
        if built.is_err() {
            // The first error is the one to report; what cannot be removed is left to `clean`.
            let _ = self.driver.destroy_volume(&name);
        }
        built
    }
}
