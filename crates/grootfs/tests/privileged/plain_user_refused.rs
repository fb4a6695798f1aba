//! What stands between a user and a store says so, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use testkit::command::run;
use testkit::image::{Compression, busybox, write_tar};
use testkit::user::{UID, User, open_up};

use crate::fixture::{Driver, Fixture, assert_contains};
use crate::plain_user::{Alice, for_alice};

for_alice!(
    ids_that_cannot_be_mapped,
    helpers_that_do_not_help,
    of_somebody_else,
    nobody_else_s_command,
    mounting,
);
on_both_drivers!(without_mappings);

fn image(fixture: &Fixture) -> String {
    let tar = fixture.scratch("image.tar");
    write_tar(&tar, &busybox(), Compression::None);
    tar.to_str().unwrap().to_owned()
}

fn ids_that_cannot_be_mapped(alice: &Alice) {
    let fixture = &alice.fixture;
    let tar = image(fixture);
    let create = |flags: &[&str]| {
        let before = fixture.listing();
        let grootfs = alice.grootfs.clone().with(flags);
        let text = grootfs.fails(&["create", "--without-mount", &tar, "x"]);
        before.assert_same(&fixture.listing());
        text
    };
    let powerless = fixture.scratch("newuidmap");
    fs::copy("/usr/bin/newuidmap", &powerless).unwrap();
    fs::set_permissions(&powerless, fs::Permissions::from_mode(0o755)).unwrap();
    let powerless = powerless.to_str().unwrap();
    for (kind, flag) in [("uid", "--newuidmap-bin"), ("gid", "--newgidmap-bin")] {
        let text = create(&[flag, "newxidmap"]);
        let expected = format!(
            "setting {kind} mapping: newxidmap was not found in the $PATH; install the package uidmap"
        );
        assert_contains(&text, &expected);
        let text = create(&[flag, powerless]);
        let expected = format!(
            "setting {kind} mapping: missing the setuid bit on {powerless} ({powerless}); as root: chown"
        );
        assert_contains(&text, &expected);
    }
    for (subids, expected) in [
        (
            "",
            "; alice has no line in /etc/subuid: add a line like `alice:100000:65536` to /etc/subuid\n",
        ),
        (
            "bob:100000:65536\nalice:100000:65535\n",
            "; the lines of alice in /etc/subuid do not cover 100000-165535: add a line like `alice:100000:65536` to \
             /etc/subuid\n",
        ),
    ] {
        alice.user.set_subids(subids);
        let text = create(&[]);
        assert_contains(&text, "setting uid mapping: /usr/bin/newuidmap, newuidmap: uid range ");
        assert_contains(&text, &format!("not allowed: exit status 1{expected}"));
    }
    // Lines that touch each other, by number.
    alice.user.set_subids(&format!("{UID}:100000:500\nalice:100500:65036\n"));
    alice.grootfs.ok(&["create", "--without-mount", &tar, "x"]);
    // What needs no ids works without.
    alice.user.set_subids("");
    assert_contains(&alice.grootfs.ok(&["list"]), "images/x\n");
    assert_contains(&alice.grootfs.ok(&["delete", "nothing"]), "not found");
    assert_contains(&alice.grootfs.fails(&["delete", "x"]), "setting uid mapping: ");
    assert!(fixture.path("images/x").exists());
}

/// What sets limits for users: not there, without power, of another version, not what it should be.
fn helpers_that_do_not_help(alice: &Alice) {
    let fixture = &alice.fixture;
    let tar = image(fixture);
    alice.grootfs.ok(&["create", "--without-mount", &tar, "there"]);
    let name = if fixture.is_overlay() { "tardis" } else { "drax" };
    let flag = format!("--{name}-bin");
    // `create` with a limit, `limit`, and `stats` of a root that is there: each fails, and nothing changes.
    let all_fail = |program: &str| {
        let grootfs = alice.grootfs.clone().with(&[&flag, program]);
        let limit = ["--disk-limit-size-bytes", "100000000"];
        let create = [&["create", "--without-mount"], &limit[..], &[&tar, "new"]].concat();
        [create, [&["limit"], &limit[..], &["there"]].concat(), vec!["stats", "there"]].map(
            |command| {
                let before = fixture.listing();
                let text = grootfs.fails(&command);
                before.assert_same(&fixture.listing());
                text
            },
        )
    };
    for text in all_fail("no-such-helper") {
        assert_contains(&text, "no-such-helper was not found in the $PATH; ");
        assert_contains(&text, &format!("install it, or give its path with {flag}"));
    }
    let (program, _) = alice.helper(name, "exit 0");
    let shown = program.to_str().unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for text in all_fail(shown) {
        let remedy = format!("as root: chown root {shown} && chmod u+s {shown}");
        assert_contains(&text, &format!("missing the setuid bit on {name} ({shown}); {remedy}"));
    }
    let script = |text: &str| {
        fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    };
    script(&format!("[ $1 != --version ] || exec echo {name} version 9.9; echo what?; exit 1"));
    for text in all_fail(shown) {
        let expected =
            format!("{shown} is not the `{name} version 0.1.0` that this grootfs works with");
        assert_contains(&text, &expected);
        assert_contains(&text, &format!("it answers `{name} version 9.9`"));
    }
    // Right by name, and it answers nonsense where an answer is needed.
    script(&format!(
        "[ $1 != --version ] || exec echo {name} version 0.1.0; printf '\\033[1mfine'"
    ));
    let grootfs = alice.grootfs.clone().with(&[&flag, shown]);
    let text = grootfs.fails(&["stats", "there"]);
    let expected = format!("{shown} answered what cannot be understood: `\\u{{1b}}[1mfine`; ");
    assert_contains(&text, &expected);
    assert_contains(&text, "is it the one that came with this grootfs?");
    assert_eq!(grootfs.ok(&["delete", "there"]), "Image there deleted\n");
}

