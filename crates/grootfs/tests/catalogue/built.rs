//! Errors of disks, kernels and moments that no test can have at will: made by hand, to see their words.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use grootfs::driver::{self, Kind};
use grootfs::error::{Error, PathError, chain};
use grootfs::observe::metrics::dropsonde;
use grootfs::pull;
use grootfs::store;
use grootfs::store::id::ImageId;
use grootfs::{image, unpack, userns};

use crate::{Said, say};

fn in_store(error: store::Error) -> String {
    chain(&Error::Store(error))
}

fn in_layer(source: unpack::Error) -> String {
    let blob = "sha256:<hash>".to_owned();
    chain(&Error::Pull(pull::Error::Unpack { blob, source }))
}

fn io_error(errno: rustix::io::Errno) -> io::Error {
    errno.into()
}

pub fn said() -> Said {
    let mut said = Said::new();
    let id = ImageId::new("web-1").unwrap();
    let path = |text: &str| PathBuf::from(text);
    let full = |operation, at: &str| PathError {
        operation,
        path: path(at),
        error: io_error(rustix::io::Errno::NOSPC),
    };

    for (key, holder) in [
        ("global-groot-lock", Some(4711)),
        ("global-groot-lock", None),
        ("/srv/groot/images/web-1", Some(4711)),
    ] {
        let after = Duration::from_secs(60);
        let error = store::Error::LockTimeout { key: key.into(), after, holder };
        say(&mut said, "lock-timeout", &in_store(error));
    }
    let lock = |source| store::Error::Lock { key: "global-groot-lock".into(), source };
    let file = "/srv/groot/locks/global-groot-lock.lock";
    say(&mut said, "lock-file", &chain(&Error::Pull(pull::Error::Lock(lock(full("open", file))))));
    say(&mut said, "interrupted", &chain(&Error::Interrupted));
    say(&mut said, "deleted-meanwhile", &in_store(store::Error::DeletedMeanwhile(id.clone())));
    say(&mut said, "image-gone", &in_store(store::Error::NotFound(id)));
    say(&mut said, "taken-away", &chain(&Error::Pull(pull::Error::TakenAway)));
    say(&mut said, "other-layer-failed", &chain(&Error::Pull(pull::Error::Stopped)));

    let missing = driver::Error::VolumeMissing(path("/srv/groot/volumes/<hash>"));
    let missing = Error::MakeImage(store::Error::Driver(missing));
    say(&mut said, "layer-missing", &chain(&missing));
    let device = driver::Error::NotAWhiteoutDevice(path("/srv/groot/whiteout_dev"));
    say(&mut said, "whiteout-device", &chain(&Error::Driver(device)));
    let marking = driver::Error::Usage("tardis was not found in the $PATH".into());
    let marking = Error::Pull(pull::Error::Opaque(marking));
    say(&mut said, "opaque-directories", &chain(&marking));
    let wrong = driver::Error::WrongFilesystem {
        path: path("/srv"),
        driver: Kind::OverlayXfs,
        needs: "an XFS mount",
    };
    say(&mut said, "wrong-filesystem", &chain(&Error::Driver(wrong)));

    let reading = unpack::Error::Read(io::Error::other("the connection was lost"));
    say(&mut said, "layer-reading", &in_layer(reading));
    say(&mut said, "layer-with-too-many-entries", &in_layer(unpack::Error::TooManyEntries(5)));
    let entry = unpack::Error::Entry {
        action: "writing to file".into(),
        path: "usr/bin/app".into(),
        errno: rustix::io::Errno::NOSPC,
    };
    say(&mut said, "layer-entry", &in_layer(entry));
    let no_digest = image::Error::Blob(image::Cause::NoDigest);
    say(&mut said, "layer-without-digest", &chain(&Error::Image(no_digest)));

    for error in [userns::Error::Start(io_error(rustix::io::Errno::AGAIN)), userns::Error::Ended(9)]
    {
        say(&mut said, "user-namespace-process", &chain(&Error::Userns(error)));
    }
    let endpoint = || "metrics.example:3457".to_owned();
    let unsent = io_error(rustix::io::Errno::NETUNREACH);
    say(&mut said, "metrics-unsent", &chain(&dropsonde::Error::Unsent(endpoint(), unsent)));
    say(&mut said, "metrics-unsent", &chain(&dropsonde::Error::Slow(endpoint())));
    said
}
