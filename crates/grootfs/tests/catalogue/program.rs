//! Errors of the program that need neither a store nor root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::fixture::PROGRAM;
use crate::plain::Plain;
use crate::{Said, say};

/// A program in a directory that is taken away.
struct Rig {
    directory: tempfile::TempDir,
    plain: Plain,
    said: Said,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plain = Plain::default()
            .path(&directory.path().join("store"), "/srv/groot")
            .path(directory.path(), "/dir");
        Self { directory, plain, said: Said::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_clear().stdin(Stdio::null()).arg("--store").arg(self.path("store"));
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// What a command says that fails.
    #[track_caller]
    fn fails(&mut self, name: &'static str, arguments: &[&str]) {
        let output = self.output(arguments);
        assert_ne!(output.status.code(), Some(0), "{name}: it succeeds");
        self.note(name, &output.stdout);
    }

    fn note(&mut self, name: &'static str, bytes: &[u8]) {
        let text = self.plain.text(std::str::from_utf8(bytes).unwrap());
        say(&mut self.said, name, &text);
    }

    /// What a command says that fails because of its configuration file.
    #[track_caller]
    fn fails_with(&mut self, name: &'static str, yaml: &str) {
        let path = self.path("grootfs.yml");
        fs::write(&path, yaml).unwrap();
        self.fails(name, &["--config", path.to_str().unwrap(), "list"]);
    }

    /// What is logged at level `error` as this action.
    fn logs(&mut self, name: &'static str, action: &str, arguments: &[&str]) {
        let output = self.output(&[&["--log-level", "error"], arguments].concat());
        let log = String::from_utf8(output.stderr).unwrap();
        let mut lines = log
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|line| line["message"].as_str().unwrap().ends_with(action));
        let line = lines.next().unwrap_or_else(|| panic!("{name}: no {action} in {log}"));
        self.note(name, line["data"]["error"].as_str().unwrap().as_bytes());
    }
}

pub fn said() -> Said {
    let mut rig = Rig::new();
    command_lines(&mut rig);
    configurations(&mut rig);
    image_arguments(&mut rig);
    mappings(&mut rig);
    stores(&mut rig);
    metrics(&mut rig);
    rig.said
}

fn command_lines(rig: &mut Rig) {
    rig.fails("usage-unknown-command", &["frob"]);
    rig.fails("usage-unknown-flag", &["create", "--frob", "a", "b"]);
    rig.fails("usage-bad-value", &["create", "--disk-limit-size-bytes", "many", "a", "b"]);
    rig.fails("usage-bad-switch", &["create", "--with-clean=maybe", "a", "b"]);
    rig.fails("usage-value-missing", &["list", "--driver"]);
    for command in ["create", "pull", "stats", "limit"] {
        rig.fails("wrong-number-of-arguments", &[command]);
    }
    for command in ["df", "check", "doctor", "init-store", "generate-volume-size-metadata"] {
        rig.fails("wrong-number-of-arguments", &[command, "x"]);
    }
    rig.fails("id-missing", &["delete"]);
    rig.fails("bundle-or-document", &["create", "--bundle", "/b", "--config-json", "a", "b"]);
    rig.fails("bundle-or-document", &["create", "--force", "a", "b"]);
    rig.fails("limit-of-what", &["limit", "x"]);
    let scope = ["limit", "--inode-limit", "9", "--exclude-image-from-quota", "x"];
    rig.fails("limit-without-bytes", &scope);
    rig.fails("negative", &["create", "--disk-limit-size-bytes", "-1", "a", "b"]);
    rig.fails("negative", &["create", "--inode-limit", "-1", "a", "b"]);
    rig.fails("negative", &["clean", "--threshold-bytes", "-1"]);
    rig.fails("negative", &["init-store", "--store-size-bytes", "-1"]);
    rig.fails("clean-or-not", &["create", "--with-clean", "--without-clean", "a", "b"]);
    rig.fails("unknown-driver", &["--driver", "zfs", "create", "a", "b"]);
    rig.fails(
        "password-twice",
        &["pull", "--password", "a", "--password-file", "b", "docker:///x"],
    );
    let file = rig.path("password");
    fs::write(&file, "x".repeat(70_000)).unwrap();
    let file = file.to_str().unwrap().to_owned();
    rig.fails("password-of-whom", &["pull", "--password-file", "/etc/hostname", "docker:///x"]);
    let long = ["pull", "--username", "me", "--password-file", &file, "docker:///x"];
    rig.fails("password-too-long", &long);
    let missing = ["pull", "--username", "me", "--password-file", "/no/such", "docker:///x"];
    rig.fails("file-of-a-flag", &missing);
    rig.fails("file-of-a-flag", &["--log-file", "/no/such/log", "list"]);

    let mut command = Command::new(PROGRAM);
    let output = command.arg0("grootfs-in-user-namespace").output().unwrap();
    rig.note("not-for-people", &output.stdout);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = rig.command().arg("config").stdout(full).output().unwrap();
    rig.note("standard-output", &output.stderr);
}

