//! Challenges of registries, `WWW-Authenticate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| grootfs::fuzzing::challenge(text));
