//! From the outbox to Slack: the effect of each answer, the order and the rate, and the reports of undelivered
//! messages.

use std::time::{Duration, Instant};

use host_tests::{Fault, HOST_TOML};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{
    AT,
    command::{Ended, Sample, ended, guest, shipped},
    slack::{OK, Reply, Request},
};

const INVALID: Reply = Reply::Answer(400, "", "invalid_blocks");
const GONE: Reply = Reply::Answer(404, "", "no_service");
const BROKEN: Reply = Reply::Answer(500, "", "rollup_error");

/// A sample with NULL names, and a host whose waits are short.
fn sample() -> Sample {
    let sample = Sample::new(Some(Fault::NullNames)).unwrap();
    configure(&sample, "wait = \"10s\"", "");
    sample
}

fn configure(sample: &Sample, delivery: &str, more: &str) {
    let delivery = format!("[delivery]\ntimeout = \"1s\"\nbackoff = \"50ms\"\n{delivery}\n");
    sample.configure(&format!("{HOST_TOML}\n{delivery}\n{more}\n")).unwrap();
}

/// The canary of phase 2, at a round of the morning.
fn run(sample: &Sample, round: usize) -> Ended {
    let at = format!("2026-02-06T{:02}:{:02}:00Z", 12 + round / 2, round % 2 * 30);
    let mut command = sample.command();
    command.env("FALLBACK", sample.slack.webhook("fallback"));
    command.args(["run", "--once", "--check", "phase2-raw", "--output", "json", "--at", &at]);
    ended(command.args(shipped().unwrap())).unwrap()
}

fn mend(sample: &Sample) {
    sample
        .sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = 'A Player' WHERE player_name IS NULL")
        .unwrap();
}

fn ids(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|request| request.id.as_str()).collect()
}

#[test]
fn what_slack_answers_decides_what_follows() {
    let sample = sample();
    for (replies, requests, code, problem) in [
        (vec![OK], 1, 2, None),
        (vec![BROKEN, OK], 2, 2, None),
        (vec![Reply::Answer(408, "", ""), OK], 2, 2, None),
        (vec![Reply::Reset, OK], 2, 2, None),
        (vec![Reply::Truncated, OK], 2, 2, None),
        (vec![Reply::Hang, OK], 2, 2, None),
        (vec![Reply::Slow(Duration::from_millis(300))], 1, 2, None),
        (vec![Reply::Answer(200, "", "<html>log in</html>"), OK], 2, 2, None),
        (vec![INVALID, OK], 2, 2, None),
        (vec![INVALID, INVALID, OK], 2, 3, Some("answered 400: invalid_blocks")),
        (vec![INVALID, BROKEN, OK], 3, 2, None),
        (vec![GONE], 1, 3, Some("answered 404: no_service")),
        (vec![Reply::Answer(403, "", "action_prohibited")], 1, 3, Some("answered 403: action_prohibited")),
        (vec![Reply::Answer(410, "", "channel_is_archived")], 1, 3, Some("answered 410: channel_is_archived")),
        (vec![Reply::Answer(302, "location: /elsewhere\r\n", "")], 1, 3, Some("answered 302")),
    ] {
        let _ = std::fs::remove_dir_all(sample.path().join("state"));
        sample.slack.clear();
        sample.slack.answer_next(&replies);
        let ended = run(&sample, 0);
        let sent = sample.slack.requests();
        assert_eq!((sent.len(), ended.code), (requests, code), "{replies:?}: {ended:?}");
        let ids = ids(&sent);
        assert!(ids.iter().all(|id| *id == ids[0] && !id.is_empty()), "{replies:?}: the same id each time: {ids:?}");
        let message = &ended.json()["notifications"][0];
        assert_eq!((&message["id"], message["delivered"].as_bool()), (&Value::from(ids[0]), Some(problem.is_none())));
        assert_eq!(message["problem"].as_str(), problem, "{replies:?}");
        if replies[0] == INVALID {
            assert!(sent[0].message["blocks"].is_array() && sent[1].message["blocks"].is_null(), "{replies:?}");
            let text = sent[1].message["text"].as_str().unwrap();
            assert!(
                text.contains("null_player_names is above its maximum: 3 &gt; 0") && text.contains(ids[0]),
                "{text}"
            );
        }
        if let Some(problem) = problem {
            assert!(ended.err.contains("was NOT delivered and will not be retried"), "{}", ended.err);
            assert!(ended.err.contains(problem) && !ended.err.contains("/services/"), "{}", ended.err);
        }
    }
}

