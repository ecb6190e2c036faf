//! Hands what libFuzzer makes to every parser: see `nke::fuzz`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| nke::fuzz::read_by_all(bytes));
