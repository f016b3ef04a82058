//! What a table holds, against what its declaration and the check's settings say: types that have no limits, values that
//! their columns should not hold, whole numbers beyond floats, time zones, and the place of a mistake in the SQL.

use std::fs;

use serde_json::Value;

use crate::{
    support::command::{change, ended},
    tables::Shop,
};

/// One good row, and a table whose columns hold what their declarations exclude.
const TABLES: &str = "
    CREATE TABLE orders (day DATE, id INTEGER, amount REAL, price NUMERIC, weight BIGNUMERIC, paid BOOL, state TEXT, at DATETIME,
        written TIMESTAMP);
    INSERT INTO orders VALUES ('2026-02-05', 1, 2.5, 3, 4, 1, 'open', '2026-02-06 10:00:00', '2026-02-06 10:00:00 UTC');
    CREATE TABLE wild (day DATE, id INTEGER, amount REAL, price NUMERIC, paid BOOL, at DATETIME, written TIMESTAMP);
    INSERT INTO wild VALUES ('2026-02-05', 'seven', 'n/a', 'free', 'yes', '05.02.2026 10:00', 'soon'),
        ('2026-02-05', 1.5, 1.0, 1, 1, '04.02.2026 10:00', '2026-02-05 10:00:00 UTC');
    CREATE VIEW per_state AS SELECT state, COUNT(*) AS orders, SUM(amount) AS revenue, MAX(at) AS last FROM orders GROUP BY state;
    CREATE TABLE __TABLES__ (table_id TEXT, row_count INT64, size_bytes INT64, last_modified_time INT64);
    INSERT INTO __TABLES__ SELECT 'orders', 1, 100, 1000 * unixepoch('2026-02-06 02:00:00');";

/// The error of a run, or its status and summary.
fn told(run: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match run["error"].as_str() {
        Some(error) => format!("error: {error}"),
        None => format!("{}: {}", text(&run["status"]), text(&run["summary"])),
    }
}

fn one(of: &str, limit: &str) -> String {
    format!("sql = \"SELECT {of} FROM shop.orders WHERE day = @date\"\nthresholds.{limit}")
}

/// A limit needs a number. Whatever the value is, the type is said, and what to write.
#[test]
fn what_is_not_a_number_has_no_limits() {
    let shop = Shop::new(TABLES);
    for (of, limit, said) in [
        (
            "MAX(day) AS newest",
            "newest.min = 1",
            "newest has the type DATE, and limits are for numbers and booleans; for an age in days write DATE_DIFF(@date, …, DAY) AS newest",
        ),
        ("MAX(day) AS newest", "Newest.warn_max = 1", "thresholds.Newest: newest has the type DATE"),
        (
            "MAX(written) AS newest",
            "newest.min = 1",
            "newest has the type TIMESTAMP, and limits are for numbers and booleans; for an age in hours write TIMESTAMP_DIFF(@due, …, HOUR) AS newest",
        ),
        ("MAX(at) AS newest", "newest.min = 1", "newest has the type DATETIME"),
        (
            "MAX(state) AS state",
            "state.min = 1",
            "state has the type STRING, and limits are for numbers and booleans; write CAST(… AS FLOAT64) AS state",
        ),
        ("MAX(state) AS state", "state.change = { days = 1, max_rise_percent = 5 }", "state has the type STRING"),
    ] {
        let run = shop.run(&one(of, limit));
        assert!(told(&run).starts_with("error: ") && told(&run).contains(said), "{of}: {run}");
        let validated = shop.host(&["validate"]);
        assert!(validated.code == 2 && validated.out.contains(said), "{of}: {validated:?}");
    }
    for (of, limit) in [
        ("DATE_DIFF(@date, MAX(day), DAY) AS newest", "newest.max = 1"),
        ("TIMESTAMP_DIFF(@due, MAX(written), HOUR) AS newest", "newest.max = 26"),
        ("COUNTIF(state = 'lost') AS state, COUNT(*) AS orders", "state.max = 1"),
        ("MAX(price) AS price, MAX(weight) AS weight", "price.max = 10"),
    ] {
        assert_eq!(shop.run(&one(of, limit))["status"], "pass", "{of}");
        let validated = shop.host(&["validate"]);
        assert_eq!(validated.code, 0, "{of}: {validated:?}");
    }
}