#[test]
fn slack_is_asked_again_when_it_said() {
    let sample = sample();
    sample.slack.answer_next(&[Reply::Answer(429, "retry-after: 3\r\n", "rate_limited"), OK]);
    assert_eq!(run(&sample, 0).code, 2);
    let sent = sample.slack.requests();
    let waited = sent[1].at - sent[0].at;
    assert!(waited >= Duration::from_secs(3), "{waited:?}");
}

/// The next start sends the rest, in order, one at a time and one a second.
#[test]
fn what_was_not_delivered_is_sent_by_the_next_start() {
    let sample = sample();
    configure(&sample, "wait = \"500ms\"", "");
    sample.slack.answer(BROKEN);
    let first = run(&sample, 0);
    assert_eq!(first.code, 3, "{first:?}");
    assert!(first.err.contains("NOT delivered yet, the next start retries"), "{}", first.err);
    mend(&sample);
    // The round takes half a second, so that the first message is sent before there is a second one.
    let slow = "[checks.slow]\nplugin = \"misbehaving\"\nchannel = \"#deployment-alerts\"\nsettings = { behaviour = \"sleep\" }\n\
                [grants.misbehaving]\nbudgets = { timeout = \"500ms\" }\n";
    configure(&sample, "wait = \"10s\"", slow);
    sample.slack.clear();
    sample.slack.answer(OK);
    let mut command = sample.command();
    command.args(["run", "--once", "--check", "phase2-raw", "--check", "slow", "--at", "2026-02-06T12:30:00Z"]);
    let second = ended(command.args(shipped().unwrap()).arg(guest("misbehaving"))).unwrap();
    assert_eq!(second.code, 3, "{second:?}");
    let mut sent = sample.slack.requests();
    sent.retain(|request| request.channel == "canary-alerts");
    let titles: Vec<&str> = sent.iter().map(|request| request.message["text"].as_str().unwrap()).collect();
    assert!(titles[0].starts_with("🔴 phase2-raw: null_player_names is above its maximum: 3 &gt; 0"), "{titles:?}");
    assert!(titles.len() == 2 && titles[1].starts_with("✅ phase2-raw: recovered after 30 min: "), "{titles:?}");
    assert!(sent[1].at - sent[0].at >= Duration::from_millis(950), "one a second");
    assert_eq!(sent[0].id, first.json()["notifications"][0]["id"].as_str().unwrap());
    let waits = first.json()["notifications"][0]["waiting"].as_bool();
    assert_eq!(waits, Some(true));
}

/// An undelivered message is reported everywhere else.
#[test]
fn what_was_set_aside_is_told_everywhere() {
    let sample = sample();
    configure(&sample, "wait = \"10s\"", "[fallback]\nwebhook_env = \"FALLBACK\"");
    sample.slack.answer_next(&[GONE]);
    let lost = run(&sample, 0);
    assert_eq!(lost.code, 3);
    let sent = sample.slack.requests();
    assert_eq!(sent[1].channel, "fallback");
    let alarm = &sent[1].message;
    assert_eq!((&alarm["event"], &alarm["channel"]), (&Value::from("undelivered"), &Value::from("#canary-alerts")));
    assert_eq!(alarm["problem"], "answered 404: no_service");
    let id = sent[0].id.clone();
    assert_eq!(alarm["id"], id.as_str());

    let history = sample.host(&["history"]).unwrap();
    assert!(history.out.contains("NOT DELIVERED") && history.out.contains(&id), "{}", history.out);
    assert!(history.out.contains("(given up: answered 404: no_service)"), "{}", history.out);

    let messages = &sample.host(&["history", "--output", "json"]).unwrap().json()["messages"];
    assert_eq!((&messages[0]["receiver"], &messages[0]["state"]), (&"fallback".into(), &"delivered".into()));
    assert_eq!((&messages[1]["id"], &messages[1]["state"]), (&id.as_str().into(), &"set_aside".into()));
    assert_eq!(messages[1]["receipts"][0]["answer"], "answered 404: no_service");

    mend(&sample);
    sample.slack.clear();
    let recovered = run(&sample, 1);
    assert_eq!(recovered.code, 0, "messages that an earlier process set aside do not count: {recovered:?}");
    let told = sample.slack.requests()[0].message.to_string();
    assert!(told.contains("Undelivered messages") && told.contains(&id), "{told}");
    sample.slack.clear();
    sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = NULL WHERE rowid % 40 = 0").unwrap();
    assert_eq!(run(&sample, 2).code, 2);
    let next = sample.slack.requests()[0].message.to_string();
    assert!(!next.contains("Undelivered messages"), "it is reported once: {next}");
}

