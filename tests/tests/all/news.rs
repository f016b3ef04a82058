//! What is news about a check that was told before, since when it is not well, and how a headline counts.

use std::fs;

use host_tests::HOST_TOML;

use super::downstream::{Pair, Terms};
use crate::support::{
    command::{Sample, ended, shipped},
    service::{Service, install},
};

/// The texts to one channel.
fn to<'m>(messages: &'m [(String, String)], channel: &str) -> Vec<&'m str> {
    messages.iter().filter(|(to, _)| to == channel).map(|(_, text)| text.as_str()).collect()
}

/// A metric that crosses from one limit to the other is told again, and so is the way back.
#[test]
fn a_metric_that_crosses_to_its_other_limit_is_news() {
    let limits = "row_count = { min = 2, max = 4 }";
    let pair = Pair::new(&Terms { depends: false, limits, ..Terms::default() });
    let step = |time: &str, rows: usize| {
        pair.sql(&format!("DELETE FROM down; {}", "INSERT INTO down VALUES (1);".repeat(rows)));
        pair.run(&format!("06T{time}"), &["down"])
    };
    assert_eq!(step("10:00", 3), []);
    assert!(step("10:30", 1)[0].1.contains("row_count is below its minimum: 1 < 2"));
    assert_eq!(step("11:00", 0), [], "still below");
    let crossed = step("11:30", 7);
    assert!(crossed.len() == 1 && crossed[0].1.contains("New: row_count is above its maximum."), "{crossed:?}");
    assert!(crossed[0].1.contains("row_count is above its maximum: 7 > 4"), "{crossed:?}");
    assert_eq!(step("12:00", 9), [], "still above");
    let back = step("12:30", 0);
    assert!(back.len() == 1 && back[0].1.contains("New: row_count is below its minimum."), "{back:?}");
    let over = step("13:00", 3);
    assert!(over[0].1.starts_with("✅ down recovered"), "{over:?}");
    let anew = step("20:00", 7);
    assert!(!anew[0].1.contains("New:"), "it begins anew: {anew:?}");
}

/// Another reason of an error is told once it is confirmed; one that differs only in numbers is not, nor one that was told.
#[test]
fn another_reason_of_an_error_is_told_once() {
    let more = ["", "alerts = { confirm_errors = 2 }", ""];
    let limits = "accepted_values = { n = [1] }";
    let pair = Pair::new(&Terms { depends: false, limits, more, ..Terms::default() });
    let toml = fs::read_to_string(pair.sample.path().join("host.toml")).unwrap();
    let sql = "sql = 'SELECT MAX(CAST(n AS INT64)) AS n FROM nba_raw.down', thresholds = { n = { max = 9 } }";
    let toml = toml.replace(&format!("table = 'nba_raw.down', {limits}"), sql);
    fs::write(pair.sample.path().join("host.toml"), toml).unwrap();
    let hold = |value: &str| pair.sql(&format!("DELETE FROM down; INSERT INTO down VALUES ('{value}')"));
    let another = "another reason than was told before";
    hold("12x");
    assert_eq!(pair.run("06T10:00", &["down"]), []);
    let first = pair.run("06T10:30", &["down"]);
    assert!(first.len() == 1 && first[0].1.contains("12x") && !first[0].1.contains(another), "{first:?}");
    hold("345x");
    for time in ["11:00", "11:30"] {
        assert_eq!(pair.run(&format!("06T{time}"), &["down"]), [], "only the number differs");
    }
    pair.sql("ALTER TABLE down RENAME TO elsewhere");
    assert_eq!(pair.run("06T12:00", &["down"]), [], "it may be a hiccup");
    let changed = pair.run("06T12:30", &["down"]);
    assert!(changed.len() == 1 && changed[0].1.starts_with("🟠 down could not be evaluated"), "{changed:?}");
    assert!(changed[0].1.contains(another) && changed[0].1.contains("there is no table nba_raw.down"), "{changed:?}");
    assert_eq!(pair.run("06T13:00", &["down"]), [], "it is told once");
    pair.sql("ALTER TABLE elsewhere RENAME TO down");
    for time in ["13:30", "14:00"] {
        assert_eq!(pair.run(&format!("06T{time}"), &["down"]), [], "it was told before");
    }
    hold("1");
    assert!(pair.run("06T14:30", &["down"])[0].1.starts_with("✅ down can be evaluated again"));
}

