//! Checks that depend on each other: each channel hears of a failing downstream check once, of what becomes worse, and of the
//! end; and no result is told as present that is not.

use crate::support::{
    command::{Sample, ended, shipped},
    slack::words,
};

/// The two checks of a [`Pair`].
pub(super) struct Terms<'t> {
    /// The channel of `down`.
    pub(super) channel: &'t str,
    /// The schedule of `up`.
    pub(super) schedule: &'t str,
    /// The schedule of `down`.
    pub(super) below: &'t str,
    /// Whether `down` depends on `up`.
    pub(super) depends: bool,
    /// The limits of `down`.
    pub(super) limits: &'t str,
    /// When the checks are validated.
    pub(super) validated: &'t str,
    /// More settings of `up`, of `down`, and at the end.
    pub(super) more: [&'t str; 3],
}

impl Default for Terms<'_> {
    fn default() -> Self {
        let limits = "row_count = { min = 1 }";
        let (schedule, below) = ("*/30 * * * *", "*/30 * * * *");
        Self { channel: "#up", schedule, below, depends: true, limits, validated: "never", more: [""; 3] }
    }
}

/// Two tables, and a check of each: `down` depends on `up`, whose channel is `#up`.
pub(super) struct Pair {
    pub(super) sample: Sample,
}

impl Pair {
    pub(super) fn new(terms: &Terms<'_>) -> Self {
        let pair = Self { sample: Sample::new(None).unwrap() };
        pair.sql("CREATE TABLE up (n); CREATE TABLE down (n)");
        pair.configure(terms);
        pair.set("up", true);
        pair.set("down", true);
        pair
    }

    pub(super) fn configure(&self, terms: &Terms<'_>) {
        let check = |name: &str, schedule: &str, channel: &str, limits: &str, more: &str| {
            format!(
                "[checks.{name}]\nplugin = 'canary-sql'\ndates = 'now'\nschedule = '{schedule}'\nchannel = '{channel}'\n\
                 settings = {{ table = 'nba_raw.{name}', {limits} }}\n{more}\n"
            )
        };
        let Terms { channel, schedule, below, depends, limits, validated, more: [of_up, of_down, end] } = terms;
        let depends = if *depends { "depends_on = ['up']\n" } else { "" };
        let up = check("up", schedule, "#up", "row_count = { min = 1 }", of_up);
        let down = check("down", below, channel, limits, &format!("{depends}{of_down}"));
        let toml = format!(
            "timezone = 'UTC'\nvalidate_schedule = '{validated}'\n[warehouse]\nkind = 'sqlite'\npath = 'warehouse'\n[alerts]\nconfirm_errors = 1\n\
             [grants.canary-sql]\nwarehouse = ['nba_raw']\n{up}{down}{end}"
        );
        self.sample.configure(&toml).unwrap();
    }

    pub(super) fn sql(&self, sql: &str) {
        self.sample.sql("nba_raw", sql).unwrap();
    }

    /// Makes the data of a check good or bad.
    pub(super) fn set(&self, check: &str, good: bool) {
        let sql = if good { format!("INSERT INTO {check} VALUES (1)") } else { format!("DELETE FROM {check}") };
        self.sql(&sql);
    }

