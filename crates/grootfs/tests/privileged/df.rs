//! `df`: where the disk went, for a person and for programs.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testkit::command::{Grootfs, run};
use testkit::filesystem::{Scratch, require_root};
use testkit::image::Image;
use testkit::layer::Layer;

use crate::fixture::{Fixture, PROGRAM, assert_contains, two_layers};

on_both_drivers!(
    empty_stores,
    shared_and_unused_layers,
    limits,
    images_that_are_not_whole,
    broken_metadata,
    broken_dependencies,
    thresholds,
    left_overs,
    layers_on_their_way,
    nobody_is_waited_for,
    backing_files,
);

const MIB: u64 = 1 << 20;

/// Bytes that no file system stores smaller, others for each seed.
fn noise(seed: u32, bytes: u64) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(next).collect()
}

fn table(fixture: &Fixture) -> String {
    fixture.grootfs.ok(&["df"])
}

#[track_caller]
fn json_of(grootfs: &Grootfs) -> Value {
    let text = grootfs.ok(&["df", "--json"]);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn json(fixture: &Fixture) -> Value {
    json_of(&fixture.grootfs)
}

#[track_caller]
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no unsigned number"))
}

/// The row of an image.
#[track_caller]
fn image<'a>(json: &'a Value, id: &str) -> &'a Value {
    let images = json["images"].as_array().unwrap();
    images.iter().find(|image| image["id"] == id).unwrap_or_else(|| panic!("no {id} in {json}"))
}

