//! System calls for grootfs: the one crate with unsafe code.
//!
//! One topic a file, one function a system call. An [`Error`] keeps the call and its arguments,
//! so that a person can see what was asked of the kernel.

use std::fmt;
use std::io;

pub use rustix::io::Errno;

pub mod btrfs;
mod btrfs_abi;
pub mod fs;
pub mod loopdev;
pub mod mount;
pub mod mountinfo;
pub mod probe;
pub mod process;
pub mod project_quota;
pub mod qgroup;
pub mod resolve;
pub mod setuid;
pub mod userns;
pub mod xfs;

/// A system call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    call: &'static str,
    arguments: String,
    errno: Errno,
    /// What the kernel told beside the number (the log of a file system context).
    detail: String,
}

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The kernel's error number.
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}): {}", self.call, self.arguments, reason(self.errno))?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        error.errno.into()
    }
}

/// The kernel's reason in the words that people search for: lower case, without a number.
fn reason(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Names the call and its arguments when it failed; they are put together only then.
trait Call<T> {
    fn call(self, call: &'static str, arguments: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Call<T> for std::result::Result<T, Errno> {
    fn call(self, call: &'static str, arguments: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error { call, arguments: arguments(), errno, detail: String::new() })
    }
}

impl<T> Call<T> for io::Result<T> {
    fn call(self, call: &'static str, arguments: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .call(call, arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_the_call() {
        let error = Err::<(), _>(Errno::NOENT).call("open", || "/a, O_PATH".into()).unwrap_err();
        assert_eq!(error.to_string(), "open(/a, O_PATH): no such file or directory");
    }
}
