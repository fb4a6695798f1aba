//! Heads and bodies of messages, read from any buffered stream.

use std::io::{self, BufRead, Read, Write};

/// The most that a head may take; enough for the huge headers that the tests make.
const HEAD_LIMIT: u64 = 16 << 20;

/// Header fields in the order in which they came, names as they were spelled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of a field; the spelling of names does not matter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Adds a field at the end.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Puts a value in the place of all earlier ones.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.add(name, value);
    }

    /// Takes all values of a field away.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
    }

    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Writes the fields and the empty line after them.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            to.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        to.extend_from_slice(b"\r\n");
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Headers {
    fn from(fields: [(&str, &str); N]) -> Self {
        Self(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// Path and query, as the client wrote them.
    pub target: String,
    /// The header fields.
    pub headers: Headers,
}

impl Request {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        self.queries(name).next()
    }

    /// All values of a query parameter, decoded.
    pub fn queries<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(move |(field, _)| *field == name).map(|(_, value)| decode(value))
    }

    /// Whether the client wants the connection closed after the answer.
    pub(crate) fn wants_close(&self) -> bool {
        self.headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Where the request's body ends.
    pub(crate) fn framing(&self) -> Framing {
        Framing::of(&self.headers).unwrap_or(Framing::Length(0))
    }
}

/// Percent and plus of a query value.
fn decode(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut plain = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = value.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                plain.push(code);
                at += 2;
            }
            (b'+', _) => plain.push(b' '),
            _ => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Reads the head of a request; `None` when the client has closed the connection instead.
pub(crate) fn read_request(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some((first, headers)) = read_head(from)? else { return Ok(None) };
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(invalid("a request line"));
    };
    Ok(Some(Request { method: method.to_owned(), target: target.to_owned(), headers }))
}

/// Reads the head of an answer: its status and header fields.
pub(crate) fn read_answer(from: &mut impl BufRead) -> io::Result<(u16, Headers)> {
    let (first, headers) = read_head(from)?.ok_or_else(|| invalid("an answer"))?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok((status.ok_or_else(|| invalid("a status line"))?, headers))
}

fn read_head(from: &mut impl BufRead) -> io::Result<Option<(String, Headers)>> {
    let mut from = from.take(HEAD_LIMIT);
    let mut first = String::new();
    if from.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = Headers::default();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some((first.trim_end().to_owned(), headers)));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header field"))?;
        headers.add(name, value.trim());
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not {what}"))
}

/// How the end of a body is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    /// What the header fields say; `None` when they say nothing.
    pub(crate) fn of(headers: &Headers) -> Option<Self> {
        if headers.get("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            return Some(Self::Chunked);
        }
        headers.get("content-length").and_then(|value| value.parse().ok()).map(Self::Length)
    }
}

/// The bytes of a body, without chunk sizes.
#[derive(Debug)]
pub(crate) struct Body<R> {
    from: R,
    framing: Framing,
    /// Bytes left in the body, or in the chunk.
    left: u64,
    ended: bool,
}

impl<R: BufRead> Body<R> {
    pub(crate) fn new(from: R, framing: Framing) -> Self {
        let left = match framing {
            Framing::Length(length) => length,
            Framing::Chunked => 0,
            Framing::UntilClose => u64::MAX,
        };
        Self { from, framing, left, ended: framing == Framing::Length(0) }
    }

    /// Whether every byte was read.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        self.left = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        if self.left == 0 {
            // No trailers: nobody here sends any.
            self.from.read_line(&mut String::new())?;
            self.ended = true;
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.ended && self.left == 0 && self.framing == Framing::Chunked {
            self.next_chunk()?;
        }
        if self.ended || into.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let count = self.from.read(&mut into[..most])?;
        if count == 0 {
            self.ended = true;
            return match self.framing {
                Framing::UntilClose => Ok(0),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        self.left -= count as u64;
        if self.left == 0 {
            match self.framing {
                Framing::Chunked => drop(self.from.read_line(&mut String::new())?),
                _ => self.ended = true,
            }
        }
        Ok(count)
    }
}

/// Writes one chunk; an empty one ends the body.
pub(crate) fn write_chunk(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write!(to, "{:x}\r\n", bytes.len())?;
    to.write_all(bytes)?;
    to.write_all(b"\r\n")
}

/// The usual words after a status; clients ignore them.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 | 302 | 303 | 307 | 308 => "Redirect",
        401 => "Unauthorized",
        404 => "Not Found",
        408 => "Request Timeout",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
