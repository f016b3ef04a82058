//! SQL as it is sent to BigQuery: it is read as the same tree, names the same tables and functions, and calls none whose
//! result depends on when it runs.
#![no_main]

use host_googlesql::{Printed, read};
use libfuzzer_sys::fuzz_target;

#[path = "../../host/crates/googlesql/tests/support/shape.rs"]
mod shape;

use shape::shape;

fn sent(sql: &str) {
    let Ok(select) = read(sql, Some("p")) else { return };
    let Ok(printed) = Printed::new(&select, Some("p")) else { return };
    let again = read(&printed.sql, Some("p")).expect("what was printed can be read");
    assert_eq!(shape(&select.query), shape(&again.query), "{}", printed.sql);
    assert_eq!((&select.tables, &select.routines), (&again.tables, &again.routines));
    assert!(!printed.sql.contains(|c: char| c.is_control()), "{}", printed.sql);
    let bare = unquoted(&printed.sql);
    let now = ["CURRENT_DATE", "CURRENT_TIME", "RAND(", "GENERATE_UUID"].iter().find(|name| is_called(&bare, name));
    assert_eq!(now, None, "{}", printed.sql);
    let twice = Printed::new(&again, Some("p")).expect("what was printed can be printed");
    assert_eq!(twice.sql, printed.sql);
}

/// Whether a word begins so, and is not an argument's name.
fn is_called(bare: &str, name: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    bare.match_indices(name).any(|(at, _)| {
        let rest = bare[at + name.len()..].trim_start_matches(in_word).trim_start();
        !bare[..at].ends_with(in_word) && !rest.starts_with("=>")
    })
}

/// What is sent, without its names and literals, which are all in quotes.
fn unquoted(sql: &str) -> String {
    let (mut bare, mut quote, mut escaped) = (String::new(), None, false);
    for c in sql.chars() {
        match quote {
            None if "'`\"".contains(c) => quote = Some(c),
            None => bare.push(c),
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
        }
    }
    bare
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
