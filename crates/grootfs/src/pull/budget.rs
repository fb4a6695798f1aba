//! How much of a disk limit the layers of an image may use up.

use std::sync::atomic::{AtomicU64, Ordering};

use super::plan::Planned;
use super::{Error, Puller};
use crate::store::limits;
use crate::store::volumes::Metadata;

/// What is left of a limit while layers come in.
#[derive(Debug, Default)]
pub struct Budget {
    limit: Option<u64>,
    used: AtomicU64,
}

impl Budget {
    /// A budget of so many bytes; `None` for any number.
    pub fn new(limit: Option<u64>) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    /// Bytes that the next layer may hold.
    pub fn left(&self) -> u64 {
        self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.used.load(Ordering::Relaxed)))
    }

    fn spend(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Puller<'_> {
    /// Refuses an image that cannot fit, before anything of it is fetched: what is in the store counts
    /// with its size, what is not with that of its blob (contract 4.5, D2.40).
    ///
    /// Layers that stack replace files of each other, so that an image may hold less than its layers
    /// together: there the blobs count, and each layer alone must fit. The driver looks again at
    /// what the whole image holds.
    pub(super) fn check_limit(
        &self,
        planned: &[Planned<'_>],
        in_store: &[Option<Metadata>],
    ) -> Result<(), Error> {
        let Some(limit) = self.budget.limit else { return Ok(()) };
        let stacked = self.driver.stacks_volumes();
        let mut sum: u64 = 0;
        for (layer, found) in planned.iter().zip(in_store) {
            let blob = layer.layer.size.unwrap_or(0);
            let counted = found.as_ref().filter(|_| !stacked).map_or(blob, |found| found.size);
            sum = sum.saturating_add(counted);
        }
        if sum <= limit {
            return Ok(());
        }
        let layers: Vec<(String, u64)> = planned
            .iter()
            .zip(in_store)
            .map(|(layer, found)| {
                (
                    layer.layer.blob.clone(),
                    found.as_ref().map(|found| found.size).or(layer.layer.size).unwrap_or(0),
                )
            })
            .collect();
        Err(Error::Quota { sum, limit, largest: limits::named(layers) })
    }

    /// Counts a layer that is in the store.
    pub(super) fn spend(&self, bytes: u64) {
        if !self.driver.stacks_volumes() {
            self.budget.spend(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_at_nothing() {
        let budget = Budget::new(Some(10));
        budget.spend(4);
        assert_eq!(budget.left(), 6);
        budget.spend(100);
        assert_eq!(budget.left(), 0);
        let endless = Budget::default();
        endless.spend(5);
        assert_eq!(endless.left(), u64::MAX);
    }
}
