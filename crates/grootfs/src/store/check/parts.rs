//! The parts that every store has, and whose it is.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Checker, Finding, Fix, Kind};
use crate::error::{AtPath, chain};
use crate::idmap::Owner;
use crate::store::{Error, namespace, volumes};

/// Ids of users that come with a distribution, and of people, are lower; those that are mapped to are not.
const FIRST_MAPPED: u32 = 65536;

/// Names in a directory of the store, sorted; none where it is missing, which is told as what it is.
pub fn names(directory: &Path) -> Result<Vec<String>, Error> {
    match fs::symlink_metadata(directory) {
        Ok(found) if found.is_dir() => volumes::names(directory),
        _ => Ok(Vec::new()),
    }
}

impl Checker<'_> {
    pub(super) fn look_at_parts(&self, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let root = self.layout.root();
        let found = fs::symlink_metadata(root).at("lstat", root)?;
        let mappings = namespace::read(self.layout);
        let owner = match &mappings {
            Ok(mappings) => mappings.owner(Owner { uid: 0, gid: 0 }),
            // The best guess that there is.
            Err(_) => Owner { uid: found.uid(), gid: found.gid() },
        };
        self.look_at_access(root, &found, owner, 0o077, findings);
        for path in self.layout.directories() {
            self.look_at_directory(&path, owner, findings)?;
        }
        for path in self.driver.missing_parts() {
            let subject = self.below(&path);
            findings.push(
                Finding::new(Kind::PartMissing, subject, "is missing")
                    .means("the next create makes it again")
                    .repair("makes it again", Fix::DriverParts(owner)),
            );
        }
        if let Err(error) = mappings {
            findings.push(self.lost_namespace(&error, owner)?);
        }
        Ok(())
    }

    /// A path as a person reads it: below the store.
    pub(super) fn below(&self, path: &Path) -> String {
        let below = path.strip_prefix(self.layout.root()).unwrap_or(path);
        if below.as_os_str().is_empty() {
            return path.display().to_string();
        }
        below.display().to_string()
    }

    fn look_at_directory(
        &self,
        path: &Path,
        owner: Owner,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let subject = self.below(path);
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let meaning = match *path == self.layout.locks() || *path == self.layout.tmp() {
                    true => "the next create makes it again",
                    false => "what was in it is lost, and every create fails",
                };
                findings.push(
                    Finding::new(Kind::PartMissing, subject, "is missing")
                        .means(meaning)
                        .repair("makes it again, empty", Fix::Part(path.to_owned(), owner)),
                );
            }
            Ok(found) if found.is_dir() => {
                self.look_at_access(path, &found, owner, 0o022, findings);
            }
            Ok(_) => findings.push(
                Finding::new(Kind::PartType, subject, "is no directory")
                    .means("every create fails")
                    .by_hand("move it away and run check --repair"),
            ),
            Err(error) => Err(error).at("lstat", path)?,
        }
        Ok(())
    }

    /// Whether it belongs to the mapped root, and whether others have rights that they may not have.
    fn look_at_access(
        &self,
        path: &Path,
        found: &fs::Metadata,
        owner: Owner,
        forbidden: u32,
        findings: &mut Vec<Finding>,
    ) {
        let mode = found.mode() & 0o7777;
        let problem = if (found.uid(), found.gid()) != (owner.uid, owner.gid) {
            let (uid, gid) = (found.uid(), found.gid());
            format!("belongs to {uid}:{gid} instead of {}:{}", owner.uid, owner.gid)
        } else if mode & forbidden != 0 || mode & 0o700 != 0o700 {
            format!("has mode {mode:04o}")
        } else {
            return;
        };
        let right = if forbidden == 0o077 { 0o700 } else { 0o755 };
        findings.push(
            Finding::new(Kind::PartAccess, self.below(path), problem)
                .means("others may change what is in it, or its owner may not")
                .repair(
                    format!("gives it to {}:{} with mode {right:04o}", owner.uid, owner.gid),
                    Fix::Access(path.to_owned(), owner, right),
                ),
        );
    }

    /// Mappings are written again only where what is there leaves one answer. Wrong ones would give the files of
    /// every later layer to somebody else, and nobody would see it.
    fn lost_namespace(&self, error: &Error, owner: Owner) -> Result<Finding, Error> {
        let path = self.layout.namespace_file();
        let is_missing = matches!(error, Error::NotInitialised { .. });
        let problem = if is_missing { "is missing".to_owned() } else { chain(error) };
        let finding = Finding::new(Kind::Namespace, self.below(&path), problem)
            .means("nobody knows to whom the files of layers belong, so every create fails");
        let store = self.layout.root().display();
        let remove = match is_missing {
            true => String::new(),
            false => format!("rm {} && ", path.display()),
        };
        if (owner.uid, owner.gid) != (0, 0) {
            let Owner { uid, gid } = owner;
            return Ok(finding.by_hand(format!(
                "root in it is {uid}:{gid} outside, but not which ids the others are: {remove}grootfs --store \
                 {store} init-store with the mappings that it was made with (--uid-mapping 0:{uid}:1 --gid-mapping \
                 0:{gid}:1 and the rest, or --rootless <user>:<group>)"
            )));
        }
        if let Some(path) = self.somebody_elses()? {
            return Ok(finding.by_hand(format!(
                "{} belongs to nobody of this machine, so ids were mapped: {remove}grootfs --store {store} \
                 init-store with the --uid-mapping and --gid-mapping that it was made with",
                path.display()
            )));
        }
        Ok(finding.repair(
            "writes that ids are not mapped: the store belongs to root, and nothing in its layers to an id that \
             one maps to",
            Fix::Namespace,
        ))
    }

    /// Something in a volume that belongs to an id as they are mapped to.
    fn somebody_elses(&self) -> Result<Option<PathBuf>, Error> {
        let mut todo = vec![self.layout.volumes()];
        while let Some(directory) = todo.pop() {
            // What goes away meanwhile, or cannot be read, says nothing.
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.filter_map(Result::ok) {
                let path = entry.path();
                let Ok(found) = fs::symlink_metadata(&path) else { continue };
                if found.uid() >= FIRST_MAPPED || found.gid() >= FIRST_MAPPED {
                    return Ok(Some(path));
                }
                if found.is_dir() {
                    todo.push(path);
                }
            }
            if self.interrupt.is_stopped() {
                return Err(Error::Interrupted);
            }
        }
        Ok(None)
    }
}
