//! What must not get round a limit, and what must not count twice.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::*;

with_limits!(
    names_cost_nothing,
    nothing_comes_in_by_renaming,
    files_deleted_while_open,
    what_fits_no_more_leaves_the_rest,
);

const LIMIT: u64 = 4 * MIB;

/// Where the driver keeps what is written in a root.
fn written(fixture: &Fixture, id: &str) -> PathBuf {
    fixture.path(&format!("images/{id}/{}", if fixture.is_overlay() { "diff" } else { "rootfs" }))
}

fn exclusive(fixture: &Fixture, id: &str) -> u64 {
    sync(fixture);
    Stats::of(fixture, id).exclusive
}

/// A file counts once, however many names it has.
fn names_cost_nothing(fixture: &Fixture) {
    let rootfs = create_limited(fixture, LIMIT, &image_of(fixture, 1), "x").rootfs();
    write(&rootfs.join("file"), 3 * MIB);
    let before = exclusive(fixture, "x");
    for number in 0..50 {
        fs::hard_link(rootfs.join("file"), rootfs.join(format!("link-{number}"))).unwrap();
    }
    assert!(exclusive(fixture, "x") - before <= tolerance(fixture));
    delete_all(fixture);
}

/// A file that somebody else paid for cannot be moved or linked to where it does not count.
fn nothing_comes_in_by_renaming(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    let roots = ["x", "y"].map(|id| create_limited(fixture, LIMIT, &url, id).rootfs());
    let outside = fixture.mount_point().join("outside");
    write(&outside, 8 * MIB);
    write(&roots[1].join("others"), 3 * MIB);
    fs::create_dir(roots[1].join("directory")).unwrap();
    let below = written(fixture, "y");
    let own = written(fixture, "x");
    type Move = fn(&Path, &Path) -> io::Result<()>;
    let moves: [Move; 2] = [|from, to| fs::rename(from, to), |from, to| fs::hard_link(from, to)];
    for target in [roots[0].join("in"), own.join("in")] {
        for source in [&outside, &roots[1].join("others"), &below.join("others")] {
            for step in moves {
                let refused = step(source, &target).unwrap_err();
                assert_eq!(Errno::from_io_error(&refused), Some(Errno::XDEV), "{source:?}");
            }
        }
        let refused = fs::rename(below.join("directory"), &target).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(Errno::XDEV));
    }
    assert!(exclusive(fixture, "x") <= tolerance(fixture) * 2);
    // What is written anew counts.
    let copy = fs::write(roots[0].join("in"), fs::read(&outside).unwrap());
    let refused = copy.unwrap_err();
    assert!(is_refusal(&refused), "{refused}");
    assert!(exclusive(fixture, "x") <= LIMIT + tolerance(fixture));
    delete_all(fixture);
}

/// A deleted file counts as long as somebody has it open.
fn files_deleted_while_open(fixture: &Fixture) {
    let rootfs = create_limited(fixture, LIMIT, &image_of(fixture, 1), "x").rootfs();
    let mut waits = File::create(rootfs.join("waits")).unwrap();
    let mut open = File::create(rootfs.join("open")).unwrap();
    let block = [1; 65536];
    until_refused(|_| open.write_all(&block));
    fs::remove_file(rootfs.join("open")).unwrap();
    assert!(exclusive(fixture, "x") >= LIMIT - MIB);
    let most = if fixture.is_overlay() { 4 } else { 16 };
    assert!(until_refused(|_| waits.write_all(&block)) <= most);
    drop(open);
    assert!(exclusive(fixture, "x") <= MIB);
    write(&rootfs.join("again"), 2 * MIB);
    drop(waits);
    delete_all(fixture);
}

/// A write that does not fit changes nothing that is there, and reading goes on.
fn what_fits_no_more_leaves_the_rest(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    let rootfs = create_limited(fixture, LIMIT, &url, "x").rootfs();
    fs::write(rootfs.join("kept"), "before").unwrap();
    fill(&rootfs);
    sync(fixture);
    assert_eq!(fs::read_to_string(rootfs.join("kept")).unwrap(), "before");
    assert_eq!(fs::read(rootfs.join("image/0")).unwrap(), [0; 65536]);
    // Another root of the same image is not concerned.
    let other = create_limited(fixture, LIMIT, &url, "y").rootfs();
    write(&other.join("file"), 3 * MIB);
    // Deleting makes room.
    fs::remove_file(rootfs.join("fill-65536")).unwrap();
    sync(fixture);
    write(&rootfs.join("again"), 2 * MIB);
    delete_all(fixture);
}
