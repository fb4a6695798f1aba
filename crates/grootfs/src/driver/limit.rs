//! What a root file system may hold, and what it holds.

use std::fmt;

/// The least that overlay-xfs sets as a limit, in bytes (contract 4.9): a root that can hold nothing
/// at all cannot be mounted.
pub const LEAST: u64 = 256 * 1024;

/// What a root file system may hold; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Bytes on disk.
    pub bytes: u64,
    /// What they count.
    pub scope: Scope,
    /// Files, directories and whatever else has an inode; those of the image never count.
    pub inodes: u64,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// The image and what is written (`inclusive`, the default).
    #[default]
    WithImage,
    /// Only what is written (`exclusive`, `--exclude-image-from-quota`).
    WithoutImage,
}

impl Scope {
    /// The scope by the answer of `--exclude-image-from-quota`.
    pub fn excluding_image(excluding: bool) -> Self {
        if excluding { Self::WithoutImage } else { Self::WithImage }
    }
}

impl Limit {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        self.bytes == 0 && self.inodes == 0
    }

    /// The bytes that the image and what is written may hold together; `None` where the image does not
    /// count.
    pub fn with_image(&self) -> Option<u64> {
        (self.bytes > 0 && self.scope == Scope::WithImage).then_some(self.bytes)
    }

    /// What is left of the limit for what is written, when the image holds so many bytes; `None`
    /// without a limit.
    pub fn left(&self, image: u64) -> Result<Option<u64>, TooSmall> {
        match self.scope {
            _ if self.bytes == 0 => Ok(None),
            Scope::WithoutImage => Ok(Some(self.bytes)),
            Scope::WithImage => match self.bytes.checked_sub(image) {
                Some(left) => Ok(Some(left)),
                None => Err(TooSmall { limit: self.bytes, image }),
            },
        }
    }
}

/// A limit that the image alone exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "disk limit is smaller than volume size: the limit is {}, the image holds {}, {} more",
    Bytes(*limit), Bytes(*image), Bytes(image.saturating_sub(*limit))
)]
pub struct TooSmall {
    /// The limit in bytes.
    pub limit: u64,
    /// What the image holds, in bytes.
    pub image: u64,
}

/// What a root file system holds, and what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes with its image.
    pub total: u64,
    /// Bytes that are its own.
    pub exclusive: u64,
    /// The limit that the kernel holds, in bytes; 0 is none.
    pub quota: u64,
    /// Most bytes that it can come to hold with its image; 0 without a limit.
    pub committed: u64,
    /// Files, directories and whatever else has an inode, and their limit; `None` where nobody counts.
    pub inodes: Option<Inodes>,
}

/// Inodes of a root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inodes {
    /// How many there are.
    pub used: u64,
    /// How many there may be; 0 is no limit.
    pub limit: u64,
}

/// Bytes for a person: the number, and how much that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Short(self.0).to_string() {
            short if short.ends_with(" bytes") => f.write_str(&short),
            short => write!(f, "{short} ({} bytes)", self.0),
        }
    }
}

/// Bytes for a table: `12 bytes`, `3.4 MiB`, `120 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short(pub u64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let mut unit = 0;
        // Tenths, rounded down at each step: what is shown is never more than there is.
        let mut tenths = u128::from(self.0) * 10 / 1024;
        while tenths >= 10_240 && unit + 1 < UNITS.len() {
            tenths /= 1024;
            unit += 1;
        }
        let name = UNITS.get(unit).copied().unwrap_or_default();
        if tenths >= 1000 || tenths % 10 == 0 {
            write!(f, "{} {name}", tenths / 10)
        } else {
            write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_limit() {
        let limit = |bytes, scope| Limit { bytes, scope, inodes: 0 };
        for (limit, image, left) in [
            (limit(0, Scope::WithImage), 10, Ok(None)),
            (limit(0, Scope::WithoutImage), 10, Ok(None)),
            (limit(15, Scope::WithImage), 10, Ok(Some(5))),
            (limit(10, Scope::WithImage), 10, Ok(Some(0))),
            (limit(9, Scope::WithImage), 10, Err(TooSmall { limit: 9, image: 10 })),
            (limit(9, Scope::WithoutImage), 10, Ok(Some(9))),
        ] {
            assert_eq!(limit.left(image), left, "{limit:?} {image}");
        }
    }

    #[test]
    fn bytes_are_said_twice() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB (1024 bytes)"),
            (1536, "1.5 KiB (1536 bytes)"),
            (312 << 20, "312 MiB (327155712 bytes)"),
            (u64::MAX, "15.9 EiB (18446744073709551615 bytes)"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_limit_that_is_too_small_shows_the_sum() {
        let error = Limit { bytes: 256 << 20, ..Limit::default() }.left(312 << 20).unwrap_err();
        assert_eq!(
            error.to_string(),
            "disk limit is smaller than volume size: the limit is 256 MiB (268435456 bytes), the \
             image holds 312 MiB (327155712 bytes), 56 MiB (58720256 bytes) more"
        );
    }
}
