//! One call of each function with values of the maximum length: SQLite cannot interrupt it.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::{collections::HashMap, thread, time::Duration};

use host_googlesql::{Column, Kind, Schema, TablePath, VALUE_BYTES, Watch, read, register, translate};
use rusqlite::{Connection, limits::Limit, types::Value as Stored};
use rustix::time::{ClockId, clock_gettime};

/// Prints the table in docs/security.md: `cargo test --release -p host_googlesql --test longest -- --nocapture`.
#[test]
fn one_call_takes_no_longer_than_a_moment() {
    let connection = Connection::open_in_memory().unwrap();
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(VALUE_BYTES).unwrap()).unwrap();
    register(&connection, &Watch::default()).unwrap();
    // Short enough that a result of the same length is accepted.
    let longest = VALUE_BYTES - 16;
    let letters = |letter: &str, bytes: usize| Stored::Text(letter.repeat(bytes / letter.len()));
    let (a, half) = (letters("a", longest), letters("a", longest / 2));
    let last = Stored::Text("a".repeat(longest / 2) + "b");
    let wide = letters("Ä", longest);
    let short = |text: &str| Stored::Text(text.to_owned());
    let numbers = Stored::Text("1".repeat(longest));
    let cases: Vec<(&str, Vec<Stored>)> = vec![
        ("g_concat(?1, ?1)", vec![half.clone()]),
        ("g_lower(?1)", vec![wide.clone()]),
        ("g_upper(?1)", vec![letters("ä", longest)]),
        ("g_starts_with(?1, ?1)", vec![a.clone()]),
        ("g_ends_with(?1, ?1)", vec![a.clone()]),
        ("g_contains_substr(?1, ?2)", vec![a.clone(), last.clone()]),
        ("g_contains_substr(?1, ?1)", vec![wide.clone()]),
        ("g_substr(?1, -1)", vec![wide.clone()]),
        ("g_reverse(?1)", vec![wide.clone()]),
        ("g_strpos(?1, ?2)", vec![a.clone(), last.clone()]),
        ("g_strpos(?1, 'b')", vec![a.clone()]),
        ("g_replace(?1, 'a', 'b')", vec![a.clone()]),
        ("g_replace(?1, ?2, '')", vec![a.clone(), last]),
        ("g_trim(?1, ?1)", vec![a.clone()]),
        ("g_rtrim(?1, ?2)", vec![a.clone(), letters("äa", longest)]),
        ("g_format_date(?1, '2026-02-05')", vec![letters("%A%B%F", 1000)]),
        ("g_format_date(?1, '2026-02-05')", vec![letters("%250Y", 1000)]),
        ("g_parse_date(?1, ?1)", vec![letters("%n", 1000)]),
        ("g_timestamp(?1)", vec![a.clone()]),
        ("g_safe_cast(?1, 'STRING', 'INT64')", vec![numbers.clone()]),
        ("g_safe_cast(?1, 'STRING', 'FLOAT64')", vec![numbers]),
        ("g_safe_cast(?1, 'STRING', 'BOOL')", vec![a.clone()]),
        ("g_safe_cast(?1, 'STRING', 'TIMESTAMP')", vec![a.clone()]),
        ("g_safe_cast(?1, 'STRING', 'DATETIME')", vec![a.clone()]),
        ("g_held(?1, 'DATETIME', '')", vec![a.clone()]),
        ("g_extract_datetime(?1, 'DAY')", vec![a.clone()]),
        ("g_datetime_trunc(?1, 'DAY')", vec![wide.clone()]),
        ("g_cast(?1, 'STRING', 'DATE')", vec![wide.clone()]),
        ("g_date_of(0, ?1)", vec![short("Nowhere/Nothing")]),
        // SQLite's own.
        ("length(?1)", vec![wide.clone()]),
        ("?1 || ?1", vec![half.clone()]),
        ("?1 < ?1 || ''", vec![a.clone()]),
        ("max(?1, ?1 || '')", vec![a.clone()]),
        ("substr(?1, -1)", vec![wide.clone()]),
        ("upper(?1)", vec![a.clone()]),
        ("strftime(?1, '2026-02-05')", vec![letters("%H", longest)]),
        ("date(?1)", vec![a.clone()]),
        ("group_concat(?1)", vec![a]),
        ("round(?1, 30)", vec![Stored::Text("1".repeat(longest))]),
    ];
    // In a debug build, a call takes many times as long.
    let most = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
    for (call, values) in cases {
        let mut statement = connection.prepare(&format!("SELECT {call}")).unwrap();
        let time = |values: &[Stored]| {
            for (at, value) in values.iter().enumerate() {
                statement.raw_bind_parameter(at + 1, value).unwrap();
            }
            let started = computed();
            // A refusal is as good a result.
            let answer = statement.raw_query().next().map(|row| row.is_some());
            (computed() - started, answer.is_ok())
        };
        let mut time = time;
        let (first, _) = time(&values);
        let (second, answered) = time(&values);
        let took = first.min(second);
        println!("{call:45} {took:>12.3?} {}", if answered { "" } else { "refused" });
        assert!(took < most, "{call} takes {took:?}");
    }
}

