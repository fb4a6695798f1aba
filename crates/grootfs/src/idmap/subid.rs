//! The files of subordinate ids, `subuid(5)` and `subgid(5)`: `<owner>:<first id>:<number of ids>`.

use super::rootless::Account;

/// What a file grants.
#[derive(Debug, Default)]
pub struct SubIds<'a> {
    grants: Vec<Grant<'a>>,
    /// What was skipped, and why.
    pub notes: Vec<String>,
}

/// One line.
#[derive(Debug)]
struct Grant<'a> {
    /// A name, or a numeric id.
    owner: &'a str,
    range: Range,
}

/// Ids that somebody may use. Numbers as in the file, also those that no id can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first one.
    pub first: u64,
    /// How many.
    pub size: u64,
}

impl<'a> SubIds<'a> {
    /// Reads a file; `name` is for the notes. Lines that are no grants are skipped, as by the
    /// tools of shadow.
    pub fn parse(name: &str, text: &'a str) -> Self {
        let mut found = Self::default();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match grant(line) {
                Some(grant) => found.grants.push(grant),
                None => found.notes.push(format!(
                    "{name} line {} skipped: it is not <owner>:<first id>:<number of ids>",
                    index + 1
                )),
            }
        }
        found
    }

    /// What somebody is granted by name or by id, in the order of the file. A range that stands there
    /// for the name and for the id is one range.
    pub fn of(&self, account: &Account<'_>) -> Vec<Range> {
        let mut ranges = Vec::new();
        for grant in self.grants.iter().filter(|grant| account.is(grant.owner)) {
            if !ranges.contains(&grant.range) {
                ranges.push(grant.range);
            }
        }
        ranges
    }
}

fn grant(line: &str) -> Option<Grant<'_>> {
    let mut fields = line.split(':');
    let (owner, first, size) = (fields.next()?, fields.next()?, fields.next()?);
    if owner.is_empty() || fields.next().is_some() {
        return None;
    }
    let range = Range { first: first.parse().ok()?, size: size.parse().ok()? };
    // What grants nothing is no grant.
    (range.size > 0).then_some(Grant { owner, range })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_name_and_of_an_id() {
        let text = "alice:100000:65536\n# a comment\n\nbob:200000:65536\n1000:300000:10\n\
                    alice:400000:1\n01000:500000:1\n1000:100000:65536\nalic:1:1\nalice2:1:1\n";
        let file = SubIds::parse("subuid", text);
        assert!(file.notes.is_empty(), "{:?}", file.notes);
        let of = |name, id| {
            let ranges = file.of(&Account { name, id });
            ranges.iter().map(|range| (range.first, range.size)).collect::<Vec<_>>()
        };
        let both = [(100_000, 65_536), (300_000, 10), (400_000, 1), (500_000, 1)];
        assert_eq!(of(Some("alice"), 1000), both);
        assert_eq!(of(Some("alice"), 1001), [(100_000, 65_536), (400_000, 1)]);
        assert_eq!(of(None, 1000), [(300_000, 10), (500_000, 1), (100_000, 65_536)]);
        assert_eq!(of(Some("carol"), 1002), []);
    }

    #[test]
    fn lines_that_are_no_grants() {
        for line in [
            "alice",
            "alice:1",
            "alice:1:2:3",
            ":1:2",
            "alice::2",
            "alice:1:",
            "alice:one:2",
            "alice:-1:2",
            "alice:1:2 ",
            "alice: 1:2",
            "alice:1:2\u{fffd}",
            "alice:1:0",
            "alice:1:99999999999999999999",
        ] {
            let text = format!("bob:1:2\n{line}\nalice:5:6");
            let file = SubIds::parse("/etc/subuid", &text);
            let ranges = file.of(&Account { name: Some("alice"), id: 1 });
            assert_eq!(ranges, [Range { first: 5, size: 6 }], "{line}");
            assert_eq!(
                file.notes,
                ["/etc/subuid line 2 skipped: it is not <owner>:<first id>:<number of ids>"],
                "{line}"
            );
        }
    }
}
