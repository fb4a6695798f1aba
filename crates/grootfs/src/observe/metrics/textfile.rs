//! A file for the textfile collector of Prometheus' node exporter.
//!
//! Many processes add to one file: each reads it, adds its own, and renames a new one over it, while it
//! holds a lock on a file beside it. A file that is not ours is left as it is.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::Report;
use super::exposition::{Exposition, Foreign};
use crate::error::{AtPath, PathError};

/// Largest file that is read: a store has some hundred lines, and there are few stores on a machine.
const LARGEST: u64 = 4 << 20;

/// How long others are waited for, who hold the lock for less than a millisecond each.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pause between two looks at the lock.
const PAUSE: Duration = Duration::from_micros(500);

/// Why a command is not in the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be had or written.
    #[error("metrics are not written")]
    Path(#[from] PathError),
    /// Somebody else's file.
    #[error("metrics are not written: {} is left as it is: {}", path.display(), why)]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The lock stays taken.
    #[error("metrics are not written: {} is locked by another process", .0.display())]
    Busy(PathBuf),
}

/// Adds a command to a file.
pub fn add(path: &Path, report: &Report<'_>) -> Result<(), Error> {
    let _lock = lock(&beside(path, ".lock"))?;
    let mut found = read(path)?;
    found.add_report(report);
    // Not `.prom`, so that nobody collects it; and one name, so that killed processes leave one file at most.
    let new = beside(path, ".new");
    write(&new, &found.to_string())?;
    let renamed = fs::rename(&new, path).at("rename", path);
    if renamed.is_err() {
        // What is in the way is the error to report.
        let _ = fs::remove_file(&new);
    }
    Ok(renamed?)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn lock(path: &Path) -> Result<File, Error> {
    let flags =
        OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = openat(CWD, path, flags, Mode::from_raw_mode(0o600)).at("open", path)?.into();
    let until = Instant::now() + PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(Error::Busy(path.to_owned())),
            Err(errno) => return Ok(Err(errno).at("flock", path)?),
        }
    }
}

/// What is in the file; nothing where there is none.
fn read(path: &Path) -> Result<Exposition, Error> {
    let foreign = |why: &str| Error::Foreign { path: path.to_owned(), why: why.to_owned() };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = match openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Exposition::default()),
        Err(Errno::LOOP) => return Err(foreign("it is a symbolic link")),
        other => other.at("open", path)?.into(),
    };
    let metadata = file.metadata().at("stat", path)?;
    if !metadata.is_file() {
        return Err(foreign("it is no regular file"));
    }
    let length = usize::try_from(metadata.len().min(LARGEST)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length + 1);
    file.take(LARGEST + 1).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 > LARGEST {
        return Err(foreign("it is too large"));
    }
    let text = String::from_utf8(bytes).map_err(|_| foreign("it is no text"))?;
    Exposition::parse(&text).map_err(|why: Foreign| foreign(&why.to_string()))
}

fn write(path: &Path, text: &str) -> Result<(), PathError> {
    // Left by a process that was killed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).at("unlink", path)?
        }
        _ => {}
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file: File =
        openat(CWD, path, flags, Mode::from_raw_mode(0o644)).at("open", path)?.into();
    file.write_all(text.as_bytes()).at("write", path)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::Ending;
    use super::*;

    fn report() -> Report<'static> {
        Report {
            command: "stats",
            store: "/s",
            measured: Vec::new(),
            ending: Ending::Success,
            at: SystemTime::now(),
            took: Duration::from_millis(1),
            cleaned_after: false,
            sizes: None,
        }
    }

    #[test]
    fn many_add_to_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grootfs.prom");
        // Left by a process that was killed while it wrote.
        fs::write(beside(&path, ".new"), "half").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10).for_each(|_| add(&path, &report()).unwrap()));
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(",command=\"stats\",result=\"success\"} 80\n"), "{text}");
        assert!(!beside(&path, ".new").exists());
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for content in ["export PATH=/bin\n", "node_load1 0.5\n", "\u{0}"] {
            fs::write(&path, content).unwrap();
            let error = add(&path, &report()).unwrap_err().to_string();
            assert!(error.contains("is left as it is"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::remove_file(&path).unwrap();
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(add(&path, &report()), Err(Error::Foreign { .. })));
        assert!(!target.exists() && path.is_symlink());
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(add(&path, &report()), Err(Error::Foreign { .. })));
        assert!(add(&dir.path().join("none/x"), &report()).is_err());
    }

    #[test]
    fn a_lock_that_stays_taken_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let held = lock(&beside(&path, ".lock")).unwrap();
        assert!(matches!(add(&path, &report()), Err(Error::Busy(_))));
        drop(held);
        add(&path, &report()).unwrap();
    }
}
