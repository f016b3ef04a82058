//! Changes of canary-sql: a number is compared with dates that were good, so that a fault is never learnt as usual.

use serde_json::Value;

use crate::{support::command::change, tables::Shop};

const COUNT: &str = "sql = \"SELECT COUNT(*) AS orders FROM shop.orders WHERE day = @date\"\n";

/// A table with this many rows on each day.
fn rows(days: &[(&str, usize)]) -> String {
    let rows = |(day, count): &(&str, usize)| {
        format!(
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {count}) \
             INSERT INTO orders SELECT '{day}', x FROM n WHERE {count} > 0;"
        )
    };
    days.iter().map(rows).collect()
}

fn shop(days: &[(&str, usize)]) -> Shop {
    Shop::new(&format!("CREATE TABLE orders (day DATE, id INTEGER);{}", rows(days)))
}

/// The run about a date, as `host run --once --date` makes it.
fn judge(shop: &Shop, date: &str) -> Value {
    shop.host(&["run", "--once", "--output", "json", "--date", date]).run("shop")
}

fn summary(run: &Value) -> &str {
    run["summary"].as_str().unwrap_or_default()
}

/// A quarter less each day would soon be as usual, if the bad dates were compared with.
#[test]
fn a_source_that_dies_slowly_is_not_learnt() {
    let days = [
        ("2026-01-25", 100),
        ("2026-01-26", 104),
        ("2026-01-27", 98),
        ("2026-01-28", 100),
        ("2026-01-29", 75),
        ("2026-01-30", 56),
        ("2026-01-31", 42),
        ("2026-02-01", 32),
        ("2026-02-02", 24),
        ("2026-02-03", 24),
        ("2026-02-04", 24),
        ("2026-02-05", 24),
    ];
    let shop = shop(&days);
    shop.set(&format!("{COUNT}thresholds.orders = {{ min = 1, change = {{ days = 4, max_drop_percent = 40 }} }}"));
    let statuses = days.map(|(date, _)| judge(&shop, date)["status"].as_str().unwrap().to_owned());
    let (good, bad) = statuses.split_at(5);
    assert!(good.iter().all(|status| status == "pass"), "{statuses:?}");
    assert!(bad.iter().all(|status| status == "fail"), "{statuses:?}");
    let last = judge(&shop, "2026-02-05");
    let said = "orders_change is below its minimum: -75.7576 % < -40 % (24, against a median of 99 on 2026-01-29, \
        2026-01-28 and 2 more good dates)";
    assert_eq!(last["violations"][0]["message"], said, "{last:#}");
    // A repaired date counts again, from its own judgement on.
    change(shop.path(), "shop", &rows(&[("2026-02-04", 66)])).unwrap();
    assert!(summary(&judge(&shop, "2026-02-05")).contains("on 2026-01-29, "), "repaired, but not judged yet");
    assert_eq!(judge(&shop, "2026-02-04")["status"], "pass");
    let last = judge(&shop, "2026-02-05");
    assert!(summary(&last).contains("on 2026-02-04, 2026-01-29 and 2 more good dates)"), "{last:#}");
    // A good date that is judged again and is bad by then no longer counts.
    change(shop.path(), "shop", "DELETE FROM orders WHERE day = '2026-02-04'").unwrap();
    assert_eq!(judge(&shop, "2026-02-04")["status"], "fail");
    let last = judge(&shop, "2026-02-05");
    assert!(summary(&last).contains("on 2026-01-29, 2026-01-28 and 2 more good dates)"), "{last:#}");
}

/// The first days of a check, also on a table with a long history: the check has judged none of it.
#[test]
fn a_new_check_learns_and_says_so() {
    let days = ["2026-01-30", "2026-01-31", "2026-02-01", "2026-02-02"].map(|day| (day, 100));
    let shop = shop(&days);
    let change = "change = { days = 4, max_drop_percent = 40 }";
    shop.set(&format!("{COUNT}thresholds.orders = {{ min = 1, {change} }}"));
    for (date, said) in [
        ("2026-01-30", "orders 100, orders_change has no value (learning: 0 of 2 good dates)"),
        ("2026-01-31", "orders 100, orders_change has no value (learning: 1 of 2 good dates, 2026-01-30)"),
        ("2026-02-01", "orders 100, orders_change 0 % (100, against a median of 100 on 2026-01-31 and 2026-01-30)"),
        (
            "2026-02-02",
            "orders 100, orders_change 0 % (100, against a median of 100 on 2026-02-01, 2026-01-31 and 1 more good date)",
        ),
    ] {
        let run = judge(&shop, date);
        assert_eq!((&run["status"], summary(&run)), (&"pass".into(), said), "{date}");
    }
    // While it learns, the other limits judge: an empty date is no good one.
    let bad = judge(&shop, "2026-01-29");
    assert_eq!(bad["status"], "fail", "{bad:#}");
    // With nothing else to judge the first dates, that is a warning with the advice, and no pass.
    let alone = format!("{COUNT}thresholds.orders.{}", change.replace("= {", "= { min_dates = 3,"));
    let other = self::shop(&days);
    other.set(&alone);
    let first = judge(&other, "2026-01-30");
    let said = "orders_change has no value yet (learning: 0 of 3 good dates); set a minimum too, by which the first dates \
        are judged";
    assert_eq!((&first["status"], summary(&first)), (&"warn".into(), said), "{first:#}");
    // The number of dates is a setting, with its bounds.
    for (least, said) in [
        (0, "min_dates: 0 is less than the minimum of 1"),
        (5, "thresholds.orders.change: min_dates = 5; write 1 to 4, the number of dates"),
    ] {
        other.set(&alone.replace("min_dates = 3", &format!("min_dates = {least}")));
        let run = judge(&other, "2026-01-30");
        assert!(run["status"] == "error" && run["error"].as_str().unwrap().contains(said), "{least}: {run:#}");
    }
}

