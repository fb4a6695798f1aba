//! Platforms as images name them: `os/architecture[/variant]`, in Go's words.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// What an image was built for, or what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Platform {
    /// Operating system: `linux`.
    #[serde(default)]
    pub os: String,
    /// Processor: `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// Kind of processor: `v7`, `v8`; empty where it is not said.
    #[serde(default)]
    pub variant: String,
}

/// Why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid platform `{0}`: it is os/architecture or os/architecture/variant, as linux/arm64/v8"
)]
pub struct ParseError(String);

impl Platform {
    /// This machine.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", host_level()),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
            "powerpc64" => ("ppc64", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// How well something built for `offered` runs here; larger is better, `None` is not at all.
    pub fn suits(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        let (wanted, offered) = (self.level(&self.variant)?, self.level(&offered.variant)?);
        (offered <= wanted).then_some(offered)
    }

    /// A variant as a number that grows with what the processor can do.
    fn level(&self, variant: &str) -> Option<u32> {
        let number = |text: &str| text.strip_prefix('v')?.parse().ok();
        match (self.architecture.as_str(), variant) {
            ("amd64", "") => Some(1),
            ("arm64", "") => Some(8),
            // What is not said is what every processor of the kind can do.
            ("arm", "") => Some(5),
            ("amd64" | "arm64" | "arm", text) => number(text),
            (_, "") => Some(0),
            // Unknown kinds only fit themselves.
            (_, text) => (text == self.variant).then_some(1),
        }
    }
}

/// The level of an x86-64 processor (x86-64 psABI, micro-architecture levels).
#[cfg(target_arch = "x86_64")]
fn host_level() -> &'static str {
    macro_rules! has {
        ($($feature:tt),*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
    }
    let v2 = has!("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cmpxchg16b");
    let v3 = has!("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe");
    let v4 = has!("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl");
    match (v2, v2 && v3, v2 && v3 && v4) {
        (_, _, true) => "v4",
        (_, true, _) => "v3",
        (true, ..) => "v2",
        _ => "v1",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn host_level() -> &'static str {
    ""
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl FromStr for Platform {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        match parts.as_slice() {
            [os, architecture, rest @ ..] if rest.len() < 2 && parts.iter().all(word) => Ok(Self {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: rest.first().copied().unwrap_or_default().to_owned(),
            }),
            _ => Err(ParseError(text.chars().take(100).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn parses_what_it_prints() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(platform(text).to_string(), text);
        }
        for bad in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/a b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn takes_the_best_that_runs() {
        for (wanted, offered, expected) in [
            ("linux/amd64/v3", "linux/amd64", Some(1)),
            ("linux/amd64/v3", "linux/amd64/v3", Some(3)),
            ("linux/amd64/v3", "linux/amd64/v4", None),
            ("linux/amd64", "linux/arm64", None),
            ("linux/amd64", "windows/amd64", None),
            ("linux/arm64", "linux/arm64/v8", Some(8)),
            ("linux/arm/v7", "linux/arm/v6", Some(6)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm/v7", "linux/arm", Some(5)),
            ("linux/riscv64", "linux/riscv64", Some(0)),
        ] {
            assert_eq!(platform(wanted).suits(&platform(offered)), expected, "{wanted} {offered}");
        }
        assert!(Platform::host().suits(&Platform::host()).is_some());
    }
}
