//! Tables of due times: what runs when clocks change, when the host was down, when a run takes long.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn plan(cron: &str, zone: &str) -> Plan {
    Plan {
        schedule: Cron::new(cron).expect("a schedule"),
        zone: Zone::new(zone).expect("a zone"),
        overlap: Overlap::Skip,
        missed: Missed::CatchUp,
    }
}

fn agenda(plan: Plan, last: Option<&str>, now: &str) -> Agenda {
    Agenda::new([("check".to_owned(), plan)].into(), |_| last.map(at), at(now))
}

/// The runs between two moments, checked at an interval; each run ends at once.
fn ran(agenda: &mut Agenda, from: &str, to: &str, step: i64) -> Vec<String> {
    let (mut now, mut ran) = (at(from), Vec::new());
    while now <= at(to) {
        for turn in agenda.take(now).0.into_iter().filter(|turn| turn.left_out.is_none()) {
            ran.push(turn.due.to_string());
            agenda.ended(&turn.check);
        }
        now += SignedDuration::from_secs(step);
    }
    ran
}

#[test]
fn due_times_are_kept_when_clocks_change() {
    // Schedule, zone, from, to, what runs.
    let cases: &[(&str, &str, &str, &str, &[&str])] = &[
        // New York springs forward on 2026-03-08: 02:00 EST (07:00Z) is 03:00 EDT. What is due in the hour that is not
        // there runs when it would have begun.
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            "2026-03-09T12:00:00Z",
            &["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
        ),
        (
            "*/30 * * * *",
            "America/New_York",
            "2026-03-08T06:15:00Z",
            "2026-03-08T08:15:00Z",
            &["2026-03-08T06:30:00Z", "2026-03-08T07:00:00Z", "2026-03-08T07:30:00Z", "2026-03-08T08:00:00Z"],
        ),
        // It falls back on 2026-11-01: 02:00 EDT (06:00Z) is 01:00 EST. A time of day runs once, an interval continues.
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            "2026-11-02T12:00:00Z",
            &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
        ),
        (
            "*/30 * * * *",
            "America/New_York",
            "2026-11-01T04:45:00Z",
            "2026-11-01T07:15:00Z",
            &[
                "2026-11-01T05:00:00Z",
                "2026-11-01T05:30:00Z",
                "2026-11-01T06:00:00Z",
                "2026-11-01T06:30:00Z",
                "2026-11-01T07:00:00Z",
            ],
        ),
        // Two hours, counted by the clock on the wall: 02:00 EST on that day is 07:00Z.
        (
            "0 */2 * * *",
            "America/New_York",
            "2026-11-01T03:30:00Z",
            "2026-11-01T09:30:00Z",
            &["2026-11-01T04:00:00Z", "2026-11-01T07:00:00Z", "2026-11-01T09:00:00Z"],
        ),
        // Lord Howe moves by half an hour: 02:00 (15:30Z the day before) becomes 02:30 on 2026-10-04.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-02T16:00:00Z",
            "2026-10-05T16:00:00Z",
            &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z", "2026-10-05T15:15:00Z"],
        ),
        // Leap days, and months that have no 31st.
        ("0 12 29 2 *", "UTC", "2027-01-01T00:00:00Z", "2028-12-31T00:00:00Z", &["2028-02-29T12:00:00Z"]),
        (
            "0 12 31 * *",
            "UTC",
            "2028-02-01T00:00:00Z",
            "2028-06-01T00:00:00Z",
            &["2028-03-31T12:00:00Z", "2028-05-31T12:00:00Z"],
        ),
        // The plugins' own.
        (
            "30 6 * * *",
            "America/New_York",
            "2026-03-07T00:00:00Z",
            "2026-03-08T23:00:00Z",
            &["2026-03-07T11:30:00Z", "2026-03-08T10:30:00Z"],
        ),
    ];
    for (cron, zone, from, to, expected) in cases {
        let mut agenda = agenda(plan(cron, zone), None, from);
        assert_eq!(ran(&mut agenda, from, to, 15 * 60), *expected, "{cron} in {zone}");
    }
}

/// One turn after a pause: the due times, and why they did not run.
fn after_a_pause(missed: Missed, last: &str, now: &str) -> Vec<(String, Option<String>)> {
    let plan = Plan { missed, ..plan("*/30 * * * *", "America/New_York") };
    let mut agenda = agenda(plan, Some(last), now);
    agenda.take(at(now)).0.into_iter().map(|turn| (turn.due.to_string(), turn.left_out)).collect()
}

