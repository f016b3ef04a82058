//! The gate as a service: questions, answers, and their record.

use std::sync::Arc;

use futures_util::future::join_all;
use host::{
    config::Config,
    gate::{Answer, Gates},
    host::{Begin, Host},
    record::{Included, Record},
    recorder::Recorder,
};
use host_tests::{Fault, HOST_TOML, Moment, make};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    AT, DATE,
    command::{Ended, Sample, binary, ended},
    service::{Service, TOKEN, install},
    watched::plugin,
};

/// The fields that PIPELINE's callers read.
const FIELDS: [&str; 9] = [
    "can_proceed",
    "quality_score",
    "message",
    "completeness_pct",
    "expected_count",
    "actual_count",
    "missing_items",
    "quality_issues",
    "quality_metadata",
];

fn service(fault: Option<Fault>, change: impl Fn(&str) -> String) -> (Sample, Service) {
    let sample = Sample::now(fault).unwrap();
    install(&sample, &[]).unwrap();
    let service = Service::start(&sample, &change(HOST_TOML), &[]).unwrap();
    (sample, service)
}

#[test]
fn the_gate_answers_over_http() {
    for (fault, status, answer, proceed) in [
        (None, 200, "PROCEED", true),
        (Some(Fault::OldData), 200, "PROCEED_WITH_WARNING", true),
        (Some(Fault::HalfNullNames), 200, "FAIL", false),
        (Some(Fault::EmptySchedule), 503, "NOT_EVALUATED", false),
    ] {
        let (_sample, service) = service(fault, str::to_owned);
        let answered = service.post("/api/v1/gates/phase2-gate", "");
        let decision = answered.json();
        assert_eq!(answered.status, status, "{fault:?}: {answered:?}");
        assert_eq!((&decision["status"], &decision["can_proceed"]), (&answer.into(), &proceed.into()), "{fault:?}");
        for field in FIELDS {
            assert!(decision.get(field).is_some(), "{fault:?}: {field}: {decision}");
        }
        if fault == Some(Fault::HalfNullNames) {
            let issues = decision["quality_issues"].to_string();
            assert!(issues.contains("null_rate_player_name is not below its limit: 50"), "{issues}");
        }
        service.host.end("TERM").unwrap();
    }
}

