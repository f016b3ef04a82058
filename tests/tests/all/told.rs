//! Nothing false is told and nothing is left out: recoveries, moved and removed checks, dependencies, reasons.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    path::PathBuf,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use host::{
    alert::{Delivery, Notification, Receivers},
    record::{Batch, NewMessage, Record},
};
use host_tests::{Fault, HOST_TOML};
use jiff::Timestamp;
use tempfile::TempDir;

use super::alerting::{Morning, REPAIRED};
use crate::support::{
    command::{Sample, ended, shipped},
    service::{Service, install},
    slack::words,
};

/// The messages to each channel since the last look.
fn received(morning: &Morning) -> Vec<(String, String)> {
    let received = morning.sample.slack.received();
    morning.sample.slack.clear();
    received.iter().map(|(channel, message)| (channel.clone(), words(message))).collect()
}

/// The only message to a channel.
fn only<'m>(messages: &'m [(String, String)], channel: &str) -> &'m str {
    let mine: Vec<&str> = messages.iter().filter(|(to, _)| to == channel).map(|(_, text)| text.as_str()).collect();
    assert_eq!(mine.len(), 1, "{channel}: {messages:?}");
    mine[0]
}

/// A critical alert that becomes a warning leaves the on-call channel, which hears that it is not over.
#[test]
fn a_severity_that_fell_is_not_a_recovery() {
    let routes = "[alerts.routes]\ncritical = [\"#on-call\"]";
    let mut morning = Morning::new(Some(Fault::HalfNullNames), routes);
    let gate = ["phase2-gate"];
    morning.run(&gate);
    let first = received(&morning);
    assert!(only(&first, "on-call").starts_with("🔴"), "{first:?}");
    morning.sql(REPAIRED);
    morning.sql("UPDATE nbac_player_boxscore SET player_name = NULL WHERE rowid % 40 = 0");
    let warned = morning.run(&gate);
    assert_eq!(warned.run("phase2-gate")["status"], "warn", "{warned:?}");
    let eased = received(&morning);
    let on_call = only(&eased, "on-call");
    assert!(on_call.starts_with("🔵 phase2-gate: less severe, still not well"), "{on_call}");
    let still = "phase2-gate: no longer critical, but still warning; further alerts go to #canary-alerts: ";
    assert!(on_call.contains(still), "{on_call}");
    assert!(only(&eased, "canary-alerts").starts_with("🟠"), "{eased:?}");
    for (_, text) in &eased {
        assert!(!text.contains("✅") && !text.contains("Resolved") && !text.contains("recovered"), "{text}");
    }
    morning.sql(REPAIRED);
    morning.run(&gate);
    let over = received(&morning);
    assert!(only(&over, "canary-alerts").starts_with("✅ phase2-gate recovered"), "{over:?}");
    assert_eq!(over.len(), 1, "{over:?}");
}

/// A check that moves to a channel of its own: the channel that it leaves hears that it still fails, though no check posts
/// there any more.
#[test]
fn a_channel_that_moved_is_not_a_recovery() {
    let toml = HOST_TOML.replace("depends_on = [\"phase1-scrapers\"]", "channel = \"#on-call\"");
    let mut morning = Morning::new(Some(Fault::NullNames), "");
    morning.sample.configure(&toml).unwrap();
    morning.run(&["phase2-raw"]);
    assert!(only(&received(&morning), "on-call").starts_with("🔴"));
    morning.sample.configure(HOST_TOML).unwrap();
    morning.run(&["phase2-raw"]);
    let moved = received(&morning);
    let left = only(&moved, "on-call");
    assert!(left.starts_with("🔵 phase2-raw: still not well, now in another channel"), "{left}");
    assert!(left.contains("phase2-raw: still fails; further alerts go to #canary-alerts: null_player_names"), "{left}");
    assert!(only(&moved, "canary-alerts").starts_with("🔴 Phase 2: raw data"), "{moved:?}");
    morning.sql(REPAIRED);
    morning.run(&["phase2-raw"]);
    assert!(only(&received(&morning), "canary-alerts").starts_with("✅ phase2-raw recovered"));
}

