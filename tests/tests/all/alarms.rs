//! Prometheus: the last result of a check survives a restart, and the alarms of docs/operations.md fire when they
//! should, and not for a daily check, a restart or a deployment. Debian's promtool evaluates them, on series whose names
//! and labels come from a scrape.

use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf, process::Command, sync::Arc, sync::Mutex};

use host_tests::HOST_TOML;

use crate::{
    docs::blocks,
    support::{
        command::{Sample, binary},
        http::{Reply, serve},
        service::{Service, install},
    },
};

/// Fails each minute: no plugin of the sample has this much data.
const FAILING: &str =
    "[checks.failing]\nplugin = \"phase2-raw\"\nschedule = \"* * * * *\"\nsettings.min_games = 1000\n";

/// The samples of a scrape: each series, and its value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| Some((line.rsplit_once(' ')?.0.to_owned(), line.rsplit_once(' ')?.1.parse().ok()?)))
        .collect()
}

fn of<'s>(scrape: &'s BTreeMap<String, f64>, name: &str) -> Vec<&'s String> {
    let of = |series: &&String| series.split('{').next() == Some(name);
    scrape.keys().filter(of).collect()
}

#[test]
fn what_was_last_known_is_there_from_the_first_scrape_after_a_restart() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    let toml = format!("{HOST_TOML}\n{FAILING}");
    let service = Service::start(&sample, &toml, &[]).unwrap();
    service.wait_until("a run", 130, |service| {
        samples(&service.get("/metrics").body).contains_key("host_check_status{check=\"failing\"}")
    });
    let before = samples(&service.get("/metrics").body);
    let due = before["host_check_next_due_timestamp_seconds{check=\"failing\"}"];
    assert!(due > before["host_check_last_run_timestamp_seconds{check=\"failing\"}"] - 60.0, "{before:?}");
    let (code, said) = service.host.end("TERM").unwrap();
    assert_eq!(code, Some(0), "{said}");
    // The log has a line for the round's group, alone or with the checks that are due each half hour.
    let lines = ["info: canaries: 1 check failed, data of ", "info: canaries: 1 failed (failing), 6 passed, data of "];
    assert!(lines.iter().any(|line| said.contains(line)), "{said}");
    // No check is due soon: what is exported comes from the record.
    let later = toml.replace("schedule = \"* * * * *\"", "schedule = \"0 0 1 1 *\"");
    let service = Service::start(&sample, &later, &[]).unwrap();
    let after = samples(&service.get("/metrics").body);
    for name in
        ["host_check_status", "host_check_last_run_timestamp_seconds", "host_check_last_success_timestamp_seconds"]
    {
        for series in of(&before, name) {
            // It may have run once more in between.
            let far = (after.get(series).copied().unwrap_or(f64::NAN) - before[series]).abs();
            assert!(far <= 60.0, "{series}: {:?}, before {}", after.get(series), before[series]);
        }
    }
    assert_eq!(after["host_check_status{check=\"failing\"}"], 2.0);
    assert!(of(&after, "host_runs_total").is_empty(), "no check ran");
    assert_eq!(service.host.end("TERM").unwrap().0, Some(0));
}

/// One alarm in one situation: the series that differ from a healthy host, when to look, and whether it fires.
struct Case {
    name: &'static str,
    /// The beginning of a series, and its values, one a minute.
    changed: &'static [(&'static str, &'static str)],
    /// Minutes after the start.
    at: u32,
    /// The alarms that fire then.
    fires: &'static [&'static str],
}

const fn case(
    name: &'static str,
    changed: &'static [(&'static str, &'static str)],
    at: u32,
    fires: &'static [&'static str],
) -> Case {
    Case { name, changed, at, fires }
}

