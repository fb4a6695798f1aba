//! One thing that is wrong, in words for a person and a word for programs.

use super::Fix;

/// What kind of thing is wrong. The words of `--json` stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory or device of the store is missing.
    PartMissing,
    /// A part of the store is something else than it must be.
    PartType,
    /// A part of the store belongs to somebody else, or lets others in.
    PartAccess,
    /// The id mappings are lost or broken.
    Namespace,
    /// A volume of which no root can be made.
    VolumeDamaged,
    /// A volume that was perhaps not on disk when the power went.
    VolumeNotOnDisk,
    /// A volume whose tree is not what it was.
    VolumeContent,
    /// Nothing, or nonsense, is written about a volume.
    VolumeMetadata,
    /// The short name of a volume is lost or wrong.
    VolumeName,
    /// A damaged volume that images still use.
    VolumeQuarantined,
    /// Something in `images/` that is no image.
    ImageType,
    /// Nobody knows which volumes an image uses.
    ImageDependencies,
    /// A volume that an image uses is not there.
    ImageVolume,
    /// A part of an image is missing.
    ImagePart,
    /// The file with the bytes of an image's layers is lost or broken.
    ImageSize,
    /// The limit that is written down is not that of the kernel.
    ImageLimit,
    /// Several images share a project, or one is not written down, or nobody has it.
    Project,
    /// A layer that a killed process has left half-made or half-removed.
    UnfinishedVolume,
    /// An image that a killed process has left half-removed.
    UnfinishedImage,
    /// Something small that a killed process has left.
    Leftover,
}

impl Kind {
    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::PartMissing => "part_missing",
            Self::PartType => "part_type",
            Self::PartAccess => "part_access",
            Self::Namespace => "namespace",
            Self::VolumeDamaged => "volume_damaged",
            Self::VolumeNotOnDisk => "volume_not_on_disk",
            Self::VolumeContent => "volume_content",
            Self::VolumeMetadata => "volume_metadata",
            Self::VolumeName => "volume_name",
            Self::VolumeQuarantined => "volume_quarantined",
            Self::ImageType => "image_type",
            Self::ImageDependencies => "image_dependencies",
            Self::ImageVolume => "image_volume",
            Self::ImagePart => "image_part",
            Self::ImageSize => "image_size",
            Self::ImageLimit => "image_limit",
            Self::Project => "project",
            Self::UnfinishedVolume => "unfinished_volume",
            Self::UnfinishedImage => "unfinished_image",
            Self::Leftover => "leftover",
        }
    }
}

/// What can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// `--repair` does this.
    Repair(String),
    /// A person has to do this.
    ByHand(String),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is still there.
    Found,
    /// It was there.
    Repaired,
    /// It was to be mended, and that failed.
    Failed(String),
}

/// Something that is wrong.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What kind of thing.
    pub kind: Kind,
    /// On which thing, as a path below the store.
    pub subject: String,
    /// Name of the volume or image; empty for others.
    pub name: String,
    /// What is wrong.
    pub problem: String,
    /// What that means.
    pub meaning: String,
    /// What can be done.
    pub remedy: Remedy,
    /// What became of it.
    pub outcome: Outcome,
    pub(super) fix: Option<Fix>,
}

impl Finding {
    /// Something about a thing, which nobody can mend yet.
    pub(super) fn new(kind: Kind, subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            kind,
            subject: subject.into(),
            name: String::new(),
            problem: problem.into(),
            meaning: String::new(),
            remedy: Remedy::ByHand(String::new()),
            outcome: Outcome::Found,
            fix: None,
        }
    }

    pub(super) fn of(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub(super) fn means(self, meaning: impl Into<String>) -> Self {
        Self { meaning: meaning.into(), ..self }
    }

    pub(super) fn repair(self, text: impl Into<String>, fix: Fix) -> Self {
        Self { remedy: Remedy::Repair(text.into()), fix: Some(fix), ..self }
    }

    pub(super) fn by_hand(self, text: impl Into<String>) -> Self {
        Self { remedy: Remedy::ByHand(text.into()), ..self }
    }

    /// Whether this is the same trouble, seen at another time.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.subject == other.subject
    }
}