/// Parsing and translating cannot be stopped either: the longest SQL that a budget can allow, in shapes that expand.
#[test]
fn the_longest_sql_takes_no_longer_than_a_moment() {
    const BYTES: usize = 48 << 10;
    let repeated = |part: &str, between: &str| {
        let count = (BYTES - 100) / (part.len() + between.len());
        vec![part; count].join(between)
    };
    let numbered =
        |count: usize, between: &str, part: fn(usize) -> String| (0..count).map(part).collect::<Vec<_>>().join(between);
    let shapes = [
        ("a list", format!("SELECT x IN ({}) FROM d.t", repeated("1", ","))),
        ("parentheses", format!("SELECT x IN ({}) FROM d.t", repeated("((1))", ","))),
        ("calls", format!("SELECT CONCAT({})", repeated("UPPER('a')", ","))),
        ("a chain", format!("SELECT {}", repeated("1", "+"))),
        ("subqueries", format!("SELECT COALESCE({})", repeated("(SELECT 1)", ","))),
        ("unions", repeated("SELECT 1", " UNION ALL ")),
        ("tables", format!("SELECT 1 FROM {}", numbered(2000, ",", |n| format!("d.t AS t{n}")))),
        ("joins", format!("SELECT 1 FROM d.t {}", numbered(900, " ", |n| format!("JOIN d.t AS t{n} USING (x)")))),
        ("columns", format!("SELECT {}", numbered(2000, ",", |n| format!("1 AS column_{n}")))),
        ("groups", format!("SELECT 1 FROM d.t GROUP BY {}", numbered(3000, ",", |n| format!("x + {n}")))),
        (
            "names from WITH",
            format!(
                "WITH c AS (SELECT 1 AS x), {} SELECT 1",
                numbered(1000, ",", |n| format!("c{n} AS (SELECT x FROM c)"))
            ),
        ),
        ("a wide table", format!("SELECT {} FROM d.t", repeated("c1999", "+1,"))),
        ("an unknown name", format!("SELECT {} FROM d.t", "c".repeat(BYTES - 100))),
        ("a text", format!("SELECT '{}'", "''".repeat(BYTES / 2 - 100))),
    ];
    let columns: Vec<Column> =
        std::iter::once("x".to_owned()).chain((0..2000).map(|n| format!("c{n}"))).map(column).collect();
    let most = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 50 });
    for (name, sql) in shapes {
        assert!(sql.len() <= BYTES, "{name}: {}", sql.len());
        let columns = &columns;
        let reading = move || {
            let started = computed();
            let select = read(&sql, None);
            let read = computed() - started;
            let schema: &Schema<'_> = &|_: &TablePath| Ok(columns.clone());
            let translated = select.as_ref().map(|select| translate(&select.query, schema, None, HashMap::new()).err());
            let took = computed() - started;
            let refused = translated.unwrap_or_else(|error| Some(error.clone()));
            let refused: String = refused.map_or_else(String::new, |error| error.message().chars().take(90).collect());
            println!("{name:20} {read:>10.3?} {took:>10.3?} {refused}");
            took
        };
        // The same stack as the host's threads.
        let took = thread::scope(|scope| {
            thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, reading).unwrap().join().unwrap()
        });
        assert!(took < most, "{name} takes {took:?}");
    }
}

/// CPU time of this thread, so that other load on the machine does not count.
fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn column(name: String) -> Column {
    Column { name, kind: Kind::Int64, stored: None }
}
