//! What a command measures, and who is told.
//!
//! Rooms record into [`Metrics`] while they work; that costs nothing where nobody listens. At the end of the
//! command a [`Report`] goes to the sinks: [`dropsonde`] sends what the originals sent, [`textfile`] keeps
//! numbers for Prometheus. Neither can make a command fail.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub mod dropsonde;
pub mod exposition;
pub mod textfile;

/// Most measurements of one command: an image of 1,000 layers has some 2,000, and no list grows without end.
const MOST: usize = 20_000;

/// What took a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Making a root file system, from the look at its image to its limit.
    ImageCreation,
    /// Deleting one.
    ImageDeletion,
    /// Measuring one.
    ImageStats,
    /// A clean, also within a create.
    ImageClean,
    /// Waiting for a lock that is held together with others.
    SharedLock,
    /// Waiting for a lock that is held alone.
    ExclusiveLock,
    /// Waiting for the lock under which a clean chooses, all slices together.
    ChoosingLock,
    /// Waiting for the lock between cleans, which v0.30.0 did not have.
    CleanLock,
}

/// Something that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// How long something took.
    Took(Timing, Duration),
    /// A layer that came in.
    Layer(Layer),
}

/// A layer that came in. The two times overlap: layers stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layer {
    /// Time that the source was waited for.
    pub download: Duration,
    /// Time of unpacking, without waiting for bytes.
    pub unpack: Duration,
    /// Bytes as they were sent.
    pub bytes: u64,
}

/// A measurement, and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// When.
    pub at: SystemTime,
    /// What.
    pub measure: Measure,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It did what it was asked for.
    Success,
    /// There was nothing to do: a clean below its threshold.
    Skipped,
    /// What it was to work on is not there, which is no failure: a delete of an image that is gone.
    NotThere,
    /// It failed.
    Failure {
        /// Exit code.
        code: u8,
        /// What the user reads.
        text: String,
    },
}

/// Bytes of a store at the end of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Size of the file system below it.
    pub filesystem: u64,
    /// What of that is in use.
    pub filesystem_used: u64,
    /// Layers that images use.
    pub used_layers: u64,
    /// Layers that a clean would take away.
    pub unused_layers: u64,
    /// All layers.
    pub layers: u64,
    /// What the limits of all images promise, where somebody knows.
    pub committed: Option<u64>,
}

/// One command, for the sinks.
#[derive(Debug)]
pub struct Report<'a> {
    /// Its name.
    pub command: &'a str,
    /// The store that it worked on.
    pub store: &'a str,
    /// What was measured, in order.
    pub measured: Vec<Recorded>,
    /// How it ended.
    pub ending: Ending,
    /// When that was.
    pub at: SystemTime,
    /// How long it took in all.
    pub took: Duration,
    /// Whether another process cleans afterwards, and tells of layers itself.
    pub cleaned_after: bool,
    /// Bytes of the store, where they are known.
    pub sizes: Option<Sizes>,
}

/// Takes measurements. Cheap to clone; the default takes none.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Option<Arc<Mutex<Taken>>>);

#[derive(Debug, Default)]
struct Taken {
    measured: Vec<Recorded>,
    ending: Option<Ending>,
}

impl Taken {
    fn record(&mut self, measure: Measure) {
        if self.measured.len() < MOST {
            self.measured.push(Recorded { at: SystemTime::now(), measure });
        }
    }
}

impl Metrics {
    /// Takes what it gets.
    pub fn on() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether somebody wants to know.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Does something, and takes how long that took, also when it fails.
    pub fn timed<T>(&self, timing: Timing, work: impl FnOnce() -> T) -> T {
        if !self.is_on() {
            return work();
        }
        let begin = Instant::now();
        let result = work();
        self.took(timing, begin.elapsed());
        result
    }

    /// Does something that is done in several parts, which count as one.
    pub fn timed_in_all<T>(&self, timing: Timing, work: impl FnOnce() -> T) -> T {
        if !self.is_on() {
            return work();
        }
        let begin = Instant::now();
        let result = work();
        let part = begin.elapsed();
        self.with(|taken| {
            let earlier =
                taken.measured.iter_mut().find_map(|recorded| match &mut recorded.measure {
                    Measure::Took(other, time) if *other == timing => Some(time),
                    _ => None,
                });
            match earlier {
                Some(time) => *time += part,
                None => taken.record(Measure::Took(timing, part)),
            }
        });
        result
    }

    /// Takes how long something took.
    pub fn took(&self, timing: Timing, time: Duration) {
        self.record(Measure::Took(timing, time));
    }

    /// Takes what is known of a layer that came in.
    pub fn layer(&self, layer: Layer) {
        self.record(Measure::Layer(layer));
    }

    /// Says how the command ends, where its result does not tell.
    pub fn ends_as(&self, ending: Ending) {
        self.with(|taken| taken.ending = Some(ending));
    }

    /// Hands out what was taken, and how the command said that it ends.
    pub fn take(&self) -> (Vec<Recorded>, Option<Ending>) {
        let mut found = Taken::default();
        self.with(|taken| std::mem::swap(taken, &mut found));
        (found.measured, found.ending)
    }

    fn record(&self, measure: Measure) {
        self.with(|taken| taken.record(measure));
    }

    fn with(&self, change: impl FnOnce(&mut Taken)) {
        if let Some(taken) = &self.0 {
            change(&mut taken.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_where_somebody_listens() {
        let (off, on) = (Metrics::default(), Metrics::on());
        for metrics in [&off, &on] {
            assert_eq!(metrics.timed(Timing::ImageStats, || 7), 7);
            metrics.clone().layer(Layer { bytes: 5, ..Layer::default() });
            metrics.ends_as(Ending::NotThere);
        }
        assert_eq!(off.take(), (Vec::new(), None));
        let (measured, ending) = on.take();
        assert!(matches!(measured[0].measure, Measure::Took(Timing::ImageStats, _)));
        assert!(matches!(measured[1].measure, Measure::Layer(Layer { bytes: 5, .. })));
        assert_eq!((measured.len(), ending), (2, Some(Ending::NotThere)));
        assert_eq!(on.take(), (Vec::new(), None));
    }

    #[test]
    fn parts_count_as_one() {
        let metrics = Metrics::on();
        for _ in 0..3 {
            metrics.timed_in_all(Timing::SharedLock, || {
                std::thread::yield_now();
            });
        }
        metrics.took(Timing::ExclusiveLock, Duration::ZERO);
        let (measured, _) = metrics.take();
        assert_eq!(measured.len(), 2);
        assert!(
            matches!(measured[0].measure, Measure::Took(Timing::SharedLock, time) if !time.is_zero())
        );
    }

    #[test]
    fn does_not_grow_without_end() {
        let metrics = Metrics::on();
        for _ in 0..MOST + 5 {
            metrics.took(Timing::SharedLock, Duration::ZERO);
        }
        assert_eq!(metrics.take().0.len(), MOST);
    }
}
