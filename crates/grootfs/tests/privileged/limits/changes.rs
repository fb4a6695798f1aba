//! `grootfs limit` on a root that is in use.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;

use groot_sys::project_quota::set_project_id;

use super::*;

with_limits!(up_and_down, below_what_is_held, scopes, first_limit);
with_projects!(an_originals_root);

fn limit(fixture: &Fixture, id: &str, bytes: u64, options: &[&str]) {
    let bytes = bytes.to_string();
    let arguments = [&["limit", "--disk-limit-size-bytes", &bytes], options, &[id]].concat();
    assert_eq!(fixture.grootfs.ok(&arguments), "");
}

const EXCLUDING: &[&str] = &["--exclude-image-from-quota"];

fn fills_to(fixture: &Fixture, rootfs: &Path, limit: u64) {
    // In a directory of its own, made while it still may be, or kept from before.
    let mut file = File::options().create(true).append(true).open(rootfs.join("filled")).unwrap();
    until_refused(|_| file.write_all(&[3; 65536]));
    sync(fixture);
    let exclusive = Stats::of(fixture, "x").exclusive;
    assert!(exclusive <= limit + tolerance(fixture), "{exclusive} {limit}");
    assert!(exclusive + MIB >= limit, "{exclusive} {limit}");
}

fn up_and_down(fixture: &Fixture) {
    let url = image_of(fixture, 10);
    let rootfs = create_limited(fixture, 2 * MIB, &url, "x").rootfs();
    fills_to(fixture, &rootfs, 2 * MIB);
    limit(fixture, "x", 6 * MIB, EXCLUDING);
    assert_eq!(Stats::of(fixture, "x").quota, 6 * MIB);
    fills_to(fixture, &rootfs, 6 * MIB);
    fs::remove_file(rootfs.join("filled")).unwrap();
    sync(fixture);
    limit(fixture, "x", 3 * MIB, EXCLUDING);
    fills_to(fixture, &rootfs, 3 * MIB);
    // Nothing is limited any more.
    limit(fixture, "x", 0, &[]);
    let stats = Stats::of(fixture, "x");
    assert_eq!((stats.quota, stats.committed), (0, 0));
    write(&rootfs.join("free"), 16 * MIB);
    assert!(!fixture.path("images/x/image_quota").exists());
    // By its path too.
    let path = fixture.path("images/x");
    limit(fixture, path.to_str().unwrap(), 20 * MIB, EXCLUDING);
    assert_eq!(Stats::of(fixture, "x").quota, 20 * MIB);
    delete_all(fixture);
}

/// It keeps what it holds, gets nothing more, and recovers when enough is deleted.
fn below_what_is_held(fixture: &Fixture) {
    let url = image_of(fixture, 10);
    let rootfs = fixture.create(&url, "x").rootfs();
    let mut log = File::create(rootfs.join("log")).unwrap();
    write(&rootfs.join("large"), 4 * MIB);
    sync(fixture);
    limit(fixture, "x", MIB, EXCLUDING);
    assert_eq!(Stats::of(fixture, "x").quota, MIB);
    assert!(is_refusal(&log.write_all(&[1; 4096]).unwrap_err()));
    assert_eq!(fs::read(rootfs.join("large")).unwrap().len() as u64, 4 * MIB);
    assert!(Stats::of(fixture, "x").exclusive >= 4 * MIB);
    fs::remove_file(rootfs.join("large")).unwrap();
    sync(fixture);
    log.write_all(&[1; 4096]).unwrap();
    drop(log);
    fills_to(fixture, &rootfs, MIB);
    delete_all(fixture);
}

/// The same number with the image and without it.
fn scopes(fixture: &Fixture) {
    let url = image_of(fixture, 32);
    let rootfs = create_limited(fixture, 4 * MIB, &url, "x").rootfs();
    let excluding = Stats::of(fixture, "x");
    let image = excluding.total - excluding.exclusive;
    limit(fixture, "x", 4 * MIB, &[]);
    let with_image = Stats::of(fixture, "x");
    assert_eq!(with_image.committed, 4 * MIB);
    fills_to(fixture, &rootfs, 4 * MIB - image);
    assert!(Stats::of(fixture, "x").total <= 4 * MIB + tolerance(fixture));
    limit(fixture, "x", 4 * MIB, EXCLUDING);
    assert_eq!(Stats::of(fixture, "x").quota, 4 * MIB);
    fills_to(fixture, &rootfs, 4 * MIB);
    delete_all(fixture);
}

/// A root that was made without a limit: all that it holds already counts.
fn first_limit(fixture: &Fixture) {
    let url = image_of(fixture, 10);
    let rootfs = fixture.create(&url, "x").rootfs();
    write(&rootfs.join("before"), 3 * MIB);
    sync(fixture);
    limit(fixture, "x", 4 * MIB, EXCLUDING);
    assert!((3 * MIB..4 * MIB).contains(&Stats::of(fixture, "x").exclusive));
    fills_to(fixture, &rootfs, 4 * MIB);
    delete_all(fixture);
}

/// The original gave no project id to a root without a limit.
fn an_originals_root(fixture: &Fixture) {
    let url = image_of(fixture, 10);
    let rootfs = fixture.create(&url, "x").rootfs();
    let directory = fixture.path("images/x");
    write(&rootfs.join("file"), MIB);
    fs::create_dir_all(rootfs.join("deep/er")).unwrap();
    write(&rootfs.join("deep/er/file"), MIB);
    symlink("file", rootfs.join("link")).unwrap();
    symlink("/nowhere", rootfs.join("broken")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, rootfs.join("fifo"), 0o600.into()).unwrap();
    let outside = fixture.mount_point().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, rootfs.join("out")).unwrap();
    // Nothing of it belongs to a project.
    let project = project_of(&directory);
    let mut command = Command::new("xfs_quota");
    let clear = format!("project -C -p {} {project}", directory.display());
    run(command
        .args(["-x", "-D", "/dev/null", "-P", "/dev/null", "-c", &clear])
        .arg(fixture.mount_point()))
    .success();
    fs::remove_dir(fixture.path(&format!("projectids/{project}"))).unwrap();
    rustix::fs::removexattr(&directory, tardis::MARK).unwrap();
    assert_eq!(project_of(&directory), 0);
    assert_eq!(project_of(&directory.join("diff/deep/er/file")), 0);
    let unknown = Stats::of(fixture, "x");
    assert_eq!((unknown.exclusive, unknown.quota), (0, 0));
    // Now all of it does.
    limit(fixture, "x", 4 * MIB, EXCLUDING);
    let project = project_of(&directory);
    for path in ["", "diff", "diff/file", "diff/deep", "diff/deep/er/file", "image_info", "workdir"]
    {
        assert_eq!(project_of(&directory.join(path)), project, "{path}");
    }
    assert_eq!(project_of(&outside), 0);
    sync(fixture);
    let stats = Stats::of(fixture, "x");
    assert_eq!(stats.quota, 4 * MIB);
    assert_eq!(stats.exclusive, blocks_below(&directory));
    // Who was killed halfway has left files without a project, and no mark: the next one goes on.
    rustix::fs::removexattr(&directory, tardis::MARK).unwrap();
    let file = directory.join("diff/deep/er/file");
    set_project_id(fs::File::open(&file).unwrap().as_fd(), 0).unwrap();
    limit(fixture, "x", 4 * MIB, EXCLUDING);
    assert_eq!((project_of(&directory), project_of(&file)), (project, project));
    fills_to(fixture, &rootfs, 4 * MIB);
    delete_all(fixture);
}
