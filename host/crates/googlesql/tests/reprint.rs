//! What is sent to BigQuery: the query as it was read, or nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
// A test is not a plugin: it may start threads.
#![allow(clippy::disallowed_methods)]

#[path = "support/shape.rs"]
mod shape;

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use host_contract::Error;
use host_googlesql::{Column, Kind, Printed, TablePath, Watch, functions, read, register, translate};
use rusqlite::Connection;
use shape::shape;

const PROJECT: Option<&str> = Some("my-project");

fn printed(sql: &str) -> Result<Printed, Error> {
    Printed::new(&read(sql, PROJECT)?, PROJECT)
}

/// Each line as an author may write it, and as it is sent.
const QUERIES: &[(&str, &str)] = &[
    ("select 1", "SELECT 1"),
    (
        "SELECT COUNT(*) AS n, countif(x IS NULL) nulls FROM nba_raw.games -- comment\nWHERE day = @date /* more */",
        "SELECT COUNT(*) AS `n`, COUNTIF(`x` IS NULL) AS `nulls` FROM `nba_raw`.`games` WHERE `day` = @date",
    ),
    ("SELECT * FROM `my-project.a.b` # c", "SELECT * FROM `my-project`.`a`.`b`"),
    ("SELECT * FROM my-project.a.b", "SELECT * FROM `my-project`.`a`.`b`"),
    ("SELECT t.* EXCEPT (x) FROM a.b t", "SELECT `t`.* EXCEPT (`x`) FROM `a`.`b` AS `t`"),
    ("SELECT * REPLACE (z + 1 AS z) FROM a.b", "SELECT * REPLACE (`z` + 1 AS `z`) FROM `a`.`b`"),
    // Literals: one form for each value.
    ("SELECT \"it's\", '''a\"b''', r'\\d+'", "SELECT 'it\\'s', 'a\"b', '\\\\d+'"),
    ("SELECT \"\"\"x\ny\"\"\", 'caf\\u00e9', 'a\u{2028}b'", "SELECT 'x\\ny', 'café', 'a\\U00002028b'"),
    (r"SELECT 'a\x41\101', b'\xffa', 0xFF, 1e-3, .5", r"SELECT 'aAA', b'\xff\x61', 0xFF, 1e-3, .5"),
    ("SELECT '/* ; DROP */ -- #', '`'", "SELECT '/* ; DROP */ -- #', '`'"),
    ("SELECT DATE '2026-02-05', TIMESTAMP \"2026-02-05\"", "SELECT DATE '2026-02-05', TIMESTAMP '2026-02-05'"),
    ("SELECT JSON '{\"a\": 1}', NUMERIC '1.5'", "SELECT JSON '{\"a\": 1}', NUMERIC '1.5'"),
    // Operators keep the author's order and parentheses.
    ("SELECT - -1, -x, NOT TRUE, ~1", "SELECT - - 1, - `x`, NOT TRUE, ~ 1"),
    ("SELECT 1 | 3 & 4 ^ 5, 'a' || 'b', x <> y", "SELECT 1 | 3 & 4 ^ 5, 'a' || 'b', `x` != `y`"),
    ("SELECT (a + b) * c - d / e", "SELECT (`a` + `b`) * `c` - `d` / `e`"),
    ("SELECT a IN (1, 2), b NOT IN (SELECT x FROM a.b)", "SELECT `a` IN (1, 2), `b` NOT IN (SELECT `x` FROM `a`.`b`)"),
    ("SELECT 1 IN UNNEST([1, 2])", "SELECT 1 IN UNNEST([1, 2])"),
    ("SELECT a BETWEEN 1 AND 2 AND b NOT LIKE 'x%'", "SELECT `a` BETWEEN 1 AND 2 AND `b` NOT LIKE 'x%'"),
    ("SELECT a IS NOT TRUE, b IS DISTINCT FROM c", "SELECT `a` IS NOT TRUE, `b` IS DISTINCT FROM `c`"),
    (
        "SELECT CASE x WHEN 1 THEN 'a' ELSE 'b' END, CASE WHEN y THEN 1 END, IF(a, b, c)",
        "SELECT CASE `x` WHEN 1 THEN 'a' ELSE 'b' END, CASE WHEN `y` THEN 1 END, IF(`a`, `b`, `c`)",
    ),
    // Functions and their words.
    (
        "SELECT DATE_DIFF(a, b, day), DATE_TRUNC(d, week(monday)), LAST_DAY(d), LAST_DAY(d, MONTH)",
        "SELECT DATE_DIFF(`a`, `b`, DAY), DATE_TRUNC(`d`, WEEK(MONDAY)), LAST_DAY(`d`), LAST_DAY(`d`, MONTH)",
    ),
    ("SELECT DATE_SUB(@date, INTERVAL 7 DAY)", "SELECT DATE_SUB(@date, INTERVAL 7 DAY)"),
    (
        "SELECT EXTRACT(DAYOFWEEK FROM d), EXTRACT(HOUR FROM t AT TIME ZONE 'UTC')",
        "SELECT EXTRACT(DAYOFWEEK FROM `d`), EXTRACT(HOUR FROM `t` AT TIME ZONE 'UTC')",
    ),
    (
        "SELECT CAST(x AS NUMERIC(10, 2)), SAFE_CAST(y AS ARRAY<STRUCT<a INT64, STRING>>)",
        "SELECT CAST(`x` AS NUMERIC(10, 2)), SAFE_CAST(`y` AS ARRAY<STRUCT<`a` INT64, STRING>>)",
    ),
    ("SELECT CEIL(x), FLOOR(y), TRIM(z), TRIM(z, 'a')", "SELECT CEIL(`x`), FLOOR(`y`), TRIM(`z`), TRIM(`z`, 'a')"),
    ("SELECT SUBSTR(x, 1, 2), SUBSTRING(x, 1)", "SELECT SUBSTR(`x`, 1, 2), SUBSTRING(`x`, 1)"),
    ("SELECT SAFE.PARSE_DATE('%F', x), `current_date`", "SELECT SAFE.PARSE_DATE('%F', `x`), `current_date`"),
    (
        "SELECT ARRAY_AGG(DISTINCT x IGNORE NULLS ORDER BY x DESC LIMIT 3), ANY_VALUE(x HAVING MAX y)",
        "SELECT ARRAY_AGG(DISTINCT `x` IGNORE NULLS ORDER BY `x` DESC LIMIT 3), ANY_VALUE(`x` HAVING MAX `y`)",
    ),
    (
        "SELECT ARRAY(SELECT x FROM a.b), SPLIT(y, ',')[OFFSET(0)]",
        "SELECT ARRAY(SELECT `x` FROM `a`.`b`), SPLIT(`y`, ',')[OFFSET(0)]",
    ),
    ("SELECT PARSE_JSON(x, wide_number_mode => 'round')", "SELECT PARSE_JSON(`x`, wide_number_mode => 'round')"),
    ("SELECT STRUCT(1 AS a, 'x'), (1, 2), [1, 2], ARRAY[1]", "SELECT STRUCT(1 AS `a`, 'x'), (1, 2), [1, 2], ARRAY[1]"),
    (
        "SELECT SUM(x) OVER (PARTITION BY y ORDER BY z ROWS BETWEEN 6 PRECEDING AND CURRENT ROW), LAG(x) OVER w \
         FROM a.b WINDOW w AS (ORDER BY z)",
        "SELECT SUM(`x`) OVER (PARTITION BY `y` ORDER BY `z` ROWS BETWEEN 6 PRECEDING AND CURRENT ROW), LAG(`x`) OVER `w` \
         FROM `a`.`b` WINDOW `w` AS (ORDER BY `z`)",
    ),
    (
        "SELECT LEFT(x, 3), RIGHT(x, 1), FORMAT('%d', 1), JSON_VALUE(j, '$.a')",
        "SELECT LEFT(`x`, 3), RIGHT(`x`, 1), FORMAT('%d', 1), JSON_VALUE(`j`, '$.a')",
    ),
    (
        "SELECT APPROX_QUANTILES(x, 100)[OFFSET(50)], COUNT(*) OVER (), PERCENTILE_CONT(x, 0.5 IGNORE NULLS) OVER (PARTITION BY y)",
        "SELECT APPROX_QUANTILES(`x`, 100)[OFFSET(50)], COUNT(*) OVER (), PERCENTILE_CONT(`x`, 0.5 IGNORE NULLS) OVER (PARTITION BY `y`)",
    ),
    (
        "SELECT EXTRACT(DATE FROM t AT TIME ZONE 'UTC'), DATETIME(2026, 1, 1, 0, 0, 0), DATE(@due, 'UTC')",
        "SELECT EXTRACT(DATE FROM `t` AT TIME ZONE 'UTC'), DATETIME(2026, 1, 1, 0, 0, 0), DATE(@due, 'UTC')",
    ),
    // Clauses.
    ("SELECT x, SUM(y) FROM a.b GROUP BY ALL LIMIT @n", "SELECT `x`, SUM(`y`) FROM `a`.`b` GROUP BY ALL LIMIT @n"),
    (
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r",
        "WITH RECURSIVE `r` AS (SELECT 1 AS `n` UNION ALL SELECT `n` + 1 FROM `r` WHERE `n` < 3) SELECT `n` FROM `r`",
    ),
    (
        "WITH g AS (SELECT x, COUNT(*) AS n FROM a.b GROUP BY 1 HAVING n > 2) \
         SELECT * FROM g ORDER BY n DESC NULLS LAST LIMIT 5 OFFSET 1",
        "WITH `g` AS (SELECT `x`, COUNT(*) AS `n` FROM `a`.`b` GROUP BY 1 HAVING `n` > 2) \
         SELECT * FROM `g` ORDER BY `n` DESC NULLS LAST LIMIT 5 OFFSET 1",
    ),
    (
        "SELECT a FROM b.c JOIN d.e USING (f, g) LEFT JOIN h.i ON j = k CROSS JOIN l.m, n.o",
        "SELECT `a` FROM `b`.`c` JOIN `d`.`e` USING (`f`, `g`) LEFT JOIN `h`.`i` ON `j` = `k` CROSS JOIN `l`.`m`, `n`.`o`",
    ),
    (
        "SELECT n, at FROM UNNEST(GENERATE_ARRAY(1, 3)) AS n WITH OFFSET AS at",
        "SELECT `n`, `at` FROM UNNEST(GENERATE_ARRAY(1, 3)) AS `n` WITH OFFSET AS `at`",
    ),
    (
        "(SELECT 1) UNION ALL (SELECT 2 EXCEPT DISTINCT SELECT 3)",
        "(SELECT 1) UNION ALL (SELECT 2 EXCEPT DISTINCT SELECT 3)",
    ),
    ("SELECT DISTINCT x FROM a.b WHERE EXISTS (SELECT 1)", "SELECT DISTINCT `x` FROM `a`.`b` WHERE EXISTS (SELECT 1)"),
    ("SELECT AS STRUCT 1 AS a", "SELECT AS STRUCT 1 AS `a`"),
    (
        "SELECT x FROM a.b QUALIFY ROW_NUMBER() OVER (PARTITION BY x ORDER BY y) = 1",
        "SELECT `x` FROM `a`.`b` QUALIFY ROW_NUMBER() OVER (PARTITION BY `x` ORDER BY `y`) = 1",
    ),
    ("SELECT x FROM a.b GROUP BY ROLLUP (x, y)", "SELECT `x` FROM `a`.`b` GROUP BY ROLLUP (`x`, `y`)"),
    ("SELECT a.b.c, d[0].e FROM f.g", "SELECT `a`.`b`.`c`, `d`[0].`e` FROM `f`.`g`"),
    ("SELECT ds.f(x)", "SELECT `ds`.`f`(`x`)"),
    (
        "SELECT x FROM a.b FOR SYSTEM_TIME AS OF TIMESTAMP_SUB(@due, INTERVAL 1 HOUR)",
        "SELECT `x` FROM `a`.`b` FOR SYSTEM_TIME AS OF TIMESTAMP_SUB(@due, INTERVAL 1 HOUR)",
    ),
];