/// A headline counts what its message shows, and says where the others are.
#[test]
fn a_headline_says_where_those_are_that_it_does_not_show() {
    let third = "[checks.third]\nplugin = 'canary-sql'\nschedule = '*/30 * * * *'\nchannel = '#up'\n\
                 settings = { table = 'nba_raw.up', row_count = { max = 9 } }\n";
    let all = ["up", "down", "third"];
    let broken = |terms: &Terms<'_>| {
        let pair = Pair::new(terms);
        assert_eq!(pair.run("06T10:00", &all), []);
        pair.set("up", false);
        pair.set("down", false);
        pair
    };
    let channel = "#down";
    let listed = broken(&Terms { channel, more: ["", "", third], ..Terms::default() }).run("06T10:30", &all);
    let up = to(&listed, "up");
    assert!(up.len() == 1 && up[0].starts_with("🔴 tables: 2 failed, 1 passed"), "one is listed: {listed:?}");
    assert!(up[0].contains("Also not well downstream down: row_count"), "{listed:?}");

    let depends = false;
    let waits = broken(&Terms { depends, more: ["", "alerts = { confirm = 2 }", third], ..Terms::default() });
    let first = waits.run("06T10:30", &all);
    assert!(first[0].1.starts_with("🔴 tables: 2 failed (1 waiting for confirmation), 1 passed"), "{first:?}");
    let second = waits.run("06T11:00", &all);
    assert!(second[0].1.starts_with("🔴 tables: 2 failed (1 told before), 1 passed"), "{second:?}");

    let silent = broken(&Terms { depends, more: ["", "", third], ..Terms::default() });
    assert_eq!(silent.sample.host(&["silence", "down", "--for", "4h", "--why", "known"]).unwrap().code, 0);
    let told = silent.run("06T10:30", &all);
    assert!(told[0].1.starts_with("🔴 tables: 2 failed (1 silenced), 1 passed"), "{told:?}");
    silent.sample.sql("nba_raw", "ALTER TABLE up RENAME TO elsewhere").unwrap();
    let told = silent.run("06T11:00", &all);
    assert!(told[0].1.starts_with("🟠 tables: 1 failed (silenced), 2 not evaluated"), "{told:?}");

    let routes = format!("{third}[alerts.routes]\ncritical = ['#down']");
    let limits = "row_count = { min = 0, warn_min = 1 }";
    let routed = broken(&Terms { depends, limits, more: ["", "", &routes], ..Terms::default() });
    let told = routed.run("06T10:30", &all);
    assert!(to(&told, "up")[0].starts_with("🔴 tables: 1 failed, 1 warned, 1 passed"), "{told:?}");
    assert!(to(&told, "down")[0].starts_with("🔴 tables: 1 failed, 1 warned (told elsewhere), 1 passed"), "{told:?}");
}

/// A dependent that was only listed moves to another channel with the check that it depends on: the old channel hears that
/// of both.
#[test]
fn a_dependent_that_moved_channel_is_told_as_moved() {
    let pair = Pair::new(&Terms::default());
    let both = ["up", "down"];
    assert_eq!(pair.run("06T10:00", &both), []);
    pair.set("up", false);
    pair.set("down", false);
    assert!(pair.run("06T10:30", &both)[0].1.contains("Also not well downstream down: "));
    let file = pair.sample.path().join("host.toml");
    let toml = fs::read_to_string(&file).unwrap().replace("channel = '#up'", "channel = '#down'");
    fs::write(&file, toml).unwrap();
    let moved = pair.run("06T11:00", &both);
    let [old] = to(&moved, "up")[..] else { panic!("{moved:?}") };
    assert!(old.starts_with("🔵 down, up: still not well, now in another channel"), "{old}");
    for check in both {
        assert!(old.contains(&format!("{check}: still fails; further alerts go to #down: row_count")), "{old}");
    }
    let [new] = to(&moved, "down")[..] else { panic!("{moved:?}") };
    assert!(new.starts_with("🔴") && new.contains("Also not well downstream down: "), "{new}");
    assert_eq!(pair.run("06T11:30", &both), [], "it is told once");
    pair.set("up", true);
    pair.set("down", true);
    let over = pair.run("06T12:00", &both);
    assert_eq!(to(&over, "up"), [""; 0], "it hears no more");
    assert!(to(&over, "down")[0].contains("down: recovered after"), "{over:?}");
}

/// The first alert after a silence says since when, and what held it back; one that nothing held back does not.
#[test]
fn the_first_alert_after_a_silence_says_since_when() {
    let night = "[calendars.night]\neffect = 'silence'\nwhy = 'backups'\nchecks = ['down']\n\
                 windows = [{ cron = '0 3 * * *', for = '2h' }]";
    let pair = Pair::new(&Terms { depends: false, more: ["", "", night], ..Terms::default() });
    pair.set("up", false);
    pair.set("down", false);
    let told = pair.run("06T03:30", &["up", "down"]);
    assert!(told.len() == 1 && !told[0].1.contains("since"), "{told:?}");
    assert_eq!(pair.run("06T04:30", &["down"]), []);
    let told = pair.run("06T05:30", &["down"]);
    let since =
        "Ongoing for 2 h, since 2026-02-06 03:30 UTC. No alert until now: silenced by calendars.night: backups.";
    assert!(told.len() == 1 && told[0].1.contains(since), "{told:?}");
}

