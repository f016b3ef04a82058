//! Nothing false is told and nothing is left out: recoveries, moved and removed checks, dependencies, reasons.

use std::{
    collections::BTreeSet,
    fs,
    future::poll_fn,
    path::{Path, PathBuf},
    process::Command,
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
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use super::{
    alerting::{Morning, REPAIRED},
    downstream::{Pair, Terms},
};
use crate::support::{
    AT,
    command::{Sample, ended, guest, shipped},
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
    let still = "phase2-gate: no longer critical, but it still warns; further alerts go to #canary-alerts: ";
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
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new());
    assert_eq!(morning.round(&["phase4-precompute"]), Vec::<String>::new(), "one that is left out is not gone");
    morning.sample.configure(&renamed).unwrap();
    let mut command = morning.sample.command();
    command.args(["run", "--once", "--date", "2026-01-05", "--check", "phase6-publishing"]).args(shipped().unwrap());
    let past = ended(&mut command).unwrap();
    assert!(past.err.contains("2026-01-05 is a past date: recorded, and alerts are sent"), "{past:?}");
    let dated = received(&morning);
    assert!(dated.len() == 1 && dated[0].1.contains("2026-01-05"), "nothing of what is gone: {dated:?}");
    let told = morning.round(&["box-scores"]);
    assert!(told[0].starts_with("🔵 No longer checked: phase2-raw"), "{told:?}");
    let last = "phase2-raw: removed from host.toml; not well when last checked, at 2026-02-06 07:30 EST, and for 30 min \
                until then: null_player_names is above its maximum: 3 > 0";
    assert!(told[0].contains(last), "its own clock: {told:?}");
    assert!(told[0].contains("Not a recovery") && !told[0].contains("Resolved"), "{told:?}");
    assert!(told[1].starts_with("🔴") && told.len() == 2, "the new name begins: {told:?}");
    assert_eq!(morning.round(&["box-scores"]), Vec::<String>::new(), "it is told once");
    let alerts = &morning.host(&["history", "phase2-raw", "--output", "json"]).json()["alerts"];
    assert_eq!(alerts.as_array().map(Vec::len), Some(1), "{alerts:#}");
    let (began, ended) = (&alerts[0]["began"], &alerts[0]["ended"]);
    assert_eq!((began, ended), (&json!("2026-02-06T12:00:00Z"), &json!("2026-02-06T13:30:00Z")), "when it was removed");
    assert!(alerts[0]["summary"].as_str().unwrap().ends_with("(ended: removed from host.toml)"), "{alerts:#}");
    let history = morning.host(&["history", "phase2-raw"]).out;
    assert!(
        history.contains("2026-02-06 07:00 EST  1 h 30 min  1       phase2-raw  2026-02-05  critical"),
        "{history}"
    );

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
    assert!(
        told.contains("phase2-raw: its plugin is no longer among the files; not well when last checked, at "),
        "{told}"
    );
    host.end("TERM").unwrap();
}

