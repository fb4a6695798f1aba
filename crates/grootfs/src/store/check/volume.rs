//! The layers, and what is written about them.

use std::io;

use super::{Checker, Finding, Fix, Kind};
use crate::driver::faults::VolumeFault;
use crate::error::chain;
use crate::store::durability::{self, NOT_ON_DISK, Trust};
use crate::store::layout::{GARBAGE, INCOMPLETE};
use crate::store::{Error, quarantine, volumes};

use super::parts::names;

/// What it means that a volume is bad, and what is done about it.
const PULLED_AGAIN: &str =
    "takes it out of the way: the next create pulls this layer again, and no other";

impl Checker<'_> {
    /// Names of the volumes that are to be whole.
    pub(super) fn layers(&self) -> Result<Vec<String>, Error> {
        let mut all = names(&self.layout.volumes())?;
        all.retain(|name| !name.starts_with(GARBAGE) && !name.contains(INCOMPLETE));
        Ok(all)
    }

    pub(super) fn look_at_volumes(&self, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for name in self.layers()? {
            if self.interrupt.is_stopped() {
                return Err(Error::Interrupted);
            }
            self.look_at_volume(&name, findings)?;
        }
        for (name, record) in quarantine::used(self.layout)? {
            let images: Vec<&str> = record.images.iter().map(|user| user.id.as_str()).collect();
            findings.push(
                Finding::new(
                    Kind::VolumeQuarantined,
                    format!("quarantine/{name}"),
                    format!("layer {} is damaged: {}", record.volume, record.why),
                )
                .of(&record.volume)
                .means(format!("these images stand on it: {}", images.join(", ")))
                .by_hand("delete them and create them again; clean then takes it away"),
            );
        }
        Ok(())
    }

    fn look_at_volume(&self, name: &str, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let subject = format!("volumes/{name}");
        match self.driver.volume_fault(name)? {
            Some(VolumeFault::Damaged(why)) => {
                findings.push(
                    Finding::new(Kind::VolumeDamaged, subject, why.clone())
                        .of(name)
                        .means("every create that uses this layer fails")
                        .repair(PULLED_AGAIN, Fix::SetAside(name.to_owned(), why)),
                );
                return Ok(());
            }
            Some(VolumeFault::Name(why)) => findings.push(
                Finding::new(Kind::VolumeName, subject, why)
                    .of(name)
                    .means("the next create makes the name again")
                    .repair("makes the name again", Fix::Name(name.to_owned())),
            ),
            None => {}
        }
        self.look_at_metadata(name, findings);
        Ok(())
    }

    fn look_at_metadata(&self, name: &str, findings: &mut Vec<Finding>) {
        let not_on_disk = |problem: &str| {
            Finding::new(Kind::VolumeNotOnDisk, format!("volumes/{name}"), problem)
                .of(name)
                .means("the next create that uses this layer pulls it again")
                .repair(PULLED_AGAIN, Fix::SetAside(name.to_owned(), problem.to_owned()))
        };
        let problem = match volumes::read_metadata(self.layout, name) {
            Ok(metadata)
                if durability::trust(&metadata).is_ok_and(|trust| trust == Trust::Lost) =>
            {
                findings.push(not_on_disk(NOT_ON_DISK));
                return;
            }
            Ok(_) => return,
            Err(_) if !volumes::exists(self.layout, name) => return,
            Err(_) if durability::is_cut_off(self.layout, name) => {
                findings.push(not_on_disk(
                    "its metadata is a file without a byte, as a power cut leaves it",
                ));
                return;
            }
            Err(error) if is_not_found(&error) => "is missing".to_owned(),
            Err(error) => chain(&error),
        };
        findings.push(
            Finding::new(Kind::VolumeMetadata, format!("meta/volume-{name}"), problem)
                .of(name)
                .means("the layer counts as 0 bytes for clean and df, until a create measures it")
                .repair("measures the layer", Fix::Metadata(name.to_owned())),
        );
    }
}

fn is_not_found(error: &Error) -> bool {
    match error {
        Error::Path(path) => path.error.kind() == io::ErrorKind::NotFound,
        Error::Action { source, .. } => is_not_found(source),
        _ => false,
    }
}
