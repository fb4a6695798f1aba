//! Where the values of a configuration come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where one value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// An environment variable.
    Environment(&'static str),
    /// The configuration file.
    File,
    /// Nobody said anything.
    Default,
}

/// The sources by key, as keys are called in the file: `create.with_clean`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<&'static str, Source>);

impl Sources {
    /// Where a key's value comes from.
    pub fn of(&self, key: &str) -> Source {
        self.0.get(key).copied().unwrap_or(Source::Default)
    }

    /// Flag over file.
    pub(super) fn choose<T: Given>(
        &mut self,
        key: &'static str,
        flag: Option<T>,
        file: Option<T>,
    ) -> Option<T> {
        self.choose_with(key, flag, ("", None), file)
    }

    /// Flag over file; `false` where nobody says anything.
    pub(super) fn switch(
        &mut self,
        key: &'static str,
        flag: Option<bool>,
        file: Option<bool>,
    ) -> bool {
        self.choose(key, flag, file).unwrap_or(false)
    }

    /// Flag over environment variable over file. What is empty is not given: Garden's tools write every key.
    pub(super) fn choose_with<T: Given>(
        &mut self,
        key: &'static str,
        flag: Option<T>,
        (variable, environment): (&'static str, Option<T>),
        file: Option<T>,
    ) -> Option<T> {
        let in_order = [
            (Source::Flag, flag),
            (Source::Environment(variable), environment),
            (Source::File, file),
        ];
        let given = |(source, value): (Source, Option<T>)| {
            value.filter(Given::is_given).map(|value| (source, value))
        };
        let (source, value) = in_order.into_iter().find_map(given)?;
        self.0.insert(key, source);
        Some(value)
    }

    /// Remembers that keys are in the file.
    pub(super) fn note_file(&mut self, keys: &[&'static str]) {
        self.0.extend(keys.iter().map(|key| (*key, Source::File)));
    }
}

/// A value that may be there and yet say nothing.
pub(super) trait Given {
    /// Whether it says something.
    fn is_given(&self) -> bool;
}

impl Given for PathBuf {
    fn is_given(&self) -> bool {
        !self.as_os_str().is_empty()
    }
}

impl Given for String {
    fn is_given(&self) -> bool {
        !self.is_empty()
    }
}

impl Given for Vec<String> {
    fn is_given(&self) -> bool {
        !self.is_empty()
    }
}

impl Given for bool {
    fn is_given(&self) -> bool {
        true
    }
}

impl Given for i64 {
    fn is_given(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_says_something() {
        let mut from = Sources::default();
        let text = |text: &str| Some(text.to_owned());
        for (flag, environment, file, value, source) in [
            (text("a"), text("b"), text("c"), text("a"), Source::Flag),
            (text(""), text("b"), text("c"), text("b"), Source::Environment("X")),
            (None, text(""), text("c"), text("c"), Source::File),
            (None, None, text(""), None, Source::Default),
        ] {
            from.0.clear();
            assert_eq!(from.choose_with("k", flag, ("X", environment), file), value);
            assert_eq!(from.of("k"), source);
        }
        assert!(!from.switch("s", Some(false), Some(true)));
        assert_eq!((from.of("s"), from.of("other")), (Source::Flag, Source::Default));
    }
}
