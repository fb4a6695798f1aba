//! Whatever small thing a store has lost: `create` works and says so in the log, `check` finds it, `check --repair`
//! mends it. One missing file must never keep images from starting.

use std::fs;
use std::path::Path;

use testkit::command::Grootfs;

use crate::check::{check, kinds, repair, whole};
use crate::fixture::{Fixture, assert_contains, two_layers};

on_both_drivers!(
    lost_metadata,
    broken_metadata,
    cut_off_metadata,
    another_boot,
    lost_scratch,
    lost_namespace,
    broken_namespace,
    namespace_of_mapped_ids,
    lost_dependencies,
);

/// A store with one image, and what a table of losses needs.
struct Patient<'a> {
    fixture: &'a Fixture,
    url: String,
    chain: Vec<String>,
    log: Grootfs,
}

impl<'a> Patient<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        let image = two_layers();
        let (url, _) = fixture.oci("image", &image);
        fixture.create(&url, "first");
        whole(fixture);
        let log = fixture.grootfs.clone().with(&["--log-level", "error"]);
        Self { fixture, url, chain: image.chain_ids(), log }
    }

    /// Loses something twice: once a create heals it, once `check --repair` does.
    #[track_caller]
    fn heals(&self, kind: &str, logged: &str, lose: impl Fn()) {
        lose();
        let found = check(self.fixture, &[]);
        assert!(kinds(&found).contains(&kind.to_owned()), "{kind}: {found}");
        let output = self.log.run(&["create", &self.url, "healed"]);
        let report = output.report();
        assert!((output.code == Some(0)), "{kind}: {report}");
        assert_contains(&report, logged);
        self.is_right("healed");
        self.fixture.grootfs.ok(&["delete", "healed"]);
        lose();
        let repaired = repair(self.fixture);
        assert_eq!(repaired["is_whole"], true, "{kind}: {repaired}");
        assert!(kinds(&repaired).contains(&kind.to_owned()), "{kind}: {repaired}");
        whole(self.fixture);
        self.fixture.create(&self.url, "repaired");
        self.is_right("repaired");
        self.fixture.grootfs.ok(&["delete", "repaired"]);
        self.is_right("first");
    }

    #[track_caller]
    fn is_right(&self, id: &str) {
        let etc = self.fixture.path(&format!("images/{id}/rootfs/etc"));
        assert_eq!(fs::read_to_string(etc.join("kept")).unwrap(), "base");
        assert_eq!(fs::read_to_string(etc.join("changed")).unwrap(), "new");
        assert!(!etc.join("deleted").exists());
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.fixture.path(below)
    }
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn lost_metadata(fixture: &Fixture) {
    let patient = Patient::new(fixture);
    let file = patient.path(&format!("meta/volume-{}", patient.chain[0]));
    patient.heals("volume_metadata", "volume-metadata-measured-again", || remove(&file));
}

fn broken_metadata(fixture: &Fixture) {
    let patient = Patient::new(fixture);
    let file = patient.path(&format!("meta/volume-{}", patient.chain[1]));
    for garbage in ["{\"Size\":", "nonsense", "{\"Size\":-1}", "[]"] {
        patient.heals("volume_metadata", "volume-metadata-measured-again", || {
            fs::write(&file, garbage).unwrap();
        });
    }
}

/// What a power cut leaves: nobody trusts the layer, and it is pulled again.
fn cut_off_metadata(fixture: &Fixture) {
    let patient = Patient::new(fixture);
    let file = patient.path(&format!("meta/volume-{}", patient.chain[0]));
    fs::write(&file, "").unwrap();
    assert_eq!(kinds(&check(fixture, &[])), ["volume_not_on_disk"]);
    fixture.create(&patient.url, "second");
    patient.is_right("second");
    patient.is_right("first");
    fs::write(&file, "").unwrap();
    let repaired = repair(fixture);
    assert!(kinds(&repaired).contains(&"volume_not_on_disk".to_owned()), "{repaired}");
    assert!(!fixture.path(&format!("volumes/{}", patient.chain[0])).exists());
    // Cleaning takes nothing from under a root that is mounted.
    fixture.grootfs.ok(&["clean"]);
    patient.is_right("first");
    patient.is_right("second");
    fixture.create(&patient.url, "third");
    patient.is_right("third");
    for id in ["first", "second"] {
        fixture.grootfs.ok(&["delete", id]);
    }
    fixture.grootfs.ok(&["clean"]);
    whole(fixture);
    patient.is_right("third");
}

