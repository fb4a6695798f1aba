//! Image references.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| grootfs::fuzzing::reference(text));
