//! What a metrics agent and Prometheus get (contract 8.1, 8.2, B6).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::command::{Output, TIME_LIMIT, start};
use testkit::image::Image;
use testkit::layer::Layer;
use testkit::metrics_agent::{Envelope, MetricsAgent};

use crate::fixture::{Fixture, assert_contains, two_layers};

on_both_drivers!(the_set_of_the_manual, the_set_of_garden, a_file_for_prometheus);
on_both_drivers!(without_store: nobody_listens);

/// Bytes of the files in both layers.
const SIZE: f64 = 14.0;

/// A program whose metrics are looked at after each run.
struct Measured<'a> {
    fixture: &'a Fixture,
    agent: MetricsAgent,
    compat: &'a str,
}

impl<'a> Measured<'a> {
    fn new(fixture: &'a Fixture, compat: &'a str) -> Self {
        Self { fixture, agent: MetricsAgent::start(), compat }
    }

    /// Runs a command; the envelopes, and what it printed.
    fn run(&self, arguments: &[&str]) -> (Vec<Envelope>, Output) {
        let endpoint = self.agent.endpoint();
        let options = ["--metron-endpoint", &endpoint, "--compat", self.compat];
        let output = self.fixture.grootfs.run(&[&options, arguments].concat());
        (self.agent.envelopes(), output)
    }

    /// Runs a command whose envelopes must have these names, each at least once.
    #[track_caller]
    fn sends(&self, arguments: &[&str], expected: &[&str]) -> Vec<Envelope> {
        let (envelopes, output) = self.run(arguments);
        let mut names: Vec<&str> = envelopes.iter().map(Envelope::name).collect();
        names.sort_unstable();
        names.dedup();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected, "{}", output.report());
        envelopes
    }
}

fn count(envelopes: &[Envelope], name: &str) -> usize {
    envelopes.iter().filter(|envelope| envelope.name() == name).count()
}

#[track_caller]
fn value(envelopes: &[Envelope], name: &str) -> f64 {
    envelopes.iter().find(|envelope| envelope.name() == name).unwrap().value()
}

fn sum(envelopes: &[Envelope], name: &str) -> f64 {
    envelopes.iter().filter(|envelope| envelope.name() == name).map(Envelope::value).sum()
}

/// An image of two layers, and one whose layer is not there.
fn images(fixture: &Fixture) -> (String, String) {
    let (good, _) = fixture.oci("good", &two_layers());
    let broken = Image::new().layer(&Layer::new().file("broken", "x"));
    let (bad, written) = fixture.oci("bad", &broken);
    let hex = written.layers[0].strip_prefix("sha256:").unwrap().to_owned();
    fs::remove_file(fixture.scratch("bad").join("blobs/sha256").join(hex)).unwrap();
    (good, bad)
}