fn of_somebody_else(alice: &Alice) {
    let fixture = &alice.fixture;
    let tar = image(fixture);
    alice.grootfs.ok(&["create", "--without-mount", &tar, "x"]);
    let bob = fixture.grootfs.clone().user(&alice.user.other(UID + 1));
    let before = fixture.listing();
    for command in [
        &["create", "--without-mount", &tar, "y"][..],
        &["delete", "x"],
        &["stats", "x"],
        &["limit", "--disk-limit-size-bytes", "5", "x"],
        &["list"],
        &["clean"],
        &["pull", &tar],
    ] {
        let text = bob.fails(command);
        assert_contains(
            &text,
            "permission denied: the store belongs to user 5000, and you are user 5001",
        );
    }
    before.assert_same(&fixture.listing());
}

/// The name under which grootfs starts itself.
fn nobody_else_s_command(alice: &Alice) {
    for arguments in ["", "3", "3 $$", "0 $$ list", "x y list", "9 $$ list"] {
        let script =
            format!("exec -a grootfs-in-user-namespace '{}' {arguments}", crate::fixture::PROGRAM);
        let output = run(Command::new("bash").args(["-c", &format!("({script})")]));
        assert_eq!(output.failure(), "grootfs-in-user-namespace is started by grootfs itself\n");
    }
    let _ = alice;
}

/// btrfs needs no mount.
fn mounting(alice: &Alice) {
    let fixture = &alice.fixture;
    let tar = image(fixture);
    if !fixture.is_overlay() {
        alice.grootfs.ok(&["create", &tar, "x"]);
        assert!(fixture.path("images/x/rootfs/bin").exists());
        alice.grootfs.ok(&["delete", "x"]);
        return;
    }
    for flags in [&[][..], &["--with-mount"]] {
        let before = fixture.listing();
        let text = alice.grootfs.fails(&[&["create"], flags, &[&tar, "x"]].concat());
        assert_contains(&text, "mounting the root file system: operation not permitted");
        assert_contains(&text, "use --without-mount, or `create.without_mount: true`");
        before.assert_same(&fixture.listing());
    }
}

fn without_mappings(fixture: &Fixture) {
    let user = User::new(&fixture.scratch("etc"));
    open_up(&fixture.mount_point());
    run(Command::new("chown").args(["-R", &format!("{UID}:{UID}")]).arg(fixture.grootfs.store()))
        .success();
    let grootfs = fixture.grootfs.clone().user(&user);
    let tar = image(fixture);
    let before = fixture.listing();
    for command in [&["create", "--without-mount", &tar, "x"][..], &["pull", &tar]] {
        let text = grootfs.fails(command);
        assert_contains(&text, "has no id mappings, so only root can unpack images in it");
        assert_contains(&text, "init-store --rootless 5000:5000");
    }
    before.assert_same(&fixture.listing());
    assert_eq!(grootfs.ok(&["list"]), "Store empty\n");
    assert_eq!(grootfs.ok(&["clean"]), "clean completed\n");
}

/// Users may remove subvolumes only where the mount says so.
#[test]
fn privileged_btrfs_without_user_subvol_rm_allowed() {
    let alice = Alice::new(Driver::Btrfs);
    let mount = alice.fixture.mount_point();
    let tar = image(&alice.fixture);
    // Not the user: what is settled later keeps the user's mounts for a while.
    alice.fixture.grootfs.ok(&["create", "--without-mount", &tar, "x"]);
    let file = mount.with_file_name("image");
    run(Command::new("umount").arg(&mount)).success();
    run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(&mount)).success();
    let text = alice.grootfs.fails(&["delete", "x"]);
    assert_contains(&text, "deleting image path '");
    assert_contains(
        &text,
        &format!(
            "users may remove subvolumes only where btrfs is mounted with user_subvol_rm_allowed; as root: mount \
             -o remount,user_subvol_rm_allowed {}\n",
            mount.display()
        ),
    );
    run(Command::new("mount").args(["-o", "remount,user_subvol_rm_allowed"]).arg(&mount)).success();
    alice.grootfs.ok(&["clean"]);
    assert!(alice.fixture.names("images").is_empty() && alice.fixture.names("tmp").is_empty());
}
