//! The image argument of the command line: which kind of source it names.

use std::path::PathBuf;

use super::reference::{self, Reference};

/// The schemes that an image argument may have; used in messages too.
const KNOWN: &str = "docker://, oci:, docker-archive:, oci-archive:, or a path to a tar file";

/// What an image argument names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A tar file (contract 4.2: no scheme). The text is the path, byte for byte.
    Tarball(String),
    /// An image in a registry.
    Registry(Reference),
    /// An OCI image layout directory, with a reference name inside it.
    OciLayout(Located),
    /// A tar as `docker save` writes it.
    DockerArchive(Located),
    /// A tar of an OCI image layout.
    OciArchive(Located),
}

/// A path and which image at that path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Directory or file.
    pub path: PathBuf,
    /// Which image; `None` where there is only one.
    pub name: Option<String>,
}

/// Why an image argument is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A scheme that nobody knows.
    #[error("unsupported image url scheme `{scheme}` in `{argument}`; known are {KNOWN}{hint}")]
    Scheme {
        /// The scheme.
        scheme: String,
        /// The argument without user information.
        argument: String,
        /// What else could be meant.
        hint: &'static str,
    },
    /// `docker:name` instead of `docker:///name`.
    #[error("`{0}` needs two slashes: docker://host[:port]/repository[:tag], or docker:///name")]
    Slashes(String),
    /// No path behind the scheme.
    #[error("`{0}` names no path: one comes behind the colon, as in oci:/images/app:1.0")]
    NoPath(String),
    /// A bad reference.
    #[error(transparent)]
    Reference(#[from] reference::ParseError),
}

/// Reads an image argument.
pub fn parse(argument: &str) -> Result<Argument, ParseError> {
    let Some((scheme, rest)) = split_scheme(argument) else {
        return if argument.is_empty() {
            Err(ParseError::NoPath(String::new()))
        } else {
            Ok(Argument::Tarball(argument.to_owned()))
        };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "docker" => {
            let rest =
                rest.strip_prefix("//").ok_or_else(|| ParseError::Slashes(redacted(argument)))?;
            let rest = rest.trim_start_matches('/');
            Ok(Argument::Registry(split_user(rest).1.parse()?))
        }
        "oci" => located(argument, rest).map(Argument::OciLayout),
        "docker-archive" => located(argument, rest).map(Argument::DockerArchive),
        "oci-archive" => located(argument, rest).map(Argument::OciArchive),
        _ => Err(ParseError::Scheme {
            scheme: scheme.to_owned(),
            argument: redacted(argument),
            hint: if rest.starts_with("//") {
                ""
            } else {
                " (for a file with a colon in its name write ./<name>)"
            },
        }),
    }
}

/// The argument without user name and password, fit for logs and messages.
pub fn redacted(argument: &str) -> String {
    let Some((scheme, rest)) = split_scheme(argument) else {
        return argument.to_owned();
    };
    let Some(rest) = rest.strip_prefix("//") else {
        return argument.to_owned();
    };
    let (user, rest) = split_user(rest);
    if user.is_some() { format!("{scheme}://***@{rest}") } else { argument.to_owned() }
}

/// `scheme:rest` by the URL rules (RFC 3986 section 3.1); a path may hold colons after a slash.
fn split_scheme(argument: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = argument.split_once(':')?;
    let mut bytes = scheme.bytes();
    let valid = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    valid.then_some((scheme, rest))
}

/// Cuts `user:password@` off the front of an authority. An `@` in the last component is the one
/// in front of a digest.
fn split_user(rest: &str) -> (Option<&str>, &str) {
    let authority = rest.find('/').map_or(rest, |end| &rest[..end]);
    match authority.rfind('@') {
        Some(at) if authority.len() < rest.len() || !is_digest(&authority[at + 1..]) => {
            (Some(&rest[..at]), &rest[at + 1..])
        }
        _ => (None, rest),
    }
}

fn is_digest(text: &str) -> bool {
    text.starts_with("sha256:") || text.starts_with("sha512:")
}

