//! docs/errors.md: headings, and below them entries of a name, the text, and what to do.

use std::fs;
use std::path::{Path, PathBuf};

/// Says that a person has something to write.
const UNWRITTEN: &str = "(why, and what to do)";

/// The whole document.
pub struct Document {
    parts: Vec<Part>,
    pub entries: Vec<Entry>,
}

/// An error.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    /// As the program prints it; lines that differ in a word below each other.
    pub texts: String,
    /// Why it happens and what to do.
    pub advice: String,
}

/// What the document is made of, in its order.
enum Part {
    Text(String),
    Entry(usize),
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md")
}

impl Document {
    pub fn read() -> Self {
        Self::parse(&fs::read_to_string(path()).unwrap())
    }

    fn parse(text: &str) -> Self {
        let mut document = Self { parts: Vec::new(), entries: Vec::new() };
        for block in text.split("\n\n").map(|block| block.trim_matches('\n')) {
            let name = block.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            let last = match document.parts.last() {
                Some(Part::Entry(at)) => document.entries.get_mut(*at),
                _ => None,
            };
            match (name.filter(|name| !name.contains([' ', '`'])), last) {
                (Some(name), _) => {
                    document.parts.push(Part::Entry(document.entries.len()));
                    let (texts, advice) = (String::new(), String::new());
                    document.entries.push(Entry { name: name.to_owned(), texts, advice });
                }
                (None, Some(entry)) if block.starts_with("    ") && entry.texts.is_empty() => {
                    let lines: Vec<&str> =
                        block.lines().map(|line| line.strip_prefix("    ").unwrap()).collect();
                    entry.texts = lines.join("\n");
                }
                (None, Some(entry)) if !block.starts_with('#') && entry.advice.is_empty() => {
                    entry.advice = block.to_owned();
                }
                _ => document.parts.push(Part::Text(block.to_owned())),
            }
        }
        document
    }

    /// Writes the texts of an entry; a new one comes last.
    pub fn put(&mut self, name: &str, texts: &[String]) {
        let texts = texts.join("\n");
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == name) {
            entry.texts = texts;
            return;
        }
        self.parts.push(Part::Entry(self.entries.len()));
        let advice = UNWRITTEN.to_owned();
        self.entries.push(Entry { name: name.to_owned(), texts, advice });
    }

    pub fn write(&self) {
        let blocks = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Entry(at) => {
                let Entry { name, texts, advice } = &self.entries[*at];
                let lines: Vec<String> = texts.lines().map(|line| format!("    {line}")).collect();
                format!("`{name}`\n\n{}\n\n{advice}", lines.join("\n"))
            }
        });
        let text = blocks.collect::<Vec<_>>().join("\n\n") + "\n";
        fs::write(path(), text).unwrap();
    }
}

#[test]
fn is_read_and_written() {
    let text = "# Errors\n\nHow to read.\n\n`a-b`\n\n    one\n      two\n\nDo this.\n\n## Next\n\n`c`\n\n    x\n\nThat.\n";
    let document = Document::parse(text);
    let entry = &document.entries[0];
    assert_eq!((entry.name.as_str(), entry.texts.as_str()), ("a-b", "one\n  two"));
    assert_eq!(document.entries[1].advice, "That.");
    assert_eq!(document.parts.len(), 5);
}
