//! Bytes of a store, for metrics.

use std::path::Path;

use super::{Cleaner, Verdict, promised};
use crate::driver::Kind;
use crate::error::AtPath;
use crate::observe::metrics::Sizes;
use crate::store::layout::ImagePaths;
use crate::store::{Doing, Error, images, volumes};

/// Measures the store of a cleaner. Takes no lock, so the numbers are those of this moment; walks no tree.
pub fn sizes(cleaner: &Cleaner<'_>, with_promised: bool) -> Result<Sizes, Error> {
    let layout = &cleaner.store.layout;
    let used = cleaner.used_without_lock()?;
    let (filesystem, filesystem_used) = filesystem(layout.root())?;
    let mut sizes = Sizes { filesystem, filesystem_used, ..Sizes::default() };
    if with_promised {
        sizes.committed = committed(cleaner)?;
    }
    for name in volumes::list(layout).doing("measuring store usage")? {
        let size = volumes::read_metadata(layout, &name).map_or(0, |found| found.size);
        sizes.layers = sizes.layers.saturating_add(size);
        let sum = match cleaner.verdict(&name, &used)? {
            Verdict::Used(_) => &mut sizes.used_layers,
            verdict if verdict.goes() => &mut sizes.unused_layers,
            _ => continue,
        };
        *sum = sum.saturating_add(size);
    }
    Ok(sizes)
}

/// What limits promise. Only overlay-xfs has files that say it; on btrfs the kernel is asked.
fn committed(cleaner: &Cleaner<'_>) -> Result<u64, Error> {
    let layout = &cleaner.store.layout;
    if cleaner.driver.kind() != Kind::Btrfs {
        return promised(layout);
    }
    let images = images::list(layout).doing("measuring store usage")?;
    let usages = images.into_iter().map(|path| cleaner.driver.usage(&ImagePaths::at(path)));
    // One that is being made or deleted promises nothing.
    let limited = usages.filter_map(Result::ok).filter(|usage| usage.quota > 0);
    Ok(limited.fold(0, |sum, usage| sum.saturating_add(usage.committed)))
}

/// Size of the file system, and what of it is in use.
fn filesystem(path: &Path) -> Result<(u64, u64), Error> {
    let found = rustix::fs::statvfs(path).at("statvfs", path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok((bytes(found.f_blocks), bytes(found.f_blocks.saturating_sub(found.f_bfree))))
}
