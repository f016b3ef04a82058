//! GoogleSQL as documented, and the constructs that are rejected.
//! Expected values are those of BigQuery's reference, <https://cloud.google.com/bigquery/docs/reference/standard-sql>.

use super::{ask, ask_with, date, text, warehouse};
use crate::contract::Value::{self, Boolean, Float, Integer, Null, Timestamp};

#[test]
fn expressions_give_what_bigquery_documents() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let cases: Vec<(&str, Value)> = vec![
        // Numbers: `/` is never integer division, DIV and MOD are.
        ("7 / 2", Float(3.5)),
        ("6 / 2", Float(3.0)),
        ("DIV(7, 2)", Integer(3)),
        ("DIV(-7, 2)", Integer(-3)),
        ("MOD(-7, 2)", Integer(-1)),
        ("1 + 2 * 3", Integer(7)),
        ("(1 + 2) * 3", Integer(9)),
        ("1 - 2 - 3", Integer(-4)),
        ("1 + 0.5", Float(1.5)),
        ("-5", Integer(-5)),
        ("- (-5)", Integer(5)),
        ("SAFE_DIVIDE(1, 0)", Null),
        ("SAFE_DIVIDE(1, 4)", Float(0.25)),
        ("ROUND(2.5)", Float(3.0)),
        ("ROUND(-2.5)", Float(-3.0)),
        ("ROUND(123.456, -1)", Float(120.0)),
        ("ROUND(1.235, 2)", Float(1.24)),
        ("TRUNC(-2.8)", Float(-2.0)),
        ("FLOOR(-2.1)", Float(-3.0)),
        ("CEIL(2.1)", Float(3.0)),
        ("ABS(-3)", Integer(3)),
        ("SIGN(-2.5)", Float(-1.0)),
        ("POW(2, 10)", Float(1024.0)),
        ("SQRT(9)", Float(3.0)),
        ("GREATEST(1, 3, 2)", Integer(3)),
        ("LEAST(1, NULL, 2)", Null),
        ("1e3", Float(1000.0)),
        ("0x10", Integer(16)),
        ("COALESCE(CAST(NULL AS TIMESTAMP), '2020-01-01') < TIMESTAMP '2026-01-01'", Boolean(true)),
        ("GREATEST(DATE '2026-01-01', '2026-01-02')", date("2026-01-02")),
        ("CASE DATE '2026-01-01' WHEN '2026-01-01' THEN 1 ELSE 0 END", Integer(1)),
        ("CASE NULL WHEN NULL THEN 1 ELSE 0 END", Integer(0)),
        ("'2026-01-02' BETWEEN DATE '2026-01-01' AND DATE '2026-01-03'", Boolean(true)),
        // NULL and truth.
        ("NULL = NULL", Null),
        ("1 = NULL", Null),
        ("NULL IS NULL", Boolean(true)),
        ("1 IS DISTINCT FROM NULL", Boolean(true)),
        ("NULL IS NOT DISTINCT FROM NULL", Boolean(true)),
        ("TRUE AND NULL", Null),
        ("FALSE AND NULL", Boolean(false)),
        ("TRUE OR NULL", Boolean(true)),
        ("NOT NULL", Null),
        ("NULL IS TRUE", Boolean(false)),
        ("FALSE IS NOT TRUE", Boolean(true)),
        ("1 IN (2, NULL)", Null),
        ("1 IN (1, NULL)", Boolean(true)),
        ("1 NOT IN (2, 3)", Boolean(true)),
        ("2 BETWEEN 1 AND 3", Boolean(true)),
        ("NULL BETWEEN 1 AND 3", Null),
        ("4 NOT BETWEEN 1 AND 3", Boolean(true)),
        ("IF(NULL, 1, 2)", Integer(2)),
        ("IF(1 < 2, 'a', NULL)", text("a")),
        ("IF(FALSE, 1, 2.5)", Float(2.5)),
        ("IFNULL(NULL, 3)", Integer(3)),
        ("COALESCE(NULL, NULL, 'x')", text("x")),
        ("NULLIF(3, 3)", Null),
        ("CASE WHEN 1 > 2 THEN 'a' END", Null),
        ("CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' ELSE 'c' END", text("b")),
        ("1 < 2", Boolean(true)),
        ("1 = 1.0", Boolean(true)),
        // Text: case matters, characters count, NULL is contagious.
        ("'a' || 'b'", text("ab")),
        ("'a' || NULL", Null),
        ("CONCAT('a', 'b', 'c')", text("abc")),
        ("CONCAT('a', NULL)", Null),
        ("LENGTH('Ängel')", Integer(5)),
        ("UPPER('äb')", text("ÄB")),
        ("LOWER('ÄB')", text("äb")),
        ("'A' LIKE 'a'", Boolean(false)),
        ("'abc' LIKE 'a%'", Boolean(true)),
        ("'abc' LIKE '_b_'", Boolean(true)),
        (r"'a%c' LIKE 'a\\%c'", Boolean(true)),
        (r"'abc' LIKE 'a\\%c'", Boolean(false)),
        ("'abc' NOT LIKE 'b%'", Boolean(true)),
        ("'aXbXc' LIKE '%X%X%'", Boolean(true)),
        ("'aXbc' LIKE '%X%X%'", Boolean(false)),
        ("'äb' LIKE '_b'", Boolean(true)),
        ("'' LIKE '%'", Boolean(true)),
        ("'' LIKE '_'", Boolean(false)),
        (r"'a_c' LIKE 'a\\_c'", Boolean(true)),
        ("NULL LIKE 'a'", Null),
        ("'a' NOT LIKE NULL", Null),
        ("SUBSTR('apple', 2)", text("pple")),
        ("SUBSTR('apple', 2, 2)", text("pp")),
        ("SUBSTR('apple', -2)", text("le")),
        ("SUBSTR('apple', 123)", text("")),
        ("TRIM('  a ')", text("a")),
        ("TRIM('\t\n a\u{a0}')", text("a")),
        ("TRIM('xyaxyx', 'yx')", text("a")),
        ("TRIM('abc', '')", text("abc")),
        ("LTRIM('  a ')", text("a ")),
        ("LTRIM('ääab', 'ä')", text("ab")),
        ("RTRIM('  a ')", text("  a")),
        ("RTRIM('baaa', 'a')", text("b")),
        ("TRIM(NULL)", Null),
        ("REPLACE('aXbX', 'X', '-')", text("a-b-")),
        ("REPLACE('aaa', 'aa', 'b')", text("ba")),
        ("REPLACE('abc', '', 'x')", text("abc")),
        ("REPLACE('abc', 'b', NULL)", Null),
        ("STARTS_WITH('apple', 'ap')", Boolean(true)),
        ("ENDS_WITH('apple', 'x')", Boolean(false)),
        ("STRPOS('foo@bar', '@')", Integer(4)),
        ("STRPOS('ääb', 'b')", Integer(3)),
        ("STRPOS('abc', 'x')", Integer(0)),
        ("STRPOS('abc', '')", Integer(1)),
        ("STRPOS(NULL, 'x')", Null),
        ("CONTAINS_SUBSTR('Blue House', 'blue')", Boolean(true)),
        ("REVERSE('abc')", text("cba")),
        ("\"double\"", text("double")),
        (r"'it\'s'", text("it's")),
        (r"r'a\n'", text(r"a\n")),
        (r"'a\nb'", text("a\nb")),
        // Casts.
        ("CAST('12' AS INT64)", Integer(12)),
        ("CAST('0x1F' AS INT64)", Integer(31)),
        ("CAST(1.5 AS INT64)", Integer(2)),
        ("CAST(-1.5 AS INT64)", Integer(-2)),
        ("CAST(TRUE AS INT64)", Integer(1)),
        ("CAST('true' AS BOOL)", Boolean(true)),
        ("CAST(0 AS BOOL)", Boolean(false)),
        ("CAST('1.25' AS FLOAT64)", Float(1.25)),
        ("CAST(TRUE AS STRING)", text("true")),
        ("CAST(12 AS STRING)", text("12")),
        ("CAST(NULL AS INT64)", Null),
        ("SAFE_CAST('apple' AS INT64)", Null),
        ("CAST('2026-02-05' AS DATE)", date("2026-02-05")),
        ("CAST(DATE '2026-02-05' AS STRING)", text("2026-02-05")),
        ("CAST(TIMESTAMP '2026-02-05 06:30:00.5+00' AS STRING)", text("2026-02-05 06:30:00.5+00")),
        // Dates: month ends, leap days, weeks that begin on Sundays.
        ("DATE '2026-02-05'", date("2026-02-05")),
        ("DATE(2026, 2, 5)", date("2026-02-05")),
        ("DATE_ADD(DATE '2026-01-31', INTERVAL 1 MONTH)", date("2026-02-28")),
        ("DATE_ADD(DATE '2024-01-31', INTERVAL 1 MONTH)", date("2024-02-29")),
        ("DATE_ADD(DATE '2024-02-29', INTERVAL 1 YEAR)", date("2025-02-28")),
        ("DATE_SUB(DATE '2026-03-01', INTERVAL 1 DAY)", date("2026-02-28")),
        ("DATE_SUB('2024-03-01', INTERVAL 1 DAY)", date("2024-02-29")),
        ("DATE_ADD(DATE '2025-12-31', INTERVAL 1 WEEK)", date("2026-01-07")),
        ("DATE_ADD(DATE '2025-11-30', INTERVAL 1 QUARTER)", date("2026-02-28")),
        ("DATE '2026-02-28' + 1", date("2026-03-01")),
        ("DATE '2026-03-01' - INTERVAL 1 MONTH", date("2026-02-01")),
        ("DATE_DIFF(DATE '2010-07-07', DATE '2008-12-25', DAY)", Integer(559)),
        ("DATE_DIFF(DATE '2017-10-15', DATE '2017-10-14', DAY)", Integer(1)),
        ("DATE_DIFF(DATE '2017-10-15', DATE '2017-10-14', WEEK)", Integer(1)),
        ("DATE_DIFF('2017-12-18', '2017-12-17', WEEK)", Integer(0)),
        ("DATE_DIFF('2017-12-18', '2017-12-17', WEEK(MONDAY))", Integer(1)),
        ("DATE_DIFF('2017-12-18', '2017-12-17', ISOWEEK)", Integer(1)),
        ("DATE_DIFF('2017-12-30', '2014-12-30', YEAR)", Integer(3)),
        ("DATE_DIFF('2017-12-30', '2014-12-30', ISOYEAR)", Integer(2)),
        ("DATE_DIFF('2026-03-01', '2026-02-28', MONTH)", Integer(1)),
        ("DATE_DIFF('2026-01-01', '2025-12-31', QUARTER)", Integer(1)),
        ("DATE_TRUNC(DATE '2008-12-25', MONTH)", date("2008-12-01")),
        ("DATE_TRUNC(DATE '2017-11-05', WEEK(MONDAY))", date("2017-10-30")),
        ("DATE_TRUNC(DATE '2015-06-15', ISOYEAR)", date("2014-12-29")),
        ("DATE_TRUNC(DATE '2026-02-05', WEEK)", date("2026-02-01")),
        ("DATE_TRUNC(DATE '2026-05-20', QUARTER)", date("2026-04-01")),
        ("LAST_DAY(DATE '2024-02-10')", date("2024-02-29")),
        ("LAST_DAY(DATE '2008-11-25', YEAR)", date("2008-12-31")),
        ("LAST_DAY(DATE '2008-11-10', WEEK(SUNDAY))", date("2008-11-15")),
        ("EXTRACT(DAY FROM DATE '2013-12-25')", Integer(25)),
        ("EXTRACT(DAYOFWEEK FROM DATE '2026-02-01')", Integer(1)),
        ("EXTRACT(WEEK FROM DATE '2015-12-31')", Integer(52)),
        ("EXTRACT(ISOWEEK FROM DATE '2016-01-03')", Integer(53)),
        ("EXTRACT(ISOYEAR FROM DATE '2016-01-03')", Integer(2015)),
        ("EXTRACT(WEEK FROM DATE '2016-01-02')", Integer(0)),
        ("EXTRACT(WEEK FROM DATE '2016-01-03')", Integer(1)),
        ("EXTRACT(QUARTER FROM DATE '2026-05-20')", Integer(2)),
        ("EXTRACT(DAYOFYEAR FROM DATE '2024-12-31')", Integer(366)),
        ("FORMAT_DATE('%Y/%m/%d', DATE '2026-02-05')", text("2026/02/05")),
        ("PARSE_DATE('%Y%m%d', '20260205')", date("2026-02-05")),
        ("DATE '2026-02-05' < '2026-02-06'", Boolean(true)),
        ("DATE_SUB(NULL, INTERVAL 1 DAY)", Null),
        // Local times, which have no zone.
        ("DATE(DATETIME '2026-02-05 23:30:00')", date("2026-02-05")),
        ("CAST(DATETIME '2026-02-05T23:30:00.250' AS DATE)", date("2026-02-05")),
        ("CAST(DATETIME '2026-02-05T23:30:00.250' AS STRING)", text("2026-02-05 23:30:00.25")),
        ("CAST(TIMESTAMP '2026-02-05 23:30:00+00' AS DATETIME)", text("2026-02-05 23:30:00")),
        ("CAST(DATETIME '2026-02-05 06:30:00' AS TIMESTAMP)", Timestamp(1_770_273_000)),
        ("CAST(DATE '2026-02-05' AS DATETIME)", text("2026-02-05 00:00:00")),
        ("SAFE_CAST('2026-02-05 10:00:00+05:00' AS DATETIME)", Null),
        ("EXTRACT(DATE FROM DATETIME '2026-02-05 23:30:00')", date("2026-02-05")),
        ("EXTRACT(HOUR FROM DATETIME '2026-02-05 23:30:00')", Integer(23)),
        ("EXTRACT(DAYOFWEEK FROM DATETIME '2026-02-01 23:30:00')", Integer(1)),
        ("DATE_TRUNC(DATETIME '2008-12-25 15:30:00', DAY)", text("2008-12-25 00:00:00")),
        ("DATE_TRUNC(DATETIME '2008-12-25 15:30:00', HOUR)", text("2008-12-25 15:00:00")),
        ("DATE_TRUNC(DATETIME '2015-06-15 00:00:00', ISOYEAR)", text("2014-12-29 00:00:00")),
        ("TIMESTAMP_TRUNC(DATETIME '2008-12-25 15:30:00', MONTH)", text("2008-12-01 00:00:00")),
        ("DATE_TRUNC(TIMESTAMP '2008-12-25 15:30:00+00', DAY)", Timestamp(1_230_163_200)),
        ("DATETIME '2026-02-05 06:30:00' >= '2026-02-05'", Boolean(true)),
        ("DATETIME '2026-02-05 06:30:00' = '2026-02-05T06:30:00.000'", Boolean(true)),
        ("DATETIME '2026-02-05 00:00:00' = DATE '2026-02-05'", Boolean(true)),
        ("DATETIME '2026-02-05 06:30:00' BETWEEN '2026-02-05' AND DATE '2026-02-06'", Boolean(true)),
        ("GREATEST(DATE '2026-01-01', DATETIME '2026-01-01 00:00:01')", text("2026-01-01 00:00:01")),
        // Moments: clocks that change, in New York on 8 March and 1 November 2026.
        ("TIMESTAMP '2026-02-05 06:30:00 UTC'", Timestamp(1_770_273_000)),
        ("TIMESTAMP '2026-02-05T06:30:00Z'", Timestamp(1_770_273_000)),
        ("TIMESTAMP '2026-02-05 06:30:00-05:00'", Timestamp(1_770_291_000)),
        ("TIMESTAMP '2026-02-05 06:30:00 America/New_York'", Timestamp(1_770_291_000)),
        ("TIMESTAMP('2026-02-05', 'America/New_York')", Timestamp(1_770_267_600)),
        ("(SELECT TIMESTAMP(moment, 'America/New_York') FROM d.clocks)", Timestamp(1_770_291_000)),
        ("TIMESTAMP_SECONDS(1770273000)", Timestamp(1_770_273_000)),
        ("TIMESTAMP_MILLIS(-1)", Timestamp(-1)),
        ("UNIX_SECONDS(TIMESTAMP '1969-12-31 23:59:59.5 UTC')", Integer(-1)),
        ("DATE(TIMESTAMP '2026-03-08 04:59:59 UTC', 'America/New_York')", date("2026-03-07")),
        ("DATE(TIMESTAMP '2026-03-08 05:00:00 UTC', 'America/New_York')", date("2026-03-08")),
        ("DATE(TIMESTAMP '2026-11-02 04:59:59 UTC', 'America/New_York')", date("2026-11-01")),
        ("DATE(TIMESTAMP '2026-11-02 05:00:00 UTC', 'America/New_York')", date("2026-11-02")),
        ("TIMESTAMP_TRUNC(TIMESTAMP '2026-03-08 12:00:00 UTC', DAY, 'America/New_York')", Timestamp(1_772_946_000)),
        ("TIMESTAMP_TRUNC(TIMESTAMP '2026-03-09 12:00:00 UTC', DAY, 'America/New_York')", Timestamp(1_773_028_800)),
        ("TIMESTAMP_TRUNC(TIMESTAMP '2026-02-05 06:30:59 UTC', MINUTE)", Timestamp(1_770_273_000)),
        ("TIMESTAMP_ADD(TIMESTAMP '2026-03-08 06:59:59 UTC', INTERVAL 1 DAY)", Timestamp(1_773_039_599)),
        ("TIMESTAMP_SUB(TIMESTAMP '2026-02-05 06:30:00 UTC', INTERVAL 90 MINUTE)", Timestamp(1_770_267_600)),
        ("TIMESTAMP_DIFF(TIMESTAMP '2018-08-14', TIMESTAMP '2018-10-14', DAY)", Integer(-61)),
        ("TIMESTAMP_DIFF(TIMESTAMP '2001-02-01 01:00:00', TIMESTAMP '2001-02-01 00:00:01', HOUR)", Integer(0)),
        ("EXTRACT(HOUR FROM TIMESTAMP '2026-03-08 07:00:00 UTC' AT TIME ZONE 'America/New_York')", Integer(3)),
        ("EXTRACT(HOUR FROM TIMESTAMP '2026-03-08 06:59:59 UTC' AT TIME ZONE 'America/New_York')", Integer(1)),
        ("EXTRACT(DATE FROM TIMESTAMP '2026-02-05 04:00:00 UTC' AT TIME ZONE 'America/New_York')", date("2026-02-04")),
        ("FORMAT_TIMESTAMP('%H:%M', TIMESTAMP '2026-02-05 11:30:00 UTC', 'America/New_York')", text("06:30")),
        // Subqueries.
        ("(SELECT MAX(id) FROM d.t)", Integer(4)),
        ("EXISTS (SELECT 1 FROM d.t WHERE id = 9)", Boolean(false)),
        ("2 IN (SELECT id FROM d.u)", Boolean(true)),
    ];
    for (expression, expected) in cases {
        let rows = ask(directory.path(), &format!("SELECT {expression} AS x"))
            .unwrap_or_else(|error| panic!("{expression}: {error:?}"));
        assert_eq!(rows.values, [[expected]], "{expression}");
    }
}

