//! How the kernel shares layers between root file systems.
//!
//! A driver knows paths of the store (`store::layout`) and system calls, and nothing about
//! images, registries or tars. Two drivers: [`overlay_xfs`] and [`btrfs`].
