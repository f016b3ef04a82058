//! A query cannot harm the host: it cannot use forbidden functions, outlive its run, or grow without limit.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use rustix::time::{ClockId, clock_gettime};

use super::{ask, calls, text, warehouse};
use crate::{
    capability::warehouse::Sqlite,
    contract::{Error, Value::Integer},
    googlesql::ENGINE,
};

/// SQLite's other functions would be in reach of a view at least, and are not.
#[test]
fn only_listed_functions_can_be_used() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let connection = Connection::open(directory.path().join("d.db")).unwrap();
    let mut statement = connection.prepare("SELECT DISTINCT name FROM pragma_function_list").unwrap();
    let builtin: BTreeSet<String> =
        statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    drop(statement);
    for name in ENGINE {
        assert!(builtin.contains(name) || name == "if", "{name} is not a function of SQLite");
    }
    let refused = [
        ("printf", "printf('%900000d', id)"),
        ("format", "format('%d', id)"),
        ("hex", "hex(name)"),
        ("quote", "quote(name)"),
        ("randomblob", "randomblob(9)"),
        ("zeroblob", "zeroblob(9)"),
        ("glob", "name GLOB '*a'"),
        ("random", "random()"),
        ("char", "char(65)"),
        ("json", "json(name)"),
        ("json_group_array", "json_group_array(id)"),
        ("load_extension", "load_extension(name)"),
        ("sqlite_version", "sqlite_version()"),
        ("soundex", "soundex(name)"),
        ("fts3_tokenizer", "fts3_tokenizer(name)"),
    ];
    for (name, expression) in refused {
        assert!(builtin.contains(name), "{name} is not a function of SQLite");
        connection.execute_batch(&format!("CREATE VIEW uses_{name} AS SELECT {expression} AS x FROM t")).unwrap();
        let error = ask(directory.path(), &format!("SELECT COUNT(x) FROM d.uses_{name}")).unwrap_err();
        // SQLite itself keeps views from functions that access more than data.
        let words = [format!("not authorized to use function: {name}"), format!("unsafe use of {name}()")];
        let said = error.message().to_lowercase();
        assert!(words.iter().any(|words| said.contains(words)), "{error:?}");
    }
    // The functions that a view may use behave as in SQLite.
    let allowed = [
        ("'  x ' || trim('  a ') || ltrim('xxb', 'x') || rtrim(7)", text("  x ab7")),
        ("replace('aaa', 'a', id)", text("111")),
        ("instr('ab', 'b')", Integer(2)),
        ("'ab' LIKE 'a%'", Integer(1)),
        ("'aB' LIKE 'ab'", Integer(0)),
        ("'a%' LIKE 'a!%' ESCAPE '!'", Integer(1)),
        ("upper(substr(name, 1, 2)) || length(name)", text("AN3")),
        ("date('2026-02-28', '+1 day')", text("2026-03-01")),
        ("group_concat(id, '+')", text("1")),
    ];
    for (at, (expression, expected)) in allowed.into_iter().enumerate() {
        connection
            .execute_batch(&format!("CREATE VIEW may_{at} AS SELECT {expression} AS x FROM t WHERE id = 1"))
            .unwrap();
        let rows = ask(directory.path(), &format!("SELECT x FROM d.may_{at}"));
        assert_eq!(rows.unwrap().values, [[expected]], "{expression}");
    }
}

