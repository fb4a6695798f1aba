//! Content digests: `sha256:<64 hex>` and `sha512:<128 hex>`.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

/// A hash function that an image may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256, the usual one.
    Sha256,
    /// SHA-512, the other one that the OCI image specification registers.
    Sha512,
}

impl Algorithm {
    /// The name in digests and in the folders of a layout.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A checked digest: known algorithm, lower-case hex of the right length.
///
/// Safe as a file name: `hex()` holds nothing but `0-9a-f`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest: {why}")]
pub struct ParseError {
    text: String,
    why: &'static str,
}

impl Digest {
    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash in lower-case hex.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The SHA-256 digest of some bytes.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = |why| ParseError { text: text.chars().take(200).collect(), why };
        let (name, hex) = text.split_once(':').ok_or(fail("no `:` after the algorithm"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(fail("only sha256 and sha512 are supported")),
        };
        if hex.len() != algorithm.hex_length() {
            return Err(fail("the hash has the wrong length"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(fail("the hash is not lower-case hex"));
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A running hash over a stream.
#[derive(Clone)]
pub struct Hasher(Running);

#[derive(Clone)]
enum Running {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Starts a hash.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => Running::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Running::Sha512(sha2::Sha512::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Running::Sha256(hasher) => hasher.update(bytes),
            Running::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        match self.0 {
            Running::Sha256(hasher) => {
                Digest { algorithm: Algorithm::Sha256, hex: to_hex(&hasher.finalize()) }
            }
            Running::Sha512(hasher) => {
                Digest { algorithm: Algorithm::Sha512, hex: to_hex(&hasher.finalize()) }
            }
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        hex.push(char::from(DIGITS[usize::from(byte >> 4)]));
        hex.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        assert_eq!(Digest::sha256_of(b"").to_string(), text);
        let sha512 = format!("sha512:{}", "0f".repeat(64));
        assert_eq!(sha512.parse::<Digest>().unwrap().algorithm(), Algorithm::Sha512);
    }

    #[test]
    fn refuses_what_is_no_digest() {
        let upper = format!("sha256:{}", "AB".repeat(32));
        let dots = format!("sha256:{}", "../".repeat(21) + "a");
        for bad in ["", "sha256", "sha256:", "md5:00", "sha256:abc", &upper, &dots] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
