//! A user who calls the set-uid program and means harm. What `tardis` shares with it, which is all
//! that decides about paths and callers, is attacked here: btrfs has quotas on every kernel.

#![expect(clippy::unwrap_used, reason = "a panic is the failure that the test reports")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::command::{Output, run};
use testkit::filesystem::{Kind, LoopFilesystem};
use testkit::set_uid::{
    ALICE, MALLORY, SetUid, make_directory, make_store, set_mode, while_swapping,
};

/// The limit that Alice has, and that must stay.
const ALICES: &str = r#""referenced_limit":12582912,"exclusive_limit":0}"#;

/// How long a race is tried, and how long at most until both names were met.
const RACE: Duration = Duration::from_secs(3);
const RACE_AT_MOST: Duration = Duration::from_secs(60);

/// Two users with a store each on one file system.
struct Rig {
    drax: SetUid,
    filesystem: LoopFilesystem,
}

impl Rig {
    fn new() -> Self {
        let rig = Self {
            drax: SetUid::new(Path::new(env!("CARGO_BIN_EXE_drax"))),
            filesystem: LoopFilesystem::new(Kind::Btrfs),
        };
        set_mode(rig.filesystem.path().parent().unwrap(), 0o755);
        for (name, user) in [("mallory", MALLORY), ("alice", ALICE)] {
            let home = rig.filesystem.path().join(name);
            make_directory(&home, user);
            make_store(&home.join("store"), user);
            make_directory(&home.join("store/images/one"), user);
            rig.subvolume(&home.join("store/images/one/rootfs"), user);
        }
        // Open doors, so that it is the program that refuses.
        set_mode(&rig.alice(""), 0o755);
        set_mode(&rig.alice("store"), 0o755);
        set_mode(&rig.alice("store/images/one"), 0o755);
        rig.limit(ALICE, rig.alice(ROOT).as_os_str(), "12582912").success();
        rig
    }

    fn alice(&self, below: &str) -> PathBuf {
        self.filesystem.path().join("alice").join(below)
    }

    fn mallory(&self, below: &str) -> PathBuf {
        self.filesystem.path().join("mallory").join(below)
    }

    fn subvolume(&self, path: &Path, user: u32) {
        run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(path)).success();
        chown(path, Some(user), Some(user)).unwrap();
    }

    fn limit(&self, user: u32, path: &OsStr, bytes: &str) -> Output {
        let flags = ["limit", "--disk-limit-bytes", bytes, "--volume-path"].map(OsStr::new);
        run(&mut self.drax.command(user, &[&flags[..], &[path]].concat()))
    }

    /// Mallory limits something; it must fail, say why, and change nothing.
    #[track_caller]
    fn refused(&self, path: impl AsRef<OsStr>) -> String {
        let path = path.as_ref();
        let said = self.limit(MALLORY, path, "1048576").failure();
        for (command, flag) in
            [("stats", "--volume-path="), ("destroy", "--volume-path="), ("list", "")]
        {
            let mut argument = OsString::from(flag);
            argument.push(path);
            run(&mut self.drax.command(MALLORY, &[OsStr::new(command), &argument])).failure();
        }
        self.alice_is_well();
        said
    }

    #[track_caller]
    fn alice_is_well(&self) {
        let json = self.json(0, &self.alice(ROOT));
        assert!(json.ends_with(ALICES), "{json}");
    }

    #[track_caller]
    fn json(&self, user: u32, path: &Path) -> String {
        let path = path.to_str().unwrap();
        let line = ["stats", "--json", "--volume-path", path];
        run(&mut self.drax.command(user, &line)).success()
    }

    /// Runs a shell script of Mallory's, in which `"$@"` limits her own image to a number of bytes, and
    /// checks that it did.
    #[track_caller]
    fn works_in(&self, script: &str, bytes: &str) {
        let own = self.mallory(ROOT);
        let line = ["limit", "--disk-limit-bytes", bytes, "--volume-path", own.to_str().unwrap()];
        run(&mut self.drax.shell(MALLORY, script, &line)).success();
        let json = self.json(MALLORY, &own);
        assert!(json.contains(&format!("\"referenced_limit\":{bytes},")), "{script}: {json}");
    }
}

/// The path of an image's root in a home.
const ROOT: &str = "store/images/one/rootfs";