fn configurations(rig: &mut Rig) {
    rig.fails("configuration-unreadable", &["--config", "/no/such.yml", "list"]);
    rig.fails_with("config-wrong-type", "clean:\n  threshold_bytes: much\n");
    rig.fails_with("config-wrong-type", "create: {with_clean: 7}\n");
    rig.fails_with("config-wrong-type", "create:\n  insecure_registries: a\n");
    rig.fails_with("config-no-mapping", "- a\n");
    let long = format!("# {}\n", "x".repeat(1 << 20));
    rig.fails_with("config-too-long", &long);
    rig.fails("compat", &["--compat", "v1", "list"]);
    rig.fails("log-format", &["--log-format", "xml", "list"]);
    rig.fails("log-timestamp-format", &["--log-timestamp-format", "stardate", "list"]);
    rig.fails_with("out-of-range", "pull: {attempts: 0}\n");
    rig.fails_with("out-of-range", "pull: {concurrency: 1000}\n");
    rig.fails("store-path", &["--store", "/", "list"]);
    rig.fails("store-path", &["--store", "/a\nb", "list"]);
    let output =
        rig.command().arg("--store").arg(OsStr::from_bytes(b"/a\xff")).arg("list").output();
    rig.note("store-path", &output.unwrap().stdout);
}

fn image_arguments(rig: &mut Rig) {
    for (name, argument) in [
        ("image-scheme", "http://host/image"),
        ("image-scheme", "foo:bar"),
        ("image-slashes", "docker:busybox"),
        ("image-without-path", "oci:"),
        ("image-reference", "docker:///Team/App"),
        ("image-reference", "docker://host:port/app"),
        ("image-reference", "docker:///app:-1"),
        ("image-reference", "docker:///app@sha256:12"),
    ] {
        rig.fails(name, &["create", argument, "x"]);
    }
    rig.fails("platform", &["pull", "--platform", "linux", "docker:///x"]);
}

fn mappings(rig: &mut Rig) {
    let gid = ["--gid-mapping", "0:0:1"];
    let mut init = |name, flags: &[&str]| {
        rig.fails(name, &[&["init-store"], flags].concat());
    };
    init("rootless-and-mappings", &["--rootless", "a:b", "--uid-mapping", "0:1:1"]);
    init("rootless-form", &["--rootless", "alice"]);
    init("mappings-of-one-kind", &gid);
    for mapping in ["0:1", "0:x:1", "0:5:0", "0:4294967295:1"] {
        init("mapping-form", &[&gid[..], &["--uid-mapping", mapping]].concat());
    }
    let overlap = ["--uid-mapping", "0:5000:10", "--uid-mapping", "9:6000:1"];
    init("mappings-overlap", &[&gid[..], &overlap].concat());
    let many: Vec<String> = (0..341).map(|id| format!("--uid-mapping={id}:{id}:1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    init("mappings-too-many", &[&gid[..], &many].concat());
}

fn stores(rig: &mut Rig) {
    for command in ["list", "df", "clean"] {
        let output = rig.output(&[command]);
        rig.note("no-store", &output.stdout);
    }
    rig.fails("not-initialised", &["create", "/x.tar", "x"]);
    let output = rig.output(&["delete", "web-1"]);
    rig.note("image-not-found", &output.stdout);
    rig.fails("image-not-found", &["stats", "web-1"]);
    rig.fails("outside-of-the-store", &["stats", "/elsewhere/images/web-1"]);
}

fn metrics(rig: &mut Rig) {
    let long = "127.0.0.1:99999";
    rig.logs("metrics-endpoint", "metrics-failed", &["--metron-endpoint", long, "stats", "x"]);
    let file = |rig: &Rig, name: &str| rig.path(name).to_str().unwrap().to_owned();
    let textfile = |rig: &mut Rig, name: &'static str, path: &str| {
        rig.logs(name, "metrics-failed", &["--metrics-textfile", path, "stats", "x"]);
    };
    textfile(rig, "metrics-textfile", "/no/such/grootfs.prom");
    for (name, content) in [
        ("foreign.prom", "node_load1 0.5\n"),
        (
            "broken.prom",
            "# Metrics of grootfs. Each command adds to them; the file may be removed.\nrubbish\n",
        ),
    ] {
        let path = file(rig, name);
        fs::write(&path, content).unwrap();
        textfile(rig, "metrics-textfile-foreign", &path);
    }
    let link = file(rig, "link.prom");
    std::os::unix::fs::symlink("/no/such", &link).unwrap();
    textfile(rig, "metrics-textfile-foreign", &link);
    let path = file(rig, "busy.prom");
    let lock = fs::File::create(Path::new(&(path.clone() + ".lock"))).unwrap();
    lock.lock().unwrap();
    textfile(rig, "metrics-textfile-busy", &path);
}
