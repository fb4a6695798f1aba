//! Many processes on one store at once, and some of them are killed at a moment of chance's choice.
//!
//! Every worker makes, looks at, limits and deletes roots of its own, whose trees are compared with their
//! references from the moment they are printed until the worker deletes them; all of them clean, and quarrel about
//! some ids that belong to everybody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use testkit::command::{Output, TIME_LIMIT, start};
use testkit::image::Image;
use testkit::layer::{Entry, Layer};
use testkit::tree::Tree;

use super::chance::Chance;
use super::kills::reference;
use super::{Before, number};
use crate::fixture::{Fixture, Spec};

on_both_drivers!(random_kills, race);

/// Processes at the same time.
const WORKERS: u64 = 5;

/// Seconds where nobody asks for more.
const SHORT: u64 = 4;

/// Ids of nobody.
const SHARED: [&str; 3] = ["shared-0", "shared-1", "shared-2"];

/// Milliseconds after which a process is killed, at most: some are done by then, cold pulls are not.
const LONGEST_LIFE: u64 = 60;

/// One process of five is killed.
fn random_kills(fixture: &Fixture) {
    soak(fixture, "random kills", 5);
}

/// Nobody is killed.
fn race(fixture: &Fixture) {
    soak(fixture, "race", 0);
}

/// An image and what comes out of it.
struct Known {
    url: String,
    tree: Tree,
}

/// Four images on one base, two of them on one more layer.
fn images() -> Vec<Image> {
    let layer = |name: &str, files: u8| {
        let files = (0..files).map(|n| Entry::file(format!("{name}/{n}"), vec![n; 9000]));
        files.fold(Layer::new().directory(name), Layer::entry)
    };
    let base = Image::new().layer(&layer("base", 60));
    let shared = base.clone().layer(&layer("shared", 20)).layer(&Layer::new().whiteout("base/3"));
    let top = |image: &Image, name: &str| image.clone().layer(&layer(name, 30));
    vec![top(&base, "a"), top(&base, "b"), top(&shared, "c"), top(&shared, "d")]
}

fn soak(fixture: &Fixture, test: &str, killed_of: u64) {
    let known: Vec<Known> = images()
        .iter()
        .enumerate()
        .map(|(number, image)| {
            let (url, _) = fixture.oci(&format!("image-{number}"), image);
            let tree = reference(fixture, &url);
            Known { url, tree }
        })
        .collect();
    let limits = {
        fixture.create(&known[0].url, "limited");
        let limit = ["limit", "--disk-limit-size-bytes", "90000000", "limited"];
        let limits = fixture.grootfs.run(&limit).code == Some(0);
        fixture.grootfs.ok(&["delete", "limited"]);
        limits
    };
    let before = Before::of(fixture);
    let mut chance = Chance::new(test);
    let until =
        Instant::now() + Duration::from_secs(number("GROOTFS_SOAK_SECONDS").unwrap_or(SHORT));
    let counts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let chance = chance.branch();
                let worker = Worker { fixture, known: &known, chance, number, killed_of, limits };
                scope.spawn(move || worker.work(until))
            })
            .collect();
        let counts = workers.into_iter().map(|worker| worker.join().expect("a worker"));
        counts.fold(Counts::default(), Counts::add)
    });
    println!("{test}: {counts:?}, no findings");
    assert!(counts.roots > 0 && (counts.killed > 0) == (killed_of > 0), "{counts:?}");
    before.assert_restored(fixture, test);
    before.assert_nothing_stale(fixture);
}

/// What was done.
#[derive(Debug, Default)]
struct Counts {
    commands: u64,
    killed: u64,
    roots: u64,
    looks: u64,
}

impl Counts {
    fn add(self, other: Self) -> Self {
        Self {
            commands: self.commands + other.commands,
            killed: self.killed + other.killed,
            roots: self.roots + other.roots,
            looks: self.looks + other.looks,
        }
    }
}

/// Somebody who does one thing after the other.
struct Worker<'a> {
    fixture: &'a Fixture,
    known: &'a [Known],
    chance: Chance,
    number: u64,
    /// One process of so many is killed; 0 for none.
    killed_of: u64,
    /// Whether the file system holds limits.
    limits: bool,
}

