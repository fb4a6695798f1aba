//! The User-Mode Linux runner: what comes through, what is killed, what a power cut loses.

#![expect(clippy::unwrap_used, reason = "a panic is the failure that the test reports")]

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use testkit::uml::{self, Error, Guest, Machine};

/// The processes of the host that have `marker` in their command line.
fn processes_with(marker: &Path) -> Vec<Pid> {
    let marker = marker.as_os_str().as_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        // A process may be gone by now.
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line.windows(marker.len()).any(|part| part == marker) {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}

fn wait_for_death(pid: Pid) {
    // No such process: it is dead already.
    let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    let ended = rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit));
    assert_eq!(ended, Ok(1), "process {pid:?} is still there");
}

fn shell(machine: &Machine, script: &str) -> uml::Ended {
    machine.run(&["sh", "-ec", script]).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a script that must succeed and returns what it printed.
fn output(machine: &Machine, script: &str) -> String {
    let ended = shell(machine, script);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status, Some(0), "{errors}");
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn privileged_status_streams_directory_and_environment_pass_through() {
    let machine = Machine::new().directory("/usr/share").env("WORD", "a 'b' c");
    let ended = shell(&machine, r#"pwd; echo "$WORD $(id -u)"; echo wrong >&2; exit 7"#);
    assert_eq!(ended.status, Some(7));
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "/usr/share\na 'b' c 0\n");
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "wrong\n");
}

#[test]
fn privileged_every_byte_passes_also_with_a_process_left_behind() {
    let script = "seq 1 200000; printf '\\0\\r\\n\\377\\004\\003'; sleep 1000 & kill -TERM $$";
    let ended = shell(&Machine::new(), script);
    let mut expected: Vec<u8> = (1..=200_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    expected.extend(b"\0\r\n\xff\x04\x03");
    assert_eq!(ended.status, Some(128 + 15));
    assert!(ended.stdout == expected, "{} bytes of {}", ended.stdout.len(), expected.len());
}

#[test]
fn privileged_the_host_cannot_be_written_to() {
    let here = tempfile::tempdir().unwrap();
    let machine = Machine::new().directory(here.path());
    let ended = shell(
        &machine,
        "echo in >\"$TMPDIR/file\"; setfattr -n user.one -v 1 \"$TMPDIR/file\"; cat \"$TMPDIR/file\"; echo out >file",
    );
    assert_eq!(ended.status, Some(2));
    assert_eq!(ended.stdout, b"in\n");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("Read-only file system"));
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0);
}

#[test]
fn privileged_xfs_has_project_quotas() {
    let script = "
        cd \"$TMPDIR\"
        truncate -s 400M image
        mkfs.xfs -q image
        mkdir mounted
        mount -o loop,pquota image mounted
        mkdir mounted/limited
        xfs_quota -x -c \"project -s -p $TMPDIR/mounted/limited 42\" mounted >&2
        xfs_quota -x -c 'limit -p bhard=4m 42' mounted
        if dd if=/dev/zero of=mounted/limited/file bs=1M count=8; then exit 1; fi
        stat -c %s mounted/limited/file
        dd if=/dev/zero of=mounted/free bs=1M count=8
    ";
    assert_eq!(output(&Machine::new(), script), "4194304\n");
}

#[test]
fn privileged_btrfs_has_quotas_and_overlay_makes_whiteouts() {
    let script = "
        cd \"$TMPDIR\"
        truncate -s 300M image
        mkfs.btrfs -q image >&2
        mkdir mounted
        mount -o loop image mounted
        btrfs quota enable mounted
        btrfs -q subvolume create mounted/limited
        btrfs qgroup limit 4M mounted/limited
        if dd if=/dev/zero of=mounted/limited/file bs=1M count=8; then exit 1; fi
        mkdir lower upper work root
        touch lower/gone
        mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay root
        rm root/gone
        stat -c '%F %t:%T' upper/gone
    ";
    assert_eq!(output(&Machine::new(), script), "character special file 0:0\n");
}

#[test]
fn privileged_runc_runs_a_container_with_limits() {
    let script = r#"
        mkdir -p "$TMPDIR/bundle/rootfs"
        cd "$TMPDIR/bundle"
        cp /bin/busybox rootfs/busybox
        runc spec
        jq '.process.args = ["/busybox", "sh", "-c", "echo contained; exit 3"]
            | .process.terminal = false
            | .linux.resources.memory.limit = 50000000
            | .linux.resources.pids.limit = 20' config.json >changed
        mv changed config.json
        runc run one
    "#;
    let ended = shell(&Machine::new(), script);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!((ended.status, &*ended.stdout), (Some(3), &b"contained\n"[..]), "{errors}");
}

