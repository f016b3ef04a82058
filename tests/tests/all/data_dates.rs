//! Which date a check judges: today, yesterday or an earlier one, with its bounds in the pipeline's time zone; and which
//! dates can be asked about.

use std::fs;

use host_tests::HOST_TOML;
use serde_json::{Value, json};

use crate::{
    support::{
        command::{Sample, change},
        google::{
            asking,
            bigquery::{BigQueryDouble, Method, row},
        },
        watched::plugin,
    },
    tables::Shop,
};

const ORDERS: &str = "CREATE TABLE orders (day DATE, id INTEGER, at TIMESTAMP); INSERT INTO orders VALUES \
    ('2026-02-04', 1, '2026-02-04 12:00:00 UTC'), ('2026-02-05', 2, '2026-02-05 12:00:00 UTC'), \
    ('2026-02-06', 3, '2026-02-06 06:00:00 UTC');";
const COUNT: &str = "sql = \"SELECT MIN(id) AS id, COUNT(*) AS orders FROM shop.orders WHERE day = @date\"\n\
    thresholds.orders.min = 1\nthresholds.id.min = 1\n";

/// A check of each data date, with lines of its own.
fn check(data_date: &str, own: &str, settings: &str) -> String {
    let line = if data_date.is_empty() { String::new() } else { format!("data_date = \"{data_date}\"\n") };
    let name = if data_date.is_empty() { "usual" } else { data_date.trim_start_matches('-') };
    format!(
        "[checks.\"of-{name}\"]\nplugin = \"canary-sql\"\nchannel = \"#data\"\n{line}{own}\n\
         [checks.\"of-{name}\".settings]\n{settings}\n"
    )
}

fn shop(checks: &str, zone: &str) -> Shop {
    let shop = Shop::new(ORDERS);
    shop.configure(&format!("[slack]\ndeliver = \"console\"\n{checks}"));
    let file = shop.path().join("host.toml");
    let toml = fs::read_to_string(&file).unwrap().replace("timezone = \"UTC\"", &format!("timezone = \"{zone}\""));
    fs::write(file, toml).unwrap();
    shop
}

fn four(settings: &str) -> String {
    ["", "today", "yesterday", "-2d"].map(|data_date| check(data_date, "", settings)).concat()
}

fn once(shop: &Shop, at: &str, more: &[&str]) -> Value {
    let ended = shop.host(&[&["run", "--once", "--output", "json", "--at", at], more].concat());
    assert!(ended.out.starts_with('{'), "{ended:?}");
    ended.json()
}

/// Of each run its check and a field.
fn each(round: &Value, field: &str) -> Vec<(String, Value)> {
    let runs = round["runs"].as_array().unwrap();
    runs.iter().map(|run| (run["check"].as_str().unwrap().to_owned(), run[field].clone())).collect()
}

#[test]
fn each_check_judges_its_own_date() {
    let shop = shop(&four(COUNT), "UTC");
    let round = once(&shop, "2026-02-06T12:00:00Z", &[]);
    let dates = each(&round, "data_date");
    for (check, date, id) in [
        ("of-2d", "2026-02-04", 1),
        ("of-today", "2026-02-06", 3),
        ("of-usual", "2026-02-05", 2),
        ("of-yesterday", "2026-02-05", 2),
    ] {
        assert!(dates.contains(&(check.to_owned(), date.into())), "{check}: {dates:?}");
        let run = round["runs"].as_array().unwrap().iter().find(|run| run["check"] == check).unwrap();
        assert_eq!((&run["status"], &run["metrics"][0]["value"]), (&"pass".into(), &f64::from(id).into()), "{run:#}");
    }
    // People read the date of each where they differ; one date is said once.
    let table = shop.host(&["run", "--once", "--at", "2026-02-06T12:30:00Z"]);
    assert!(table.out.contains("CHECK         DATA OF     RESULT  SUMMARY\n"), "{}", table.out);
    assert!(table.out.contains("of-today      2026-02-06  pass    id 3"), "{}", table.out);
    assert!(table.out.ends_with("4 passed. Data of 2026-02-04, 2026-02-05, 2026-02-06.\n"), "{}", table.out);
    let one = shop.host(&["run", "--once", "--at", "2026-02-06T13:00:00Z", "--check", "of-today"]);
    assert!(
        one.out.contains("CHECK     RESULT  SUMMARY\n") && one.out.ends_with("Data of 2026-02-06.\n"),
        "{}",
        one.out
    );
    // `host plan` says what is unusual.
    let plan = shop.host(&["plan"]);
    let said = "  of-today: judges the data of the day of the run (data_date = \"today\")\n";
    assert!(plan.out.contains(said) && !plan.out.contains("of-usual: judges"), "{}", plan.out);
    let plan = shop.host(&["plan", "--output", "json"]).json();
    let planned = plan["checks"].as_array().unwrap().iter().map(|check| check["data_date"].as_str().unwrap());
    assert_eq!(planned.collect::<Vec<_>>(), ["-2d", "today", "yesterday", "yesterday"]);
    // And a check that judges today is validated like any other.
    assert_eq!(shop.host(&["validate"]).code, 0);
}

