//! containerd's `hosts.toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| grootfs::fuzzing::hosts(text));