/// What has no limits is shown as it is, whatever its type.
#[test]
fn a_column_without_limits_is_shown_with_its_value() {
    let shop = Shop::new(TABLES);
    let run = shop.run(&one(
        "COUNT(*) AS n, MAX(day) AS day, MAX(written) AS written, MAX(state) AS state, MIN(NULLIF(day, day)) AS none",
        "n.min = 1",
    ));
    let said = "pass: n 1, none has no value, day 2026-02-05, written 2026-02-06T10:00:00Z, state open";
    assert_eq!(told(&run), said, "{run}");
}

/// SQLite would count text as 0 in a sum, and as more than any number in a comparison.
#[test]
fn a_value_that_its_column_should_not_hold_is_named() {
    let shop = Shop::new(TABLES);
    let ask = |of: &str| told(&shop.run(&format!("sql = \"SELECT {of} FROM shop.wild\"\nthresholds.n.min = 1")));
    for (of, said) in [
        ("SUM(amount) AS n", "column amount of shop.wild is FLOAT64 but holds \"n/a\", which is not a valid FLOAT64"),
        ("COUNTIF(amount > 5) AS n", "column amount of shop.wild is FLOAT64 but holds \"n/a\""),
        ("COUNTIF(id <> 3) AS n", "column id of shop.wild is INT64 but holds \"seven\""),
        ("SUM(IF(id = 3, 1, id)) AS n", "column id of shop.wild is INT64 but holds \"seven\""),
        (
            "SUM(w.price) AS n FROM shop.wild AS w UNION ALL SELECT 1.0",
            "column price of shop.wild is NUMERIC but holds \"free\"",
        ),
        ("COUNTIF(paid) AS n", "column paid of shop.wild is BOOL but holds \"yes\""),
        (
            "COUNTIF(written < TIMESTAMP('2026-01-01')) AS n",
            "column written of shop.wild is TIMESTAMP but holds \"soon\", which is not a valid TIMESTAMP; it must be like 2026-02-05 06:30:00 UTC",
        ),
    ] {
        let sql = of.contains(" FROM ").then(|| format!("sql = \"SELECT {of}\"\nthresholds.n.min = 1"));
        let said_here = sql.map_or_else(|| ask(of), |settings| told(&shop.run(&settings)));
        assert!(said_here.starts_with("error: query failed: ") && said_here.contains(said), "{of}: {said_here}");
    }
    // The half in a column of whole numbers, after the text is gone.
    change(shop.path(), "shop", "DELETE FROM wild WHERE amount = 'n/a'").unwrap();
    assert!(ask("SUM(id) AS n").contains("column id of shop.wild is INT64 but holds 1.5, which is not a valid INT64"));
    // What fits counts; text equals no number, so that a join can use an index.
    for (of, said) in [
        ("SUM(amount) AS n", "pass: n 1"),
        ("COUNTIF(paid) AS n", "pass: n 1"),
        ("COUNTIF(id = 1) AS n", "fail: n is below its minimum: 0 < 1"),
        ("COUNT(*) AS n", "pass: n 1"),
    ] {
        assert_eq!(ask(of), said, "{of}");
    }
}

