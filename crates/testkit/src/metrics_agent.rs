//! Cloud Foundry's metrics agent, as far as it listens: datagrams on loopback, taken apart by `protoc`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::process::{Command, Stdio};

/// Listens, and keeps nothing that it was not asked for.
#[derive(Debug)]
pub struct MetricsAgent {
    socket: UdpSocket,
}

/// One envelope. Its fields by their names in the schema: `valueMetric.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    fields: BTreeMap<String, String>,
}

impl MetricsAgent {
    /// Listens on a port of its own.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket }
    }

    /// Where it listens, `host:port`.
    pub fn endpoint(&self) -> String {
        self.socket.local_addr().unwrap().to_string()
    }

    /// What has come since the last look. On loopback that is all that processes that have ended have sent.
    pub fn datagrams(&self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => found.push(buffer[..length].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return found,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The same, taken apart.
    pub fn envelopes(&self) -> Vec<Envelope> {
        self.datagrams().iter().map(|bytes| Envelope::decode(bytes)).collect()
    }
}

impl Envelope {
    /// Lets `protoc` take a datagram apart. Panics unless it knows every field.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut protoc = Command::new("protoc")
            .args(["--decode=events.Envelope", "envelope.proto"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("protoc cannot be started (apt-get install protobuf-compiler)");
        protoc.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = protoc.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaints.is_empty(), "{complaints}: {bytes:?}");
        Self::read(&String::from_utf8(output.stdout).unwrap())
    }

    /// Reads the text format: `name: value`, and `name {` ... `}` around those of a message.
    fn read(text: &str) -> Self {
        let mut fields = BTreeMap::new();
        let mut prefix = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_suffix(" {") {
                prefix = format!("{name}.");
            } else if line == "}" {
                prefix.clear();
            } else {
                let (name, value) = line.split_once(": ").unwrap();
                assert!(!name.starts_with(char::is_numeric), "a field that nobody knows: {line}");
                let value = value.trim_matches('"').to_owned();
                let before = fields.insert(format!("{prefix}{name}"), value);
                assert!(before.is_none(), "twice: {line}");
            }
        }
        Self { fields }
    }

    /// A field, empty where it is not set.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The name of a value or counter, the source of an error.
    pub fn name(&self) -> &str {
        match self.field("eventType") {
            "ValueMetric" => self.field("valueMetric.name"),
            "CounterEvent" => self.field("counterEvent.name"),
            _ => self.field("error.source"),
        }
    }

    /// The number of a value.
    pub fn value(&self) -> f64 {
        self.field("valueMetric.value").parse().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_datagrams_apart() {
        let agent = MetricsAgent::start();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Written by hand: origin "o", type 8, error { source "s", code 1, message "m" }.
        let bytes = b"\x0a\x01o\x10\x08\x5a\x08\x0a\x01s\x10\x01\x1a\x01m";
        socket.send_to(bytes, agent.endpoint()).unwrap();
        let found = agent.envelopes();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name(), found[0].field("error.message")), ("s", "m"));
        assert_eq!(found[0].field("eventType"), "Error");
        assert!(agent.envelopes().is_empty());
    }

    #[test]
    #[should_panic(expected = "origin")]
    fn refuses_half_an_envelope() {
        Envelope::decode(b"\x10\x08");
    }
}
