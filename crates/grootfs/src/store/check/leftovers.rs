//! What killed processes have left, and `clean` would remove.

use super::parts::names;
use super::{Checker, Finding, Fix, Kind};
use crate::store::layout::{GARBAGE, INCOMPLETE};
use crate::store::{Error, gc, images, locks};

impl Checker<'_> {
    pub(super) fn look_at_leftovers(&self, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let layout = self.layout;
        let parts = [layout.tmp(), layout.locks(), layout.volumes(), layout.dependencies()];
        if !parts.iter().all(|part| part.is_dir()) || !self.driver.missing_parts().is_empty() {
            // Told as what it is; what is left is seen when the parts are there again.
            return Ok(());
        }
        let leftover = |kind, subject: String, problem: &str| {
            Finding::new(kind, subject, problem)
                .means("it takes room and harms nobody; clean removes it too")
                .repair("removes it", Fix::Leftovers)
        };
        let is_cleaned = locks::is_held(layout, locks::CLEAN)?;
        for name in names(&layout.volumes())? {
            let problem = if name.starts_with(GARBAGE) {
                if is_cleaned {
                    continue;
                }
                "a layer that was to be removed, and nobody is at it"
            } else if let Some((key, _)) = name.split_once(INCOMPLETE) {
                // Who writes it holds the lock of the layer, or that of the blob.
                if locks::is_held(layout, key)? {
                    continue;
                }
                "half of a layer, whose process is gone"
            } else {
                continue;
            };
            findings.push(leftover(Kind::UnfinishedVolume, format!("volumes/{name}"), problem));
        }
        for aside in gc::asides(layout)? {
            if !images::is_busy(aside.dir()) {
                let problem = "an image that was being removed, and nobody is at it";
                findings.push(leftover(Kind::UnfinishedImage, self.below(aside.dir()), problem));
            }
        }
        for (path, what) in gc::leftovers_seen(layout, self.driver)? {
            findings.push(leftover(Kind::Leftover, self.below(&path), what));
        }
        Ok(())
    }
}