/// A check that is removed, or has another name, while its alert is open: the alert ends with the reason, once; and a
/// later check of the old name begins anew.
#[test]
fn a_removed_check_ends_its_alert() {
    let renamed = HOST_TOML.replace("[checks.phase2-raw]\n", "[checks.box-scores]\nplugin = \"phase2-raw\"\n");
    let renamed = renamed.replace("depends_on = [\"phase2-raw\"]", "depends_on = [\"box-scores\"]");
    let mut morning = Morning::new(Some(Fault::NullNames), "");
    assert!(morning.round(&["phase2-raw"])[0].starts_with("🔴 Phase 2: raw data"));
    assert_eq!(morning.round(&["phase4-precompute"]), Vec::<String>::new(), "one that is left out is not gone");
    morning.sample.configure(&renamed).unwrap();
    let told = morning.round(&["box-scores"]);
    assert!(told[0].starts_with("🔵 No longer checked: phase2-raw"), "{told:?}");
    assert!(told[0].contains("phase2-raw: removed from host.toml, after "), "{told:?}");
    assert!(told[0].contains("it was not well until then: null_player_names is above its maximum: 3 > 0"), "{told:?}");
    assert!(told[0].contains("Not a recovery") && !told[0].contains("Resolved"), "{told:?}");
    assert!(told[1].starts_with("🔴") && told.len() == 2, "the new name begins: {told:?}");
    assert_eq!(morning.round(&["box-scores"]), Vec::<String>::new(), "it is told once");
    let alerts = &morning.host(&["history", "phase2-raw", "--output", "json"]).json()["alerts"];
    assert!(alerts[0]["ended"].is_string() && alerts.as_array().unwrap().len() == 1, "{alerts:#}");
    assert!(alerts[0]["summary"].as_str().unwrap().ends_with("(ended: removed from host.toml)"), "{alerts:#}");

    morning.sql(REPAIRED);
    assert!(morning.round(&["box-scores"])[0].starts_with("✅ box-scores recovered"));
    morning.sample.configure(HOST_TOML).unwrap();
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new(), "the old name recovers from nothing");
}

/// A check that only its file made is not gone when one start leaves out its file, and is gone when a host that stays has
/// none.
#[test]
fn a_plugin_that_is_left_out_of_one_start_is_not_gone() {
    let sample = Sample::now(Some(Fault::NullNames)).unwrap();
    let toml = HOST_TOML.replace("[checks.phase2-raw]\ndepends_on = [\"phase1-scrapers\"]\n", "");
    let toml = toml.replace("[\"phase2-raw\"]", "[]");
    sample.configure(&toml).unwrap();
    let files = shipped().unwrap();
    let start = |files: &[PathBuf], check: &str| {
        let mut command = sample.command();
        ended(command.args(["run", "--once", "--check", check]).args(files)).unwrap();
        sample.slack.received()
    };
    assert_eq!(start(&files, "phase2-raw").len(), 1);
    let others: Vec<PathBuf> = files.into_iter().filter(|file| !file.ends_with("phase2-raw.wasm")).collect();
    assert_eq!(start(&others, "phase4-precompute").len(), 1, "the same message, and no second");
    let mut command = sample.command();
    let mut host = sample
        .stay_with({
            command.arg("run").args(&others);
            command
        })
        .unwrap();
    host.wait_for("next: ").unwrap();
    sample.slack.wait_for(2).unwrap();
    let told = words(&sample.slack.requests()[1].message);
    assert!(told.contains("phase2-raw: its plugin is no longer among the files, after "), "{told}");
    host.end("TERM").unwrap();
}

