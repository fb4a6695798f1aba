//! Where the disk went: what layers and images hold, what is promised, what `clean` would give back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::gc::Verdict;
use crate::driver::limit::Usage;

mod measure;

pub use measure::measure;

/// A store's books.
#[derive(Debug)]
pub struct Accounting {
    /// The file system that the store lies on.
    pub space: Space,
    /// The file behind it, where the store has a file system of its own.
    pub backing: Option<Backing>,
    /// Whatever lies in `volumes/`, by name.
    pub volumes: BTreeMap<String, Volume>,
    /// Whatever lies in `images/`, those that hold most of their own first.
    pub images: Vec<Image>,
    /// Images that are being removed.
    pub removed: Vec<Result<Usage, Unmeasured>>,
    /// What `clean` compares with its threshold, in bytes.
    pub measured: u64,
    /// Why the numbers of images may be some seconds old.
    pub stale: Option<String>,
}

/// A file system, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Its size.
    pub size: u64,
    /// What is in use.
    pub used: u64,
    /// What may still be written. Less than the rest where the file system keeps a reserve.
    pub free: u64,
}

/// The file behind a store, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// Which file.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// What it takes where it lies; it grows up to its size.
    pub allocated: u64,
    /// What is free where it lies.
    pub free: u64,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Bytes of its files; `None` where its metadata is missing or broken.
    pub size: Option<u64>,
    /// What a `clean` without a threshold would do with it, and why.
    pub verdict: Verdict,
}

/// What becomes of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeState {
    /// Images use it, so it stays.
    Used,
    /// No image uses it: the next `clean` takes it.
    Unused,
    /// A `clean` has chosen it.
    Removing,
    /// Being unpacked.
    Building,
    /// Left by an unpacking that was killed: the next `clean` takes it.
    Unfinished,
    /// A pull that is going on needs it, or an image that is not to be cleaned has it.
    Kept,
}

/// A root file system.
#[derive(Debug)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Whether it is whole.
    pub state: ImageState,
    /// Bytes of its layers; `None` where that of one is not known.
    pub layers: Option<u64>,
    /// What it holds and may hold.
    pub usage: Result<Usage, Unmeasured>,
}

/// Whether an image is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    /// It is.
    Whole,
    /// It has no dependency file: somebody makes or deletes it, or was killed doing so.
    Unfinished,
    /// What is wrong with it.
    Broken(String),
}

/// Why nobody knows what an image holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmeasured {
    /// The reason.
    pub why: String,
    /// Whether it has no limit, for the same reason.
    pub unlimited: bool,
}

/// How many, and how many bytes together as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// Bytes of those that are known.
    pub bytes: u64,
    /// How many are not known.
    pub unknown: u64,
}

/// What limits promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promised {
    /// Images with a limit of bytes.
    pub limited: u64,
    /// Images without one.
    pub unlimited: u64,
    /// Images of which that is not known.
    pub unknown: u64,
    /// Bytes that the limited ones may come to hold, each with its image.
    pub committed: u64,
    /// Bytes by which they may still grow on the disk.
    pub growth: u64,
}

impl Image {
    /// Bytes that the kernel holds it to, 0 for no limit; `None` where that is not known.
    pub fn limit(&self) -> Option<u64> {
        match &self.usage {
            Ok(usage) => Some(usage.quota),
            Err(unmeasured) => unmeasured.unlimited.then_some(0),
        }
    }

    /// What a person should know of it: that it is not whole, or why nobody knows what it holds.
    pub fn problem(&self) -> Option<String> {
        let unmeasured = self.usage.as_ref().err();
        match (&self.state, unmeasured) {
            (ImageState::Whole, None) => None,
            (ImageState::Whole, Some(unmeasured)) => Some(format!("not measured: {}", unmeasured.why)),
            (ImageState::Unfinished, _) => Some(
                "no dependency file: it is being made or deleted, or a killed process left it half so; \
                 `grootfs delete` removes it"
                    .to_owned(),
            ),
            (ImageState::Broken(why), _) => Some(why.clone()),
        }
    }
}

impl Volume {
    /// What becomes of it.
    pub fn state(&self) -> VolumeState {
        match self.verdict {
            Verdict::Used(_) => VolumeState::Used,
            Verdict::Garbage => VolumeState::Removing,
            Verdict::BeingWritten => VolumeState::Building,
            Verdict::Unfinished => VolumeState::Unfinished,
            Verdict::Unused => VolumeState::Unused,
            Verdict::Ignored(_) | Verdict::Wanted | Verdict::Recent | Verdict::BelowThreshold => {
                VolumeState::Kept
            }
        }
    }

    /// The images that use it, sorted.
    pub fn images(&self) -> Vec<&str> {
        match &self.verdict {
            Verdict::Used(images) => images.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

impl Sum {
    fn add(&mut self, bytes: Option<u64>) {
        self.count += 1;
        match bytes {
            Some(bytes) => self.bytes = self.bytes.saturating_add(bytes),
            None => self.unknown += 1,
        }
    }
}

impl FromIterator<Option<u64>> for Sum {
    fn from_iter<I: IntoIterator<Item = Option<u64>>>(sizes: I) -> Self {
        let mut sum = Self::default();
        sizes.into_iter().for_each(|size| sum.add(size));
        sum
    }
}

impl Accounting {
    /// The layers of which the same becomes.
    pub fn layers(&self, state: VolumeState) -> Sum {
        let these = self.volumes.values().filter(|volume| volume.state() == state);
        these.map(|volume| volume.size).collect()
    }

    /// The images that are being removed, with what they held of their own.
    pub fn removed(&self) -> Sum {
        self.removed.iter().map(|usage| usage.as_ref().ok().map(|usage| usage.exclusive)).collect()
    }

    /// Bytes that a `clean` without a threshold would give back.
    pub fn reclaimable(&self) -> u64 {
        let going = self.volumes.values().filter(|volume| volume.verdict.goes());
        let going: Sum = going.map(|volume| volume.size).collect();
        going.bytes.saturating_add(self.removed().bytes)
    }

    /// What the limits of the images promise.
    pub fn promised(&self) -> Promised {
        let mut promised = Promised::default();
        for image in &self.images {
            match (image.limit(), &image.usage) {
                (Some(0), _) => promised.unlimited += 1,
                (_, Ok(usage)) => {
                    // Also where the limit counts the image: its files can be written anew.
                    let growth = usage.quota.saturating_sub(usage.exclusive);
                    promised.limited += 1;
                    promised.committed = promised.committed.saturating_add(usage.committed);
                    promised.growth = promised.growth.saturating_add(growth);
                }
                (_, Err(_)) => promised.unknown += 1,
            }
        }
        promised
    }

    /// The largest layers that stay because images use them.
    pub fn largest_used(&self) -> Vec<(&str, &Volume)> {
        let used = self.volumes.iter().filter(|(_, volume)| volume.state() == VolumeState::Used);
        let mut used: Vec<_> = used.map(|(name, volume)| (name.as_str(), volume)).collect();
        used.sort_by_key(|(_, volume)| std::cmp::Reverse(volume.size));
        used
    }
}

impl Promised {
    /// The promise as part of a file system's size, in percent.
    pub fn percent(&self, size: u64) -> u64 {
        let percent = u128::from(self.committed) * 100 / u128::from(size.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
}
