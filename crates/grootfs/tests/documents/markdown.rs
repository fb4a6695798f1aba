//! As much of Markdown as the documents use: headings, links, fenced blocks, comments.

/// What stands between paragraphs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// `<!-- ... -->` on lines of its own, without these marks.
    Comment(String),
    /// What stands between fences.
    Block(Block),
}

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Behind the fence that begins it.
    pub info: String,
    /// The line of its first line, from 0.
    pub first: usize,
    pub lines: Vec<String>,
}

/// Comments and blocks of a text, in their order.
pub fn items(text: &str) -> Vec<Item> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            let lines = inside.map(str::to_owned).collect();
            found.push(Item::Block(Block { info: info.to_owned(), first: number + 1, lines }));
        } else if let Some(rest) = line.strip_prefix("<!--") {
            let mut comment = rest.to_owned();
            while !comment.contains("-->") {
                let (_, line) = lines.next().expect("an end of the comment");
                comment = comment + "\n" + line;
            }
            found.push(Item::Comment(comment.replace("-->", "").trim().to_owned()));
        }
    }
    found
}

/// The lines that are neither in blocks nor in comments.
pub fn prose(text: &str) -> Vec<&str> {
    let (mut found, mut inside) = (Vec::new(), None);
    for line in text.lines() {
        match inside {
            Some(end) if line.contains(end) => inside = None,
            Some(_) => {}
            None if line.starts_with("```") => inside = Some("```"),
            None if line.starts_with("<!--") => {
                inside = (!line.contains("-->")).then_some("-->");
            }
            None => found.push(line),
        }
    }
    found
}

/// Where the links of a text lead to: `[text](target)`, without those inside of code.
pub fn links(text: &str) -> Vec<String> {
    // A link may be broken over lines.
    let text = without_code(&prose(text).join(" "));
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect()
}

/// The anchors of a text's headings, as GitHub and mdbook make them.
pub fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    let mut found: Vec<String> = Vec::new();
    for heading in headings {
        let anchor = anchor(heading.trim_start_matches('#').trim());
        let before = found.iter().filter(|other| **other == anchor).count();
        found.push(if before == 0 { anchor } else { format!("{anchor}-{before}") });
    }
    found
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn markdown_is_read() {
    let text = "# A `b` c: d!\n<!-- run: x\ny\n-->\ntext [a](b.md#c) `[no](code)` [broken\nline](d)\n\
                ```console\n$ x\n# [none](e)\n```\n# A `b` c: d!\n";
    assert_eq!(anchors(text), ["a-b-c-d", "a-b-c-d-1"]);
    assert_eq!(links(text), ["b.md#c", "d"]);
    let lines = vec!["$ x".to_owned(), "# [none](e)".to_owned()];
    let block = Block { info: "console".to_owned(), first: 7, lines };
    assert_eq!(items(text), [Item::Comment("run: x\ny".to_owned()), Item::Block(block)]);
}