fn another_boot(fixture: &Fixture) {
    let patient = Patient::new(fixture);
    let file = patient.path(&format!("meta/volume-{}", patient.chain[1]));
    fs::write(&file, "{\"Size\":3,\"Boot\":\"another\"}\n").unwrap();
    let found = check(fixture, &[]);
    assert_eq!(kinds(&found), ["volume_not_on_disk"]);
    fixture.create(&patient.url, "second");
    patient.is_right("second");
    assert_contains(&fs::read_to_string(&file).unwrap(), "\"Blobs\"");
}

fn lost_scratch(fixture: &Fixture) {
    let patient = Patient::new(fixture);
    let mut parts = vec!["locks", "tmp"];
    if fixture.is_overlay() {
        parts.extend(["l", "projectids"]);
    }
    for part in parts {
        let directory = patient.path(part);
        patient.heals("part_missing", "store-part-made-again", || {
            fs::remove_dir_all(&directory).unwrap();
        });
    }
    if fixture.is_overlay() {
        let device = patient.path("whiteout_dev");
        patient.heals("part_missing", "store-part-made-again", || remove(&device));
    }
}

/// Short names are overlay's.
mod names {
    use super::*;
    use crate::fixture::Driver;

    #[test]
    fn privileged_overlay_xfs() {
        let fixture = Fixture::new(Driver::OverlayXfs);
        let patient = Patient::new(&fixture);
        let file = patient.path(&format!("l/{}", patient.chain[0]));
        let link = || patient.path(&format!("l/{}", fs::read_to_string(&file).unwrap()));
        let healed = "short-name-made-again";
        let kind = "volume_name";
        patient.heals(kind, healed, || remove(&file));
        patient.heals(kind, healed, || fs::write(&file, "").unwrap());
        patient.heals(kind, healed, || fs::write(&file, "../../etc").unwrap());
        patient.heals(kind, healed, || fs::write(&file, [0xff, 0xfe]).unwrap());
        patient.heals(kind, healed, || remove(&link()));
        // A link that leads to another layer would make a wrong root, and nobody would see it.
        patient.heals(kind, healed, || {
            let other = patient.path(&format!("volumes/{}", patient.chain[1]));
            remove(&link());
            std::os::unix::fs::symlink(other, link()).unwrap();
        });
    }
}

fn lost_namespace(fixture: &Fixture) {
    let patient = Patient::new(fixture);
    let file = patient.path("meta/namespace.json");
    let before = fs::read_to_string(&file).unwrap();
    remove(&file);
    let text = fixture.grootfs.fails(&["create", &patient.url, "x"]);
    assert!(text.starts_with("Store path is not initialized. Please run init-store."), "{text}");
    assert_contains(&text, &file.display().to_string());
    assert_contains(&text, " check`");
    assert_eq!(kinds(&check(fixture, &[])), ["namespace"]);
    assert_eq!(repair(fixture)["is_whole"], true);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    fixture.create(&patient.url, "x");
    patient.is_right("x");
}

fn broken_namespace(fixture: &Fixture) {
    let patient = Patient::new(fixture);
    let file = patient.path("meta/namespace.json");
    let before = fs::read_to_string(&file).unwrap();
    for garbage in ["", "{\"uid-map", "{\"uid-mappings\":[\"a\"],\"gid-mappings\":[]}"] {
        fs::write(&file, garbage).unwrap();
        let text = fixture.grootfs.fails(&["create", &patient.url, "x"]);
        assert_contains(&text, &format!("invalid namespace file {}", file.display()));
        assert_contains(&text, " check`");
        assert_eq!(kinds(&check(fixture, &[])), ["namespace"]);
        assert_eq!(repair(fixture)["is_whole"], true);
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
    }
    whole(fixture);
}

