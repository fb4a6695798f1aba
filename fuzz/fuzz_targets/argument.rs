//! Image arguments of the command line.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| grootfs::fuzzing::argument(text));
