//! `WWW-Authenticate`: how a server wants us to prove who we are (RFC 9110 section 11.6.1).

use ureq::http::header::{HeaderMap, WWW_AUTHENTICATE};

/// Most bytes of such headers that are looked at.
const LONGEST: usize = 16 * 1024;

/// One way that a server takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `basic`, `bearer`, in lower case.
    pub scheme: String,
    /// Names in lower case, and values.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// All challenges of an answer.
pub fn of(headers: &HeaderMap) -> Vec<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(parse).collect()
}

/// Reads one header; what cannot be read ends the list.
pub fn parse(text: &str) -> Vec<Challenge> {
    let mut rest = text.get(..LONGEST).unwrap_or(text);
    let mut found: Vec<Challenge> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((word, after)) = token(rest) else { return found };
        let value_follows = after.trim_start_matches([' ', '\t']);
        match (value_follows.strip_prefix('='), found.last_mut()) {
            (Some(value), Some(challenge)) => {
                let Some((value, after)) = value_of(value.trim_start_matches([' ', '\t'])) else {
                    return found;
                };
                challenge.parameters.push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            // A parameter of no scheme.
            (Some(_), None) => return found,
            (None, _) => {
                let scheme = word.to_ascii_lowercase();
                found.push(Challenge { scheme, parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_end = |c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c));
    let end = text.find(is_end).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((position, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(position + 1..).unwrap_or_default())),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_registries_send() {
        let found = parse(
            r#"Bearer realm="https://auth.h/token?a=b,c",service="h",scope="repository:a/b:pull,push", Basic realm=x"#,
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].scheme, "bearer");
        assert_eq!(found[0].get("realm"), Some("https://auth.h/token?a=b,c"));
        assert_eq!(found[0].get("scope"), Some("repository:a/b:pull,push"));
        assert_eq!((found[1].scheme.as_str(), found[1].get("realm")), ("basic", Some("x")));
        let found = parse(r#"BASIC REALM = "a \" b""#);
        assert_eq!(found[0].get("realm"), Some("a \" b"));
    }

    #[test]
    fn stops_at_nonsense() {
        for (text, count) in [
            ("", 0),
            (",,, ", 0),
            ("=x", 0),
            (r#"Bearer realm="never ends"#, 1),
            ("Negotiate, Basic", 2),
            ("Bearer realm=\u{e9}", 1),
        ] {
            assert_eq!(parse(text).len(), count, "{text}");
        }
        assert!(parse(&"a,".repeat(100_000)).len() <= LONGEST);
    }
}