#[test]
fn privileged_foreign_paths_are_refused() {
    let rig = Rig::new();
    for path in ["/", "/etc", "/etc/passwd", "/root", "/proc/self", "/images", "/images/one"] {
        rig.refused(path);
    }
    assert!(rig.refused(rig.alice(ROOT)).contains("belongs to user 4243"));
    for path in ["store", "store/images", "store/images/one", "store/images/two", "store/meta"] {
        rig.refused(rig.alice(path));
    }
    rig.subvolume(&rig.alice("store/volumes/layer"), ALICE);
    assert!(rig.refused(rig.alice("store/volumes/layer")).contains("the store belongs to"));
    for path in [
        "store/images/one/rootfs/inner",
        "store/images/../images/one/rootfs",
        "store/images/one/../one/rootfs",
        "store/images/./one/rootfs",
        "store/images//one/rootfs",
        "store/images/one/rootfs//",
        "store/images/..",
        "store/images/one/rootfs/..",
        "../alice/store/images/one/rootfs",
    ] {
        rig.refused(rig.mallory("").join(path));
    }
    for path in ["", ".", "one", "store/images/one", "-", "--", "\n", "/\u{1b}[2J/images/one"] {
        rig.refused(path);
    }
    // Another way to the same directory.
    let indirect = format!("/proc/self/root{}", rig.alice(ROOT).display());
    rig.refused(indirect);
}

#[test]
fn privileged_odd_arguments_are_errors() {
    let rig = Rig::new();
    let odd = OsString::from_vec(b"/\xff\xfe/images/\x80".to_vec());
    rig.refused(odd);
    rig.refused(format!("/{}", "a/".repeat(60_000)));
    rig.refused(format!("/{}", "images/".repeat(580)));
    rig.refused(format!("/{}", "a".repeat(4095)));
    for word in [&b"\xff"[..], b"--\xff", b"-\xff=1", b"--volume-path\xff", b"-", b"--"] {
        let word = OsStr::from_bytes(word);
        let output = run(&mut rig.drax.command(MALLORY, &[OsStr::new("list"), word]));
        assert_eq!(output.code, Some(1), "{}", output.report());
    }
    let huge = "9".repeat(120_000);
    assert_eq!(rig.limit(MALLORY, rig.mallory(ROOT).as_os_str(), &huge).code, Some(1));
    let mut many = vec!["limit".to_owned()];
    many.extend((0..20_000).map(|number| format!("--volume-path=/{number}")));
    run(&mut rig.drax.command(MALLORY, &many)).failure();
    // No name at all.
    let nameless = "perl -e 'exec {$ARGV[0]} ()' \"$1\"";
    let output = run(&mut rig.drax.shell(MALLORY, nameless, &[""; 0]));
    assert!(output.code.is_some_and(|code| code < 4), "{}", output.report());
    rig.alice_is_well();
}

#[test]
fn privileged_links_of_users_lead_nowhere() {
    let rig = Rig::new();
    let link = |target: &Path, name: &str| {
        symlink(target, rig.mallory(name)).unwrap();
        lchown(rig.mallory(name), Some(MALLORY), Some(MALLORY)).unwrap();
    };
    link(&rig.alice("store/images/one"), "store/images/link");
    rig.refused(rig.mallory("store/images/link"));
    rig.refused(rig.mallory("store/images/link/rootfs"));
    make_directory(&rig.mallory("store/images/two"), MALLORY);
    link(&rig.alice(ROOT), "store/images/two/rootfs");
    rig.refused(rig.mallory("store/images/two/rootfs"));
    make_store(&rig.mallory("other"), MALLORY);
    fs::remove_dir(rig.mallory("other/images")).unwrap();
    link(&rig.alice("store/images"), "other/images");
    rig.refused(rig.mallory("other/images/one/rootfs"));
    link(&rig.alice("store"), "alice");
    rig.refused(rig.mallory("alice/images/one/rootfs"));
    // Root too is not led astray by them.
    let said = rig.limit(0, rig.mallory("alice/images/one/rootfs").as_os_str(), "1").failure();
    assert!(said.contains("`alice` is a symbolic link that is not followed"), "{said}");
    for path in ["store/images/link/rootfs", "store/images/two/rootfs", "other/images/one/rootfs"] {
        rig.limit(0, rig.mallory(path).as_os_str(), "1").failure();
    }
    rig.alice_is_well();
}

