//! SQL: what is let through is one SELECT, and the datasets it reads are known.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|sql: &str| {
    // The length that a run's budget allows by default, on a stack as the host's threads have it.
    if sql.len() > 32 << 10 {
        return;
    }
    let read = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        let reading = thread.spawn_scoped(scope, || host_googlesql::read(sql, None).map(|select| select.datasets));
        reading.expect("a thread").join().expect("no panic")
    });
    if let Ok(datasets) = read {
        assert!(datasets.iter().all(|dataset| !dataset.is_empty()));
        // Once more with a comment and an empty line around it: the same.
        let dressed = format!("/* SELECT 1; */\n{sql}\n-- DROP TABLE x");
        if let Ok(again) = host_googlesql::read(&dressed, None).map(|select| select.datasets) {
            assert_eq!(again, datasets);
        }
    }
});
