//! What the two processes say to each other: a kind, a length, bytes.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;

/// Longest message: the answer of a helper, or the paths that one gets at once.
const LONGEST: u32 = 4 << 20;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Child: it is in its namespace, and waits for its ids.
    Ready,
    /// Child: it is not; the text says why.
    Failed,
    /// Parent: the ids are mapped.
    Go,
    /// Child: a helper is to be run.
    Help,
    /// Parent: what it printed.
    Answer,
    /// Parent: why it failed.
    Refusal,
}

const KINDS: [Kind; 6] =
    [Kind::Ready, Kind::Failed, Kind::Go, Kind::Help, Kind::Answer, Kind::Refusal];

/// One end.
#[derive(Debug)]
pub struct Channel(pub UnixStream);

impl Channel {
    /// Says something.
    pub fn send(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= LONGEST);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let mut message = vec![kind as u8];
        message.extend_from_slice(&length.to_le_bytes());
        message.extend_from_slice(bytes);
        self.0.write_all(&message)
    }

    /// Waits for what the other one says; `None` when it is gone.
    pub fn receive(&mut self) -> io::Result<Option<(Kind, Vec<u8>)>> {
        let mut kind = [0];
        match self.0.read_exact(&mut kind) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        let kind = KINDS.get(usize::from(kind[0])).filter(|_| length <= LONGEST);
        let kind = *kind.ok_or(io::ErrorKind::InvalidData)?;
        let mut bytes = Vec::new();
        let read = (&self.0).take(length.into()).read_to_end(&mut bytes)?;
        if read == length as usize { Ok(Some((kind, bytes))) } else { Ok(None) }
    }
}

/// A helper and its arguments, which cannot hold a NUL.
pub fn join(helper: &str, arguments: &[&OsStr]) -> Vec<u8> {
    let mut bytes = helper.as_bytes().to_vec();
    for argument in arguments {
        bytes.push(0);
        bytes.extend_from_slice(argument.as_bytes());
    }
    bytes
}

/// The same again.
pub fn split(bytes: &[u8]) -> (String, Vec<OsString>) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let helper = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    (helper, parts.map(|part| OsString::from_vec(part.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut a, mut b) = (Channel(a), Channel(b));
        let arguments = ["limit".as_ref(), OsStr::from_bytes(b"/\xff x"), "".as_ref()];
        for kind in KINDS {
            a.send(kind, &join("tardis", &arguments)).unwrap();
            let (heard, bytes) = b.receive().unwrap().unwrap();
            assert_eq!(heard, kind);
            let (helper, heard) = split(&bytes);
            assert_eq!(
                (helper.as_str(), heard.as_slice()),
                ("tardis", &arguments.map(OsStr::to_owned)[..])
            );
        }
        // Nonsense, a message that breaks off, an end.
        a.0.write_all(&[9, 0, 0, 0, 0]).unwrap();
        assert!(b.receive().is_err());
        a.0.write_all(&[0, 255, 255, 255, 255]).unwrap();
        assert!(b.receive().is_err());
        a.0.write_all(&[0, 2, 0, 0, 0, 7]).unwrap();
        drop(a);
        assert!(b.receive().unwrap().is_none());
        assert!(b.receive().unwrap().is_none());
    }
}