/// Whether a query that would take minutes ends soon after its run.
fn ends_with_its_run(sql: &str) {
    let directory = tempfile::tempdir().unwrap();
    let warehouse = warehouse(directory.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (calls, sql) = (calls(), sql.to_owned());
    let run = calls.clone();
    let (error, late) = runtime.block_on(async move {
        let query = tokio::spawn(async move { warehouse.query(&run, sql, Vec::new()).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!query.is_finished(), "it is too quick to be stopped");
        calls.permit().end();
        let ended = (Instant::now(), computed());
        // It answers when its thread has ended.
        let error = query.await.unwrap().unwrap_err();
        // Beside other work its thread may wait long for a core: what it computes is what counts then.
        (error, ended.0.elapsed().min(computed() - ended.1))
    });
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    assert!(late < Duration::from_secs(1), "it worked on for {late:?}");
}

/// CPU time of this process, all its threads together.
fn computed() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// A letter, many times.
fn many(letter: &str, hundreds: usize) -> String {
    let hundred = letter.repeat(100);
    format!("REPLACE(REPLACE('{}', 'x', '{}'), 'x', '{hundred}')", "x".repeat(hundreds), "x".repeat(10))
}

#[test]
fn functions_end_with_their_run() {
    let rows = (0..6).map(|n| format!("d.t AS t{n}")).collect::<Vec<_>>().join(", ");
    let a = many("a", 100);
    for call in [
        format!("STRPOS(CONCAT({a}, {a}, CAST(t0.id AS STRING)), CONCAT({a}, 'b'))"),
        format!("LENGTH(REPLACE(CONCAT({a}, CAST(t0.id AS STRING)), 'a', 'bb'))"),
        format!("LENGTH(TRIM(CONCAT({a}, CAST(t0.id AS STRING)), {a}))"),
        format!("IF(CONTAINS_SUBSTR(CONCAT({a}, {a}, CAST(t0.id AS STRING)), CONCAT({a}, 'b')), 1, 0)"),
        format!("IF(CONCAT({a}, {a}, CAST(t0.id AS STRING)) LIKE '%{}b', 1, 0)", "a".repeat(900)),
    ] {
        ends_with_its_run(&format!("SELECT SUM({call}) FROM {rows}"));
    }
}

/// SQLite would sort in one go, and look at nothing while it does.
#[test]
fn sorting_ends_with_its_run() {
    let rows = (0..12).map(|n| format!("d.t AS t{n}")).collect::<Vec<_>>().join(", ");
    ends_with_its_run(&format!(
        "SELECT MAX(n) FROM (SELECT ROW_NUMBER() OVER (ORDER BY t0.id, t11.id) AS n FROM {rows})"
    ));
}

/// A few lines that expand to 2^59 tables, or to as many translations of one.
#[test]
fn what_grows_when_written_out_is_refused_before_it_does() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let mut doubling = "WITH c0 AS (SELECT 1 AS x)".to_owned();
    for n in 1..60 {
        doubling += &format!(", c{n} AS (SELECT a.x FROM c{} AS a CROSS JOIN c{} AS b)", n - 1, n - 1);
    }
    let mut nested = "SELECT MAX(id) FROM d.t".to_owned();
    for _ in 0..14 {
        nested = format!("SELECT ({nested}) AS x FROM d.t GROUP BY 1");
    }
    let mut wide =
        format!("WITH c AS (SELECT {})", (0..1500).map(|n| format!("1 AS x{n}")).collect::<Vec<_>>().join(", "));
    wide += " SELECT * FROM c";
    let twice = wide.clone() + " CROSS JOIN (SELECT * FROM c) AS d";
    for (sql, words) in [
        (doubling + " SELECT x FROM c59", "more than 1000 tables and subqueries"),
        (nested, "too large"),
        (twice, "more than 2000 columns"),
    ] {
        let started = Instant::now();
        let error = ask(directory.path(), &sql).unwrap_err();
        assert!(error.message().contains(words), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?} for: {words}", started.elapsed());
    }
    assert_eq!(ask(directory.path(), &wide).unwrap().columns.len(), 1500);
    // Ordinary repeated use is fine.
    let used = "WITH a AS (SELECT id FROM d.t), b AS (SELECT p.id FROM a AS p JOIN a AS q USING (id)) \
                SELECT COUNT(*) FROM b AS p JOIN b AS q USING (id)";
    assert_eq!(ask(directory.path(), used).unwrap().values, [[Integer(4)]]);
}

/// Idle memory stays within limits.
#[test]
fn a_connection_that_is_kept_gives_its_memory_back() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let connection = Connection::open(directory.path().join("d.db")).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE big AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 40000)
             SELECT x, printf('%0100d', x) AS y FROM n",
        )
        .unwrap();
    let warehouse = Sqlite::new(directory.path().to_owned(), None);
    let runtime = tokio::runtime::Builder::new_current_thread().thread_stack_size(crate::STACK).build().unwrap();
    for _ in 0..3 {
        let run = calls();
        let asked = warehouse.query(&run, "SELECT COUNT(DISTINCT y) AS n FROM d.big".to_owned(), Vec::new());
        assert_eq!(runtime.block_on(asked).unwrap().values, [[Integer(40_000)]]);
        assert!(warehouse.held() < 1 << 20, "{} bytes are held", warehouse.held());
    }
}
