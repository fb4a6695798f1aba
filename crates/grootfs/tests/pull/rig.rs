//! What the tests of this program share: stores without a login of the machine, images with
//! content that cannot be compressed, and what is left afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::command::{Grootfs, Output, run};
use testkit::image::{Image, OciLayout, Written};
use testkit::layer::Layer;
use testkit::push::Format;
use testkit::registry::Registry;
use testkit::tree::Tree;

use crate::fixture::{Fixture, PROGRAM};

/// One store of several on a file system, and how the program is run on it.
#[derive(Debug)]
pub struct Rig {
    pub grootfs: Grootfs,
    directory: PathBuf,
    insecure: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Rig {
    /// A store of its own on the fixture's file system.
    pub fn new(fixture: &Fixture, name: &str) -> Self {
        Self::with_config(fixture, name, "")
    }

    /// The same with a configuration file.
    pub fn with_config(fixture: &Fixture, name: &str, yaml: &str) -> Self {
        let directory = fixture.scratch(name);
        fs::create_dir_all(&directory).unwrap();
        let config = directory.join("config.yml");
        fs::write(&config, yaml).unwrap();
        let store = fixture.mount_point().join(name);
        let options = ["--driver", fixture.driver.name(), "--config", config.to_str().unwrap()];
        let grootfs = Grootfs::new(PROGRAM, store).with(&options);
        grootfs.ok(&["init-store"]);
        Self { grootfs, directory, insecure: Vec::new(), environment: Vec::new() }
    }

    /// Speaks to this server without TLS, or without looking at its certificate.
    #[must_use]
    pub fn insecure(mut self, host: &str) -> Self {
        self.insecure.push(host.to_owned());
        self
    }

    /// Sets a variable for every run.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path beside the store.
    pub fn path(&self, below: &str) -> PathBuf {
        self.directory.join(below)
    }

    /// The command, not yet started. It sees no login of the machine.
    pub fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let insecure = |host| ["--insecure-registry", host];
        let hosts: Vec<&str> =
            self.insecure.iter().map(String::as_str).flat_map(insecure).collect();
        self.command_alone(command, &[&hosts[..], arguments].concat())
    }

    /// The same without the servers that are spoken to without TLS, for commands that speak to none.
    pub fn command_alone(&self, command: &str, arguments: &[&str]) -> Command {
        let mut command = self.grootfs.command(&[&[command], arguments].concat());
        for name in ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
        command.env("HOME", &self.directory);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// `pull`, however it ends.
    pub fn pull(&self, arguments: &[&str]) -> Output {
        run(&mut self.command("pull", arguments))
    }

    /// `pull`, which must succeed.
    #[track_caller]
    pub fn pulls(&self, arguments: &[&str]) -> String {
        self.pull(arguments).success()
    }

    /// `pull`, which must fail and leave nothing; its text.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> String {
        let before = self.listing();
        let text = self.pull(arguments).failure();
        before.assert_same(&self.listing());
        text
    }

    /// `pull`, which must fail at a later layer: those below may stay, whole; its text.
    #[track_caller]
    pub fn fails_later(&self, arguments: &[&str]) -> String {
        let text = self.pull(arguments).failure();
        let half = |name: &String| name.contains("-incomplete-");
        assert!(!self.names("volumes").iter().any(half) && self.names("tmp").is_empty());
        text
    }

    /// Everything in the store, without locks and times.
    pub fn listing(&self) -> Tree {
        let is_lock = |path: &Path| path.extension().is_some_and(|extension| extension == "lock");
        Tree::read(self.grootfs.store())
            .without(|path, _| path.starts_with("locks") && is_lock(path))
            .map(|_, entry| entry.mtime = 0)
    }

    /// Names in a directory of the store, sorted. In `tmp` without small files that are there for a moment: a
    /// process in the background takes the marks of layers away by way of them.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.grootfs.path(directory)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| directory != "tmp" || !name.starts_with("new-"));
        names.sort();
        names
    }

    /// Fails unless the store holds these layers whole, and nothing that is half done.
    #[track_caller]
    pub fn assert_holds(&self, image: &Image) {
        let mut expected = image.chain_ids();
        expected.sort();
        expected.dedup();
        assert_eq!(self.names("volumes"), expected);
        assert!(self.names("tmp").is_empty(), "{:?}", self.names("tmp"));
    }
}

/// Bytes that look like chance and are the same each time.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A layer with one file of this many bytes of noise.
pub fn noisy(name: &str, length: usize, seed: u64) -> Layer {
    Layer::new().file(name, noise(length, seed))
}

/// An image of several small layers.
pub fn small(layers: u64) -> Image {
    (0..layers).fold(Image::new(), |image, number| {
        image.layer(&noisy(&format!("file-{number}"), 2000, number + 1))
    })
}

/// Writes an image into a layout and pushes it as it is to `app:latest`.
pub fn push(fixture: &Fixture, registry: &Registry, name: &str, image: &Image) -> Written {
    let mut layout = OciLayout::new(fixture.scratch(&format!("layout-{name}")));
    let written = layout.add(image, Some("latest"));
    registry.push_layout(layout.path(), "latest", name, "latest", Format::Kept);
    written
}

/// Length of a blob in a registry.
pub fn size_of(registry: &Registry, digest: &str) -> u64 {
    fs::metadata(registry.blob_file(digest)).unwrap().len()
}
