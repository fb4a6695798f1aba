//! Which volumes go, which stay, and why.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use super::Cleaner;
use crate::store::id::ImageId;
use crate::store::layout::{GARBAGE, INCOMPLETE};
use crate::store::{Doing, Error, dependencies, intents, locks, volumes};

/// What becomes of a volume, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Goes: no image uses it.
    Unused,
    /// Goes: half of a layer, whose process is gone.
    Unfinished,
    /// Goes: an earlier clean has chosen it.
    Garbage,
    /// Stays: these images use it.
    Used(BTreeSet<String>),
    /// Stays: an image that is not to be cleaned has it.
    Ignored(String),
    /// Stays: a pull that is going on needs it.
    Wanted,
    /// Stays: it is being written.
    BeingWritten,
    /// Stays: the threshold is met without it, and it was used more recently than what goes.
    Recent,
    /// Stays: the store holds less than the threshold.
    BelowThreshold,
}

impl Verdict {
    /// Whether the volume goes, and has not been marked before.
    pub fn is_to_go(&self) -> bool {
        matches!(self, Self::Unused | Self::Unfinished)
    }

    /// Whether the volume goes.
    pub fn goes(&self) -> bool {
        self.is_to_go() || *self == Self::Garbage
    }
}

/// A volume and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Its name.
    pub name: String,
    /// Bytes of its files, as far as they are known.
    pub size: u64,
    /// When a create last used it; `None` when that is not known.
    pub last_used: Option<SystemTime>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// Who uses which volumes.
#[derive(Debug, Default)]
pub struct Used {
    /// The images that need no second look, and which file said what they use.
    images: HashMap<String, Written>,
    by_images: BTreeMap<String, BTreeSet<String>>,
    by_ignored: BTreeMap<String, String>,
    by_pulls: HashSet<String>,
}

/// Longer than the clock of any file system stands still.
const TICK: Duration = Duration::from_secs(1);

/// Tells a file from one that is written later in its place, even where that gets its inode number.
type Written = (u64, i64, i64);

impl Cleaner<'_> {
    /// Who uses which volumes. The caller holds the lock alone.
    pub(super) fn used(&self) -> Result<Used, Error> {
        let mut used = self.used_without_lock()?;
        used.by_pulls = intents::used(&self.store.layout)?.into_iter().collect();
        Ok(used)
    }

    /// The same as far as it can be seen without the lock.
    pub(super) fn used_without_lock(&self) -> Result<Used, Error> {
        let layout = &self.store.layout;
        let mut used = Used::default();
        self.add_images(&mut used)?;
        for name in &self.request.ignored {
            for volume in dependencies::of_base_image(layout, name) {
                used.by_ignored.insert(volume, name.clone());
            }
        }
        used.by_pulls = intents::seen(layout)?.into_iter().collect();
        Ok(used)
    }

    /// Adds who has come to use volumes since. Who has gone meanwhile is not taken out: the next clean is for
    /// what they leave. The caller holds the lock alone.
    pub(super) fn add_new(&self, used: &mut Used) -> Result<(), Error> {
        self.add_images(used)?;
        used.by_pulls.extend(intents::used(&self.store.layout)?);
        Ok(())
    }

    /// Adds the images that have not been looked at, or are others than then.
    fn add_images(&self, used: &mut Used) -> Result<(), Error> {
        let layout = &self.store.layout;
        for image in volumes::names(&layout.images()).doing("listing images")? {
            // Before it is read: what is written between the two is looked at again.
            let written = self.written(&image);
            if written.is_some() && used.images.get(&image) == written.as_ref() {
                continue;
            }
            for volume in self.volumes_of(&image) {
                used.by_images.entry(volume).or_default().insert(image.clone());
            }
            if let Some(written) = written {
                used.images.insert(image, written);
            }
        }
        Ok(())
    }

    /// The file that says what an image uses; `None` where there is none, or one so young that another one
    /// could get its number and, as clocks of file systems tick, its time.
    fn written(&self, image: &str) -> Option<Written> {
        let id = ImageId::new(image).ok()?;
        let found = fs::metadata(self.store.layout.image_dependencies(&id)).ok()?;
        let age = SystemTime::now().duration_since(found.modified().ok()?).ok()?;
        (age >= TICK).then(|| (found.ino(), found.ctime(), found.ctime_nsec()))
    }

    /// The volumes of an image. Where nothing or nonsense is written about that, what can be found out.
    pub(super) fn volumes_of(&self, image: &str) -> Vec<String> {
        let layout = &self.store.layout;
        let Ok(id) = ImageId::new(image) else { return Vec::new() };
        match dependencies::read(layout, &id) {
            Ok(Some(volumes)) => return volumes,
            // Not made by a finished create, or half deleted.
            Ok(None) => {
                self.log.info("garbage-collector-mark-unused.image-without-dependencies", image);
            }
            Err(error) => {
                self.log.error("garbage-collector-mark-unused.finding-unused-failed", &error);
            }
        }
        dependencies::found_out(layout, self.driver, &id)
    }

    /// What becomes of each volume, the least recently used first.
    pub(super) fn judged(&self, used: &Used) -> Result<Vec<Judged>, Error> {
        let layout = &self.store.layout;
        let names = volumes::list(layout)
            .doing("listing volumes: failed to retrieve volume list: failed to list volumes")?;
        let mut judged = Vec::with_capacity(names.len());
        for name in names {
            let verdict = self.verdict(&name, used)?;
            let metadata = layout.volume_metadata(&name);
            let size = volumes::read_metadata(layout, &name).map_or(0, |found| found.size);
            let last_used = fs::metadata(metadata).and_then(|found| found.modified()).ok();
            judged.push(Judged { name, size, last_used, verdict });
        }
        judged.sort_by(|a, b| a.last_used.cmp(&b.last_used).then_with(|| a.name.cmp(&b.name)));
        if self.request.keep_recent {
            self.keep_recent(&mut judged)?;
        }
        Ok(judged)
    }

    pub(super) fn verdict(&self, name: &str, used: &Used) -> Result<Verdict, Error> {
        if name.starts_with(GARBAGE) {
            return Ok(Verdict::Garbage);
        }
        if let Some((key, _)) = name.split_once(INCOMPLETE) {
            // Who writes it holds the lock of the layer, or that of the blob.
            return Ok(match locks::is_held(&self.store.layout, key)? {
                true => Verdict::BeingWritten,
                false => Verdict::Unfinished,
            });
        }
        Ok(if let Some(images) = used.by_images.get(name) {
            Verdict::Used(images.clone())
        } else if let Some(image) = used.by_ignored.get(name) {
            Verdict::Ignored(image.clone())
        } else if used.by_pulls.contains(name) {
            Verdict::Wanted
        } else {
            Verdict::Unused
        })
    }

    /// Keeps what need not go for the threshold: the list is sorted by last use.
    fn keep_recent(&self, judged: &mut [Judged]) -> Result<(), Error> {
        let mut holds = self.measured()?;
        for volume in judged.iter().filter(|volume| volume.verdict == Verdict::Garbage) {
            holds = holds.saturating_sub(volume.size);
        }
        for volume in judged.iter_mut().filter(|volume| volume.verdict == Verdict::Unused) {
            if holds < self.request.threshold {
                volume.verdict = Verdict::Recent;
            } else {
                holds = holds.saturating_sub(volume.size);
            }
        }
        Ok(())
    }
}
