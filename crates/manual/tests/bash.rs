//! What bash offers, with the committed completions. `hack/test-packages` does the same with those that are
//! installed, in bash, zsh and fish.

#![allow(clippy::unwrap_used, reason = "a panic is the failure that a test reports")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Stands for the program: its store has two roots, if it is the one that is meant.
const PROGRAM: &str = "#!/bin/sh
[ \"$*\" = '--store=/s list' ] || exit 1
echo /s/images/web-1
echo /s/images/other-2
";

fn offered(directory: &Path, line: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = std::env::var_os("PATH").unwrap();
    let places = std::env::split_paths(&path);
    let places = std::iter::once(directory.to_owned()).chain(places).collect::<Vec<PathBuf>>();
    let output = Command::new("bash")
        .arg("--norc")
        .arg(root.join("hack/parts/complete.bash"))
        .arg(root.join("packaging/completions/grootfs.bash"))
        .arg(line)
        .env("PATH", std::env::join_paths(places).unwrap())
        .current_dir(directory)
        .output()
        .expect("bash, which the package of that name has");
    assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let mut words: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect();
    words.sort();
    words
}

#[test]
fn bash_offers_what_fits() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("grootfs");
    fs::write(&program, PROGRAM).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(directory.path().join("image.tar"), "").unwrap();
    for (line, expected) in [
        ("grootfs cr", &["create"][..]),
        ("grootfs --store=/s dele", &["delete", "delete-store"]),
        ("grootfs -store /s dele", &["delete", "delete-store"]),
        ("grootfs --log-format ", &["json", "text"]),
        ("grootfs list --compat=g", &["garden"]),
        ("grootfs create --without-m", &["--without-mount"]),
        ("grootfs --store /s delete ", &["other-2", "web-1"]),
        ("grootfs --store=/s stats w", &["web-1"]),
        ("grootfs limit --disk-limit-size-bytes 5 -store /s w", &["web-1"]),
        // Another store than the one that has them.
        ("grootfs delete ", &[]),
        ("grootfs --store /s delete web-1 ", &[]),
        ("grootfs create im", &["image.tar"]),
        ("grootfs create oci-archive:im", &["image.tar"]),
        ("grootfs create docker-archive:im", &["image.tar"]),
        ("grootfs create oci", &["oci-archive:", "oci:"]),
        ("grootfs create oci:image im", &[]),
        ("grootfs create oci:/a:b im", &[]),
        ("grootfs help cap", &["capacity"]),
        ("grootfs --config im", &["image.tar"]),
        ("grootfs create --log-file=im", &["image.tar"]),
    ] {
        assert_eq!(offered(directory.path(), line), expected, "{line}");
    }
}
