//! Whether a program has printed what a document shows.
//!
//! `[...]` on a line of its own stands for any lines, within a line for any text. Numbers, sizes, digests and the
//! blanks of tables may differ.

/// What a document leaves out.
const ANY: &str = "[...]";

/// A text with what differs from run to run taken out of it.
pub fn normal(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.trim_end();
    while let Some(first) = rest.chars().next() {
        let word_end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let word = &rest[..word_end];
        if first == ' ' {
            rest = rest.trim_start_matches(' ');
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else if is_digest(word) {
            out.push('H');
            rest = &rest[word_end..];
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            out.push('N');
            rest = without_unit(&rest[end..]);
        } else if word_end > 0 {
            // Digits within a word are numbers too.
            let end = word.find(|c: char| c.is_ascii_digit()).unwrap_or(word_end);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out.replace("seconds ", "second ")
}

/// Long enough to be no number or word.
fn is_digest(word: &str) -> bool {
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    word.len() >= 12 && is_hex && word.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// What comes behind a number and its unit.
fn without_unit(rest: &str) -> &str {
    let units = [" B", " KiB", " MiB", " GiB", " bytes"];
    let unit = units.iter().find_map(|unit| rest.strip_prefix(unit));
    match unit {
        Some(after) if !after.starts_with(|c: char| c.is_alphanumeric()) => after,
        _ => rest,
    }
}

/// Whether lines are those that are expected.
pub fn is_same(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((first, others)) if first == ANY => {
            (0..=printed.len()).any(|skipped| is_same(others, &printed[skipped..]))
        }
        Some((first, others)) => printed
            .split_first()
            .is_some_and(|(line, rest)| is_same_line(first, line) && is_same(others, rest)),
    }
}

fn is_same_line(expected: &str, printed: &str) -> bool {
    let printed = normal(printed);
    let mut parts = expected.split(ANY).map(normal);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(&first) else { return false };
    let parts: Vec<String> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn what_may_differ() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, printed) in [
        ("a 1.5 MiB  b-7", "a 200 KiB b-8"),
        ("[...]\nend", "end"),
        ("begin\n[...]\nend", "begin\nx\ny\nend"),
        ("x: [...] quota [...]/100 bytes[...]", "x: y: quota 7/99 bytes (z)"),
        ("74e4e55cd60f  web-1", "0123456789ab web-2"),
    ] {
        assert!(is_same(&lines(expected), &lines(printed)), "{expected} / {printed}");
    }
    for (expected, printed) in [
        ("a 1 b", "a 1 c"),
        ("a", ""),
        ("a", "a\nb"),
        ("begin\n[...]\nend", "begin\nx"),
        ("x [...] y", "x z"),
        ("none", "5 MiB"),
        ("warning: x", "error: x"),
    ] {
        assert!(!is_same(&lines(expected), &lines(printed)), "{expected} / {printed}");
    }
}
