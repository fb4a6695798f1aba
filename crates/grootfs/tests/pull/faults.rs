//! Each way in which a server or the way to it can fail, and what comes of it.

use std::time::{Duration, Instant};

use testkit::certificates::Certificates;
use testkit::fault::{Fault, Rule};
use testkit::fault_proxy::{Exchange, FaultProxy};
use testkit::image::{Compression, Image, Written};
use testkit::registry::Registry;

use crate::fixture::{Driver, Fixture, assert_contains};
use crate::rig::{Rig, noisy, push, size_of};

/// Bytes of the layer's file.
const LENGTH: usize = 400_000;

/// What was sent and never read: what the kernel holds for a connection that is closed early.
const IN_FLIGHT: u64 = 8 << 20;

/// Which answers go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Manifest,
    Config,
    Layer,
}

use On::{Config, Layer, Manifest};

/// One row of the table.
#[derive(Debug)]
struct Case {
    name: &'static str,
    on: On,
    rules: Vec<Rule>,
    config: &'static str,
    /// Texts of the error; empty for success.
    error: Vec<&'static str>,
    /// How often the document or blob is asked for.
    requests: usize,
    /// Bytes of bodies that may come beside those of the document or blob itself.
    surplus: u64,
    at_least: Duration,
    at_most: Duration,
}

fn case(name: &'static str, on: On, rules: Vec<Rule>) -> Case {
    Case {
        name,
        on,
        rules,
        config: "",
        error: Vec::new(),
        requests: 1,
        surplus: 0,
        at_least: Duration::ZERO,
        at_most: Duration::from_secs(30),
    }
}