impl Worker<'_> {
    fn work(mut self, until: Instant) -> Counts {
        let mut counts = Counts::default();
        let mut own: BTreeMap<String, &Known> = BTreeMap::new();
        let known = self.known;
        for turn in 0.. {
            if Instant::now() >= until {
                break;
            }
            let some = self.chance.one_of(known);
            match self.chance.below(10) {
                0..4 => {
                    let id = format!("own-{}-{turn}", self.number);
                    let made = self.run(&mut counts, &["create", &some.url, &id]);
                    // A printed root is whole, whatever happened to its process afterwards.
                    if made.stdout.ends_with('\n') && made.code != Some(1) {
                        counts.roots += 1;
                        self.look(&mut counts, &id, some, Some(made.stdout));
                        own.insert(id, some);
                    } else if made.code.is_none() {
                        self.delete(&mut counts, &id);
                    } else {
                        panic!("{}", made.report());
                    }
                }
                4..6 => {
                    let Some((id, known)) = self.choose(&own) else { continue };
                    self.look(&mut counts, &id, known, None);
                    self.succeed(&mut counts, &["stats", &id]);
                    if self.limits {
                        let bytes = (90_000_000 + self.chance.below(1_000_000)).to_string();
                        self.succeed(
                            &mut counts,
                            &["limit", "--disk-limit-size-bytes", &bytes, &id],
                        );
                    }
                }
                6 | 7 => {
                    let Some((id, _)) = self.choose(&own) else { continue };
                    self.delete(&mut counts, &id);
                    own.remove(&id);
                }
                8 => {
                    let threshold = ["0", "100000", "99999999"];
                    let threshold = *self.chance.one_of(&threshold);
                    self.succeed(&mut counts, &["clean", "--threshold-bytes", threshold]);
                }
                _ => self.quarrel(&mut counts, some),
            }
        }
        for (id, known) in &own {
            self.look(&mut counts, id, known, None);
        }
        counts
    }

    fn choose<'k>(&mut self, own: &BTreeMap<String, &'k Known>) -> Option<(String, &'k Known)> {
        let all: Vec<_> = own.iter().collect();
        (!all.is_empty())
            .then(|| self.chance.one_of(&all))
            .map(|(id, known)| ((*id).clone(), **known))
    }

    /// Runs a command, and perhaps kills it.
    fn run(&mut self, counts: &mut Counts, arguments: &[&str]) -> Output {
        counts.commands += 1;
        let mut running = start(&mut self.fixture.grootfs.command(arguments));
        if self.killed_of > 0 && self.chance.below(self.killed_of) == 0 {
            let life = Duration::from_micros(self.chance.below(LONGEST_LIFE * 1000));
            std::thread::sleep(life);
            running.kill();
        }
        let output = running.finish(TIME_LIMIT);
        counts.killed += u64::from(output.code.is_none());
        output
    }

    fn succeed(&mut self, counts: &mut Counts, arguments: &[&str]) {
        let output = self.run(counts, arguments);
        assert!(matches!(output.code, None | Some(0)), "{}", output.report());
    }

    /// Deletes, until it is not killed.
    fn delete(&mut self, counts: &mut Counts, id: &str) {
        while self.run(counts, &["delete", id]).code != Some(0) {}
        assert!(!self.fixture.path(&format!("images/{id}")).exists(), "{id} was deleted");
    }

    /// A root is what it must be.
    fn look(&mut self, counts: &mut Counts, id: &str, known: &Known, line: Option<String>) {
        counts.looks += 1;
        let line = line.unwrap_or_else(|| {
            let rootfs = self.fixture.path(&format!("images/{id}/rootfs"));
            format!("{{\"root\":{{\"path\":\"{}\"}}}}", rootfs.display())
        });
        let found = known.tree.diff(&Spec::new(line).tree());
        assert!(found.0.is_empty(), "{id} is not what it was made of:\n{found}");
    }

    /// Makes or deletes what others make and delete as well.
    fn quarrel(&mut self, counts: &mut Counts, known: &Known) {
        let id = *self.chance.one_of(&SHARED);
        let output = match self.chance.below(3) {
            0 => self.run(counts, &["create", &known.url, id]),
            1 => self.run(counts, &["delete", id]),
            _ => self.run(counts, &["stats", id]),
        };
        let expected =
            ["{", "image for id", "making image: image `shared-", "Image ", "image not found"];
        let is_known = expected.iter().any(|text| output.stdout.starts_with(text));
        assert!(output.code.is_none() || is_known, "{}", output.report());
    }
}