const CASES: &[Case] = &[
    case("healthy", &[], 30, &[]),
    case("healthy for a day", &[], 1439, &[]),
    case("a daily check is due", &[], 1441, &[]),
    case("a daily check has run", &[], 1500, &[]),
    case("down", &[("host_", "1+0x9 stale")], 16, &["HostDown"]),
    case("down for a moment", &[("host_", "1+0x9 stale")], 12, &[]),
    case(
        "restarted",
        &[("host_uptime_seconds", "0+60x9 stale _x2 0+60x99"), ("host_schedule_lag", "5+0x9 stale _x2 0+0x99")],
        14,
        &[],
    ),
    case(
        "restarted with a failing check",
        &[
            ("host_uptime_seconds", "0+60x9 stale _x2 0+60x99"),
            ("host_check_status{check=\"failing\"}", "2+0x9 stale _x2 2+0x99"),
        ],
        12,
        &["HostCheckBad"],
    ),
    case("a failing check that recovered", &[("host_check_status{check=\"failing\"}", "2+0x9 0+0x99")], 30, &[]),
    case("cannot be evaluated", &[("host_check_status{check=\"failing\"}", "3+0x99")], 1, &["HostCheckBad"]),
    case("warned", &[("host_check_status{check=\"failing\"}", "1+0x99")], 30, &[]),
    case("skipped", &[("host_check_status{check=\"failing\"}", "4+0x99")], 30, &[]),
    case("a file was rejected", &[("host_configuration_ok", "1+0x9 0+0x99")], 16, &["HostConfigurationRejected"]),
    case("a deployment: rejected until it is pinned", &[("host_configuration_ok", "1+0x9 0+0x2 1+0x99")], 16, &[]),
    case("not delivered", &[("host_messages_undelivered", "0+0x9 1+0x99")], 21, &["HostMessagesUndelivered"]),
    case("being delivered", &[("host_messages_undelivered", "0+0x9 1+0x1 0+0x99")], 21, &[]),
    case(
        "a check does not run",
        &[("host_check_next_due_timestamp_seconds{check=\"failing\"}", "600+0x99")],
        26,
        &["HostCheckOverdue"],
    ),
    case(
        "a check takes nine minutes",
        &[("host_check_next_due_timestamp_seconds{check=\"failing\"}", "600+0x19 5400+0x99")],
        26,
        &[],
    ),
    case(
        "a daily check does not run",
        &[("host_check_next_due_timestamp_seconds{check=\"failing\"}", "86400+0x2000")],
        1456,
        &["HostCheckOverdue"],
    ),
    case(
        "dates are not judged",
        &[("host_check_dates_unjudged{check=\"failing\"}", "3+0x999")],
        361,
        &["HostDatesNotJudged"],
    ),
    case(
        "a date is bad for a day",
        &[("host_check_dates_open{check=\"failing\"}", "1+0x2000")],
        1445,
        &["HostDatesOpen"],
    ),
    case("a date is bad since this morning", &[("host_check_dates_open{check=\"failing\"}", "1+0x999")], 361, &[]),
    // Ten runs a minute, each of which began more than 30 s late.
    case(
        "overloaded",
        &[("host_schedule_lag_seconds_bucket{le=\"+Inf\"}", "0+10x99"), ("host_schedule_lag_seconds_bucket", "0+0x99")],
        30,
        &["HostOverloaded"],
    ),
    case("busy, and in time", &[("host_schedule_lag_seconds_bucket", "0+10x99")], 30, &[]),
    case("a first budget", &[("host_budgets_exceeded_total", "_x9 1+0x200")], 12, &["HostBudgetExceeded"]),
    case("another budget", &[("host_budgets_exceeded_total", "1+0x99 2+0x200")], 105, &["HostBudgetExceeded"]),
    case("a budget of long ago", &[("host_budgets_exceeded_total", "1+0x400")], 90, &[]),
];

/// What a healthy host exports: two days, one value a minute.
fn healthy(series: &str) -> Option<&'static str> {
    Some(match series.split('{').next().unwrap_or_default() {
        "host_uptime_seconds" => "0+60x2880",
        "host_configuration_ok" => "1+0x2880",
        "host_messages_undelivered" | "host_check_status" => "0+0x2880",
        "host_check_dates_open" | "host_check_dates_unjudged" => "0+0x2880",
        // A daily check that runs within a minute.
        "host_check_next_due_timestamp_seconds" => "86400+0x1440 172800+0x1440",
        "host_schedule_lag_seconds_bucket" => "5+0x2880",
        "host_budgets_exceeded_total" => return None,
        other => panic!("the alarms use {other}"),
    })
}

