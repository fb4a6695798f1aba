//! Extended headers of POSIX.1-2001.

use std::collections::BTreeMap;

use super::header::Why;
use super::sparse::{Extent, MOST_EXTENTS};
use super::{Entry, Time};

/// Prefixes of extended attributes: star's, which every tool of this field writes. libarchive's
/// own prefix is left out: its writers always add star's beside it.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records in front of one entry, in their order.
#[derive(Default)]
pub struct Records(Vec<(Vec<u8>, Vec<u8>)>);

/// Splits the data of a header: records of `<length> <key>=<value>\n`.
pub fn parse(mut data: &[u8]) -> Result<Records, Why> {
    const BROKEN: Why = "a broken pax record";
    let mut records = Vec::new();
    while !data.is_empty() {
        let blank = data.iter().take(20).position(|byte| *byte == b' ').ok_or(BROKEN)?;
        let (digits, rest) = data.split_at_checked(blank).ok_or(BROKEN)?;
        let length: usize = decimal(digits).and_then(|n| n.try_into().ok()).ok_or(BROKEN)?;
        let body = length.checked_sub(blank + 1).ok_or(BROKEN)?;
        let (record, following) =
            rest.get(1..).and_then(|rest| rest.split_at_checked(body)).ok_or(BROKEN)?;
        let record = record.strip_suffix(b"\n").ok_or(BROKEN)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(BROKEN)?;
        let (key, value) = record.split_at_checked(equals).ok_or(BROKEN)?;
        let value = value.get(1..).unwrap_or_default();
        let is_binary = key.starts_with(XATTR);
        if key.is_empty() || key.contains(&0) || (value.contains(&0) && !is_binary) {
            return Err(BROKEN);
        }
        records.push((key.to_vec(), value.to_vec()));
        data = following;
    }
    Ok(Records(records))
}

impl Records {
    /// The last value of a key; an empty one counts as none.
    fn get(&self, key: &str) -> Option<&[u8]> {
        let found = self.0.iter().rev().find(|(found, _)| found == key.as_bytes());
        found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    }

    fn number(&self, key: &str) -> Result<Option<u64>, Why> {
        self.get(key).map(|value| decimal(value).ok_or("a pax number that is none")).transpose()
    }

    /// Lets the records win over the fields of the header.
    pub fn apply(&self, entry: &mut Entry) -> Result<(), Why> {
        // GNU sparse files carry a made-up `path` for tools that do not know them.
        if let Some(path) = self.get("GNU.sparse.name").or(self.get("path")) {
            entry.path = path.to_vec();
        }
        if let Some(link) = self.get("linkpath") {
            entry.link = link.to_vec();
        }
        entry.size = self.number("size")?.unwrap_or(entry.size);
        entry.uid = self.number("uid")?.unwrap_or(entry.uid);
        entry.gid = self.number("gid")?.unwrap_or(entry.gid);
        if let Some(time) = self.get("mtime") {
            entry.mtime = parse_time(time).ok_or("a pax time that is none")?;
        }
        // The last one of a name counts. A header has room for 2^15 of them.
        let xattr = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let name = key.strip_prefix(XATTR).filter(|name| !name.is_empty())?;
            Some((name.to_vec(), value.clone()))
        };
        let xattrs: BTreeMap<_, _> = self.0.iter().filter_map(xattr).collect();
        entry.xattrs = xattrs.into_iter().collect();
        Ok(())
    }

    /// Major and minor number of the sparse format, where one is named.
    pub fn sparse_version(&self) -> Option<(u64, u64)> {
        let number = |key| self.get(key).and_then(decimal);
        Some((number("GNU.sparse.major")?, number("GNU.sparse.minor")?))
    }

    /// Length of a sparse file with its holes.
    pub fn real_size(&self) -> Result<u64, Why> {
        let found = match self.number("GNU.sparse.realsize")? {
            Some(size) => Some(size),
            None => self.number("GNU.sparse.size")?,
        };
        found.ok_or("a sparse file without its size")
    }

    /// The map of formats 0.0 (repeated keys) and 0.1 (one key); `None` for a file without holes.
    pub fn extents(&self) -> Result<Option<(Vec<Extent>, u64)>, Why> {
        const BROKEN: Why = "a broken map of a sparse file";
        let numbers: Vec<u64> = if let Some(map) = self.get("GNU.sparse.map") {
            map.split(|byte| *byte == b',')
                .map(|number| decimal(number).ok_or(BROKEN))
                .collect::<Result<_, _>>()?
        } else if self.get("GNU.sparse.numblocks").is_some() {
            let of_map = |key: &[u8]| matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes");
            let values = self.0.iter().filter(|(key, _)| of_map(key));
            let expected = [&b"GNU.sparse.offset"[..], b"GNU.sparse.numbytes"];
            values
                .zip(expected.iter().cycle())
                .map(|((key, value), expected)| {
                    decimal(value).filter(|_| key == expected).ok_or(BROKEN)
                })
                .collect::<Result<_, _>>()?
        } else {
            return Ok(None);
        };
        if !numbers.len().is_multiple_of(2) || numbers.len() / 2 > MOST_EXTENTS {
            return Err(BROKEN);
        }
        let extents = numbers
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [offset, length] => Some(Extent { offset: *offset, length: *length }),
                _ => None,
            })
            .collect();
        Ok(Some((extents, self.real_size()?)))
    }
}

