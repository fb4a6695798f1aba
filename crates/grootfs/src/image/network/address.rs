//! Addresses of servers: `http` and `https` URLs, and where a redirect leads.

use std::fmt;
use std::sync::Arc;

use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// Longest address that is followed.
const LONGEST: usize = 8192;

/// A checked `http` or `https` URL without user information.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Arc<Uri>);

impl Address {
    /// Reads an absolute URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown = || redacted(text);
        if text.len() > LONGEST {
            return Err(format!("a URL of {} bytes is too long", text.len()));
        }
        let uri: Uri = text.parse().map_err(|_| format!("`{}` is no URL", shown()))?;
        let known = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
        if !known {
            return Err(format!("`{}` is neither http:// nor https://", shown()));
        }
        let authority = uri.authority().ok_or_else(|| format!("`{}` has no host", shown()))?;
        if authority.as_str().contains('@') {
            return Err(format!("`{}` holds a user name, which is not taken from URLs", shown()));
        }
        if authority.host().is_empty() {
            return Err(format!("`{}` has no host", shown()));
        }
        Ok(Self(Arc::new(uri)))
    }

    /// For the client.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether the way there is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// `host[:port]` as it was written.
    pub fn host(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    /// The host alone, without brackets around an IPv6 address.
    pub fn host_name(&self) -> &str {
        self.0.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, written or not.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Whether two addresses lead to the same server in the same way.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.is_https() == other.is_https()
            && self.host_name().eq_ignore_ascii_case(other.host_name())
            && self.port() == other.port()
    }

    /// Where a `Location` header leads from here (RFC 3986 section 5.2, without dot segments).
    pub fn join(&self, location: &str) -> Result<Self, String> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.is_https() { "https" } else { "http" };
        let absolute = if has_scheme(location) {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", self.host())
        } else if location.starts_with('?') {
            format!("{scheme}://{}{}{location}", self.host(), self.0.path())
        } else {
            let directory = self.0.path().rfind('/').map_or("/", |end| &self.0.path()[..=end]);
            format!("{scheme}://{}{directory}{location}", self.host())
        };
        Self::parse(&absolute)
    }
}

/// Whether a location is an absolute URL, and not one that has another in its query.
fn has_scheme(location: &str) -> bool {
    let scheme = location.split_once("://").map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// Shown without the query: signed URLs of blob stores carry secrets there.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https() { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.host(), self.0.path())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that should have been a URL, without what may be secret in it.
pub fn redacted(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let shown = match (text.split_once("://"), text.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://***{}", &text[at..]),
        (None, Some(at)) => format!("***{}", &text[at..]),
        _ => text.to_owned(),
    };
    shown.chars().take(300).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_refuses() {
        let address = Address::parse("https://[::1]:5000/v2/?token=secret").unwrap();
        assert_eq!(
            (address.host(), address.host_name(), address.port()),
            ("[::1]:5000", "::1", 5000)
        );
        assert_eq!(address.to_string(), "https://[::1]:5000/v2/");
        for bad in
            ["", "x", "ftp://h/", "https://", "https:///x", "http://u:secret@h/", "http://h/ x"]
        {
            let error = Address::parse(bad).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn follows_locations() {
        let base = Address::parse("https://h:5000/v2/a/blobs/b?x=1").unwrap();
        for (location, expected) in [
            ("http://other/x", "http://other/x"),
            ("//other/x?q", "https://other/x"),
            ("/x/y", "https://h:5000/x/y"),
            ("c#f", "https://h:5000/v2/a/blobs/c"),
            ("?y=http://z", "https://h:5000/v2/a/blobs/b"),
            ("/x?to=http://y", "https://h:5000/x"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), expected, "{location}");
        }
        assert!(base.join("ftp://x").is_err());
        let same = |text: &str| base.same_origin(&Address::parse(text).unwrap());
        assert!(same("https://H:5000/") && !same("http://h:5000/") && !same("https://h/"));
    }
}
