//! Names of root file systems: one path component, and nothing that a path could be made of.

use std::fmt;
use std::path::Path;

/// Longest id: `image:<id>.json` must fit the 255 bytes that a file name has.
const LONGEST: usize = 255 - "image:.json".len();

/// A checked image id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(String);

/// Why a text is not an image id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A character that is not allowed.
    #[error("id `{}` contains invalid characters: `{}`", id.escape_debug(), found.escape_debug())]
    Character {
        /// The text.
        id: String,
        /// The first character that is wrong.
        found: char,
    },
    /// Empty, `.` or `..`.
    #[error(
        "id `{0}` is not usable: an id names one directory, so it cannot be empty, `.` or `..`"
    )]
    Special(String),
    /// Longer than a file name can be.
    #[error("id of {0} bytes is too long: {LONGEST} bytes at most")]
    Long(usize),
}

impl ImageId {
    /// Checks an id.
    pub fn new(id: &str) -> Result<Self, IdError> {
        if let Some(found) = id.chars().find(|c| *c == '/' || c.is_control()) {
            return Err(IdError::Character { id: id.to_owned(), found });
        }
        if matches!(id, "" | "." | "..") {
            return Err(IdError::Special(id.to_owned()));
        }
        if id.len() > LONGEST {
            return Err(IdError::Long(id.len()));
        }
        Ok(Self(id.to_owned()))
    }

    /// Takes an id, or the path of an image or of its `rootfs` in the given images directory.
    ///
    /// `None` when a path leads anywhere else; paths are compared component by component, and
    /// never resolved, so that `images/../volumes/x` is nowhere.
    pub fn from_argument(argument: &str, images: &Path) -> Option<Result<Self, IdError>> {
        if !argument.starts_with('/') {
            return Some(Self::new(argument));
        }
        let rest = Path::new(argument).strip_prefix(images).ok()?;
        let mut names = rest.components().map(|part| part.as_os_str().to_str());
        match (names.next(), names.next(), names.next()) {
            (Some(Some(id)), None | Some(Some("rootfs")), None) => Self::new(id).ok().map(Ok),
            _ => None,
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_one_component() {
        for bad in ["", ".", "..", "a/b", "/", "a\nb", "a\0b", "\u{7f}", &"x".repeat(245)] {
            assert!(ImageId::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "...", "a b", "executor-healthcheck-1", "ä", &"x".repeat(244)] {
            assert!(ImageId::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn finds_ids_in_paths_of_this_store_only() {
        let images = Path::new("/s/images");
        let found = |argument: &str| {
            ImageId::from_argument(argument, images).and_then(Result::ok).map(|id| id.0)
        };
        assert_eq!(found("/s/images/x"), Some("x".into()));
        assert_eq!(found("/s/images/x/"), Some("x".into()));
        assert_eq!(found("/s/images/x/rootfs"), Some("x".into()));
        assert_eq!(found("x"), Some("x".into()));
        for outside in [
            "/s/images",
            "/s/images/",
            "/s/images/x/diff",
            "/s/images/../volumes/x",
            "/s/images/..",
            "/s/imagesx/y",
            "/other/s/images/x",
            "/",
            "../x",
        ] {
            assert_eq!(found(outside), None, "{outside}");
        }
    }
}