#[test]
fn privileged_a_guest_that_hangs_is_killed_with_all_its_processes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    uml::make_disk(&disk, 1 << 20).unwrap();
    let limit = Duration::from_secs(8);
    let machine = Machine::new().disk(&disk).time_limit(limit);
    let began = Instant::now();
    let mut guest = Guest::start(&machine, &["sh", "-c", "echo up; while :; do :; done"]).unwrap();
    guest.wait_for_output("up\n").unwrap();
    assert!(!processes_with(&disk).is_empty());
    let error = guest.wait().unwrap_err();
    assert!(matches!(error, Error::TimeLimit { .. }), "{error}");
    assert!(error.to_string().contains("ran longer than 8s"), "{error}");
    assert!(began.elapsed() >= limit);
    assert_eq!(processes_with(&disk), []);
}

#[test]
fn privileged_a_panic_is_told_from_a_status() {
    let error = Machine::new().run(&["sh", "-c", "echo c >/proc/sysrq-trigger"]).unwrap_err();
    assert!(matches!(error, Error::Died { .. }), "{error}");
    assert!(error.to_string().contains("Kernel panic"), "{error}");
}

#[test]
fn privileged_a_power_cut_loses_what_was_not_synced_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    uml::make_disk(&disk, 512 << 20).unwrap();
    let machine = Machine::new().disk(&disk);
    let write = "
        mkfs.xfs -q /dev/ubda
        mkdir /run/disk
        mount /dev/ubda /run/disk
        seq 1 100000 >/run/disk/kept
        sync
        seq 1 100000 >/run/disk/lost
        echo written
        sleep 1000
    ";
    let mut guest = Guest::start(&machine, &["sh", "-ec", write]).unwrap();
    guest.wait_for_output("written\n").unwrap();
    let ended = guest.power_cut().unwrap();
    assert_eq!(ended.status, None);
    assert_eq!(processes_with(&disk), []);

    let read = "
        mkdir /run/disk
        mount /dev/ubda /run/disk
        seq 1 100000 | cmp - /run/disk/kept && echo kept
        seq 1 100000 | cmp -s - /run/disk/lost || echo lost
    ";
    assert_eq!(output(&machine, read), "kept\nlost\n");
}

#[test]
fn privileged_two_guests_run_at_once() {
    let start = |word| {
        let script =
            format!("echo {word} >\"$TMPDIR/word\"; echo up; read x <\"$TMPDIR/word\"; echo $x");
        Guest::start(&Machine::new(), &["sh", "-c", &script]).unwrap()
    };
    let (mut one, mut two) = (start("one"), start("two"));
    one.wait_for_output("up\n").unwrap();
    two.wait_for_output("up\n").unwrap();
    assert_eq!(one.wait().unwrap().stdout, b"up\none\n");
    assert_eq!(two.wait().unwrap().stdout, b"up\ntwo\n");
}

#[test]
fn privileged_the_command_passes_status_and_streams() {
    let output = Command::new(env!("CARGO_BIN_EXE_in-uml"))
        .args(["--memory", "512M", "--env", "A=1", "--env", "B", "--timeout", "60", "--"])
        .args(["sh", "-c", "echo $A$B$RUST_TEST_WORD; echo wrong >&2; exit 9"])
        .env("B", "2")
        .env("RUST_TEST_WORD", "3")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(9));
    assert_eq!(output.stdout, b"123\n");
    assert_eq!(output.stderr, b"wrong\n");
}

#[test]
fn privileged_nothing_is_left_when_the_command_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_in-uml"))
        .args(["--", "sh", "-c", "echo up; while :; do :; done"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    command.stdout.take().unwrap().read_exact(&mut up).unwrap();
    let processes = processes_with(folder.path());
    assert!(processes.len() > 2, "{processes:?}");
    rustix::process::kill_process(Pid::from_child(&command), Signal::KILL).unwrap();
    command.wait().unwrap();
    for process in processes {
        wait_for_death(process);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_command_says_what_is_wrong() {
    for (arguments, expected) in [
        (&["true"][..], "usage: in-uml"),
        (&["--memory", "much", "--", "true"], "\"much\" is no number"),
        (&["--colour", "red", "--", "true"], "unknown option --colour"),
        (&["--disk", "/tmp/disk", "--", "true"], "--disk needs <file>:<size>"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_in-uml")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("in-uml: ") && text.contains(expected), "{text}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_in-uml"))
        .args(["--", "true"])
        .current_dir("/proc")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/proc cannot be seen in a guest"), "{text}");
}
