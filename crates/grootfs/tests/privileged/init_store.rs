//! `init-store` on a file system that is there: layout, modes, owners (contract 3.1, 3.6).

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::command::run;
use testkit::tree::Tree;

use crate::fixture::{Driver, Fixture, PROGRAM, assert_contains};

/// Path, type, mode with umask 022, mode with umask 077.
const LAYOUT: &[(&str, &str, u32, u32)] = &[
    (".", "directory", 0o700, 0o700),
    ("images", "directory", 0o755, 0o700),
    ("locks", "directory", 0o755, 0o700),
    ("meta", "directory", 0o755, 0o700),
    ("meta/dependencies", "directory", 0o755, 0o700),
    ("meta/namespace.json", "file", 0o755, 0o700),
    ("tmp", "directory", 0o755, 0o700),
    ("volumes", "directory", 0o755, 0o700),
];

/// What overlay-xfs has besides, whatever the umask.
const OVERLAY: &[(&str, &str, u32)] = &[
    ("l", "directory", 0o755),
    ("projectids", "directory", 0o755),
    ("whiteout_dev", "character device", 0),
];

const NAMESPACE: &str = "namespace.json";

/// Checks a store against the table.
#[track_caller]
pub fn check_layout(fixture: &Fixture, umask: u32, owner: (u32, u32)) {
    let mut tree = Tree::read(fixture.grootfs.store());
    // The first question about quotas makes this one; it stays root's.
    if let Some(device) = tree.entries.remove(Path::new("storeDevice")) {
        assert!(fixture.is_overlay());
        assert_eq!((device.kind, device.mode), ("block device", 0o600));
        assert_eq!((device.uid, device.gid), (0, 0));
    }
    let mut expected: Vec<(&str, &str, u32)> = LAYOUT
        .iter()
        .map(|(path, kind, open, closed)| {
            (*path, *kind, if umask == 0o22 { *open } else { *closed })
        })
        .collect();
    if owner != (0, 0) {
        // It is the caller's, and the store's owner reads it.
        let namespace = expected.iter_mut().find(|(path, _, _)| path.ends_with(NAMESPACE));
        namespace.unwrap().2 = 0o755;
    }
    if fixture.is_overlay() {
        expected.extend(OVERLAY);
    }
    expected.sort_unstable();
    let found: Vec<(&str, &str, u32)> =
        tree.entries.iter().map(|(path, e)| (path.to_str().unwrap(), e.kind, e.mode)).collect();
    assert_eq!(found, expected);
    for (path, entry) in &tree.entries {
        // The namespace file belongs to the caller.
        let expected = if path.ends_with(NAMESPACE) { (0, 0) } else { owner };
        assert_eq!((entry.uid, entry.gid), expected, "{}", path.display());
        assert_eq!(entry.device, (0, 0), "{}", path.display());
    }
}

fn layout_and_modes(driver: Driver) {
    for umask in [0o22, 0o77] {
        let fixture = Fixture::without_store(driver);
        let grootfs = fixture.grootfs.clone().umask(umask);
        assert_eq!(grootfs.ok(&["init-store"]), "");
        check_layout(&fixture, umask, (0, 0));
        let namespace = fs::read_to_string(fixture.path("meta/namespace.json")).unwrap();
        assert_eq!(namespace, "{\"uid-mappings\":[],\"gid-mappings\":[]}\n");
        // And again.
        let before = Tree::read(fixture.grootfs.store());
        assert_eq!(grootfs.ok(&["init-store"]), "");
        before.assert_same(&Tree::read(fixture.grootfs.store()));
    }
}

#[test]
fn privileged_layout_overlay_xfs() {
    layout_and_modes(Driver::OverlayXfs);
}

#[test]
fn privileged_layout_btrfs() {
    layout_and_modes(Driver::Btrfs);
}

fn mappings(driver: Driver) {
    let fixture = Fixture::without_store(driver);
    let mapped = [
        "init-store",
        "--uid-mapping",
        "1:100000:65000",
        "--uid-mapping",
        "0:5000:1",
        "--gid-mapping",
        "0:6000:1",
        "--gid-mapping",
        "1:200000:65000",
    ];
    let grootfs = fixture.grootfs.clone().umask(0o22);
    grootfs.ok(&mapped);
    check_layout(&fixture, 0o22, (5000, 6000));
    let namespace = fs::read_to_string(fixture.path("meta/namespace.json")).unwrap();
    assert_eq!(
        namespace,
        "{\"uid-mappings\":[\"0:5000:1\",\"1:100000:65000\"],\
         \"gid-mappings\":[\"0:6000:1\",\"1:200000:65000\"]}\n"
    );
    // The order of the flags means nothing, other mappings are refused.
    let mut turned = mapped;
    turned.swap(2, 4);
    turned.swap(6, 8);
    grootfs.ok(&turned);
    let text = fixture.fails_cleanly(&["init-store"]);
    assert_contains(
        &text,
        "provided UID mappings do not match those already configured in the store",
    );
    let mut other = mapped;
    other[8] = "1:200000:65001";
    let text = fixture.fails_cleanly(&other);
    assert_contains(
        &text,
        "provided GID mappings do not match those already configured in the store",
    );
}

#[test]
fn privileged_mappings_overlay_xfs() {
    mappings(Driver::OverlayXfs);
}

#[test]
fn privileged_mappings_btrfs() {
    mappings(Driver::Btrfs);
}

#[test]
fn privileged_wrong_places() {
    let fixture = Fixture::without_store(Driver::OverlayXfs);
    let wrong = fixture.grootfs.clone().with(&["--driver", "btrfs"]);
    let text = wrong.fails(&["init-store"]);
    let place = fixture.mount_point();
    let start = format!(
        "Store path filesystem ({}) is incompatible with requested driver",
        place.display()
    );
    assert!(text.starts_with(&start), "{text}");
    assert!(!fixture.grootfs.store().exists());
    // Innermost cause first in the contract; here the path comes with it.
    let missing = fixture.grootfs.clone().with(&["--store", "/no/such/place/store"]);
    assert_contains(&missing.fails(&["init-store"]), "no such file or directory");
    fs::write(fixture.grootfs.store(), "a file").unwrap();
    let text = fixture.grootfs.fails(&["init-store"]);
    let path = fixture.grootfs.store().display();
    assert_eq!(text, format!("path `{path}` is not a directory\n"));
}

#[test]
fn privileged_only_root_makes_stores() {
    let fixture = Fixture::without_store(Driver::OverlayXfs);
    // The program may lie in a directory that only root may enter.
    let program = fixture.mount_point().join("grootfs");
    fs::copy(PROGRAM, &program).unwrap();
    let store = fixture.grootfs.store();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(&program).arg("--store").arg(store).arg("init-store");
    // Before anybody is looked up.
    command.args(["--rootless", "nobody-of-this-name:nor-this"]);
    // The way to the store must be open for them.
    let scratch = fixture.mount_point().parent().unwrap().to_owned();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(scratch, open).unwrap();
    let text = run(&mut command).failure();
    assert_eq!(text, format!("store {} can only be initialized by Root user\n", store.display()));
    assert!(!store.exists());
}
