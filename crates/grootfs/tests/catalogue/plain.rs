//! What differs from run to run is made plain.

use std::path::Path;

/// Makes texts plain.
#[derive(Default)]
pub struct Plain {
    replaced: Vec<(String, String)>,
}

impl Plain {
    /// Shows a path as another one.
    #[must_use]
    pub fn path(self, path: &Path, shown: &str) -> Self {
        self.word(path.to_str().unwrap(), shown)
    }

    /// Shows a word as another one.
    #[must_use]
    pub fn word(mut self, word: &str, shown: &str) -> Self {
        self.replaced.push((word.to_owned(), shown.to_owned()));
        self
    }

    /// The text without the help that may follow it, and without what chance has put into it.
    pub fn text(&self, text: &str) -> String {
        let text = text.split("\n\n").next().unwrap().trim_end();
        let replace = |text: String, (word, shown): &(String, String)| text.replace(word, shown);
        let text = self.replaced.iter().fold(text.to_owned(), replace);
        without_times(&without_unique_names(&without_hashes(&text)))
    }
}

/// Digests and chain ids as `<hash>`.
fn without_hashes(text: &str) -> String {
    runs(
        text,
        |c| matches!(c, '0'..='9' | 'a'..='f'),
        |run| match run.len() {
            64 | 128 => "<hash>".to_owned(),
            _ => run.to_owned(),
        },
    )
}

/// Times in names of volumes as `<time>`.
fn without_times(text: &str) -> String {
    runs(
        text,
        |c| c.is_ascii_digit(),
        |run| match run.len() {
            16.. => "<time>".to_owned(),
            _ => run.to_owned(),
        },
    )
}

/// Numbers of processes and moments in names of files as `<unique>`.
fn without_unique_names(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    runs(text, word, |run| match run.split_once("-incomplete-") {
        Some((name, _)) => format!("{name}-incomplete-<unique>"),
        None if run.starts_with("image-") && run.len() > 24 => "image-<unique>".to_owned(),
        None => run.to_owned(),
    })
}

fn runs(text: &str, is_in: impl Fn(char) -> bool, change: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in text.chars() {
        if is_in(c) {
            run.push(c);
            continue;
        }
        out.push_str(&change(&std::mem::take(&mut run)));
        out.push(c);
    }
    out + &change(&run)
}

#[test]
fn chance_is_taken_out() {
    let hash = "0123456789abcdef".repeat(4);
    let plain = Plain::default().path(Path::new("/tmp/x7"), "/srv");
    assert_eq!(
        plain.text(&format!("a `{hash}` in /tmp/x7/y: z\n\nhelp\n")),
        "a `<hash>` in /srv/y: z"
    );
    assert_eq!(plain.text("abc-incomplete-12-34: x"), "abc-incomplete-<unique>: x");
}
