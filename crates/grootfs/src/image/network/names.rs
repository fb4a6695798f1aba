//! Names of servers, looked up within the time limit as long as there can be a thread to wait in.
//!
//! The client's own way ends the program where no thread can be started, and looks a name up again for each
//! request, also where the connection is there.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::Builder;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Authority;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Duration as Limit;

/// How long addresses are good: less than names of registries are mostly given out for.
const KEPT: Duration = Duration::from_secs(20);

/// Looks names up as the system does. Each server has a client, and so a resolver, of its own: it is asked for
/// one name, the server's or its proxy's.
#[derive(Debug, Default)]
pub struct Names {
    found: Mutex<Option<Found>>,
}

#[derive(Debug)]
struct Found {
    /// Scheme, and host with port.
    server: [String; 2],
    addresses: ResolvedSocketAddrs,
    at: Instant,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let part = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let server = [part(uri.scheme_str()), part(uri.authority().map(Authority::as_str))];
        if let Some(addresses) = self.known(&server) {
            return Ok(addresses);
        }
        let addresses = look_up(uri, config, timeout)?;
        let found = Found { server, addresses: addresses.clone(), at: Instant::now() };
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(addresses)
    }
}

impl Names {
    /// What was found a moment ago.
    fn known(&self, server: &[String; 2]) -> Option<ResolvedSocketAddrs> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let found = found.as_ref()?;
        (found.server == *server && found.at.elapsed() < KEPT).then(|| found.addresses.clone())
    }
}

fn look_up(uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
    let here = {
        let (uri, config) = (uri.clone(), config.clone());
        let unlimited = NextTimeout { after: Limit::NotHappening, ..timeout };
        move || DefaultResolver::default().resolve(&uri, &config, unlimited)
    };
    if timeout.after.is_not_happening() || is_address(uri) {
        return here();
    }
    let (sender, found) = mpsc::sync_channel(1);
    let in_thread = here.clone();
    // Nobody listens any more when it took too long.
    match Builder::new().spawn(move || drop(sender.send(in_thread()))) {
        Ok(_) => found.recv_timeout(*timeout.after).unwrap_or(Err(Error::Timeout(timeout.reason))),
        Err(_) => here(),
    }
}

/// Whether nobody has to be asked for the address.
fn is_address(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::Timeout;

    fn resolve(names: &Names, uri: &str) -> Result<String, Error> {
        let limit = Limit::Exact(Duration::from_secs(10));
        let timeout =
            NextTimeout { after: limit, reason: Timeout::Resolve, per_read: None, per_write: None };
        let found = names.resolve(&uri.parse().unwrap(), &Config::default(), timeout)?;
        Ok(found[0].to_string())
    }

    #[test]
    fn addresses_are_good_for_a_while() {
        let names = Names::default();
        assert_eq!(resolve(&names, "http://127.0.0.1:5000/v2/").unwrap(), "127.0.0.1:5000");
        let server = ["http".to_owned(), "registry.invalid".to_owned()];
        names.found.lock().unwrap().as_mut().unwrap().server = server;
        assert_eq!(resolve(&names, "http://registry.invalid/v2/").unwrap(), "127.0.0.1:5000");
        assert!(resolve(&names, "https://registry.invalid/v2/").is_err(), "another port");
        let long_ago = Instant::now().checked_sub(KEPT).unwrap();
        names.found.lock().unwrap().as_mut().unwrap().at = long_ago;
        assert!(resolve(&names, "http://registry.invalid/v2/").is_err());
    }

    #[test]
    fn nobody_is_asked_for_an_address() {
        for (uri, expected) in
            [("http://127.0.0.1:1/", true), ("http://[::1]/", true), ("http://localhost/", false)]
        {
            assert_eq!(is_address(&uri.parse().unwrap()), expected, "{uri}");
        }
    }
}
