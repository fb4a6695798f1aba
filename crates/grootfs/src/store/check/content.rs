//! Whether the trees of volumes are what they were when they were written to disk.

use super::{Checker, Finding, Fix, Kind};
use crate::store::manifest::Manifest;
use crate::store::{Error, volumes};

/// What came out.
#[derive(Debug, Default)]
pub struct Verified {
    /// Volumes that are what they were.
    pub whole: usize,
    /// Volumes of which nobody knows.
    pub without_manifest: usize,
    /// The others.
    pub findings: Vec<Finding>,
}

impl Checker<'_> {
    pub(super) fn verify_all(&self) -> Result<Verified, Error> {
        let mut verified = Verified::default();
        for name in self.layers()? {
            if self.interrupt.is_stopped() {
                return Err(Error::Interrupted);
            }
            let path = self.layout.volume(&name);
            // Damaged volumes and lost metadata are told as what they are.
            let metadata = volumes::read_metadata(self.layout, &name).unwrap_or_default();
            let Some(manifest) = metadata.manifest.filter(|_| path.is_dir()) else {
                verified.without_manifest += 1;
                continue;
            };
            let problem = match Manifest::take(&path) {
                Ok(found) => manifest.difference(&found).map(|difference| difference.to_string()),
                Err(error) => Some(error.to_string()),
            };
            match problem {
                None => verified.whole += 1,
                // Gone while it was read, or another one of its name has come.
                Some(_) if !self.is_still(&name, &manifest) => {}
                Some(problem) => verified.findings.push(
                    Finding::new(Kind::VolumeContent, format!("volumes/{name}"), problem.clone())
                        .of(&name)
                        .means("every root that uses this layer has wrong files")
                        .repair(
                            "takes it out of the way: the next create pulls this layer again, and no other",
                            Fix::SetAside(name, problem),
                        ),
                ),
            }
        }
        Ok(verified)
    }

    fn is_still(&self, name: &str, manifest: &Manifest) -> bool {
        volumes::exists(self.layout, name)
            && volumes::read_metadata(self.layout, name)
                .is_ok_and(|metadata| metadata.manifest.as_ref() == Some(manifest))
    }
}