fn the_set_of_the_manual(fixture: &Fixture) {
    let (good, bad) = images(fixture);
    let measured = Measured::new(fixture, "v0.30");
    let nothing = |arguments: &[&str]| drop(measured.sends(arguments, &[]));
    let failed = [
        "SharedLockingTime",
        "ExclusiveLockingTime",
        "DownloadTime",
        "UnpackTime",
        "ImageCreationTime",
        "grootfs-error.create",
        "grootfs-create.run",
        "grootfs-create.fail",
        "grootfs-create.run.fail",
        "UnusedLayersSize",
    ];
    let envelopes = measured.sends(&["create", &bad, "x"], &failed);
    let error =
        envelopes.iter().find(|envelope| envelope.name() == "grootfs-error.create").unwrap();
    assert_eq!(error.field("origin"), "grootfs-error.create");
    assert_eq!((error.field("timestamp"), error.field("error.code")), ("", "1"));
    assert_contains(error.field("error.message"), "pulling the image: streaming blob");

    let cached = [
        "SharedLockingTime",
        "ImageCreationTime",
        "grootfs-create.run",
        "grootfs-create.success",
        "grootfs-create.run.success",
        "StoreUsage",
        "UnusedLayersSize",
    ];
    let fresh = [&cached[..], &["ExclusiveLockingTime", "DownloadTime", "UnpackTime"]].concat();
    fixture.grootfs.ok(&["clean"]);
    let envelopes = measured.sends(&["create", &good, "x"], &fresh);
    for name in ["ExclusiveLockingTime", "DownloadTime", "UnpackTime"] {
        assert_eq!(count(&envelopes, name), 2, "{name}");
    }
    check_all(&envelopes);
    assert!(value(&envelopes, "StoreUsage") > 0.0);
    assert_eq!(value(&envelopes, "UnusedLayersSize"), 0.0);
    assert!(value(&envelopes, "ImageCreationTime") > value(&envelopes, "UnpackTime"));
    measured.sends(&["create", &good, "y"], &cached);
    measured.sends(
        &["create", &good, "y"],
        &[
            "grootfs-error.create",
            "grootfs-create.run",
            "grootfs-create.fail",
            "grootfs-create.run.fail",
            "UnusedLayersSize",
        ],
    );

    if fixture.has_quotas() {
        measured.sends(
            &["stats", "y"],
            &[
                "ImageStatsTime",
                "grootfs-stats.run",
                "grootfs-stats.success",
                "grootfs-stats.run.success",
            ],
        );
    }
    measured.sends(
        &["stats", "nobody"],
        &[
            "grootfs-error.stats",
            "grootfs-stats.run",
            "grootfs-stats.fail",
            "grootfs-stats.run.fail",
        ],
    );

    let deleted = [
        "ImageDeletionTime",
        "grootfs-delete.run",
        "grootfs-delete.success",
        "grootfs-delete.run.success",
        "UnusedLayersSize",
    ];
    measured.sends(&["delete", "x"], &deleted);
    let envelopes = measured.sends(&["delete", "y"], &deleted);
    assert_eq!(value(&envelopes, "UnusedLayersSize"), SIZE);
    nothing(&["delete", "y"]);

    measured.sends(
        &["clean", "--threshold-bytes", "1000000000000"],
        &["ImageCleanTime", "UnusedLayersSize"],
    );
    let cleaned = [
        "ExclusiveLockingTime",
        "ImageCleanTime",
        "grootfs-clean.run",
        "grootfs-clean.success",
        "grootfs-clean.run.success",
        "StoreUsage",
        "UnusedLayersSize",
    ];
    let envelopes = measured.sends(&["clean"], &cleaned);
    assert_eq!(value(&envelopes, "UnusedLayersSize"), 0.0);
    let with_clean = [&fresh[..], &["ImageCleanTime"]].concat();
    measured.sends(&["create", "--with-clean", &good, "x"], &with_clean);
    for arguments in [&["list"][..], &["init-store"], &["capacity"], &["config"], &["df"]] {
        nothing(arguments);
    }
}

/// Form and units of all values and counters.
fn check_all(envelopes: &[Envelope]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for envelope in envelopes {
        assert_eq!(envelope.field("origin"), "grootfs");
        let at: u64 = envelope.field("timestamp").parse().unwrap();
        let age = now.checked_sub(Duration::from_nanos(at)).unwrap();
        assert!(age < Duration::from_secs(600), "{envelope:?}");
        if envelope.field("eventType") == "CounterEvent" {
            assert_eq!(envelope.field("counterEvent.delta"), "1");
        } else {
            let unit = if envelope.name().ends_with("Time") { "nanos" } else { "bytes" };
            assert_eq!(envelope.field("valueMetric.unit"), unit);
        }
    }
}

fn the_set_of_garden(fixture: &Fixture) {
    let (good, bad) = images(fixture);
    let measured = Measured::new(fixture, "garden");
    let times = [
        "SharedLockingTime",
        "ExclusiveLockingTime",
        "DownloadTime",
        "UnpackTime",
        "ImageCreationTime",
    ];
    measured.sends(&["create", &bad, "x"], &times);
    fixture.grootfs.ok(&["clean"]);
    let whole = ["DownloadedLayersSizeInBytes", "CommittedQuotaInBytes", "UsedBackingStoreInBytes"];
    let layers = ["UnusedLayersSize", "UsedLayersSize"];
    let envelopes =
        measured.sends(&["create", &good, "x"], &[&times[..], &whole, &layers].concat());
    check_all(&envelopes);
    assert_eq!(value(&envelopes, "UsedLayersSize"), SIZE);
    assert_eq!(value(&envelopes, "DownloadedLayersSizeInBytes"), SIZE);
    // Downloading contains unpacking here.
    assert!(sum(&envelopes, "DownloadTime") > sum(&envelopes, "UnpackTime"));
    if fixture.has_quotas() {
        let create = ["create", "--disk-limit-size-bytes", "20000000", &good, "limited"];
        let (envelopes, output) = measured.run(&create);
        output.success();
        assert!(value(&envelopes, "CommittedQuotaInBytes") > 19_000_000.0);
        measured.sends(&["stats", "x"], &[]);
        fixture.grootfs.ok(&["delete", "limited"]);
    }
    measured.sends(&["delete", "x"], &["ImageDeletionTime", "UnusedLayersSize", "UsedLayersSize"]);
    let envelopes = measured.sends(
        &["clean"],
        &["ExclusiveLockingTime", "ImageCleanTime", "UnusedLayersSize", "UsedLayersSize"],
    );
    assert_eq!(count(&envelopes, "ExclusiveLockingTime"), 2);
}