#[test]
fn a_late_message_is_an_alarm() {
    let sample = sample();
    configure(&sample, "wait = \"3s\"\nlate = \"1s\"", "[fallback]\nwebhook_env = \"FALLBACK\"");
    sample.slack.answer_next(&[BROKEN, BROKEN, BROKEN]);
    let started = Instant::now();
    let ended = run(&sample, 0);
    assert!(ended.err.contains("was NOT delivered and will be retried: answered 500: rollup_error"), "{ended:?}");
    let alarms: Vec<Request> =
        sample.slack.requests().into_iter().filter(|request| request.channel == "fallback").collect();
    assert!(started.elapsed() < Duration::from_secs(30));
    let said =
        ended.err.lines().filter(|line| line.starts_with("error: #canary-alerts") && line.contains("will be retried"));
    assert_eq!(said.count(), 1, "reported once: {}", ended.err);
    assert!(!alarms.is_empty() && alarms.iter().all(|alarm| alarm.message["tried_again"] == true), "{alarms:?}");
}

/// A clock that was set back must not delay a message for hours.
#[test]
fn a_clock_that_was_set_back_delays_nothing() {
    let sample = sample();
    configure(&sample, "wait = \"300ms\"", "");
    sample.slack.answer(BROKEN);
    run(&sample, 0);
    let record = Connection::open(sample.path().join("state/host.db")).unwrap();
    assert_eq!(record.execute("UPDATE outbox SET next_attempt = next_attempt + 86400000", []).unwrap(), 1);
    sample.slack.clear();
    sample.slack.answer(OK);
    configure(&sample, "wait = \"10s\"", "");
    assert_eq!(run(&sample, 1).code, 2);
    assert_eq!(sample.slack.requests().len(), 1);
}

/// A message that Slack accepted is not sent repeatedly because its receipt cannot be written.
#[test]
fn a_receipt_that_cannot_be_written_is_no_reason_to_send_again() {
    let sample = sample();
    mend(&sample);
    run(&sample, 0);
    let record = Connection::open(sample.path().join("state/host.db")).unwrap();
    let refusing = "CREATE TRIGGER refuse BEFORE INSERT ON receipts BEGIN SELECT RAISE(ABORT, 'no room'); END";
    record.execute_batch(refusing).unwrap();
    sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = NULL WHERE rowid % 40 = 0").unwrap();
    configure(&sample, "wait = \"3s\"", "");
    let ended = run(&sample, 1);
    assert_eq!(ended.code, 3);
    assert!(ended.err.contains("cannot be recorded: state/host.db: "), "{}", ended.err);
    assert_eq!(sample.slack.requests().len(), 1, "{}", ended.err);
    record.execute_batch("DROP TRIGGER refuse").unwrap();
    assert_eq!(run(&sample, 2).code, 2);
    let sent = sample.slack.requests();
    assert_eq!((sent.len(), &sent[0].id), (2, &sent[1].id), "the next start cannot know, and sends it once more");
}

/// A record that cannot be read stops nobody else's messages.
#[test]
fn a_damaged_message_is_set_aside() {
    let sample = sample();
    configure(&sample, "wait = \"300ms\"", "");
    sample.slack.answer(BROKEN);
    run(&sample, 0);
    let record = Connection::open(sample.path().join("state/host.db")).unwrap();
    assert_eq!(record.execute("UPDATE outbox SET notification = '{'", []).unwrap(), 1);
    sample.slack.clear();
    sample.slack.answer(OK);
    configure(&sample, "wait = \"10s\"", "");
    mend(&sample);
    let ended = run(&sample, 1);
    assert_eq!(ended.code, 3);
    assert!(ended.err.contains("its record cannot be read"), "{}", ended.err);
    let preview = sample.slack.requests()[0].message["text"].as_str().unwrap().to_owned();
    assert!(preview.starts_with("✅ phase2-raw: recovered after "), "{preview}");
}

