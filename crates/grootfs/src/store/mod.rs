//! What lies on disk: layout, locks, volumes, images, dependencies, cleaning, initialising.
//!
//! Publishing is a rename, and a process that is killed at any instruction leaves either nothing
//! or a whole; what it leaves half-made has a name that [`gc`] knows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::driver;
use crate::error::PathError;
use crate::idmap::{IdMappings, Owner};

pub mod accounting;
pub mod check;
pub mod dependencies;
pub mod durability;
mod filesystem;
pub mod gc;
pub mod healing;
pub mod id;
pub mod images;
pub mod init;
pub mod intents;
pub mod layout;
pub mod limits;
pub mod locks;
pub mod manifest;
pub mod namespace;
pub mod origin;
pub mod quarantine;
pub mod volumes;

use layout::Layout;

/// An initialised store.
#[derive(Debug, Clone)]
pub struct Store {
    /// Where everything lies.
    pub layout: Layout,
    /// Which host ids the ids of images are.
    pub mappings: IdMappings,
}

/// Why something in the store went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no store, or only parts of one.
    #[error(
        "Store path is not initialized. Please run init-store. (`{}` is missing)", missing.display()
    )]
    NotInitialised {
        /// The first part that is missing.
        missing: PathBuf,
    },
    /// A store that has lost a part of itself.
    #[error(
        "Store path is not initialized. Please run init-store. (`{}` is missing, but there are layers: \
         `grootfs --store {} check` says how that is mended)",
        missing.display(), store.display()
    )]
    Incomplete {
        /// The first part that is missing.
        missing: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// A file operation.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A lock could not be had.
    #[error("creating lock file for key `{key}`")]
    Lock {
        /// Which lock.
        key: String,
        /// Why.
        source: PathError,
    },
    /// A lock was not to be had in time.
    #[error(
        "timed out waiting for the '{key}' file lock after '{}'{}",
        spoken(*after),
        holder.map_or_else(
            || "; try again".to_owned(),
            |pid| format!(" (process {pid} holds it; try again when it has ended)"),
        )
    )]
    LockTimeout {
        /// Which lock.
        key: String,
        /// How long was waited.
        after: Duration,
        /// Who has it, where the kernel tells.
        holder: Option<u32>,
    },
    /// Somebody asked to stop while a lock was waited for.
    #[error("interrupted")]
    Interrupted,
    /// The driver.
    #[error(transparent)]
    Driver(#[from] driver::Error),
    /// A limit that the image alone exceeds, and what is in the image.
    #[error("{}; largest layers: {largest}", crate::error::chain(&**cause))]
    TooSmall {
        /// The limit and the image; part of the text, so no `source`.
        cause: Box<driver::Error>,
        /// Names of layers with their sizes.
        largest: String,
    },
    /// A bad image id.
    #[error(transparent)]
    Id(#[from] id::IdError),
    /// The id is taken.
    #[error("image for id `{0}` already exists")]
    Exists(id::ImageId),
    /// A delete came between the first step of a create and the next one.
    #[error("image `{0}` was deleted while it was being made; create it again if it is wanted")]
    DeletedMeanwhile(id::ImageId),
    /// An image that is not there.
    #[error("image not found: {0}")]
    NotFound(id::ImageId),
    /// Some action on the store failed for a reason below.
    #[error("{action}")]
    Action {
        /// What was being done, as in the contract's texts.
        action: String,
        /// Why it failed.
        source: Box<Error>,
    },
    /// A file of the store does not hold what it must.
    #[error("{what} {}: {why}", path.display())]
    Broken {
        /// Which kind of file.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Anything else, said in one sentence.
    #[error("{0}")]
    Message(String),
}

/// A time as the original wrote it: `3s`.
fn spoken(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{}s", time.as_secs())
    } else {
        format!("{}ms", time.as_millis())
    }
}

/// Adds what was being done to an error of this room.
pub(crate) trait Doing<T> {
    /// Names the action.
    fn doing(self, action: impl Into<String>) -> Result<T, Error>;
}

impl<T, E: Into<Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: impl Into<String>) -> Result<T, Error> {
        self.map_err(|error| Error::Action {
            action: action.into(),
            source: Box::new(error.into()),
        })
    }
}

impl Store {
    /// Opens a store; an error names the first part that is missing.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let layout = Layout::new(root.to_owned());
        for directory in layout.directories() {
            match std::fs::metadata(&directory) {
                Ok(found) if found.is_dir() => {}
                // Another user's store is there all the same.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    return Err(PathError { operation: "stat", path: directory, error }.into());
                }
                _ => return Err(not_whole(&layout, directory)),
            }
        }
        Self::of(layout)
    }

    /// A store of which only the id mappings have to be there: one image can be deleted from it.
    pub fn of(layout: Layout) -> Result<Self, Error> {
        let mappings = namespace::read(&layout).map_err(|error| match error {
            Error::NotInitialised { missing } => not_whole(&layout, missing),
            Error::Broken { what, path, why } => {
                let store = layout.root().display();
                let why =
                    format!("{why} (`grootfs --store {store} check` says how that is mended)");
                Error::Broken { what, path, why }
            }
            other => other,
        })?;
        let mappings = crate::userns::as_seen_here(mappings);
        Ok(Self { layout, mappings })
    }

    /// Who owns images and volumes: the mapped root, or the caller where nothing is mapped.
    pub fn owner(&self) -> Owner {
        let caller = Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        self.mappings.owner(caller)
    }
}

fn not_whole(layout: &Layout, missing: PathBuf) -> Error {
    match volumes::list(layout) {
        Ok(volumes) if !volumes.is_empty() => {
            Error::Incomplete { missing, store: layout.root().to_owned() }
        }
        _ => Error::NotInitialised { missing },
    }
}
