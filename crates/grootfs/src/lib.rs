//! Root file systems for containers, without a daemon.
//!
//! The way of a `create` is the order of the rooms below; arrows never point back
//! (`tests/architecture.rs` checks the `use crate::` lines against this list):
//!
//! ```text
//! cli -> config -> image -> pull -> (unpack) -> store -> driver -> rootfs
//! ```
//!
//! - [`cli`] reads arguments, calls the library, prints. The only room that prints.
//! - [`config`] turns the YAML file and the flags into one checked configuration.
//! - [`image`] knows where images come from. It knows no store.
//! - [`pull`] brings the missing layers into the store.
//! - [`unpack`] turns one layer's tar into a tree. It knows no registry and no store.
//! - [`store`] knows what lies on disk: paths, locks, volumes, images, cleaning.
//! - [`driver`] knows how the kernel shares layers: overlay over XFS, or btrfs.
//! - [`rootfs`] makes what the runtime gets.
//! - [`doctor`] looks for what keeps a machine or a store from working.
//! - [`userns`] lets users other than root do the same: root of a user namespace does it for them.
//! - [`observe`] holds logs and metrics.
//!
//! With `--cfg fuzzing` there is another one, `fuzzing`: the ways in for the targets of `fuzz/`.

pub mod cli;
pub mod config;
pub mod doctor;
pub mod driver;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod idmap;
pub mod image;
pub mod interrupt;
pub mod observe;
pub mod program;
pub mod pull;
pub mod rootfs;
pub mod store;
pub mod unpack;
pub mod userns;
