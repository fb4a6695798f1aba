//! Power cuts: no image is made from a layer that was not on disk when the power went.
//!
//! To wait for the disk in every create would be too slow. So a new layer remembers in its metadata the boot
//! in which it was written, and which writing it was (`Boot`). It is trusted within that boot: what a process
//! has written, others read, on disk or not. A process that nobody waits for ([`settle`]) writes everything to disk a moment later,
//! and then takes the mark away. A layer that still has the mark of another boot was perhaps not on disk
//! when that boot ended: it is pulled again.
//!
//! The metadata itself is renamed into place before the layer is, and both file systems keep the order of
//! renames; but its bytes may be missing after a power cut. So a file of metadata without a byte means the
//! same as a mark of another boot.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::layout::Layout;
use super::manifest::Manifest;
use super::volumes::{self, Metadata};
use super::{Error, locks, quarantine};
use crate::driver::Driver;
use crate::error::AtPath;
use crate::interrupt::Interrupt;
use crate::userns;

/// Why a volume with another boot's mark is taken out of the way.
pub const NOT_ON_DISK: &str = "it was perhaps not on disk when the power went";

/// Where the kernel tells which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How long a settling process waits first: several pulls are settled by one sync, and the disk has a moment
/// for who is waited for.
pub const PAUSE: Duration = Duration::from_secs(5);

/// The mark of a layer that is being written: `<boot>/<unique>`. Of two layers with one name, the first of which
/// was removed, each has its own.
pub fn mark() -> Result<String, Error> {
    Ok(format!("{}/{}", this_boot()?, volumes::unique()))
}

/// Which boot this is. Who cannot know it must neither trust a layer nor throw it away.
fn this_boot() -> Result<&'static str, Error> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let boot = fs::read_to_string(BOOT_ID).at("open", Path::new(BOOT_ID))?;
    Ok(BOOT.get_or_init(|| boot.trim().to_owned()))
}

/// What the metadata of a volume says about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It is on disk, or an earlier release made it and nobody knows.
    Settled,
    /// It was written in this boot.
    ThisBoot,
    /// It was perhaps not on disk when the power went.
    Lost,
}

/// Looks at the mark of a volume.
pub fn trust(metadata: &Metadata) -> Result<Trust, Error> {
    let Some(mark) = &metadata.boot else { return Ok(Trust::Settled) };
    let boot = mark.split('/').next().unwrap_or_default();
    Ok(if boot == this_boot()? { Trust::ThisBoot } else { Trust::Lost })
}

/// Whether a volume's metadata is a file without a byte: what a power cut leaves of a new one.
pub fn is_cut_off(layout: &Layout, name: &str) -> bool {
    fs::symlink_metadata(layout.volume_metadata(name)).is_ok_and(|found| found.len() == 0)
}

/// Whether a volume is there whose content cannot be trusted.
pub fn is_lost(layout: &Layout, name: &str) -> Result<bool, Error> {
    match volumes::read_metadata(layout, name) {
        Ok(metadata) => Ok(trust(&metadata)? == Trust::Lost),
        Err(_) => Ok(is_cut_off(layout, name)),
    }
}

/// Makes a volume one that cannot be trusted ([`is_cut_off`]). Needs no room on the disk.
pub fn distrust(layout: &Layout, name: &str) -> Result<(), Error> {
    let path = layout.volume_metadata(name);
    match fs::OpenOptions::new().write(true).truncate(true).open(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Ok(Err(error).at("truncate", &path)?)
        }
        _ => Ok(()),
    }
}

/// Takes a volume that cannot be trusted out of the way. The caller holds the lock of its layer.
pub fn discard(layout: &Layout, driver: &dyn Driver, name: &str) -> Result<(), Error> {
    quarantine::set_aside(layout, driver, name, NOT_ON_DISK).map(drop)
}

