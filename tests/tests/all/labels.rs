//! What people say that alerts were, and the report of what the checks were worth.

use std::fs;

use host_tests::season::Wrong;
use jiff::{SignedDuration, Timestamp, civil::date};

use crate::{
    prove::{json, past, plugin, record},
    support::{
        command::Sample,
        service::{Service, TOKEN, install},
        slack::Reply,
    },
};

/// Labels are set at the command line and by a form of the page, and are told apart in the report.
#[test]
fn labels_and_the_report_say_what_alerts_were() {
    let sample = past(
        40,
        &[(date(2025, 9, 20), Wrong::NoBoxScores), (date(2025, 9, 23), Wrong::NamesMissing)],
        "known_bad = [\"2025-09-24 a fault that the check does not see\"]",
    );
    let file = plugin("phase2-raw");
    let file = file.to_str().unwrap();
    for day in 19..=26 {
        let at = format!("2025-09-{day}T11:30:00Z");
        assert!(sample.host(&["run", "--once", "--at", &at, file]).unwrap().code <= 3);
    }
    let history = sample.host(&["history", "phase2-raw", "--output", "json"]).unwrap();
    let alerts = json(&history)["alerts"].as_array().unwrap().clone();
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
    let id = |date: &str| alerts.iter().find(|alert| alert["data_date"] == date).unwrap()["id"].to_string();
    let label = |id: &str, what: &str| sample.host(&["label", id, what, "--why", "somebody looked"]).unwrap();
    let said = label(&id("2025-09-20"), "real");
    assert_eq!(
        said.out,
        format!("alert {} of phase2-raw, data of 2025-09-20: real\n", id("2025-09-20")),
        "{}",
        said.err
    );
    assert_eq!(label(&id("2025-09-23"), "noise").code, 0);
    assert_eq!(label(&id("2025-09-23"), "false").code, 0, "a new one takes the place of the old one");
    let wrong = label("999", "real");
    assert!(wrong.code == 64 && wrong.err.contains("there is no alert 999"), "{}", wrong.err);
    assert_eq!(sample.host(&["label", "1", "good", "--why", "x"]).unwrap().code, 64);
    assert_eq!(sample.host(&["label", "1", "real", "--why", " "]).unwrap().code, 64);
    let audit = sample.host(&["audit"]).unwrap();
    assert!(audit.out.contains("labelled false: somebody looked"), "{}", audit.out);
    let length = (jiff::Timestamp::now().as_second()
        - "2025-09-18T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second())
        / 86_400
        + 1;
    let report = sample
        .host(&["report", file, "--about", &format!("{length}d"), "--html", "report.html", "--output", "json"])
        .unwrap();
    assert_eq!(report.code, 0, "{} {}", report.out, report.err);
    let found = json(&report);
    let own = found["checks"].as_array().unwrap().iter().find(|own| own["check"] == "phase2-raw").unwrap().clone();
    assert_eq!((&own["alerts"], &own["real"], &own["falsely"]), (&2.into(), &1.into(), &1.into()), "{own:#}");
    assert_eq!(own["missed"], serde_json::json!(["2025-09-24"]));
    assert_eq!(found["false_share"], serde_json::json!({ "hits": 1, "of": 2 }));
    let unread: Vec<&str> =
        found["unread"]["tables"].as_array().unwrap().iter().map(|table| table.as_str().unwrap()).collect();
    assert!(
        !unread.contains(&"nba_raw.nbac_player_boxscore") && !unread.contains(&"nba_reference.nba_schedule"),
        "{unread:?}"
    );
    assert!(found["mend"][0]["why"].as_str().unwrap().contains("a known bad date was missed"), "{found:#}");
    let page = fs::read_to_string(sample.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("phase2-raw"), "{page}");
    let text = sample.host(&["report", file, "--about", &format!("{length}d")]).unwrap().out;
    assert!(text.contains("50 %, 1 of 2 (target: below 5 %)"), "{text}");
    assert!(text.contains("Known bad dates of which nobody was told: phase2-raw (2025-09-24)."), "{text}");
}

/// A message counts from when a receiver took it, and one that no receiver took is said.
#[test]
fn the_report_counts_until_a_receiver_takes_the_message() {
    let of_week = |replies: &[Reply]| {
        let sample = Sample::now(None).unwrap();
        install(&sample, &[]).unwrap();
        sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = NULL").unwrap();
        sample.slack.answer_next(replies);
        let once = sample.host(&["run", "--once", "--check", "phase2-raw", "plugins"]).unwrap();
        assert!([2, 3].contains(&once.code), "{} {}", once.out, once.err);
        let report = json(&sample.host(&["report", "--output", "json", "plugins"]).unwrap());
        let checks = report["checks"].as_array().unwrap();
        let own = checks.iter().find(|own| own["check"] == "phase2-raw").unwrap().clone();
        assert_eq!(own["alerts"], 1, "{own:#}");
        (own, report)
    };
    let (own, report) = of_week(&[Reply::Answer(503, "Retry-After: 3\r\n", "later")]);
    assert_eq!(own["undelivered"], 0, "{own:#}");
    assert!(own["seconds"][0].as_i64().unwrap() >= 3, "{own:#}");
    // Nobody has said what it was, so nothing is said of false alarms.
    assert_eq!(report["figures"][0]["value"], "0 to 100 %: 0 of 1, and 1 not labelled", "{report:#}");
    assert_eq!(report["figures"][0]["met"], serde_json::Value::Null);
    let (own, report) = of_week(&[Reply::Answer(404, "", "no_service")]);
    assert_eq!((&own["undelivered"], &own["seconds"]), (&1.into(), &serde_json::json!([])), "{own:#}");
    assert_eq!(report["figures"][1]["value"], "no message was delivered; 1 not delivered", "{report:#}");
    assert_eq!(report["figures"][1]["met"], false);
    assert!(
        report["mend"][0]["why"].as_str().unwrap().contains("the message about 1 of 1 alert was not delivered"),
        "{report:#}"
    );
}

/// An alert belongs to the time in which people were told, and a date that somebody asked about by hand does not begin a check's life.
#[test]
fn the_report_is_of_what_was_told_and_judged_in_its_time() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = NULL").unwrap();
    let before = |days: i64| Timestamp::now() - SignedDuration::from_hours(24 * days);
    let run = |more: &[&str]| {
        let ended = sample.host(&[&["run", "--once", "--check", "phase2-raw"], more, &["plugins"]].concat()).unwrap();
        assert!(ended.code <= 3, "{}", ended.err);
    };
    run(&["--date", &before(12).to_string()[..10]]);
    run(&["--at", &before(3).to_string()]);
    let own = |about: &str| {
        let made = json(&sample.host(&["report", "plugins", "--about", about, "--output", "json"]).unwrap());
        let checks = made["checks"].as_array().unwrap();
        checks.iter().find(|own| own["check"] == "phase2-raw").unwrap().clone()
    };
    let all = own("14d");
    assert_eq!(all["alerts"], 1, "{all:#}");
    assert_eq!(
        all["seconds"],
        serde_json::json!([]),
        "nobody could hear of that date before it was asked about: {all:#}"
    );
    assert!(all["unjudged"].as_array().unwrap().len() <= 3, "{all:#}");
    let said = sample.host(&["report", "plugins", "--about", "14d"]).unwrap().out;
    assert!(said.contains("no alert has a measured time"), "{said}");
    assert_eq!(own("1d")["alerts"], 0);
    // It was held back until an hour ago.
    let told = (Timestamp::now() - SignedDuration::from_hours(1)).as_millisecond();
    record(&sample).execute("UPDATE alerts SET announced = ?1 WHERE announced IS NOT NULL", [told]).unwrap();
    assert_eq!(own("1d")["alerts"], 1);

    // A date that could not be evaluated is not judged.
    sample.sql("nba_raw", "ALTER TABLE nbac_player_boxscore RENAME TO gone").unwrap();
    run(&["--at", &before(2).to_string()]);
    let error = &before(3).to_string()[..10];
    assert!(own("14d")["unjudged"].as_array().unwrap().iter().any(|date| date == error), "{:#}", own("14d"));

    // Alerts of a check that has another name now were alerts.
    let toml = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let renamed = toml.replace("\"phase2-raw\"", "\"renamed\"");
    let renamed = renamed.replace("[checks.phase2-raw]", "[checks.renamed]\nplugin = \"phase2-raw\"");
    sample.configure(&renamed).unwrap();
    let old = own("1d");
    assert_eq!((&old["alerts"], &old["gone"]), (&1.into(), &true.into()), "{old:#}");
    let text = sample.host(&["report", "plugins"]).unwrap().out;
    assert!(
        text.contains("phase2-raw (not in host.toml)") && !text.contains("there was no alert (target: below"),
        "{text}"
    );
}

