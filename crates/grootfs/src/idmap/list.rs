//! What the mappings of one kind, users or groups, must be together.

use super::{IdMapping, ParseError};

/// The most that the kernel takes (`UID_GID_MAP_MAX_EXTENTS`).
const MOST: usize = 340;

/// Why mappings are no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// One of them is wrong by itself.
    #[error(transparent)]
    Mapping(#[from] ParseError),
    /// Two have ids in common.
    #[error("`{first}` and `{second}` overlap: both have the {side} ids {from} to {to}")]
    Overlap {
        /// The one that begins first.
        first: IdMapping,
        /// The other one.
        second: IdMapping,
        /// On which side: `namespace` or `host`.
        side: &'static str,
        /// First id that both have.
        from: u32,
        /// Last id that both have.
        to: u32,
    },
    /// More than the kernel takes.
    #[error("{0} mappings are too many: the kernel takes {MOST}")]
    TooMany(usize),
}

/// Reads a list.
pub fn parse(texts: &[String]) -> Result<Vec<IdMapping>, ListError> {
    let list: Vec<IdMapping> =
        texts.iter().map(|text| text.parse()).collect::<Result<_, ParseError>>()?;
    check(&list)?;
    Ok(list)
}

/// Checks a list.
pub fn check(list: &[IdMapping]) -> Result<(), ListError> {
    if list.len() > MOST {
        return Err(ListError::TooMany(list.len()));
    }
    check_side(list, "namespace", |mapping| mapping.ns)?;
    check_side(list, "host", |mapping| mapping.host)
}

fn check_side(
    list: &[IdMapping],
    side: &'static str,
    start: impl Fn(&IdMapping) -> u32,
) -> Result<(), ListError> {
    let mut sorted = list.to_vec();
    sorted.sort_by_key(&start);
    let last = |mapping: &IdMapping| start(mapping).saturating_add(mapping.size - 1);
    // Where any two overlap, two neighbours do.
    for (first, second) in sorted.iter().zip(sorted.iter().skip(1)) {
        let (from, to) = (start(second), last(first).min(last(second)));
        if from <= last(first) {
            return Err(ListError::Overlap { first: *first, second: *second, side, from, to });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Result<Vec<IdMapping>, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        parse(&texts).map_err(|error| error.to_string())
    }

    #[test]
    fn takes_what_the_kernel_takes() {
        for texts in [
            &[][..],
            &["0:4294967294:1", "1:1:4294967293"],
            &["1:65536:4294901758", "0:4294967294:1"],
            &["10:0:5", "0:10:10", "15:5:5"],
        ] {
            let list = parsed(texts).unwrap();
            let shown: Vec<String> = list.iter().map(ToString::to_string).collect();
            assert_eq!(shown, texts, "the order stays");
        }
    }

    #[test]
    fn refuses_what_the_kernel_refuses() {
        for (texts, expected) in [
            (
                &["0:0:10", "9:100:1"][..],
                "`0:0:10` and `9:100:1` overlap: both have the namespace ids 9 to 9",
            ),
            (
                &["9:100:5", "0:1000:100"],
                "`0:1000:100` and `9:100:5` overlap: both have the namespace ids 9 to 13",
            ),
            (
                &["0:1000:1", "1:900:200"],
                "`1:900:200` and `0:1000:1` overlap: both have the host ids 1000 to 1000",
            ),
            (
                &["0:5:1", "0:5:1"],
                "`0:5:1` and `0:5:1` overlap: both have the namespace ids 0 to 0",
            ),
            // The first covers the third, which is not its neighbour in the list.
            (
                &["0:0:100", "200:200:1", "50:500:1"],
                "`0:0:100` and `50:500:1` overlap: both have the namespace ids 50 to 50",
            ),
            (&["0:1:1", "1:2:0"], "`1:2:0` maps nothing: its size is 0"),
        ] {
            assert_eq!(parsed(texts), Err(expected.to_owned()));
        }
    }

    #[test]
    fn no_more_than_the_kernel_takes() {
        let texts: Vec<String> = (0..=MOST).map(|id| format!("{id}:{}:1", id + 5000)).collect();
        assert_eq!(parse(&texts[1..]).map(|list| list.len()), Ok(MOST));
        let text = parse(&texts).unwrap_err().to_string();
        assert_eq!(text, "341 mappings are too many: the kernel takes 340");
    }
}
