//! `HTTP_PROXY` and its like, with a real proxy.
//!
//! Loopback addresses are never proxied. Both `0x7f000001` and `0.0.0.0` lead to the loopback
//! interface and are neither `localhost` nor a loopback address by name.

use testkit::certificates::Certificates;
use testkit::http_proxy::HttpProxy;
use testkit::registry::Registry;

use crate::fixture::{Driver, Fixture, assert_contains};
use crate::rig::{Rig, push, small};

const NAME: &str = "0x7f000001";

fn named(registry: &Registry) -> String {
    registry.host().replace("127.0.0.1", NAME)
}

#[test]
fn privileged_plain_servers() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = Registry::plain();
    push(&fixture, &registry, "app", &small(1));
    let host = named(&registry);
    let argument = format!("docker://{host}/app");
    let rig = |name: &str| Rig::new(&fixture, name).insecure(&host).insecure(&registry.host());
    for (name, variable) in [("upper", "HTTP_PROXY"), ("lower", "http_proxy"), ("all", "ALL_PROXY")]
    {
        let proxy = HttpProxy::start();
        let rig = rig(name).env(variable, &proxy.url());
        rig.pulls(&[&argument]);
        rig.assert_holds(&small(1));
        assert!(proxy.wait_for_connected(1).iter().all(|connected| connected == NAME));
    }
    let proxy = HttpProxy::start();
    for (name, no_proxy) in
        [("no-proxy", NAME), ("no-proxy-port", host.as_str()), ("no-proxy-all", "x.example, *")]
    {
        for variable in ["NO_PROXY", "no_proxy"] {
            let rig = rig(&format!("{name}-{variable}")).env("HTTP_PROXY", &proxy.url());
            rig.env(variable, no_proxy).pulls(&[&argument]);
        }
    }
    // A loopback address goes directly.
    let rig = rig("loopback").env("HTTP_PROXY", &proxy.url());
    rig.pulls(&[&format!("docker://{}/app", registry.host())]);
    assert!(proxy.requests().is_empty(), "{}", proxy.log());
}

#[test]
fn privileged_proxies_with_a_login() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let certificates = Certificates::generate();
    let safe = Registry::setup().tls(&certificates).start();
    push(&fixture, &safe, "app", &small(1));
    let plain = Registry::plain();
    push(&fixture, &plain, "app", &small(1));
    let proxy = HttpProxy::with_login("me", "s3cret");
    for (name, registry) in [("plain", &plain), ("tls", &safe)] {
        // A name that TLS takes for an address, which it is.
        let host = registry.host().replace("127.0.0.1", "0.0.0.0");
        let argument = format!("docker://{host}/app");
        let rig = |suffix: &str, url: &str| {
            let rig = Rig::new(&fixture, &format!("{name}-{suffix}")).insecure(&host);
            rig.env("HTTP_PROXY", url).env("HTTPS_PROXY", url)
        };
        let right = rig("right", &proxy.url());
        right.pulls(&[&argument]);
        right.assert_holds(&small(1));
        let wrong = proxy.url().replace("s3cret", "hunter2");
        let text = rig("wrong", &wrong).fails(&[&argument]);
        assert!(!text.contains("hunter2"), "{text}");
        assert_contains(&text, "the proxy says: ");
        assert!(!text.contains("tried"), "{text}");
    }
    assert!(proxy.requests().iter().any(|one| one.starts_with("CONNECT ")), "{}", proxy.log());
}

#[test]
fn privileged_proxies_that_are_not_there() {
    let fixture = Fixture::without_store(Driver::Btrfs);
    let registry = Registry::plain();
    let host = named(&registry);
    let rig = |name: &str, url: &str| {
        let config = "pull: {attempts: 1}";
        let rig = Rig::with_config(&fixture, name, config).insecure(&host);
        rig.env("HTTP_PROXY", url).env("HTTPS_PROXY", url)
    };
    let argument = format!("docker://{host}/app");
    let text = rig("gone", "http://me:hunter2@127.0.0.1:1").fails(&[&argument]);
    assert_contains(&text, "refused");
    assert!(!text.contains("hunter2"), "{text}");
    let text = rig("nonsense", "gopher://me:hunter2@x").fails(&[&argument]);
    assert_contains(&text, "is no URL of a proxy");
    assert!(!text.contains("hunter2"), "{text}");
}
