//! Garden's side of the protocol: how it starts an image plugin, and how it reads what that says.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longer than any line of a log. The kernel cuts packets of pipes at a page.
const PACKET: usize = 1 << 16;

/// One of the two image plugins that `gdn server` was told of.
#[derive(Debug, Clone)]
pub struct Plugin {
    pub program: PathBuf,
    /// `--image-plugin-extra-arg`, in front of the command.
    pub extra: Vec<String>,
    /// That of gdn, and nothing else.
    pub environment: Vec<(String, String)>,
    /// gdn's.
    pub directory: PathBuf,
}

/// What gdn learns from one call.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub entries: Vec<Entry>,
}

/// A line of lager's, as gdn logs it again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub timestamp: String,
    pub source: String,
    pub message: String,
    /// Before 2020, and until then only this.
    pub log_level: Option<u8>,
    pub level: Option<String>,
    pub data: Map<String, Value>,
}

/// What gdn reads of a created root: an OCI runtime specification, whatever else is in it.
#[derive(Debug, Deserialize)]
pub struct Created {
    pub root: Root,
    pub process: Process,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// The line itself.
    #[serde(skip)]
    pub line: String,
}

#[derive(Debug, Deserialize)]
pub struct Root {
    pub path: PathBuf,
}

#[derive(Debug, Deserialize)]
pub struct Process {
    #[serde(default)]
    pub env: Vec<String>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
pub struct Mount {
    pub destination: String,
    #[serde(default, rename = "type")]
    pub kind: String,
    pub source: String,
    #[serde(default)]
    pub options: Vec<String>,
}

/// Two levels of unsigned numbers: anything else and the metrics of all containers are gone.
pub type Metrics = BTreeMap<String, BTreeMap<String, u64>>;

impl Plugin {
    /// Starts it as gdn does, and waits until nobody holds its pipes any more.
    pub fn call(&self, arguments: &[&str]) -> Answer {
        // Each write arrives by itself, and so it is parsed.
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.extra).args(arguments).current_dir(&self.directory);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer).process_group(0);
        let child = command.spawn().unwrap();
        drop(command);
        let log = thread::spawn(move || entries(&reader));
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        Answer { code: output.status.code(), stdout, entries: log.join().unwrap() }
    }

    /// `garden.Create`; the error is what the client sees.
    pub fn create(&self, image: &str, handle: &str) -> Result<Created, String> {
        self.create_with(&[], image, handle)
    }

    /// The same with flags, which stand before image and handle.
    pub fn create_with(
        &self,
        flags: &[&str],
        image: &str,
        handle: &str,
    ) -> Result<Created, String> {
        // Only the first one, and the reference of an OCI layout is one.
        let image = image.replacen('#', ":", 1);
        let answer = self.call(&[&["create"], flags, &[&image, handle]].concat());
        let line = answer.succeeded("create")?;
        let mut created: Created = serde_json::from_str(&line).unwrap();
        created.line = line;
        Ok(created)
    }

    /// Half of `garden.Destroy`.
    pub fn destroy(&self, handle: &str) -> Result<String, String> {
        self.call(&["delete", handle]).succeeded("destroy")
    }

    /// Half of `garden.Metrics`.
    pub fn metrics(&self, handle: &str) -> Result<Metrics, String> {
        let line = self.call(&["stats", handle]).succeeded("metrics")?;
        Ok(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// `garden.Capacity`, as guardian asks for it since 2022.
    pub fn capacity(&self) -> Result<BTreeMap<String, u64>, String> {
        let line = self.call(&["capacity"]).succeeded("capacity")?;
        Ok(serde_json::from_str(&line).unwrap())
    }
}

impl Answer {
    /// Standard output; that of a failure becomes the error's text.
    fn succeeded(self, action: &str) -> Result<String, String> {
        match self.code {
            Some(0) => Ok(self.stdout),
            Some(code) => {
                Err(format!("running image plugin {action}: {}: exit status {code}", self.stdout))
            }
            None => panic!("a signal ended {action}: {}", self.stdout),
        }
    }
}

/// Reads standard error to its end. Panics at what gdn would log as an error of its own.
fn entries(reader: &OwnedFd) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut packet = vec![0; PACKET];
    loop {
        let length = rustix::io::read(reader.as_fd(), &mut packet).unwrap();
        if length == 0 {
            return found;
        }
        let text = std::str::from_utf8(&packet[..length]).unwrap();
        let line = text.strip_suffix('\n').unwrap_or_else(|| panic!("half a line: {text}"));
        let entry: Entry =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry.is_lagers(), "{entry:?}");
        found.push(entry);
    }
}

impl Entry {
    /// Whether gdn finds source, time and level where it looks for them.
    fn is_lagers(&self) -> bool {
        let levels = ["debug", "info", "error", "fatal"];
        // gdn adds the handle to this, and would overwrite one that is there.
        let is_free = !self.data.contains_key("handle");
        let has_level = match (&self.log_level, &self.level) {
            (Some(number), None) => *number < 4 && self.timestamp.parse::<f64>().is_ok(),
            (None, Some(name)) => levels.contains(&name.as_str()) && self.timestamp.ends_with('Z'),
            _ => false,
        };
        has_level && is_free && self.source == "grootfs" && self.message.starts_with("grootfs.")
    }
}