/// Two whole numbers that are the same float are two numbers.
#[test]
fn whole_numbers_beyond_floats_are_compared_exactly() {
    let shop = Shop::new(
        "CREATE TABLE sums (day DATE, n INTEGER); INSERT INTO sums VALUES ('2026-02-05', 9007199254740993),
         ('2026-02-04', 9007199254740992);",
    );
    let ask = |limits: &str| {
        told(&shop.run(&format!(
            "sql = \"SELECT MAX(n) AS n FROM shop.sums WHERE day = @date\"\nthresholds.n = {{ {limits} }}"
        )))
    };
    for (limits, said) in [
        ("max = 9007199254740992", "fail: n is above its maximum: 9007199254740993 > 9007199254740992"),
        ("min = 9007199254740994", "fail: n is below its minimum: 9007199254740993 < 9007199254740994"),
        ("max = 9007199254740993, min = 9007199254740993", "pass: n 9007199254740993"),
        (
            "max = 9007199254740994, warn_max = 9007199254740992",
            "warn: n is above its warning maximum: 9007199254740993 > 9007199254740992",
        ),
    ] {
        assert_eq!(ask(limits), said, "{limits}");
    }
    shop.set("sql = \"SELECT MAX(n) AS n FROM shop.sums WHERE day = @date\"\nthresholds.n = { min = 1 }");
    assert_eq!(shop.host(&["run", "--once", "--date", "2026-02-04"]).code, 0);
    let said = ask("change = { days = 1, max_rise_percent = 0 }");
    let compared = "(9007199254740993, against 9007199254740992 on 2026-02-04)";
    assert!(
        said.starts_with("fail: n_change is above its maximum: 0.0000000000000111") && said.contains(compared),
        "{said}"
    );
}

/// Declared types are known, those of a view's expressions are not.
#[test]
fn a_schema_is_compared_with_what_can_be_known() {
    let shop = Shop::new(TABLES);
    let ask =
        |table: &str, schema: &str| told(&shop.run(&format!("table = \"shop.{table}\"\nschema = {{ {schema} }}")));
    for (schema, said) in [
        (
            "price = \"NUMERIC\", weight = \"BIGNUMERIC\", amount = \"FLOAT64\"",
            "pass: row_count 1, schema_differences 0",
        ),
        ("price = \"DECIMAL(10, 2)\"", "pass: row_count 1, schema_differences 0"),
        ("price = \"FLOAT64\"", "fail: schema: price is NUMERIC, not FLOAT64"),
        ("amount = \"NUMERIC\"", "fail: schema: amount is FLOAT64, not NUMERIC"),
    ] {
        assert_eq!(ask("orders", schema), said, "{schema}");
    }
    assert_eq!(ask("per_state", "state = \"STRING\""), "pass: row_count 1, schema_differences 0");
    let said = ask("per_state", "orders = \"INT64\"");
    let why = "schema: the type of orders cannot be told on SQLite, since the column has no declared type there";
    assert!(said.starts_with("error: ") && said.contains(why), "{said}");
    let validated = shop.host(&["validate"]);
    let never = format!("it is never evaluated: {why}");
    assert!(validated.code == 2 && validated.out.contains(&never), "{validated:?}");
    // As numbers they are checked like any others.
    let settings = "sql = \"SELECT SUM(orders) AS orders, MAX(revenue) AS revenue FROM shop.per_state\"\nthresholds.orders.min = 1\nthresholds.revenue.max = 10";
    assert_eq!(told(&shop.run(settings)), "pass: orders 1, revenue 2.5");
    let validated = shop.host(&["validate"]);
    assert_eq!(validated.code, 0, "{validated:?}");
}

/// A column of the right type that holds something else is not a column of the wrong type.
#[test]
fn a_time_that_cannot_be_read_is_named() {
    let shop = Shop::new(TABLES);
    let ask = |freshness: &str| {
        told(&shop.run(&format!("table = \"shop.wild\"\nfreshness = {{ max_hours = 3, {freshness} }}")))
    };
    for (freshness, said) in [
        (
            "column = \"at\"",
            "column at of shop.wild is DATETIME but holds \"05.02.2026 10:00\", which is not a valid DATETIME; it must be like 2026-02-05 06:30:00",
        ),
        ("column = \"at\", timezone = \"UTC\"", "column at of shop.wild is DATETIME but holds \"05.02.2026 10:00\""),
        ("column = \"written\"", "column written of shop.wild is TIMESTAMP but holds \"soon\""),
    ] {
        let told = ask(freshness);
        assert!(told.contains(said), "{freshness}: {told}");
    }
    // An offset is not left out: a DATETIME has none.
    change(shop.path(), "shop", "DELETE FROM wild; INSERT INTO wild (at) VALUES ('2026-02-06 10:00:00+05:00')")
        .unwrap();
    let told_here = ask("column = \"at\"");
    assert!(told_here.contains("at of shop.wild is DATETIME but holds \"2026-02-06 10:00:00+05:00\""), "{told_here}");
    // It is about a row, not about the check.
    let validated = shop.host(&["validate"]);
    assert_eq!(validated.code, 0, "{validated:?}");
    let good = "table = \"shop.orders\"\nfreshness = { max_hours = 3, column = \"at\" }";
    assert_eq!(told(&shop.run(good)), "pass: row_count 1, freshness 2 h");
}

