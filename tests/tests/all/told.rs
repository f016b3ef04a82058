//! Nothing false is told and nothing is left out: recoveries, moved and removed checks, dependencies, reasons.

use std::path::PathBuf;

use host_tests::{Fault, HOST_TOML};

use super::alerting::{Morning, REPAIRED};
use crate::support::{
    command::{Sample, ended, shipped},
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