/// Whole queries: each row as its values, joined.
#[test]
fn queries_give_what_bigquery_documents() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let cases: &[(&str, &[&str])] = &[
        ("SELECT COUNT(*), COUNT(score), COUNTIF(score IS NULL), COUNT(DISTINCT note) FROM d.t", &["4 3 1 2"]),
        ("SELECT SUM(score), AVG(score), MIN(score), MAX(score) FROM d.t", &["8.0 2.6666666666666665 1.5 4.0"]),
        ("SELECT SUM(score), AVG(score), COUNT(*) FROM d.t WHERE FALSE", &["NULL NULL 0"]),
        ("SELECT note, COUNT(*) AS n FROM d.t GROUP BY note ORDER BY note", &["NULL 1", "x 1", "y 2"]),
        ("SELECT note, COUNT(*) AS n FROM d.t GROUP BY 1 ORDER BY n DESC, note", &["y 2", "NULL 1", "x 1"]),
        ("SELECT note AS k, COUNT(*) AS n FROM d.t GROUP BY k HAVING n > 1", &["y 2"]),
        (
            "SELECT DATE_TRUNC(day, MONTH) AS month, COUNT(*) AS n FROM d.t GROUP BY month ORDER BY month DESC",
            &["2026-02-01 1", "2026-01-01 1", "2024-02-01 1", "NULL 1"],
        ),
        ("SELECT id, active FROM d.t ORDER BY id", &["1 true", "2 false", "3 NULL", "4 true"]),
        ("SELECT id FROM d.t WHERE active ORDER BY id DESC", &["4", "1"]),
        ("SELECT id FROM d.t WHERE NOT active", &["2"]),
        ("SELECT MAX(at) AS newest, MIN(DATE(at)) AS first FROM d.t", &["@1793511000 2026-01-31"]),
        ("SELECT id FROM d.t WHERE at < '2026-02-01' ", &["1"]),
        ("SELECT id FROM d.t WHERE day = '2024-02-29'", &["4"]),
        ("SELECT t.id, team FROM d.t JOIN d.u ON t.id = u.id ORDER BY t.id, team", &["1 BOS", "2 LAL", "2 NYK"]),
        (
            "SELECT id, team FROM d.t LEFT JOIN d.u USING (id) WHERE id > 1 ORDER BY id, team",
            &["2 LAL", "2 NYK", "3 NULL", "4 NULL"],
        ),
        ("SELECT a.id FROM `d.t` AS a CROSS JOIN d.u AS b WHERE a.id = 1", &["1", "1", "1"]),
        ("SELECT COUNT(*) FROM `project-1.d.t`", &["4"]),
        ("WITH x AS (SELECT id, score FROM d.t), y AS (SELECT COUNT(*) AS n FROM x) SELECT n FROM y", &["4"]),
        ("SELECT id FROM d.t UNION ALL SELECT id FROM d.u ORDER BY id LIMIT 3", &["1", "1", "2"]),
        ("SELECT id FROM d.u UNION DISTINCT SELECT id FROM d.u ORDER BY id", &["1", "2"]),
        ("SELECT id FROM d.t EXCEPT DISTINCT SELECT id FROM d.u ORDER BY id", &["3", "4"]),
        ("SELECT * EXCEPT (name, note, at, day, active) FROM d.t ORDER BY id LIMIT 1 OFFSET 1", &["2 NULL"]),
        ("SELECT u.* FROM d.u WHERE id = 1", &["1 BOS"]),
        ("SELECT DISTINCT note FROM d.t ORDER BY note", &["NULL", "x", "y"]),
        (
            "SELECT id, ROW_NUMBER() OVER (PARTITION BY note ORDER BY id) AS n FROM d.t ORDER BY id",
            &["1 1", "2 1", "3 1", "4 2"],
        ),
        (
            "SELECT id, SUM(id) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM d.t ORDER BY id",
            &["1 1", "2 3", "3 5", "4 7"],
        ),
        ("SELECT id, LAG(id) OVER (ORDER BY id) AS before FROM d.t ORDER BY id LIMIT 2", &["1 NULL", "2 1"]),
        ("SELECT STRING_AGG(team, '+' ORDER BY team DESC) FROM d.u", &["NYK+LAL+BOS"]),
        ("SELECT LOGICAL_AND(active), LOGICAL_OR(active) FROM d.t", &["false true"]),
        ("SELECT id FROM d.t AS o WHERE EXISTS (SELECT 1 FROM d.u WHERE u.id = o.id) ORDER BY id", &["1", "2"]),
        (
            "SELECT id, (SELECT COUNT(*) FROM d.u WHERE u.id = t.id) AS teams FROM d.t ORDER BY id",
            &["1 1", "2 2", "3 0", "4 0"],
        ),
        ("SELECT id FROM d.t WHERE id NOT IN (SELECT id FROM d.u) ORDER BY id", &["3", "4"]),
        ("SELECT n FROM (SELECT COUNT(*) AS n FROM d.u) AS counted", &["3"]),
        ("SELECT NAME FROM d.T WHERE Id = 1", &["Ann"]),
        ("SELECT id, name FROM d.v WHERE name = 'bob'", &["2 bob"]),
        ("SELECT COUNT(*) FROM d.t WHERE day BETWEEN DATE_SUB('2026-02-01', INTERVAL 7 DAY) AND '2026-02-28'", &["2"]),
    ];
    for (sql, expected) in cases {
        let rows = ask(directory.path(), sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let found: Vec<String> =
            rows.values.iter().map(|row| row.iter().map(shown).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(found, *expected, "{sql}");
    }
}

fn shown(value: &Value) -> String {
    match value {
        Null => "NULL".to_owned(),
        Boolean(truth) => truth.to_string(),
        Integer(number) => number.to_string(),
        Float(number) => format!("{number:?}"),
        Value::Text(text) | Value::Date(text) => text.clone(),
        Timestamp(seconds) => format!("@{seconds}"),
    }
}

#[test]
fn columns_have_names_and_types_also_without_rows() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let rows = ask(directory.path(), "SELECT id, COUNT(*), 1.5, day, MAX(at) AS newest, active = TRUE AS on_, name FROM d.t WHERE FALSE GROUP BY id, day, active, name").unwrap();
    let columns: Vec<String> = rows.columns.iter().map(|column| format!("{} {}", column.name, column.kind)).collect();
    assert_eq!(
        columns,
        ["id INT64", "f0_ INT64", "f1_ FLOAT64", "day DATE", "newest TIMESTAMP", "on_ BOOL", "name STRING"]
    );
    assert!(rows.values.is_empty());
}

