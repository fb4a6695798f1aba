//! Mending what was found.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, openat};

use super::{Checker, Finding, Outcome};
use crate::driver::faults::ProjectFault;
use crate::error::{AtPath, chain};
use crate::idmap::{IdMappings, Owner};
use crate::store::gc::{Cleaner, Request};
use crate::store::id::ImageId;
use crate::store::layout::ImagePaths;
use crate::store::locks::{self, Patience};
use crate::store::{Error, Store, dependencies, init, namespace, quarantine, volumes};

/// How something is mended.
#[derive(Debug, Clone)]
pub enum Fix {
    /// Make a directory of the store.
    Part(PathBuf, Owner),
    /// Make the driver's own parts.
    DriverParts(Owner),
    /// Give a directory of the store to somebody, with a mode.
    Access(PathBuf, Owner, u32),
    /// Write that ids are not mapped.
    Namespace,
    /// Measure a volume.
    Metadata(String),
    /// Make the short name of a volume again.
    Name(String),
    /// Take a volume out of the way, for this reason.
    SetAside(String, String),
    /// Write which volumes an image uses.
    Dependencies(ImageId, Vec<String>),
    /// Write how many bytes the layers of an image have.
    Size(ImagePaths, u64),
    /// Mend a project.
    Project(ProjectFault),
    /// Remove what killed processes have left.
    Leftovers,
}

impl Checker<'_> {
    /// Mends what can be mended; parts of the store come first in the list. What fails is noted.
    pub(super) fn mend(&self, findings: &mut [Finding]) -> Result<(), Error> {
        for finding in findings.iter_mut() {
            if self.interrupt.is_stopped() {
                return Err(Error::Interrupted);
            }
            if let Some(fix) = finding.fix.as_ref().filter(|fix| !matches!(fix, Fix::Leftovers))
                && let Err(error) = self.apply(fix)
            {
                finding.outcome = Outcome::Failed(chain(&error));
            }
        }
        // All at once, and last: of a layer that was taken out of the way, records are left.
        let leaves = |fix: &Fix| matches!(fix, Fix::Leftovers | Fix::SetAside(..));
        if !findings.iter().any(|finding| finding.fix.as_ref().is_some_and(leaves)) {
            return Ok(());
        }
        if let Err(error) = self.remove_leftovers() {
            for finding in findings {
                if matches!(finding.fix, Some(Fix::Leftovers)) {
                    finding.outcome = Outcome::Failed(chain(&error));
                }
            }
        }
        Ok(())
    }

    fn apply(&self, fix: &Fix) -> Result<(), Error> {
        // Before there are locks.
        match fix {
            Fix::Part(path, owner) => return init::make_part(self.layout, path, *owner),
            Fix::DriverParts(owner) => return Ok(self.driver.configure_store(Some(*owner))?),
            _ => {}
        }
        let patience = Patience::of(self.lock_limit, &self.interrupt);
        let _lock = locks::global_exclusive(self.layout, &patience)?;
        match fix {
            Fix::Access(path, owner, mode) => give(path, *owner, *mode),
            Fix::Namespace => namespace::replace(self.layout, &IdMappings::default()),
            Fix::Metadata(name) => self.measure(name),
            Fix::Name(name) => Ok(self.driver.mend_volume(name)?),
            Fix::SetAside(name, why) => self.set_aside(name, why),
            Fix::Dependencies(id, volumes) => dependencies::write(self.layout, id, volumes),
            Fix::Size(image, bytes) => Ok(crate::driver::rewrite_number(&image.info(), *bytes)?),
            Fix::Project(fault) => Ok(self.driver.mend_project(fault)?),
            Fix::Part(..) | Fix::DriverParts(_) | Fix::Leftovers => Ok(()),
        }
    }

    fn measure(&self, name: &str) -> Result<(), Error> {
        // A create may have been faster.
        if volumes::read_metadata(self.layout, name).is_ok() {
            return Ok(());
        }
        volumes::write_metadata(self.layout, name, &volumes::measured(self.layout, name)?)
    }

    fn set_aside(&self, name: &str, why: &str) -> Result<(), Error> {
        // Not waited for, as another lock is held: who has it is pulling this layer.
        match locks::try_acquire(self.layout, name)? {
            Some(_layer) => quarantine::set_aside(self.layout, self.driver, name, why)?,
            None => return Ok(()),
        };
        locks::forget(self.layout, name)
    }

    fn remove_leftovers(&self) -> Result<(), Error> {
        // Whose the store is does not matter for what is removed.
        let store = Store { layout: self.layout.clone(), mappings: IdMappings::default() };
        let request = Request {
            lock_limit: self.lock_limit,
            interrupt: self.interrupt.clone(),
            ..Request::default()
        };
        let cleaner =
            Cleaner { store: &store, driver: self.driver, request: &request, log: self.log };
        cleaner.remove_leftovers()
    }
}

/// The path belongs to the store's owner, who could have it lead anywhere: no link is followed.
fn give(path: &Path, owner: Owner, mode: u32) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory: OwnedFd = openat(CWD, path, flags, Mode::empty()).at("open", path)?;
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    fchown(&directory, Some(uid), Some(gid)).at("chown", path)?;
    Ok(fchmod(&directory, Mode::from_raw_mode(mode)).at("chmod", path)?)
}