/// The same when a running host reloads host.toml.
#[test]
fn a_reload_that_removes_a_check_ends_its_alert() {
    let sample = Sample::now(Some(Fault::NullNames)).unwrap();
    install(&sample, &[]).unwrap();
    let named = format!("{HOST_TOML}\n[checks.box-scores]\nplugin = \"phase2-raw\"\n");
    sample.configure(&named).unwrap();
    let mut command = sample.command();
    assert_eq!(ended(command.args(["run", "--once", "--check", "box-scores", "plugins"])).unwrap().code, 2);
    let mut service = Service::start(&sample, &named, &[]).unwrap();
    sample.configure(&format!("{HOST_TOML}\n[web]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
    service.host.signal("HUP").unwrap();
    service.host.wait_for("box-scores is gone").unwrap();
    let texts = || sample.slack.requests().iter().map(|request| words(&request.message)).collect::<Vec<_>>();
    service.wait_until("it is told", 30, |_| {
        texts().iter().any(|text| text.contains("box-scores: removed from host.toml, after "))
    });
    service.host.end("TERM").unwrap();
    let ends = texts().iter().filter(|text| text.contains("No longer checked")).count();
    assert_eq!(ends, 1, "once: {:?}", texts());
}

/// What can be evaluated again and fails is no good news.
#[test]
fn a_check_that_can_be_evaluated_again_and_fails_is_not_well() {
    let toml = "[checks.phase2-raw.alerts]\nconfirm = 3\nconfirm_errors = 1";
    let mut morning = Morning::new(Some(Fault::NullNames), toml);
    morning.sql("ALTER TABLE nbac_player_boxscore RENAME TO elsewhere");
    assert!(morning.round(&["phase2-raw"])[0].starts_with("🟠 phase2-raw could not be evaluated"));
    morning.sql("ALTER TABLE elsewhere RENAME TO nbac_player_boxscore");
    let again = morning.round(&["phase2-raw"]);
    assert!(again[0].starts_with("🔵 phase2-raw: can be evaluated again, still not well"), "{again:?}");
    assert!(again[0].contains("Still not well phase2-raw: can be evaluated again, after 30 min: fail"), "{again:?}");
    assert!(!again[0].contains("Resolved"), "{again:?}");
}

/// Two tables, and a check of each: `down` depends on `up`, whose channel is `#up`.
struct Pair {
    sample: Sample,
}

impl Pair {
    /// With the channel of `down`, and the schedule of `up`.
    fn new(channel: &str, schedule: &str) -> Self {
        let sample = Sample::new(None).unwrap();
        sample.sql("nba_raw", "CREATE TABLE up (n); CREATE TABLE down (n)").unwrap();
        let check = |name: &str, schedule: &str, channel: &str| {
            format!(
                "[checks.{name}]\nplugin = 'canary-sql'\nschedule = '{schedule}'\nchannel = '{channel}'\n\
                 settings = {{ table = 'nba_raw.{name}', row_count = {{ min = 1 }} }}\n"
            )
        };
        let (up, down) = (check("up", schedule, "#up"), check("down", "*/30 * * * *", channel));
        let down = down.replace("[checks.down]\n", "[checks.down]\ndepends_on = ['up']\n");
        let toml = format!(
            "timezone = 'UTC'\n[warehouse]\nkind = 'sqlite'\npath = 'warehouse'\n[alerts]\nconfirm_errors = 1\n\
             [grants.canary-sql]\nwarehouse = ['nba_raw']\n{up}{down}"
        );
        sample.configure(&toml).unwrap();
        let pair = Self { sample };
        pair.set("up", true);
        pair.set("down", true);
        pair
    }

    /// Makes the data of a check good or bad.
    fn set(&self, check: &str, good: bool) {
        let sql = if good { format!("INSERT INTO {check} VALUES (1)") } else { format!("DELETE FROM {check}") };
        self.sample.sql("nba_raw", &sql).unwrap();
    }

    /// Runs checks, and returns the messages to each channel.
    fn run(&self, day_and_time: &str, checks: &[&str]) -> Vec<(String, String)> {
        let mut command = self.sample.command();
        for channel in ["up", "down"] {
            command.env(format!("SLACK_WEBHOOK_URL_{}", channel.to_uppercase()), self.sample.slack.webhook(channel));
        }
        command.args(["run", "--once", "--at", &format!("2026-02-{day_and_time}:00Z"), "--output", "json"]);
        command.args(checks.iter().flat_map(|check| ["--check", check]));
        let plugin = shipped().unwrap().into_iter().find(|file| file.ends_with("canary-sql.wasm")).unwrap();
        let ended = ended(command.arg(plugin)).unwrap();
        let runs = ended.json()["runs"].as_array().map(Vec::len);
        assert_eq!(runs, Some(checks.len()), "{ended:?}");
        let received = self.sample.slack.received();
        self.sample.slack.clear();
        received.iter().map(|(channel, message)| (channel.clone(), words(message))).collect()
    }

    fn history(&self, check: &str) -> String {
        self.sample.host(&["history", check]).unwrap().out
    }
}

/// What the messages of a round tell a channel of the failing check `down`.
fn heard_of_down(messages: &[(String, String)], channel: &str) -> Vec<&'static str> {
    let mut heard = Vec::new();
    for (_, text) in messages.iter().filter(|(to, _)| to == channel.trim_start_matches('#')) {
        let listed = text.contains("Also failing downstream down: ");
        let held = text.contains("Held back down: ");
        let recovered = text.contains("down: recovered after ");
        let lines = usize::from(listed) + usize::from(held) + usize::from(recovered);
        for (so, word) in [(listed, "listed"), (held, "held"), (recovered, "recovered")] {
            heard.extend(so.then_some(word));
        }
        // An alert shows the metric.
        let alerts = text.matches("nba_raw.down").count().min(1);
        heard.extend((alerts > lines.min(1) || alerts == 1 && lines == 0).then_some("alert"));
    }
    heard
}

/// Each channel of a failing check hears exactly one of: its own alert, listed under its upstream, held since its upstream
/// is silenced. And each that heard of it hears the end.
#[test]
fn each_channel_of_a_failing_downstream_hears_one_thing() {
    for (upstream, same, other) in [
        ("ok", "alert", "alert"),
        ("bad", "listed", "alert"),
        ("silenced", "held", "held"),
        ("erring", "alert", "alert"),
        ("not run", "alert", "alert"),
    ] {
        for (channel, expected) in [("#up", same), ("#down", other)] {
            for down_is_bad in [false, true] {
                let case = format!("{channel}, upstream {upstream}, downstream bad: {down_is_bad}");
                let pair = Pair::new(channel, "*/30 * * * *");
                assert_eq!(pair.run("06T10:00", &["up", "down"]), [], "{case}");
                match upstream {
                    "bad" => pair.set("up", false),
                    "silenced" => {
                        pair.set("up", false);
                        let silence = ["silence", "up", "--for", "4h", "--why", "loaded again"];
                        assert_eq!(pair.sample.host(&silence).unwrap().code, 0, "{case}");
                    }
                    "erring" => pair.sample.sql("nba_raw", "ALTER TABLE up RENAME TO elsewhere").unwrap(),
                    _ => {}
                }
                pair.set("down", !down_is_bad);
                let checks = if upstream == "not run" { &["down"][..] } else { &["up", "down"] };
                let told = pair.run("06T10:30", checks);
                let heard = heard_of_down(&told, channel);
                if !down_is_bad {
                    assert!(!told.iter().any(|(_, text)| text.contains("nba_raw.down")), "{case}: {told:?}");
                    continue;
                }
                assert_eq!(heard, [expected], "{case}: {told:?}");
                let root = "It depends on up, which fails too and is reported in #up.";
                let own = told.iter().any(|(to, text)| to == channel.trim_start_matches('#') && text.contains(root));
                assert_eq!(own, upstream == "bad" && channel == "#down", "{case}: {told:?}");
                if upstream == "silenced" {
                    let why = "it depends on up, which fails too and is silenced (silence 1: loaded again)";
                    assert!(told.len() == 1 && told[0].1.contains(why), "{case}: {told:?}");
                    let history = pair.history("down");
                    assert!(history.contains("not sent; told in a line, since up, which it depends on"), "{history}");
                }
                assert_eq!(heard_of_down(&pair.run("06T11:00", checks), channel), [""; 0], "{case}: once");
                pair.set("down", true);
                let over = pair.run("06T11:30", checks);
                assert_eq!(heard_of_down(&over, channel), ["recovered"], "{case}: {over:?}");
                let history = pair.history("down");
                assert!(!history.contains("not confirmed"), "{case}: the reason stays right: {history}");
            }
        }
    }
}

/// The upstream runs once a day: it speaks for what depends on it until its next due time, not for `repeat_interval`.
#[test]
fn a_daily_upstream_speaks_until_it_is_due_again() {
    let pair = Pair::new("#up", "0 6 * * *");
    assert_eq!(pair.run("05T06:00", &["up", "down"]), []);
    pair.set("up", false);
    assert!(pair.run("06T06:00", &["up"])[0].1.starts_with("🔴"));
    pair.set("down", false);
    for time in ["06T07:00", "06T15:00", "07T05:30"] {
        assert_eq!(pair.run(time, &["down"]), [], "{time}");
    }
    let history = pair.history("down");
    assert!(history.contains("not sent; up, which it depends on, was reported before it"), "{history}");
    // It is due, and does not run any more.
    let told = pair.run("07T06:30", &["down"]);
    assert_eq!(heard_of_down(&told, "#up"), ["alert"], "{told:?}");
}

/// The upstream recovers a round before its downstream: that is listed as open in between, and is no new alert.
#[test]
fn a_downstream_that_follows_a_round_later_is_not_new_in_between() {
    let pair = Pair::new("#up", "*/30 * * * *");
    let both = ["up", "down"];
    assert_eq!(pair.run("06T10:00", &both), []);
    pair.set("up", false);
    assert_eq!(pair.run("06T10:30", &both).len(), 1);
    // After it was told, so that no message lists it.
    pair.set("down", false);
    assert_eq!(pair.run("06T11:00", &both), []);
    pair.set("up", true);
    let between = pair.run("06T11:30", &both);
    assert_eq!(between.len(), 1);
    let text = &between[0].1;
    assert!(text.starts_with("🔵 up recovered") && text.contains("Resolved up: recovered after 1 h"), "{text}");
    assert!(text.contains("Still not well down: still not well, and depends on up, which has recovered: "), "{text}");
    pair.set("down", true);
    let over = pair.run("06T12:00", &both);
    assert!(over[0].1.starts_with("✅ down recovered"), "{over:?}");
    let history = pair.history("down");
    assert!(
        history.contains("not sent; listed under up, which it depends on") || history.contains("reported before it"),
        "{history}"
    );

    // And when it does not follow, it is an alert of its own a round later.
    pair.set("up", false);
    pair.set("down", false);
    assert_eq!(heard_of_down(&pair.run("06T18:00", &both), "#up"), ["listed"]);
    pair.set("up", true);
    let between = pair.run("06T18:30", &both);
    assert!(heard_of_down(&between, "#up").is_empty() || between[0].1.contains("Still not well down"), "{between:?}");
    let own = pair.run("06T19:00", &both);
    assert_eq!(heard_of_down(&own, "#up"), ["alert"], "{own:?}");
    pair.set("down", true);
    assert!(pair.run("06T19:30", &both)[0].1.starts_with("✅ down recovered"));
}

/// After an alert is over, the history still has the reason why nobody was told.
#[test]
fn the_reason_why_nobody_was_told_outlives_the_alert() {
    let pair = Pair::new("#down", "*/30 * * * *");
    assert_eq!(pair.run("06T10:00", &["down"]), []);
    assert_eq!(pair.sample.host(&["silence", "down", "--for", "4h", "--why", "loaded again"]).unwrap().code, 0);
    let mut seen = Vec::new();
    for (time, good) in [("06T10:30", false), ("06T11:00", true)] {
        pair.set("down", good);
        assert_eq!(pair.run(time, &["down"]), [], "{time}");
        seen.push(pair.history("down"));
    }
    for history in seen {
        assert!(history.contains("0 < 1 (not sent; silence 1: loaded again)"), "{history}");
    }

    let mut morning = Morning::new(Some(Fault::NullNames), "[checks.phase2-raw.alerts]\nconfirm = 3");
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new());
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new());
    morning.sql(REPAIRED);
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new());
    let history = morning.host(&["history", "phase2-raw"]).out;
    assert!(history.contains("3 > 0 (not sent; not confirmed: 2 of 3 results)"), "{history}");
}

