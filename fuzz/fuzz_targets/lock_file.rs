//! plugins.lock: what is read is written so that it is read the same.
#![no_main]

use std::path::Path;

use host_package::Lock;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = Path::new("plugins.lock");
    if let Ok(lock) = Lock::parse(path, text) {
        let again = Lock::parse(path, &lock.text()).expect("what was written can be read");
        assert_eq!(again.pins(), lock.pins());
        assert_eq!(again.text(), lock.text());
    }
});