#[test]
fn each_alarm_fires_when_it_should() {
    let rules =
        blocks(&fs::read_to_string(crate::support::command::repository().join("docs/operations.md")).unwrap(), "yaml");
    let rules = rules.into_iter().find(|block| block.contains("- alert: HostDown")).expect("the alarms");
    let alarms: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    for alarm in &alarms {
        assert!(CASES.iter().any(|case| case.fires.contains(alarm)), "no case in which {alarm} fires");
    }
    let Some(promtool) = promtool() else {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("left out: there is no promtool; on Debian, `sudo apt-get install prometheus`");
        }
        return;
    };
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    let toml = format!(
        "{HOST_TOML}\n{FAILING}[checks.misbehaving]\nschedule = \"* * * * *\"\nsettings.behaviour = \"flood the log\"\n\
         [grants.misbehaving]\nslack = [\"#canary-alerts\"]\n"
    );
    let service = Service::start(&sample, &toml, &[]).unwrap();
    let used: Vec<String> = words(&rules);
    service.wait_until("every metric of the alarms", 130, |service| {
        let scrape = samples(&service.get("/metrics").body);
        used.iter().all(|name| !of(&scrape, name).is_empty())
            && scrape.contains_key("host_check_status{check=\"failing\"}")
    });
    let scrape = samples(&service.get("/metrics").body);
    assert_eq!(service.host.end("TERM").unwrap().0, Some(0));

    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("rules.yml"), &rules).unwrap();
    let series: Vec<&String> = used.iter().flat_map(|name| of(&scrape, name)).collect();
    let mut tests = "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n".to_owned();
    for case in CASES {
        writeln!(tests, "  - name: {:?}\n    interval: 1m\n    input_series:", case.name).unwrap();
        let values = |series: &str| {
            let changed = case.changed.iter().find(|(start, _)| series.starts_with(start));
            changed.map(|(_, values)| *values).or_else(|| healthy(series))
        };
        for series in &series {
            let Some(values) = values(series) else { continue };
            writeln!(tests, "      - series: '{series}'\n        values: '{values}'").unwrap();
        }
        writeln!(tests, "    alert_rule_test:").unwrap();
        for alarm in &alarms {
            writeln!(tests, "      - alertname: {alarm}\n        eval_time: {}m\n        exp_alerts:", case.at)
                .unwrap();
            if case.fires.contains(alarm) {
                for labels in fired(alarm, case, &series) {
                    writeln!(tests, "          - exp_labels: {labels}").unwrap();
                }
            }
        }
    }
    fs::write(directory.path().join("tests.yml"), &tests).unwrap();
    let checked =
        Command::new(promtool).args(["test", "rules", "tests.yml"]).current_dir(directory.path()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success(), "{said}\n{tests}");
}

/// The labels with which an alarm fires: those of the series that were changed.
fn fired(alarm: &str, case: &Case, series: &[&String]) -> Vec<String> {
    let labels = |series: &str| {
        series.split_once('{').map_or("{}".to_owned(), |(_, labels)| {
            let parts: Vec<String> =
                labels.trim_end_matches('}').split(',').map(|part| part.replacen('=', ": ", 1)).collect();
            format!("{{{}}}", parts.join(", "))
        })
    };
    match alarm {
        "HostDown" | "HostOverloaded" => vec!["{}".to_owned()],
        _ => series
            .iter()
            .filter(|series| case.changed.iter().any(|(start, _)| series.starts_with(start)))
            .filter(|series| !series.starts_with("host_uptime") && !series.starts_with("host_schedule"))
            .map(|series| labels(series))
            .collect(),
    }
}

/// The metrics that rules name.
fn words(rules: &str) -> Vec<String> {
    let expressions = rules.lines().filter(|line| !line.trim().starts_with('#'));
    let words = expressions.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let mut names: Vec<String> = words.filter(|word| word.starts_with("host_")).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// What `cargo xtask test` fetched, or what is installed.
fn promtool() -> Option<PathBuf> {
    let fetched = binary("").parent().unwrap().join("promtool/usr/bin/promtool");
    let known = [fetched, PathBuf::from("promtool")];
    known
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()))
}

/// A heartbeat's address with a query, and what doctor says of it.
#[test]
fn a_heartbeat_keeps_the_query_of_its_address() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let log = heard.clone();
    let server = serve(move |request| {
        log.lock().unwrap().push(format!("{}?{}", request.path, request.query));
        Reply::Answer(200, "OK".to_owned())
    });
    let address = format!("{}/ping/key/slug?create=1", server.unwrap().url());
    let toml =
        format!("{HOST_TOML}\n[heartbeat]\nurl = \"{address}\"\n[checks.misbehaving]\nschedule = \"* * * * *\"\n");
    let service = Service::start(&sample, &toml, &[]).unwrap();
    service.wait_until("both beats", 130, |_| heard.lock().unwrap().len() >= 2);
    let heard = heard.lock().unwrap().clone();
    assert!(heard[0].starts_with("/ping/key/slug/start?create=1&rid="), "{heard:?}");
    assert!(heard[1].starts_with("/ping/key/slug?create=1&rid="), "{heard:?}");
    assert_eq!(service.host.end("TERM").unwrap().0, Some(0));

    let doctor = sample.host(&["doctor"]).unwrap().out;
    let base = address.trim_end_matches("?create=1");
    for shown in [format!("{base}/start?create=1"), address.clone(), format!("{base}/fail?create=1")] {
        assert!(doctor.contains(&shown), "{shown}: {doctor}");
    }
    // An address from the environment is a secret.
    sample.configure(&format!("{HOST_TOML}\n[heartbeat]\nurl_env = \"BEATS\"\n")).unwrap();
    let mut command = sample.command();
    command.arg("doctor").env("BEATS", "https://hc-ping.com/secret-key/slug?create=1");
    let doctor = crate::support::command::ended(&mut command).unwrap().out;
    assert!(doctor.contains("https://hc-ping.com/…/start?…") && !doctor.contains("secret-key"), "{doctor}");
}