    /// Runs checks, and returns the messages to each channel.
    pub(super) fn run(&self, day_and_time: &str, checks: &[&str]) -> Vec<(String, String)> {
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

    pub(super) fn history(&self, check: &str) -> String {
        self.sample.host(&["history", check]).unwrap().out
    }
}

/// What the messages of a round tell a channel of the failing check `down`, everything counted.
fn heard_of_down(messages: &[(String, String)], channel: &str) -> Vec<&'static str> {
    let mut heard = Vec::new();
    for (_, text) in messages.iter().filter(|(to, _)| to == channel.trim_start_matches('#')) {
        for (sign, word) in [
            ("Also not well downstream down: ", "listed"),
            ("Held back down: ", "held"),
            ("Also not well down: ", "line"),
            ("Still not well down: not well, and depends on up, which has recovered: ", "still"),
            ("Still not well down: still ", "moved"),
            ("down: recovered after ", "recovered"),
            // Only an alert has the steps with its query.
            ("nba_raw.down", "alert"),
        ] {
            heard.extend(text.contains(sign).then_some(word));
        }
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
                let pair = Pair::new(&Terms { channel, ..Terms::default() });
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
                let root = "It depends on up, which is not well either and is reported in #up.";
                let own = told.iter().any(|(to, text)| to == channel.trim_start_matches('#') && text.contains(root));
                assert_eq!(own, upstream == "bad" && channel == "#down", "{case}: {told:?}");
                if upstream == "silenced" {
                    let why = "it depends on up, which is not well either and is silenced (silence 1: loaded again)";
                    assert!(told.len() == 1 && told[0].1.contains(why), "{case}: {told:?}");
                    let history = pair.history("down");
                    assert!(history.contains("no alert of its own; told in one line: up, which it depends on, is silenced (silence 1: loaded again)"), "{history}");
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

/// The upstream runs once a day: it speaks for what depends on it until its next due time, not for `repeat_interval`. What
/// breaks after its message gets one line at once, and its end is told.
#[test]
fn a_daily_upstream_speaks_until_it_is_due_again() {
    let pair = Pair::new(&Terms { schedule: "0 6 * * *", ..Terms::default() });
    assert_eq!(pair.run("05T06:00", &["up", "down"]), []);
    pair.set("up", false);
    assert!(pair.run("06T06:00", &["up"])[0].1.starts_with("🔴"));
    pair.set("down", false);
    let told = pair.run("06T07:00", &["down"]);
    assert_eq!(heard_of_down(&told, "#up"), ["line"], "{told:?}");
    let line =
        "down: row_count is below its minimum: 0 < 1; it depends on up, which was reported at 2026-02-06 06:00 UTC";
    assert!(told[0].1.starts_with("🔴 down: not well either") && told[0].1.contains(line), "{told:?}");
    for time in ["06T15:00", "07T05:30"] {
        assert_eq!(pair.run(time, &["down"]), [], "{time}");
    }
    let history = pair.history("down");
    let why = "no alert of its own; told in one line: up, which it depends on, was reported before it";
    assert!(history.contains(why), "{history}");
    pair.set("down", true);
    assert_eq!(heard_of_down(&pair.run("07T05:40", &["down"]), "#up"), ["recovered"]);
    assert!(pair.history("down").contains(why), "the reason stays");
    pair.set("down", false);
    assert_eq!(heard_of_down(&pair.run("07T05:50", &["down"]), "#up"), ["line"]);
    // It is due, and does not run any more.
    let told = pair.run("07T06:30", &["down"]);
    assert_eq!(heard_of_down(&told, "#up"), ["alert"], "{told:?}");
}

/// A daily check that is not due in a round is listed with the time and the date of its last result, and is not counted among
/// the checks of the round.
#[test]
fn a_check_that_is_not_due_is_listed_with_its_last_result() {
    let pair = Pair::new(&Terms { channel: "#down", below: "0 6 * * *", ..Terms::default() });
    pair.set("down", false);
    let told = pair.run("06T06:00", &["up", "down"]);
    assert_eq!(heard_of_down(&told, "#down"), ["alert"], "{told:?}");
    pair.set("up", false);
    let told = pair.run("07T00:30", &["up"]);
    let last = "row_count is below its minimum: 0 < 1 (last checked at 2026-02-06 06:00 UTC, data of 2026-02-05)";
    let [(channel, text)] = told.as_slice() else { panic!("{told:?}") };
    assert!(channel == "up" && text.contains(&format!("Also not well downstream down: {last}")), "{text}");
    assert!(text.starts_with("🔴 up up: ") && text.contains("Data of 2026-02-06."), "one check was due: {text}");
}

/// What breaks while its upstream flaps, whose changes are not told, is told of its own, and so is its end.
#[test]
fn a_flapping_upstream_holds_nothing_back() {
    let pair = Pair::new(&Terms::default());
    let both = ["up", "down"];
    let at = |round: usize| format!("06T{:02}:{:02}", 8 + round / 2, round % 2 * 30);
    for round in 0..8 {
        pair.set("up", round % 2 == 0);
        let told = pair.run(&at(round), &both);
        assert_eq!(told.iter().any(|(_, text)| text.contains("(flapping)")), round == 5, "{round}: {told:?}");
    }
    pair.set("down", false);
    for (round, expected) in [(8, &["alert"][..]), (9, &[]), (10, &[])] {
        pair.set("up", round % 2 == 0);
        let told = pair.run(&at(round), &both);
        assert_eq!(heard_of_down(&told, "#up"), expected, "{round}: {told:?}");
    }
    pair.set("down", true);
    pair.set("up", false);
    assert_eq!(heard_of_down(&pair.run(&at(11), &both), "#up"), ["recovered"]);
}

/// While the upstream fails, a worse state and a new violation of the downstream are told to every channel that knows of it.
#[test]
fn a_worse_state_is_told_while_the_upstream_fails() {
    let both = ["up", "down"];
    let worse = "row_count = { min = 1, warn_min = 3 }";
    let pair = Pair::new(&Terms { channel: "#down", limits: worse, ..Terms::default() });
    pair.sql("INSERT INTO down VALUES (1), (1), (1)");
    assert_eq!(pair.run("06T10:00", &both), []);
    pair.set("up", false);
    pair.run("06T10:30", &both);
    pair.sql("DELETE FROM down WHERE rowid > 1");
    let warned = pair.run("06T11:00", &both);
    assert_eq!((heard_of_down(&warned, "#down"), warned.len()), (vec!["alert"], 1), "{warned:?}");
    assert!(warned[0].1.starts_with("🟠"), "{warned:?}");
    pair.set("down", false);
    let failed = pair.run("06T11:30", &both);
    assert_eq!((heard_of_down(&failed, "#down"), failed.len()), (vec!["alert"], 1), "{failed:?}");
    assert!(failed[0].1.starts_with("🔴") && failed[0].1.contains("Previously warning."), "{failed:?}");
    assert_eq!(pair.run("06T12:00", &both), [], "once");

    let points = "null_percent = { n = 0 }, unique = ['n']";
    let pair = Pair::new(&Terms { channel: "#down", limits: points, ..Terms::default() });
    assert_eq!(pair.run("06T10:00", &both), []);
    pair.set("up", false);
    pair.sql("INSERT INTO down VALUES (NULL)");
    let told = pair.run("06T10:30", &both);
    assert_eq!((heard_of_down(&told, "#up"), heard_of_down(&told, "#down")), (vec!["listed"], vec!["alert"]));
    pair.sql("INSERT INTO down VALUES (1), (1)");
    let told = pair.run("06T11:00", &both);
    assert_eq!(heard_of_down(&told, "#down"), ["alert"], "{told:?}");
    let text = &told.iter().find(|(to, _)| to == "down").unwrap().1;
    assert!(text.contains("New: duplicates_n.") && !text.contains("Previously"), "the severity is the same: {text}");
    assert_eq!(pair.run("06T11:30", &both), [], "once");
}

/// A check that moves into the channel of its failing upstream is told there, and so is its recovery.
#[test]
fn a_channel_that_moved_while_the_upstream_fails_hears_the_end() {
    let both = ["up", "down"];
    let pair = Pair::new(&Terms { channel: "#down", ..Terms::default() });
    assert_eq!(pair.run("06T10:00", &both), []);
    pair.set("up", false);
    pair.run("06T10:30", &both);
    pair.set("down", false);
    assert_eq!(heard_of_down(&pair.run("06T11:00", &both), "#down"), ["alert"]);
    pair.configure(&Terms::default());
    let moved = pair.run("06T11:30", &both);
    assert_eq!(
        (heard_of_down(&moved, "#down"), heard_of_down(&moved, "#up")),
        (vec!["moved"], vec!["line"]),
        "{moved:?}"
    );
    pair.set("down", true);
    pair.set("up", true);
    let over = pair.run("06T12:00", &both);
    assert_eq!((heard_of_down(&over, "#up"), heard_of_down(&over, "#down")), (vec!["recovered"], vec![]), "{over:?}");
}

/// A result that is not the present state is not listed as one: after an error, and after weeks of skips.
#[test]
fn no_old_result_is_listed() {
    let both = ["up", "down"];
    let off = "[calendars.off]\neffect = 'skip'\nchecks = ['down']\ndates = ['02-06..02-28']\nwhy = 'no games'\n";
    for (why, more, days) in
        [("an error", "", ["06T11:00", "06T12:00", "06T12:30"]), ("skips", off, ["08T11:00", "25T12:00", "25T12:30"])]
    {
        let pair = Pair::new(&Terms { channel: "#down", more: ["", "", more], ..Terms::default() });
        assert_eq!(pair.run("06T10:00", &both), [], "{why}");
        pair.set("down", false);
        assert_eq!(heard_of_down(&pair.run("06T10:30", &both), "#down"), ["alert"], "{why}");
        if more.is_empty() {
            pair.sql("ALTER TABLE down RENAME TO gone");
        }
        for (time, up) in days.into_iter().zip([true, false, true]) {
            pair.set("up", up);
            let told = pair.run(time, &both);
            assert_eq!(heard_of_down(&told, "#up"), [""; 0], "{why}: {told:?}");
            assert_eq!(told.iter().any(|(to, _)| to == "up"), time != days[0], "{why}: {told:?}");
        }
    }
}

/// Once host.toml says so, a check depends on nothing, whatever it waited for.
#[test]
fn what_no_longer_depends_is_told_of_its_own() {
    let both = ["up", "down"];
    let pair = Pair::new(&Terms::default());
    assert_eq!(pair.run("06T10:00", &both), []);
    pair.set("up", false);
    pair.run("06T10:30", &both);
    pair.set("down", false);
    assert_eq!(heard_of_down(&pair.run("06T11:00", &both), "#up"), ["line"]);
    pair.configure(&Terms { depends: false, ..Terms::default() });
    pair.set("up", true);
    let told = pair.run("06T11:30", &both);
    assert_eq!(heard_of_down(&told, "#up"), ["alert"], "{told:?}");
    assert!(!told[0].1.contains("depends on"), "{told:?}");
}

/// A bad result that is not confirmed is not listed, and so nothing recovers from it.
#[test]
fn an_unconfirmed_result_is_not_listed() {
    let both = ["up", "down"];
    let pair = Pair::new(&Terms { channel: "#down", more: ["", "alerts = { confirm = 3 }", ""], ..Terms::default() });
    assert_eq!(pair.run("06T10:00", &both), []);
    pair.set("up", false);
    pair.set("down", false);
    let told = pair.run("06T10:30", &both);
    assert!(told.len() == 1 && heard_of_down(&told, "#up").is_empty(), "{told:?}");
    pair.set("down", true);
    assert_eq!(pair.run("06T11:00", &both), []);
    assert!(pair.history("down").contains("no alert of its own; not confirmed: 1 of 3 results"));
}

/// No channel is told twice of one failure: neither when the upstream is confirmed later, nor by one error of the upstream.
#[test]
fn no_channel_is_told_twice() {
    let both = ["up", "down"];
    let pair = Pair::new(&Terms { more: ["alerts = { confirm = 2 }", "", ""], ..Terms::default() });
    assert_eq!(pair.run("06T10:00", &both), []);
    pair.set("up", false);
    pair.set("down", false);
    assert_eq!(heard_of_down(&pair.run("06T10:30", &both), "#up"), ["alert"]);
    let confirmed = pair.run("06T11:00", &both);
    assert!(confirmed.len() == 1 && heard_of_down(&confirmed, "#up").is_empty(), "{confirmed:?}");

    let pair = Pair::new(&Terms { more: ["alerts = { confirm_errors = 2 }", "", ""], ..Terms::default() });
    assert_eq!(pair.run("06T10:00", &both), []);
    pair.set("up", false);
    pair.set("down", false);
    assert_eq!(heard_of_down(&pair.run("06T10:30", &both), "#up"), ["listed"]);
    pair.sql("ALTER TABLE up RENAME TO gone");
    assert_eq!(pair.run("06T11:00", &both), [], "one error may be a hiccup");
    let told = pair.run("06T11:30", &both);
    assert_eq!(heard_of_down(&told, "#up"), ["alert"], "two are not: {told:?}");
}

/// The upstream recovers a round before its downstream: that is listed as open in between, and is no new alert.
#[test]
fn a_downstream_that_follows_a_round_later_is_not_new_in_between() {
    let pair = Pair::new(&Terms::default());
    let both = ["up", "down"];
    assert_eq!(pair.run("06T10:00", &both), []);
    pair.set("up", false);
    assert_eq!(pair.run("06T10:30", &both).len(), 1);
    // After it was told, so that no message lists it.
    pair.set("down", false);
    assert_eq!(heard_of_down(&pair.run("06T11:00", &both), "#up"), ["line"]);
    pair.set("up", true);
    let between = pair.run("06T11:30", &both);
    assert_eq!(between.len(), 1);
    let text = &between[0].1;
    assert!(text.starts_with("🔵 up recovered") && text.contains("Resolved up: recovered after 1 h"), "{text}");
    assert!(text.contains("Still not well down: not well, and depends on up, which has recovered: "), "{text}");
    pair.set("down", true);
    let over = pair.run("06T12:00", &both);
    assert!(over[0].1.starts_with("✅ down recovered"), "{over:?}");
    let history = pair.history("down");
    assert!(history.contains("told in one line: up, which it depends on, was reported before it"), "{history}");

    // And when it does not follow, it is an alert of its own a round later.
    pair.set("up", false);
    pair.set("down", false);
    assert_eq!(heard_of_down(&pair.run("06T18:00", &both), "#up"), ["listed"]);
    pair.set("up", true);
    let between = pair.run("06T18:30", &both);
    assert_eq!(heard_of_down(&between, "#up"), ["still"], "{between:?}");
    let own = pair.run("06T19:00", &both);
    assert_eq!(heard_of_down(&own, "#up"), ["alert"], "{own:?}");
    pair.set("down", true);
    assert!(pair.run("06T19:30", &both)[0].1.starts_with("✅ down recovered"));
}