/// On a day on which the gate is skipped nobody need ask it, whether the calendar has dates or hours; and a calendar may
/// name the check of the questions itself.
#[test]
fn nobody_need_ask_a_gate_that_is_skipped() {
    let toml = HOST_TOML.replace("[checks.phase2-gate]", "[checks.phase2-gate]\nexpect_consult = \"0 10 * * *\"");
    let asked = "phase2-gate.consulted";
    for (calendar, status, why) in [
        ("checks = ['phase2-gate']\ndates = ['02-01..02-28']", "skip", "skipped: no games (calendars.off-season)"),
        (
            "checks = ['phase2-gate']\nwindows = [{ cron = '0 6 * * *', for = '2h' }]",
            "skip",
            "skipped: phase2-gate was skipped: no games (calendars.off-season)",
        ),
        ("checks = ['phase2-gate.consulted']\ndates = ['2026-02-05']", "skip", "skipped: no games"),
        ("checks = ['phase2-gate']\ndates = ['2026-02-04']", "fail", "nobody asked phase2-gate about 2026-02-05"),
        ("checks = ['phase2-raw']\ndates = ['2026-02-05']", "fail", "nobody asked phase2-gate about 2026-02-05"),
    ] {
        let sample = Sample::new(None).unwrap();
        let calendar = format!("[calendars.off-season]\neffect = 'skip'\nwhy = 'no games'\n{calendar}\n");
        sample.configure(&format!("{toml}\n{calendar}")).unwrap();
        let run = |check: &str, time: &str| {
            let mut command = sample.command();
            command.args(["run", "--once", "--output", "json", "--check", check]);
            ended(command.args(["--at", &format!("2026-02-06T{time}:00-05:00")]).args(shipped().unwrap())).unwrap()
        };
        run("phase2-gate", "06:30");
        let ended = run(asked, "10:00");
        let found = ended.run(asked);
        assert_eq!(found["status"], status, "{calendar}: {ended:?}");
        assert!(found["summary"].as_str().unwrap().starts_with(why), "{calendar}: {found}");
        let told: Vec<String> = sample.slack.requests().iter().map(|request| words(&request.message)).collect();
        assert_eq!(told.iter().any(|text| text.contains("Nobody asked")), status == "fail", "{calendar}: {told:?}");
    }
    let sample = Sample::new(None).unwrap();
    let calendar = "[calendars.a]\neffect = 'skip'\nwhy = 'x'\nchecks = ['phase2-raw.consulted']\ndates = ['12-25']\n";
    sample.configure(&format!("{toml}\n{calendar}")).unwrap();
    let refused = sample.once(&[]).unwrap();
    assert!(refused.code == 64 && refused.err.contains("there is no check `phase2-raw.consulted`"), "{refused:?}");
}