/// The date on which New York's clocks go forward has 23 hours, and its evening is in summer time.
#[test]
fn a_local_time_after_a_change_of_clocks_has_its_age() {
    let shop = Shop::new(
        "CREATE TABLE visits (at DATETIME); INSERT INTO visits VALUES ('2026-03-08 20:00:00');
         CREATE TABLE early (at DATETIME); INSERT INTO early VALUES ('2026-03-08 01:00:00');",
    );
    for (table, zone, hours) in [
        ("visits", "", "6"),
        ("visits", ", timezone = \"America/New_York\"", "6"),
        ("early", "", "24"),
        ("early", ", timezone = \"America/New_York\"", "24"),
    ] {
        shop.set(&format!("table = \"shop.{table}\"\nfreshness = {{ column = \"at\", max_hours = 48{zone} }}"));
        let path = shop.path().join("host.toml");
        let toml = fs::read_to_string(&path).unwrap().replace("timezone = \"UTC\"", "timezone = \"America/New_York\"");
        fs::write(path, toml).unwrap();
        let run =
            shop.host(&["run", "--once", "--output", "json", "--at", "2026-03-09T06:00:00Z", "--date", "2026-03-08"]);
        assert_eq!(told(&run.run("shop")), format!("pass: row_count 1, freshness {hours} h"), "{table}{zone}");
    }
}

/// A zone that does not exist is found before a row is read, in functions of either warehouse.
#[test]
fn a_time_zone_that_does_not_exist_is_found_by_validation() {
    let shop = Shop::new(TABLES);
    for (of, said) in [
        (
            "COUNTIF(TIMESTAMP(at, 'Amerika/New_York') > TIMESTAMP(@date)) AS n",
            "Invalid time zone: Amerika/New_York; did you mean `America/New_York`? at [1:30]",
        ),
        ("COUNTIF(FORMAT_TIMESTAMP('%F', written, 'Europe/Berln') = 'x') AS n", "did you mean `Europe/Berlin`?"),
        ("COUNTIF(DATE(written, 'EuropeBerlin') = @date) AS n", "Invalid time zone: EuropeBerlin"),
        ("COUNTIF(EXTRACT(HOUR FROM written AT TIME ZONE 'Nowhere') = 1) AS n", "Invalid time zone: Nowhere"),
        ("COUNTIF(day < DATE(@due, 'America/New_Yrok')) AS n", "did you mean `America/New_York`?"),
    ] {
        shop.set(&one(of, "n.max = 0"));
        let validated = shop.host(&["validate"]);
        assert!(validated.code == 2 && validated.out.contains(said), "{of}: {validated:?}");
    }
    shop.set("table = \"shop.orders\"\nfreshness = { column = \"at\", timezone = \"Europe/Pariss\", max_hours = 3 }");
    let validated = shop.host(&["validate"]);
    assert!(validated.code == 2 && validated.out.contains("did you mean `Europe/Paris`?"), "{validated:?}");
    for zone in ["America/New_York", "UTC", "+05:30", "-8"] {
        shop.set(&one(
            &format!("COUNT(*) AS orders, COUNTIF(TIMESTAMP(at, '{zone}') > TIMESTAMP(@date)) AS n"),
            "orders.min = 1",
        ));
        assert_eq!(shop.host(&["validate"]).code, 0, "{zone}");
    }
}

