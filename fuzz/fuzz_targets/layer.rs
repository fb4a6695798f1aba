//! One layer into a directory; nothing outside of that directory may change. Needs root.
//!
//! A thread of its own has changed its root to a scratch directory, so that a layer that gets out
//! gets no further than that, and so that all of what is outside can be looked at: a layer cannot name
//! a place that is not in there.
#![no_main]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use grootfs::fuzzing::{Disk, unpack};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{CWD, FileType, Mode};
use rustix::thread::UnshareFlags;

type Channels = (SyncSender<Vec<u8>>, std::sync::Mutex<Receiver<()>>);

static THREAD: OnceLock<Channels> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let (requests, answers) = THREAD.get_or_init(start);
    requests.send(bytes.to_vec()).expect("the thread is there");
    answers.lock().expect("one at a time").recv().expect("the thread has not ended");
});

fn start() -> Channels {
    let (requests, received) = sync_channel::<Vec<u8>>(0);
    let (done, answers) = sync_channel(0);
    std::thread::spawn(move || {
        enter();
        for bytes in received {
            one(&bytes);
            done.send(()).expect("the fuzzer waits");
        }
    });
    (requests, answers.into())
}

/// Makes the scratch directory, and makes it this thread's root. It is left to the temporary
/// directory's cleaning when the fuzzer ends: a fuzzer is killed.
fn enter() {
    let base = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    let scratch = Path::new(base).join("grootfs-fuzz-layer");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).expect("a scratch directory");
    // SAFETY: no descriptors and no memory are unshared; only this thread's root and directory.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.expect("unshare needs root");
    rustix::process::chroot(&scratch).expect("chroot needs root");
    std::env::set_current_dir("/").expect("the new root");
    for directory in ["/outside/directory", "/etc", "/home/app", "/dev", "/place"] {
        fs::create_dir_all(directory).expect("a canary");
    }
    for file in ["/outside/file", "/outside/directory/file", "/etc/passwd", "/home/app/file"] {
        fs::write(file, "kept").expect("a canary");
    }
    std::os::unix::fs::symlink("/etc", "/outside/link").expect("a canary");
    rustix::fs::mknodat(CWD, "/dev/whiteout", FileType::CharacterDevice, Mode::empty(), 0)
        .expect("a device");
}

fn one(bytes: &[u8]) {
    fs::create_dir_all("/place/root/home/app").expect("a root");
    let before = outside();
    {
        let root = fs::File::open("/place/root").expect("the root");
        let flags = rustix::fs::OFlags::PATH;
        let device = rustix::fs::open("/dev/whiteout", flags, Mode::empty()).expect("the device");
        unpack(Disk { root: root.as_fd(), whiteout_device: Some(device.as_fd()) }, bytes);
    }
    let after = outside();
    assert_eq!(before, after, "something outside of the root has changed");
    fs::remove_dir_all("/place/root").expect("the root can be removed");
}

/// Everything that is not in the root: names, kinds, owners, modes, times, contents.
fn outside() -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![Path::new("/").to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = path.symlink_metadata().expect("what was listed is there");
        let content = if metadata.is_file() { fs::read(&path).ok() } else { None };
        // Links and the time of the device change with each whiteout.
        let is_device = path == Path::new("/dev/whiteout");
        let times = (metadata.mtime(), metadata.mtime_nsec(), metadata.nlink());
        let times = if is_device { (0, 0, 0) } else { times };
        let owner = (metadata.mode(), metadata.uid(), metadata.gid(), metadata.size());
        found.push(format!("{path:?} {owner:?} {times:?} {content:?}"));
        if metadata.is_dir() && path != Path::new("/place/root") {
            let entries = fs::read_dir(&path).expect("a directory");
            todo.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    // The root itself belongs to the layer.
    found.retain(|line| !line.starts_with("\"/place/root\""));
    found.sort();
    found
}