/// A dry run says that it records nothing.
#[test]
fn a_dry_run_of_a_past_date_says_that_nothing_is_recorded() {
    let pair = Pair::new(&Terms::default());
    for (dry, what) in [(&["--dry-run"][..], "nothing is recorded (--dry-run)"), (&[], "recorded, and alerts are sent")]
    {
        let mut command = pair.sample.command();
        command.args(["run", "--once", "--date", "2026-02-05"]).args(dry).args(shipped().unwrap());
        let ended = ended(command.env("SLACK_WEBHOOK_URL_UP", pair.sample.slack.webhook("up"))).unwrap();
        assert!(ended.err.contains(&format!("2026-02-05 is a past date: {what}")), "{ended:?}");
        assert_eq!(pair.sample.path().join("state").exists(), dry.is_empty(), "{ended:?}");
    }
}

/// A metric has the digits of its violation, in Slack and on the page.
#[test]
fn a_metric_has_the_digits_of_its_violation() {
    let value = "sql = 'SELECT MAX(n) AS v FROM nba_predictions.down', thresholds = { v = { max = LIMIT } }";
    for (value, limit, digits, shown) in [
        ("9007199254740995", "9007199254740993", "9007199254740995", "9007199254740993"),
        ("0.50000001", "0.5", "0.50000001", "0.5"),
        ("7", "5", "7", "5"),
    ]
    .map(|(n, limit, digits, shown)| ((n, value.replace("LIMIT", limit)), limit, digits, shown))
    {
        let sample = Sample::now(None).unwrap();
        install(&sample, &[]).unwrap();
        let (n, settings) = value;
        sample.sql("nba_predictions", &format!("CREATE TABLE down (n); INSERT INTO down VALUES ({n})")).unwrap();
        let toml = format!(
            "{HOST_TOML}\n[checks.down]\nplugin = 'canary-sql'\nchannel = '#canary-alerts'\nsettings = {{ {settings} }}\n"
        );
        sample.configure(&toml).unwrap();
        let ended = sample.host(&["run", "--once", "--check", "down", "plugins"]).unwrap();
        assert_eq!(ended.code, 2, "{ended:?}");
        let told = sample.slack.requests()[0].message.to_string();
        assert!(told.contains(&format!("v\\n*{digits}*")), "{limit}: {told}");
        let service = Service::start(&sample, &toml, &["--check", "down"]).unwrap();
        let page = service.get("/checks").body;
        let list = page.split("<ul class=\"metrics\">").nth(1).unwrap_or_else(|| panic!("{page}"));
        let list = list.split("</ul>").next().unwrap();
        assert!(list.contains(&format!("<b>{digits}</b>")) && list.contains(&format!("≤ {shown}</span>")), "{list}");
        assert!(list.contains("(broken)"), "{list}");
    }
}

/// Messages of a process that serves no page link only to an address that is set.
#[test]
fn a_message_links_to_a_page_that_is_there() {
    for (web, link) in [
        ("[web]\nlisten = '127.0.0.1:8099'", None),
        (
            "[web]\nlisten = '127.0.0.1:0'\nurl = 'https://ops.example.com'",
            Some("<https://ops.example.com/checks/up#runbook"),
        ),
    ] {
        let pair = Pair::new(&Terms { more: ["", "", web], ..Terms::default() });
        pair.set("up", false);
        let mut command = pair.sample.command();
        command.env("SLACK_WEBHOOK_URL_UP", pair.sample.slack.webhook("up"));
        ended(command.args(["run", "--once", "--check", "up"]).args(shipped().unwrap())).unwrap();
        let told = pair.sample.slack.requests()[0].message.to_string();
        assert_eq!(told.contains("/checks/"), link.is_some(), "{told}");
        assert!(link.is_none_or(|link| told.contains(link)), "{told}");
    }
}

/// Lists are in the order of the time that they show.
#[test]
fn history_is_sorted_by_the_time_that_it_shows() {
    let pair = Pair::new(&Terms { depends: false, ..Terms::default() });
    pair.set("up", false);
    pair.set("down", false);
    pair.run("06T11:00", &["down"]);
    pair.run("06T10:30", &["up"]);
    let history = pair.sample.host(&["history"]).unwrap().out;
    let times: Vec<&str> = history.lines().filter_map(|line| line.strip_prefix("2026-02-06 ")?.get(..5)).collect();
    assert_eq!(times, ["11:00", "10:30", "11:00", "10:30"], "runs, then alerts: {history}");
}

/// A table that passes since all its rows are gone is said to have none.
#[test]
fn a_recovery_says_that_no_rows_are_left() {
    for (rows, said) in [(0, ", with no rows left to check: row_count 0"), (1, ": row_count 1")] {
        let pair = Pair::new(&Terms { depends: false, limits: "unique = ['n']", ..Terms::default() });
        pair.set("down", true);
        assert!(pair.run("06T10:00", &["down"])[0].1.starts_with("🔴"));
        pair.sql("DELETE FROM down");
        pair.sql(&"INSERT INTO down VALUES (1);".repeat(rows));
        let over = pair.run("06T10:30", &["down"]);
        assert!(over[0].1.contains(&format!("down: recovered after 30 min{said}")), "{over:?}");
    }
}
