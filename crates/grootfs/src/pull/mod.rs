//! The layer pipeline: from an image to volumes in the store.
//!
//! Plan first ([`plan`]): layers that the store has cost nothing. The missing ones are streamed,
//! each through one pipe without a copy on disk: source, hash, decompress, hash, unpack
//! ([`stream`]); several at once where they do not depend on each other ([`schedule`]). A volume
//! gets its name only when all of its checks hold; what fails is removed at once ([`build`]).

use std::time::Duration;

use crate::driver::Driver;
use crate::driver::limit::Bytes;
use crate::image::{self, Image, ImageSource};
use crate::interrupt::Interrupt;
use crate::observe::Log;
use crate::store::durability::{self, Trust};
use crate::store::intents::Intent;
use crate::store::locks::{self, Lock, Patience};
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
mod stop;
mod stream;
mod undescribed;
mod unknown;

pub use budget::Budget;
use plan::Planned;
use stop::Stop;
use stream::{Pipe, Plumbing};

/// How often layers that were taken away are pulled again.
const ROUNDS: usize = 3;

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
    /// Layers went away as often as they were pulled.
    #[error(
        "layers of the image were removed while it was being pulled, several times: does another program \
         clean this store all the time?"
    )]
    TakenAway,
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
    /// How long a layer may take, and so how long another process that has it is waited for.
    pub longest_download: Duration,
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
    /// Whether some were not in the store before.
    pub brought_in: bool,
}

impl Pulled {
    fn push(&mut self, chain_id: String, size: u64) {
        self.volumes.push(chain_id);
        self.size = self.size.saturating_add(size);
    }
}

