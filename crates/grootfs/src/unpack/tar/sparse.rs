//! Maps of files with holes.

use super::header::{BLOCK, Why, number};
use super::pax::decimal;

/// Stretches of one file that are read at most: more than any file system would keep, few enough
/// that their list stays small (16 MiB).
pub const MOST_EXTENTS: usize = 1 << 20;

/// A stretch of a file that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins in the file.
    pub offset: u64,
    /// How many stored bytes belong there.
    pub length: u64,
}

/// Checks a map: in order, without overlap, inside the file, and as long as what is stored.
pub fn check(extents: &[Extent], stored: u64, real_size: u64) -> Result<(), Why> {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for extent in extents {
        let next = extent.offset.checked_add(extent.length);
        let next = next.filter(|next| extent.offset >= end && *next <= real_size);
        end = next.ok_or("a map of a sparse file that overlaps or leaves it")?;
        sum = sum.saturating_add(extent.length);
    }
    if sum == stored { Ok(()) } else { Err("a map of a sparse file that does not fit its data") }
}

/// GNU's pairs of 12-byte numbers; an empty pair ends them.
pub fn gnu_pairs(field: &[u8]) -> Result<Vec<Extent>, Why> {
    let mut extents = Vec::new();
    for pair in field.chunks_exact(24) {
        let (offset, length) = pair.split_at_checked(12).unwrap_or_default();
        if offset.first().is_none_or(|byte| *byte == 0) {
            break;
        }
        let value =
            |field| u64::try_from(number(field)?).map_err(|_| "a negative place in a sparse file");
        extents.push(Extent { offset: value(offset)?, length: value(length)? });
    }
    Ok(extents)
}

/// A block of GNU's that goes on with the map: 21 pairs, and whether another one follows.
pub fn gnu_block(block: &[u8; BLOCK]) -> Result<(Vec<Extent>, bool), Why> {
    let (pairs, rest) = block.split_at_checked(504).unwrap_or_default();
    Ok((gnu_pairs(pairs)?, goes_on(rest.first().copied().unwrap_or_default())?))
}

/// Whether another block of the map follows. Readers differ about values that nobody writes, and
/// would then see the next entry in other places; so these are refused.
pub fn goes_on(mark: u8) -> Result<bool, Why> {
    match mark {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err("a broken map of a sparse file"),
    }
}

/// The map of pax format 1.0: decimal numbers, one a line, the first says how many pairs follow.
#[derive(Default)]
pub struct TextMap {
    line: Vec<u8>,
    numbers: Vec<u64>,
}

impl TextMap {
    /// Takes another block of the map.
    pub fn feed(&mut self, block: &[u8; BLOCK]) -> Result<(), Why> {
        const BROKEN: Why = "a broken map of a sparse file";
        for byte in block {
            if self.is_complete() {
                break;
            }
            if *byte != b'\n' {
                self.line.push(*byte);
                // The longest 64-bit number has 20 digits.
                if self.line.len() > 20 {
                    return Err(BROKEN);
                }
                continue;
            }
            self.numbers.push(decimal(&self.line).ok_or(BROKEN)?);
            self.line.clear();
            if self.numbers.first().is_some_and(|pairs| *pairs > MOST_EXTENTS as u64) {
                return Err("a file with too many holes");
            }
        }
        Ok(())
    }

    /// Whether every pair has been read.
    pub fn is_complete(&self) -> bool {
        let expected = |pairs: &u64| usize::try_from(*pairs).map_or(usize::MAX, |n| 2 * n + 1);
        self.numbers.first().is_some_and(|pairs| self.numbers.len() >= expected(pairs))
    }

    /// The pairs.
    pub fn finish(self) -> Vec<Extent> {
        let pairs = self.numbers.get(1..).unwrap_or_default().chunks_exact(2);
        pairs
            .filter_map(|pair| match pair {
                [offset, length] => Some(Extent { offset: *offset, length: *length }),
                _ => None,
            })
            .collect()
    }
}