#[test]
fn parameters_keep_their_types() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let ask = |sql: &str, parameters: &[(&str, Value)]| ask_with(directory.path(), sql, parameters);
    let rows = ask(
        "SELECT @a, @B, @c, @d, @e, @f, @n",
        &[
            ("a", Integer(1)),
            ("b", text("x' OR TRUE --")),
            ("c", Boolean(true)),
            ("d", date("2026-02-05")),
            ("e", Timestamp(5)),
            ("f", Float(0.5)),
            ("n", Null),
        ],
    );
    assert_eq!(
        rows.unwrap().values,
        [[Integer(1), text("x' OR TRUE --"), Boolean(true), date("2026-02-05"), Timestamp(5), Float(0.5), Null]]
    );
    let rows =
        ask("SELECT id FROM d.t WHERE day = @day AND at > @at", &[("day", text("2024-02-29")), ("at", Timestamp(0))]);
    assert_eq!(rows.unwrap().values, [[Integer(4)]]);
    for (given, said) in [
        (&[][..], "Query parameter 'missing' not found; no parameter is given"),
        (&[("a", Null), ("mising", Null)], "not found; there are @a, @mising; did you mean `mising`?"),
    ] {
        let error = ask("SELECT @missing", given).unwrap_err();
        assert!(error.message().contains(said), "{error:?}");
    }
    let limit = ask("SELECT id FROM d.t LIMIT @n", &[("n", Integer(1))]).unwrap_err();
    assert!(limit.message().contains("write a number"), "{limit:?}");
    assert!(ask("SELECT @d", &[("d", date("2026-02-30"))]).unwrap_err().message().contains("is not a date"));
    assert!(
        ask("SELECT id FROM d.t WHERE day = @n", &[("n", Integer(1))])
            .unwrap_err()
            .message()
            .contains("argument types: DATE, INT64")
    );
}

