//! One layer into one incomplete volume.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, openat};
use rustix::io::Errno;

use super::stream::{self, Finished, Pipe};
use super::{Error, Puller, undescribed};
use crate::driver::VolumeTree;
use crate::image::Layer;
use crate::image::digest::Digest;
use crate::observe::log::data;
use crate::observe::{Level, Log, metrics};
use crate::unpack::{self, EntryPath, Limits, OnDisk, Target, Unpacked, is_opaque};

/// Most entries of a layer: some five times what the largest images have, and less than what keeps
/// a file system busy for hours.
const MOST_ENTRIES: u64 = 50_000_000;

/// What came out of a layer.
#[derive(Debug)]
pub struct Filled {
    /// Bytes of its regular files.
    pub bytes: u64,
    /// Digest over its plain bytes, where that was computed.
    pub diff_id: Option<Digest>,
    /// Whether it is what it is called.
    pub is_true: bool,
    /// Whether it has directories with the mark for overlays that users mount.
    pub opaque_for_users: bool,
    /// Directories that it has no entry for.
    pub undescribed: Vec<EntryPath>,
}

/// Tells which layer a pipe failed on.
pub fn failure(layer: &Layer, failure: stream::Failure) -> Error {
    let blob = layer.blob.clone();
    match failure {
        stream::Failure::Stream(source) => Error::Stream { blob, source },
        stream::Failure::Unpack(source) => Error::Unpack { blob, source },
        stream::Failure::Stopped => Error::Stopped,
    }
}

/// Reads a layer only to have it checked.
pub fn read_to_end(input: &mut dyn BufRead) -> Result<(), unpack::Error> {
    std::io::copy(input, &mut std::io::sink()).map(drop).map_err(unpack::Error::Read)
}

impl Puller<'_> {
    /// Unpacks a layer from its pipe into a new volume.
    pub(super) fn fill(
        &self,
        layer: &Layer,
        parent: Option<&str>,
        name: &str,
        pipe: Pipe<'_>,
        log: &Log,
    ) -> Result<Filled, Error> {
        let log = log.session("unpacking-layer");
        let _step = log.detail();
        let tree = self
            .driver
            .open_volume(name)
            .map_err(|error| Error::Volume { blob: layer.blob.clone(), source: error.into() })?;
        self.prepare_root(parent, &tree)?;
        if let Some(base) = &layer.base_directory {
            self.prepare_base_directory(layer, parent, &tree, base)?;
        }
        let traffic = pipe.traffic();
        let mut took = Duration::ZERO;
        let unpacked = pipe.finish(|input| {
            let begin = Instant::now();
            let target = Target {
                root: tree.root.as_fd(),
                on_disk: tree.whiteout_device.as_ref().map_or(OnDisk::Plain, |device| {
                    OnDisk::Overlay { whiteout_device: device.as_fd() }
                }),
                mappings: &self.store.mappings,
                base_directory: layer.base_directory.as_deref(),
                limits: Limits { bytes: self.budget.left(), entries: MOST_ENTRIES },
            };
            let unpacked = unpack::unpack(input, &target);
            took = begin.elapsed();
            unpacked
        });
        self.metrics.layer(metrics::Layer {
            download: traffic.waited_for_source(),
            unpack: took.saturating_sub(traffic.starved()),
            bytes: traffic.bytes(),
        });
        let Finished { value: unpacked, diff_id, is_true } =
            unpacked.map_err(|error| failure(layer, error))?;
        for warning in &unpacked.warnings {
            log.info("warning", warning);
        }
        log.tell(Level::Debug, "layer-unpacked", || {
            let waited = traffic.waited_for_source().as_secs_f64();
            data([
                ("bytes", unpacked.bytes.into()),
                ("blobBytes", traffic.bytes().into()),
                ("downloadSeconds", waited.into()),
            ])
        });
        let Unpacked { bytes, undescribed, opaque, .. } = unpacked;
        self.mark_opaque(name, &tree, &opaque.unmarked)?;
        self.spend(bytes);
        let opaque_for_users = opaque.for_users;
        Ok(Filled { bytes, diff_id, is_true, opaque_for_users, undescribed })
    }

    /// Has directories marked as opaque that only root of the machine may mark.
    fn mark_opaque(
        &self,
        name: &str,
        tree: &VolumeTree,
        unmarked: &BTreeSet<EntryPath>,
    ) -> Result<(), Error> {
        let is_opaque = |path: &&EntryPath| {
            let found = undescribed::open_without_links(&tree.root, path);
            found.is_ok_and(|found| found.is_some_and(|found| is_opaque(found.as_fd()) == Ok(true)))
        };
        let paths: Vec<&Path> = unmarked.iter().filter(is_opaque).map(EntryPath::as_path).collect();
        if paths.is_empty() {
            return Ok(());
        }
        self.driver.mark_opaque(name, &paths).map_err(Error::Opaque)
    }

    /// The root of a layer belongs to the mapped root, until the layer says otherwise.
    fn prepare_root(&self, parent: Option<&str>, tree: &VolumeTree) -> Result<(), Error> {
        let owner = self.store.owner();
        let stacked = self.driver.stacks_volumes() && parent.is_some();
        if stacked || (owner.uid == 0 && owner.gid == 0) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        fchown(&tree.root, Some(uid), Some(gid)).map_err(|errno| {
            Error::BaseDirectory(format!(
                "changing volume ownership to {}:{}: chown: {errno}",
                owner.uid, owner.gid
            ))
        })
    }

    /// Makes the base directory with mode and owner of the same path in the parent (contract 4.6).
    fn prepare_base_directory(
        &self,
        layer: &Layer,
        parent: Option<&str>,
        tree: &VolumeTree,
        base: &Path,
    ) -> Result<(), Error> {
        let missing = || {
            Error::BaseDirectory(format!(
                "base directory not found in parent layer: {} (the layers below `{}` do not have it)",
                base.display(),
                layer.blob
            ))
        };
        let parent = parent.ok_or_else(missing)?;
        let parent = self.driver.open_volume(parent).map_err(|_| missing())?;
        copy_directories(&parent.root, &tree.root, base).map_err(|errno| match errno {
            Errno::NOENT => missing(),
            _ => Error::BaseDirectory(format!(
                "could not create base directory in child layer: {}: {errno}",
                base.display()
            )),
        })
    }
}

/// Makes the directories of `path` below `to` as they are below `from`. Symlinks are not followed.
fn copy_directories(from: &OwnedFd, to: &OwnedFd, path: &Path) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |dir: &OwnedFd, name: &Path| openat(dir, name, flags, Mode::empty());
    let mut from = open(from, Path::new("."))?;
    let mut to = open(to, Path::new("."))?;
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        let name = Path::new(name);
        from = open(&from, name)?;
        to = match mkdirat(&to, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => open(&to, name)?,
            Err(errno) => return Err(errno),
            Ok(()) => {
                let made = open(&to, name)?;
                let like = fstat(&from)?;
                let (uid, gid) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
                fchown(&made, Some(uid), Some(gid))?;
                fchmod(&made, Mode::from_raw_mode(like.st_mode & 0o7777))?;
                made
            }
        };
    }
    Ok(())
}
