//! References to images in a registry, as Docker writes them.
//!
//! Grammar: `[host[:port]/]path[:tag][@digest]`. The first component is a host only if it looks
//! like one (a dot, a colon, `localhost` or an IPv6 address in brackets); everything else belongs
//! to the default registry, whose one-component names live below `library/`.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;

/// What the default registry is called in references.
const DEFAULT_DOMAIN: &str = "docker.io";
/// An older name of the same registry that still occurs in references.
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
/// The host that answers for the default registry.
const DEFAULT_HOST: &str = "registry-1.docker.io";
/// What a reference without tag and digest means.
const DEFAULT_TAG: &str = "latest";
/// Longest repository name that registries accept (distribution specification).
const MAX_NAME_LENGTH: usize = 255;
/// Longest tag (distribution specification).
const MAX_TAG_LENGTH: usize = 128;

/// A checked reference; every part is safe in a URL path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference format: `{reference}`: {part} {why}")]
pub struct ParseError {
    reference: String,
    part: String,
    why: &'static str,
}

impl Reference {
    /// The registry as it stands in references: `docker.io`, `host`, `host:port`, `[::1]:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The host (and port) to connect to.
    pub fn host(&self) -> &str {
        if self.domain == DEFAULT_DOMAIN { DEFAULT_HOST } else { &self.domain }
    }

    /// The repository within the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The digest, when the reference has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the registry for: the digest, or else the tag (`latest` when not given).
    pub fn manifest(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// Registry and repository without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        match (&self.tag, &self.digest) {
            (None, None) => write!(f, ":{DEFAULT_TAG}"),
            (tag, digest) => {
                if let Some(tag) = tag {
                    write!(f, ":{tag}")?;
                }
                digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
            }
        }
    }
}

impl FromStr for Reference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = |part: String, why| ParseError {
            // A reference from outside may be a whole file; an error has to stay readable.
            reference: text.chars().take(300).collect(),
            part: part.chars().take(300).collect(),
            why,
        };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let parsed = digest.parse::<Digest>().map_err(|_| {
                    fail(format!("digest `{digest}`"), "is not sha256:<64 hex> or sha512:<128 hex>")
                })?;
                (rest, Some(parsed))
            }
        };
        let (domain, rest) = split_domain(rest);
        if let Some(domain) = domain {
            check_domain(domain).map_err(|why| fail(format!("host `{domain}`"), why))?;
        }
        let (path, tag) = match rest.split_once(':') {
            None => (rest, None),
            Some((path, tag)) => (path, Some(tag)),
        };
        if let Some(tag) = tag {
            check_tag(tag).map_err(|why| fail(format!("tag `{tag}`"), why))?;
        }
        let domain = match domain {
            None | Some(LEGACY_DEFAULT_DOMAIN) => DEFAULT_DOMAIN,
            Some(domain) => domain,
        };
        for component in path.split('/') {
            check_component(component)
                .map_err(|why| fail(format!("repository component `{component}`"), why))?;
        }
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        // With `library/`, which is a part of what the registry is asked for.
        if domain.len() + 1 + path.len() > MAX_NAME_LENGTH {
            return Err(fail(format!("repository `{path}`"), "is longer than 255 characters"));
        }
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }
}

fn split_domain(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':', '[']) || first == "localhost" => {
            (Some(first), rest)
        }
        _ => (None, text),
    }
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    let (host, port) = if let Some(rest) = domain.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("has no `]` after the IPv6 address")?;
        address
            .parse::<std::net::Ipv6Addr>()
            .map_err(|_| "is not an IPv6 address between the brackets")?;
        match rest.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if rest.is_empty() => (None, None),
            None => return Err("has something other than a port after the bracket"),
        }
    } else {
        match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        }
    };
    if let Some(port) = port {
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        if !digits || !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err("has a port that is not a number from 1 to 65535");
        }
    }
    host.map_or(Ok(()), check_host_name)
}

fn check_host_name(host: &str) -> Result<(), &'static str> {
    let label_is_fine = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.split('.').all(label_is_fine) { Ok(()) } else { Err("is not a host name") }
}