/// A record of an older host does not say which checks host.toml had. A check that neither host.toml nor a file has any more
/// ends with that reason; one whose plugin may only be left out of this start does not end.
#[test]
fn a_check_of_an_older_record_ends_with_what_is_known() {
    let named = format!("{HOST_TOML}\n[checks.box-scores]\nplugin = \"phase2-raw\"\n");
    for (check, toml, ends) in [
        ("box-scores", HOST_TOML.to_owned(), true),
        ("phase2-raw", named.replace("[checks.phase2-raw]\n", "[checks.other]\nplugin = \"phase2-raw\"\n"), false),
    ] {
        let mut morning = Morning::new(Some(Fault::NullNames), "");
        morning.sample.configure(&named).unwrap();
        assert_eq!(morning.round(&[check]).len(), 1, "{check}");
        let record = Connection::open(morning.sample.path().join("state/host.db")).unwrap();
        record.execute("UPDATE standings SET standing = json_remove(standing, '$.configured')", []).unwrap();
        morning.sample.configure(&toml.replace("depends_on = [\"phase2-raw\"]", "")).unwrap();
        let told = morning.round(&["phase4-precompute"]);
        let history = morning.host(&["history", check]).out;
        let why = "neither host.toml nor a plugin's file has this check any more";
        assert_eq!((told.len(), history.contains(&format!("(ended: {why})"))), (usize::from(ends), ends), "{history}");
        let line = format!("{check}: {why}; not well when last checked, at 2026-02-06 07:00 EST: ");
        assert!(told.iter().all(|text| text.contains(&line)), "{told:?}");
    }
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
        texts().iter().any(|text| text.contains("box-scores: removed from host.toml; not well when last checked, at "))
    });
    service.host.end("TERM").unwrap();
    let ends = texts().iter().filter(|text| text.contains("No longer checked")).count();
    assert_eq!(ends, 1, "once: {:?}", texts());
    let requests = sample.slack.requests();
    let links = requests.iter().any(|request| request.message.to_string().contains("127.0.0.1:0/"));
    assert!(!links, "nobody can follow a link to port 0");
}