#[test]
fn what_was_missed_is_caught_up_once_and_said() {
    let down = "the host was down, or the machine asleep";
    // Nothing was missed.
    assert_eq!(after_a_pause(Missed::CatchUp, "2026-02-06T11:30:00Z", "2026-02-06T11:45:00Z"), []);
    // In time: not missed.
    let on_time = vec![("2026-02-06T12:00:00Z".to_owned(), None)];
    assert_eq!(after_a_pause(Missed::CatchUp, "2026-02-06T11:30:00Z", "2026-02-06T12:00:30Z"), on_time);
    assert_eq!(after_a_pause(Missed::Skip, "2026-02-06T11:30:00Z", "2026-02-06T12:00:30Z"), on_time);
    // One was missed.
    assert_eq!(after_a_pause(Missed::CatchUp, "2026-02-06T11:30:00Z", "2026-02-06T12:10:00Z"), on_time);
    assert_eq!(
        after_a_pause(Missed::Skip, "2026-02-06T11:30:00Z", "2026-02-06T12:10:00Z"),
        [("2026-02-06T12:00:00Z".to_owned(), Some(format!("missed: {down}")))]
    );
    // Several were missed: the newest runs, and the others are reported.
    let four = |until: &str, count: usize| {
        Some(format!("missed: {count} due times from 2026-02-06T12:00:00Z to {until}; {down}"))
    };
    assert_eq!(
        after_a_pause(Missed::CatchUp, "2026-02-06T11:30:00Z", "2026-02-06T14:10:00Z"),
        [
            ("2026-02-06T13:30:00Z".to_owned(), four("2026-02-06T13:30:00Z", 4)),
            ("2026-02-06T14:00:00Z".to_owned(), None),
        ]
    );
    assert_eq!(
        after_a_pause(Missed::Skip, "2026-02-06T11:30:00Z", "2026-02-06T14:10:00Z"),
        [("2026-02-06T14:00:00Z".to_owned(), four("2026-02-06T14:00:00Z", 5)),]
    );
}

/// A laptop that slept: the same host looks again much later.
#[test]
fn a_machine_that_slept_goes_on_where_it_is_now() {
    let mut agenda = agenda(plan("*/30 * * * *", "UTC"), None, "2026-02-06T11:45:00Z");
    assert_eq!(agenda.take(at("2026-02-06T12:00:01Z")).0.len(), 1);
    assert_eq!(agenda.ended("check"), None);
    let (turns, _) = agenda.take(at("2026-02-09T08:10:00Z"));
    let dues: Vec<String> = turns.iter().map(|turn| turn.due.to_string()).collect();
    assert_eq!(dues, ["2026-02-09T07:30:00Z", "2026-02-09T08:00:00Z"]);
    assert!(turns[0].left_out.as_ref().is_some_and(|why| why.starts_with("missed: 135 due times")), "{turns:?}");
    assert_eq!(turns[1].left_out, None);
    assert_eq!(agenda.next(), Some(at("2026-02-09T08:30:00Z")));
}

/// A machine that was off for a decade does not count through five million minutes.
#[test]
fn years_are_not_counted_through() {
    let mut agenda =
        agenda(plan("* * * * *", "America/New_York"), Some("2016-02-06T12:00:00Z"), "2026-02-06T12:00:30Z");
    let (turns, _) = agenda.take(at("2026-02-06T12:00:30Z"));
    assert_eq!(turns.len(), 2);
    assert!(
        turns[0].left_out.as_ref().is_some_and(|why| why.starts_with("missed: more than 2000 due times")),
        "{turns:?}"
    );
    assert_eq!((turns[1].due, &turns[1].left_out), (at("2026-02-06T12:00:00Z"), &None));
}

