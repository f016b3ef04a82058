//! The gate from Python: `deploy/python/phase2_gate.py` against a running host, and against whatever else may answer.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use host_tests::{Fault, HOST_TOML};
use serde_json::{Value, json};

use crate::{
    docs::{examples, yesterday},
    support::{
        DATE,
        command::{Ended, Sample, ended, repository},
        http::{Reply, Request, serve},
        service::{Service, TOKEN, install},
    },
};

/// Prints the result as JSON, or the exception's name and words.
const ASK: &str = r"
import dataclasses, datetime, json, sys
from phase2_gate import GateError, GateStatus, Phase2QualityGate

given = json.loads(sys.argv[1])
date = eval(given['date'][1:]) if given['date'].startswith('=') else given['date']
try:
    result = Phase2QualityGate(**given['gate']).check_raw_data_quality(date)
except GateError as error:
    sys.exit(f'{type(error).__name__}: {error}')
assert isinstance(result.status, GateStatus) and bool(result) is result.can_proceed
fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
print(json.dumps({**fields, 'status': result.status.value, 'data_date': str(result.data_date)}))
";

fn python(script: &str) -> Command {
    let mut python = Command::new("python3");
    python.args(["-c", script]).env("PYTHONPATH", repository().join("deploy/python"));
    // Nothing is written beside the sources.
    python.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("HOST_URL").env_remove("HOST_TOKEN");
    python.env("NO_PROXY", "127.0.0.1");
    python
}

/// Asks with these arguments.
fn ask(gate: &Value, date: &str) -> Ended {
    ended(python(ASK).arg(json!({ "gate": gate, "date": date }).to_string())).unwrap()
}

/// Asks about [`DATE`] at an address.
fn ask_at(url: &str) -> Ended {
    ask(&json!({ "url": url, "token": TOKEN, "timeout": 20 }), DATE)
}

/// That there is no result, for this reason and with this next step.
fn refused(ended: &Ended, exception: &str, words: &[&str]) {
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{exception}: {ended:?}");
    assert!(ended.err.starts_with(&format!("{exception}: ")), "{exception}: {ended:?}");
    for words in words {
        assert!(ended.err.contains(words), "{exception}: {words}: {ended:?}");
    }
    assert!(!ended.err.contains(TOKEN) && !ended.err.contains("Traceback"), "{ended:?}");
}

fn started(fault: Option<Fault>) -> (Sample, Service) {
    let sample = Sample::now(fault).unwrap();
    install(&sample, &[]).unwrap();
    let service = Service::start(&sample, HOST_TOML, &[]).unwrap();
    (sample, service)
}

#[test]
fn each_decision_of_a_running_host() {
    for (fault, status, proceed) in [
        (None, "PROCEED", true),
        (Some(Fault::OldData), "PROCEED_WITH_WARNING", true),
        (Some(Fault::HalfNullNames), "FAIL", false),
    ] {
        let (_sample, service) = started(fault);
        let url = format!("http://{}/", service.address);
        let asked = ask(&json!({ "url": url, "token": TOKEN, "caller": "phase 3 in Python" }), &yesterday());
        assert_eq!((asked.code, asked.err.as_str()), (0, ""), "{fault:?}: {asked:?}");
        let result = asked.json();
        // The same answer, by the same names, as the API gives.
        let mut answer = service.post("/api/v1/gates/phase2-gate", "").json();
        for part in [&result, &answer] {
            assert_eq!((&part["status"], &part["can_proceed"]), (&json!(status), &json!(proceed)), "{fault:?}: {part}");
        }
        let is_moment = |value: &Value| value.as_str().is_some_and(|text| text.ends_with('Z'));
        assert!(is_moment(&result["evaluated_at"]), "{result}");
        for moving in ["evaluated_at", "quality_score", "message", "quality_metadata", "quality_issues"] {
            assert_eq!(result[moving].is_string(), answer[moving].is_string(), "{moving}");
            answer[moving] = result[moving].clone();
        }
        assert_eq!(result, answer, "{fault:?}");
        assert!(result["quality_score"].as_f64().is_some_and(|score| (0.0..=1.0).contains(&score)), "{result}");
        assert_eq!((&result["expected_count"], &result["actual_count"]), (&json!(5), &json!(5)), "{result}");
        if status == "FAIL" {
            let issues = result["quality_issues"].to_string();
            assert!(issues.contains("null_rate_player_name is not below its limit: 50"), "{issues}");
        }
        let callers = service.get("/api/v1/consultations").json()["consultations"].to_string();
        assert!(callers.contains("phase 3 in Python"), "{callers}");
        service.host.end("TERM").unwrap();
    }
}

