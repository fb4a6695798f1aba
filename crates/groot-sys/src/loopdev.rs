//! Loop devices: a file as a block device.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::{Call, Errno, Result};

/// Major number of loop devices (`Documentation/admin-guide/devices.txt`).
const LOOP_MAJOR: u32 = 7;

// Numbers and flags of <linux/loop.h>.
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_SET_CAPACITY: libc::Ioctl = 0x4C07;
const LOOP_SET_DIRECT_IO: libc::Ioctl = 0x4C08;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// How often another process may take the device that was free a moment ago.
const TRIES: u32 = 64;

/// `struct loop_info64` of <linux/loop.h>.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of <linux/loop.h>.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// A loop device that goes away by itself when nobody has it open or mounted any more.
#[derive(Debug)]
pub struct LoopDevice {
    /// Its path, `/dev/loop<n>`.
    pub path: PathBuf,
    /// Keeps the device until it is mounted.
    _open: File,
}

/// Makes a file a block device (Linux 5.8).
pub fn attach(file: &Path, direct_io: bool) -> Result<LoopDevice> {
    let show = || file.display().to_string();
    let backing = OpenOptions::new().read(true).write(true).open(file).call("open", show)?;
    let control = Path::new("/dev/loop-control");
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open(control)
        .call("open", || control.display().to_string())?;
    for _ in 0..TRIES {
        let number = free_device(&control)?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open_device(&path, number)?;
        match configure(&device, &backing, file, direct_io) {
            Ok(()) => return Ok(LoopDevice { path, _open: device }),
            // Taken by somebody else between the two calls.
            Err(Errno::BUSY) => {}
            // A file system below without direct I/O: the loop device then works without.
            Err(Errno::INVAL) if direct_io => return attach(file, false),
            Err(errno) => {
                return Err(errno)
                    .call("ioctl", || format!("{}, LOOP_CONFIGURE, {}", path.display(), show()));
            }
        }
    }
    Err(Errno::BUSY).call("ioctl", || "/dev/loop-control, LOOP_CTL_GET_FREE".into())
}

fn free_device(control: &File) -> Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and touches no memory of ours.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number)
        .map_err(|_| last_errno())
        .call("ioctl", || "/dev/loop-control, LOOP_CTL_GET_FREE".into())
}

fn open_device(path: &Path, number: u32) -> Result<File> {
    let show = || path.display().to_string();
    let open = || OpenOptions::new().read(true).write(true).open(path);
    match open() {
        // In a container /dev may be a plain directory in which no new node appears by itself.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let device = makedev(LOOP_MAJOR, number);
            mknodat(CWD, path, FileType::BlockDevice, Mode::from_raw_mode(0o600), device)
                .call("mknodat", show)?;
            open().call("open", show)
        }
        other => other.call("open", show),
    }
}

fn configure(
    device: &File,
    backing: &File,
    path: &Path,
    direct_io: bool,
) -> std::result::Result<(), Errno> {
    let mut file_name = [0_u8; 64];
    // For people who look; the kernel keeps the real path itself. The last byte stays NUL.
    for (to, from) in file_name.iter_mut().take(63).zip(path.as_os_str().as_bytes()) {
        *to = *from;
    }
    let direct = if direct_io { LO_FLAGS_DIRECT_IO } else { 0 };
    let config = LoopConfig {
        fd: u32::try_from(backing.as_raw_fd()).map_err(|_| Errno::BADF)?,
        block_size: 0,
        info: LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            sizelimit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_AUTOCLEAR | direct,
            file_name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config`, which `LoopConfig` mirrors; it lives
    // until the call returns. The kernel takes its own reference to the backing file.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The loop device that holds a file, if there is one.
pub fn find(file: &Path) -> Result<Option<PathBuf>> {
    let Ok(file) = fs::canonicalize(file) else { return Ok(None) };
    let block = Path::new("/sys/block");
    for entry in fs::read_dir(block).call("open", || block.display().to_string())? {
        let entry = entry.call("getdents64", || block.display().to_string())?;
        let Ok(backing) = fs::read(entry.path().join("loop/backing_file")) else { continue };
        let backing = backing.strip_suffix(b"\n").unwrap_or(&backing);
        if backing == file.as_os_str().as_bytes() {
            return Ok(Some(Path::new("/dev").join(entry.file_name())));
        }
    }
    Ok(None)
}

/// Tells a loop device that its file has grown.
pub fn refresh_size(device: &Path) -> Result<()> {
    let show = || format!("{}, LOOP_SET_CAPACITY", device.display());
    let file = OpenOptions::new().read(true).write(true).open(device).call("open", show)?;
    // SAFETY: LOOP_SET_CAPACITY takes no argument and touches no memory of ours.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), LOOP_SET_CAPACITY, 0) };
    if result == 0 { Ok(()) } else { Err(last_errno()).call("ioctl", show) }
}

/// Lets a loop device go round the page cache of the file system below, or not.
pub fn set_direct_io(device: &Path, on: bool) -> Result<()> {
    let show = || format!("{}, LOOP_SET_DIRECT_IO, {on}", device.display());
    let file = OpenOptions::new().read(true).write(true).open(device).call("open", show)?;
    // SAFETY: LOOP_SET_DIRECT_IO takes an integer and touches no memory of ours.
    let result =
        unsafe { libc::ioctl(file.as_raw_fd(), LOOP_SET_DIRECT_IO, libc::c_ulong::from(on)) };
    if result == 0 { Ok(()) } else { Err(last_errno()).call("ioctl", show) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}
