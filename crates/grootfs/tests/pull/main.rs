//! Images from servers that work, that fail, and that lie.
//!
//! The servers listen on loopback: Debian's `docker-registry` filled by `skopeo`, and those of
//! `testkit` that make things go wrong. Run as root: every test has a store on a file system of its
//! own. Where a program is missing, tests fail and name the package.

#![expect(clippy::unwrap_used, reason = "a panic is the failure that the test reports")]

#[path = "../privileged/fixture.rs"]
#[expect(dead_code, reason = "shared with the tests of the drivers, which use all of it")]
mod fixture;

mod documents;
mod faults;
mod login;
mod mirrors;
mod proxies;
mod records;
mod rig;
mod schema1;
mod secrets;
mod tls;
mod together;