#[test]
fn privileged_links_of_root_above_a_store_are_followed() {
    let rig = Rig::new();
    let mounted = rig.filesystem.path();
    symlink(rig.mallory(""), mounted.join("data")).unwrap();
    symlink("../mnt/data", mounted.join("run")).unwrap();
    let path = mounted.join("run").join(ROOT);
    rig.limit(MALLORY, path.as_os_str(), "2097152").success();
    assert!(rig.json(MALLORY, &rig.mallory(ROOT)).contains("\"referenced_limit\":2097152"));
    // Not where others could have put another link in its place.
    set_mode(&mounted, 0o777);
    let said = rig.limit(MALLORY, path.as_os_str(), "1").failure();
    assert!(said.contains("`run` is a symbolic link"), "{said}");
    set_mode(&mounted, 0o755);
    symlink("loop", mounted.join("loop")).unwrap();
    let said = rig.refused(mounted.join("loop").join(ROOT));
    assert!(said.contains("too many levels"), "{said}");
}

#[test]
fn privileged_stores_that_others_could_have_made_are_refused() {
    let rig = Rig::new();
    set_mode(&rig.mallory("store"), 0o777);
    assert!(rig.refused(rig.mallory(ROOT)).contains("written to by every user"));
    set_mode(&rig.mallory("store"), 0o755);
    // A directory of Alice's that lay where everybody may write, moved into the store.
    fs::rename(rig.alice("store/images/one"), rig.mallory("store/images/stolen")).unwrap();
    let said =
        rig.limit(MALLORY, rig.mallory("store/images/stolen/rootfs").as_os_str(), "1").failure();
    assert!(said.contains("the image belongs to user 4243"), "{said}");
    fs::rename(rig.mallory("store/images/stolen"), rig.alice("store/images/one")).unwrap();
    rig.alice_is_well();
    // What only looks like a store.
    fs::remove_dir(rig.mallory("store/meta")).unwrap();
    fs::remove_dir(rig.mallory("store/projectids")).unwrap();
    assert!(rig.refused(rig.mallory(ROOT)).contains("not in a store"));
}

#[test]
fn privileged_other_mounts_in_a_store_are_not_entered() {
    let rig = Rig::new();
    make_directory(&rig.mallory("store/images/two"), MALLORY);
    let bind = |target: &Path| {
        let source = rig.alice("store/images/one");
        run(Command::new("mount").arg("--bind").arg(source).arg(target)).success();
    };
    bind(&rig.mallory("store/images/two"));
    chown(rig.alice("store/images/one"), Some(MALLORY), None).unwrap();
    assert!(rig.refused(rig.mallory("store/images/two/rootfs")).contains("cross-device link"));
}

#[test]
fn privileged_closed_doors_are_not_looked_behind() {
    let rig = Rig::new();
    let hidden = rig.filesystem.path().join("hidden");
    fs::create_dir_all(hidden.join("there/store/images")).unwrap();
    set_mode(&hidden, 0o700);
    let answers = ["there", "missing"].map(|name| {
        let path = hidden.join(name).join("store/images/one/rootfs");
        rig.refused(&path).replace(name, "name")
    });
    assert!(answers[0].contains("permission denied"), "{}", answers[0]);
    assert_eq!(answers[0], answers[1]);
}

/// Two names of Mallory's change places all the time while she asks for a limit.
fn race(rig: &Rig, one: &str, other: &str, path: &str) {
    let (one, other) = (rig.mallory(one), rig.mallory(other));
    let (mut hits, mut misses) = (0, 0);
    while_swapping(&one, &other, || {
        let start = Instant::now();
        let one_sided = |hits, misses| hits == 0 || misses == 0;
        while start.elapsed() < RACE || (one_sided(hits, misses) && start.elapsed() < RACE_AT_MOST)
        {
            let output = rig.limit(MALLORY, rig.mallory(path).as_os_str(), "3145728");
            match output.code {
                Some(0) => hits += 1,
                Some(1) => misses += 1,
                _ => panic!("{}", output.report()),
            }
        }
    });
    assert!(hits > 0 && misses > 0, "no race: {hits} hits, {misses} misses");
    rig.alice_is_well();
}

