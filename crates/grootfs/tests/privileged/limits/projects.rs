//! Project ids of XFS: one for each root, never somebody else's, all given back.

use std::collections::HashSet;
use std::fs;

use groot_sys::project_quota::{Limits, set_project_id};
use testkit::command::{Grootfs, Running, TIME_LIMIT, start};

use super::*;
use crate::fixture::PROGRAM;

with_projects!(
    fifty_at_once,
    somebody_elses_project,
    two_stores,
    what_is_left_is_given_back,
    killed_creates,
    everything_at_once,
);

const OPTIONS: [&str; 4] =
    ["create", "--disk-limit-size-bytes", "4194304", "--exclude-image-from-quota"];

fn begin(grootfs: &Grootfs, url: &str, id: &str) -> Running {
    start(&mut grootfs.command(&[&OPTIONS as &[&str], &[url, id]].concat()))
}

fn finish(running: Vec<Running>) {
    for one in running {
        one.finish(TIME_LIMIT).success();
    }
}

/// The projects of all roots of a store; panics when two share one, one has none, or one is not limited.
fn projects(fixture: &Fixture, store: &Path) -> HashSet<u32> {
    let mut found = HashSet::new();
    for entry in fs::read_dir(store.join("images")).unwrap() {
        let path = entry.unwrap().path();
        let project = project_of(&path);
        assert!(project > 1, "{} belongs to project {project}", path.display());
        assert!(found.insert(project), "{} has another's project {project}", path.display());
        assert!(store.join(format!("projectids/{project}")).is_dir());
        assert_eq!(quota_of(fixture, project).limits.bytes, 4 * MIB, "{}", path.display());
        assert_eq!(project_of(&path.join("diff")), project);
    }
    found
}

fn fifty_at_once(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    fixture.grootfs.ok(&["pull", &url]);
    let ids: Vec<String> = (0..50).map(|number| format!("x{number}")).collect();
    finish(ids.iter().map(|id| begin(&fixture.grootfs, &url, id)).collect());
    let first = projects(fixture, fixture.grootfs.store());
    assert_eq!(first.len(), 50);
    finish(ids.iter().map(|id| start(&mut fixture.grootfs.command(&["delete", id]))).collect());
    assert!(fixture.names("projectids").is_empty());
    sync(fixture);
    // They are given out again, the lowest first.
    create_limited(fixture, 4 * MIB, &url, "again");
    assert_eq!(projects(fixture, fixture.grootfs.store()), HashSet::from([2]));
    delete_all(fixture);
}

/// Puts a directory outside the store into a project.
fn foreign(fixture: &Fixture, name: &str, project: u32) -> PathBuf {
    let directory = fixture.mount_point().join(name);
    fs::create_dir(&directory).unwrap();
    set_project_id(fs::File::open(&directory).unwrap().as_fd(), project).unwrap();
    directory
}

fn somebody_elses_project(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    let theirs = foreign(fixture, "theirs", 2);
    write(&theirs.join("file"), MIB);
    // One that only has a limit so far.
    let top = fs::File::open(fixture.mount_point()).unwrap();
    let quotas = ProjectQuotas::new(top.as_fd(), fixture.scratch("node"));
    quotas.set(3, Limits { bytes: 5 * MIB, inodes: 0 }).unwrap();
    for id in ["a", "b"] {
        create_limited(fixture, 4 * MIB, &url, id);
    }
    assert_eq!(projects(fixture, fixture.grootfs.store()), HashSet::from([4, 5]));
    for id in ["a", "b"] {
        delete(fixture, id);
    }
    fixture.grootfs.ok(&["clean"]);
    assert_eq!(project_of(&theirs), 2);
    assert_eq!(quota_of(fixture, 2).bytes, MIB);
    assert_eq!(quota_of(fixture, 3).limits.bytes, 5 * MIB);
}

