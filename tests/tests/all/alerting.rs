//! Which alerts are sent, to whom and when: confirmation, reminders, silences, skips, dependencies, and recovery.

use host_tests::{Fault, HOST_TOML};
use serde_json::{Value, json};

use crate::support::{
    AT,
    command::{Ended, Sample, ended, guest, shipped},
    slack::words,
};

pub(super) const BROKEN: &str = "UPDATE nbac_player_boxscore SET player_name = NULL WHERE rowid % 40 = 0";
pub(super) const REPAIRED: &str = "UPDATE nbac_player_boxscore SET player_name = 'A Player' WHERE player_name IS NULL";
pub(super) const EMPTY: &str = "DELETE FROM player_game_summary";

/// A morning in which checks run at rounds of half an hour, seen from Slack.
pub(super) struct Morning {
    pub(super) sample: Sample,
    round: usize,
}

impl Morning {
    pub(super) fn new(fault: Option<Fault>, more: &str) -> Self {
        let sample = Sample::new(fault).unwrap();
        sample.configure(&format!("{HOST_TOML}\n{more}\n")).unwrap();
        Self { sample, round: 0 }
    }

    /// Runs checks in the next round, and returns the text of each message to Slack.
    pub(super) fn round(&mut self, checks: &[&str]) -> Vec<String> {
        self.run(checks);
        let messages = self.sample.slack.requests();
        self.sample.slack.clear();
        messages.iter().map(|request| words(&request.message)).collect()
    }

    pub(super) fn run(&mut self, checks: &[&str]) -> Ended {
        let minutes = 7 * 60 + 30 * self.round;
        self.round += 1;
        let at = format!("2026-02-06T{:02}:{:02}:00-05:00", minutes / 60, minutes % 60);
        let mut command = self.sample.command();
        command.env("SLACK_WEBHOOK_URL_ON_CALL", self.sample.slack.webhook("on-call"));
        command.args(["run", "--once", "--output", "json", "--at", &at]).args(shipped().unwrap());
        ended(command.args(checks.iter().flat_map(|check| ["--check", check]))).unwrap()
    }

    pub(super) fn sql(&self, sql: &str) {
        let dataset = if sql == EMPTY { "nba_analytics" } else { "nba_raw" };
        self.sample.sql(dataset, sql).unwrap();
    }

    pub(super) fn host(&self, arguments: &[&str]) -> Ended {
        self.sample.host(arguments).unwrap()
    }
}

#[test]
fn a_failure_is_said_once_reminded_of_and_over() {
    let mut morning = Morning::new(Some(Fault::NullNames), "");
    let first = morning.round(&["phase2-raw"]);
    assert_eq!(first.len(), 1);
    for _ in 0..7 {
        assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new());
    }
    let reminder = morning.round(&["phase2-raw"]);
    assert!(reminder[0].starts_with("🔴 Reminder: Phase 2: raw data"), "{reminder:?}");
    assert!(reminder[0].contains("Ongoing for 4 h, since 2026-02-06 07:00 EST."), "{reminder:?}");
    morning.sql(REPAIRED);
    let over = morning.round(&["phase2-raw"]);
    assert!(over[0].starts_with("✅ phase2-raw recovered"), "{over:?}");
    assert!(over[0].contains("phase2-raw: recovered after 4 h 30 min: games 5"), "{over:?}");
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new());
}

#[test]
fn something_wrong_besides_is_news() {
    let mut morning = Morning::new(Some(Fault::NullNames), "");
    morning.round(&["phase2-raw"]);
    morning.sql("UPDATE nbac_player_boxscore SET team_abbr = NULL WHERE rowid % 40 = 1");
    let changed = morning.round(&["phase2-raw"]);
    assert!(changed[0].contains("New: null_team_abbrs."), "{changed:?}");
}