#[test]
fn what_a_running_host_refuses_is_raised() {
    let (_sample, service) = started(Some(Fault::EmptySchedule));
    let url = format!("http://{}", service.address);
    let asked = ask(&json!({ "url": url, "token": TOKEN }), &yesterday());
    refused(&asked, "GateNotEvaluated", &["no game within 7 days", "do not process", "host history phase2-gate"]);
    let asked = ask(&json!({ "url": url, "token": "0123456789abcdef0123456789abcdee" }), DATE);
    refused(&asked, "GateRefused", &["a token is needed", "(401)", "HOST_TOKEN"]);
    let asked = ask(&json!({ "url": url, "token": TOKEN, "gate": "phase2-gat" }), DATE);
    refused(&asked, "GateRefused", &["did you mean `phase2-gate`?", "(404)"]);
    let asked = ask(&json!({ "url": url, "token": TOKEN, "gate": "../checks" }), DATE);
    refused(&asked, "GateRefused", &["../checks", "(404)"]);
    let asked = ask_at(&format!("{url}/elsewhere"));
    refused(&asked, "GateAnswerError", &["(404)", "HOST_URL"]);
    service.host.end("TERM").unwrap();
    let asked = ask_at(&url);
    refused(&asked, "GateUnreachable", &["refused", "check that the host is running"]);
}

/// An answer as the host gives it, with changes.
fn decision(changes: &Value) -> Value {
    let mut answer = json!({
        "gate": "phase2-gate", "data_date": DATE, "status": "PROCEED", "can_proceed": true, "quality_score": 1.0,
        "message": "PROCEED: all 5 games", "completeness_pct": 100.0, "expected_count": 5, "actual_count": 5,
        "missing_items": [], "quality_issues": [], "quality_metadata": {}, "evaluated_at": "2026-02-06T11:30:00Z",
        "plugin": null,
    });
    for (name, value) in changes.as_object().unwrap() {
        answer[name] = value.clone();
    }
    answer
}