#[test]
fn what_is_not_supported_or_wrong_is_named() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let cases = [
        // Names.
        ("SELECT nam FROM d.t", "Unrecognized name: nam; did you mean `name`?"),
        ("SELECT t.nope FROM d.t", "Unrecognized name: t.nope"),
        ("SELECT x.id FROM d.t", "Unrecognized name: x.id"),
        ("SELECT id FROM d.t, d.u", "Column name id is ambiguous"),
        ("SELECT 1 FROM d.ts", "there is no table d.ts; did you mean `t`?"),
        ("SELECT 1 FROM e.t", "there is no dataset e"),
        ("SELECT id FROM d.t WHERE n = 1", "Unrecognized name: n"),
        ("SELECT id AS n FROM d.t WHERE n = 1", "Unrecognized name: n"),
        ("SELECT id, id FROM d.t", "Duplicate column names in the result: id"),
        ("SELECT 1 FROM d.t, d.t", "Duplicate table alias t"),
        // Types.
        ("SELECT id = name FROM d.t", "No matching signature for operator = for argument types: INT64, STRING"),
        ("SELECT day = id FROM d.t", "argument types: DATE, INT64"),
        ("SELECT id + name FROM d.t", "operator + for argument types: INT64, STRING"),
        ("SELECT NOT id FROM d.t", "operator NOT for argument types: INT64"),
        ("SELECT id FROM d.t WHERE id", "WHERE clause should return type BOOL, but returns INT64"),
        ("SELECT SUM(name) FROM d.t", "aggregate function SUM for argument types: STRING"),
        ("SELECT UPPER(id) FROM d.t", "function UPPER for argument types: INT64"),
        ("SELECT DATE_DIFF(id, day, DAY) FROM d.t", "function DATE_DIFF for argument types: INT64"),
        ("SELECT IF(id, 1, 2) FROM d.t", "function IF for argument types: INT64, INT64, INT64"),
        ("SELECT COALESCE(id, name) FROM d.t", "function COALESCE for argument types: INT64, STRING"),
        ("SELECT 1 UNION ALL SELECT 'a'", "incompatible types: INT64, STRING"),
        ("SELECT 1 UNION ALL SELECT 1, 2", "mismatched column count"),
        // Grouping.
        ("SELECT name, COUNT(*) FROM d.t", "references column name which is neither grouped nor aggregated"),
        ("SELECT id, name FROM d.t GROUP BY id", "references column name which is neither"),
        ("SELECT *, COUNT(*) FROM d.u", "references column id which is neither"),
        ("SELECT id FROM d.t WHERE COUNT(*) > 1", "Aggregate function not allowed in WHERE"),
        ("SELECT SUM(COUNT(*)) FROM d.t", "Aggregations of aggregations"),
        ("SELECT ROW_NUMBER() FROM d.t", "ROW_NUMBER needs an OVER clause"),
        // Values.
        ("SELECT 1 / 0", "division by zero: 1 / 0"),
        ("SELECT DIV(1, 0)", "division by zero"),
        ("SELECT 9223372036854775807 + 1", "integer overflow"),
        ("SELECT CAST('apple' AS INT64)", "Bad INT64 value: \"apple\""),
        ("SELECT DATE '2026-02-30'", "Invalid DATE literal"),
        ("SELECT DATE(2026, 2, 30)", "Invalid date"),
        ("SELECT DATE(TIMESTAMP '2026-02-05', 'New York')", "Invalid time zone: New York"),
        ("SELECT day FROM d.strange", "column day is DATE but holds \"soon\", which is not a valid DATE"),
        ("SELECT active FROM d.strange", "column active of d.strange is BOOL but holds 7, which is not a valid BOOL"),
        ("SELECT game FROM d.bad", "column game of d.bad is declared STRING, so SQLite would turn text"),
        ("SELECT 1 FROM d.odd", "column shape of d.odd is declared GEOGRAPHY, a type that"),
        ("SELECT GREATEST(DATE '2026-01-01', '9 maybe')", "Bad DATE value"),
        ("SELECT day IN (1, 2) FROM d.t", "operator IN for argument types: DATE, INT64"),
        // Depends on when the query runs.
        (
            "SELECT CURRENT_DATE()",
            "CURRENT_DATE depends on when the query runs, so a run could not be repeated; write @date",
        ),
        ("SELECT id FROM d.t WHERE at > CURRENT_TIMESTAMP()", "CURRENT_TIMESTAMP depends on"),
        ("SELECT RAND()", "RAND gives another result each time"),
        // Not supported by the engine.
        ("SELECT ARRAY_AGG(id) FROM d.t", "does not support the function ARRAY_AGG"),
        ("SELECT [1, 2]", "does not support"),
        ("SELECT STRUCT(1 AS a)", "does not support"),
        ("SELECT * FROM UNNEST([1, 2])", "does not support"),
        ("SELECT id FROM d.t QUALIFY ROW_NUMBER() OVER (ORDER BY id) = 1", "does not support QUALIFY"),
        ("SELECT id FROM d.t TABLESAMPLE SYSTEM (10 PERCENT)", "does not support"),
        ("SELECT id FROM d.t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01'", "does not support"),
        ("WITH RECURSIVE x AS (SELECT 1 AS n) SELECT n FROM x", "does not support WITH RECURSIVE"),
        ("SELECT MD5('a')", "does not support the function MD5"),
        (
            "SELECT load_extension('x')",
            "the function load_extension is not allowed; docs/warehouses.md lists those that are",
        ),
        ("SELECT d.f('x')", "does not support the function D.F"),
        ("SELECT 7 % 2", "does not support the operator %"),
        ("SELECT id FROM d.t UNION SELECT id FROM d.u", "does not support UNION"),
        ("SELECT NET.HOST('x')", "function NET.HOST is not granted"),
        ("SELECT ML.PREDICT(1)", "function ML.PREDICT is not granted"),
        ("SELECT SAFE.LENGTH('x')", "does not support the function SAFE.LENGTH"),
        // SQLite's own tables and table functions are in no dataset, and other engines' literals are none of GoogleSQL.
        ("SELECT COUNT(*) FROM d.json_each", "there is no table d.json_each"),
        ("SELECT COUNT(*) FROM d.sqlite_master", "there is no table d.sqlite_master"),
        ("SELECT COUNT(*) FROM d.pragma_table_list", "there is no table d.pragma_table_list"),
        ("SELECT X'0a'", "X'…' is not a literal of GoogleSQL"),
        ("SELECT N'x'", "is not a literal of GoogleSQL"),
        ("SELECT $$x$$", "$$…$$ is not a literal of GoogleSQL"),
        ("SELECT '\\d'", "Illegal escape sequence: \\d"),
    ];
    for (sql, expected) in cases {
        match ask(directory.path(), sql) {
            Ok(rows) => panic!("{sql}: {:?}", rows.values),
            Err(error) => assert!(error.message().contains(expected), "{sql}: {error:?}"),
        }
    }
}
