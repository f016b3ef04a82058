//! `host validate`: faults of a check itself are found without reading a row, and told as what they are.

use host_tests::{Fault, HOST_TOML};
use serde_json::{Value, json};

use crate::support::{
    command::{Ended, Sample, ended, guest, shipped},
    google::{
        asking,
        bigquery::{BigQueryDouble, Method, error},
    },
    service::{Service, install},
    slack::words,
};

const GRANTS: &str = "\n[grants.misbehaving]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n";

fn validate(sample: &Sample, arguments: &[&str]) -> Ended {
    let mut command = sample.command();
    command.arg("validate").args(arguments).args(shipped().unwrap());
    ended(command.arg(guest("misbehaving"))).unwrap()
}

/// Every finding: check, kind, text.
fn findings(ended: &Ended) -> Vec<(String, String, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let json = ended.json();
    let checks = json["checks"].as_array().unwrap();
    let all = checks.iter().flat_map(|check| {
        let findings = check["findings"].as_array().unwrap();
        findings.iter().map(|finding| (text(&check["check"]), text(&finding["kind"]), finding.clone()))
    });
    all.collect()
}

#[test]
fn the_shipped_checks_are_valid_whatever_their_data() {
    for fault in [None, Some(Fault::EmptyPhase), Some(Fault::EmptySchedule), Some(Fault::HalfNullNames)] {
        let sample = Sample::new(fault).unwrap();
        let ended = sample.host(&[&["validate", "--output", "json"][..], &files()].concat()).unwrap();
        assert_eq!((ended.code, findings(&ended)), (0, Vec::new()), "{fault:?}: {ended:?}");
    }
    let sample = Sample::new(None).unwrap();
    let shown = sample.host(&[&["validate"][..], &files()].concat()).unwrap();
    assert!(shown.out.starts_with("CHECK ") && shown.out.contains("phase2-raw          valid"), "{}", shown.out);
    assert!(!sample.path().join("state").exists(), "nothing is recorded");
}

/// A share of two counts comes to its limit only if both are right, in answers that several queries must agree on.
#[test]
fn a_ratio_is_tried_on_both_sides_of_its_limit_whatever_the_limit() {
    let sample = Sample::new(None).unwrap();
    let percents = [0.5, 3.0, 4.1, 5.5, 9.7, 13.9, 25.0, 41.2, 51.7, 64.3, 81.1, 93.7];
    let gates = percents.map(|percent| {
        let name = format!("[checks.gate-{percent:.0}]\nplugin = \"phase2-gate\"\nschedule = \"0 6 * * *\"\n");
        format!("{name}settings.max_null_percent = {percent:?}\n")
    });
    sample.configure(&(HOST_TOML.to_owned() + &gates.concat())).unwrap();
    let ended = sample.host(&[&["validate", "--output", "json"][..], &files()].concat()).unwrap();
    assert_eq!((ended.code, findings(&ended)), (0, Vec::new()), "{ended:?}");
}

fn files() -> Vec<&'static str> {
    shipped().unwrap().into_iter().map(|path| &*Box::leak(path.display().to_string().into_boxed_str())).collect()
}

