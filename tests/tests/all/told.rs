//! Nothing false is told and nothing is left out: recoveries, moved and removed checks, dependencies, reasons.

use host_tests::{Fault, HOST_TOML};

use super::alerting::{Morning, REPAIRED};
use crate::support::slack::words;

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
