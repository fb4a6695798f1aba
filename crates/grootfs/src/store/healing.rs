//! What a command makes again by itself before it begins: parts of a store that hold nothing that could be lost
//! with them.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::layout::Layout;
use super::{Doing, Error, init, namespace};
use crate::driver::Driver;
use crate::idmap::Owner;

/// Makes the directories of locks and of temporary files, and the driver's own parts, where they are missing.
/// Returns what was missing. A store whose mappings cannot be read is left as it is: nobody knows whose it is.
pub fn make_parts(layout: &Layout, driver: &dyn Driver) -> Result<Vec<PathBuf>, Error> {
    let scratch = [layout.locks(), layout.tmp()].into_iter().filter(|path| {
        fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    });
    let scratch: Vec<PathBuf> = scratch.collect();
    let of_driver = driver.missing_parts();
    if scratch.is_empty() && of_driver.is_empty() {
        return Ok(Vec::new());
    }
    let Ok(mappings) = namespace::read(layout) else { return Ok(Vec::new()) };
    let owner = mappings.owner(Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    });
    for path in &scratch {
        init::make_part(layout, path, owner).doing("making a lost part of the store again")?;
    }
    if !of_driver.is_empty() {
        driver.configure_store(Some(owner)).doing("making a lost part of the store again")?;
    }
    Ok(scratch.into_iter().chain(of_driver).collect())
}