/// Of one weekday, and neither bad nor skipped dates.
#[test]
fn weeks_are_good_dates_of_the_same_weekday() {
    let days = [
        ("2026-01-01", 100),
        ("2026-01-08", 100),
        ("2026-01-15", 10),
        ("2026-01-22", 90),
        ("2026-01-28", 500),
        ("2026-01-29", 90),
        ("2026-02-05", 90),
    ];
    let shop = shop(&days);
    let settings =
        format!("{COUNT}thresholds.orders = {{ min = 50, change = {{ weeks = 3, max_drop_percent = 20 }} }}");
    let holiday = "[calendars.holiday]\neffect = \"skip\"\nwhy = \"a holiday\"\ndates = [\"2026-01-22\"]\n";
    shop.set(&format!("{settings}\n{holiday}"));
    let statuses = days.map(|(date, _)| judge(&shop, date)["status"].as_str().unwrap().to_owned());
    assert_eq!(statuses, ["pass", "pass", "fail", "skip", "pass", "pass", "pass"]);
    let last = judge(&shop, "2026-02-05");
    let said = "(90, against a median of 100 on 2026-01-29, 2026-01-08 and 1 more good date)";
    assert!(summary(&last).contains(said), "{last:#}");
}

/// What was good may be gone, or have been nothing: each is said as it is, and none is a percentage of nothing.
#[test]
fn good_dates_without_a_number_are_said_as_they_are() {
    let days = ["2026-02-01", "2026-02-02", "2026-02-03", "2026-02-04", "2026-02-05"].map(|day| (day, 100));
    let shop = shop(&days);
    let set = |limits: &str| shop.set(&format!("{COUNT}thresholds.orders = {{ {limits} }}"));
    set("min = 0");
    days.iter().for_each(|(date, _)| drop(judge(&shop, date)));
    set("change = { days = 4, max_drop_percent = 40, max_rise_percent = 40 }");
    change(shop.path(), "shop", "DELETE FROM orders WHERE day < '2026-02-03'").unwrap();
    let run = judge(&shop, "2026-02-05");
    let said = "orders 100, orders_change 0 % (100, against a median of 100 on 2026-02-04 and 2026-02-03; 2 older good dates have \
        no data any more)";
    assert_eq!((&run["status"], summary(&run)), (&"pass".into(), said), "{run:#}");
    for (gone, why) in [
        ("DELETE FROM orders WHERE day = '2026-02-03'", "only 1 of 4 good dates has a value; at least 2 are needed"),
        (
            "DELETE FROM orders WHERE day < '2026-02-05'",
            "it was 0 on 4 good dates, so the change to 100 has no percentage",
        ),
        ("DELETE FROM orders", "it was 0 on 4 good dates, so the change to 0 has no percentage"),
    ] {
        change(shop.path(), "shop", gone).unwrap();
        let run = judge(&shop, "2026-02-05");
        let error = run["error"].as_str().unwrap_or_default();
        assert!(run["status"] == "error" && error.contains(&format!("orders_change: {why}")), "{gone}: {run:#}");
    }
}

/// Dates whose rows are gone may have no answer at all. Today's is known, and what is not known is named.
#[test]
fn an_error_of_an_earlier_date_hides_no_failure_of_today() {
    let days = ["2026-02-01", "2026-02-02", "2026-02-03", "2026-02-04", "2026-02-05"].map(|day| (day, 100));
    let shop = shop(&days);
    shop.set(&format!("{COUNT}thresholds.orders.min = 1"));
    days.iter().for_each(|(date, _)| drop(judge(&shop, date)));
    change(shop.path(), "shop", "DELETE FROM orders WHERE day < '2026-02-03'").unwrap();
    let settings = |days: u8, max: u32| {
        format!(
            "sql = \"SELECT COUNT(*) AS orders, SUM(IF(id > 0, 1, 0)) AS total, COUNTIF(id < 0) / COUNT(*) AS share FROM shop.orders WHERE day = @date\"\n\
             thresholds.orders.change = {{ days = {days}, max_drop_percent = 60 }}\nthresholds.total = {{ max = {max} }}"
        )
    };
    shop.set(&settings(4, 50));
    let run = shop.host(&["run", "--once", "--at", "2026-02-06T12:00:00Z", "--date", "2026-02-05"]);
    assert!(run.err.contains("🔴 shop") && run.err.contains("total is above its maximum: 100 > 50"), "{run:?}");
    let run = shop.run(&settings(4, 50));
    let why = "orders_change: the query of 2026-02-02, and of 1 date before it, has no answer: query failed: division by zero: 0 / 0";
    assert_eq!(
        (&run["status"], &run["summary"]),
        (&"fail".into(), &format!("total is above its maximum: 100 > 50; unknown: {why}").into()),
        "{run}"
    );
    assert!(run["error"].as_str().unwrap().contains(why), "{run}");
    // Without a failure the run is not a pass: the comparison is unknown.
    let run = shop.run(&settings(3, 500));
    let why = "orders_change: the query of 2026-02-02 has no answer: query failed: division by zero: 0 / 0";
    assert!(run["status"] == "error" && run["error"].as_str().unwrap().contains(why), "{run}");
    // The twin: dates that have an answer.
    let run = shop.run(&settings(2, 500));
    let said =
        "orders 100, orders_change 0 % (100, against a median of 100 on 2026-02-04 and 2026-02-03), total 100, share 0";
    assert_eq!((&run["status"], &run["summary"]), (&"pass".into(), &said.into()), "{run}");
}