#[test]
fn an_error_is_confirmed_worded_as_one_and_over() {
    let mut morning = Morning::new(None, "");
    morning.sql("ALTER TABLE nbac_player_boxscore RENAME TO elsewhere");
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new(), "one may be a hiccup");
    let told = morning.round(&["phase2-raw"]);
    assert!(told[0].starts_with("🟠 phase2-raw could not be evaluated"), "{told:?}");
    morning.sql("ALTER TABLE elsewhere RENAME TO nbac_player_boxscore");
    morning.sql(BROKEN);
    let over = morning.round(&["phase2-raw"]);
    assert!(over[0].contains("can be evaluated again, after 1 h: fail"), "{over:?}");
    assert!(over[0].contains("null_player_names is above its maximum: 3"), "and what it finds then: {over:?}");
}

/// What no retry can change is told at once, and what may pass by itself when it happens again: see the test before.
#[test]
fn a_mistake_that_waiting_does_not_mend_is_told_at_once() {
    let raw = "[checks.phase2-raw]\n";
    let with = |line: &str| HOST_TOML.replace(raw, &format!("{raw}{line}\n"));
    let ungranted = HOST_TOML.replace("[grants.phase2-raw]\nwarehouse = [\"nba_raw\"]", "[grants.phase2-raw]");
    assert_ne!(ungranted, HOST_TOML);
    let blind = HOST_TOML.replace("git = [\"pipeline\"]\n", "");
    assert_ne!(blind, HOST_TOML);
    for (check, toml, why) in [
        ("phase2-raw", with("settings = { min_game = 1 }"), "host.toml: checks.phase2-raw.settings: "),
        ("phase2-raw", with("settings = { table = \"boxscores\" }"), "table"),
        (
            "phase2-raw",
            with("plugin = \"phase2-rw\"\nchannel = \"#canary-alerts\""),
            "no file holds the plugin phase2-rw",
        ),
        ("phase2-raw", ungranted, "dataset nba_raw is not granted; add \"nba_raw\" to grants.phase2-raw.warehouse"),
        ("deployment-drift", blind, "no repository is granted; add one to grants.deployment-drift.git"),
    ] {
        let mut morning = Morning::new(None, "");
        assert_eq!(morning.round(&[check]), Vec::<String>::new());
        morning.sample.configure(&toml).unwrap();
        let told = morning.round(&[check]);
        assert!(
            told.len() == 1 && told[0].starts_with(&format!("🟠 {check} could not be evaluated")),
            "{why}: {told:?}"
        );
        assert!(told[0].contains(why), "{why}: {told:?}");
        assert_eq!(morning.round(&[check]), Vec::<String>::new(), "{why}: once");
        morning.sample.configure(HOST_TOML).unwrap();
        assert!(morning.round(&[check])[0].starts_with(&format!("✅ {check} can be evaluated again")), "{why}");
    }
}

/// An error of a failing check hides neither the failure nor its recovery.
#[test]
fn an_error_does_not_end_a_failure() {
    let mut morning = Morning::new(Some(Fault::NullNames), "[checks.phase2-raw.alerts]\nconfirm_errors = 1");
    assert_eq!(morning.round(&["phase2-raw"]).len(), 1);
    morning.sql("ALTER TABLE nbac_player_boxscore RENAME TO elsewhere");
    assert!(morning.round(&["phase2-raw"])[0].contains("could not be evaluated"));
    morning.sql("ALTER TABLE elsewhere RENAME TO nbac_player_boxscore");
    let still = morning.round(&["phase2-raw"]);
    assert!(still[0].contains("can be evaluated again") && !still[0].contains("recovered"), "{still:?}");
    morning.sql(REPAIRED);
    assert!(morning.round(&["phase2-raw"])[0].contains("recovered after 1 h 30 min"));
}