#[test]
fn receivers_can_be_tried() {
    let sample = sample();
    configure(&sample, "wait = \"10s\"", "[fallback]\nwebhook_env = \"FALLBACK\"");
    let test = || {
        let mut command = sample.command();
        command.env("FALLBACK", sample.slack.webhook("fallback")).args(["receivers", "test"]);
        ended(&mut command).unwrap()
    };
    let all = test();
    assert_eq!(all.code, 0, "{all:?}");
    let taken = "RECEIVER            ANSWER\n#canary-alerts      accepted\n#deployment-alerts  accepted\nfallback            accepted\n";
    assert_eq!(all.out, taken);
    assert_eq!(sample.slack.requests().len(), 3);
    let mut command = sample.command();
    command.env("FALLBACK", sample.slack.webhook("fallback")).args(["receivers", "test", "--output", "json"]);
    let json = ended(&mut command).unwrap().json();
    let accepted = json["receivers"].as_array().unwrap().iter().filter(|receiver| receiver["accepted"] == true);
    assert_eq!(accepted.count(), 3, "{json:#}");
    sample.slack.answer_next(&[GONE]);
    let one = test();
    assert_eq!(one.code, 3);
    assert!(one.out.contains("#canary-alerts      answered 404: no_service\n"), "{}", one.out);

    let mut command = sample.command();
    let none = ended(command.env_remove("SLACK_WEBHOOK_URL_CANARY_ALERTS").args(["receivers", "test"])).unwrap();
    assert_eq!(none.code, 3);
    assert!(none.out.contains("set SLACK_WEBHOOK_URL_CANARY_ALERTS in the environment"), "{}", none.out);
    assert!(none.out.contains("set FALLBACK in the environment"), "{}", none.out);
}

/// A message for a channel without a webhook is set aside when it is late, with the variable to set; that is reported once.
#[test]
fn a_late_message_for_a_channel_without_a_webhook_is_set_aside() {
    let sample = Sample::new(Some(Fault::NullNames)).unwrap();
    sample.configure(&format!("{HOST_TOML}\n[delivery]\nwait = \"1s\"\nlate = \"1s\"\n")).unwrap();
    sample.slack.answer(Reply::Answer(500, "", "rollup_error"));
    assert_eq!(sample.once(&["--check", "phase2-raw"]).unwrap().code, 3);
    sample.slack.answer(OK);
    sample.slack.clear();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let start = || {
        let mut command = sample.command();
        command.env_remove("SLACK_WEBHOOK_URL_CANARY_ALERTS").args(["run", "--once", "--at", AT]);
        ended(command.args(["--check", "deployment-drift"]).args(shipped().unwrap())).unwrap()
    };
    let first = start();
    let why = "#canary-alerts has no webhook: set SLACK_WEBHOOK_URL_CANARY_ALERTS";
    assert!(first.code == 3 && first.err.contains(why), "{first:?}");
    let history = sample.host(&["history"]).unwrap().out;
    assert!(history.contains(&format!("given up: {why}")), "{history}");
    let second = start();
    assert!(second.code != 3 && !second.err.contains("NOT delivered"), "{second:?}");
}

/// A message for a channel without a webhook waits for a start that has it.
#[test]
fn a_message_for_a_channel_that_is_not_known_waits() {
    let sample = Sample::new(Some(Fault::NullNames)).unwrap();
    sample.configure(&format!("{HOST_TOML}\n[delivery]\nwait = \"1s\"\n")).unwrap();
    sample.slack.answer(Reply::Answer(500, "", "rollup_error"));
    assert_eq!(sample.once(&["--check", "phase2-raw"]).unwrap().code, 3);
    sample.slack.answer(OK);
    sample.slack.clear();
    let mut command = sample.command();
    command.env_remove("SLACK_WEBHOOK_URL_CANARY_ALERTS").args(["run", "--once", "--at", AT]);
    let other = ended(command.args(["--check", "deployment-drift"]).args(shipped().unwrap())).unwrap();
    assert!(other.err.contains("#canary-alerts: NOT delivered yet"), "{}", other.err);
    assert_eq!(sample.slack.received(), []);
    // Until its next attempt is due.
    let started = std::time::Instant::now();
    while sample.slack.received().is_empty() {
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "it is never sent");
        // Any start that has the webhook sends it, whatever it runs.
        sample.once(&["--check", "deployment-drift"]).unwrap();
    }
}
