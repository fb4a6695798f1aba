//! Manifests of all kinds, indexes, and behind a byte of zero an image configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| grootfs::fuzzing::documents(bytes));
