//! Why a limit is too small: which layers of the image are the largest.

use super::layout::Layout;
use super::{Error, volumes};
use crate::driver;
use crate::driver::limit::Bytes;

/// How many layers are named.
const NAMED: usize = 3;

/// Adds the image's largest layers to an error that says that a limit is too small.
pub fn explained(layout: &Layout, volumes: &[String], error: driver::Error) -> Error {
    if !is_too_small(&error) {
        return error.into();
    }
    let largest = largest(layout, volumes);
    if largest.is_empty() {
        error.into()
    } else {
        Error::TooSmall { cause: Box::new(error), largest }
    }
}

fn is_too_small(error: &driver::Error) -> bool {
    match error {
        driver::Error::TooSmall(_) => true,
        driver::Error::ApplyingLimits(source) => is_too_small(source),
        _ => false,
    }
}

/// The largest layers and their sizes, as a person reads them.
pub fn largest(layout: &Layout, volumes: &[String]) -> String {
    let size = |name: &String| volumes::read_metadata(layout, name).map_or(0, |found| found.size);
    named(volumes.iter().map(|name| (name.clone(), size(name))).collect())
}

/// The largest of these layers.
pub fn named(mut layers: Vec<(String, u64)>) -> String {
    layers.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let named: Vec<String> =
        layers.iter().take(NAMED).map(|(name, size)| format!("{name} {}", Bytes(*size))).collect();
    named.join(", ")
}
