//! A corpus of hostile layers, each with its oracle: it fails with a text, or gives exactly a tree.
//!
//! One file a family. A tree is a list of lines, as [`shape::read`] writes them.

use crate::image::{Compression, Image};
use crate::layer::Layer;

mod attributes;
mod base_directory;
mod broken;
mod formats;
mod hard_links;
mod names;
mod raw;
mod replaced;
pub mod shape;
mod sparse;
mod symlinks;
mod whiteouts;

/// What must come out of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oracle {
    /// `create` fails, and its text contains this one.
    Fails(&'static str),
    /// The root file system has exactly these lines.
    Gives(Vec<String>),
}

/// One layer: its tar, or bytes that are stored as they are.
#[derive(Debug, Clone)]
pub struct Bytes {
    stored: Vec<u8>,
    compression: Option<Compression>,
}

impl From<Layer> for Bytes {
    fn from(layer: Layer) -> Self {
        Self { stored: layer.tar(), compression: None }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(stored: Vec<u8>) -> Self {
        Self { stored, compression: None }
    }
}

/// An image that means no good.
#[derive(Debug, Clone)]
pub struct Case {
    /// The family, for reports.
    pub family: &'static str,
    /// A name, unique in the family.
    pub name: String,
    /// What must come out with overlay-xfs.
    pub overlay: Oracle,
    /// What must come out with btrfs.
    pub btrfs: Oracle,
    /// Facts that must hold for a path, as [`shape::facts`] writes them.
    pub facts: Vec<(&'static str, &'static str)>,
    /// Beginnings of facts that must not hold for a path.
    pub absent: Vec<(&'static str, &'static str)>,
    layers: Vec<Bytes>,
    base_directory: Option<&'static str>,
}

impl Case {
    fn new(name: impl Into<String>, layers: Vec<Bytes>, oracle: Oracle) -> Self {
        Self {
            family: "",
            name: name.into(),
            overlay: oracle.clone(),
            btrfs: oracle,
            facts: Vec::new(),
            absent: Vec::new(),
            layers,
            base_directory: None,
        }
    }

    /// The drivers differ where a layer goes through links of the layers below it: overlay's
    /// volumes hold one layer each and know nothing of the others.
    fn on_btrfs(self, btrfs: Oracle) -> Self {
        Self { btrfs, ..self }
    }

    fn fact(mut self, path: &'static str, fact: &'static str) -> Self {
        self.facts.push((path, fact));
        self
    }

    fn without(mut self, path: &'static str, fact: &'static str) -> Self {
        self.absent.push((path, fact));
        self
    }

    fn base(self, base_directory: &'static str) -> Self {
        Self { base_directory: Some(base_directory), ..self }
    }

    /// The image.
    pub fn image(&self) -> Image {
        let mut image = Image::new();
        for layer in &self.layers {
            let stored = layer.stored.clone();
            image = match layer.compression {
                None => image.raw_layer(stored, Compression::None),
                Some(compression) => image.stored_layer(stored, compression),
            };
        }
        match self.base_directory {
            None => image,
            Some(base) => {
                image.annotation("org.cloudfoundry.experimental.image.base-directory", base)
            }
        }
    }
}

/// One layer.
fn one(name: impl Into<String>, layer: impl Into<Bytes>, oracle: Oracle) -> Case {
    Case::new(name, vec![layer.into()], oracle)
}

/// A layer on top of another one.
fn two(
    name: impl Into<String>,
    lower: impl Into<Bytes>,
    upper: impl Into<Bytes>,
    oracle: Oracle,
) -> Case {
    Case::new(name, vec![lower.into(), upper.into()], oracle)
}

fn fails(text: &'static str) -> Oracle {
    Oracle::Fails(text)
}

fn gives(lines: &[&str]) -> Oracle {
    Oracle::Gives(lines.iter().map(|line| (*line).to_owned()).collect())
}

/// The whole corpus.
pub fn corpus() -> Vec<Case> {
    let families: [(&'static str, Vec<Case>); 10] = [
        ("names", names::cases()),
        ("symlinks", symlinks::cases()),
        ("hard links", hard_links::cases()),
        ("whiteouts", whiteouts::cases()),
        ("replaced", replaced::cases()),
        ("attributes", attributes::cases()),
        ("formats", formats::cases()),
        ("sparse", sparse::cases()),
        ("base directory", base_directory::cases()),
        ("broken", broken::cases()),
    ];
    let families = families.into_iter();
    families
        .flat_map(|(family, cases)| cases.into_iter().map(move |case| Case { family, ..case }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn cases_have_names_and_are_many() {
        let corpus = corpus();
        let names: BTreeSet<_> =
            corpus.iter().map(|case| (case.family, case.name.as_str())).collect();
        assert_eq!(names.len(), corpus.len());
        assert!(corpus.len() >= 120, "{}", corpus.len());
        for case in &corpus {
            let lines = |oracle: &Oracle| match oracle {
                Oracle::Gives(lines) => lines.clone(),
                Oracle::Fails(text) => vec![(*text).to_owned()],
            };
            for lines in [lines(&case.overlay), lines(&case.btrfs)] {
                assert!(lines.is_sorted(), "{}: the lines are out of order: {lines:?}", case.name);
            }
        }
    }
}