/// Where ids are mapped, nobody can know all of the mappings: they are never made up.
fn namespace_of_mapped_ids(fixture: &Fixture) {
    // Once with a root of its own, once with one that only its layers show.
    for root in ["100000", "0"] {
        fixture.grootfs.ok(&["delete-store"]);
        let first = format!("0:{root}:1");
        let init = [
            "init-store",
            "--uid-mapping",
            &first,
            "--uid-mapping",
            "1:200000:5000",
            "--gid-mapping",
            &first,
            "--gid-mapping",
            "1:200000:5000",
        ];
        fixture.grootfs.ok(&init);
        let layer = testkit::layer::Layer::new()
            .entry(testkit::layer::Entry::file("theirs", "x").owner(7, 7));
        let (url, _) =
            fixture.oci(&format!("image{root}"), &testkit::image::Image::new().layer(&layer));
        fixture.create(&url, "x");
        let file = fixture.path("meta/namespace.json");
        let before = fs::read_to_string(&file).unwrap();
        remove(&file);
        let found = repair(fixture);
        assert_eq!(
            (kinds(&found), &found["is_whole"]),
            (vec!["namespace".to_owned()], &false.into())
        );
        let advice = found["findings"][0]["by_hand"].as_str().unwrap();
        assert_contains(advice, "init-store");
        if root != "0" {
            assert_contains(advice, "--uid-mapping 0:100000:1 --gid-mapping 0:100000:1");
        }
        assert!(!file.exists());
        // What it says is right.
        fixture.grootfs.ok(&init);
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
        whole(fixture);
    }
}

/// From the mount where there is one; nobody guesses that an image uses nothing.
fn lost_dependencies(fixture: &Fixture) {
    let patient = Patient::new(fixture);
    fixture.grootfs.ok(&["create", "--without-mount", &patient.url, "bare"]);
    let file = |id: &str| patient.path(&format!("meta/dependencies/image:{id}.json"));
    let before = fs::read_to_string(file("first")).unwrap();
    let losses: [fn(&Path); 3] = [
        |file| remove(file),
        |file| fs::write(file, "").unwrap(),
        |file| fs::write(file, "[\"half").unwrap(),
    ];
    for lose in losses {
        lose(&file("first"));
        assert_eq!(kinds(&check(fixture, &[])), ["image_dependencies"]);
        // Neither creates nor limits of others are in its way.
        fixture.create(&patient.url, "other");
        fixture.grootfs.ok(&["delete", "other"]);
        let repaired = repair(fixture);
        assert_eq!(repaired["is_whole"], fixture.is_overlay(), "{repaired}");
        if !fixture.is_overlay() {
            fs::write(file("first"), &before).unwrap();
        }
        assert_eq!(fs::read_to_string(file("first")).unwrap(), before);
        whole(fixture);
    }
    remove(&file("bare"));
    let repaired = repair(fixture);
    assert_eq!(kinds(&repaired), ["image_dependencies"]);
    assert_eq!(repaired["is_whole"], false);
    assert_contains(repaired["findings"][0]["by_hand"].as_str().unwrap(), "grootfs delete bare");
    assert!(!file("bare").exists());
    fixture.grootfs.ok(&["delete", "bare"]);
    whole(fixture);
}

/// Files with the bytes of layers are overlay's.
mod sizes {
    use super::*;
    use crate::fixture::Driver;

    #[test]
    fn privileged_overlay_xfs() {
        let fixture = Fixture::new(Driver::OverlayXfs);
        let patient = Patient::new(&fixture);
        let file = patient.path("images/first/image_info");
        let losses: [fn(&Path); 3] = [
            |file| remove(file),
            |file| fs::write(file, "").unwrap(),
            |file| fs::write(file, "14 bytes").unwrap(),
        ];
        for lose in losses {
            lose(&file);
            fixture.create(&patient.url, "other");
            fixture.grootfs.ok(&["delete", "other"]);
            assert_eq!(kinds(&check(&fixture, &[])), ["image_size"]);
            assert_eq!(repair(&fixture)["is_whole"], true);
            assert_eq!(fs::read_to_string(&file).unwrap(), "14");
            whole(&fixture);
        }
    }
}
