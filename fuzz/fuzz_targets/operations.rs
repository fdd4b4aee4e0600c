//! Fuzz target `operations`; its body, and what it checks, stand in `src/fuzz.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sipring::fuzz::operations(bytes));