/// Writes everything of the store to disk, takes away the marks of what is then there, and writes down what it
/// is ([`Manifest`]). `begins` is called before it looks: what is written later may be left out.
pub fn settle(layout: &Layout, begins: impl FnOnce()) -> Result<usize, Error> {
    let patience = locks::Patience::of(Duration::from_secs(600), &Interrupt::default());
    let _one = locks::acquire(layout, locks::SETTLE, locks::Mode::Exclusive, &patience)?;
    begins();
    let mut unsettled = Vec::new();
    for name in volumes::list(layout)? {
        if let Ok(metadata) = volumes::read_metadata(layout, &name)
            && trust(&metadata)? == Trust::ThisBoot
        {
            unsettled.push((name, metadata.boot));
        }
    }
    if unsettled.is_empty() {
        return Ok(0);
    }
    let root = File::open(layout.root()).at("open", layout.root())?;
    rustix::fs::syncfs(root.as_fd()).at("syncfs", layout.root())?;
    let mut settled = 0;
    for (name, mark) in unsettled {
        let volume = layout.volume(&name);
        // Without one the volume is as good; only nobody can tell later what has become of it. Owners are those
        // that root sees.
        let manifest = if userns::is_host_root() { Manifest::take(&volume).ok() } else { None };
        // So that no `clean` takes it away between the look and the write. One after the other: each waits for
        // the disk.
        let _global = locks::global_shared(layout, &patience)?;
        // Read again: a create may have added a blob to it, or have pulled it anew.
        let Ok(metadata) = volumes::read_metadata(layout, &name) else { continue };
        if metadata.boot == mark && volumes::exists(layout, &name) {
            write_durably(layout, &name, &Metadata { boot: None, manifest, ..metadata })?;
            settled += 1;
        }
    }
    Ok(settled)
}

/// Writes metadata whose bytes are on disk before its name is.
fn write_durably(layout: &Layout, name: &str, metadata: &Metadata) -> Result<(), Error> {
    let mut text = serde_json::to_string(metadata).map_err(|e| Error::Message(e.to_string()))?;
    text.push('\n');
    let path = layout.volume_metadata(name);
    let aside = layout.tmp().join(format!("new-{}", volumes::unique()));
    // The time of the last use stays that of the last use.
    let used = fs::metadata(&path).and_then(|found| found.modified());
    let mut file = File::create_new(&aside).at("open", &aside)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| used.and_then(|at| file.set_modified(at)))
        .and_then(|()| file.sync_all())
        .at("write", &aside)
        .and_then(|()| fs::rename(&aside, &path).at("rename", &path));
    if written.is_err() {
        // The first error is the one to report; what cannot be removed now is left to `clean`.
        let _ = fs::remove_file(&aside);
    }
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_say_whether_a_volume_is_whole() {
        let marked =
            |boot: Option<&str>| Metadata { boot: boot.map(str::to_owned), ..Metadata::default() };
        let trust = |metadata: &Metadata| trust(metadata).unwrap();
        assert_eq!(trust(&marked(None)), Trust::Settled);
        assert_eq!(trust(&marked(Some(this_boot().unwrap()))), Trust::ThisBoot);
        assert_eq!(trust(&marked(Some(&mark().unwrap()))), Trust::ThisBoot);
        assert_ne!(mark().unwrap(), mark().unwrap());
        assert_eq!(trust(&marked(Some("another"))), Trust::Lost);
        assert_eq!(trust(&marked(Some(""))), Trust::Lost);
        assert_eq!(trust(&marked(Some("/1-2"))), Trust::Lost);
    }

    #[test]
    fn settling_takes_the_marks_away() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().to_owned());
        for part in layout.directories() {
            fs::create_dir_all(part).unwrap();
        }
        for (name, boot) in
            [("new", Some(mark().unwrap())), ("old", Some("x".into())), ("on", None)]
        {
            fs::create_dir(layout.volume(name)).unwrap();
            let metadata = Metadata { size: 7, boot, ..Metadata::default() };
            volumes::write_metadata(&layout, name, &metadata).unwrap();
        }
        fs::create_dir(layout.volume("cut")).unwrap();
        fs::write(layout.volume_metadata("cut"), "").unwrap();
        assert_eq!(settle(&layout, || {}).unwrap(), 1);
        assert_eq!(settle(&layout, || {}).unwrap(), 0);
        let lost =
            ["new", "old", "on", "cut", "absent"].map(|name| is_lost(&layout, name).unwrap());
        assert_eq!(lost, [false, true, false, true, false]);
        let text = fs::read_to_string(layout.volume_metadata("new")).unwrap();
        assert!(text.starts_with("{\"Size\":7,\"Manifest\":{\"Files\":0,"), "{text}");
    }
}