#[test]
fn privileged_a_race_over_the_root_gains_nothing() {
    let rig = Rig::new();
    symlink(rig.alice(ROOT), rig.mallory("store/images/one/evil")).unwrap();
    race(&rig, "store/images/one/rootfs", "store/images/one/evil", ROOT);
}

#[test]
fn privileged_a_race_over_the_image_gains_nothing() {
    let rig = Rig::new();
    symlink(rig.alice("store/images/one"), rig.mallory("store/images/evil")).unwrap();
    race(&rig, "store/images/one", "store/images/evil", ROOT);
}

#[test]
fn privileged_a_race_over_the_store_gains_nothing() {
    let rig = Rig::new();
    symlink(rig.alice("store"), rig.mallory("evil")).unwrap();
    lchown(rig.mallory("evil"), Some(MALLORY), Some(MALLORY)).unwrap();
    race(&rig, "store", "evil", ROOT);
}

#[test]
fn privileged_a_hostile_environment_changes_nothing() {
    let rig = Rig::new();
    let trap = rig.mallory("trap");
    make_directory(&trap, MALLORY);
    set_mode(&trap, 0o777);
    let script = format!("#!/bin/sh\ntouch {}/sprung\n", trap.display());
    for name in ["btrfs", "mount", "sh", "program"] {
        fs::write(trap.join(name), &script).unwrap();
        set_mode(&trap.join(name), 0o755);
    }
    let own = rig.mallory(ROOT);
    let line = [
        "--btrfs-bin",
        trap.join("btrfs").to_str().unwrap(),
        "limit",
        "--disk-limit-bytes",
        "2097152",
        "--volume-path",
        own.to_str().unwrap(),
    ]
    .map(str::to_owned);
    let mut command = rig.drax.command(MALLORY, &line);
    command.env_clear().env("PATH", &trap).env("TMPDIR", &trap).env("HOME", &trap);
    command.env("LD_PRELOAD", trap.join("evil.so")).env("LD_LIBRARY_PATH", &trap);
    command.env("LD_DEBUG", "all").env("LD_DEBUG_OUTPUT", trap.join("sprung"));
    command.env("GCONV_PATH", &trap).env("LANG", "../../evil").env("RUST_BACKTRACE", "full");
    command.env("MALLOC_TRACE", trap.join("sprung")).env("LD_PROFILE_OUTPUT", &trap);
    assert_eq!(run(&mut command).success(), "");
    for command in ["stats", "destroy", "list"] {
        let path = format!("--volume-path={}", own.display());
        let path = if command == "list" { own.to_str().unwrap() } else { &path };
        let evil = trap.join("btrfs");
        let line = ["-btrfs-bin", evil.to_str().unwrap(), command, path];
        run(rig.drax.command(MALLORY, &line).env("PATH", &trap)).success();
    }
    let mut names: Vec<_> =
        fs::read_dir(&trap).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["btrfs", "mount", "program", "sh"]);
}

#[test]
fn privileged_descriptors_and_limits_are_the_programs_own() {
    let rig = Rig::new();
    rig.works_in("exec \"$@\" 0<&- 1>&- 2>&-", "1048576");
    rig.works_in("exec \"$@\" 1>&-", "1052672");
    let many = "for n in {10..1000}; do eval \"exec $n</dev/null\"; done; exec \"$@\"";
    rig.works_in(many, "1056768");
    rig.works_in("ulimit -S -n 4; exec \"$@\"", "1060864");
    rig.works_in("ulimit -f 0; ulimit -c unlimited; exec \"$@\"", "1064960");
    rig.works_in("ulimit -s 256; ulimit -t 1; umask 0777; exec \"$@\"", "1069056");
    rig.works_in("trap '' HUP INT TERM PIPE XFSZ; exec \"$@\"", "1073152");
    rig.works_in("cd /proc/self/fd; exec \"$@\"", "1077248");
    // Where root may not raise a hard limit, it is an error and not half a success.
    let own = rig.mallory(ROOT);
    let line = ["limit", "--disk-limit-bytes", "4096", "--volume-path", own.to_str().unwrap()];
    let output = run(&mut rig.drax.shell(MALLORY, "ulimit -n 4; exec \"$@\"", &line));
    assert!(
        output.code == Some(0) || output.stdout.contains("too many open files"),
        "{}",
        output.report()
    );
    // What a file that was standard output gets is what was to be printed, and nothing else.
    let file = rig.mallory("output");
    let line = ["list", own.to_str().unwrap()];
    let script = format!("exec \"$@\" >{} 2>&-", file.display());
    run(&mut rig.drax.shell(MALLORY, &script, &line)).success();
    assert_eq!(fs::read_to_string(&file).unwrap(), own.to_str().unwrap());
    // Nobody reads what is said.
    let script = "\"$@\" | true; exit ${PIPESTATUS[1]}";
    run(&mut rig.drax.shell(MALLORY, script, &line)).success();
    let full = run(&mut rig.drax.shell(MALLORY, "\"$@\" >/dev/full", &line));
    assert_eq!(full.code, Some(1), "{}", full.report());
}

