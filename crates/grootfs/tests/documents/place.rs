//! A place in which the paths of documents are real: `/srv/groot`, `/images/app`, `/etc/subuid`, port 5000.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::command::{Output, run, run_within};
use testkit::filesystem::{Scratch, require_root};
use testkit::image::{Image, OciLayout, busybox};
use testkit::layer::Layer;
use testkit::set_uid::set_mode;

use crate::checkout;

/// Longer than any session takes, on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// What is in the place's `PATH` besides the machine's programs and ours.
const TOOLS: [(&str, &str); 4] = [
    // Root is there already.
    ("sudo", "exec \"$@\""),
    // What it would build is there already.
    ("cargo", "[[ \"$*\" == 'build --release --locked'* ]]"),
    (
        "registry-at",
        "printf 'version: 0.1\\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\\nhttp: {addr: \"%s\"}\\n' \"$1\" \
         >/etc/registry.yml\n\
         docker-registry serve /etc/registry.yml >/dev/null 2>&1 &\n\
         until (exec 3<>\"/dev/tcp/${1%:*}/${1#*:}\") 2>/dev/null; do kill -0 $! && sleep 0.05; done",
    ),
    (
        "registry-push",
        "skopeo --insecure-policy copy --quiet --dest-tls-verify=false \"oci:$1:$2\" \"docker://$3\"",
    ),
];

/// A root directory with everything in it.
#[derive(Debug)]
pub struct Place {
    scratch: Scratch,
}

impl Place {
    /// Makes one with a user `alice` and three images.
    pub fn new() -> Self {
        require_root();
        let place = Self { scratch: Scratch::new() };
        for directory in [
            "dev",
            "proc",
            "sys",
            "usr",
            "opt/grootfs/bin",
            "opt/place/bin",
            "root",
            "run",
            "tmp",
            "var/tmp",
            "var/lib/dpkg",
            "var/lib/node_exporter",
            "srv",
            "mnt",
            "images",
            "out",
            "src/grootfs/target/release",
        ] {
            fs::create_dir_all(place.path(directory)).unwrap();
        }
        // Whoever is not root in there goes through it too.
        set_mode(place.scratch.path(), 0o755);
        for directory in ["tmp", "var/tmp"] {
            set_mode(&place.path(directory), 0o1777);
        }
        symlink("/run", place.path("var/run")).unwrap();
        for name in ["bin", "sbin", "lib", "lib64"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                symlink(target, place.path(name)).unwrap();
            }
        }
        run(Command::new("cp").args(["--archive", "/etc"]).arg(place.scratch.path())).success();
        place.add_alice();
        for (name, text) in TOOLS {
            let program = place.path("opt/place/bin").join(name);
            fs::write(&program, format!("#!/bin/bash\n{text}\n")).unwrap();
            set_mode(&program, 0o755);
        }
        place.add_checkout();
        place.add_images();
        place
    }

    fn add_alice(&self) {
        for (file, line) in
            [("passwd", "alice:x:5000:5000::/tmp:/bin/bash\n"), ("group", "alice:x:5000:\n")]
        {
            let text = fs::read_to_string(Path::new("/etc").join(file)).unwrap();
            fs::write(self.path("etc").join(file), text + line).unwrap();
        }
        for file in ["subuid", "subgid"] {
            fs::write(self.path("etc").join(file), "alice:100000:65536\n").unwrap();
        }
    }

    /// The scripts, and the programs where a build would put them.
    fn add_checkout(&self) {
        let here = self.path("src/grootfs");
        let from = checkout();
        run(Command::new("cp").arg("--archive").arg(from.join("hack")).arg(&here)).success();
        fs::copy(from.join("Cargo.toml"), here.join("Cargo.toml")).unwrap();
        for name in ["grootfs", "tardis", "drax"] {
            let program = Path::new("/opt/grootfs/bin").join(name);
            symlink(program, here.join("target/release").join(name)).unwrap();
        }
    }

    /// `app`, and two larger ones; each with the reference `1.0`.
    fn add_images(&self) {
        let noise = |megabytes: usize, seed: u32| {
            let mut state = seed;
            let bytes = (0..megabytes << 20).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            Layer::new().directory("opt").file("opt/data", bytes.collect::<Vec<u8>>())
        };
        let app = Image::new().layer(&busybox()).env("GREETING=hello");
        let images = [
            ("app", app.clone().layer(&Layer::new().file("etc/app", "version 1.0\n"))),
            ("tool", Image::new().layer(&noise(3, 1))),
            ("old", app.layer(&noise(5, 2))),
        ];
        for (name, image) in images {
            OciLayout::new(self.path("images").join(name)).add(&image, Some("1.0"));
        }
    }

    /// A path in it, from outside.
    pub fn path(&self, below: &str) -> PathBuf {
        self.scratch.join(below)
    }

    /// Runs `/session` in it.
    pub fn run(&self) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents/place.sh");
        let programs = Path::new(env!("CARGO_BIN_EXE_grootfs")).parent().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "bash"]);
        command.arg(script).arg(self.scratch.path()).arg(programs);
        run_within(&mut command, LIMIT)
    }
}