#[test]
fn what_depends_on_a_failing_check_stands_under_it() {
    let both = ["phase2-raw", "phase3-analytics"];
    let mut morning = Morning::new(Some(Fault::NullNames), "");
    morning.sql(EMPTY);
    let told = morning.round(&both);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("Also not well downstream phase3-analytics: records is below its minimum: 0 < 40"),
        "{told:?}"
    );
    assert!(!told[0].contains("Phase 3"), "not on its own: {told:?}");
    let history = morning.host(&["history", "phase3-analytics"]).out;
    assert!(history.contains("no alert of its own; listed under phase2-raw, which it depends on"), "{history}");
    morning.sql(REPAIRED);
    let told = morning.round(&both);
    assert!(told[0].contains("phase2-raw: recovered") && !told[0].contains("Phase 3: analytics"), "{told:?}");
    assert!(told[0].contains("Still not well phase3-analytics: not well, and depends on phase2-raw"), "{told:?}");
    let told = morning.round(&both);
    assert!(told[0].starts_with("🔴") && told[0].contains("Phase 3: analytics"), "it did not follow: {told:?}");
    let phase3 = morning.host(&["history", "phase3-analytics"]).out;
    assert!(!phase3.contains("nobody was told"), "{phase3}");
}

/// A listed check always recovers, even if its upstream check keeps failing.
#[test]
fn what_was_listed_resolves() {
    let both = ["phase2-raw", "phase3-analytics"];
    let mut morning = Morning::new(Some(Fault::NullNames), "");
    morning.sql("CREATE TABLE IF NOT EXISTS unused (n)");
    morning.sample.sql("nba_analytics", "CREATE TABLE kept AS SELECT * FROM player_game_summary").unwrap();
    morning.sql(EMPTY);
    morning.round(&both);
    morning.sample.sql("nba_analytics", "INSERT INTO player_game_summary SELECT * FROM kept").unwrap();
    let told = morning.round(&both);
    assert!(told[0].starts_with("✅ phase3-analytics recovered"), "{told:?}");
}

#[test]
fn a_silence_holds_back_what_is_new_and_lets_recoveries_pass() {
    let mut morning = Morning::new(None, "");
    assert_eq!(morning.round(&["phase2-raw"]).len(), 0);
    let silence = morning.host(&["silence", "phase2-raw", "--for", "4h", "--why", "loaded again"]);
    assert!(silence.out.starts_with("silence 1: no new alerts of phase2-raw until "), "{silence:?}");
    morning.sql(BROKEN);
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new());
    let history = morning.host(&["history", "phase2-raw"]).out;
    assert!(history.contains("no alert of its own; silence 1: loaded again"), "{history}");
    assert_eq!(morning.host(&["silences"]).out.lines().count(), 2);
    assert_eq!(morning.host(&["silences", "--expire", "1"]).out, "silence 1 ended\n");
    assert_eq!(morning.host(&["silences"]).out, "No silence is active.\n");
    let all = morning.host(&["silences", "--all", "--output", "json"]).json();
    assert_eq!(all["silences"][0]["why"], "loaded again");
    let told = morning.round(&["phase2-raw"]);
    assert!(told[0].starts_with("🔴 Phase 2: raw data"), "it still fails, and no alert was sent yet: {told:?}");
    morning.host(&["silence", "phase2-raw", "--for", "4h", "--why", "again"]);
    morning.sql(REPAIRED);
    assert!(morning.round(&["phase2-raw"])[0].starts_with("✅ phase2-raw recovered"));

    for (arguments, words) in [
        (vec!["silence", "phase2-ra", "--for", "4h", "--why", "x"], "did you mean `phase2-raw`?"),
        (vec!["silence", "phase2-raw", "--for", "soon", "--why", "x"], "`soon` is not a duration"),
        (vec!["silence", "phase2-raw", "--for", "4h", "--why", " "], "--why is empty"),
        (vec!["silence", "phase2-raw", "--for", "4h"], "needs --why <WHY>"),
        (vec!["silences", "--expire", "7"], "silence 7 is not active"),
    ] {
        let refused = morning.host(&arguments);
        assert_eq!(refused.code, 64, "{arguments:?}");
        assert!(refused.err.contains(words), "{arguments:?}: {}", refused.err);
    }
}