#[test]
fn every_question_is_written_down_with_its_answer() {
    let (sample, service) = service(None, str::to_owned);
    let token = format!("Bearer {TOKEN}");
    let path = "/api/v1/gates/phase2-gate";
    let ask = |headers: &[(&str, &str)], body: &str| {
        let headers = [&[("authorization", token.as_str())], headers].concat();
        service.ask("POST", path, &headers, body).unwrap()
    };
    ask(&[("x-caller", "airflow phase3")], "");
    ask(&[("user-agent", "curl/8")], r#"{"date": null}"#);
    ask(&[("x-caller", "no")], r#"{"caller": "<b>\u0000 in the body", "date": "2026-02-05"}"#);
    for (body, status, words) in [
        (r#"{"date": "yesterday"}"#, 400, "the body"),
        (r#"{"dat": "2026-02-05"}"#, 400, "unknown field `dat`"),
        (r#"{"date": "-009999-01-01"}"#, 400, "beyond the dates"),
        ("[", 400, "the body"),
    ] {
        let answer = ask(&[], body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.body.contains(words), "{body}: {answer:?}");
    }
    let unknown = service.post("/api/v1/gates/phase2-gat", "");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("did you mean `phase2-gate`?"), "{unknown:?}");
    assert_eq!(service.ask("POST", path, &[], "").unwrap().status, 401, "without a token");
    assert_eq!(service.get(path).status, 405);

    let asked = service.get("/api/v1/consultations?check=phase2-gate").json();
    let callers: Vec<&str> =
        asked["consultations"].as_array().unwrap().iter().map(|one| one["caller"].as_str().unwrap()).collect();
    assert_eq!(callers, ["<b>  in the body", "curl/8", "airflow phase3"]);
    let page = service.get("/gates").body;
    assert!(page.contains("airflow phase3") && page.contains("&lt;b&gt;  in the body"), "{page}");
    service.host.end("TERM").unwrap();
    let history = sample.host(&["history", "phase2-gate"]).unwrap();
    assert!(history.out.contains("airflow phase3") && history.out.contains("PROCEED"), "{history:?}");
}

/// Fifty concurrent questions about one date share one evaluation, and each is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_ask_at_once_share_an_evaluation() {
    let directory = TempDir::new().unwrap();
    make(directory.path(), &Moment::new(AT.parse().unwrap()).unwrap(), None).unwrap();
    let mut config =
        Config::parse(&HOST_TOML.replace("[checks.phase2-raw]\ndepends_on = [\"phase1-scrapers\"]", "")).unwrap();
    config.directory = directory.path().to_owned();
    config.checks.retain(|name, _| name == "phase2-gate");
    let files = [plugin("phase2-gate")];
    host::confined::use_program(&binary("host"));
    let recorder = Recorder::new(Record::memory().await.unwrap(), &config).await.unwrap();
    let host = Host::new(config, host::plugin::read(&files).await, None, recorder, Begin::Whole, |_| {}).await.unwrap();
    let (host, gates) = (Arc::new(host), Gates::default());
    let date = DATE.parse().unwrap();
    let callers: Vec<String> = (0..50).map(|at| format!("caller {at}")).collect();
    let asked = join_all(callers.iter().map(|caller| gates.consult(&host, "phase2-gate", Some(date), caller))).await;
    assert!(
        asked.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == Answer::Proceed)),
        "{asked:?}"
    );
    assert_eq!(host.recorder.record.runs(Some("phase2-gate"), 100, Included::default()).await.unwrap().len(), 1);
    assert_eq!(host.recorder.record.consultations(None, 100).await.unwrap().len(), 50);
    // Another date is another evaluation, and so is a later question.
    let other = date.yesterday().unwrap();
    let (one, two) = tokio::join!(
        gates.consult(&host, "phase2-gate", Some(date), "a"),
        gates.consult(&host, "phase2-gate", Some(other), "b")
    );
    assert_eq!((one.unwrap().data_date, two.unwrap().data_date), (date, other));
    assert_eq!(host.recorder.record.runs(Some("phase2-gate"), 100, Included::default()).await.unwrap().len(), 3);
}

/// With the decision as JSON.
fn gate(sample: &Sample, arguments: &[&str]) -> Ended {
    shown(sample, &[arguments, &["--output", "json"]].concat())
}

fn shown(sample: &Sample, arguments: &[&str]) -> Ended {
    ended(sample.command().env("HOST_TOKEN", TOKEN).env("USER", "ana").arg("gate").args(arguments)).unwrap()
}

/// People read the decision first, then why; the exit code is the same as with the JSON.
#[test]
fn people_read_the_decision() {
    for (fault, strict, code, first, words) in [
        (None, false, 0, "PROCEED: ", &["gate      phase2-gate", "data of   2", "complete  5 of 5 (100 %)"][..]),
        (
            Some(Fault::OldData),
            true,
            2,
            "PROCEED_WITH_WARNING: ",
            &["issues    ", "blocked   --strict does not accept"],
        ),
        (
            Some(Fault::HalfNullNames),
            false,
            2,
            "FAIL: ",
            &["score     0.", "issues    null_rate_player_name is not below its limit: 50"],
        ),
        (Some(Fault::EmptySchedule), false, 3, "NOT_EVALUATED: ", &["gate      phase2-gate"]),
    ] {
        let sample = Sample::now(fault).unwrap();
        install(&sample, &[]).unwrap();
        let arguments = if strict { &["phase2-gate", "--strict"][..] } else { &["phase2-gate"] };
        let answer = shown(&sample, arguments);
        assert_eq!(answer.code, code, "{fault:?}: {answer:?}");
        assert!(answer.out.starts_with(first) && !answer.out.contains('{'), "{fault:?}: {}", answer.out);
        for part in words {
            assert!(answer.out.contains(part), "{fault:?}: {part}: {}", answer.out);
        }
    }
}

#[test]
fn the_command_asks_and_says_it_in_its_exit_code() {
    for (fault, strict, code, status) in [
        (None, false, 0, "PROCEED"),
        (None, true, 0, "PROCEED"),
        (Some(Fault::OldData), false, 0, "PROCEED_WITH_WARNING"),
        (Some(Fault::OldData), true, 2, "PROCEED_WITH_WARNING"),
        (Some(Fault::HalfNullNames), false, 2, "FAIL"),
        (Some(Fault::EmptySchedule), false, 3, "NOT_EVALUATED"),
    ] {
        let sample = Sample::now(fault).unwrap();
        install(&sample, &[]).unwrap();
        let arguments = if strict { vec!["phase2-gate", "--strict"] } else { vec!["phase2-gate"] };
        let alone = gate(&sample, &arguments);
        assert_eq!((alone.code, &alone.json()["status"]), (code, &Value::from(status)), "{fault:?}: {alone:?}");
        assert_eq!(alone.json()["can_proceed"], code == 0, "{fault:?}: {alone:?}");
        assert_eq!(alone.json().get("strict"), strict.then_some(&Value::from(true)), "{fault:?}: {alone:?}");
        // Ask the running host instead, since only it writes the record.
        let service = Service::start(&sample, HOST_TOML, &[]).unwrap();
        let url = format!("http://{}", service.address);
        let arguments = [arguments, vec!["--url", &url, "--caller", "a script"]].concat();
        let asked = gate(&sample, &arguments);
        assert_eq!((asked.code, &asked.json()["status"]), (code, &Value::from(status)), "{fault:?}: {asked:?}");
        let callers = service.get("/api/v1/consultations").json()["consultations"].to_string();
        assert!(callers.contains("\"a script\"") && callers.contains("\"ana\""), "{callers}");
        service.host.end("TERM").unwrap();
    }
}

#[test]
fn the_command_never_takes_silence_for_a_yes() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    let unknown = gate(&sample, &["phase2-gat"]);
    assert_eq!(unknown.code, 64, "{unknown:?}");
    let words = "error: there is no check `phase2-gat`; did you mean `phase2-gate`?\nthere are: ";
    assert!(unknown.err.contains(words), "{unknown:?}");
    assert_eq!(gate(&sample, &["phase2-gate", "--date", "soon"]).code, 2 + 62, "{unknown:?}");
    // Nothing listens there, or something that is not a host.
    let nobody = gate(&sample, &["phase2-gate", "--url", "http://127.0.0.1:9"]);
    assert_eq!((nobody.code, &nobody.json()["status"]), (3, &Value::from("NOT_EVALUATED")), "{nobody:?}");
    let other = crate::support::http::serve(|_| crate::support::http::Reply::Answer(200, "yes".to_owned())).unwrap();
    assert_eq!(gate(&sample, &["phase2-gate", "--url", &other.url()]).code, 3);
    // What resembles an answer is not one.
    let yes = json!({
        "gate": "phase2-gate", "data_date": "2026-02-05", "status": "PROCEED", "can_proceed": true,
        "quality_score": 1.0, "message": "well", "completeness_pct": 100.0, "expected_count": 9007199254740993u64,
        "actual_count": 9007199254740993u64, "missing_items": [], "quality_issues": [], "quality_metadata": {},
        "evaluated_at": "2026-02-06T10:00:00Z", "plugin": null,
    });
    for (code, change, accepted) in [
        (200, json!({}), true),
        (503, json!({ "status": "NOT_EVALUATED", "can_proceed": false }), true),
        (201, json!({}), false),
        (500, json!({}), false),
        (503, json!({}), false),
        (200, json!({ "status": "NOT_EVALUATED", "can_proceed": false }), false),
        (200, json!({ "status": "ok" }), false),
        (200, json!({ "gate": "phase3-gate" }), false),
        (200, json!({ "data_date": "2026-02-04" }), false),
        (200, json!({ "can_proceed": false }), false),
        (200, json!({ "status": "FAIL" }), false),
        (200, json!({ "expected_count": "many" }), false),
    ] {
        let mut answer = yes.clone();
        for (key, value) in change.as_object().unwrap() {
            answer[key] = value.clone();
        }
        let text = answer.to_string();
        let other = crate::support::http::serve(move |_| crate::support::http::Reply::Answer(code, text.clone()));
        let url = other.unwrap().url();
        let said = gate(&sample, &["phase2-gate", "--date", "2026-02-05", "--url", &url]);
        let not_a_host = said.json()["message"].as_str().unwrap().ends_with("the answer is not from a host");
        assert_eq!(not_a_host, !accepted, "{code} {change}: {said:?}");
        assert_eq!(said.code, if accepted && code == 200 { 0 } else { 3 }, "{code} {change}: {said:?}");
        if accepted {
            assert_eq!(said.json(), answer);
        }
    }
    // A state directory that cannot be used is not another host.
    let unusable = format!("{HOST_TOML}\n[state]\ndirectory = \"plugins/phase2-gate.wasm\"\n");
    sample.configure(&unusable).unwrap();
    let unusable = gate(&sample, &["phase2-gate"]);
    assert!(unusable.code == 64 && !unusable.err.contains("another host"), "{unusable:?}");
    sample.configure(HOST_TOML).unwrap();
    let service = Service::start(&sample, HOST_TOML, &[]).unwrap();
    let url = format!("http://{}", service.address);
    let mut wrong = sample.command();
    wrong.env("HOST_TOKEN", "another token of good length").args(["gate", "phase2-gate", "--url", &url]);
    let wrong = ended(&mut wrong).unwrap();
    assert_eq!(wrong.code, 64, "{wrong:?}");
    assert!(wrong.err.contains("a token is needed"), "{wrong:?}");
    let none = ended(sample.command().args(["gate", "phase2-gate", "--url", &url])).unwrap();
    assert!(none.code == 64 && none.err.contains("set HOST_TOKEN"), "{none:?}");
    service.host.end("TERM").unwrap();
}

