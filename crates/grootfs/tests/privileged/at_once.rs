//! Several processes on one store.

use std::fs;

use testkit::command::{Running, TIME_LIMIT, start};
use testkit::image::Image;
use testkit::layer::{Entry, Layer};

use crate::fixture::Fixture;

on_both_drivers!(
    one_id_twice,
    one_image_twenty_times,
    create_and_delete_and_clean,
    creates_and_deletes_of_one_id,
);

/// Large enough that processes meet.
fn image() -> Image {
    let layer = |name: &str| {
        let files = (0..50).map(|n| Entry::file(format!("{name}/{n}"), vec![n; 20_000]));
        files.fold(Layer::new().directory(name), Layer::entry)
    };
    Image::new().layer(&layer("a")).layer(&layer("b")).layer(&layer("c"))
}

fn begin(fixture: &Fixture, arguments: &[&str]) -> Running {
    start(&mut fixture.grootfs.command(arguments))
}

fn one_id_twice(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &image());
    for round in 0..5 {
        let id = format!("x{round}");
        let both = [begin(fixture, &["create", &url, &id]), begin(fixture, &["create", &url, &id])];
        let mut outputs = both.map(|running| running.finish(TIME_LIMIT));
        outputs.sort_by_key(|output| output.code);
        let [won, lost] = outputs;
        let line = won.success();
        assert_eq!(lost.failure(), format!("image for id `{id}` already exists\n"));
        assert!(line.contains(&format!("images/{id}/rootfs")));
        let rootfs = fixture.path(&format!("images/{id}/rootfs"));
        assert_eq!(fs::read_dir(rootfs).unwrap().count(), 3);
        let dependencies = fixture.path(&format!("meta/dependencies/image:{id}.json"));
        assert!(dependencies.exists());
        fixture.grootfs.ok(&["delete", &id]);
        fixture.grootfs.ok(&["clean"]);
        assert!(fixture.names("volumes").is_empty());
        assert!(fixture.names("tmp").is_empty());
        assert!(fixture.mounts().is_empty());
    }
}

fn one_image_twenty_times(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &image());
    let ids: Vec<String> = (0..20).map(|number| format!("x{number}")).collect();
    let running: Vec<Running> =
        ids.iter().map(|id| begin(fixture, &["create", &url, id])).collect();
    for one in running {
        one.finish(TIME_LIMIT).success();
    }
    let mut expected = image().chain_ids();
    expected.sort();
    assert_eq!(fixture.names("volumes"), expected);
    for id in &ids {
        let file = fixture.path(&format!("images/{id}/rootfs/c/49"));
        assert_eq!(fs::metadata(file).unwrap().len(), 20_000);
    }
    let running: Vec<Running> = ids.iter().map(|id| begin(fixture, &["delete", id])).collect();
    for one in running {
        one.finish(TIME_LIMIT).success();
    }
    assert!(fixture.names("images").is_empty() && fixture.names("tmp").is_empty());
    assert!(fixture.mounts().is_empty());
}

/// `clean` takes nothing away under a create, whatever the order in which they run.
fn create_and_delete_and_clean(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &image());
    for round in 0..5 {
        let ids: Vec<String> = (0..4).map(|number| format!("x{round}-{number}")).collect();
        let creates: Vec<Running> =
            ids.iter().map(|id| begin(fixture, &["create", &url, id])).collect();
        let cleans: Vec<Running> = (0..3).map(|_| begin(fixture, &["clean"])).collect();
        for one in creates.into_iter().chain(cleans) {
            one.finish(TIME_LIMIT).success();
        }
        for id in &ids {
            let file = fixture.path(&format!("images/{id}/rootfs/a/49"));
            assert_eq!(fs::metadata(file).unwrap().len(), 20_000);
        }
        // Two deletes of each: one does it, and neither fails.
        let deletes: Vec<Running> =
            ids.iter().chain(&ids).map(|id| begin(fixture, &["delete", id])).collect();
        let cleans: Vec<Running> = (0..3).map(|_| begin(fixture, &["clean"])).collect();
        for one in deletes.into_iter().chain(cleans) {
            one.finish(TIME_LIMIT).success();
        }
    }
    fixture.grootfs.ok(&["clean"]);
    assert!(fixture.names("images").is_empty() && fixture.names("tmp").is_empty());
    assert!(fixture.names("volumes").is_empty(), "{:?}", fixture.names("volumes"));
}

/// Whoever comes first: an image that is there is whole, and knows its layers.
fn creates_and_deletes_of_one_id(fixture: &Fixture) {
    let (url, _) = fixture.oci("image", &image());
    fixture.create(&url, "keeps-the-layers");
    for round in 0..12 {
        let running: Vec<Running> = (0..8)
            .map(|number| match number % 2 {
                0 => begin(fixture, &["create", &url, "x"]),
                _ => begin(fixture, &["delete", "x"]),
            })
            .collect();
        for one in running {
            let output = one.finish(TIME_LIMIT);
            assert!(matches!(output.code, Some(0 | 1)), "{}", output.report());
            let known =
                ["{\"ociVersion\"", "image for id `x` already exists", "Image `x` not found"];
            let others = ["Image x deleted", "image `x` was deleted while it was being made"];
            let start =
                |text: &&str| output.stdout.trim_start_matches("making image: ").starts_with(text);
            assert!(known.iter().chain(&others).any(start), "{}", output.report());
        }
        let dependencies = fixture.path("meta/dependencies/image:x.json").exists();
        let there = fixture.path("images/x").exists();
        assert_eq!(there, dependencies, "round {round}");
        if there {
            assert!(fixture.path("images/x/rootfs/c/49").exists());
            fixture.grootfs.ok(&["delete", "x"]);
        }
        let mut dependencies = fixture.names("meta/dependencies");
        // What the image was made of when it was last pulled stays.
        dependencies.retain(|name| !name.starts_with("baseimage:"));
        let kept = ["from:keeps-the-layers.json", "image:keeps-the-layers.json"];
        assert_eq!(dependencies, kept);
        assert_eq!(fixture.names("images"), ["keeps-the-layers"]);
        assert!(fixture.names("tmp").is_empty(), "{:?}", fixture.names("tmp"));
        assert_eq!(fixture.mounts().len(), usize::from(fixture.is_overlay()));
    }
}
