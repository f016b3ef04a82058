//! A plugin's bytes: whatever they are, they are refused or said who they are.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = host_package::File::parse(Path::new("fuzz.wasm"), bytes.to_vec()) {
        assert!(!file.name.is_empty() && file.name.len() <= 64);
    }
});