/// Without named files the gate uses what is pinned, as `host run` does.
#[test]
fn the_command_asks_the_pinned_plugin() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    std::fs::rename(sample.path().join("plugins"), sample.path().join("elsewhere")).unwrap();
    let none = gate(&sample, &["phase2-gate"]);
    assert!(none.code == 64 && none.err.contains("there is none in plugins"), "{none:?}");
    assert_eq!(sample.host(&["pin", "elsewhere/phase2-gate.wasm"]).unwrap().code, 0);
    let pinned = gate(&sample, &["phase2-gate"]);
    assert_eq!((pinned.code, &pinned.json()["status"]), (0, &Value::from("PROCEED")), "{pinned:?}");
    std::fs::write(sample.path().join("plugins.lock"), "format = soon").unwrap();
    let corrupt = gate(&sample, &["phase2-gate"]);
    assert!(corrupt.code == 64 && corrupt.err.contains("plugins.lock: refused"), "{corrupt:?}");
}

#[test]
fn a_gate_that_nobody_asks_is_an_alarm() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    let toml = HOST_TOML.replace("[checks.phase2-gate]", "[checks.phase2-gate]\nexpect_consult = \"0 10 * * *\"");
    sample.configure(&toml).unwrap();
    let look =
        || sample.host(&["run", "--once", "--output", "json", "--check", "phase2-gate.consulted", "plugins"]).unwrap();
    let first = look();
    assert_eq!(first.code, 2, "{first:?}");
    let yesterday =
        Timestamp::now().to_zoned(jiff::tz::TimeZone::get("America/New_York").unwrap()).date().yesterday().unwrap();
    let nobody = format!("nobody asked phase2-gate about {yesterday}");
    assert!(first.run("phase2-gate.consulted")["summary"].as_str().unwrap().starts_with(&nobody), "{first:?}");
    let told = sample.slack.requests();
    let text = crate::support::slack::words(&told[0].message);
    assert!(
        text.contains("Nobody asked phase2-gate")
            && text.contains(&format!("host gate phase2-gate --date {yesterday}")),
        "{text}"
    );
    // A question about another date does not count; one about this date does.
    assert_eq!(gate(&sample, &["phase2-gate", "--date", "2026-02-05"]).code, 3);
    assert_eq!(look().code, 2);
    assert_eq!(gate(&sample, &["phase2-gate"]).code, 0);
    assert_eq!(look().code, 0);
    let told = sample.slack.requests();
    assert!(crate::support::slack::words(&told.last().unwrap().message).contains("phase2-gate.consulted recovered"));
    // A round without named checks does not include it: only its schedule decides when it is time.
    let all = sample.host(&["run", "--once", "--output", "json", "plugins"]).unwrap();
    assert_eq!(all.json()["runs"].as_array().unwrap().len(), 9);
    let plan = sample.host(&["plan", "plugins"]).unwrap();
    assert!(
        plan.out.contains("phase2-gate.consulted") && plan.out.contains("(whether phase2-gate was asked)"),
        "{plan:?}"
    );
}