#[test]
fn a_clock_that_is_set_back_keeps_no_check_away() {
    let mut agenda = agenda(plan("0 * * * *", "UTC"), None, "2027-02-06T11:45:00Z");
    // The machine's clock was a year ahead, until it asked a server.
    let (turns, back) = agenda.take(at("2026-02-06T11:45:00Z"));
    assert_eq!((turns.len(), back), (0, Some(SignedDuration::from_hours(365 * 24))));
    assert_eq!(agenda.next(), Some(at("2026-02-06T12:00:00Z")));
    // A slightly slewed clock is not reported, and nothing runs twice.
    assert_eq!(agenda.take(at("2026-02-06T12:00:00Z")).0.len(), 1);
    agenda.ended("check");
    assert_eq!(agenda.take(at("2026-02-06T11:59:58Z")), (vec![], None));
    assert_eq!(agenda.take(at("2026-02-06T12:00:01Z")), (vec![], None));
    // Do not wait for a recorded due time in the future.
    let agenda = Agenda::new(
        [("check".to_owned(), plan("0 * * * *", "UTC"))].into(),
        |_| Some(at("2030-01-01T00:00:00Z")),
        at("2026-02-06T12:10:00Z"),
    );
    assert_eq!(agenda.next(), Some(at("2026-02-06T13:00:00Z")));
}

#[test]
fn a_check_never_runs_beside_itself() {
    for (overlap, expected) in [
        (Overlap::Skip, vec!["12:00 runs", "12:30 left out", "13:00 left out"]),
        (Overlap::Queue, vec!["12:00 runs", "12:30 left out", "13:00 runs"]),
    ] {
        let mut agenda = agenda(Plan { overlap, ..plan("*/30 * * * *", "UTC") }, None, "2026-02-06T11:45:00Z");
        let mut said = Vec::new();
        let mut say = |turns: Vec<Turn>| {
            said.extend(turns.into_iter().map(|turn| {
                let what = if turn.left_out.is_some() { "left out" } else { "runs" };
                format!("{} {what}", turn.due.strftime("%H:%M"))
            }));
        };
        for minute in ["12:00", "12:30", "13:00"] {
            say(agenda.take(at(&format!("2026-02-06T{minute}:00Z"))).0);
        }
        say(agenda.ended("check").into_iter().collect());
        say(agenda.ended("check").into_iter().collect());
        assert_eq!(said, expected);
        assert_eq!(agenda.take(at("2026-02-06T13:30:00Z")).0.len(), 1, "it is free again");
    }
}

#[test]
fn a_change_of_one_schedule_leaves_the_others() {
    let plans = |gate: &str| {
        BTreeMap::from([
            ("canary".to_owned(), plan("*/30 * * * *", "UTC")),
            ("gate".to_owned(), plan(gate, "America/New_York")),
        ])
    };
    let mut agenda = Agenda::new(plans("30 6 * * *"), |_| None, at("2026-02-06T11:15:00Z"));
    assert_eq!(agenda.take(at("2026-02-06T11:30:00Z")).0.len(), 2);
    agenda.change(plans("45 6 * * *"), at("2026-02-06T11:31:00Z"));
    assert_eq!(agenda.next_of("canary"), Some(at("2026-02-06T12:00:00Z")));
    assert_eq!(agenda.next_of("gate"), Some(at("2026-02-06T11:45:00Z")));
    // Both still run, and are not started a second time.
    let (turns, _) = agenda.take(at("2026-02-06T12:00:00Z"));
    assert!(turns.iter().all(|turn| turn.left_out.is_some()), "{turns:?}");
    // A check that is removed while running and added again is still running.
    agenda.change(BTreeMap::new(), at("2026-02-06T12:01:00Z"));
    assert_eq!(agenda.next(), None);
    agenda.change(plans("30 6 * * *"), at("2026-02-06T12:02:00Z"));
    assert!(agenda.take(at("2026-02-06T12:30:00Z")).0[0].left_out.is_some());
    agenda.ended("canary");
    assert_eq!(agenda.take(at("2026-02-06T13:00:00Z")).0[0].left_out, None);
}

#[test]
fn jitter_is_the_same_each_time_and_within_its_bound() {
    let most = Duration::from_secs(60);
    let spread: Vec<Duration> = (0..1000).map(|n| jitter(&format!("check-{n}"), Timestamp::UNIX_EPOCH, most)).collect();
    assert!(spread.iter().all(|jitter| *jitter < most));
    assert_eq!(spread[7], jitter("check-7", Timestamp::UNIX_EPOCH, most));
    let early = spread.iter().filter(|jitter| **jitter < most / 2).count();
    assert!((400..600).contains(&early), "{early} of 1000 in the first half");
    assert_eq!(jitter("check", Timestamp::UNIX_EPOCH, Duration::ZERO), Duration::ZERO);
}
