//! The configuration file, and the driver that a store was made with.

use std::fs;

use testkit::command::Grootfs;

use crate::fixture::{Fixture, PROGRAM, two_layers};

on_both_drivers!(from_a_file, the_stores_own_driver);

/// As Garden calls it: nothing but a file, and the command.
fn from_a_file(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let file = fixture.scratch("config.yml");
    let text = format!(
        "store: {}\ndriver: {}\nlog_level: error\ncreate:\n  without_mount: true\n  \
         skip_layer_validation: true\nclean:\n  threshold_bytes: 1000000\n",
        fixture.grootfs.store().display(),
        fixture.driver.name()
    );
    fs::write(&file, text).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(PROGRAM);
        command.arg("--config").arg(&file).args(arguments);
        testkit::command::run(&mut command).success()
    };
    assert!(run(&["create", &url, "x"]).contains("\"mounts\":["));
    assert!(fixture.mounts().is_empty());
    assert!(!run(&["create", "--with-mount", &url, "y"]).contains("\"mounts\""));
    assert_eq!(run(&["clean"]), "threshold not reached: skipping clean\n");
    assert_eq!(run(&["delete", "x"]), "Image x deleted\n");
    assert_eq!(run(&["delete", "y"]), "Image y deleted\n");
}

fn the_stores_own_driver(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    let grootfs = Grootfs::new(PROGRAM, fixture.grootfs.store());
    let line = grootfs.ok(&["create", "--without-mount", &url, "x"]);
    assert_eq!(line.contains("\"type\":\"overlay\""), fixture.is_overlay());
    grootfs.ok(&["create", &url, "y"]);
    grootfs.ok(&["stats", "y"]);
    grootfs.ok(&["clean"]);
    for id in ["x", "y"] {
        grootfs.ok(&["delete", id]);
    }
    grootfs.ok(&["delete-store"]);
    assert!(!fixture.grootfs.store().exists());
}