#[test]
fn calendars_skip_and_silence() {
    let calendars = r#"
        [calendars.off-season]
        effect = "skip"
        checks = ["phase3-analytics"]
        dates = ["02-01..02-28"]
        why = "no games"

        [calendars.load]
        effect = "silence"
        timezone = "America/New_York"
        windows = [{ cron = "0 7 * * *", for = "1h" }]
        why = "the nightly load"
    "#;
    let mut morning = Morning::new(Some(Fault::NullNames), calendars);
    morning.sql(EMPTY);
    let run = morning.run(&["phase3-analytics", "phase2-raw"]);
    assert_eq!(run.run("phase3-analytics")["status"], "skip");
    assert_eq!(run.run("phase3-analytics")["summary"], "skipped: no games (calendars.off-season)");
    assert_eq!(run.run("phase3-analytics")["calls"], json!([]), "it is not run");
    assert_eq!((run.code, run.run("phase2-raw")["status"].clone()), (2, Value::from("fail")));
    assert!(morning.sample.slack.requests().is_empty(), "silenced from 7 to 8");
    let history = morning.host(&["history"]).out;
    assert!(history.contains("phase3-analytics  skip    skipped: no games (calendars.off-season)"), "{history}");
    assert!(history.contains("no alert of its own; silenced by calendars.load: the nightly load"), "{history}");
    assert_eq!(morning.round(&["phase2-raw"]).len(), 0, "half past seven");
    assert_eq!(morning.round(&["phase2-raw"]).len(), 1, "eight");
}

