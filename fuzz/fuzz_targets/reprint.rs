//! SQL as it is sent to BigQuery: it is read as the same tree, and names the same tables and functions.
#![no_main]

use host_googlesql::{Printed, read};
use libfuzzer_sys::fuzz_target;
use sqlparser::ast::Query;

/// A tree without what may differ: places, the case of keywords, quotes around names, AS before an alias.
fn shape(query: &Query) -> String {
    let mut text = format!("{query:?}").to_lowercase();
    for (from, to) in [("span: span(location(", "))"), ("quote_style: ", ", "), ("explicit: ", ", ")] {
        let mut shape = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(from) {
            shape += before;
            rest = after.split_once(to).map_or("", |(_, rest)| rest);
        }
        text = shape + rest;
    }
    text
}

fn sent(sql: &str) {
    let Ok(select) = read(sql, Some("p")) else { return };
    let Ok(printed) = Printed::new(&select, Some("p")) else { return };
    let again = read(&printed.sql, Some("p")).expect("what was printed can be read");
    assert_eq!(shape(&select.query), shape(&again.query), "{}", printed.sql);
    assert_eq!((&select.tables, &select.routines), (&again.tables, &again.routines));
    assert!(!printed.sql.contains(|c: char| c.is_control()), "{}", printed.sql);
    let twice = Printed::new(&again, Some("p")).expect("what was printed can be printed");
    assert_eq!(twice.sql, printed.sql);
}

fuzz_target!(|sql: &str| {
    // The length that a run's budget allows by default, on a stack as the host's threads have it.
    if sql.len() > 32 << 10 {
        return;
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        thread.spawn_scoped(scope, || sent(sql)).expect("a thread").join().expect("no panic");
    });
});