/// Path and name of `scheme:path[:name]`. `scheme://a/b` is the absolute path `/a/b`
/// (contract 4.2), `scheme:a/b` a relative one. The path ends at its first colon.
fn located(argument: &str, rest: &str) -> Result<Located, ParseError> {
    let (path, name) = match rest.split_once(':') {
        Some((path, name)) => (path, (!name.is_empty()).then(|| name.to_owned())),
        None => (rest, None),
    };
    let path = match path.strip_prefix("//") {
        Some(path) if path.trim_matches('/').is_empty() => "",
        Some(path) if path.starts_with('/') => path,
        // One of the two slashes is the root.
        Some(_) => &path[1..],
        None => path,
    };
    if path.is_empty() {
        return Err(ParseError::NoPath(argument.to_owned()));
    }
    Ok(Located { path: PathBuf::from(path), name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(path: &str, name: Option<&str>) -> Argument {
        Argument::OciLayout(Located { path: path.into(), name: name.map(str::to_owned) })
    }

    #[test]
    fn knows_the_schemes() {
        for (text, expected) in [
            ("/a b/ü%20.tar", Argument::Tarball("/a b/ü%20.tar".into())),
            ("rel.tar", Argument::Tarball("rel.tar".into())),
            ("./a:b.tar", Argument::Tarball("./a:b.tar".into())),
            ("/x/a:b.tar", Argument::Tarball("/x/a:b.tar".into())),
            ("docker:///busybox:1", Argument::Registry("busybox:1".parse().unwrap())),
            ("docker://busybox", Argument::Registry("busybox".parse().unwrap())),
            ("DOCKER://h.io:5/a/b:c", Argument::Registry("h.io:5/a/b:c".parse().unwrap())),
            ("docker://u:p@h.io/a", Argument::Registry("h.io/a".parse().unwrap())),
            ("oci:///abs/dir", layout("/abs/dir", None)),
            ("oci:///abs/dir:ref", layout("/abs/dir", Some("ref"))),
            ("oci:///abs/dir:", layout("/abs/dir", None)),
            ("oci:///abs/dir:a:b", layout("/abs/dir", Some("a:b"))),
            ("oci://a/b", layout("/a/b", None)),
            ("oci://a/b:r", layout("/a/b", Some("r"))),
            ("oci:dir", layout("dir", None)),
            ("oci:dir/x:ref", layout("dir/x", Some("ref"))),
            ("oci:/abs:ref", layout("/abs", Some("ref"))),
            (
                "docker-archive:x.tar:a:b",
                Argument::DockerArchive(Located { path: "x.tar".into(), name: Some("a:b".into()) }),
            ),
            (
                "oci-archive:/x.tar",
                Argument::OciArchive(Located { path: "/x.tar".into(), name: None }),
            ),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn keeps_the_digest_of_a_bare_name() {
        let text = format!("docker://busybox@sha256:{}", "a".repeat(64));
        let Ok(Argument::Registry(reference)) = parse(&text) else { panic!("{text}") };
        assert!(reference.digest().is_some());
        assert_eq!(redacted(&text), text);
    }

    #[test]
    fn refuses_with_a_reason() {
        for (text, reason) in [
            ("", "names no path"),
            ("oci:", "names no path"),
            ("oci://", "names no path"),
            ("oci://:ref", "names no path"),
            ("http://u:secret@x/y", "unsupported image url scheme `http` in `http://***@x/y`"),
            ("a:b.tar", "write ./<name>"),
            ("docker:busybox", "needs two slashes"),
            ("docker://h.io/A", "upper-case"),
            ("docker:///x#tag", "repository component `x#tag`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn hides_user_information() {
        assert_eq!(redacted("docker://u:p@h/x"), "docker://***@h/x");
        assert_eq!(redacted("docker://u:p/x@h"), "docker://u:p/x@h");
        assert_eq!(redacted("docker:///x"), "docker:///x");
        assert_eq!(redacted("/p@q"), "/p@q");
    }
}