/// Also a view's expression may be a time. What the warehouse does not record is known before the first run.
#[test]
fn an_age_is_tried_as_the_warehouse_has_it() {
    let shop = Shop::new(TABLES);
    let view = "table = \"shop.per_state\"\nfreshness = { column = \"last\", max_hours = 3 }";
    assert_eq!(told(&shop.run(view)), "pass: row_count 1, freshness 2 h");
    let validated = shop.host(&["validate"]);
    assert_eq!(validated.code, 0, "{validated:?}");
    shop.set("table = \"shop.orders\"\nfreshness = { max_hours = 3 }");
    let validated = shop.host(&["validate"]);
    assert_eq!(validated.code, 0, "{validated:?}");
    shop.set("table = \"shop.wild\"\nfreshness = { max_hours = 3 }");
    let validated = shop.host(&["validate"]);
    let never = "it is never evaluated: freshness: the warehouse does not record when `shop.wild` was last written";
    assert!(validated.code == 2 && validated.out.contains(never), "{validated:?}");
}

/// The step of an alert shows what the check saw.
#[test]
fn the_last_write_can_be_looked_up() {
    let shop = Shop::new(TABLES);
    shop.set("table = \"shop.orders\"\nfreshness = { max_hours = 3 }");
    let run = shop.host(&["run", "--once", "--at", "2026-02-06T12:00:00Z", "--date", "2026-02-05"]);
    let sql = "SELECT TIMESTAMP_MILLIS(last_modified_time) AS last_write FROM `shop.__TABLES__` WHERE table_id = '\\''orders'\\''";
    assert!(run.code == 2 && run.err.contains("freshness is above its maximum: 10 h > 3 h"), "{run:?}");
    assert!(run.err.contains(sql) && !run.err.contains("SELECT COUNT(*)"), "{run:?}");
    let seen = shop.command().args(["query", &sql.replace("'\\''", "'")]).output().unwrap();
    assert!(String::from_utf8_lossy(&seen.stdout).contains("2026-02-06T02:00:00Z"), "{seen:?}");
}

/// Line and column of the query as it is written in host.toml.
#[test]
fn a_mistake_in_sql_is_placed() {
    let shop = Shop::new(TABLES);
    for (sql, place) in [
        (
            "SELECT\n  COUNT(*) AS n,\n  SUM(amout) AS s FROM shop.orders",
            "Unrecognized name: amout; did you mean `amount`? at [3:7]",
        ),
        ("SELECT COUNT(*) AS n\nFROM shop.order", "there is no table shop.order; did you mean `orders`? at [2:6]"),
        ("SELECT COUNT(*) AS n\nFROM orders", "has no dataset: write dataset.table at [2:6]"),
        (
            "SELECT COUNT(*) AS n FROM shop.orders\nWHERE id = 1 AND\n  day > 5",
            "for argument types: DATE, INT64 at [3:3]",
        ),
        (
            "SELECT COUNT(*) AS n, SUM(COUNT(*)) AS m FROM shop.orders",
            "Aggregations of aggregations are not allowed at [1:23]",
        ),
        ("SELECT\n  SESSION_USER() AS n FROM shop.orders", "at [2:3]"),
        (
            "SELECT COUNT(*) AS n FROM shop.orders WHERE\n  REGEXP_CONTAINS(state, 'x')",
            "does not support the function REGEXP_CONTAINS at [2:3]",
        ),
    ] {
        shop.set(&format!("sql = \"\"\"{sql}\"\"\"\nthresholds.n.min = 1"));
        let validated = shop.host(&["validate"]);
        assert!(validated.code == 2 && validated.out.contains(place), "{sql}: {validated:?}");
        let run = shop.run(&format!("sql = \"\"\"{sql}\"\"\"\nthresholds.n.min = 1"));
        assert!(told(&run).contains(place), "{sql}: {run}");
    }
}

