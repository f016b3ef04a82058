//! The acceptance scenarios, through the built host: exit code, table, JSON, and the exact message to Slack.

use host_tests::Fault;

use crate::support::{
    command::{Ended, Sample, python_plugin, repository},
    slack::Reply,
};
use serde_json::{Value, json};

fn run(fault: Option<Fault>, arguments: &[&str]) -> (Sample, Ended) {
    let sample = Sample::new(fault).unwrap();
    let ended = sample.once(arguments).unwrap();
    (sample, ended)
}

/// The statuses of all checks, in the order of the table.
fn statuses(ended: &Ended) -> Vec<String> {
    let json = ended.json();
    json["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| format!("{} {}", run["check"].as_str().unwrap(), run["status"].as_str().unwrap()))
        .collect()
}

const ALL_PASS: [&str; 9] = [
    "deployment-drift pass",
    "phase1-scrapers pass",
    "phase2-gate pass",
    "phase2-raw pass",
    "phase3-analytics pass",
    "phase4-precompute pass",
    "phase5-predictions pass",
    "phase6-publishing pass",
    "weekly-signals pass",
];

/// The statuses when all checks pass, except these.
fn but(changed: &[&str]) -> Vec<String> {
    let name = |status: &str| status.split(' ').next().unwrap_or_default().to_owned();
    let pick = |status: &&str| changed.iter().find(|other| name(other) == name(status)).unwrap_or(status).to_string();
    ALL_PASS.iter().map(pick).collect()
}

#[test]
fn when_all_is_well_nothing_is_sent() {
    let (sample, ended) = run(None, &["--output", "json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(statuses(&ended), ALL_PASS);
    assert!(sample.slack.received().is_empty());
    // One line for each group, for a search in the log, and quiet otherwise.
    let said: Vec<&str> = ended.err.lines().collect();
    assert!(said[0].starts_with("nothing is pinned"), "{}", ended.err);
    assert_eq!(
        said[1..],
        [
            "canaries: all 6 checks passed, data of 2026-02-05",
            "drift: 1 check passed, data of 2026-02-05",
            "gates: 1 check passed, data of 2026-02-05",
            "tables: 1 check passed, data of 2026-02-05",
        ]
    );
    let run = ended.run("phase2-raw");
    assert_eq!((&run["data_date"], &run["due"]), (&json!("2026-02-05"), &json!("2026-02-06T11:30:00Z")));
    assert_eq!(
        run["metrics"][1],
        json!({ "name": "player_records", "value": 120.0, "min": 40.0, "max": null, "below": null, "unit": null })
    );
    assert_eq!(run["calls"][0]["name"], json!("warehouse.query"));
    assert_eq!(run["plugin"]["version"], json!("0.1.0"));
    assert_eq!(run["plugin"]["digest"].as_str().unwrap().len(), 71);
}

/// Scenario 1.
#[test]
fn a_service_deployed_from_an_old_commit() {
    let (sample, ended) = run(Some(Fault::StaleDeployment), &["--output", "json"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_eq!(statuses(&ended), but(&["deployment-drift fail"]));
    let received = sample.slack.received();
    assert_eq!(received.len(), 1, "one message: {received:#?}");
    let (channel, message) = &received[0];
    assert_eq!(channel, "deployment-alerts");
    let id = message_id(message);
    let commits = subjects(&sample);
    let listed = commits.iter().take(5).map(|commit| format!("• {commit}")).collect::<Vec<_>>().join("\n");
    assert_eq!(
        message,
        &json!({
            "text": "🟠 deployment-drift: prediction-worker: 6 commits and 300 hours behind",
            "blocks": [
                header("🟠 Deployment drift: prediction-worker"),
                section("*deployment-drift*: 1 of 10 services runs an old commit or the wrong configuration."),
                section(&format!("*prediction-worker*\n300 hours behind\nDeployed 2026-01-16 15:30 UTC, code changed 2026-02-05 05:30 UTC\n{listed}\n… and 1 more commit")),
                section("*Next steps*\nDeploy prediction-worker:\n```./bin/deploy-service.sh prediction-worker```"),
                context(&format!("Data of 2026-02-05. Message {id}")),
            ],
        })
    );
}

/// The commits that are not deployed, by git, newest first.
fn subjects(sample: &Sample) -> Vec<String> {
    let deployments: Value =
        serde_json::from_str(&std::fs::read_to_string(sample.path().join("deployments.json")).unwrap()).unwrap();
    let worker =
        deployments.as_array().unwrap().iter().find(|service| service["service"] == "prediction-worker").unwrap();
    let range = format!("{}..main", worker["commit"].as_str().unwrap());
    let output = std::process::Command::new("git")
        .args(["log", "--format=%H %s", &range, "--", "predictions/worker", "shared"])
        .current_dir(sample.path().join("repository"))
        .output()
        .unwrap();
    let short = |line: &str| format!("{} {}", &line[..7], &line[41..]);
    String::from_utf8(output.stdout).unwrap().lines().map(short).collect()
}

/// Scenario 2.
#[test]
fn null_names_in_phase_2() {
    let (sample, ended) = run(Some(Fault::NullNames), &["--output", "json"]);
    assert!(ended.err.contains("\ncanaries: 1 failed (phase2-raw), 5 passed, data of 2026-02-05\n"), "{}", ended.err);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_eq!(statuses(&ended), but(&["phase2-raw fail", "phase2-gate warn"]));
    let received = sample.slack.received();
    assert_eq!(received.len(), 1, "one message for the round, the canary and the gate: {received:#?}");
    let (channel, message) = &received[0];
    assert_eq!(channel, "canary-alerts");
    let id = message_id(message);
    let field =
        |name: &str, value: &str| json!({ "type": "mrkdwn", "text": format!("{name}\n*{value}*"), "verbatim": true });
    let title = "🔴 canaries: 1 failed, 5 passed; Phase 2→3 gate: PROCEED_WITH_WARNING";
    let blocks = message["blocks"].as_array().unwrap();
    let preview = message["text"].as_str().unwrap();
    let gate = "; phase2-gate: PROCEED_WITH_WARNING: ";
    assert!(preview.starts_with("🔴 phase2-raw: null_player_names is above its maximum: 3 &gt; 0"), "{preview}");
    assert!(preview.contains(gate), "{preview}");
    assert_eq!(
        json!([&blocks[..5], &blocks[blocks.len() - 1..]].concat()),
        json!([
            header(title),
            section("*Phase 2: raw data* (phase2-raw)\nChecks that raw box scores are complete and that every record names its player and team."),
            section("*Violations*\nnull_player_names is above its maximum: 3 &gt; 0"),
            {
                "type": "section",
                "text": { "type": "mrkdwn", "text": "*Metrics*", "verbatim": true },
                "fields": [field("games", "5"), field("player_records", "120"), field("null_player_names", "3"), field("null_team_abbrs", "0")],
            },
            section("*Next steps*\n\
                See recent deployments:\n```gcloud run revisions list --service=nba-phase2-raw-processors --region=us-west2 --project=nba-props-platform --limit=5```\n\
                Read the phase's logs:\n```gcloud logging read 'resource.labels.service_name=\"nba-phase2-raw-processors\" AND severity&gt;=WARNING' --project=nba-props-platform --freshness=1d --limit=50```\n\
                Run the query yourself:\n```host query --date 2026-02-05 'SELECT COUNT(DISTINCT game_id) AS games, COUNT(*) AS player_records, COUNTIF(player_name IS NULL) AS null_player_names, COUNTIF(team_abbr IS NULL) AS null_team_abbrs FROM `nba_raw.nbac_player_boxscore` WHERE game_date = @date'```"),
            context(&format!("Data of 2026-02-05. Passed: phase1-scrapers, phase3-analytics, phase4-precompute, phase5-predictions, phase6-publishing. Message {id}")),
        ])
    );
}

/// Scenario 3.
#[test]
fn half_of_the_names_are_null() {
    let (sample, ended) = run(Some(Fault::HalfNullNames), &["--output", "json"]);
    assert_eq!(ended.code, 2);
    assert_eq!(statuses(&ended), but(&["phase2-raw fail", "phase2-gate fail"]));
    let gate = &ended.run("phase2-gate")["gate"];
    assert_eq!((&gate["status"], &gate["can_proceed"]), (&json!("FAIL"), &json!(false)));
    assert_eq!(gate["quality_issues"], json!(["null_rate_player_name is not below its limit: 50 % ≥ 5 %"]));
    assert_eq!(
        (&gate["expected_count"], &gate["actual_count"], &gate["completeness_pct"]),
        (&json!(5), &json!(5), &json!(100.0))
    );
    assert_eq!(gate["missing_items"], json!([]));
    assert_eq!(gate["quality_metadata"]["null_rate_player_name"], json!("50"));
    let score = gate["quality_score"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&score), "{score}");
    assert!(gate["message"].as_str().unwrap().starts_with("FAIL: Phase 3 must not process 2026-02-05"));
    let received = sample.slack.received();
    let (_, message) = &received[0];
    assert_eq!(message["blocks"][0], header("🔴 Phase 2→3 gate: FAIL; canaries: 1 failed, 5 passed"));
    let preview = message["text"].as_str().unwrap();
    assert!(preview.starts_with("🔴 phase2-gate: FAIL: Phase 3 must not process 2026-02-05"), "{preview}");
    assert!(preview.contains("; phase2-raw: null_player_names is above its maximum: "), "{preview}");
    assert_eq!(message["blocks"][2], section("*Blocking*\nnull_rate_player_name is not below its limit: 50 % ≥ 5 %"));
}

#[test]
fn each_other_fault_gives_its_own_result() {
    for (fault, code, changed, words) in [
        (
            Fault::EmptyPhase,
            2,
            "phase5-predictions fail",
            "predictions is below its minimum: 0 < 50; players is below its minimum: 0 < 20",
        ),
        (Fault::MissingTable, 3, "phase4-precompute error", "there is no table nba_analytics.player_season_averages"),
        (Fault::UnknownService, 3, "deployment-drift error", "nba-grading-service: no such service is deployed"),
        (Fault::EmptySchedule, 3, "phase2-gate error", "no game within 7 days of 2026-02-05, so it is not loaded"),
        (Fault::OldData, 1, "phase2-gate warn", "PROCEED_WITH_WARNING"),
    ] {
        let (sample, ended) = run(Some(fault), &["--output", "json"]);
        assert_eq!(ended.code, code, "{fault:?}: {ended:?}");
        assert_eq!(statuses(&ended), but(&[changed]), "{fault:?}");
        let run = ended.run(changed.split(' ').next().unwrap());
        assert!(run["summary"].as_str().unwrap().contains(words), "{fault:?}: {run:#}");
        let error = changed.ends_with("error");
        assert_eq!(sample.slack.received().len(), usize::from(!error), "{fault:?}: an error is sent when confirmed");
        sample.once(&[]).unwrap();
        assert_eq!(sample.slack.received().len(), 1, "{fault:?}: each is sent once");
    }
}

/// An error is reported as an error, never as a failed threshold.
#[test]
fn what_could_not_be_evaluated_is_told_as_such() {
    let (sample, _) = run(Some(Fault::MissingTable), &[]);
    sample.once(&[]).unwrap();
    let (_, message) = &sample.slack.received()[0];
    assert_eq!(message["blocks"][0], header("🟠 canaries: 1 not evaluated, 5 passed"));
    let preview = message["text"].as_str().unwrap();
    assert!(preview.starts_with("🟠 phase4-precompute: query failed: there is no table nba_analytics."), "{preview}");
    assert_eq!(
        message["blocks"][1],
        section(
            "*Could not be evaluated*\n*phase4-precompute*: query failed: there is no table nba_analytics.player_season_averages; did you mean `player_game_summary`? at [4:19]"
        )
    );
}

#[test]
fn the_table_is_for_people_and_junit_for_ci() {
    let (sample, table) = run(Some(Fault::NullNames), &[]);
    let lines: Vec<&str> = table.out.lines().collect();
    assert_eq!(lines[0], "CHECK               RESULT  SUMMARY");
    assert_eq!(lines[4], "phase2-raw          fail    null_player_names is above its maximum: 3 > 0");
    assert_eq!(lines.last(), Some(&"1 failed, 1 warned, 7 passed. Data of 2026-02-05."));
    assert!(!table.out.contains('\x1b'), "no colours through a pipe");

    let junit = sample.once(&["--output", "junit"]).unwrap();
    assert!(junit.out.starts_with("<?xml"), "{}", junit.out);
    assert!(
        junit.out.contains("<testsuite name=\"host\" tests=\"9\" failures=\"1\" errors=\"0\" skipped=\"0\""),
        "{}",
        junit.out
    );
    assert!(
        junit.out.contains("<failure message=\"null_player_names is above its maximum: 3 &gt; 0\"/>"),
        "{}",
        junit.out
    );
}

#[test]
fn one_check_can_be_chosen() {
    let (sample, ended) = run(Some(Fault::NullNames), &["--check", "phase3-analytics", "--output", "json"]);
    assert_eq!((ended.code, statuses(&ended)), (0, vec!["phase3-analytics pass".to_owned()]));
    assert!(sample.slack.received().is_empty());
    let wrong = sample.once(&["--check", "phase3-analytic"]).unwrap();
    assert_eq!(wrong.code, 64);
    let words = "there is no check `phase3-analytic`; did you mean `phase3-analytics`?";
    assert!(wrong.err.contains(words), "{}", wrong.err);
}

/// An old date is judged with the clock of now, and its ages are measured at its own deadline.
#[test]
fn an_old_date_is_measured_at_its_deadline() {
    let sample = Sample::new(None).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--check", "phase2-gate", "--date", "2026-02-05", "--output", "json"]);
    let ended = crate::support::command::ended(command.args(crate::support::command::shipped().unwrap())).unwrap();
    let run = ended.run("phase2-gate");
    assert_eq!(run["status"], "pass", "{run:#}");
    assert!(run["due"].as_str() > Some("2026-11"), "{run:#}");
    let again = ended.json();
    assert_eq!(again["exit_code"], json!(0));
}

/// The same inputs give the same report, byte for byte.
#[test]
fn the_same_inputs_give_the_same_report() {
    let sample = Sample::new(Some(Fault::HalfNullNames)).unwrap();
    let report = || {
        let mut json = sample.once(&["--output", "json"]).unwrap().json();
        json["notifications"] = json!(0);
        for run in json["runs"].as_array_mut().unwrap() {
            run["seconds"] = json!(0);
            run["attempt"] = json!(0);
            for call in run["calls"].as_array_mut().unwrap() {
                call["seconds"] = json!(0);
            }
            // Concurrent lookups end in any order.
            run["calls"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
        }
        json.to_string()
    };
    assert_eq!(report(), report());
}

#[test]
fn a_message_that_slack_does_not_take_is_said_and_counts() {
    let sample = Sample::new(Some(Fault::OldData)).unwrap();
    sample.slack.answer(Reply::Answer(404, "", "no_service"));
    let ended = sample.once(&[]).unwrap();
    assert_eq!(ended.code, 3);
    assert!(
        ended.err.contains("#canary-alerts: message ")
            && ended.err.contains("was NOT delivered and will not be retried: answered 404: no_service"),
        "{}",
        ended.err
    );
    assert!(!ended.err.contains("/services/"), "the webhook is a secret: {}", ended.err);
}

#[test]
fn the_console_shows_the_message_instead() {
    let sample = Sample::new(Some(Fault::NullNames)).unwrap();
    std::fs::write(sample.path().join("host.toml"), host_tests::HOST_TOML).unwrap();
    let ended = sample.once(&["--output", "json"]).unwrap();
    let title = "┌─ #canary-alerts\n│ 🔴 canaries: 1 failed, 5 passed; Phase 2→3 gate: PROCEED_WITH_WARNING\n";
    assert!(ended.err.contains(title), "{}", ended.err);
    assert!(ended.err.contains("│   null_player_names is above its maximum: 3 > 0\n"), "{}", ended.err);
    assert_eq!(ended.json()["exit_code"], json!(2), "standard output stays clean");
    assert!(sample.slack.received().is_empty());
}

/// The id in a message's last block.
fn message_id(message: &Value) -> String {
    let footer = message["blocks"].as_array().unwrap().last().unwrap()["elements"][0]["text"].as_str().unwrap();
    footer.rsplit_once("Message ").unwrap().1.to_owned()
}

fn header(text: &str) -> Value {
    json!({ "type": "header", "text": { "type": "plain_text", "text": text, "emoji": true } })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

fn context(text: &str) -> Value {
    json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": text, "verbatim": true }] })
}

/// Another team's check, built by componentize-py, is judged, reported and pinned like the host's nine.
#[test]
fn a_plugin_in_python_runs_beside_those_in_rust() {
    let python = python_plugin();
    let sample = Sample::new(None).unwrap();
    let once = || sample.once(&["--output", "json", python.to_str().unwrap()]).unwrap();
    let well = once();
    assert_eq!(well.code, 0, "{well:?}");
    assert_eq!(statuses(&well).len(), ALL_PASS.len() + 1);
    assert_eq!(well.run("predicted-players")["summary"], "players 72, unknown_players 0");

    sample.sql("nba_analytics", "DELETE FROM player_season_averages WHERE player_lookup = 'player003'").unwrap();
    let ill = once();
    let run = ill.run("predicted-players");
    assert_eq!((ill.code, &run["status"]), (2, &json!("fail")), "{run}");
    assert!(run["summary"].as_str().unwrap().starts_with("unknown_players is above its maximum: "), "{run}");
    let [(channel, message)] = sample.slack.received().try_into().unwrap();
    let told = crate::support::slack::words(&message);
    assert!(channel == "canary-alerts" && told.contains("Predicted players (predicted-players)"), "{told}");
    assert!(told.contains("host query --date 2026-02-05 'SELECT"), "{told}");

    let cases = repository().join("tests/sample/predicted-players/cases");
    let tested = sample.host(&["test", python.to_str().unwrap(), cases.to_str().unwrap()]).unwrap();
    assert!(tested.code == 0 && tested.out.contains("3 cases: 3 as expected"), "{tested:?}");
}