impl Puller<'_> {
    /// Brings the missing layers of an image into the store. Returns with the global lock, shared: as long
    /// as it is held, no `clean` takes them away.
    pub fn pull(&self, image: &Image) -> Result<(Pulled, Lock), Error> {
        let stop = Stop::new(self.interrupt);
        let lock = self.lock()?;
        let Some(planned) = plan::plan(image) else {
            // Nobody knows the names of these layers before they are there, so the lock has to do.
            let pulled = self.pull_unknown(&image.layers, &stop)?;
            return Ok((Pulled { brought_in: true, ..pulled }, lock));
        };
        let found = self.look(&planned)?;
        self.check_limit(&planned, &found)?;
        found.iter().flatten().for_each(|metadata| self.spend(metadata.size));
        if found.iter().all(Option::is_some) && !self.has_unproven(&planned, &found) {
            return Ok((Self::pulled(&planned, found), lock));
        }
        self.pull_missing(&planned, found, lock, &stop)
    }

    /// Lets go of the lock while layers come in.
    fn pull_missing(
        &self,
        planned: &[Planned<'_>],
        mut found: Vec<Option<Metadata>>,
        mut lock: Lock,
        stop: &Stop,
    ) -> Result<(Pulled, Lock), Error> {
        let names: Vec<String> = planned.iter().map(|layer| layer.chain_id.clone()).collect();
        let _intent = Intent::register(&self.store.layout, &names).map_err(Error::Lock)?;
        for _ in 0..ROUNDS {
            drop(lock);
            self.prove(planned, &found, stop)?;
            let mut missing: Vec<&Planned<'_>> = Vec::new();
            for (layer, found) in planned.iter().zip(&found) {
                let listed = missing.iter().any(|other| other.chain_id == layer.chain_id);
                if found.is_none() && !listed {
                    missing.push(layer);
                }
            }
            self.build_missing(planned, &missing, stop)?;
            lock = self.lock()?;
            found = self.look(planned)?;
            if found.iter().all(Option::is_some) {
                let pulled = Self::pulled(planned, found);
                return Ok((Pulled { brought_in: true, ..pulled }, lock));
            }
            // A `clean` of the original's has taken some: it does not know what we intend.
        }
        Err(Error::TakenAway)
    }

    fn lock(&self) -> Result<Lock, Error> {
        locks::global_shared(&self.store.layout, &Patience::short(self.interrupt))
            .map_err(Error::Lock)
    }

    /// What is known about the layers that are in the store. The caller holds the lock.
    fn look(&self, planned: &[Planned<'_>]) -> Result<Vec<Option<Metadata>>, Error> {
        let layout = &self.store.layout;
        let mut found = Vec::with_capacity(planned.len());
        for layer in planned {
            let name = &layer.chain_id;
            let there = volumes::exists(layout, name) && !durability::is_cut_off(layout, name);
            let metadata = there.then(|| self.metadata(layer)).transpose()?;
            let trust = metadata.as_ref().map(durability::trust).transpose();
            let trust =
                trust.map_err(|source| Error::Volume { blob: layer.layer.blob.clone(), source })?;
            found.push(metadata.filter(|_| trust != Some(Trust::Lost)));
        }
        Ok(found)
    }

    fn pulled(planned: &[Planned<'_>], found: Vec<Option<Metadata>>) -> Pulled {
        let mut pulled = Pulled::default();
        for (layer, metadata) in planned.iter().zip(found) {
            pulled.push(layer.chain_id.clone(), metadata.map_or(0, |metadata| metadata.size));
        }
        pulled
    }

    fn metadata(&self, planned: &Planned<'_>) -> Result<Metadata, Error> {
        volumes::metadata(&self.store.layout, &planned.chain_id)
            .map_err(|source| Error::Volume { blob: planned.layer.blob.clone(), source })
    }

    /// Whether some volume that is there may not stand for its layer yet.
    fn has_unproven(&self, planned: &[Planned<'_>], found: &[Option<Metadata>]) -> bool {
        let mut pairs = planned.iter().zip(found);
        pairs.any(|(layer, found)| found.as_ref().is_some_and(|found| unproven(layer, found)))
    }

    /// Looks whether the volumes that are there may stand for their layers.
    ///
    /// A configuration can claim any diff id, also that of somebody else's layer that it has no
    /// right to read. So a volume remembers of which blobs it was made, and another blob is
    /// fetched and checked before the volume stands for it too. Volumes without a record, made by
    /// the original, are trusted.
    fn prove(
        &self,
        planned: &[Planned<'_>],
        found: &[Option<Metadata>],
        stop: &Stop,
    ) -> Result<(), Error> {
        for (layer, found) in planned.iter().zip(found) {
            if let Some(metadata) = found.as_ref().filter(|found| unproven(layer, found)) {
                self.prove_one(layer, metadata, stop)?;
            }
        }
        Ok(())
    }

    fn prove_one(
        &self,
        planned: &Planned<'_>,
        metadata: &Metadata,
        stop: &Stop,
    ) -> Result<(), Error> {
        let layer = planned.layer;
        if metadata.unchecked {
            let chain_id = planned.chain_id.clone();
            return Err(Error::Unchecked { blob: layer.blob.clone(), chain_id });
        }
        let Some(proof) = &layer.proof else { return Ok(()) };
        self.log.info("build-layer.checking-other-blob", proof);
        let check = || {
            std::thread::scope(|scope| {
                let pipe = Pipe::start(scope, self.plumbing(stop), layer);
                pipe.finish(|input| layer::read_to_end(input)).map_err(|f| layer::failure(layer, f))
            })
        };
        self.elsewhere(layer, check(), check)?;
        let mut metadata = metadata.clone();
        metadata.blobs.push(proof.clone());
        volumes::write_metadata(&self.store.layout, &planned.chain_id, &metadata)
            .map_err(|source| Error::Volume { blob: layer.blob.clone(), source })
    }

    fn plumbing<'s>(&'s self, stop: &'s Stop) -> Plumbing<'s> {
        Plumbing { source: self.source, stop, ratio_limit: self.ratio_limit }
    }
}

/// Whether a volume may not stand for a layer without a look at the layer's bytes.
fn unproven(planned: &Planned<'_>, metadata: &Metadata) -> bool {
    let Some(proof) = planned.layer.proof.as_ref().filter(|_| planned.layer.verify) else {
        return false;
    };
    metadata.unchecked || !(metadata.blobs.is_empty() || metadata.blobs.contains(proof))
}
