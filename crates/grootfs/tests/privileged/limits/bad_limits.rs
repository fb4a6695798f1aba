//! Limits that are none.

use std::fs;

use testkit::command::Grootfs;

use super::*;
use crate::fixture::{PROGRAM, assert_contains};

with_limits!(on_the_command_line, in_the_configuration);

fn on_the_command_line(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    fixture.create(&url, "y");
    let before = fixture.listing();
    for option in ["--disk-limit-size-bytes", "--inode-limit"] {
        for bad in ["-1", "-9223372036854775808", "9223372036854775808", "1e6", ""] {
            for command in [&["create", &url, "x"] as &[&str], &["limit", "y"]] {
                let option = format!("{option}={bad}");
                let arguments = [&command[..1], &[option.as_str()], &command[1..]].concat();
                let output = fixture.grootfs.run(&arguments);
                assert_eq!(output.code, Some(1), "{}", output.report());
                let text = format!("{}{}", output.stdout, output.stderr);
                let named = if bad.starts_with('-') { "negative" } else { "invalid value" };
                assert!(text.contains(named), "{}", output.report());
            }
        }
    }
    before.assert_same(&fixture.listing());
    for (arguments, text) in [
        (&["limit", "y"] as &[&str], "give --disk-limit-size-bytes, --inode-limit or both"),
        (&["limit", "--disk-limit-size-bytes", "5000000"], "usage: limit"),
        (&["limit", "--disk-limit-size-bytes", "5000000", "none"], "Image `none` not found."),
        (&["limit", "--inode-limit", "0", "--exclude-image-from-quota", "y"], "goes with"),
    ] {
        assert_contains(&fixture.fails_cleanly(arguments), text);
    }
    // The largest number there is is a limit like any other.
    let most = i64::MAX.to_string();
    for (id, more) in [("most", &[] as &[&str]), ("other", &["--exclude-image-from-quota"])] {
        let options = [&["--disk-limit-size-bytes", most.as_str()], more].concat();
        let rootfs = create_with(fixture, &options, &url, id).rootfs();
        write(&rootfs.join("file"), MIB);
        assert!(Stats::of(fixture, id).committed > 1 << 62);
    }
    delete_all(fixture);
}

fn in_the_configuration(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    let file = fixture.scratch("config.yml");
    let grootfs = Grootfs::new(PROGRAM, fixture.grootfs.store()).with(&[
        "--driver",
        fixture.driver.name(),
        "--config",
        file.to_str().unwrap(),
    ]);
    for bad in ["disk_limit_size_bytes: -1", "inode_limit: -1", "disk_limit_size_bytes: 5M"] {
        fs::write(&file, format!("create:\n  {bad}\n")).unwrap();
        let output = grootfs.run(&["create", &url, "x"]);
        assert_eq!(output.code, Some(1), "{}", output.report());
        assert!(fixture.names("images").is_empty());
    }
    let inodes = if fixture.is_overlay() { "\n  inode_limit: 77" } else { "" };
    let text = format!(
        "create:\n  disk_limit_size_bytes: 8388608\n  exclude_image_from_quota: true{inodes}\n"
    );
    fs::write(&file, text).unwrap();
    grootfs.ok(&["create", &url, "x"]);
    let stats = Stats::of(fixture, "x");
    assert_eq!(stats.quota, 8 * MIB);
    assert_eq!(stats.inodes.map(|inodes| inodes.1), fixture.is_overlay().then_some(77));
    // The command line wins, and `limit` does not look at what is for creates.
    grootfs.ok(&["create", "--disk-limit-size-bytes", "0", "--inode-limit", "0", &url, "y"]);
    assert_eq!(Stats::of(fixture, "y").quota, 0);
    grootfs.ok(&["limit", "--disk-limit-size-bytes", "4194304", "x"]);
    assert_eq!(Stats::of(fixture, "x").committed, 4 * MIB);
    delete_all(fixture);
}