/// The row of a layer.
#[track_caller]
fn volume<'a>(json: &'a Value, name: &str) -> &'a Value {
    let volumes = json["volumes"].as_array().unwrap();
    volumes.iter().find(|volume| volume["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

fn empty_stores(fixture: &Fixture) {
    let before = fixture.listing();
    let found = json(fixture);
    let none = json!({"count": 0, "bytes": 0, "unknown_count": 0});
    assert_eq!(
        found["layers"],
        json!({
            "used": none, "unused": none, "removing": none, "building": none, "unfinished": none,
            "kept": none,
        })
    );
    assert_eq!((&found["volumes"], &found["images"]), (&json!([]), &json!([])));
    assert_eq!(found["warnings"], json!([]));
    assert_eq!(found["promised"]["committed_bytes"], 0);
    assert_eq!(
        found["clean"],
        json!({
            "reclaimable_bytes": 0, "removed_images": none, "measured_bytes": 0, "threshold_bytes": 0,
            "threshold_reached": true, "keep_recent": false, "threshold_unreachable": false,
        })
    );
    let store = &found["store"];
    assert_eq!(store["path"], fixture.grootfs.store().to_str().unwrap());
    assert_eq!(store["driver"], fixture.driver.name());
    assert_eq!(store["mount_point"], fixture.mount_point().to_str().unwrap());
    assert_eq!(store["backing_file"], Value::Null);
    let (size, free) = (number(&store["size_bytes"]), number(&store["free_bytes"]));
    // Of the 512 MiB of the device the file system itself takes some.
    assert!((300 * MIB..=512 * MIB).contains(&size), "{size}");
    assert!(free > 0 && free + number(&store["used_bytes"]) <= size, "{store}");
    let text = table(fixture);
    assert_contains(&text, "IMAGES: 0\n");
    assert_contains(&text, "no layer is in use");
    // Nothing of it writes.
    before.assert_same(&fixture.listing());
}

fn shared_and_unused_layers(fixture: &Fixture) {
    let base = Layer::new().file("base", noise(1, 3 * MIB));
    let one = Image::new().layer(&base).layer(&Layer::new().file("one", noise(2, 2 * MIB)));
    let two = Image::new().layer(&base).layer(&Layer::new().file("two", noise(3, MIB)));
    for (name, image) in [("one", &one), ("two", &two)] {
        let (url, _) = fixture.oci(name, image);
        fixture.create(&url, name);
    }
    let found = json(fixture);
    let layers = &found["layers"];
    assert_eq!(layers["used"], json!({"count": 3, "bytes": 6 * MIB, "unknown_count": 0}));
    assert_eq!(layers["unused"]["count"], 0);
    let [shared, own] = one.chain_ids().try_into().unwrap();
    assert_eq!(volume(&found, &shared)["images"], json!(["one", "two"]));
    assert_eq!(
        volume(&found, &own),
        &json!({"name": own, "state": "used", "bytes": 2 * MIB, "images": ["one"]})
    );
    assert_eq!(image(&found, "one")["layers_bytes"], 5 * MIB);
    assert_eq!(image(&found, "one")["state"], "whole");
    let text = table(fixture);
    assert_contains(&text, "6 MiB in 3 layers that 2 images use");
    assert_contains(&text, &format!("3 MiB  {}  one, two\n", &shared[..12]));
    // What `df` says is what `clean` does.
    fixture.grootfs.ok(&["delete", "one"]);
    let found = json(fixture);
    assert_eq!(
        found["layers"]["unused"],
        json!({"count": 1, "bytes": 2 * MIB, "unknown_count": 0})
    );
    assert_eq!(found["clean"]["reclaimable_bytes"], 2 * MIB);
    assert_eq!(volume(&found, &own)["state"], "unused");
    assert_contains(&table(fixture), "Gives back  2 MiB\n");
    fixture.grootfs.ok(&["clean"]);
    let found = json(fixture);
    assert_eq!(found["clean"]["reclaimable_bytes"], 0);
    assert_eq!(found["layers"]["used"]["bytes"], 4 * MIB);
    assert_eq!(found["layers"]["unused"]["count"], 0);
}

fn limits(fixture: &Fixture) {
    let (url, _) =
        fixture.oci("image", &Image::new().layer(&Layer::new().file("f", noise(1, MIB))));
    let small = fixture.create(&url, "small");
    if !fixture.has_quotas() {
        // Nobody counts: the row says why, and shows no number that nobody has.
        let found = json(fixture);
        let row = image(&found, "small");
        for key in ["total_bytes", "exclusive_bytes", "inodes_used"] {
            assert_eq!(row[key], Value::Null, "{key}");
        }
        assert_eq!(row["limit_bytes"], 0);
        assert_contains(row["problem"].as_str().unwrap(), "not measured: disk limits are not");
        assert_eq!(found["promised"]["unlimited_images"], 1);
        assert_contains(&table(fixture), "whole [1]  small\n");
        return;
    }
    let limit = 100 * MIB;
    let with_limit = ["create", "--disk-limit-size-bytes", &limit.to_string(), &url];
    fixture.grootfs.ok(&[&with_limit[..], &["large"]].concat());
    let large = fixture.path("images/large/rootfs");
    fs::write(small.rootfs().join("more"), noise(4, 2 * MIB)).unwrap();
    fs::write(large.join("more"), noise(5, 8 * MIB)).unwrap();
    sync(fixture);
    let found = json(fixture);
    let ids: Vec<&Value> =
        found["images"].as_array().unwrap().iter().map(|image| &image["id"]).collect();
    assert_eq!(ids, ["large", "small"]);
    let row = image(&found, "large");
    let (total, exclusive) = (number(&row["total_bytes"]), number(&row["exclusive_bytes"]));
    assert!((8 * MIB..10 * MIB).contains(&exclusive), "{exclusive}");
    assert!((9 * MIB..11 * MIB).contains(&total), "{total}");
    assert_eq!(number(&row["committed_bytes"]), limit);
    // The kernel holds overlay-xfs to what is left for what is written.
    let held = if fixture.is_overlay() { limit - MIB } else { limit };
    assert_eq!(number(&row["limit_bytes"]), held);
    assert_eq!(row["inodes_used"].is_null(), !fixture.is_overlay(), "{row}");
    assert_eq!(
        (&image(&found, "small")["limit_bytes"], &row["problem"]),
        (&json!(0), &Value::Null)
    );
    let promised = &found["promised"];
    let size = number(&found["store"]["size_bytes"]);
    assert_eq!(
        promised,
        &json!({
            "limited_images": 1, "unlimited_images": 1, "unknown_images": 0, "committed_bytes": limit,
            "committed_percent": limit * 100 / size, "may_still_write_bytes": held - exclusive,
        })
    );
    let text = table(fixture);
    assert_contains(&text, "100 MiB for 1 image, layers included");
    assert_contains(&text, "1 image: it may fill the disk");
    // More is promised than there is.
    for id in ["a", "b", "c", "d", "e"] {
        fixture.grootfs.ok(&[&with_limit[..], &[id]].concat());
    }
    let found = json(fixture);
    assert_eq!(found["promised"]["committed_bytes"], 6 * limit);
    assert_contains(found["warnings"][0].as_str().unwrap(), "images may still write");
}

/// XFS counts what is written when it gets its place on the disk.
fn sync(fixture: &Fixture) {
    run(Command::new("sync").arg("--file-system").arg(fixture.mount_point())).success();
}

fn images_that_are_not_whole(fixture: &Fixture) {
    let image_of_two = two_layers();
    let (url, _) = fixture.oci("image", &image_of_two);
    for id in ["whole", "half", "layerless"] {
        fixture.create(&url, id);
    }
    fs::remove_file(fixture.path("meta/dependencies/image:half.json")).unwrap();
    let dependencies = fixture.path("meta/dependencies/image:layerless.json");
    fs::write(&dependencies, "[\"no\\u001bsuch\"]").unwrap();
    fs::create_dir(fixture.path("images/stray")).unwrap();
    fs::write(fixture.path("images/file"), "").unwrap();
    fs::create_dir(fixture.path("images/new\nline")).unwrap();
    let found = json(fixture);
    let states: Vec<(&str, &str)> = ["file", "half", "layerless", "new\nline", "stray", "whole"]
        .iter()
        .map(|id| (*id, image(&found, id)["state"].as_str().unwrap()))
        .collect();
    assert_eq!(
        states,
        [
            ("file", "broken"),
            ("half", "unfinished"),
            ("layerless", "broken"),
            ("new\nline", "broken"),
            ("stray", "unfinished"),
            ("whole", "whole")
        ]
    );
    assert_contains(image(&found, "half")["problem"].as_str().unwrap(), "no dependency file");
    for name in image_of_two.chain_ids() {
        // A mount shows the layers of `half` as well.
        let images = volume(&found, &name)["images"].as_array().unwrap();
        assert!(images.contains(&json!("whole")), "{images:?}");
    }
    let text = table(fixture);
    assert_contains(&text, "its layer no\\u{1b}such is not in the store");
    assert_contains(&text, "it is no directory");
    assert_contains(&text, "  new\\nline\n");
    assert_contains(&text, "id `new\\nline` contains invalid characters");
    assert_contains(&text, "no dependency file");
    for id in ["half", "stray"] {
        fixture.grootfs.ok(&["delete", id]);
    }
    assert!(!table(fixture).contains("unfinished"));
}

fn broken_metadata(fixture: &Fixture) {
    let base = Layer::new().file("base", noise(1, MIB));
    let image = Image::new()
        .layer(&base)
        .layer(&Layer::new().file("a", "a"))
        .layer(&Layer::new().file("b", "b"));
    let (url, _) = fixture.oci("image", &image);
    fixture.create(&url, "x");
    let [_, lost, broken] = image.chain_ids().try_into().unwrap();
    fs::remove_file(fixture.path(&format!("meta/volume-{lost}"))).unwrap();
    fs::write(fixture.path(&format!("meta/volume-{broken}")), "{\"Size\":-1}").unwrap();
    let found = json(fixture);
    assert_eq!(found["layers"]["used"], json!({"count": 3, "bytes": MIB, "unknown_count": 2}));
    assert_eq!(volume(&found, &lost)["bytes"], Value::Null);
    assert_eq!(volume(&found, &broken)["bytes"], Value::Null);
    assert_contains(found["warnings"][0].as_str().unwrap(), "layers without a known size");
    assert_contains(&table(fixture), "1 MiB + ?");
}

/// What `df` says then is still what `clean` does.
fn broken_dependencies(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    fixture.create(&url, "x");
    let (old, _) = fixture.oci("old", &Image::new().layer(&Layer::new().file("old", [1; 5000])));
    fixture.grootfs.ok(&["pull", &old]);
    assert_eq!(json(fixture)["clean"]["reclaimable_bytes"], 5000);
    fs::write(fixture.path("meta/dependencies/image:x.json"), "[").unwrap();
    let found = json(fixture);
    let row = image(&found, "x");
    assert_eq!((&row["state"], &row["layers_bytes"]), (&json!("broken"), &Value::Null));
    assert_contains(row["problem"].as_str().unwrap(), "image:x.json");
    let volumes = found["volumes"].as_array().unwrap().iter();
    let stays = |volume: &&Value| volume["state"] == "used" || volume["state"] == "kept";
    let mut expected: Vec<&str> =
        volumes.filter(stays).map(|volume| volume["name"].as_str().unwrap()).collect();
    expected.sort_unstable();
    fixture.grootfs.ok(&["clean"]);
    assert_eq!(fixture.names("volumes"), expected);
    fixture.grootfs.ok(&["delete", "x"]);
    assert_eq!(json(fixture)["images"], json!([]));
}

/// A layer that is being written is told from one whose process is gone; one that a pull needs is kept.
fn layers_on_their_way(fixture: &Fixture) {
    let image = Image::new().layer(&Layer::new().file("f", [1; 5000]));
    let (url, _) = fixture.oci("image", &image);
    fixture.grootfs.ok(&["pull", &url]);
    let [chain] = image.chain_ids().try_into().unwrap();
    let key = "c".repeat(64);
    fs::create_dir(fixture.path(&format!("volumes/{key}-incomplete-1-2"))).unwrap();
    let intent = fixture.path("tmp/pull-1-2");
    fs::write(&intent, format!("[\"{chain}\"]")).unwrap();
    let layers = json(fixture)["layers"].clone();
    assert_eq!(
        (&layers["unfinished"]["count"], &layers["unused"]["count"]),
        (&json!(1), &json!(1))
    );
    let lock = fixture.path(&format!("locks/{key}.lock"));
    let held: Value = serde_json::from_str(&locked(fixture, &[&lock, &intent])).unwrap();
    let layers = &held["layers"];
    assert_eq!((&layers["building"]["count"], &layers["kept"]["count"]), (&json!(1), &json!(1)));
    assert_eq!(held["clean"]["reclaimable_bytes"], 0);
}

/// What `df --json` prints while these files are locked.
#[track_caller]
fn locked(fixture: &Fixture, locks: &[&Path]) -> String {
    let df = fixture.grootfs.command(&["df", "--json"]);
    let mut line = Vec::new();
    for lock in locks {
        line.extend(["flock", "--exclusive", "--no-fork"].map(OsStr::new));
        line.push(lock.as_os_str());
    }
    line.push(df.get_program());
    line.extend(df.get_args());
    run(Command::new(line[0]).args(&line[1..])).success()
}

fn thresholds(fixture: &Fixture) {
    let image = Image::new().layer(&Layer::new().file("f", [1; 5000]));
    let (url, _) = fixture.oci("image", &image);
    fixture.grootfs.ok(&["pull", &url]);
    let with = |threshold: u64, more: &str| {
        let file = fixture.scratch("config.yml");
        fs::write(&file, format!("clean:\n  threshold_bytes: {threshold}\n{more}")).unwrap();
        let grootfs = Grootfs::new(PROGRAM, fixture.grootfs.store())
            .with(&["--config", file.to_str().unwrap()]);
        (json_of(&grootfs)["clean"].clone(), grootfs.ok(&["df"]), grootfs)
    };
    let (clean, text, _) = with(5000, "");
    assert_eq!(
        (&clean["threshold_reached"], &clean["threshold_bytes"]),
        (&json!(true), &json!(5000))
    );
    assert_contains(&text, "4.8 KiB, the store holds 4.8 KiB: reached");
    let (clean, text, _) = with(5000, "  keep_recent: true\n");
    assert_eq!(clean["keep_recent"], true);
    assert_contains(&text, "Gives back  at most 4.8 KiB");
    let (clean, text, grootfs) = with(5001, "");
    assert_eq!(clean["threshold_reached"], false);
    assert_eq!(clean["reclaimable_bytes"], 5000);
    assert_contains(&text, "nothing now, 4.8 KiB with `--threshold-bytes 0`");
    assert!(!text.contains("WARNINGS"), "{text}");
    assert_eq!(grootfs.ok(&["clean"]), "threshold not reached: skipping clean\n");
    let (clean, text, _) = with(1 << 40, "");
    assert_eq!(clean["threshold_unreachable"], true);
    assert_contains(&text, "the threshold of `clean` is 1 TiB (1099511627776 bytes)");
}

fn left_overs(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    fixture.create(&url, "x");
    let volume = two_layers().chain_ids()[1].clone();
    for name in [format!("{volume}-incomplete-1510099200000000000-77"), format!("gc.{volume}")] {
        fs::create_dir(fixture.path(&format!("volumes/{name}"))).unwrap();
    }
    fs::write(fixture.path(&format!("meta/volume-gc.{volume}")), "{\"Size\":7000}\n").unwrap();
    fs::create_dir_all(fixture.path("tmp/gc.image-1510099200000000000-77-y/rootfs")).unwrap();
    let found = json(fixture);
    let layers = &found["layers"];
    assert_eq!(layers["removing"], json!({"count": 1, "bytes": 7000, "unknown_count": 0}));
    assert_eq!(layers["unfinished"], json!({"count": 1, "bytes": 0, "unknown_count": 1}));
    assert_eq!(found["clean"]["removed_images"]["count"], 1);
    assert!(number(&found["clean"]["reclaimable_bytes"]) >= 7000);
    let text = table(fixture);
    assert_contains(&text, "IMAGES: 1, and 1 being removed");
    assert_contains(&text, "half built");
    fixture.grootfs.ok(&["clean"]);
    let found = json(fixture);
    assert_eq!(found["layers"]["removing"]["count"], 0);
    assert_eq!(found["layers"]["unfinished"]["count"], 0);
    assert_eq!(found["clean"]["removed_images"]["count"], 0);
}

/// Neither for a clean, nor for a create or delete of an image.
fn nobody_is_waited_for(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &two_layers());
    fixture.create(&url, "x");
    let expected = json(fixture)["images"].clone();
    for lock in ["locks/global-groot-lock.lock", "images/x"] {
        let text = locked(fixture, &[&fixture.path(lock)]);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["images"], expected);
    }
}

fn backing_files(fixture: &Fixture) {
    require_root();
    let scratch = Scratch::new();
    let size = 320 * MIB;
    let grootfs =
        Grootfs::new(PROGRAM, scratch.join("store")).with(&["--driver", fixture.driver.name()]);
    grootfs.ok(&["init-store", "--store-size-bytes", &size.to_string()]);
    let found = json_of(&grootfs);
    let (store, file) = (&found["store"], &found["store"]["backing_file"]);
    assert_eq!(store["mount_point"], grootfs.store().to_str().unwrap());
    assert_eq!(file["path"], scratch.join("store.backing-store").to_str().unwrap());
    assert_eq!(number(&file["size_bytes"]), size);
    assert!((1..size).contains(&number(&file["allocated_bytes"])), "{file}");
    assert!(number(&file["free_bytes"]) > 0);
    assert_contains(&grootfs.ok(&["df"]), "store.backing-store\n");
    // Not mounted, as after a reboot, it is no store, and nobody counts the wrong disk.
    run(Command::new("umount").arg(grootfs.store())).success();
    assert_contains(&grootfs.fails(&["df"]), "Please run init-store");
}