#[test]
fn a_query_is_sent_as_it_was_read() {
    let mut wrong = Vec::new();
    for (sql, expected) in QUERIES {
        match printed(sql) {
            Ok(printed) if printed.sql == *expected => {
                let (one, other) = (read(sql, PROJECT).unwrap(), read(&printed.sql, PROJECT).unwrap());
                if shape(&one.query) != shape(&other.query) {
                    wrong.push(format!("{sql}: another tree"));
                }
            }
            Ok(printed) => wrong.push(format!("{sql}\n  {}", printed.sql)),
            Err(error) => wrong.push(format!("{sql}\n  {error:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the parser and BigQuery would read differently, and what reaches more than tables.
#[test]
fn what_cannot_be_sent_as_it_was_read_is_refused() {
    for (sql, expected) in [
        // The parser takes the quotes in the middle for one that is doubled, BigQuery the second for the end.
        (r"SELECT r'\'', (SELECT MAX(x) FROM secret.t) --'", "a backslash before a quote; write it without the r"),
        (r#"SELECT r"\"", (SELECT MAX(x) FROM secret.t) --""#, "a backslash before a quote"),
        (r"SELECT r'''\'''', x FROM secret.t --'''", "a backslash before a quote"),
        (r"SELECT b'\'', x FROM secret.t --'", "a backslash before a quote; write the quote as \\x27 or \\x22"),
        ("SELECT r'a''b'", "two string literals follow each other"),
        ("SELECT rb'x'", "as a name"),
        (r"SELECT '\d'", "Illegal escape sequence: \\d; write \\\\ for a backslash"),
        ("SELECT @@project_id", "@@ variables and hints are not allowed"),
        ("SELECT @@project_id.x", "@@ variables and hints are not allowed"),
        ("SELECT 1 AS @@x", "@@ variables and hints are not allowed"),
        ("SELECT 1 AS @x", "as a name"),
        ("SELECT @{x=1} 1", "@@ variables and hints are not allowed"),
        ("SELECT SESSION_USER()", "the function SESSION_USER is not allowed"),
        ("SELECT `SESSION_USER`()", "the function SESSION_USER is not allowed"),
        ("SELECT SAFE.SESSION_USER()", "the function SESSION_USER is not allowed"),
        ("SELECT SAFE.COUNT(x)", "only a function of values can be SAFE"),
        (
            "SELECT COUNTIFF(x)",
            "the function COUNTIFF is not allowed; docs/warehouses.md lists those that are; did you mean",
        ),
        ("SELECT other.ds.f(x)", "is in other, which is not the configured project"),
        ("SELECT `ds.f`(x)", "the function ds.f is not allowed"),
        ("FROM a.b |> CALL secret.tvf()", "pipe syntax (|>) is not supported"),
        ("FROM a.b |> WHERE x > 1", "pipe syntax (|>) is not supported"),
        ("SELECT * FROM (FROM a.b |> CALL secret.tvf())", "|>"),
        ("FROM a.b", "the host does not send"),
        ("SELECT * FROM ML.PREDICT(MODEL a.m, TABLE a.b)", "syntax error"),
        ("SELECT * FROM EXTERNAL_QUERY('c', 'SELECT 1')", "table functions are not supported"),
        ("SELECT x FROM a.b TABLESAMPLE SYSTEM (10 PERCENT)", "the host does not send"),
        ("SELECT `a\\b`", "as a name"),
        ("SELECT 1 'x'", "as a name"),
        ("SELECT x::INT64 FROM a.b", "a cast other than CAST"),
        ("SELECT 7 % 2", "the operator %"),
        ("SELECT DATE_DIFF(a, b, x)", "`x` is not one of MICROSECOND"),
        ("SELECT DATE_DIFF(a, b, (SELECT MAX(x) FROM a.b))", "is not one of"),
        ("SELECT N'x'", "N'…' or Q'…' is not a literal of GoogleSQL"),
    ] {
        match printed(sql) {
            Ok(printed) => panic!("{sql}: {}", printed.sql),
            Err(error) => assert!(error.message().contains(expected), "{sql}: {error:?}"),
        }
    }
}

/// In any case, with or without parentheses and a zone, wherever an expression can stand. The same text names a column in
/// backticks, or after its table.
#[test]
fn what_depends_on_the_time_of_the_query_is_refused_with_what_to_write() {
    for (call, instead) in [
        ("CURRENT_DATE", "write @date for the data date, or DATE(@due, 'America/New_York')"),
        ("current_date()", "write @date for the data date"),
        ("Current_Date('America/New_York')", "write @date for the data date"),
        ("SAFE.CURRENT_DATE()", "write @date for the data date"),
        ("`CURRENT_DATE`()", "write @date for the data date"),
        ("CURRENT_DATETIME", "write DATETIME(@due, 'America/New_York')"),
        ("current_datetime('UTC')", "write DATETIME(@due, 'America/New_York')"),
        ("CURRENT_TIME", "write TIME(@due, 'America/New_York')"),
        ("CURRENT_TIME()", "write TIME(@due, 'America/New_York')"),
        ("CURRENT_TIMESTAMP", "write @due for the time of the run"),
        ("current_timestamp()", "write @due for the time of the run"),
        ("NOW()", "write @due"),
        ("LOCALTIMESTAMP", "write @due"),
        ("RAND()", "write a condition on a key"),
        ("GENERATE_UUID()", "write a key of the table"),
    ] {
        for sql in [
            format!("SELECT {call}"),
            format!("SELECT x FROM a.b WHERE DATE_DIFF(DATE(y), CAST({call} AS DATE), DAY) < 2"),
            format!("SELECT x FROM a.b JOIN c.d ON e = {call} ORDER BY (SELECT MAX({call}) FROM a.b)"),
            format!("WITH t AS (SELECT IF({call} IS NULL, 1, 2) AS n) SELECT SUM(n) OVER (ORDER BY {call}) FROM t"),
            format!("SELECT COUNT(*) FROM a.b GROUP BY {call} HAVING MAX(x) < {call}"),
            format!("SELECT x FROM UNNEST(GENERATE_DATE_ARRAY(@date, {call})) AS x, a.b"),
            format!("SELECT x FROM a.b FOR SYSTEM_TIME AS OF TIMESTAMP_SUB({call}, INTERVAL 1 HOUR)"),
            format!("SELECT EXTRACT(DAY FROM {call}), CASE {call} WHEN y THEN 1 END, {call} BETWEEN y AND z FROM a.b"),
        ] {
            let error = read(&sql, PROJECT).expect_err(&sql);
            assert!(error.message().contains("so a run could not be repeated; ") && error.message().contains(instead));
        }
    }
    let bare = read("SELECT x\nFROM a.b WHERE y = current_date", PROJECT).unwrap_err();
    let advice = "; a column of this name needs backticks: `current_date` at [2:20]";
    assert!(bare.message().ends_with(advice), "{bare:?}");
    for (sql, sent) in [
        ("SELECT `current_date`, t.current_timestamp FROM a.b AS t", "`current_date`, `t`.`current_timestamp`"),
        (
            "SELECT `CURRENT_DATETIME`, 'CURRENT_DATE()' FROM a.b -- CURRENT_TIME",
            "`CURRENT_DATETIME`, 'CURRENT_DATE()'",
        ),
        ("SELECT x AS current_date, now FROM a.b", "`x` AS `current_date`, `now`"),
    ] {
        assert!(printed(sql).unwrap().sql.contains(sent), "{sql}");
    }
}

/// Chains are long without being nested; nesting has a limit.
#[test]
fn long_queries_are_printed_and_deep_ones_refused() {
    let work = || {
        let chain = format!("SELECT {}", vec!["1"; 10_000].join(" + "));
        assert_eq!(printed(&chain).unwrap().sql, chain);
        let union = vec!["SELECT 1"; 900].join(" UNION ALL ");
        assert_eq!(printed(&union).unwrap().sql, union);
        let deep = format!("SELECT x {}", "IS NULL ".repeat(450));
        assert!(printed(&deep).unwrap_err().message().contains("nested more than 400 levels deep"));
    };
    std::thread::Builder::new().stack_size(64 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn positions_are_the_authors() {
    let printed = printed("SELECT\n  COUNT(*) AS n, -- a comment\n  wrong + 'x'\nFROM a.b").unwrap();
    let column = |word: &str| printed.sql.find(word).unwrap() + 1;
    for (word, expected) in [("COUNT", "[2:3]"), ("`wrong`", "[3:3]"), ("'x'", "[3:11]"), ("`b`", "[4:8]")] {
        let told = printed.located(&format!("Unrecognized name at [1:{}]; and [1:x] [1:", column(word)));
        assert_eq!(told, format!("Unrecognized name at {expected}; and [1:x] [1:"));
    }
    // In between, the word before.
    assert_eq!(printed.located(&format!("at [1:{}]", column("+ 'x'"))), "at [3:3]");
}

/// A call of each function that the table gives to the embedded warehouse; a / is a space.
const EMBEDDED: &str = "
    ANY_VALUE(id) APPROX_COUNT_DISTINCT(id) AVG(id) COUNT(id) COUNTIF(id=1) LOGICAL_AND(id=1) LOGICAL_OR(id=1) MAX(id)
    MIN(id) STRING_AGG(name) SUM(id)
    CUME_DIST()OVER(ORDER/BY/id) DENSE_RANK()OVER(ORDER/BY/id) FIRST_VALUE(id)OVER(ORDER/BY/id) LAG(id)OVER(ORDER/BY/id)
    LAST_VALUE(id)OVER(ORDER/BY/id) LEAD(id)OVER(ORDER/BY/id) NTH_VALUE(id,1)OVER(ORDER/BY/id) NTILE(2)OVER(ORDER/BY/id)
    PERCENT_RANK()OVER(ORDER/BY/id) RANK()OVER(ORDER/BY/id) ROW_NUMBER()OVER(ORDER/BY/id)
    DATE_TRUNC(day,WEEK(MONDAY))
    COALESCE(id,1) IF(id=1,1,2) IFNULL(id,1) NULLIF(id,1) ABS(id) CEIL(id) CEILING(id) DIV(id,2) EXP(id) FLOOR(id)
    GREATEST(id,1) LEAST(id,1) LN(id) MOD(id,2) POW(id,2) POWER(id,2) ROUND(id) SAFE_DIVIDE(id,2) SIGN(id) SQRT(id)
    TRUNC(id) CHARACTER_LENGTH(name) CHAR_LENGTH(name) CONCAT(name,name) CONTAINS_SUBSTR(name,'a') ENDS_WITH(name,'a')
    LENGTH(name) LOWER(name) LTRIM(name) REPLACE(name,'a','b') REVERSE(name) RTRIM(name) STARTS_WITH(name,'a')
    STRPOS(name,'a') SUBSTR(name,1) SUBSTRING(name,1) TRIM(name) UPPER(name) DATE(2026,1,1) DATE_ADD(day,INTERVAL/1/DAY)
    DATE_DIFF(day,day,DAY) DATE_SUB(day,INTERVAL/1/DAY) DATE_TRUNC(day,MONTH) FORMAT_DATE('%F',day) LAST_DAY(day)
    PARSE_DATE('%F','2026-01-01') FORMAT_TIMESTAMP('%F',at) TIMESTAMP(day) TIMESTAMP_ADD(at,INTERVAL/1/DAY)
    TIMESTAMP_DIFF(at,at,DAY) TIMESTAMP_MICROS(id) TIMESTAMP_MILLIS(id) TIMESTAMP_SECONDS(id)
    TIMESTAMP_SUB(at,INTERVAL/1/DAY) TIMESTAMP_TRUNC(at,DAY) UNIX_MICROS(at) UNIX_MILLIS(at) UNIX_SECONDS(at)";

/// The table, the translation and the functions that SQLite is given agree.
#[test]
fn the_allow_list_is_what_the_embedded_warehouse_has() {
    let connection = Connection::open_in_memory().unwrap();
    register(&connection, &Watch::default()).unwrap();
    let table = "ATTACH ':memory:' AS d; CREATE TABLE d.t (id INTEGER, name TEXT, day DATE, at TIMESTAMP);
        INSERT INTO d.t VALUES (1, 'a', '2026-01-01', '2026-01-01 00:00:00 UTC')";
    connection.execute_batch(table).unwrap();
    let schema = |_: &TablePath| {
        let columns = [("id", Kind::Int64), ("name", Kind::String), ("day", Kind::Date), ("at", Kind::Timestamp)];
        Ok(columns.map(|(name, kind)| Column { name: name.to_owned(), kind, stored: Some("d.t".into()) }).to_vec())
    };
    let ask = |call: &str| -> Result<(), String> {
        let select = read(&format!("SELECT {call} AS x FROM d.t"), None).map_err(|error| error.message().to_owned())?;
        let translated = translate(&select.query, &schema, None, HashMap::new());
        let sql = translated.map_err(|error| error.message().to_owned())?.sql;
        let answer = connection.query_row(&sql, [], |_| Ok(()));
        answer.map_err(|error| error.to_string())
    };
    let mut called = BTreeSet::new();
    for call in EMBEDDED.split_whitespace() {
        let call = call.replace('/', " ");
        ask(&call).unwrap_or_else(|error| panic!("{call}: {error}"));
        called.insert(call.split('(').next().unwrap().to_owned());
        if call.contains("WEEK(") {
            called.insert("WEEK".to_owned());
        }
    }
    for (name, embedded) in functions() {
        assert_eq!(called.contains(name), embedded, "{name}: the table and the calls above differ");
        if !embedded {
            let error = ask(&format!("{name}(id)")).expect_err(name);
            assert!(error.contains("does not support") && error.contains(name), "{name}: {error}");
        }
    }
}

#[test]
fn the_documents_list_every_function() {
    let document = fs::read_to_string("../../../docs/warehouses.md").unwrap();
    let (_, section) = document.split_once("\n## Functions\n").expect("a section");
    let words: BTreeSet<&str> = section.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for (name, _) in functions() {
        assert!(words.contains(name), "docs/warehouses.md does not list {name}");
    }
}

/// All files below a directory with one of these endings.
fn files(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_dir() {
            files(&path, found);
        } else if ["rs", "toml", "md", "py", "js", "sql"].contains(&ending) {
            found.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What the shipped plugins, the templates and the documents call is in the table, and on both warehouses.
#[test]
fn plugins_and_documents_call_only_what_is_allowed() {
    let root = Path::new("../../..");
    let mut texts = vec![("README.md".into(), fs::read_to_string(root.join("README.md")).unwrap())];
    for directory in ["plugins", "docs", "host/templates", "tests/sample"] {
        files(&root.join(directory), &mut texts);
    }
    let allowed: HashMap<_, _> = functions().into_iter().collect();
    let mut calls = 0;
    for (path, text) in texts {
        for (before, rest) in text.match_indices('(').map(|(at, _)| text.split_at(at)) {
            let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            // Syntax, which both warehouses have, and a type with its precision, as DECIMAL(10, 2), are no calls.
            if ["CAST", "SAFE_CAST"].contains(&name) {
                continue;
            }
            let precise = rest.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit());
            if precise && ["NUMERIC", "DECIMAL", "BIGNUMERIC", "BIGDECIMAL"].contains(&name) {
                continue;
            }
            // A word in capitals right before a parenthesis.
            if name.len() > 1 && name.chars().all(|c| !c.is_ascii_lowercase()) && name.starts_with(char::is_alphabetic)
            {
                assert_eq!(allowed.get(name), Some(&true), "{}: {name}", path.display());
                calls += 1;
            }
        }
    }
    assert!(calls > 100, "{calls}");
}
