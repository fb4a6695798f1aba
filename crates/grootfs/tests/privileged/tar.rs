//! Plain tar images, compressed or not by their first bytes (contract 4.2).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use testkit::command::run;
use testkit::image::{Compression, Hash, write_tar};
use testkit::layer::Layer;
use testkit::tree::Tree;

use crate::fixture::{Fixture, assert_contains};
use crate::tree::rich_layer;

on_both_drivers!(
    as_tar_unpacks_it,
    compressed_or_not,
    relative_and_odd_names,
    a_changed_file_is_another_image,
    names_and_files,
);

fn as_tar_unpacks_it(fixture: &Fixture) {
    let file = fixture.scratch("image.tar");
    write_tar(&file, &rich_layer(), Compression::None);
    let by_tar = fixture.scratch("by-tar");
    fs::create_dir(&by_tar).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--same-permissions", "--same-owner", "--xattrs"]);
    tar.args(["--xattrs-include=*", "--numeric-owner", "--delay-directory-restore"]);
    run(tar.arg("--file").arg(&file).arg("--directory").arg(&by_tar)).success();
    let spec = fixture.create(file.to_str().unwrap(), "x");
    let comparable = |tree: Tree| {
        tree.without(|path, entry| path.as_os_str() == "." || entry.kind.ends_with("device"))
    };
    let tree = comparable(spec.tree());
    assert!(tree.entries.len() > 20);
    comparable(Tree::read(&by_tar)).assert_same(&tree);
}

fn compressed_or_not(fixture: &Fixture) {
    let layer = Layer::new().directory("d").file("d/f", "content");
    let mut trees = Vec::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        // The name says nothing, the first bytes do.
        let file = fixture.scratch(&format!("image-{compression:?}"));
        write_tar(&file, &layer, compression);
        trees.push(fixture.create(file.to_str().unwrap(), &format!("{compression:?}")).tree());
    }
    assert_eq!(trees[0].paths(), [".", "d", "d/f"]);
    trees[0].assert_same(&trees[1]);
    trees[0].assert_same(&trees[2]);
    assert_eq!(fixture.names("volumes").len(), 3);
}

fn relative_and_odd_names(fixture: &Fixture) {
    let layer = Layer::new().file("f", "content");
    let grootfs = fixture.grootfs.clone().directory(&fixture.scratch(""));
    for (number, name) in
        ["plain.tar", "with blank.tar", "100%25.tar", "ümläut.tar", "./co:lon.tar", "q?x=1.tar"]
            .into_iter()
            .enumerate()
    {
        write_tar(&fixture.scratch(name), &layer, Compression::None);
        let id = format!("image-{number}");
        grootfs.ok(&["create", name, &id]);
        let content = fs::read_to_string(fixture.path(&format!("images/{id}/rootfs/f"))).unwrap();
        assert_eq!(content, "content", "{name}");
    }
}

fn a_changed_file_is_another_image(fixture: &Fixture) {
    let file = fixture.scratch("image.tar");
    let set = |content: &str, nanoseconds| {
        write_tar(&file, &Layer::new().file("f", content), Compression::None);
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_500_000_000, nanoseconds);
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    };
    let argument = file.to_str().unwrap();
    let content =
        |id: &str| fs::read_to_string(fixture.path(&format!("images/{id}/rootfs/f"))).unwrap();
    set("first", 1);
    fixture.create(argument, "a");
    set("second", 2);
    fixture.create(argument, "b");
    assert_eq!((content("a").as_str(), content("b").as_str()), ("first", "second"));
    let hash = Hash::Sha256.digest(argument.as_bytes()).replace("sha256:", "");
    let names = [format!("{hash}-1500000000000000001"), format!("{hash}-1500000000000000002")];
    assert_eq!(fixture.names("volumes"), names);
}

fn names_and_files(fixture: &Fixture) {
    let file = fixture.scratch("image.tar");
    write_tar(&file, &Layer::new().file("a", "12345").file("b", "678"), Compression::Gzip);
    let spec = fixture.create(file.to_str().unwrap(), "x");
    let volumes = fixture.names("volumes");
    let mtime = fs::metadata(&file).unwrap();
    let ending = format!("-{}{:09}", mtime.mtime(), mtime.mtime_nsec());
    assert!(volumes.len() == 1 && volumes[0].ends_with(&ending), "{volumes:?} {ending}");
    let dependencies = fs::read_to_string(fixture.path("meta/dependencies/image:x.json")).unwrap();
    assert_eq!(dependencies, format!("[\"{}\"]", volumes[0]));
    let metadata =
        fs::read_to_string(fixture.path(&format!("meta/volume-{}", volumes[0]))).unwrap();
    // The boot that it was written in is remembered until it is on disk.
    assert!(
        metadata.starts_with("{\"Size\":8,\"Boot\":\"") && metadata.ends_with("\"}\n"),
        "{metadata}"
    );
    // A tar has no environment.
    assert_contains(&spec.line, "\"args\":null,\"cwd\":\"\"}");
}
