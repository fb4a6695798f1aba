//! Random layers on both drivers, compared with the rules of OCI layers on a tree in memory.
//!
//! `GROOTFS_MODEL_CASES=5000` runs more cases than the few that every run has.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use testkit::image::{Compression, Image};
use testkit::layer::{Entry, Layer};
use testkit::oci_model::{Attributes, Leaf, Model, Node, Operation, Path};
use testkit::tree::Tree;

use crate::fixture::{Driver, Fixture};

/// Cases of a usual run: below half a minute for both drivers.
const CASES: u32 = 200;

/// Few names, so that layers meet.
fn path() -> impl Strategy<Value = Path> {
    proptest::collection::vec("[abc]", 1..4)
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let mode = prop_oneof![Just(0o644), Just(0o755), Just(0o700), Just(0o4711), Just(0o2775)];
    (mode, 0_u32..3, 0_u32..3, 1_i64..2_000_000_000)
        .prop_map(|(mode, uid, gid, mtime)| Attributes { mode, owner: (uid, gid), mtime })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (path(), attributes()).prop_map(|(path, a)| Operation::Directory(path, a)),
        6 => (path(), attributes(), "[a-z]{0,6}").prop_map(|(path, a, text)| {
            Operation::File(path, a, text)
        }),
        2 => (path(), path(), attributes()).prop_map(|(path, target, a)| {
            Operation::Symlink(path, target.join("/"), a)
        }),
        1 => (path(), attributes()).prop_map(|(path, a)| Operation::Fifo(path, a)),
        3 => (path(), path()).prop_map(|(path, target)| Operation::HardLink(path, target)),
        4 => path().prop_map(Operation::Whiteout),
        2 => path().prop_map(Operation::Opaque),
    ]
}

fn layers() -> impl Strategy<Value = Vec<Vec<Operation>>> {
    proptest::collection::vec(proptest::collection::vec(operation(), 0..14), 1..5)
}

fn entry(operation: &Operation) -> Entry {
    let with = |entry: Entry, a: &Attributes| {
        entry.mode(a.mode).owner(a.owner.0.into(), a.owner.1.into()).mtime(a.mtime, 0)
    };
    match operation {
        Operation::Directory(path, a) => with(Entry::directory(path.join("/")), a),
        Operation::File(path, a, content) => with(Entry::file(path.join("/"), content), a),
        Operation::Symlink(path, target, a) => with(Entry::symlink(path.join("/"), target), a),
        Operation::Fifo(path, a) => with(Entry::fifo(path.join("/")), a),
        Operation::HardLink(path, target) => Entry::hard_link(path.join("/"), target.join("/")),
        Operation::Whiteout(path) => Entry::whiteout(&path.join("/")),
        Operation::Opaque(path) => Entry::opaque(&path.join("/")),
    }
}

fn image(layers: &[Vec<Operation>]) -> Image {
    layers.iter().fold(Image::new(), |image, operations| {
        let layer = operations.iter().map(entry).fold(Layer::new(), Layer::entry);
        image.layer_as(&layer, Compression::None)
    })
}

fn with_attributes(kind: &str, mode: bool, a: &Attributes) -> String {
    let mode = if mode { format!(" {:o}", a.mode) } else { String::new() };
    format!("{kind}{mode} {}:{} {}", a.owner.0, a.owner.1, a.mtime)
}

/// What the model expects, one line a path.
fn expected(model: &Model) -> BTreeMap<String, String> {
    let mut first: Vec<(*const Leaf, String)> = Vec::new();
    let mut lines = BTreeMap::new();
    for (path, (node, _)) in &model.nodes {
        let name = path.join("/");
        let mut line = match node {
            Node::Directory(None) => "directory".to_owned(),
            Node::Directory(Some(a)) => with_attributes("directory", true, a),
            Node::Leaf(leaf) => match &**leaf {
                Leaf::File(a, content) => {
                    let hash = testkit::image::Hash::Sha256.digest(content.as_bytes());
                    with_attributes(&format!("file {hash}"), true, a)
                }
                Leaf::Symlink(target, a) => with_attributes(&format!("to {target}"), false, a),
                Leaf::Fifo(a) => with_attributes("fifo", true, a),
            },
        };
        if let Node::Leaf(leaf) = node {
            let at = Rc::as_ptr(leaf);
            match first.iter().find(|(other, _)| *other == at) {
                Some((_, other)) => write!(line, " same as {other}").unwrap(),
                None => first.push((at, name.clone())),
            }
        }
        lines.insert(name, line);
    }
    lines
}

/// What is there, in the same words. Of directories that no entry describes, only the type.
fn found(tree: &Tree, model: &Model) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    for (path, entry) in &tree.entries {
        let name = path.display().to_string();
        if name == "." {
            continue;
        }
        let key: Path = name.split('/').map(str::to_owned).collect();
        let a = Attributes {
            mode: entry.mode,
            owner: (entry.uid, entry.gid),
            mtime: i64::try_from(entry.mtime / 1_000_000_000).unwrap(),
        };
        let mut line = match entry.kind {
            "directory" if matches!(model.nodes.get(&key), Some((Node::Directory(None), _))) => {
                "directory".to_owned()
            }
            "file" => with_attributes(&format!("file sha256:{}", entry.sha256), true, &a),
            "symlink" => with_attributes(&format!("to {}", entry.target), false, &a),
            kind => with_attributes(kind, true, &a),
        };
        if !entry.same_as.is_empty() && entry.same_as != name {
            write!(line, " same as {}", entry.same_as).unwrap();
        }
        lines.insert(name, line);
    }
    lines
}

#[test]
fn privileged_random_layers_on_both_drivers() {
    let fixtures = [Fixture::new(Driver::OverlayXfs), Fixture::new(Driver::Btrfs)];
    let cases = std::env::var("GROOTFS_MODEL_CASES").ok();
    let cases = cases.map_or(CASES, |number| number.parse().unwrap());
    let number = Cell::new(0);
    let mut runner = TestRunner::new(Config {
        cases,
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&layers(), |layers| {
        let (model, layers) = Model::of(&layers);
        let image = image(&layers);
        number.set(number.get() + 1);
        for fixture in &fixtures {
            let (url, _) = fixture.oci("image", &image);
            let spec = fixture.create(&url, "x");
            let found = found(&spec.tree(), &model);
            fixture.grootfs.ok(&["delete", "x"]);
            std::fs::remove_dir_all(fixture.scratch("image")).unwrap();
            if number.get() % 100 == 0 {
                fixture.grootfs.ok(&["clean"]);
            }
            prop_assert_eq!(&found, &expected(&model), "{:?}: {:#?}", fixture.driver, layers);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