/// A message that is queued while the sender looks whether there is one is tried before the outbox closes, wherever the
/// sender is then.
#[tokio::test]
async fn a_message_that_is_queued_while_the_sender_looks_is_tried() {
    for steps in 0..8 {
        let directory = TempDir::new().unwrap();
        let record = Record::open(directory.path()).await.unwrap();
        let delivery = Delivery::new(record.clone(), Receivers::console(), Default::default(), Arc::default());
        let mut sending = Box::pin(delivery.clone().run());
        for _ in 0..steps {
            assert!(poll_fn(|context| Poll::Ready(sending.as_mut().poll(context).is_pending())).await);
            // What it asked for is answered meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let message = NewMessage {
            id: "4f2a".to_owned(),
            receiver: "#a".to_owned(),
            title: "late".to_owned(),
            notification: serde_json::to_string(&Notification::default()).unwrap(),
            created: Timestamp::now(),
            checks: BTreeSet::new(),
        };
        let batch = Batch {
            runs: Vec::new(),
            standings: BTreeMap::new(),
            gone: Vec::new(),
            episodes: Vec::new(),
            messages: vec![message],
            recorded: Timestamp::now(),
        };
        record.keep(&batch).await.unwrap();
        delivery.wake();
        delivery.close();
        tokio::time::timeout(Duration::from_secs(20), sending).await.unwrap();
        let waiting = record.waiting().await.unwrap();
        assert!(waiting.is_empty(), "after {steps} steps: {waiting:?}");
    }
}
