//! Every fault of the fault proxy, as a client that looks at the bytes sees it.

#![expect(clippy::unwrap_used, reason = "a panic here is the test's failure")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::bare_registry::BareRegistry;
use testkit::certificates::Certificates;
use testkit::command::run;
use testkit::daemon::require_program;
use testkit::fault::{Fault, Rule};
use testkit::fault_proxy::FaultProxy;
use testkit::http::message::Headers;
use testkit::http::upstream::exchange;
use testkit::image::{Hash, Image, OciLayout};
use testkit::layer::Layer;
use testkit::link::Link;
use testkit::recording_server::RecordingServer;
use testkit::registry::{Format, Registry};
use testkit::token_server::TokenServer;

const SIZE: usize = 300_000;
const BLOB: &str = "/v2/app/blobs/sha256:b10b";

/// Longer than anything here takes; a test that waits so long has failed.
const LIMIT: Duration = Duration::from_secs(20);

fn blob() -> Vec<u8> {
    (0..SIZE as u64).map(|index| (index.wrapping_mul(index) >> 7) as u8).collect()
}

/// A registry with one blob behind a proxy.
fn proxy() -> (FaultProxy, BareRegistry) {
    let registry = BareRegistry::start();
    registry.add_blob("sha256:b10b", &blob());
    (FaultProxy::start(&registry.host()), registry)
}

/// The bytes of an answer up to the end of the connection.
struct Seen {
    head: String,
    body: Vec<u8>,
    /// What ended the connection, when it was not its polite end.
    error: Option<std::io::ErrorKind>,
}