impl Case {
    fn fails(mut self, texts: &[&'static str]) -> Self {
        self.error = texts.to_vec();
        self
    }

    fn requests(self, requests: usize) -> Self {
        Self { requests, ..self }
    }

    fn surplus(self, surplus: u64) -> Self {
        Self { surplus, ..self }
    }

    fn config(self, config: &'static str) -> Self {
        Self { config, ..self }
    }

    fn takes(self, at_least: Duration, at_most: Duration) -> Self {
        Self { at_least, at_most, ..self }
    }
}

/// Always.
fn always(fault: Fault) -> Vec<Rule> {
    vec![Rule::on("").fault(fault)]
}

/// The first so many answers.
fn first(count: u64, fault: Fault) -> Vec<Rule> {
    vec![Rule::on("").first(count).fault(fault)]
}

/// The first answer, and another fault for all later ones.
fn then(one: Fault, other: Fault) -> Vec<Rule> {
    vec![Rule::on("").first(1).fault(one), Rule::on("").after(1).fault(other)]
}

const SECOND: Duration = Duration::from_secs(1);

#[rustfmt::skip]
fn broken_connections() -> Vec<Case> {
    vec![
        case("cut-manifest", Manifest, first(1, Fault::CutAt(100))).requests(2).surplus(100),
        case("cut-config", Config, first(1, Fault::CutAt(50))).requests(2),
        case("cut-layer", Layer, first(1, Fault::CutAt(100_000))).requests(2),
        case("cut-at-0", Layer, first(1, Fault::CutAt(0))).requests(2),
        case("cut-twice-then-further", Layer, first(4, Fault::CutAt(90_000))).requests(5),
        case("cut-always", Layer, always(Fault::CutAt(1000))).requests(3)
            .fails(&["/blobs/sha256:", "(tried 3 times)"]),
        case("cut-head", Layer, first(1, Fault::CutHeadAt(20))).requests(2),
        case("closed", Manifest, first(2, Fault::Close)).requests(3),
        case("closed-always", Layer, always(Fault::Close)).requests(3)
            .fails(&["/blobs/sha256:", "(tried 3 times)"]),
        case("reset-layer", Layer, first(1, Fault::ResetAt(100_000))).requests(2).surplus(100_000),
        case("stalled-layer", Layer, first(1, Fault::StallAt(100_000, 30 * SECOND))).requests(2).surplus(64 << 10)
            .config("pull: {read_timeout_seconds: 1}").takes(SECOND, 5 * SECOND),
        case("stalled-head", Manifest, first(1, Fault::Delay(30 * SECOND))).requests(2)
            .config("pull: {read_timeout_seconds: 1}").takes(SECOND, 5 * SECOND),
        case("stalled-always", Layer, always(Fault::StallAt(0, 30 * SECOND))).requests(2)
            .config("pull: {read_timeout_seconds: 1, attempts: 2}").takes(2 * SECOND, 8 * SECOND)
            .fails(&["timed out waiting", "/blobs/sha256:", "(tried 2 times)"]),
        case("drip", Layer, always(Fault::Drip(20_000, Duration::from_millis(20)))),
        case("took-too-long", Layer, always(Fault::Drip(1000, Duration::from_millis(50)))).requests(2)
            .config("pull: {total_timeout_seconds: 1, attempts: 2}").surplus(20_000)
            .fails(&["took longer than allowed"]),
    ]
}

#[rustfmt::skip]
fn refusals() -> Vec<Case> {
    let retry_after = Fault::retry_after_seconds;
    vec![
        case("429-seconds", Layer, first(1, retry_after(429, 2))).requests(2).surplus(10)
            .takes(2 * SECOND, 6 * SECOND),
        case("429-date", Manifest, first(1, Fault::retry_after_date(429, 4 * SECOND))).requests(2)
            .surplus(10).takes(SECOND, 8 * SECOND),
        case("503-seconds", Config, first(1, retry_after(503, 1))).requests(2).surplus(10)
            .takes(SECOND, 5 * SECOND),
        case("429-an-hour", Layer, first(1, retry_after(429, 3600))).requests(1)
            .takes(Duration::ZERO, 2 * SECOND)
            .fails(&["/blobs/sha256:", "Invalid status code returned: 429"]),
        case("408", Layer, first(1, Fault::status(408))).requests(2).surplus(30),
        case("500-twice-manifest", Manifest, first(2, Fault::status(500))).requests(3).surplus(60),
        case("502-twice-layer", Layer, first(2, Fault::status(502))).requests(3).surplus(60),
        case("500-always", Layer, always(Fault::status(500))).requests(3)
            .fails(&["/blobs/sha256:", "Invalid status code returned: 500", "(tried 3 times)"]),
        case("503-always-manifest", Manifest, always(Fault::status(503))).requests(3)
            .fails(&["/manifests/latest", "Invalid status code returned: 503", "(tried 3 times)"]),
        case("500-once-of-one", Config, always(Fault::status(500))).requests(1)
            .config("pull: {attempts: 1}").fails(&["Invalid status code returned: 500"]),
        case("501", Layer, always(Fault::status(501))).fails(&["returned: 501"]),
        case("404", Layer, always(Fault::status(404))).fails(&["returned: 404"]),
        case("403", Manifest, always(Fault::status(403))).fails(&["returned: 403"]),
        case("416-on-resume", Layer, then(Fault::CutAt(100_000), Fault::status(416))).requests(2)
            .fails(&["returned: 416"]),
        case("500-on-resume", Layer, vec![
            Rule::on("").first(1).fault(Fault::CutAt(100_000)),
            Rule::on("").nth(2).fault(Fault::status(500)),
        ]).requests(3).surplus(30),
    ]
}

#[rustfmt::skip]
fn lies() -> Vec<Case> {
    let digest = "layerID digest mismatch";
    let size = "layer size is different from the value in the manifest";
    vec![
        case("wrong-byte", Layer, always(Fault::Corrupt(300_000, 1))).fails(&[digest]),
        case("wrong-tar-header", Layer, always(Fault::Corrupt(10, 30))).fails(&[digest]),
        case("wrong-config", Config, always(Fault::Corrupt(5, 1))).fails(&["digest mismatch"]),
        case("wrong-manifest", Manifest, always(Fault::Corrupt(5, 1))).fails(&["digest mismatch"]),
        case("range-ignored", Layer, then(Fault::CutAt(100_000), Fault::IgnoreRange)).requests(2)
            .surplus(100_000),
        case("wrong-content-range", Layer, then(Fault::CutAt(100_000), Fault::ContentRangeOff(3)))
            .requests(2).surplus(IN_FLIGHT).fails(&["asked for bytes from 100000 on", "bytes 100003-"]),
        case("endless", Layer, always(Fault::Endless(1 << 30))).surplus(IN_FLIGHT).fails(&[size]),
        case("endless-manifest", Manifest, always(Fault::Endless(1 << 30))).surplus(IN_FLIGHT + (4 << 20))
            .fails(&["an answer of more than 4194304 bytes"]),
        case("endless-config", Config, always(Fault::Endless(1 << 30))).surplus(IN_FLIGHT)
            .fails(&["size mismatch"]),
        case("length-too-long", Layer, always(Fault::LengthOff(10))).fails(&[size]).surplus(IN_FLIGHT),
        case("length-too-short", Layer, always(Fault::LengthOff(-10))).fails(&[size]).surplus(IN_FLIGHT),
        case("manifest-too-long", Manifest, always(Fault::LengthOff(10))).requests(3).surplus(IN_FLIGHT)
            .fails(&["/manifests/latest", "(tried 3 times)"]),
        case("manifest-too-short", Manifest, always(Fault::LengthOff(-10))).fails(&["digest mismatch"]),
        case("chunked", Layer, always(Fault::Chunked)),
        case("chunked-manifest", Manifest, always(Fault::Chunked)),
        case("chunked-cut", Layer, vec![
            Rule::on("").first(1).fault(Fault::Chunked).fault(Fault::CutAt(100_000)),
        ]).requests(2),
        case("until-close", Layer, always(Fault::UntilClose)),
        case("until-close-cut", Layer, vec![
            Rule::on("").first(1).fault(Fault::UntilClose).fault(Fault::CutAt(100_000)),
        ]).requests(2),
        case("huge-headers", Layer, always(Fault::HugeHeaders(3, 40_000))).surplus(IN_FLIGHT)
            .fails(&["too large headers"]),
        case("many-headers", Manifest, always(Fault::HugeHeaders(1000, 10))).surplus(IN_FLIGHT)
            .fails(&["/manifests/latest"]),
        case("not-http", Layer, always(Fault::NotHttp)).fails(&["/blobs/sha256:"]),
        case("redirect-loop", Layer, always(Fault::RedirectLoop)).requests(11)
            .fails(&["more than 10 redirects"]),
        case("redirect-nowhere", Layer, always(Fault::status(302))).fails(&["without a Location"]),
    ]
}

/// The image that is pulled, where it lies, and what it is.
struct Origin {
    registry: Registry,
    image: Image,
    written: Written,
    config: String,
}

fn origin(fixture: &Fixture) -> Origin {
    let registry = Registry::plain();
    let image = Image::new().layer_as(&noisy("noise", LENGTH, 1), Compression::None);
    let written = push(fixture, &registry, "app", &image);
    let manifest = std::fs::read(registry.blob_file(&written.digest)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    Origin { registry, image, written, config }
}

/// Runs one row; what it says when it is not as it should be.
fn check(fixture: &Fixture, origin: &Origin, case: Case) {
    let Case { name, .. } = case;
    let (target, digest) = match case.on {
        Manifest => ("/manifests/".to_owned(), &origin.written.digest),
        Config => (format!("/blobs/{}", origin.config), &origin.config),
        Layer => (format!("/blobs/{}", origin.written.layers[0]), &origin.written.layers[0]),
    };
    let proxy = FaultProxy::start(&origin.registry.host());
    for rule in case.rules {
        proxy.rule(rule.part(&target));
    }
    let rig = Rig::with_config(fixture, name, case.config).insecure(&proxy.host());
    let argument = format!("docker://{}/app:latest", proxy.host());
    let begun = Instant::now();
    if case.error.is_empty() {
        rig.pulls(&[&argument]);
        rig.assert_holds(&origin.image);
    } else {
        let text = rig.fails(&[&argument]);
        case.error.iter().for_each(|part| assert_contains(&text, part));
    }
    let took = begun.elapsed();
    assert!(took >= case.at_least && took <= case.at_most, "{name}: {took:?}");
    let log = proxy.log();
    let asked: Vec<&Exchange> = log.iter().filter(|one| one.target.contains(&target)).collect();
    assert_eq!(asked.len(), case.requests, "{name}: {asked:#?}");
    let size = size_of(&origin.registry, digest);
    let sent = proxy.body_bytes(&target);
    assert!(sent <= size + case.surplus, "{name}: {sent} bytes of {size}: {asked:#?}");
    assert!(!log.iter().any(Exchange::authorized), "{name}");
}

/// All rows at once, each on a store of its own: most of them wait.
fn check_all(cases: Vec<Case>) {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let origin = origin(&fixture);
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let running: Vec<_> = cases
            .into_iter()
            .map(|case| (case.name, scope.spawn(|| check(&fixture, &origin, case))))
            .collect();
        let ended = running.into_iter().map(|(name, thread)| (name, thread.join()));
        ended.filter_map(|(name, ended)| ended.is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "these rows failed, see above: {failed:?}");
}

#[test]
fn privileged_broken_connections() {
    check_all(broken_connections());
}

#[test]
fn privileged_refusals() {
    check_all(refusals());
}

#[test]
fn privileged_lies() {
    check_all(lies());
}

/// The bytes may come from elsewhere, but who we are stays here.
#[test]
fn privileged_redirects_keep_secrets() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let origin = origin(&fixture);
    let closed = Registry::setup().basic_login("me", "s3cret").start();
    push(&fixture, &closed, "app", &origin.image);
    let front = FaultProxy::start(&closed.host());
    let elsewhere = FaultProxy::start(&origin.registry.host());
    front.rule(Rule::on("/blobs/").fault(Fault::Redirect(307, elsewhere.url())));
    let rig = Rig::new(&fixture, "redirect").insecure(&front.host());
    let argument = format!("docker://{}/app", front.host());
    rig.pulls(&["--username", "me", "--password", "s3cret", &argument]);
    rig.assert_holds(&origin.image);
    assert!(front.log().iter().any(Exchange::authorized));
    assert_eq!(elsewhere.log().len(), 2, "configuration and layer");
    assert!(!elsewhere.log().iter().any(Exchange::authorized), "{:#?}", elsewhere.log());
}

#[test]
fn privileged_no_way_from_https_to_http() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let origin = origin(&fixture);
    let certificates = Certificates::generate();
    let front = FaultProxy::setup().tls(&certificates).start(&origin.registry.host());
    let elsewhere = FaultProxy::start(&origin.registry.host());
    front.rule(Rule::on(&origin.written.layers[0]).fault(Fault::Redirect(307, elsewhere.url())));
    let rig = Rig::new(&fixture, "downgrade").insecure(&front.host());
    let text = rig.fails(&[&format!("docker://{}/app", front.host())]);
    assert_contains(&text, "a redirect from https to http");
    assert_contains(&text, "is not followed");
    assert!(elsewhere.log().is_empty());
    // To another server with TLS it goes on.
    let safe = FaultProxy::setup().tls(&certificates).start(&origin.registry.host());
    front.clear_rules();
    front.rule(Rule::on(&origin.written.layers[0]).fault(Fault::Redirect(302, safe.url())));
    let rig = rig.insecure(&safe.host());
    rig.pulls(&[&format!("docker://{}/app", front.host())]);
    rig.assert_holds(&origin.image);
}
