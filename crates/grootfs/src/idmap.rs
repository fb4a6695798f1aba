//! User and group id mappings of a store: which host id an id inside the container is on disk.

use std::fmt;
use std::str::FromStr;

/// One range: `size` ids from `ns` on (inside) are the ids from `host` on (outside).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdMapping {
    /// First id inside the user namespace.
    pub ns: u32,
    /// First id on the host.
    pub host: u32,
    /// How many ids; at least one.
    pub size: u32,
}

impl IdMapping {
    fn host_id(&self, ns: u32) -> Option<u32> {
        let offset = ns.checked_sub(self.ns)?;
        (offset < self.size).then(|| self.host.checked_add(offset)).flatten()
    }
}

impl fmt::Display for IdMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.ns, self.host, self.size)
    }
}

/// Why a `ns:host:size` text is not a mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not three fields.
    #[error("unexpected EOF: `{0}` is not <namespace id>:<host id>:<size>")]
    Fields(String),
    /// A field that is no number between 0 and 4294967295.
    #[error("expected integer: `{field}` in `{text}` is not a number from 0 to 4294967295")]
    Number {
        /// The whole text.
        text: String,
        /// The field that is wrong.
        field: String,
    },
    /// A range without ids, or one that runs past the last 32-bit id.
    #[error("`{0}` has a size that does not fit: 1 to 4294967296 ids, none above 4294967295")]
    Size(String),
}

impl FromStr for IdMapping {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut fields = text.split(':');
        let (Some(ns), Some(host), Some(size), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(ParseError::Fields(text.to_owned()));
        };
        let number = |field: &str| {
            field
                .parse::<u32>()
                .map_err(|_| ParseError::Number { text: text.to_owned(), field: field.to_owned() })
        };
        let mapping = Self { ns: number(ns)?, host: number(host)?, size: number(size)? };
        let fits = |first: u32| first.checked_add(mapping.size.wrapping_sub(1)).is_some();
        if mapping.size == 0 || !fits(mapping.ns) || !fits(mapping.host) {
            return Err(ParseError::Size(text.to_owned()));
        }
        Ok(mapping)
    }
}

/// The host ids that something on disk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The mappings of a store. Empty lists: ids are written as they are in the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMappings {
    /// User id ranges.
    pub uids: Vec<IdMapping>,
    /// Group id ranges.
    pub gids: Vec<IdMapping>,
}

impl IdMappings {
    /// Whether ids are left as they are.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// Who owns what a store holds (contract 9.1): the mapping of id 0 with size 1, else `caller`.
    pub fn owner(&self, caller: Owner) -> Owner {
        let find = |mappings: &[IdMapping], caller| {
            let root = mappings.iter().find(|mapping| mapping.ns == 0 && mapping.size == 1);
            root.map_or(caller, |mapping| mapping.host)
        };
        Owner { uid: find(&self.uids, caller.uid), gid: find(&self.gids, caller.gid) }
    }

    /// The host user id of a user id inside; `None` when no mapping covers it.
    pub fn host_uid(&self, ns: u32) -> Option<u32> {
        lookup(&self.uids, ns)
    }

    /// The host group id of a group id inside; `None` when no mapping covers it.
    pub fn host_gid(&self, ns: u32) -> Option<u32> {
        lookup(&self.gids, ns)
    }
}

fn lookup(mappings: &[IdMapping], ns: u32) -> Option<u32> {
    if mappings.is_empty() {
        return Some(ns);
    }
    mappings.iter().find_map(|mapping| mapping.host_id(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_refuses() {
        assert_eq!("1:100000:65000".parse(), Ok(IdMapping { ns: 1, host: 100_000, size: 65_000 }));
        for bad in ["", "1", "1:2", "1:2:3:4", "a:2:3", "1:2:0", "-1:2:3", "4294967295:0:2"] {
            assert!(bad.parse::<IdMapping>().is_err(), "{bad}");
        }
        assert!("0:4294967294:1".parse::<IdMapping>().is_ok());
    }

    #[test]
    fn looks_up_by_interval() {
        let ids = IdMappings {
            uids: vec!["0:5000:1".parse().unwrap(), "1:100000:65000".parse().unwrap()],
            gids: vec![],
        };
        assert_eq!(ids.host_uid(0), Some(5000));
        assert_eq!(ids.host_uid(33), Some(100_032));
        assert_eq!(ids.host_uid(65_000), Some(164_999));
        assert_eq!(ids.host_uid(65_001), None);
        assert_eq!(ids.host_gid(7), Some(7));
    }
}