impl Seen {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn send(host: &str, target: &str, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let head =
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn fetch(host: &str, target: &str, fields: &str) -> Seen {
    let mut bytes = Vec::new();
    let error = send(host, target, fields).read_to_end(&mut bytes).err().map(|error| error.kind());
    let end =
        bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let body = bytes.split_off(end);
    Seen { head: String::from_utf8_lossy(&bytes).into_owned(), body, error }
}

fn curl() -> Command {
    require_program("curl", "curl");
    Command::new("curl")
}

/// One fault on every request for the blob.
fn with_fault(fault: Fault, fields: &str) -> Seen {
    let (proxy, _registry) = proxy();
    proxy.rule(Rule::on("/blobs/").fault(fault));
    fetch(&proxy.host(), BLOB, fields)
}

#[test]
fn without_faults_everything_passes_and_is_logged() {
    let (proxy, _registry) = proxy();
    let seen = fetch(&proxy.host(), BLOB, "Authorization: Basic x\r\nRange: bytes=10-19\r\n");
    assert_eq!((seen.status(), seen.error), (206, None));
    assert_eq!(seen.body, blob()[10..20]);
    assert_eq!(fetch(&proxy.host(), "/v2/none", "").status(), 404);
    let log = proxy.log();
    assert_eq!((log[0].range(), log[0].authorized()), (Some("bytes=10-19"), true));
    assert_eq!((log[0].status, log[0].body_bytes, log[0].finished), (206, 10, true));
    assert_eq!((log[1].status, log[1].range(), log[1].authorized()), (404, None, false));
    assert_eq!((log[0].connection, log[1].connection, proxy.connections()), (1, 2, 2));
    assert_eq!(proxy.body_bytes("sha256:b10b"), 10);
}

#[test]
fn real_registry_can_be_filled_and_read_through_the_proxy() {
    let registry = Registry::plain();
    let proxy = FaultProxy::start(&registry.host());
    let (blob, none) = (blob(), Headers::default());
    let digest = Hash::Sha256.digest(&blob);
    let uploads = "/v2/app/blobs/uploads/";
    let (_, headers, _) = exchange(&proxy.host(), "POST", uploads, &none, b"").unwrap();
    let target = format!("{}&digest={digest}", headers.get("location").unwrap());
    assert_eq!(exchange(&proxy.host(), "PUT", &target, &none, &blob).unwrap().0, 201);
    let target = format!("/v2/app/blobs/{digest}");
    let part = fetch(&proxy.host(), &target, "Range: bytes=299990-\r\n");
    assert_eq!((part.status(), part.body.as_slice()), (206, &blob[299_990..]));
    let (status, headers, body) = exchange(&proxy.host(), "HEAD", &target, &none, b"").unwrap();
    assert_eq!((status, headers.get("content-length"), body.len()), (200, Some("300000"), 0));
}

#[test]
fn connection_is_kept_for_several_requests() {
    let (proxy, _registry) = proxy();
    let mut command = curl();
    let url = format!("{}{BLOB}", proxy.url());
    command.args(["--silent", "--output", "/dev/null", "--output", "/dev/null", &url, &url]);
    run(&mut command).success();
    assert_eq!((proxy.connections(), proxy.log().len()), (1, 2));
}

#[test]
fn body_is_cut_at_the_byte() {
    let seen = with_fault(Fault::CutAt(100_001), "");
    assert_eq!((seen.status(), seen.error, seen.body.len()), (200, None, 100_001));
    assert_eq!(seen.field("content-length"), Some("300000"));
    assert!(blob().starts_with(&seen.body));

    let seen = with_fault(Fault::ResetAt(100_001), "");
    assert_eq!(seen.error, Some(std::io::ErrorKind::ConnectionReset));
    assert!(seen.body.len() <= 100_001 && blob().starts_with(&seen.body));

    let seen = with_fault(Fault::CutHeadAt(20), "");
    assert_eq!((seen.head.len(), seen.body.len(), seen.error), (20, 0, None));

    let seen = with_fault(Fault::Close, "");
    assert_eq!((seen.head.as_str(), seen.error), ("", None));
}

#[test]
fn stall_lasts_until_the_client_goes() {
    let (proxy, _registry) = proxy();
    proxy.rule(Rule::on("/blobs/").first(1).fault(Fault::StallAt(5, LIMIT * 10)));
    let mut client = send(&proxy.host(), BLOB, "");
    proxy.wait_until(LIMIT, |log| log.iter().any(|one| one.body_bytes == 5));
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut bytes = Vec::new();
    let error = client.read_to_end(&mut bytes).unwrap_err().kind();
    assert_eq!(error, std::io::ErrorKind::WouldBlock);
    assert!(bytes.ends_with(&blob()[..5]) && !proxy.log()[0].finished);
    drop(client);
    proxy.wait_until(LIMIT, |log| log[0].finished);
}

#[test]
fn stall_that_is_over_goes_on() {
    let pause = Duration::from_millis(200);
    let start = Instant::now();
    let seen = with_fault(Fault::StallAt(5, pause), "");
    assert!(start.elapsed() >= pause);
    assert!(seen.body == blob());
}

#[test]
fn dropped_proxy_ends_a_stall() {
    let (proxy, _registry) = proxy();
    proxy.rule(Rule::on("/blobs/").fault(Fault::StallAt(5, LIMIT * 10)));
    let mut client = send(&proxy.host(), BLOB, "");
    proxy.wait_until(LIMIT, |log| log.iter().any(|one| one.body_bytes == 5));
    let start = Instant::now();
    drop(proxy);
    assert!(start.elapsed() < LIMIT);
    let mut bytes = Vec::new();
    // Its polite end or a reset: both are an end.
    let _ = client.read_to_end(&mut bytes);
    assert!(bytes.ends_with(&blob()[..5]));
}

#[test]
fn drip_is_slow() {
    let start = Instant::now();
    let seen = with_fault(Fault::Drip(60_000, Duration::from_millis(50)), "");
    assert!(start.elapsed() >= Duration::from_millis(250), "five pieces");
    assert!(seen.body == blob());
}

#[test]
fn wrong_bytes_are_wrong_in_the_whole_and_in_a_part() {
    let mut wrong = blob();
    wrong[1000] = !wrong[1000];
    wrong[1001] = !wrong[1001];
    assert!(with_fault(Fault::Corrupt(1000, 2), "").body == wrong);
    let part = with_fault(Fault::Corrupt(1000, 2), "Range: bytes=990-1000\r\n");
    assert_eq!(part.body, wrong[990..=1000]);
}

#[test]
fn answers_of_the_proxy_itself() {
    for status in [408, 500, 502, 503] {
        assert_eq!(with_fault(Fault::status(status), "").status(), status);
    }
    let seen = with_fault(Fault::retry_after_seconds(429, 7), "");
    assert_eq!((seen.status(), seen.field("retry-after")), (429, Some("7")));
    let seen = with_fault(Fault::retry_after_date(503, Duration::from_secs(100)), "");
    let date = httpdate::parse_http_date(seen.field("retry-after").unwrap()).unwrap();
    let away = date.duration_since(std::time::SystemTime::now()).unwrap();
    assert!((90..=100).contains(&away.as_secs()), "{away:?}");
    let fields = Headers::from([("Content-Type", "text/odd")]);
    let seen = with_fault(Fault::Answer(200, fields, b"mine".into()), "");
    assert_eq!(
        (seen.field("content-type"), seen.body.as_slice()),
        (Some("text/odd"), &b"mine"[..])
    );
    let seen = with_fault(Fault::NotHttp, "");
    assert!(!seen.head.starts_with("HTTP") && !seen.head.is_empty());
}

#[test]
fn redirects_lead_to_a_server_that_remembers() {
    let (proxy, _registry) = proxy();
    let other = RecordingServer::start(200, b"elsewhere");
    proxy.rule(Rule::on("/blobs/").fault(Fault::Redirect(307, other.url())));
    let mut command = curl();
    // curl keeps a hand-made field when it is told to trust the other host too.
    command.args(["--silent", "--location-trusted", "--header", "Authorization: Basic eA=="]);
    let output = run(command.arg(format!("{}{BLOB}", proxy.url()))).success();
    assert_eq!(output, "elsewhere");
    let requests = other.requests();
    assert_eq!((requests.len(), requests[0].target.as_str()), (1, BLOB));
    assert_eq!(requests[0].headers.get("authorization"), Some("Basic eA=="));
}

#[test]
fn redirects_can_go_round_for_ever_and_down_to_plain_http() {
    let (proxy, registry) = proxy();
    proxy.rule(Rule::on("/blobs/").fault(Fault::RedirectLoop));
    let mut command = curl();
    command.args(["--silent", "--location", "--max-redirs", "12"]);
    let output = run(command.arg(format!("{}{BLOB}", proxy.url())));
    assert_eq!((output.code, proxy.log().len()), (Some(47), 13), "curl: too many redirects");
    assert!(proxy.log()[12].target.ends_with("?hop=12"));

    let certificates = Certificates::generate();
    let proxy = FaultProxy::setup().tls(&certificates).start(&registry.host());
    let other = RecordingServer::start(200, b"in the clear");
    proxy.rule(Rule::on("/blobs/").fault(Fault::Redirect(302, other.url())));
    let mut command = curl();
    command.args(["--silent", "--location", "--cacert"]).arg(certificates.ca());
    assert_eq!(run(command.arg(format!("{}{BLOB}", proxy.url()))).success(), "in the clear");
}

#[test]
fn range_is_ignored_or_answered_with_another() {
    let range = "Range: bytes=100-199\r\n";
    let seen = with_fault(Fault::IgnoreRange, range);
    assert_eq!((seen.status(), seen.field("content-range"), seen.body.len()), (200, None, SIZE));
    let seen = with_fault(Fault::ContentRangeOff(-3), range);
    assert_eq!((seen.status(), seen.field("content-range")), (206, Some("bytes 97-196/300000")));
    assert_eq!(seen.body, blob()[100..200]);
}

#[test]
fn lengths_lie() {
    let long = with_fault(Fault::LengthOff(10), "");
    assert_eq!((long.field("content-length"), long.body.len()), (Some("300010"), SIZE));
    let short = with_fault(Fault::LengthOff(-10), "");
    assert_eq!((short.field("content-length"), short.body.len()), (Some("299990"), SIZE));
    let until_close = with_fault(Fault::UntilClose, "");
    assert_eq!((until_close.field("content-length"), until_close.body.len()), (None, SIZE));
    assert_eq!(until_close.field("transfer-encoding"), None);
}

#[test]
fn chunks_and_endless_bodies_have_no_length() {
    let (proxy, _registry) = proxy();
    proxy.rule(Rule::on("/blobs/").nth(1).fault(Fault::Chunked));
    proxy.rule(Rule::on("/blobs/").nth(2).fault(Fault::Endless(2 << 20)));
    for wanted in [SIZE, 2 << 20] {
        let none = Headers::default();
        let (status, headers, body) = exchange(&proxy.host(), "GET", BLOB, &none, b"").unwrap();
        assert_eq!((status, headers.get("content-length"), body.len()), (200, None, wanted));
        assert_eq!(headers.get("transfer-encoding"), Some("chunked"));
        assert!(body.starts_with(&blob()));
    }
    assert_eq!(proxy.body_bytes("/blobs/"), (SIZE + (2 << 20)) as u64);
}

#[test]
fn endless_body_ends_when_the_client_goes() {
    let (proxy, _registry) = proxy();
    proxy.rule(Rule::on("/blobs/").fault(Fault::Endless(u64::MAX)).fault(Fault::UntilClose));
    let client = send(&proxy.host(), BLOB, "");
    proxy.wait_until(LIMIT, |log| log.iter().any(|one| one.body_bytes > SIZE as u64));
    drop(client);
    proxy.wait_until(LIMIT, |log| log[0].finished);
}

#[test]
fn headers_are_huge_or_changed() {
    let seen = with_fault(Fault::HugeHeaders(100, 10_000), "");
    assert!(seen.head.len() > 1_000_000);
    assert_eq!(seen.field("x-padding-99").map(str::len), Some(10_000));
    assert_eq!(seen.body.len(), SIZE);
    let seen = with_fault(Fault::Header("Accept-Ranges".into(), Some("none".into())), "");
    assert_eq!(seen.field("accept-ranges"), Some("none"));
    let seen = with_fault(Fault::Header("Accept-Ranges".into(), None), "");
    assert_eq!(seen.field("accept-ranges"), None);
}

#[test]
fn rules_take_turns() {
    let (proxy, _registry) = proxy();
    proxy.rule(Rule::on("/blobs/").ranged(true).fault(Fault::status(416)));
    proxy.rule(Rule::on("/blobs/").each_path().first(1).fault(Fault::status(503)));
    proxy.rule(Rule::on("/blobs/").method("GET").after(3).fault(Fault::status(500)));
    let get = |target: &str, fields| fetch(&proxy.host(), target, fields).status();
    assert_eq!(get(BLOB, "Range: bytes=0-1\r\n"), 416);
    // The first request for the path was the one above: every rule counts what it matches.
    assert_eq!(get(BLOB, ""), 200);
    assert_eq!(get("/v2/app/blobs/other", ""), 503);
    assert_eq!(get(BLOB, ""), 500);
    proxy.clear_rules();
    assert_eq!(get(BLOB, ""), 200);
    proxy.clear_log();
    assert_eq!(proxy.log(), []);
}

#[test]
fn port_is_refused_while_the_proxy_is_away() {
    let (proxy, _registry) = proxy();
    proxy.go_away();
    let refused = TcpStream::connect(proxy.host()).unwrap_err().kind();
    assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    proxy.come_back();
    assert_eq!(fetch(&proxy.host(), BLOB, "").status(), 200);
}

#[test]
fn server_behind_that_is_gone_is_a_bad_gateway() {
    let (proxy, registry) = proxy();
    drop(registry);
    assert_eq!(fetch(&proxy.host(), BLOB, "").status(), 502);
}

#[test]
fn link_is_slow_and_far() {
    let (_, registry) = proxy();
    let round_trip = Duration::from_millis(40);
    // 300 kB at 1 MB a second: 300 ms for both connections together as for one.
    let link = Link { round_trip, bytes_per_second: Some(1_000_000) };
    let proxy = FaultProxy::setup().link(link).start(&registry.host());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for range in ["Range: bytes=0-149999\r\n", "Range: bytes=150000-\r\n"] {
            let host = proxy.host();
            scope.spawn(move || assert_eq!(fetch(&host, BLOB, range).body.len(), SIZE / 2));
        }
    });
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(370), "{took:?}");
    let start = Instant::now();
    let _ = fetch(&proxy.host(), "/v2/", "");
    assert!(start.elapsed() >= round_trip * 2);
}