#[test]
fn only_the_documented_answer_is_a_result() {
    let answer = Arc::new(Mutex::new((200, String::new())));
    let given = answer.clone();
    let server = serve(move |request: &Request| {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/api/v1/gates/phase2-gate"));
        assert_eq!(request.header("authorization"), format!("Bearer {TOKEN}"));
        let (status, body) = given.lock().unwrap().clone();
        Reply::Answer(status, body)
    });
    let url = server.unwrap().url();
    let answers = |status: u16, body: String| {
        *answer.lock().unwrap() = (status, body);
        ask_at(&url)
    };
    for sound in [
        json!({}),
        json!({ "quality_score": null, "completeness_pct": null, "expected_count": null, "actual_count": null }),
        json!({ "status": "FAIL", "can_proceed": false }),
        json!({ "of_a_later_version": [1, 2] }),
    ] {
        let asked = answers(200, decision(&sound).to_string());
        assert_eq!(asked.code, 0, "{sound}: {asked:?}");
    }
    for (changes, words) in [
        (json!({ "status": "FAIL" }), "its can_proceed is True"),
        (json!({ "can_proceed": false }), "its can_proceed is False"),
        (json!({ "can_proceed": "true" }), "its can_proceed is 'true'"),
        (json!({ "can_proceed": 1 }), "its can_proceed is 1"),
        (json!({ "status": "NOT_EVALUATED" }), "its status is 'NOT_EVALUATED'"),
        (json!({ "status": "proceed" }), "its status is 'proceed'"),
        (json!({ "status": ["PROCEED"] }), "its status is ['PROCEED']"),
        (json!({ "data_date": "2026-02-04" }), "its data_date is '2026-02-04'"),
        (json!({ "gate": "another" }), "its gate is 'another'"),
        (json!({ "quality_score": 2 }), "its quality_score is 2"),
        (json!({ "quality_score": true }), "its quality_score is True"),
        (json!({ "expected_count": -1 }), "its expected_count is -1"),
        (json!({ "missing_items": "none" }), "its missing_items is 'none'"),
        (json!({ "quality_issues": [1] }), "its quality_issues is [1]"),
    ] {
        refused(&answers(200, decision(&changes).to_string()), "GateAnswerError", &[words, "do not process"]);
    }
    let whole = decision(&json!({})).to_string();
    let short = whole.replace("\"can_proceed\":true,", "");
    let twice = whole.replace("\"status\":", "\"status\":\"FAIL\",\"status\":");
    for (status, body, words) in [
        (200, short.as_str(), "it has no can_proceed"),
        (200, &twice, "not JSON"),
        (200, &whole.replace("1.0", "NaN"), "not JSON"),
        (200, "{}", "it has no gate"),
        (200, "[]", "not an object"),
        (200, "", "not JSON: nothing"),
        (200, "<html>Log in</html>", "<html>Log in</html>"),
        (201, &whole, "(201)"),
        (404, "<html>Not here</html>", "(404)"),
        (403, &whole, "(403)"),
    ] {
        refused(&answers(status, body.to_owned()), "GateAnswerError", &[words, "check that url (HOST_URL)"]);
    }
    let asked = answers(400, r#"{"error": "beyond the dates"}"#.to_owned());
    refused(&asked, "GateRefused", &["beyond the dates (400)", "do not process"]);
    for (status, body, words) in [
        (500, r#"{"error": "the record cannot be read"}"#, "answered 500: the record cannot be read"),
        (502, "<html>Bad gateway</html>", "answered 502: <html>Bad gateway</html>"),
        (503, &whole, "answered 503"),
    ] {
        refused(&answers(status, body.to_owned()), "GateUnreachable", &[words, "do not process", "ask again"]);
    }
}

#[test]
fn a_server_that_does_not_answer_is_given_up_in_time() {
    let trickle = Reply::Endless(b' ', Duration::from_millis(100));
    for (reply, exception, words) in [
        (Reply::Hang, "GateUnreachable", "no answer within 2 s"),
        (trickle, "GateUnreachable", "no answer within 2 s"),
        (Reply::Late(Duration::from_secs(30), 200, decision(&json!({})).to_string()), "GateUnreachable", "within 2 s"),
        (Reply::Endless(b' ', Duration::ZERO), "GateAnswerError", "more than 4 MiB"),
        (Reply::CutOff(decision(&json!({})).to_string()), "GateUnreachable", "the answer ended after"),
        (Reply::Reset, "GateUnreachable", "do not process"),
    ] {
        let given = reply.clone();
        let url = serve(move |_: &Request| given.clone()).unwrap().url();
        let begun = Instant::now();
        let asked = ask(&json!({ "url": url, "token": TOKEN, "timeout": 2 }), DATE);
        refused(&asked, exception, &[words]);
        assert!(begun.elapsed() < Duration::from_secs(12), "{reply:?}: {:?}", begun.elapsed());
    }
}

/// The server behind a redirect would get the token and could answer for the host.
#[test]
fn a_redirect_is_not_followed() {
    let followed = Arc::new(Mutex::new(0));
    let count = followed.clone();
    let elsewhere = serve(move |_: &Request| {
        *count.lock().unwrap() += 1;
        Reply::ok(&decision(&json!({})))
    });
    let elsewhere = elsewhere.unwrap().url();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: {elsewhere}/api/v1/gates/phase2-gate\r\n");
        let url = serve(move |_: &Request| Reply::With(status, location.clone(), String::new())).unwrap().url();
        refused(&ask_at(&url), "GateAnswerError", &["it redirects elsewhere", &format!("({status})")]);
    }
    assert_eq!(*followed.lock().unwrap(), 0);
    assert_eq!(ask_at(&elsewhere).code, 0, "asked directly, it answers");
}

#[test]
fn wrong_arguments_are_raised_before_anything_is_asked() {
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let server = serve(move |request: &Request| {
        *count.lock().unwrap() += 1;
        Reply::ok(&decision(&json!({ "data_date": request.json()["date"] })))
    });
    let url = server.unwrap().url();
    let gate = |changes: Value| {
        let mut gate = json!({ "url": url, "token": TOKEN });
        for (name, value) in changes.as_object().unwrap() {
            gate[name] = value.clone();
        }
        gate
    };
    for (changes, date, words) in [
        (json!({ "url": null }), DATE, "set HOST_URL"),
        (json!({ "url": "host.example.com" }), DATE, "is not a URL"),
        (json!({ "url": "file:///etc/passwd" }), DATE, "is not a URL"),
        (json!({ "url": "http://127.0.0.1:port" }), DATE, "give https://host.example.com"),
        (json!({ "url": "http://ana:secret@127.0.0.1" }), DATE, "has a user"),
        (json!({ "token": null }), DATE, "set HOST_TOKEN"),
        (json!({ "token": "0123\r\nX-Other: 1" }), DATE, "copy it again"),
        (json!({ "gate": "" }), DATE, "gate is empty"),
        (json!({ "timeout": 0 }), DATE, "timeout is 0"),
        (json!({}), "2026-02-30", "'2026-02-30' is not a date"),
        (json!({}), "20260205", "'20260205' is not a date"),
        (json!({}), "yesterday", "'yesterday' is not a date"),
        (json!({}), "", "'' is not a date"),
        (json!({}), "=None", "None is not a date"),
        (json!({}), "=datetime.datetime(2026, 2, 5, 23)", "is a moment"),
    ] {
        let ended = ask(&gate(changes), date);
        refused(&ended, "GateArgumentError", &[words]);
        assert!(!ended.err.contains("secret"), "{ended:?}");
    }
    assert_eq!(*asked.lock().unwrap(), 0);
    assert_eq!(ask(&gate(json!({})), "=datetime.date(2026, 2, 5)").json()["data_date"], DATE);
    // A token from a file ends with a line break.
    let mut from_environment = python(ASK);
    from_environment.env("HOST_URL", &url).env("HOST_TOKEN", format!("{TOKEN}\n"));
    let ended = ended(from_environment.arg(json!({ "gate": {}, "date": DATE }).to_string())).unwrap();
    assert_eq!(ended.json()["status"], "PROCEED");
    assert_eq!(*asked.lock().unwrap(), 2);
}

/// The lines of docs/gate.md, as a job has them.
#[test]
fn the_jobs_lines_stop_at_a_closed_gate() {
    let lines = examples("gate.md", "python").into_iter().find(|block| block.contains("SystemExit")).unwrap();
    let help = std::fs::read_to_string(repository().join("deploy/python/phase2_gate.py")).unwrap();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        assert!(help.contains(line), "the file's own example is another: {line}");
    }
    let job = lines.replace("\"2026-02-05\"", &format!("\"{DATE}\"")) + "print('processing')\n";
    for (changes, code, words) in [
        (json!({}), 0, "processing"),
        (json!({ "status": "FAIL", "can_proceed": false, "message": "FAIL: too few" }), 1, "FAIL: too few"),
        (json!({ "data_date": "2026-01-01" }), 1, "phase2_gate.GateAnswerError: "),
    ] {
        let url = serve(move |_: &Request| Reply::ok(&decision(&changes))).unwrap().url();
        let ended = ended(python(&job).env("HOST_URL", url).env("HOST_TOKEN", TOKEN)).unwrap();
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(format!("{}{}", ended.out, ended.err).contains(words), "{words}: {ended:?}");
        assert_eq!(ended.out.contains("processing"), code == 0, "{ended:?}");
    }
}
