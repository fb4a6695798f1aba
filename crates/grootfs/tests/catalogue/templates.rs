//! The words that the sources have for errors: what stands in `#[error("...")]`, and what is handed to those who
//! make an error of a text.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands in front of such a text, without blanks.
const MAKERS: &[&str] = &[
    "#[error(",
    "Message(",
    "Message(format!(",
    "Usage(",
    "Usage(format!(",
    "Value(",
    "Value(format!(",
    "NoLimits(",
    "NoLimits(format!(",
    "BaseDirectory(format!(",
    "Token(format!(",
    "self.fails(format!(",
    "refused(",
    "require(something,",
    "require(scope,",
    "require(!both,",
    "require(self.arguments.is_empty(),",
    "require(self.arguments.len()==1,",
    "letusage=",
    ".doing(",
    ".doing(format!(",
    ".doing_sys(",
    ".doing_sys(format!(",
    "action:format!(",
    "letfailing=||format!(",
    "lettext=",
    "lettext=format!(",
    "letoutside=format!(",
    "stderr(),",
    "fnnot_found(id:&str)->String{format!(",
    "fnno_permission(argument:&str,address:&Address)->String{format!(",
];

/// The text with the places where values are put in.
pub struct Template {
    file: String,
    text: String,
}

impl Template {
    /// The words between the values.
    fn words(&self) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut chars = self.text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => {
                    chars.next();
                    words.last_mut().unwrap().push(c);
                }
                '{' => {
                    chars.find(|c| *c == '}');
                    words.push(String::new());
                }
                c => words.last_mut().unwrap().push(c),
            }
        }
        words
    }

    /// Whether these words, in their order, are in a text.
    pub fn is_in(&self, text: &str) -> bool {
        let mut rest = text;
        self.words().iter().all(|word| match rest.find(word.as_str()) {
            Some(at) => {
                rest = &rest[at + word.len()..];
                true
            }
            None => false,
        })
    }

    /// How much there is beside values and what is between them.
    fn letters(&self) -> usize {
        self.words().concat().chars().filter(|c| c.is_alphabetic()).count()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.text)
    }
}

/// All of them.
pub fn all() -> Vec<Template> {
    let mut found = find(&|before| MAKERS.iter().any(|maker| before.ends_with(maker)));
    found.retain(|template| template.letters() >= 4);
    found
}

/// Everything that the sources may say, to whomever.
pub fn words() -> Vec<Template> {
    let mut found = find(&|_| true);
    found.retain(|template| template.letters() >= 8);
    found
}

fn find(is_one: &dyn Fn(&str) -> bool) -> Vec<Template> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in files(&root) {
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let source = fs::read_to_string(&path).unwrap();
        let product = source.split("\n#[cfg(test)]\nmod").next().unwrap();
        for text in texts(product, is_one).into_iter().map(|text| text.trim_end().to_owned()) {
            found.push(Template { file: file.clone(), text });
        }
    }
    found
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    // The rows of the table that `df` prints are no errors, nor is what `doctor` finds and says how to mend.
    let others = [root.join("fuzzing"), root.join("cli/df"), root.join("doctor")];
    found.retain(|path| !others.iter().any(|other| path.starts_with(other)));
    found.sort();
    found
}

/// The literals of a source, chosen by what stands in front of them.
fn texts(source: &str, is_one: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    // What stands in front, without blanks and comments.
    let mut before = String::new();
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.find(|c| *c == '\n');
            }
            '\'' => {
                // A character; a lifetime has no second quotation mark.
                let mut ahead = chars.clone();
                let escaped = ahead.next() == Some('\\');
                if escaped {
                    ahead.next();
                }
                if ahead.next() == Some('\'') {
                    chars = ahead;
                }
                before.push('\'');
            }
            '"' => {
                let text = literal(&mut chars);
                if is_one(&before) {
                    found.push(text);
                }
                before.push('"');
            }
            c if c.is_whitespace() => {}
            c => before.push(c),
        }
    }
    found
}

/// The rest of a literal whose quotation mark is read.
fn literal(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some(other) => text.push(other),
                None => break,
            },
            c => text.push(c),
        }
    }
    text
}

#[test]
fn are_found_and_known_again() {
    let source = "#[error(\n  \"a {b}: \\\n   `{}` {{c}}\", x // \"no\"\n)]\nlet q = '\"'; Message(format!(\"d\")) f(\"e\")";
    let is_one = |before: &str| MAKERS.iter().any(|maker| before.ends_with(maker));
    assert_eq!(texts(source, &is_one), ["a {b}: `{}` {{c}}", "d"]);
    let template = Template { file: String::new(), text: "a {b}: `{}` {{c}}".into() };
    assert!(template.is_in("xa 1: `2` {c}") && !template.is_in("a 1: `2` c"));
}