#[test]
fn delay_holds_back_the_answer() {
    let start = Instant::now();
    assert_eq!(with_fault(Fault::Delay(Duration::from_millis(150)), "").status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn proxy_speaks_tls_on_ipv6_and_wants_a_client_certificate() {
    let (_, registry) = proxy();
    let certificates = Certificates::generate();
    let proxy = FaultProxy::setup().ipv6().tls_with_client(&certificates).start(&registry.host());
    assert!(proxy.host().starts_with("[::1]:"));
    let url = format!("{}{BLOB}", proxy.url());
    let ask = || {
        let mut command = curl();
        command.args(["--silent", "--globoff", "--output", "/dev/null", "--write-out"]);
        command.args(["%{http_code} %{size_download}", &url, "--cacert"]).arg(certificates.ca());
        command
    };
    assert_ne!(run(&mut ask()).code, Some(0));
    let mut with = ask();
    with.arg("--cert").arg(certificates.client_certificate());
    with.arg("--key").arg(certificates.client_key());
    assert_eq!(run(&mut with).success(), "200 300000");
    proxy.rule(Rule::on("/blobs/").fault(Fault::CutAt(1000)));
    let output = run(&mut with);
    assert!(matches!(output.code, Some(18 | 56)), "curl: partial file: {}", output.report());
    assert_eq!(output.stdout, "200 1000");
}

#[test]
fn real_client_pulls_with_tls_and_tokens_and_does_not_notice_the_proxy() {
    require_program("skopeo", "skopeo");
    let directory = tempfile::tempdir().unwrap();
    let mut layout = OciLayout::new(directory.path().join("layout"));
    let written = layout.add(&Image::new().layer(&Layer::new().file("one", "1")), Some("app"));
    let certificates = Certificates::generate();
    let tokens = TokenServer::setup().tls(&certificates).start();
    let registry = Registry::setup().token_login(&tokens).start();
    registry.push_layout(layout.path(), "app", "app", "1", Format::Kept);
    let proxy = FaultProxy::setup().tls(&certificates).start(&registry.host());
    let copy = directory.path().join("copy");
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "--src-creds", &tokens.credentials()]);
    command.arg("--src-cert-dir").arg(certificates.client_directory());
    command.arg(format!("docker://{}/app:1", proxy.host())).arg(format!("dir:{}", copy.display()));
    run(&mut command).success();
    let manifest = std::fs::read(copy.join("manifest.json")).unwrap();
    assert_eq!(Hash::Sha256.digest(&manifest), written.digest);
    let log = proxy.log();
    assert!(log.iter().any(|one| one.status == 401 && !one.authorized()), "{log:#?}");
    assert!(log.iter().all(|one| one.status == 200 || one.target == "/v2/"), "{log:#?}");
}
