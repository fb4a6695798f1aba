//! Which proxy leads to a server: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` and their
//! lower-case twins, by the rules of Go's `net/http`, which every other client of this field has.

use std::net::IpAddr;

use super::address::Address;

/// The variables, read once.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<String>,
    https: Option<String>,
    no_proxy: Vec<String>,
}

impl Proxies {
    /// From the environment.
    pub fn from_env() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let found = variable(name).or_else(|| variable(&name.to_ascii_lowercase()));
            found.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let all = either("ALL_PROXY");
        let no_proxy = either("NO_PROXY").unwrap_or_default();
        Self {
            http: either("HTTP_PROXY").or_else(|| all.clone()),
            https: either("HTTPS_PROXY").or(all),
            no_proxy: no_proxy
                .split(',')
                .map(|entry| entry.trim().to_ascii_lowercase())
                .filter(|entry| !entry.is_empty())
                .collect(),
        }
    }

    /// The proxy for a server; `None` to go there directly.
    pub fn to(&self, address: &Address) -> Option<&str> {
        let proxy = if address.is_https() { &self.https } else { &self.http };
        proxy.as_deref().filter(|_| !self.goes_directly(address))
    }

    fn goes_directly(&self, address: &Address) -> bool {
        let host = address.host_name().to_ascii_lowercase();
        let ip: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
            return true;
        }
        self.no_proxy.iter().any(|entry| matches(entry, &host, ip, address.port()))
    }
}

/// Whether one entry of `NO_PROXY` names a host: `*`, an address, a network, a name or a suffix.
fn matches(entry: &str, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let (Some((network, bits)), Some(ip)) = (entry.split_once('/'), ip) {
        let network = network.parse().ok().zip(bits.parse().ok());
        return network.is_some_and(|(network, bits)| in_network(ip, network, bits));
    }
    let (name, wanted_port) = match entry.rsplit_once(':') {
        // More than one colon and no brackets: an IPv6 address.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, port.parse::<u16>().ok())
        }
        _ => (entry, None),
    };
    if wanted_port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(wanted) = name.parse::<IpAddr>() {
        return ip == Some(wanted);
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    match name.strip_prefix('.') {
        // `.example.org`: everything below it.
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
        None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
    }
}

fn in_network(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (ip, network, width) = match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            (u128::from(u32::from(ip)), u128::from(u32::from(network)), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => (u128::from(ip), u128::from(network), 128),
        _ => return false,
    };
    let shift = width - bits.min(width);
    bits <= width && (shift >= 128 || ip >> shift == network >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn chooses_by_scheme() {
        let found = |variables: &[(&str, &str)], url: &str| {
            proxies(variables).to(&Address::parse(url).unwrap()).map(ToOwned::to_owned)
        };
        let both = [("HTTP_PROXY", "http://p:1"), ("https_proxy", "http://s:2")];
        assert_eq!(found(&both, "http://h/").as_deref(), Some("http://p:1"));
        assert_eq!(found(&both, "https://h/").as_deref(), Some("http://s:2"));
        assert_eq!(found(&[("HTTP_PROXY", "p")], "https://h/"), None);
        assert_eq!(
            found(&[("all_proxy", "socks5://p")], "https://h/").as_deref(),
            Some("socks5://p")
        );
        assert_eq!(found(&both, "http://127.0.0.1:5000/"), None);
        assert_eq!(found(&both, "http://localhost/"), None);
    }

    #[test]
    fn leaves_out_what_no_proxy_names() {
        for (no_proxy, url, directly) in [
            ("example.org", "http://example.org/", true),
            ("example.org", "http://a.example.org/", true),
            ("example.org", "http://badexample.org/", false),
            (".example.org", "http://example.org/", false),
            (".example.org", "http://a.EXAMPLE.org/", true),
            ("*.example.org", "http://a.example.org/", true),
            ("*", "http://h/", true),
            ("a, b ,c", "http://b/", true),
            ("h:5000", "http://h:5000/", true),
            ("h:5000", "http://h/", false),
            ("10.0.0.0/8", "http://10.1.2.3:5000/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("10.0.0.0/99", "http://10.0.0.0/", false),
            ("10.1.2.3", "http://10.1.2.3/", true),
            ("fd00::/8", "http://[fd00::1]:5000/", true),
            ("[fd00::1]:5000", "http://[fd00::1]:5000/", true),
            ("fd00::1", "http://[fd00::1]/", true),
            ("", "http://h/", false),
        ] {
            let proxies = proxies(&[("HTTP_PROXY", "http://p"), ("NO_PROXY", no_proxy)]);
            let found = proxies.to(&Address::parse(url).unwrap());
            assert_eq!(found.is_none(), directly, "{no_proxy} {url}");
        }
    }
}