#[test]
fn a_data_date_that_is_none_is_refused() {
    for (data_date, said) in [
        ("yesterdy", "`yesterdy` is not a data date; write `today`, `yesterday` or `-2d`; did you mean `yesterday`?"),
        ("+1d", "`+1d` is in the future; write `today`, `yesterday`, or `-2d` for two days before the run"),
        ("tomorrow", "`tomorrow` is in the future"),
        ("-367d", "`-367d` is too far back; write at most `-366d`"),
    ] {
        let ended = shop(&check(data_date, "", COUNT), "UTC").host(&["plan"]);
        assert!(ended.code == 64 && ended.err.contains(said) && ended.err.contains("data_date"), "{ended:?}");
    }
    for data_date in ["-0d", "-366d"] {
        assert_eq!(shop(&check(data_date, "", COUNT), "UTC").host(&["plan"]).code, 0, "{data_date}");
    }
}

/// A date of 23 or of 25 hours has its bounds, whichever check asks: also one whose midnight does not exist.
#[test]
fn the_bounds_of_a_date_follow_the_pipelines_clocks() {
    let hours = "sql = \"SELECT TIMESTAMP_DIFF(@day_end, @day_start, HOUR) AS hours, UNIX_SECONDS(@day_start) AS start\"\n\
        thresholds.hours = { min = 23, max = 25 }\n";
    for (zone, date, start, expected) in [
        ("America/New_York", "2026-03-08", "2026-03-08T05:00:00Z", 23.0),
        ("America/New_York", "2026-11-01", "2026-11-01T04:00:00Z", 25.0),
        ("America/New_York", "2026-02-05", "2026-02-05T05:00:00Z", 24.0),
        // From 00:00 to 01:00 the clocks show nothing: the date begins at 01:00.
        ("America/Havana", "2026-03-08", "2026-03-08T05:00:00Z", 23.0),
        ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00:00Z", 23.0),
        // They show midnight twice.
        ("America/Havana", "2026-11-01", "2026-11-01T04:00:00Z", 25.0),
    ] {
        let shop = shop(&four(hours), zone);
        let day: jiff::civil::Date = date.parse().unwrap();
        for (data_date, back) in [("of-today", 0), ("of-yesterday", 1), ("of-2d", 2)] {
            let noon = day.checked_add(jiff::Span::new().days(back)).unwrap().at(12, 0, 0, 0);
            let at = noon.to_zoned(jiff::tz::TimeZone::get(zone).unwrap()).unwrap().timestamp().to_string();
            let run = &once(&shop, &at, &["--check", data_date])["runs"][0];
            let start: jiff::Timestamp = start.parse().unwrap();
            assert_eq!(run["data_date"], date, "{zone} {data_date}");
            assert_eq!(run["metrics"][0]["value"], expected, "{zone} {date} {data_date}: {run:#}");
            assert_eq!(run["metrics"][1]["value"], start.as_second() as f64, "{zone} {date} {data_date}");
        }
    }
}

/// The newest date that can be asked about is the check's own.
#[test]
fn a_date_that_has_not_come_is_refused() {
    let shop = shop(&four(COUNT), "UTC");
    let at = "2026-02-06T12:00:00Z";
    let ask = |check: &str, date: &str| {
        shop.host(&["run", "--once", "--output", "json", "--at", at, "--check", check, "--date", date])
    };
    for (check, newest, next, data_date) in [
        ("of-today", "2026-02-06", "2026-02-07", "today"),
        ("of-usual", "2026-02-05", "2026-02-06", "yesterday"),
        ("of-2d", "2026-02-04", "2026-02-05", "-2d"),
    ] {
        let asked = ask(check, newest);
        assert_eq!(asked.run(check)["data_date"], newest, "{asked:?}");
        assert!(!asked.err.contains("is a past date"), "{asked:?}");
        for date in [next, "2027-01-01"] {
            let refused = ask(check, date);
            let said = format!(
                "{date} is after the newest date of {check}, which is {newest} in UTC (data_date = \"{data_date}\")"
            );
            assert!(refused.code == 64 && refused.out.is_empty() && refused.err.contains(&said), "{refused:?}");
        }
        assert!(ask(check, "2026-02-01").err.contains("2026-02-01 is a past date"), "{check}");
    }
    // A round of several is refused as a whole; those that have the date can be named.
    let all = |date: &str| shop.host(&["run", "--once", "--at", at, "--date", date]);
    let refused = all("2026-02-06");
    let said = "(data_date = \"-2d\"); 2 more checks have no such date either: choose with --check\n";
    assert!(refused.code == 64 && refused.err.ends_with(said), "{refused:?}");
    assert_eq!(all("2026-02-04").code, 0);
    let runs = shop.host(&["history", "--output", "json", "--config", "host.toml"]);
    assert!(!runs.out.contains("2027-01-01"), "{runs:?}");
}

