//! One man page: sections that clap_mangen makes, and sections of our own.

use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

/// What stands at the foot of every page.
const COLLECTION: &str = "Root file systems for containers";

/// A page that grows section by section.
#[derive(Debug)]
pub struct Page {
    text: String,
}

impl Page {
    /// A page with nothing but its title.
    pub fn new(name: &str, section: &str) -> Self {
        let release = concat!("grootfs ", env!("CARGO_PKG_VERSION"));
        let mut roff = Roff::new();
        // No date: the same program makes the same page.
        roff.control("TH", [name.to_uppercase().as_str(), section, "", release, COLLECTION]);
        Self { text: roff.render() }
    }

    /// A page of a command: name, synopsis, description, options.
    pub fn of(command: &clap::Command) -> Self {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let mut page = Self::new(name, "1");
        let man = Man::new(command.clone());
        page.add(|out| man.render_name_section(out));
        page.add(|out| man.render_synopsis_section(out));
        page.add(|out| man.render_description_section(out));
        page
    }

    /// The options of a command, below their headings.
    pub fn options(&mut self, command: &clap::Command) {
        let man = Man::new(command.clone());
        self.add(|out| man.render_options_section(out));
    }

    /// Begins a section.
    pub fn heading(&mut self, heading: &str) {
        let mut roff = Roff::new();
        roff.control("SH", [heading]);
        self.push(&roff);
    }

    /// Paragraphs, between which an empty line stands; `code` is bold.
    pub fn paragraphs(&mut self, text: &str) {
        let mut roff = Roff::new();
        for paragraph in text.split("\n\n").filter(|text| !text.trim().is_empty()) {
            roff.control("PP", []);
            roff.text(inline(&joined(paragraph)));
        }
        self.push(&roff);
    }

    /// A term, and below it what it means.
    pub fn term(&mut self, term: &str, text: &str) {
        let mut roff = Roff::new();
        roff.control("TP", []);
        roff.text([bold(term)]);
        roff.text(inline(&joined(text)));
        self.push(&roff);
    }

    /// Lines as they are.
    pub fn verbatim(&mut self, text: &str) {
        let mut roff = Roff::new();
        roff.control("PP", []);
        roff.control("nf", []);
        for line in text.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
        self.push(&roff);
    }

    /// The whole page.
    pub fn finish(self) -> String {
        self.text
    }

    fn add(&mut self, render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) {
        let mut out = Vec::new();
        render(&mut out).expect("memory takes every byte");
        self.push_text(&String::from_utf8_lossy(&out));
    }

    fn push(&mut self, roff: &Roff) {
        self.push_text(&roff.render());
    }

    /// Every part that is rendered begins with the same two lines about apostrophes; one of them is enough.
    fn push_text(&mut self, text: &str) {
        let lines = text.lines().skip_while(|l| l.starts_with(".ie ") || l.starts_with(".el "));
        for line in lines {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }
}

/// One line of many.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn inline(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_not_taken_for_requests() {
        let mut page = Page::new("a", "1");
        page.paragraphs("one\n`two`\n\n.three");
        page.verbatim("'four\n\\five");
        let text = page.finish();
        for expected in ["one \\fBtwo\\fR", "\\&.three", "\n\\*(Aqfour", "\\\\five"] {
            assert!(text.contains(expected), "{expected} is not in:\n{text}");
        }
        assert_eq!(text.matches(".ie ").count(), 1, "{text}");
    }
}