/// The ways to select one day of a DATETIME, as BigQuery documents them.
#[test]
fn a_datetime_has_a_date() {
    let shop = Shop::new(
        "CREATE TABLE visits (at DATETIME);
         INSERT INTO visits VALUES ('2026-02-04 23:59:59.5'), ('2026-02-05'), ('2026-02-05T12:00:00'), ('2026-02-06 00:00:00');",
    );
    for condition in [
        "DATE(at) = @date",
        "CAST(at AS DATE) = @date",
        "EXTRACT(DATE FROM at) = @date",
        "DATE_TRUNC(at, DAY) = @date",
        "at >= '2026-02-05' AND at < '2026-02-06'",
        "at >= '2026-02-05 00:00:00' AND at < DATETIME '2026-02-06T00:00:00'",
        "at BETWEEN @date AND '2026-02-05 23:59:59.999999'",
        "at >= @date AND at < DATE_ADD(@date, INTERVAL 1 DAY)",
    ] {
        let run = shop.run(&format!("table = \"shop.visits\"\nwhere = \"{condition}\"\nrow_count = {{ min = 1 }}"));
        assert_eq!(told(&run), "pass: row_count 2", "{condition}: {run}");
        let validated = shop.host(&["validate"]);
        assert_eq!(validated.code, 0, "{condition}: {validated:?}");
    }
    // What the engine lacks is not called wrong.
    for (condition, said) in [
        ("DATE_DIFF(at, @date, DAY) = 0", "the embedded warehouse does not support DATE_DIFF of a DATETIME"),
        ("at - INTERVAL 1 DAY > @date", "the embedded warehouse does not support interval arithmetic with a DATETIME"),
        ("at = 5", "No matching signature for operator = for argument types: DATETIME, INT64"),
    ] {
        shop.set(&format!("table = \"shop.visits\"\nwhere = \"{condition}\"\nrow_count = {{ min = 1 }}"));
        let validated = shop.host(&["validate"]);
        assert!(validated.code == 2 && validated.out.contains(said), "{condition}: {validated:?}");
    }
}

/// Advice that would make a check fail on good data is worse than none.
#[test]
fn advice_about_missing_rows_is_right_for_the_check() {
    let shop = Shop::new(TABLES);
    let empty = "it passes when its tables are empty";
    let of = |sql: &str, limits: &str| format!("sql = \"SELECT {sql}\"\n{limits}");
    for (settings, code, said) in [
        // Counts of wrong rows: good data has none.
        (of("COUNT(*) AS bad FROM shop.orders WHERE amount < 0", "thresholds.bad.max = 0"), 0, format!("{empty}\n")),
        (of("COUNT(*) AS bad FROM shop.orders WHERE amount < 0", "thresholds.bad.max = 5"), 0, format!("{empty}\n")),
        (
            "table = \"shop.orders\"\nwhere = \"amount < 0\"\nrow_count = { max = 0 }".to_owned(),
            0,
            format!("{empty}\n"),
        ),
        // A minimum of 0 is meant for rows that must be there.
        (
            of("COUNT(*) AS n FROM shop.orders", "thresholds.n = { min = 0 }"),
            2,
            format!("{empty}; if it should not, set the minimum of n to 1\n"),
        ),
        // A count of wrong rows among all rows.
        (
            of("COUNTIF(amount < 0) AS bad FROM shop.orders", "thresholds.bad.max = 0"),
            0,
            format!("{empty}; if it should not, add `COUNT(*) AS row_count` to its sql, and "),
        ),
    ] {
        shop.set(&settings);
        let validated = shop.host(&["validate"]);
        assert!(validated.code == code && validated.out.contains(&said), "{settings}: {validated:?}");
    }
}

/// Two names for one count have one value.
#[test]
fn limits_for_one_count_under_two_names_are_compared() {
    let shop = Shop::new(TABLES);
    let settings = |max: u8| {
        format!(
            "sql = \"SELECT COUNT(*) AS bad, COUNT(*) AS row_count FROM shop.orders WHERE day = @date AND amount < 0\"\n\
             thresholds.bad = {{ max = {max} }}\nthresholds.row_count = {{ min = 1 }}"
        )
    };
    shop.set(&settings(0));
    let validated = shop.host(&["validate"]);
    let said = "bad must be at most 0 and row_count at least 1, but both are COUNT(*) of one query";
    assert!(validated.code == 2 && validated.out.contains(said), "{validated:?}");
    shop.set(&settings(1));
    let validated = shop.host(&["validate"]);
    assert_eq!(validated.code, 0, "{validated:?}");
}

