//! Names of servers, looked up within the time limit as long as there can be a thread to wait in.
//!
//! The client's own way ends the program where no thread can be started.

use std::sync::mpsc;
use std::thread::Builder;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Duration;

/// Looks names up as the system does.
#[derive(Debug)]
pub struct Names;

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let look_up = {
            let (uri, config) = (uri.clone(), config.clone());
            let unlimited = NextTimeout { after: Duration::NotHappening, ..timeout };
            move || DefaultResolver::default().resolve(&uri, &config, unlimited)
        };
        if timeout.after.is_not_happening() {
            return look_up();
        }
        let (sender, found) = mpsc::sync_channel(1);
        let in_thread = look_up.clone();
        // Nobody listens any more when it took too long.
        match Builder::new().spawn(move || drop(sender.send(in_thread()))) {
            Ok(_) => {
                found.recv_timeout(*timeout.after).unwrap_or(Err(Error::Timeout(timeout.reason)))
            }
            Err(_) => look_up(),
        }
    }
}