/// The samples of a file that `promtool` finds nothing wrong with.
fn samples(path: &Path) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(path).unwrap();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::from(fs::File::open(path).unwrap()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool cannot be started (apt-get install prometheus)");
    let status = promtool.wait().unwrap();
    let said = promtool.wait_with_output().unwrap();
    let said = [said.stdout, said.stderr].concat();
    assert!(status.success() && said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

fn a_file_for_prometheus(fixture: &Fixture) {
    let (good, bad) = images(fixture);
    let path = fixture.scratch("grootfs.prom");
    let option = format!("--metrics-textfile={}", path.display());
    let grootfs = fixture.grootfs.clone().with(&[&option]);
    let store = format!("store=\"{}\"", grootfs.store().display());
    let result = |command: &str, result: &str| {
        format!("grootfs_commands_total{{{store},command=\"{command}\",result=\"{result}\"}}")
    };
    // Several at once, each of which counts.
    let ids: Vec<String> = (0..6).map(|id| format!("web-{id}")).collect();
    let running: Vec<_> =
        ids.iter().map(|id| start(&mut grootfs.command(&["create", &good, id]))).collect();
    for create in running {
        create.finish(TIME_LIMIT).success();
    }
    grootfs.fails(&["create", &bad, "x"]);
    grootfs.ok(&["delete", "web-0"]);
    grootfs.ok(&["delete", "nobody"]);
    let found = samples(&path);
    let at = |name: &str| found.get(name).copied().unwrap_or(0.0);
    assert_eq!(at(&result("create", "success")), 6.0);
    assert_eq!(at(&result("create", "failure")), 1.0);
    assert_eq!(at(&result("delete", "success")), 1.0);
    assert_eq!(at(&result("delete", "skipped")), 0.0);
    let labels = format!("{{{store},command=\"create\"}}");
    assert_eq!(at(&format!("grootfs_command_duration_seconds_count{labels}")), 7.0);
    assert!(at(&format!("grootfs_command_duration_seconds_sum{labels}")) > 0.001);
    assert!(at(&format!("grootfs_layer_downloaded_bytes_total{{{store}}}")) > 0.0);
    assert!(at(&format!("grootfs_layer_unpack_seconds_count{{{store}}}")) >= 2.0);
    assert_eq!(at(&format!("grootfs_layers_bytes{{{store},state=\"used\"}}")), SIZE);
    let size = at(&format!("grootfs_filesystem_size_bytes{{{store}}}"));
    let used = at(&format!("grootfs_filesystem_used_bytes{{{store}}}"));
    assert!(0.0 < used && used < size);

    // The configuration file names one too, and a second store goes into the same file.
    let config = fixture.scratch("config.yml");
    fs::write(&config, format!("metrics_textfile: {}\n", path.display())).unwrap();
    let other = testkit::command::Grootfs::new(crate::fixture::PROGRAM, "/no/such/\"store\"")
        .with(&["--config", config.to_str().unwrap()]);
    other.ok(&["clean"]);
    let found = samples(&path);
    let failed = "grootfs_commands_total{store=\"/no/such/\\\"store\\\"\",command=\"clean\",result=\"failure\"}";
    assert_eq!(found.get(failed), Some(&1.0));
    assert_eq!(found.get(&result("create", "success")), Some(&6.0));

    // What is somebody else's stays, and commands work.
    fs::write(&path, "node_load1 0.5\n").unwrap();
    let log = grootfs.with(&["--log-level", "error"]).run(&["delete", "web-1"]);
    assert_contains(&log.stderr, "metrics-failed");
    assert_contains(&log.stderr, "grootfs.prom is left as it is");
    assert_eq!(log.success(), "Image web-1 deleted\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "node_load1 0.5\n");
}

/// Metrics that reach nobody are told of in the log, and that is all.
fn nobody_listens(fixture: &Fixture) {
    fixture.grootfs.ok(&["--metron-endpoint", "127.0.0.1:1", "init-store"]);
    let (good, _) = fixture.oci("good", &two_layers());
    for endpoint in ["127.0.0.1:1", "no-such-host.invalid:1", "nonsense", "127.0.0.1:99999"] {
        let grootfs = fixture.grootfs.clone();
        let grootfs = grootfs.with(&["--metron-endpoint", endpoint, "--log-level", "error"]);
        let output = grootfs.run(&["create", &good, "x"]);
        let resolved = endpoint == "127.0.0.1:1";
        assert_eq!(output.stderr.contains("metrics-failed"), !resolved, "{}", output.report());
        output.success();
        fixture.grootfs.ok(&["delete", "x"]);
    }
}
