//! The layer pipeline: from an image to volumes in the store.
//!
//! Plan first ([`plan`]): layers that the store has cost nothing. The missing ones are streamed,
//! each through one pipe without a copy on disk: source, hash, decompress, hash, unpack
//! ([`stream`]); several at once where they do not depend on each other ([`schedule`]). A volume
//! gets its name only when all of its checks hold; what fails is removed at once ([`build`]).

use crate::driver::limit::Bytes;
use crate::driver::{self, Driver};
use crate::image::{self, Image, ImageSource};
use crate::interrupt::Interrupt;
use crate::observe::Log;
use crate::store::volumes::{self, Metadata};
use crate::store::{self, Store};
use crate::unpack;

mod budget;
mod build;
mod chunks;
mod counted;
mod decompress;
mod layer;
mod plan;
mod schedule;
mod stream;
mod undescribed;
mod unknown;

pub use budget::Budget;
use plan::Planned;
use stream::{Pipe, Plumbing, Stop};

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
    /// Directories that hide those of the layers below could not be marked as such.
    #[error("handling opaque whiteouts")]
    Opaque(#[source] driver::Error),
    /// A lock.
    #[error("acquiring lock")]
    Lock(#[source] store::Error),
    /// A volume that was made from bytes that nobody checked, where checked ones are wanted.
    #[error(
        "layer `{blob}` is in the store as `{chain_id}`, made with --skip-layer-validation: it \
         cannot stand for a layer that is checked; delete the images that use it, and clean"
    )]
    Unchecked {
        /// Which layer.
        blob: String,
        /// Its volume.
        chain_id: String,
    },
    /// The layers do not fit into the disk limit.
    #[error(
        "layers exceed disk quota {sum}/{limit} bytes: the image counts, and its layers hold at least {}, the \
         limit is {}; largest layers: {largest}",
        Bytes(*sum), Bytes(*limit)
    )]
    Quota {
        /// Bytes of the layers, as far as they are known.
        sum: u64,
        /// The limit.
        limit: u64,
        /// Names of layers with their sizes.
        largest: String,
    },
    /// Another layer failed first, or somebody asked to stop.
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
    /// What ends it early.
    pub interrupt: &'a Interrupt,
    /// What is left of the disk limit for the layers.
    pub budget: Budget,
    /// How many times its size a layer may grow when it is decompressed; 0 for any.
    pub ratio_limit: u64,
}

/// The layers of an image in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Names of the volumes, base first.
    pub volumes: Vec<String>,
    /// Bytes of all of them together.
    pub size: u64,
}

impl Pulled {
    fn push(&mut self, chain_id: String, size: u64) {
        self.volumes.push(chain_id);
        self.size = self.size.saturating_add(size);
    }
}

impl Puller<'_> {
    /// Brings the missing layers of an image into the store.
    ///
    /// The caller holds the global lock, shared.
    pub fn pull(&self, image: &Image) -> Result<Pulled, Error> {
        let stop = Stop::new(self.interrupt);
        let Some(planned) = plan::plan(image) else {
            return self.pull_unknown(&image.layers, &stop);
        };
        let mut missing: Vec<&Planned<'_>> = Vec::new();
        let mut sizes = Vec::with_capacity(planned.len());
        for layer in &planned {
            if volumes::exists(&self.store.layout, &layer.chain_id) {
                sizes.push(Some(self.check_record(layer, &stop)?));
                continue;
            }
            sizes.push(None);
            if !missing.iter().any(|other| other.chain_id == layer.chain_id) {
                missing.push(layer);
            }
        }
        self.check_limit(&planned, &sizes)?;
        sizes.iter().flatten().for_each(|size| self.spend(*size));
        self.build_missing(&planned, &missing, &stop)?;
        let mut pulled = Pulled::default();
        for (layer, size) in planned.iter().zip(sizes) {
            let size = size.map_or_else(|| Ok(self.metadata(layer)?.size), Ok)?;
            pulled.push(layer.chain_id.clone(), size);
        }
        Ok(pulled)
    }

    fn metadata(&self, planned: &Planned<'_>) -> Result<Metadata, Error> {
        volumes::metadata(&self.store.layout, &planned.chain_id)
            .map_err(|source| Error::Volume { blob: planned.layer.blob.clone(), source })
    }

    /// Looks whether a volume that is there may stand for a layer; returns the volume's size.
    ///
    /// A configuration can claim any diff id, also that of somebody else's layer that it has no
    /// right to read. So a volume remembers of which blobs it was made, and another blob is
    /// fetched and checked before the volume stands for it too. Volumes without a record, made by
    /// the original, are trusted.
    fn check_record(&self, planned: &Planned<'_>, stop: &Stop) -> Result<u64, Error> {
        let layer = planned.layer;
        let mut metadata = self.metadata(planned)?;
        let size = metadata.size;
        let Some(proof) = layer.proof.as_ref().filter(|_| layer.verify) else { return Ok(size) };
        if metadata.unchecked {
            let chain_id = planned.chain_id.clone();
            return Err(Error::Unchecked { blob: layer.blob.clone(), chain_id });
        }
        if metadata.blobs.is_empty() || metadata.blobs.contains(proof) {
            return Ok(size);
        }
        self.log.info("build-layer.checking-other-blob", proof);
        let check = || {
            std::thread::scope(|scope| {
                let pipe = Pipe::start(scope, self.plumbing(stop), layer);
                pipe.finish(|input| layer::read_to_end(input)).map_err(|f| layer::failure(layer, f))
            })
        };
        self.elsewhere(layer, check(), check)?;
        metadata.blobs.push(proof.clone());
        volumes::write_metadata(&self.store.layout, &planned.chain_id, &metadata)
            .map_err(|source| Error::Volume { blob: layer.blob.clone(), source })?;
        Ok(size)
    }

    fn plumbing<'s>(&'s self, stop: &'s Stop) -> Plumbing<'s> {
        Plumbing { source: self.source, stop, ratio_limit: self.ratio_limit }
    }
}