/// Some data gives one row and some several: that is for people to know before the first run.
#[test]
fn a_query_of_several_rows_is_remarked_on() {
    let shop = Shop::new(TABLES);
    let remark = "its query may give several rows, and then it has no verdict: the query returned";
    for (sql, remarked) in [
        ("SELECT id, COUNT(*) AS n FROM shop.orders GROUP BY id", true),
        ("SELECT 5 AS n FROM shop.orders", true),
        ("SELECT id, COUNT(*) AS n FROM shop.orders GROUP BY id ORDER BY n DESC LIMIT 1", false),
        ("SELECT COUNT(*) AS n FROM shop.orders", false),
    ] {
        shop.set(&format!("sql = \"{sql}\"\nthresholds.n.min = 1"));
        let validated = shop.host(&["validate"]);
        assert_eq!((validated.code, validated.out.contains(remark)), (0, remarked), "{sql}: {validated:?}");
    }
}

/// A mistake is named once, and nothing else is said that is not so.
#[test]
fn one_mistake_is_one_finding() {
    let shop = Shop::new(TABLES);
    shop.set("table = \"shop.orders\"\nfreshness = { column = \"day\", max_hours = 3, timezone = \"Europe/Berln\" }");
    let validated = shop.host(&["validate"]);
    assert!(validated.code == 2 && validated.out.contains("did you mean `Europe/Berlin`?"), "{validated:?}");
    assert!(!validated.out.contains("INT64"), "{validated:?}");
    for (settings, said) in [
        (
            "table = \"shop.orders\"\ntimezone = \"UTC\"\nfreshness = { column = \"at\", max_hours = 3 }",
            "there is no setting timezone; did you mean `freshness.timezone`?",
        ),
        (
            "table = \"shop.orders\"\nrow_counts = { min = 1 }",
            "there is no setting row_counts; did you mean `row_count`?",
        ),
        (
            "sql = \"SELECT COUNT(*) AS n FROM shop.orders\"\nthresholds.n.min = 1\ntable = \"shop.orders\"",
            "settings.table has no rules, and settings.sql names its own tables; leave out settings.table, or add",
        ),
        ("table = \"shop.orders\"", "settings.table has no rules; add settings.row_count"),
    ] {
        shop.set(settings);
        let validated = shop.host(&["validate"]);
        assert!(validated.code == 2 && validated.out.contains(said), "{settings}: {validated:?}");
    }
}

/// A table's column may lack a declaration, as a view's expression does.
#[test]
fn a_column_without_a_declared_type_is_no_view() {
    let shop = Shop::new("CREATE TABLE loose (g, id INTEGER); INSERT INTO loose VALUES ('x', 1);");
    let said = told(&shop.run("table = \"shop.loose\"\nschema = { g = \"STRING\" }"));
    let why = "schema: the type of g cannot be told on SQLite, since the column has no declared type there";
    assert!(said.starts_with("error: ") && said.contains(why) && !said.contains("view"), "{said}");
}

/// A query may compute without reading.
#[test]
fn a_query_without_a_table_is_answered() {
    let shop = Shop::new(TABLES);
    shop.set("table = \"shop.orders\"\nrow_count.min = 1");
    let query = |sql: &str| ended(shop.command().args(["query", sql])).unwrap();
    let answered = query("SELECT DATE(DATETIME '2026-02-05 23:00:00') AS day, 1 + 1 AS two");
    assert!(answered.code == 0 && answered.out.contains("2026-02-05"), "{answered:?}");
    let refused = query("SELECT 1 FROM nowhere.orders");
    assert!(refused.code == 64 && refused.err.contains("nowhere"), "{refused:?}");
}