/// By when the data of a date is expected: when the check is due for it, or as `expect_by` says.
#[test]
fn the_deadline_of_a_date_is_when_its_check_is_due_for_it() {
    let asks = "sql = \"SELECT UNIX_SECONDS(@deadline) AS deadline, COUNT(*) AS orders FROM shop.orders\"\nthresholds.orders.min = 1";
    let own = |schedule: &str| format!("schedule = \"{schedule}\"\n");
    for (own, data_date, deadline) in [
        (own("0 14 * * *"), "today", "2026-02-03T14:00:00Z"),
        (own("*/15 * * * *"), "today", "2026-02-03T23:45:00Z"),
        // On Mondays only: 2026-02-03 is a Tuesday.
        (own("0 9 * * MON"), "today", "2026-02-09T09:00:00Z"),
        (own("0 14 * * *"), "yesterday", "2026-02-04T14:00:00Z"),
        (own("*/15 * * * *"), "yesterday", "2026-02-04T00:00:00Z"),
        (own("0 14 * * *"), "-2d", "2026-02-05T14:00:00Z"),
        (own("*/15 * * * *"), "-2d", "2026-02-05T00:00:00Z"),
        ("expect_by = \"13:30\"\n".to_owned(), "today", "2026-02-03T13:30:00Z"),
        ("expect_by = \"13:30\"\n".to_owned(), "yesterday", "2026-02-04T13:30:00Z"),
        ("expect_by = \"13:30\"\n".to_owned(), "-2d", "2026-02-05T13:30:00Z"),
        ("expect_by = \"6h\"\n".to_owned(), "today", "2026-02-04T06:00:00Z"),
    ] {
        let shop = shop(&check(data_date, &own, asks), "UTC");
        let ended = shop.host(&["run", "--once", "--output", "json", "--date", "2026-02-03"]);
        let run = &ended.json()["runs"][0];
        let deadline: jiff::Timestamp = deadline.parse().unwrap();
        assert_eq!(run["metrics"][0]["value"], deadline.as_second() as f64, "{own} {data_date}: {run:#}");
    }
}

/// Dates that nobody judged are judged later, also those of a check of today. A bad date that is after the newest one, since
/// host.toml was changed, waits.
#[test]
fn dates_of_today_are_expected_like_others() {
    let today = |own: &str| check("today", &format!("schedule = \"0 14 * * *\"\n{own}"), COUNT);
    let shop = shop(&today("since = \"2026-02-03\"\n"), "UTC");
    let round = once(&shop, "2026-02-06T14:00:00Z", &[]);
    let dates: Vec<Value> = each(&round, "data_date").into_iter().map(|(_, date)| date).collect();
    for date in ["2026-02-03", "2026-02-04", "2026-02-05", "2026-02-06"] {
        assert!(dates.contains(&date.into()), "{date}: {dates:?}");
    }
    change(shop.path(), "shop", "DELETE FROM orders WHERE day = '2026-02-06'").unwrap();
    assert_eq!(once(&shop, "2026-02-06T14:30:00Z", &[])["exit_code"], 2);
    let file = shop.path().join("host.toml");
    let toml = fs::read_to_string(&file).unwrap();
    fs::write(&file, toml.replace("data_date = \"today\"", "data_date = \"yesterday\"")).unwrap();
    let later = once(&shop, "2026-02-06T20:00:00Z", &[]);
    assert!(!each(&later, "data_date").iter().any(|(_, date)| date == "2026-02-06"), "{later:#}");
    // Once it has come, it is looked at again.
    let next = once(&shop, "2026-02-08T20:00:00Z", &[]);
    assert!(each(&next, "data_date").iter().any(|(_, date)| date == "2026-02-06"), "{next:#}");
}

