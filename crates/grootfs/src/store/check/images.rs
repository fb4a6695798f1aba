//! The root file systems: their parts, their layers, their projects.

use super::parts::names;
use super::{Checker, Finding, Fix, Kind};
use crate::driver::faults::{ProjectFault, RootFault};
use crate::error::chain;
use crate::store::id::ImageId;
use crate::store::layout::ImagePaths;
use crate::store::{Error, dependencies, gc, images, quarantine, volumes};

impl Checker<'_> {
    pub(super) fn look_at_images(&self, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for name in names(&self.layout.images())? {
            let path = self.layout.images().join(&name);
            match ImageId::new(&name) {
                // Somebody is making or removing it.
                _ if images::is_busy(&path) => {}
                Ok(id) if path.is_dir() && !path.is_symlink() => {
                    self.look_at_image(&id, findings)?;
                }
                _ if path.symlink_metadata().is_err() => {}
                _ => findings.push(
                    Finding::new(Kind::ImageType, format!("images/{name}"), "is no image")
                        .means("list shows it, and nothing else can be done with it")
                        .by_hand("move it away"),
                ),
            }
        }
        Ok(())
    }

    fn look_at_image(&self, id: &ImageId, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let paths = self.layout.image(id);
        let volumes = match dependencies::read(self.layout, id) {
            Ok(Some(volumes)) => {
                self.look_at_layers(id, &volumes, findings)?;
                Some(volumes)
            }
            lost => {
                let problem = match lost {
                    Err(error) => chain(&error),
                    Ok(_) => "is missing".to_owned(),
                };
                findings.push(self.lost_dependencies(id, &paths, problem)?);
                None
            }
        };
        for fault in self.driver.root_faults(&paths)? {
            findings.push(match fault {
                RootFault::Part(path) => {
                    Finding::new(Kind::ImagePart, self.below(&path), "is missing")
                        .of(id.as_str())
                        .means("the image is half made or half deleted")
                        .by_hand(format!("grootfs delete {id}"))
                }
                RootFault::Size(problem) => self.lost_size(id, problem, volumes.as_deref()),
            });
        }
        Ok(())
    }

    fn look_at_layers(
        &self,
        id: &ImageId,
        layers: &[String],
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let kept = quarantine::used(self.layout)?;
        for name in layers.iter().filter(|name| !volumes::exists(self.layout, name)) {
            let is_kept = kept.iter().any(|(_, record)| {
                record.volume == *name && record.images.iter().any(|user| user.id == id.as_str())
            });
            if is_kept {
                continue;
            }
            let meaning = match self.driver.stacks_volumes() {
                true => {
                    "the root stands by itself and works, but the next create pulls the layer again"
                }
                false => {
                    "a root that is mounted works until it is unmounted, and cannot be mounted again"
                }
            };
            findings.push(
                Finding::new(
                    Kind::ImageVolume,
                    format!("images/{id}"),
                    format!("its layer {name} is not there"),
                )
                .of(id.as_str())
                .means(meaning)
                .by_hand("delete it and create it again; any create that uses the layer pulls it"),
            );
            // One line an image.
            break;
        }
        Ok(())
    }

    /// Never guessed: an image that seems to use nothing lets clean take its layers.
    fn lost_dependencies(
        &self,
        id: &ImageId,
        paths: &ImagePaths,
        problem: String,
    ) -> Result<Finding, Error> {
        let file = self.layout.image_dependencies(id);
        let finding = Finding::new(Kind::ImageDependencies, self.below(&file), problem)
            .of(id.as_str())
            .means("nobody knows which layers the image uses, and clean may take them");
        let known = self.driver.root_volumes(paths)?;
        let known = known.filter(|all| all.iter().all(|name| volumes::exists(self.layout, name)));
        Ok(match known {
            Some(volumes) => finding
                .repair("writes the layers of its mount", Fix::Dependencies(id.clone(), volumes)),
            None => finding.by_hand(format!(
                "the image counts as half deleted: grootfs delete {id} removes the rest"
            )),
        })
    }

    fn lost_size(&self, id: &ImageId, problem: String, layers: Option<&[String]>) -> Finding {
        let subject = format!("images/{id}");
        let finding = Finding::new(Kind::ImageSize, subject, problem)
            .of(id.as_str())
            .means("stats cannot tell what the image holds");
        let size =
            |name: &String| volumes::read_metadata(self.layout, name).map(|found| found.size);
        let sum = layers.map(|layers| layers.iter().map(size).sum::<Result<u64, Error>>());
        match sum {
            Some(Ok(bytes)) => finding.repair(
                format!("writes the sum of its layers, {bytes} bytes"),
                Fix::Size(self.layout.image(id), bytes),
            ),
            // Once what is lost of the layers is there again.
            _ => finding
                .by_hand("repair what is lost of its layers first, then run check --repair again"),
        }
    }

    pub(super) fn look_at_projects(&self, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let all = names(&self.layout.images())?.into_iter();
        let mut roots: Vec<ImagePaths> =
            all.map(|name| ImagePaths::at(self.layout.images().join(name))).collect();
        if self.layout.tmp().is_dir() {
            roots.extend(gc::asides(self.layout)?);
        }
        for fault in self.driver.project_faults(&roots)? {
            findings.push(self.project(fault));
        }
        Ok(())
    }

    fn project(&self, fault: ProjectFault) -> Finding {
        let listed = |id: u32| format!("projectids/{id}");
        match &fault {
            ProjectFault::Leaked(id) => {
                Finding::new(Kind::Project, listed(*id), "is in use, and no image has it")
                    .means("the number is lost to later images")
                    .repair("gives it back", Fix::Leftovers)
            }
            ProjectFault::Unlisted(id, image) => {
                let image = self.below(image.dir());
                Finding::new(Kind::Project, listed(*id), format!("is missing, and {image} has it"))
                    .means("the image's limit cannot be read or changed, and the number is not given back")
                    .repair("writes it down again", Fix::Project(fault))
            }
            ProjectFault::Shared(id, images) => {
                let images: Vec<String> = images.iter().map(|i| self.below(i.dir())).collect();
                Finding::new(
                    Kind::Project,
                    listed(*id),
                    format!("several images have it: {}", images.join(", ")),
                )
                .means("they have one limit together")
                .by_hand("delete all of them but one, and create them again")
            }
            ProjectFault::Limit { image, written, kernel } => {
                let file = self.below(&image.quota());
                let problem = match written {
                    Some(written) => {
                        format!("says a limit of {written} bytes, and the kernel has {kernel}")
                    }
                    None => {
                        format!("holds no number, and the kernel has a limit of {kernel} bytes")
                    }
                };
                Finding::new(Kind::ImageLimit, file, problem)
                    .means("what is promised to images is counted wrong; the kernel's limit counts")
                    .repair("writes the kernel's", Fix::Project(fault))
            }
        }
    }
}
