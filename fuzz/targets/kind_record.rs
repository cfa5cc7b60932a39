#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| homing_fuzz::kind_record(bytes));