/// By the clock the report goes to its channel once; the page shows it, and has a form for each alert.
#[test]
fn the_report_is_sent_by_the_clock_and_alerts_are_labelled_on_the_page() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    let whole = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = NULL").unwrap();
    let once = sample.host(&["run", "--once", "--check", "phase2-raw", "plugins"]).unwrap();
    assert_eq!(once.code, 2, "{} {}", once.out, once.err);
    let report = "[report]\nchannel = \"#deployment-alerts\"\nschedule = \"* * * * *\"\n";
    let service = Service::start(&sample, &format!("{whole}\n{report}"), &[]).unwrap();
    let reports = || {
        let received = sample.slack.received();
        received
            .iter()
            .map(|(_, message)| message.to_string())
            .filter(|text| text.contains("Report of"))
            .collect::<Vec<_>>()
    };
    service.wait_until("the report", 150, |_| !reports().is_empty());
    let text = &reports()[0];
    assert!(text.contains("Figures") && text.contains("target: below 5 %"), "{text}");
    assert!(text.contains("\"text\":\"🔵 1 alert. Nobody has said what it was.\""), "{text}");
    let page = service.get("/report");
    assert!(page.body.contains("Alerts that were false"), "{page:?}");
    let page = service.get("/checks/phase2-raw").body;
    let at = page.find("action=\"/alerts/").unwrap_or_else(|| panic!("{page}"));
    let id: String = page[at + 16..].chars().take_while(char::is_ascii_digit).collect();
    // Looking changes nothing, and neither does a GET of the form's address.
    let address = format!("/alerts/{id}/label");
    assert_eq!(service.get(&address).status, 405);
    let form = |body: &str| {
        let token = format!("Bearer {TOKEN}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        service.ask("POST", &address, &headers, body).unwrap()
    };
    assert_eq!(
        service
            .ask("POST", &address, &[("content-type", "application/x-www-form-urlencoded")], "label=real&why=x")
            .unwrap()
            .status,
        401
    );
    assert_eq!(form("label=good&why=x").status, 400);
    assert_eq!(form("label=real&why=+").status, 400);
    assert_eq!(form("label=real&why=names+were+missing").status, 303);
    let page = service.get("/checks/phase2-raw").body;
    assert!(page.contains("labelled real") && page.contains("names were missing"), "{page}");
    service.host.end("TERM").unwrap();
}