#[test]
fn each_mistake_is_named_with_its_line() {
    let sample = Sample::new(None).unwrap();
    let mut checks = GRANTS.to_owned();
    let ask = |name: &str, sql: &str| {
        format!(
            "[checks.{name}]\nplugin = \"misbehaving\"\n[checks.{name}.settings]\nbehaviour = \"judge\"\nsql = \"\"\"{sql}\"\"\"\n"
        )
    };
    let from = "\nFROM nba_raw.nbac_player_boxscore WHERE game_date = @date";
    for (name, sql) in [
        ("column", format!("SELECT COUNT(*) AS games,\n  COUNTIF(player_nam IS NULL) AS nameless{from}")),
        ("table", "SELECT COUNT(*) AS games\nFROM nba_raw.boxscores".to_owned()),
        ("kind", format!("SELECT COUNT(*) AS games{from} AND game_id > 5")),
        ("grant", "SELECT COUNT(*) AS games\nFROM nba_reference.nba_schedule".to_owned()),
        ("parse", "SELECT COUNT(*) AS games,\nFROM FROM nba_raw.x".to_owned()),
        ("missing", format!("SELECT COUNT(*) AS gmaes{from}")),
        ("date", format!("SELECT MAX(game_date) AS games{from}")),
    ] {
        checks += &ask(name, &sql);
    }
    checks += "[checks.idle]\nplugin = \"misbehaving\"\n";
    checks += "[checks.lax]\nplugin = \"phase2-raw\"\nsettings = { min_games = 0, min_player_records = 1 }\n";
    checks += "[checks.none]\nplugin = \"phase2-raw\"\nsettings = { min_games = 0, min_player_records = 0 }\n";
    sample.configure(&format!("{HOST_TOML}{checks}")).unwrap();
    let ended = validate(&sample, &["--output", "json"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    let found = findings(&ended);
    let of = |name: &str| found.iter().filter(|(check, ..)| check == name).collect::<Vec<_>>();
    for (name, kind, text, line) in [
        ("column", "refused", "Unrecognized name: player_nam; did you mean `player_name`?", 2),
        ("table", "refused", "there is no table nba_raw.boxscores", 2),
        ("kind", "refused", "query failed: No matching signature for operator >", 2),
        (
            "grant",
            "refused",
            "dataset nba_reference is not granted; add \"nba_reference\" to grants.misbehaving.warehouse",
            2,
        ),
        ("parse", "refused", "syntax error", 2),
        ("missing", "cannot-pass", "games must be at least 2, but it never has a value; its queries return gmaes", 0),
        ("date", "cannot-pass", "games must be at least 2, but its column has the type DATE, which is not a number", 0),
        ("idle", "cannot-fail", "it asks nothing of the host, so nothing can make it fail", 0),
        ("lax", "cannot-fail", "games must be at least 0, and every simulated result meets that", 0),
    ] {
        let [(_, found_kind, finding)] = of(name).as_slice() else { panic!("{name}: {:?}", of(name)) };
        assert_eq!(found_kind, kind, "{name}");
        assert!(finding["text"].as_str().unwrap().contains(text), "{name}: {finding}");
        assert_eq!(finding["line"][0].as_u64().unwrap_or_default(), line, "{name}: {finding}");
    }
    let none: Vec<&str> = of("none").iter().map(|(.., finding)| finding["text"].as_str().unwrap()).collect();
    assert!(
        none.contains(&"it passes when its tables are empty; if it should not, set the minimum of games to 1")
            && none.len() == 3,
        "{none:?}"
    );
    let kinds: Vec<&str> = of("none").iter().map(|(_, kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["remark", "cannot-fail", "cannot-fail"]);
    // Everything else is as it was.
    assert!(of("phase2-gate").is_empty() && of("phase2-raw").is_empty(), "{found:?}");
}

/// Every query of a check is tried, not only the first that is wrong.
#[test]
fn all_mistakes_of_a_check_are_found_at_once() {
    let sample = Sample::new(None).unwrap();
    let settings = "[checks.phase2-gate.settings]\nschedule_table = \"nba_reference.schedul\"\nbox_score_table = \"nba_raw.box\"\n";
    let toml = HOST_TOML.replace("[checks.deployment-drift]", &format!("{settings}\n[checks.deployment-drift]"));
    sample.configure(&toml).unwrap();
    let ended = validate(&sample, &["--output", "json", "--check", "phase2-gate"]);
    let texts: Vec<String> = findings(&ended).iter().map(|(.., finding)| finding["text"].to_string()).collect();
    let count = |word: &str| texts.iter().filter(|text| text.contains(word)).count();
    assert_eq!((count("nba_reference.schedul"), count("nba_raw.box")), (2, 2), "{texts:?}");
}

/// On BigQuery each query is run dry, and nothing is a job.
#[test]
fn nothing_is_billed_on_bigquery() {
    let sample = Sample::new(None).unwrap();
    let bigquery = BigQueryDouble::start().unwrap();
    let google = "[google]\ncredentials = \"none\"\n";
    sample.configure(&asking(&format!("{google}{}", bigquery.warehouse()))).unwrap();
    let one = |double: &BigQueryDouble| {
        let ended = validate(&sample, &["--output", "json", "--check", "phase2-raw"]);
        assert_eq!(double.jobs(), 0);
        (ended.code, findings(&ended).first().map(|(.., finding)| finding.clone()).unwrap_or_default())
    };
    assert_eq!(one(&bigquery), (0, Value::Null));
    assert_eq!(bigquery.asked(Method::DryRun).len(), 1, "once for all simulated answers");

    bigquery.answer_next(Method::DryRun, [error(400, "invalidQuery", "Unrecognized name: player_name at [3:29]")]);
    let (code, finding) = one(&bigquery);
    assert_eq!((code, &finding["line"][0]), (2, &json!(3)), "{finding}");
    assert!(finding["line"][1].as_str().unwrap().starts_with("COUNTIF(player_name IS NULL)"), "{finding}");

    bigquery.reads(&[("nba_raw", "nbac_player_boxscore")], 11 << 30);
    let (code, finding) = one(&bigquery);
    assert!(code == 2 && finding["text"].as_str().unwrap().contains("budgets.query_bytes"), "{finding}");
    bigquery.reads(&[("payroll", "salaries")], 1);
    let (code, finding) = one(&bigquery);
    assert!(code == 2 && finding["text"].as_str().unwrap().contains("dataset payroll is not granted"), "{finding}");

    // An inconclusive validation is not a fault.
    bigquery.answer_next(Method::DryRun, [error(403, "quotaExceeded", "Quota exceeded")]);
    let (code, finding) = one(&bigquery);
    assert_eq!((code, &finding["kind"]), (3, &json!("unknown")), "{finding}");
}

/// No data can make `phase2-raw` fail. It was evaluated and it passed, so nobody is told anything else; the remark about the
/// check is told once, and stays on the page until a validation finds it gone.
#[test]
fn a_check_that_cannot_fail_was_evaluated_all_the_same() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    let lax = "[checks.phase2-raw]\nsettings = { min_games = 0 }\n";
    let daily = |toml: &str| format!("validate_schedule = \"0 5 * * *\"\n{toml}");
    let toml = daily(&HOST_TOML.replace("[checks.phase2-raw]\n", lax));
    sample.configure(&toml).unwrap();
    let why = "it cannot fail: games must be at least 0, and every simulated result meets that";
    let once = || sample.host(&["run", "--once", "--output", "json", "plugins"]).unwrap();
    let first = once();
    assert_eq!((first.code, &first.run("phase2-raw")["status"]), (0, &json!("pass")), "{first:?}");
    assert!(first.err.contains("validation: phase2-raw: games must be at least 0, and every simulated"), "{first:?}");
    assert!(first.err.contains("canaries: all 6 checks passed"), "{first:?}");
    let [(channel, message)] = sample.slack.received().try_into().unwrap();
    assert_eq!(channel, "canary-alerts");
    assert_eq!(message["text"], format!("🟠 phase2-raw: {why}"));
    let about = "This is about the check itself, not about one date's data, and is told once. Message ";
    let said = words(&message);
    assert!(said.starts_with(&format!("🟠 phase2-raw cannot be trusted phase2-raw: {why} {about}")), "{said}");

    // It is known, it was validated today, and nothing else is wrong.
    let second = once();
    assert!(!second.err.contains("validation:"), "{second:?}");
    assert_eq!(sample.slack.received().len(), 1);
    let history = sample.host(&["history", "--output", "json"]).unwrap().json();
    assert_eq!(history["alerts"], json!([]), "{history:#}");

    let mut service = Service::start(&sample, &toml, &[]).unwrap();
    let (list, page) = (service.get("/checks").body, service.get("/checks/phase2-raw").body);
    assert!(list.contains(&format!("Remark: {why}")) && list.contains("1 check cannot be trusted"), "{list}");
    assert!(page.contains("<h2 id=\"remarks\">Remarks</h2>") && page.contains(why), "{page}");
    for page in [list, page] {
        assert!(!page.contains("not evaluated") && !page.contains("Open alerts"), "{page}");
    }
    assert_eq!(service.check("phase2-raw")["remarks"], json!([why]));

    // Without the reason there is nothing to tell, and nothing on the page.
    let web = "\n[web]\nlisten = \"127.0.0.1:0\"\n";
    sample.configure(&format!("{}{web}", daily(HOST_TOML))).unwrap();
    service.host.wait_for("reloaded: ").unwrap();
    service.wait_until("it is validated again", 60, |service| service.check("phase2-raw")["remarks"] == json!([]));
    assert!(!service.get("/checks/phase2-raw").body.contains("Remarks"));
    let (code, log) = service.host.end("TERM").unwrap();
    assert_eq!((code, log.contains("could not be evaluated")), (Some(0), false), "{log}");
    assert_eq!(sample.slack.received().len(), 1);
}

/// A remark that a silence holds back is on the page, and is told after the silence, with another one.
#[test]
fn a_remark_waits_for_the_end_of_a_silence() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    let check = |name: &str, settings: &str| {
        format!("[checks.{name}]\nplugin = \"phase2-raw\"\nsettings = {{ min_player_records = {settings} }}\n")
    };
    let toml = |schedule: &str| {
        let checks = check("lax", "0") + &check("empty", "0, min_games = 0");
        format!("validate_schedule = \"{schedule}\"\n{HOST_TOML}{checks}")
    };
    sample.configure(&toml("0 5 * * *")).unwrap();
    let run = || sample.host(&["run", "--once", "plugins", "--check", "lax", "--check", "empty"]).unwrap();
    sample.host(&["silence", "lax", "--for", "4h", "--why", "new"]).unwrap();
    run();
    let texts = || sample.slack.received().iter().map(|(_, message)| words(message)).collect::<Vec<_>>();
    let told = texts();
    assert!(told.len() == 1 && told[0].starts_with("🟠 empty cannot be trusted empty: "), "{told:?}");
    assert!(told[0].contains("it passes when its tables are empty"), "{told:?}");
    let service = Service::start(&sample, &toml("0 5 * * *"), &["--check", "lax", "--check", "empty"]).unwrap();
    let page = service.get("/checks/lax").body;
    assert!(page.contains("it cannot fail: player_records must be at least 0"), "{page}");
    service.host.end("TERM").unwrap();
    sample.host(&["silences", "--expire", "1"]).unwrap();
    // Another schedule is another configuration, which is validated at once.
    sample.configure(&toml("0 6 * * *")).unwrap();
    run();
    let told = texts();
    assert!(told.len() == 2 && told[1].starts_with("🟠 lax cannot be trusted lax: it cannot fail: "), "{told:?}");
}

/// A running host validates at its start, beside its rounds.
#[test]
fn a_host_that_stays_validates_at_its_start() {
    let sample = Sample::new(None).unwrap();
    let toml = HOST_TOML.replace("[checks.phase2-raw]", "[checks.phase2-raw]\nsettings = { min_games = 0 }\n");
    sample.configure(&format!("validate_schedule = \"0 5 * * *\"\n{toml}")).unwrap();
    let mut host = sample.stay().unwrap();
    let line = host.wait_for("validation: ").unwrap();
    assert!(line.contains("phase2-raw: games must be at least 0"), "{line}");
    sample.slack.wait_for(1).unwrap();
    // A message counts as waiting until its receipt is recorded.
    for _ in 0..100 {
        let history = sample.host(&["history", "--output", "json"]).unwrap().json();
        if history["messages"][0]["state"] == "delivered" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let (code, said) = host.interrupt().unwrap();
    assert_eq!(code, Some(0), "{said}");
}