fn two_stores(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    let other = Grootfs::new(PROGRAM, fixture.mount_point().join("other"))
        .with(&["--driver", fixture.driver.name()]);
    other.ok(&["init-store"]);
    for grootfs in [&fixture.grootfs, &other] {
        grootfs.ok(&["pull", &url]);
    }
    for round in 0..2 {
        let ids: Vec<String> = (0..6).map(|number| format!("x{round}-{number}")).collect();
        let both =
            ids.iter().flat_map(|id| [begin(&fixture.grootfs, &url, id), begin(&other, &url, id)]);
        finish(both.collect());
        let ours = projects(fixture, fixture.grootfs.store());
        let theirs = projects(fixture, other.store());
        assert_eq!((ours.len(), theirs.len()), (6, 6));
        assert!(ours.is_disjoint(&theirs), "{ours:?} {theirs:?}");
        // A clean of one gives back nothing of the other.
        fixture.grootfs.ok(&["clean"]);
        assert_eq!(projects(fixture, other.store()), theirs);
        for id in &ids {
            fixture.grootfs.ok(&["delete", id]);
            other.ok(&["delete", id]);
        }
    }
    delete_all(fixture);
}

/// Ids of killed creates and of directories that others have made in the store.
fn what_is_left_is_given_back(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    create_limited(fixture, 4 * MIB, &url, "x");
    let kept = projects(fixture, fixture.grootfs.store());
    // A create that was killed after it took an id.
    fs::create_dir(fixture.path("projectids/77")).unwrap();
    // What the BOSH release makes to see whether limits work: a directory with a project of its own.
    let test = fixture.path("images/xfs_test");
    fs::create_dir(&test).unwrap();
    set_project_id(fs::File::open(&test).unwrap().as_fd(), 99).unwrap();
    fs::create_dir(fixture.path("projectids/99")).unwrap();
    // And what nobody knows.
    fs::write(fixture.path("projectids/notes"), "text").unwrap();
    fixture.grootfs.ok(&["clean"]);
    let x = kept.iter().next().unwrap().to_string();
    assert_eq!(fixture.names("projectids"), [&x, "99", "notes"]);
    assert_eq!(project_of(&test), 99);
    fs::remove_dir(&test).unwrap();
    fixture.grootfs.ok(&["clean"]);
    assert_eq!(fixture.names("projectids"), [&x, "notes"]);
    assert_eq!(projects(fixture, fixture.grootfs.store()), kept);
    fs::remove_file(fixture.path("projectids/notes")).unwrap();
    delete_all(fixture);
}

/// Killed at whatever step: what is there is limited or can be deleted, and no id is lost.
fn killed_creates(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    create_limited(fixture, 4 * MIB, &url, "stays");
    let stays = project_of(&fixture.path("images/stays")).to_string();
    // Each a step later: the directory, its project, its parts, the mount.
    let steps =
        ["images/x", "projectids/3", "images/x/image_quota", "images/x/diff", "images/x/rootfs"];
    for step in &steps {
        let create = begin(&fixture.grootfs, &url, "x");
        while !fixture.path(step).exists() && create.is_running() {
            std::thread::yield_now();
        }
        drop(create);
        fixture.grootfs.ok(&["delete", "x"]);
        fixture.grootfs.ok(&["clean"]);
        assert_eq!(fixture.names("projectids"), [stays.as_str()], "after {step}");
        assert_eq!(fixture.names("images"), ["stays"]);
        sync(fixture);
        assert_eq!(quota_of(fixture, 3), Quota::default(), "after {step}");
    }
    delete_all(fixture);
}

/// Whatever happens at once: no two roots have one project, and none loses its own.
fn everything_at_once(fixture: &Fixture) {
    let url = image_of(fixture, 1);
    create_limited(fixture, 4 * MIB, &url, "stays");
    let stays = project_of(&fixture.path("images/stays"));
    let mut before: Vec<String> = Vec::new();
    for round in 0..4 {
        let ids: Vec<String> = (0..4).map(|number| format!("x{round}-{number}")).collect();
        let mut running: Vec<Running> = Vec::new();
        for (new, old) in ids.iter().zip(before.iter().chain(std::iter::repeat(&ids[0]))) {
            running.push(begin(&fixture.grootfs, &url, new));
            if before.contains(old) {
                running.push(start(&mut fixture.grootfs.command(&["delete", old])));
            }
            running.push(start(&mut fixture.grootfs.command(&["clean"])));
        }
        finish(running);
        let found = projects(fixture, fixture.grootfs.store());
        assert_eq!(found.len(), 5, "round {round}");
        assert!(found.contains(&stays));
        let mut names: Vec<String> = found.iter().map(u32::to_string).collect();
        names.sort();
        fixture.grootfs.ok(&["clean"]);
        assert_eq!(fixture.names("projectids"), names, "round {round}");
        before = ids;
    }
    delete_all(fixture);
}
