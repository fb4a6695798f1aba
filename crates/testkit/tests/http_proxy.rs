//! tinyproxy passes requests on, and tells which.

use std::process::Command;

use testkit::certificates::Certificates;
use testkit::command::run;
use testkit::daemon::require_program;
use testkit::http_proxy::HttpProxy;
use testkit::recording_server::RecordingServer;

/// curl through a proxy; says the status of the last answer.
fn curl(proxy: &str, arguments: &[&str]) -> (Option<i32>, String) {
    require_program("curl", "curl");
    let mut command = Command::new("curl");
    command.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    let output = run(command.args(["--max-time", "20", "--proxy", proxy]).args(arguments));
    (output.code, output.stdout)
}

#[test]
fn proxy_passes_plain_requests_and_tunnels() {
    let certificates = Certificates::generate();
    let plain = RecordingServer::start(200, b"plain");
    let secret = RecordingServer::start_tls(200, b"secret", &certificates);
    let proxy = HttpProxy::start();
    let ca = certificates.ca();
    assert_eq!(curl(&proxy.url(), &[&plain.url()]), (Some(0), "200".into()));
    let tls = [&secret.url(), "--cacert", ca.to_str().unwrap()];
    assert_eq!(curl(&proxy.url(), &tls), (Some(0), "200".into()));
    let wanted = [format!("GET {}/", plain.url()), format!("CONNECT {}", secret.host())];
    assert_eq!(proxy.wait_for_requests(2), wanted);
    assert_eq!(proxy.wait_for_connected(2), ["127.0.0.1", "127.0.0.1"]);
    assert_eq!((plain.requests().len(), secret.requests().len()), (1, 1));
}

#[test]
fn proxy_with_login_lets_in_who_has_the_password() {
    let plain = RecordingServer::start(200, b"plain");
    let proxy = HttpProxy::with_login("me", "s3cret");
    assert_eq!(curl(&proxy.url(), &[&plain.url()]).1, "200");
    assert_eq!(curl(&format!("http://{}", proxy.host()), &[&plain.url()]).1, "407");
    assert_eq!(curl(&format!("http://me:wrong@{}", proxy.host()), &[&plain.url()]).1, "401");
    assert_eq!((proxy.wait_for_requests(3).len(), proxy.connected().len()), (3, 1));
    assert_eq!(plain.requests().len(), 1);
}