/// Decimal digits and nothing else.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with an optional sign and fraction; more than nine digits of fraction are cut.
fn parse_time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let mut nanoseconds = 0;
    for position in 0..9 {
        let digit = fraction.as_bytes().get(position).map_or(0, |byte| u32::from(byte - b'0'));
        nanoseconds = nanoseconds * 10 + digit;
    }
    // -1.25 is 0.75 seconds after second -2.
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Time {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        });
    }
    Some(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_records() {
        let records = parse(b"12 path=a b\n8 uid=7\n28 SCHILY.xattr.user.x=a\0=\n\n").ok().unwrap();
        assert_eq!(records.get("path"), Some(&b"a b"[..]));
        assert_eq!(records.get("uid"), Some(&b"7"[..]));
        assert_eq!(records.0[2].1, b"a\0=\n");
        for bad in [
            &b"13 path=a b\n"[..],
            b"12 path=a b",
            b"x path=a\n",
            b"4 =\n\n",
            b"3 \n",
            b"99999999999999999999 a=b\n",
            b"9 path=\0\n",
            b"+9 uid=7\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    /// In time that does not grow with the square of their number.
    #[test]
    fn the_last_attribute_of_a_name_counts() {
        let mut data = Vec::new();
        for number in 0..40_000 {
            data.extend_from_slice(format!("27 SCHILY.xattr.a={number:08}\n").as_bytes());
            data.extend_from_slice(format!("27 SCHILY.xattr.{number:08}=b\n").as_bytes());
        }
        let mut block = [0; 512];
        block[148..156].copy_from_slice(b"000400\0 ");
        let header = super::super::header::Header::new(block).ok().unwrap();
        let mut entry = header.entry(None, None).ok().unwrap();
        let records = parse(&data).ok().unwrap();
        let begun = std::time::Instant::now();
        records.apply(&mut entry).ok().unwrap();
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(entry.xattrs.len(), 40_001);
        assert!(entry.xattrs.contains(&(b"a".to_vec(), b"00039999".to_vec())));
    }

    #[test]
    fn reads_times() {
        for (text, expected) in [
            ("1", Some((1, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("1.", Some((1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.000000001", Some((-1, 999_999_999))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("", None),
            ("-", None),
            ("1e5", None),
            ("1.-5", None),
            ("+1", None),
            ("99999999999999999999", None),
        ] {
            let time = parse_time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds));
            assert_eq!(time, expected, "{text}");
        }
    }
}