/// A critical alert is also sent to the on-call channel, a warning is not; neither hides the other.
#[test]
fn severities_are_routed() {
    let mut morning = Morning::new(Some(Fault::NullNames), "[alerts.routes]\ncritical = [\"#on-call\"]");
    let ended = morning.run(&["phase2-raw", "phase2-gate"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    let messages = morning.sample.slack.requests();
    let to = |channel: &str| {
        let message = messages.iter().find(|request| request.channel == channel).unwrap();
        words(&message.message)
    };
    assert_eq!(messages.len(), 2);
    assert!(to("canary-alerts").contains("Phase 2: raw data") && to("canary-alerts").contains("PROCEED_WITH_WARNING"));
    assert!(to("on-call").contains("Phase 2: raw data") && !to("on-call").contains("PROCEED_WITH_WARNING"));
    morning.sample.slack.clear();
    morning.sql(REPAIRED);
    let over = morning.round(&["phase2-raw", "phase2-gate"]);
    assert_eq!(over.len(), 2, "both get the recovery: {over:?}");
}

/// Three checks keep their severities, but now for another channel.
#[test]
fn a_channel_is_told_of_alerts_that_left_it() {
    let checks = ["phase1-scrapers", "phase2-raw", "phase2-gate"];
    // Otherwise phase2-raw is listed under phase1-scrapers.
    let failing = HOST_TOML
        .replace("[checks.phase1-scrapers]", "[checks.phase1-scrapers]\nsettings = { min_tables_written = 100 }")
        .replace("depends_on = [\"phase1-scrapers\"]", "");
    let mut morning = Morning::new(Some(Fault::NullNames), "");
    morning.sample.configure(&failing).unwrap();
    assert_eq!(morning.round(&checks).len(), 1);
    let moved = failing
        .replace("[\"#canary-alerts\"]", "[\"#canary-alerts\", \"#on-call\"]")
        .replace("[checks.phase1-scrapers]", "[checks.phase1-scrapers]\nchannel = \"#on-call\"")
        .replace("[checks.phase2-raw]", "[checks.phase2-raw]\nchannel = \"#on-call\"")
        .replace("[checks.phase2-gate]", "[checks.phase2-gate]\nchannel = \"#on-call\"");
    morning.sample.configure(&moved).unwrap();
    morning.run(&checks);
    let messages = morning.sample.slack.requests();
    let left = messages.iter().find(|request| request.channel == "canary-alerts").unwrap();
    let left = words(&left.message);
    let title = "🔵 phase1-scrapers, phase2-raw: still not well, now in another channel; phase2-gate: still not well";
    assert!(left.starts_with(title), "{left}");
    let still = "Still not well phase1-scrapers: still fails; further alerts go to #on-call: ";
    assert!(left.contains(still) && !left.contains("Resolved"), "{left}");
    assert!(
        left.contains("phase2-raw: still fails; further alerts go to #on-call: null_player_names is above"),
        "{left}"
    );
    assert!(left.contains("phase2-gate: still warns; further alerts go to #on-call: "), "{left}");
    assert!(messages.iter().any(|request| request.channel == "on-call"), "{messages:?}");
}

#[test]
fn dependencies_that_make_no_sense_stop_the_start() {
    for (from, to, words) in [
        ("depends_on = [\"phase1-scrapers\"]", "depends_on = [\"phase1-scraper\"]", "did you mean `phase1-scrapers`?"),
        (
            "[checks.phase1-scrapers]",
            "[checks.phase1-scrapers]\ndepends_on = [\"phase3-analytics\"]",
            "in a circle: phase1-scrapers → phase3-analytics → phase2-raw → phase1-scrapers",
        ),
        (
            "[checks.phase1-scrapers]",
            "[checks.phase1-scrapers]\ndepends_on = [\"phase1-scrapers\"]",
            "in a circle: phase1-scrapers → phase1-scrapers",
        ),
        (
            "[checks.phase1-scrapers]",
            "[calendars.a]\neffect = \"skip\"\ndates = [\"12-25\"]\nwhy = \"x\"\nchecks = [\"phase9\"]\n[checks.phase1-scrapers]",
            "calendars.a.checks: there is no check `phase9`",
        ),
    ] {
        let sample = Sample::new(None).unwrap();
        sample.configure(&HOST_TOML.replacen(from, to, 1)).unwrap();
        let refused = sample.once(&[]).unwrap();
        assert_eq!(refused.code, 64, "{to}");
        assert!(refused.err.contains(words), "{to}: {}", refused.err);
    }
}

/// The host posts an alert for a plugin that fails without one, and for one that crashes.
#[test]
fn the_host_speaks_for_a_plugin_that_says_nothing() {
    let mut morning =
        Morning::new(None, "[checks.phase2-raw.alerts]\nconfirm_errors = 1\n[grants.phase2-raw.budgets]\ncalls = 0");
    let told = morning.round(&["phase2-raw"]);
    assert!(told[0].starts_with("🟠 phase2-raw could not be evaluated"), "{told:?}");
    assert!(told[0].contains("grants.phase2-raw.budgets.calls"), "{told:?}");
}

/// One round is one message for each channel, unless a check takes longer than `group_wait`; its dependents wait with
/// it.
#[test]
fn what_takes_long_is_told_later() {
    let slow = r##"
        [checks.slow]
        plugin = "misbehaving"
        settings = { behaviour = "spin" }
        alerts = { confirm_errors = 1 }
        [grants.misbehaving]
        slack = ["#canary-alerts"]
        budgets = { timeout = "3s" }
    "##;
    let toml = HOST_TOML
        .replace("repeat_interval", "group_wait = \"1s\"\nrepeat_interval")
        .replace("depends_on = [\"phase2-raw\"]", "depends_on = [\"slow\"]");
    let sample = Sample::new(Some(Fault::NullNames)).unwrap();
    sample.configure(&(toml + slow)).unwrap();
    sample.sql("nba_analytics", EMPTY).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--check", "phase2-raw", "--check", "phase3-analytics", "--check", "slow"]);
    let ended = ended(command.args(["--at", AT]).args(shipped().unwrap()).arg(guest("misbehaving"))).unwrap();
    assert_eq!(ended.code, 3, "{ended:?}");
    let requests = sample.slack.requests();
    assert_eq!(requests.len(), 2);
    let first = words(&requests[0].message);
    assert!(first.contains("Phase 2: raw data") && !first.contains("Phase 3") && !first.contains("slow"), "{first}");
    let second = words(&requests[1].message);
    assert!(second.contains("Phase 3: analytics") && second.contains("slow: timed out after 3 s"), "{second}");
    let order: Vec<&str> = ended.out.lines().skip(1).take(3).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(order, ["phase2-raw", "phase3-analytics", "slow"], "in the order of the checks");
}