/// A gate of today's data: who asks without a date means today, tomorrow is refused, and its watch waits for today's
/// question. Calendars go by the data date.
#[test]
fn a_gate_and_its_watch_have_the_same_date() {
    let sample = Sample::now(None).unwrap();
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::get("America/New_York").unwrap()).date();
    let (before, after) = (today.yesterday().unwrap(), today.tomorrow().unwrap());
    let configure = |more: &str| {
        let own = "[checks.phase2-gate]\ndata_date = \"today\"\nexpect_consult = \"0 10 * * *\"";
        sample.configure(&format!("{}\n{more}", HOST_TOML.replace("[checks.phase2-gate]", own))).unwrap();
    };
    configure("");
    let file = plugin("phase2-gate").display().to_string();
    let gate =
        |more: &[&str]| sample.host(&[&["gate", "phase2-gate", "--output", "json", &file], more].concat()).unwrap();
    let watch = || {
        let check = ["--check", "phase2-gate.consulted", "--output", "json", &file];
        sample.host(&[&["run", "--once"][..], &check].concat()).unwrap().run("phase2-gate.consulted")
    };
    let summary = watch()["summary"].to_string();
    assert!(summary.contains(&format!("nobody asked phase2-gate about {today}")), "{summary}");
    gate(&["--date", &before.to_string()]);
    assert_eq!(watch()["status"], "fail", "yesterday's question is not today's");
    assert_eq!(gate(&[]).json()["data_date"], today.to_string());
    assert_eq!(watch()["status"], "pass");
    let refused = gate(&["--date", &after.to_string()]);
    assert!(refused.code == 64 && refused.err.contains("is after the newest date of phase2-gate"), "{refused:?}");
    configure(&format!("[calendars.holiday]\neffect = \"skip\"\nwhy = \"a holiday\"\ndates = [\"{today}\"]"));
    let skipped = watch();
    assert_eq!((&skipped["status"], &skipped["data_date"]), (&"skip".into(), &today.to_string().into()), "{skipped:#}");
}

/// The parameters that a query uses, each with its type; what it does not use stays here, so that the estimate of a query
/// that is the same in every run is kept.
#[test]
fn bigquery_gets_the_parameters_that_a_query_uses() {
    let (sample, bigquery) = (Sample::new(None).unwrap(), BigQueryDouble::start().unwrap());
    bigquery.reads(&[("ds", "t")], 1);
    bigquery.holds(&[("n", "INTEGER")], vec![row(&["7".into()])], 10);
    let ask = |sql: &str| {
        let google = format!("[google]\ncredentials = \"none\"\n{}", bigquery.warehouse());
        let toml =
            asking(&google).replace("[grants.canary-sql]\nwarehouse = [", "[grants.canary-sql]\nwarehouse = [\"ds\", ");
        let check = format!(
            "[checks.asks]\nplugin = \"canary-sql\"\n[checks.asks.settings]\nsql = \"{sql}\"\nthresholds.n.min = 1"
        );
        sample.configure(&format!("{toml}\n{check}")).unwrap();
        sample.once(&["--check", "asks", "--output", "json"]).unwrap().run("asks")
    };
    for (sql, expected) in [
        ("SELECT COUNT(*) AS n FROM ds.t WHERE d = @date", json!([["date", "DATE", "2026-02-05"]])),
        (
            "SELECT COUNT(*) AS n FROM ds.t WHERE at >= @day_start AND at < @DAY_END AND at < @due",
            json!([
                ["due", "TIMESTAMP", "2026-02-06 11:30:00+00:00"],
                ["day_start", "TIMESTAMP", "2026-02-05 05:00:00+00:00"],
                ["day_end", "TIMESTAMP", "2026-02-06 05:00:00+00:00"],
            ]),
        ),
        ("SELECT COUNT(*) AS n FROM ds.t", json!([])),
    ] {
        let run = ask(sql);
        assert_eq!(run["status"], "pass", "{sql}: {run:#}");
        let job = bigquery.asked(Method::Insert).last().unwrap().json();
        let sent = job["configuration"]["query"]["queryParameters"].as_array().cloned().unwrap_or_default();
        let sent =
            sent.iter().map(|one| json!([one["name"], one["parameterType"]["type"], one["parameterValue"]["value"]]));
        assert_eq!(Value::from(sent.collect::<Vec<_>>()), expected, "{sql}");
    }
    let (dry, jobs) = (bigquery.asked(Method::DryRun).len(), bigquery.jobs());
    let run = ask("SELECT COUNT(*) AS n FROM ds.t WHERE d = @data");
    let said = "Query parameter 'data' not found; there are @date, @due, @day_start, @day_end, @deadline; did you mean `date`?";
    assert!(run["error"].as_str().unwrap().contains(said), "{run:#}");
    let run = ask("SELECT COUNT(*) AS n FROM ds.t WHERE d = CURRENT_DATE()");
    assert!(run["error"].as_str().unwrap().contains("write @date for the data date"), "{run:#}");
    assert_eq!((bigquery.asked(Method::DryRun).len(), bigquery.jobs()), (dry, jobs), "neither was sent");
}