#[test]
fn privileged_no_program_is_started() {
    let rig = Rig::new();
    let log = rig.drax.scratch().join("log");
    let own = rig.mallory(ROOT);
    let path = own.to_str().unwrap();
    for line in [
        &["--btrfs-bin", "/bin/true", "limit", "--disk-limit-bytes=1048576", "--volume-path", path]
            [..],
        &["--btrfs-bin", "/bin/true", "stats", "--force-sync", "--volume-path", path],
        &["--btrfs-bin", "/bin/true", "destroy", "--volume-path", path],
        &["--btrfs-bin", "/bin/true", "list", path],
        &["--btrfs-bin", "/bin/true", "list", "/etc"],
    ] {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=execve,execveat,fork,vfork,clone,clone3", "-o"]).arg(&log);
        run(strace.arg(rig.drax.path()).args(line));
        let log = fs::read_to_string(&log).unwrap();
        let calls: Vec<&str> = log.lines().filter(|line| line.contains('(')).collect();
        assert!(calls.len() == 1 && calls[0].contains("execve("), "{line:?}: {log}");
        assert!(log.contains("exited with"), "{log}");
    }
}

#[test]
fn privileged_without_the_bit_it_says_so() {
    let rig = Rig::new();
    set_mode(rig.drax.path(), 0o755);
    let said = rig.refused_without_bit();
    assert!(said.contains("its set-uid bit is missing"), "{said}");
    let version = run(&mut rig.drax.command(MALLORY, &["--version"])).success();
    assert_eq!(version, "drax version 0.1.0\n");
}

impl Rig {
    fn refused_without_bit(&self) -> String {
        self.limit(MALLORY, self.mallory(ROOT).as_os_str(), "1048576").failure()
    }
}

#[test]
fn privileged_an_administrator_can_keep_users_out() {
    let rig = Rig::new();
    // A machine's /etc is not a test's to write to: a private mount stands in for it.
    let as_user = |user: u32, prepare: &str, path: &Path| {
        let script = format!(
            "mount -t tmpfs tmpfs /etc && mkdir /etc/grootfs && {prepare} && \
             exec setpriv --reuid {user} --regid {user} --clear-groups \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash", "-c", &script, "bash"]).arg(rig.drax.path());
        run(command.args(["limit", "--disk-limit-bytes", "2097152", "--volume-path"]).arg(path))
    };
    let own = rig.mallory(ROOT);
    as_user(MALLORY, "true", &own).success();
    for prepare in [
        "touch /etc/grootfs/cloudfoundry",
        "touch /etc/grootfs/cloudfoundry && chmod 666 /etc/grootfs/cloudfoundry",
        "ln -s nowhere /etc/grootfs/cloudfoundry",
    ] {
        let said = as_user(MALLORY, prepare, &own).failure();
        assert_eq!(
            said,
            "Drax was compiled with the cloudfoundry build tag\n\
             Your user uid `4242` does not have permission to run it\naborting\n"
        );
        as_user(0, prepare, &own).success();
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let fields: Vec<u32> =
        map.lines().next().unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
    let largest = fields[0] + (fields[2] - 1);
    for path in ["", "store", "store/images", "store/images/one"] {
        chown(rig.mallory(path), Some(largest), Some(largest)).unwrap();
    }
    as_user(largest, "touch /etc/grootfs/cloudfoundry", &own).success();
    assert_eq!(fs::metadata(rig.drax.path()).unwrap().permissions().mode() & 0o7777, 0o4755);
}