fn check_component(component: &str) -> Result<(), &'static str> {
    if component.is_empty() {
        return Err("is empty");
    }
    if component.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("has upper-case letters; repository names are lower case");
    }
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !component.bytes().all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-')) {
        return Err("has a character other than a-z, 0-9, `.`, `_`, `-`");
    }
    // Separators: one `.`, one or two `_`, any number of `-`, never at an end.
    let separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let separator_is_fine =
        |s: &str| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    let ends_are_fine = component.bytes().next().is_some_and(alphanumeric)
        && component.bytes().last().is_some_and(alphanumeric);
    if ends_are_fine && separators.into_iter().all(separator_is_fine) {
        Ok(())
    } else {
        Err("has a misplaced `.`, `_` or `-`")
    }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if tag.is_empty() {
        return Err("is empty");
    }
    if tag.len() > MAX_TAG_LENGTH {
        return Err("is longer than 128 characters");
    }
    let first_is_fine = tag.bytes().next().is_some_and(word);
    if first_is_fine && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-')) {
        Ok(())
    } else {
        Err("has a character other than a-z, A-Z, 0-9, `_`, `.`, `-`, or starts with `.` or `-`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn parses_as_docker_does() {
        let pinned = format!("reg.io/a@sha256:{HEX}");
        let both = format!("reg.io/a:v1@sha256:{HEX}");
        let digest = format!("sha256:{HEX}");
        for (text, host, path, manifest) in [
            ("busybox", DEFAULT_HOST, "library/busybox", "latest"),
            ("busybox:1.36", DEFAULT_HOST, "library/busybox", "1.36"),
            ("cfgarden/empty:v0.1.0", DEFAULT_HOST, "cfgarden/empty", "v0.1.0"),
            ("docker.io/busybox", DEFAULT_HOST, "library/busybox", "latest"),
            ("index.docker.io/a/b", DEFAULT_HOST, "a/b", "latest"),
            ("localhost/a", "localhost", "a", "latest"),
            ("127.0.0.1:5000/a/b-c__d/e.f:T_1", "127.0.0.1:5000", "a/b-c__d/e.f", "T_1"),
            ("[::1]:5000/a", "[::1]:5000", "a", "latest"),
            ("[2001:db8::1]/a:x", "[2001:db8::1]", "a", "x"),
            (&pinned, "reg.io", "a", &digest),
            (&both, "reg.io", "a", &digest),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.host(), host, "{text}");
            assert_eq!(reference.path(), path, "{text}");
            assert_eq!(reference.manifest(), manifest, "{text}");
            assert_eq!(reference.to_string().parse::<Reference>().unwrap(), {
                let mut again = reference.clone();
                if again.tag.is_none() && again.digest.is_none() {
                    again.tag = Some(DEFAULT_TAG.to_owned());
                }
                again
            });
        }
    }

    #[test]
    fn says_which_part_is_wrong() {
        for (text, part) in [
            ("", "repository component ``"),
            ("reg.io/", "repository component ``"),
            ("Busybox", "repository component `Busybox` has upper-case"),
            ("a//b", "repository component ``"),
            ("a/../b", "repository component `..`"),
            ("a/b%20c", "repository component `b%20c`"),
            ("a__b___c", "misplaced"),
            ("-a", "misplaced"),
            ("a:", "tag ``"),
            ("a:.x", "tag `.x`"),
            ("a:b:c", "tag `b:c`"),
            ("a@sha256:abc", "digest `sha256:abc`"),
            ("a@", "digest ``"),
            ("h.io:0/a", "host `h.io:0`"),
            ("h.io:99999/a", "host `h.io:99999`"),
            ("h.io:+5/a", "host `h.io:+5`"),
            ("h..io/a", "host `h..io`"),
            ("[::1/a", "host `[::1`"),
            ("[zz]/a", "host `[zz]`"),
            ("[::1]x/a", "host `[::1]x`"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(error.contains(&format!("`{text}`")), "{text}: {error}");
        }
        for long in ["a/".repeat(200) + "a", "a".repeat(238)] {
            assert!(long.parse::<Reference>().unwrap_err().to_string().contains("255"), "{long}");
        }
        assert!("a".repeat(237).parse::<Reference>().is_ok());
    }
}
