//! Our tar reader beside another one.
#![no_main]

use grootfs::fuzzing::{mend, tar};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tar(&mend(bytes));
});
