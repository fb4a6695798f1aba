//! The configuration file.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| grootfs::fuzzing::configuration(text));