/// A second configuration on one state directory would take the checks of the first for removed. It is refused with the line
/// that gives it a record of its own; a configuration that replaces the first takes the record on.
#[test]
fn a_second_configuration_ends_nothing_of_the_first() {
    let mut morning = Morning::new(Some(Fault::NullNames), "");
    assert_eq!(morning.round(&["phase2-raw"]).len(), 1);
    let home = morning.sample.path().to_owned();
    let toml = fs::read_to_string(home.join("host.toml")).unwrap();
    let toml = toml.replace("[checks.phase2-raw]\n", "[checks.box-scores]\nplugin = \"phase2-raw\"\n");
    let toml = toml.replace("depends_on = [\"phase2-raw\"]", "depends_on = [\"box-scores\"]");
    let other = |state: &str| {
        let toml = toml.replace("directory = \"state\"", &format!("directory = \"{state}\""));
        fs::write(home.join("other.toml"), toml).unwrap();
    };
    let with = |home: &Path, arguments: &[&str]| {
        let mut command = morning.sample.command();
        ended(command.current_dir(home).args(arguments).args(["--config", "other.toml"])).unwrap()
    };
    let plugins: Vec<String> = shipped().unwrap().iter().map(|file| file.display().to_string()).collect();
    let plugins: Vec<&str> = plugins.iter().map(String::as_str).collect();
    let once = ["run", "--once", "--at", "2026-02-06T12:15:00Z", "--check", "box-scores"];
    let run = |home: &Path| with(home, &[&once[..], &plugins].concat());
    other("state");
    let gate = [&["gate", "phase2-gate", "--date", "2026-02-05"][..], &plugins].concat();
    let silence = ["silence", "phase2-raw", "--for", "4h", "--why", "x"];
    for refused in [run(&home), with(&home, &gate), with(&home, &silence)] {
        let owner = format!("state holds the record of {}/host.toml, and two", home.canonicalize().unwrap().display());
        let line = "write `directory = \"state-other\"` under [state] in other.toml";
        assert!(refused.code == 64 && refused.err.contains(&owner) && refused.err.contains(line), "{refused:?}");
    }
    assert!(with(&home, &["doctor"]).out.contains("state holds the record of"), "doctor says it too");
    other("state-other");
    assert_eq!(run(&home).code, 2);
    let told = received(&morning);
    assert!(told.len() == 1 && only(&told, "canary-alerts").starts_with("🔴"), "its own failure: {told:?}");
    let history = morning.host(&["history", "phase2-raw"]).out;
    assert!(history.contains("ongoing") && !history.contains("ended:"), "{history}");

    // A copy of everything has owners of its own.
    other("state");
    let copy = TempDir::new().unwrap();
    let copied = Command::new("cp").arg("-r").arg(&home).arg(copy.path().join("copy")).status().unwrap();
    assert!(copied.success() && run(&copy.path().join("copy")).code == 64);
    assert!(received(&morning).is_empty());
    fs::remove_file(home.join("host.toml")).unwrap();
    assert_eq!(run(&home).code, 2);
    let told = received(&morning);
    let ends = |text: &str| text.contains("phase2-raw: removed from host.toml; not well when last checked");
    assert!(told.iter().any(|(_, text)| ends(text)), "{told:?}");
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

/// A schedule on which a start validates the checks.
const DAILY: &str = "0 5 * * *";

/// What a validation found missing is refuted by the first run that finds it; that is told at once, and nothing afterwards.
/// The round and the validation of one start tell it once.
#[test]
fn a_run_that_finds_a_table_refutes_that_it_is_missing() {
    let pair = Pair::new(&Terms { channel: "#down", validated: DAILY, ..Terms::default() });
    pair.sql("ALTER TABLE down RENAME TO elsewhere");
    let told = pair.run("06T10:00", &["down"]);
    assert!(only(&told, "down").contains("there is no table nba_raw.down"), "{told:?}");
    pair.sql("ALTER TABLE elsewhere RENAME TO down");
    let over = pair.run("06T10:30", &["down"]);
    assert!(only(&over, "down").contains("✅ down can be evaluated again"), "{over:?}");
    for time in ["06T14:30", "06T18:30"] {
        assert_eq!(pair.run(time, &["down"]), [], "{time}");
    }
}

/// A validation takes as long as its slowest check. What it finds after the round has told it is not news.
#[test]
fn a_validation_that_ends_after_its_round_tells_nothing_twice() {
    let slow = r##"
        [checks.phase2-raw.alerts]
        confirm_errors = 1
        [checks.slow]
        plugin = "misbehaving"
        settings = { behaviour = "spin" }
        [grants.misbehaving]
        slack = ["#canary-alerts"]
        budgets = { timeout = "4s" }
    "##;
    let toml = HOST_TOML.replace("repeat_interval", "group_wait = \"100ms\"\nrepeat_interval");
    let sample = Sample::new(None).unwrap();
    sample.configure(&format!("validate_schedule = \"{DAILY}\"\n{toml}{slow}")).unwrap();
    sample.sql("nba_raw", "ALTER TABLE nbac_player_boxscore RENAME TO elsewhere").unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--check", "phase2-raw", "--check", "slow"]);
    let ended = ended(command.args(["--at", AT]).args(shipped().unwrap()).arg(guest("misbehaving"))).unwrap();
    assert!(ended.err.contains("validation: phase2-raw: query failed: there is no table"), "{ended:?}");
    let told: Vec<String> = sample.slack.requests().iter().map(|request| words(&request.message)).collect();
    assert!(told[0].starts_with("🟠 phase2-raw could not be evaluated"), "the round was first: {told:?}");
    assert_eq!(told.iter().filter(|text| text.contains("phase2-raw")).count(), 1, "{told:?}");
}

/// That no data can make a check fail is told once: its runs are evaluated, and pass.
#[test]
fn that_a_check_cannot_fail_is_told_once() {
    let lax = "[checks.lax]\nplugin = \"phase2-raw\"\nsettings = { min_games = 0, min_player_records = 1 }\n";
    let mut morning = Morning::new(None, "");
    morning.sample.configure(&format!("validate_schedule = \"{DAILY}\"\n{HOST_TOML}\n{lax}")).unwrap();
    let told = morning.round(&["lax"]);
    let why = "lax: it cannot fail: games must be at least 0, and every simulated result meets that";
    assert!(told.len() == 1 && told[0].starts_with(&format!("🟠 lax cannot be trusted {why}")), "{told:?}");
    assert!(!told[0].contains("evaluated"), "{told:?}");
    let later: Vec<String> = (1..=9).flat_map(|_| morning.round(&["lax"])).collect();
    assert_eq!(later, Vec::<String>::new());
    let history = morning.host(&["history", "lax"]).out;
    assert!(!history.contains("not evaluated") && !history.contains("ALERT"), "{history}");

    // A validation that finds no table cannot tell, and the next one finds nothing new.
    let dataset = morning.sample.path().join("warehouse/nba_raw.db");
    let away = dataset.with_extension("away");
    fs::rename(&dataset, &away).unwrap();
    morning.sample.configure(&format!("validate_schedule = \"{DAILY}\"\n{HOST_TOML}\n{lax}# away\n")).unwrap();
    let told = morning.round(&["lax"]);
    assert!(told.len() == 1 && told[0].contains("Could not be evaluated lax: there is no dataset"), "{told:?}");
    fs::rename(&away, &dataset).unwrap();
    morning.sample.configure(&format!("validate_schedule = \"{DAILY}\"\n{HOST_TOML}\n{lax}# back\n")).unwrap();
    let told = morning.round(&["lax"]);
    assert!(told.iter().all(|text| !text.contains("cannot be trusted")), "{told:?}");
}

/// After an alert is over, the history still has the reason why nobody was told.
#[test]
fn the_reason_why_nobody_was_told_outlives_the_alert() {
    let pair = Pair::new(&Terms { channel: "#down", ..Terms::default() });
    assert_eq!(pair.run("06T10:00", &["down"]), []);
    assert_eq!(pair.sample.host(&["silence", "down", "--for", "4h", "--why", "loaded again"]).unwrap().code, 0);
    let mut seen = Vec::new();
    for (time, good) in [("06T10:30", false), ("06T11:00", true)] {
        pair.set("down", good);
        assert_eq!(pair.run(time, &["down"]), [], "{time}");
        seen.push(pair.history("down"));
    }
    for history in seen {
        assert!(history.contains("0 < 1 (no alert of its own; silence 1: loaded again)"), "{history}");
    }

    let mut morning = Morning::new(Some(Fault::NullNames), "[checks.phase2-raw.alerts]\nconfirm = 3");
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new());
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new());
    morning.sql(REPAIRED);
    assert_eq!(morning.round(&["phase2-raw"]), Vec::<String>::new());
    let history = morning.host(&["history", "phase2-raw"]).out;
    assert!(history.contains("3 > 0 (no alert of its own; not confirmed: 2 of 3 results)"), "{history}");
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
        let batch = Batch { messages: vec![message], recorded: Timestamp::now(), ..Batch::default() };
        record.keep(&batch).await.unwrap();
        delivery.wake();
        delivery.close();
        tokio::time::timeout(Duration::from_secs(20), sending).await.unwrap();
        let waiting = record.waiting().await.unwrap();
        assert!(waiting.is_empty(), "after {steps} steps: {waiting:?}");
    }
}

/// A failure about which nobody is sent a message is said to be so, with the reason.
#[test]
fn a_failure_that_is_not_told_says_why() {
    let sample = Sample::new(Some(Fault::NullNames)).unwrap();
    let run = |date: &[&str]| {
        let mut command = sample.command();
        command.args(["run", "--once", "--check", "phase2-raw", "--at", AT]).args(date).args(shipped().unwrap());
        ended(&mut command).unwrap()
    };
    let past = run(&["--date", "2026-02-04"]);
    sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = NULL").unwrap();
    let (told, now) = (run(&["--date", "2026-02-03"]), run(&[]));
    assert_eq!((past.code, told.code, now.code), (0, 2, 2), "{past:?} {told:?} {now:?}");
    assert_eq!(sample.slack.received().len(), 1);
    let why =
        "no alert sent for phase2-raw: told later: another date of the check was told less than a repeat_interval ago";
    assert!(now.err.contains(why) && !told.err.contains("no alert sent"), "{told:?} {now:?}");
}
