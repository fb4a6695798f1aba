//! Debian's `docker-registry` on a loopback port of its own, filled by `skopeo`.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::daemon::{Daemon, require_program};

/// How a pushed image is to be described in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As it is in the source, digests included.
    Kept,
    /// As an OCI manifest.
    Oci,
    /// As a Docker schema 2 manifest; compressed layers keep their digests.
    DockerSchema2,
}

/// A running registry. Dropping it stops the program and removes its storage.
#[derive(Debug)]
pub struct Registry {
    daemon: Daemon,
    port: u16,
    // After the daemon: fields are dropped in order, and the storage goes last.
    _directory: TempDir,
}

impl Registry {
    /// Starts a registry that speaks plain HTTP and knows no login.
    ///
    /// # Panics
    ///
    /// When it cannot be started, with its log.
    pub fn plain() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the registry");
        let config = directory.path().join("config.yml");
        fs::write(&config, configuration(directory.path())).expect("the registry's config file");
        let config = config.to_str().expect("a temporary path in UTF-8");
        let daemon = Daemon::start("docker-registry", "docker-registry", &["serve", config], &[]);
        let port = daemon.wait_for(listening_port).unwrap_or_else(|error| panic!("{error}"));
        Self { daemon, port, _directory: directory }
    }

    /// The host and port to put in front of a repository, such as `127.0.0.1:40123`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Everything that the program has printed so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Copies `reference` of an OCI layout to `repository:tag`, with all its platforms when it is an
    /// index. Gives nothing back: the digests are those of the layout when the format is kept.
    ///
    /// # Panics
    ///
    /// When `skopeo` is missing or fails.
    pub fn push_layout(
        &self,
        layout: &Path,
        reference: &str,
        repository: &str,
        tag: &str,
        format: Format,
    ) {
        require_program("skopeo", "skopeo");
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "--command-timeout", "60s", "copy", "--all"]);
        match format {
            Format::Kept => command.arg("--preserve-digests"),
            Format::Oci => command.args(["--format", "oci"]),
            Format::DockerSchema2 => command.args(["--format", "v2s2"]),
        };
        command.args(["--dest-tls-verify=false", "--dest-no-creds"]);
        command.arg(format!("oci:{}:{reference}", layout.display()));
        command.arg(format!("docker://{}/{repository}:{tag}", self.host()));
        let output = command.output().expect("skopeo starts");
        assert!(
            output.status.success(),
            "skopeo failed: {}\nlog of the registry:\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
    }
}

/// The program takes a free port itself and says which, so no two tests can race for one.
fn configuration(directory: &Path) -> String {
    format!(
        "version: 0.1\n\
         log: {{level: info, formatter: text}}\n\
         storage:\n\
         \x20 filesystem: {{rootdirectory: {}/storage}}\n\
         \x20 delete: {{enabled: true}}\n\
         http: {{addr: '127.0.0.1:0', relativeurls: true, secret: test}}\n",
        directory.display()
    )
}

fn listening_port(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("listening on 127.0.0.1:")?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
    rest[..digits].parse().ok()
}
