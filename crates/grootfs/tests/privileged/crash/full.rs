//! Disks on which nothing is left, not one block and not one inode: when cleaning is needed most.
//!
//! Nothing of this is prepared in the store: no clean has been there before and left the files of its locks.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use rustix::fs::statvfs;
use testkit::command::run;
use testkit::image::Image;
use testkit::layer::{Entry, Layer};

use crate::fixture::{Fixture, assert_contains, two_layers};

on_both_drivers!(not_one_block);

/// What the kernel says.
const NO_ROOM: &str = "no space left on device";

/// A layer of a megabyte and some, in a few files.
fn layer(name: &str) -> Layer {
    let files = (0..20).map(|n| Entry::file(format!("{name}-{n}"), vec![n; 60_000]));
    files.fold(Layer::new(), Layer::entry)
}

/// Puts something into a directory until there is no room for it.
fn until_full(directory: &Path, prefix: &str, mut make: impl FnMut(&Path) -> io::Result<()>) {
    for number in 0.. {
        match make(&directory.join(format!("{prefix}{number}"))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return,
            Err(error) => panic!("filling the disk: {error}"),
        }
    }
}

/// Takes every block: for data, for the small files that btrfs keeps with its metadata, for names.
fn take_all_blocks(directory: &Path) {
    fs::create_dir(directory).unwrap();
    for round in 0..3 {
        for length in [1 << 20, 64 << 10, 4 << 10, 1500, 0] {
            let content = vec![1; length];
            until_full(directory, &format!("{round}-{length}-"), |path| {
                let mut file = File::create_new(path)?;
                file.write_all(&content)?;
                // Blocks are given out when data are written to disk; that is slow for many small files.
                if length >= 64 << 10 { file.sync_all() } else { Ok(()) }
            });
        }
        // What was set aside for files that were being written comes back.
        rustix::fs::syncfs(File::open(directory).unwrap()).unwrap();
    }
}

fn not_one_block(fixture: &Fixture) {
    lives_through(fixture, |fixture| take_all_blocks(&fixture.mount_point().join("fill")));
}

/// Two images, a disk that is then full, and all of them taken away again.
fn lives_through(fixture: &Fixture, fill: impl FnOnce(&Fixture)) {
    let image = |name: &str| fixture.oci(name, &Image::new().layer(&layer(name))).0;
    let (one, two) = (image("one"), image("two"));
    let small = fixture.oci("small", &two_layers()).0;
    let reference = fixture.create(&small, "small").tree();
    fixture.grootfs.ok(&["delete", "small"]);
    fixture.create(&one, "one");
    fixture.create(&two, "two");
    fixture.grootfs.ok(&["delete", "two"]);
    assert!(!fixture.path("locks/groot-gc-lock.lock").exists());
    fill(fixture);
    // What needs something new fails, and leaves nothing.
    for url in [&one, &two] {
        let error = fixture.grootfs.fails(&["create", url, "new"]);
        assert_contains(&error, &format!("{NO_ROOM} (the file system of the store has "));
        assert_eq!(error.contains(" inodes free, "), fixture.is_overlay(), "{error}");
        assert_eq!(fixture.names("images"), ["one"]);
        assert!(fixture.names("volumes").iter().all(|name| !name.contains("incomplete")));
    }
    // What needs nothing works.
    assert_contains(&fixture.grootfs.ok(&["list"]), "images/one");
    fixture.grootfs.ok(&["stats", "one"]);
    let before = statvfs(fixture.mount_point().as_path()).unwrap();
    assert_eq!(fixture.grootfs.ok(&["delete", "one"]), "Image one deleted\n");
    assert_eq!(fixture.grootfs.ok(&["clean"]), "clean completed\n");
    if !fixture.is_overlay() {
        fixture.wait_for_destroyed_subvolumes();
    }
    for directory in ["images", "volumes", "tmp"] {
        assert_eq!(fixture.names(directory), [""; 0], "{directory}");
    }
    assert_contains(&fixture.grootfs.ok(&["check"]), ": 0 problems");
    let after = statvfs(fixture.mount_point().as_path()).unwrap();
    let given_back = (after.f_bfree - before.f_bfree) * after.f_frsize;
    assert!(given_back > 2 << 20, "{given_back} bytes given back of two layers");
    assert!(fixture.mounts().is_empty());
    if !fixture.is_overlay() {
        // Room for data is there again; that for metadata the small files have, and btrfs gives it to nobody else.
        fs::remove_dir_all(fixture.mount_point().join("fill")).unwrap();
    }
    reference.assert_same(&fixture.create(&small, "after").tree());
}

/// btrfs has no inodes that could run out.
#[test]
fn privileged_not_one_inode_overlay_xfs() {
    let fixture = Fixture::new(crate::fixture::Driver::OverlayXfs);
    lives_through(&fixture, |fixture| {
        // They may have one hundredth of the disk.
        let mount = fixture.mount_point();
        run(Command::new("xfs_growfs").args(["-m", "1"]).arg(&mount)).success();
        let directory = mount.join("fill");
        fs::create_dir(&directory).unwrap();
        until_full(&directory, "", |path| File::create_new(path).map(drop));
        let found = statvfs(&mount).unwrap();
        // They come in chunks of 64, and not every last one can be had.
        let (inodes, blocks) = (found.f_ffree, found.f_bfree);
        assert!(
            inodes < 64 && blocks > found.f_blocks / 2,
            "{inodes} inodes, {blocks} blocks left"
        );
    });
}
