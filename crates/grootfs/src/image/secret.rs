//! Values that must never show in a log, an error or a process list.

use std::fmt;

use serde::Deserialize;

/// A password, a token or another value that only the wire may see.
///
/// `Debug` prints three stars and there is no `Display`, so a secret cannot reach a message by
/// accident: who wants it has to call [`Secret::expose`].
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Hands out the value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_show() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{:?} {secret:#?}", Some(&secret)), "Some(***) ***");
        assert_eq!(secret.expose(), "hunter2");
    }
}
