//! grootfs.yml(5), made of the example configuration. A test of the program (`config::file`) holds the
//! example against the keys and the defaults that the program knows.

use crate::page::Page;

const EXAMPLE: &str = include_str!("../../../packaging/grootfs.yml");

/// What stands behind a value that is not the default.
const EXAMPLE_MARK: &str = " # example";

/// A paragraph of comments, and the line below it, which has a key.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    text: String,
    line: Option<String>,
}

/// The page.
pub fn page() -> String {
    let mut page = Page::new("grootfs.yml", "5");
    page.heading("NAME");
    page.paragraphs("grootfs.yml - configuration of grootfs");
    page.heading("DESCRIPTION");
    for entry in entries(EXAMPLE) {
        let Some(line) = entry.line else {
            page.paragraphs(&entry.text);
            page.heading("KEYS");
            continue;
        };
        let Some((key, value)) = line.split_once(": ") else {
            page.heading(&format!("KEYS OF {}", line.trim_end_matches(':')));
            page.paragraphs(&entry.text);
            continue;
        };
        let value = match value.strip_suffix(EXAMPLE_MARK) {
            Some(example) => format!("For example `{example}`."),
            None => format!("Default: `{value}`."),
        };
        page.term(key.trim(), &format!("{} {value}", entry.text));
    }
    page.heading("SEE ALSO");
    page.paragraphs("`grootfs`(1), `grootfs-config`(1)");
    page.finish()
}

/// Text is `# text`; a line with a key is `#key` or, in a section, `#  key`.
fn entries(example: &str) -> Vec<Entry> {
    let blocks = example.split("\n\n").filter(|block| !block.trim().is_empty());
    let entry = |block: &str| {
        let is_text = |line: &&str| line.starts_with("# ") && !line.starts_with("#  ");
        let text: Vec<&str> = block.lines().filter(is_text).collect();
        let line = block.lines().find(|line| !is_text(line));
        Entry {
            text: text.join("\n").replace("# ", ""),
            line: line.map(|line| line.trim_start_matches('#').to_owned()),
        }
    };
    blocks.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_texts_and_keys() {
        let entry = |text: &str, line: Option<&str>| Entry {
            text: text.to_owned(),
            line: line.map(ToOwned::to_owned),
        };
        assert_eq!(
            entries(
                "# Head\n# er.\n\n# A key.\n#a: b\n\n# Section.\n#c:\n\n# In it.\n#  d: 1 # example\n"
            ),
            [
                entry("Head\ner.", None),
                entry("A key.", Some("a: b")),
                entry("Section.", Some("c:")),
                entry("In it.", Some("  d: 1 # example")),
            ]
        );
    }
}
