//! One of several hosts is killed at each step from its claim to Slack's receipt; the next host tells what is wrong.

use std::time::Duration;

use crate::{
    fleet::{TAKEN_OVER, count, join},
    support::{
        command::{Sample, ended},
        postgres::{Postgres, VARIABLE},
        service::install_files,
        slack::{OK, Reply},
        watched::plugin,
    },
};

const RECORDED: &str = "SELECT COUNT(*) FROM runs WHERE check_name = 'a' AND NOT left_out";
const RECEIPTS: &str = "SELECT COUNT(*) FROM receipts";
const WAITING: &str = "SELECT COUNT(*) FROM outbox WHERE state <> 'delivered'";
const TWICE: &str =
    "SELECT COUNT(*) FROM (SELECT check_name, due FROM runs GROUP BY 1, 2 HAVING COUNT(*) > 1) AS twice";

/// Checks whose data is bad, due every minute.
pub(crate) fn failing_sample(names: &[&str], more: &str) -> Sample {
    let check = |name: &&str| {
        format!(
            "[checks.{name}]\nplugin = \"canary-sql\"\nschedule = \"* * * * *\"\n\
             settings = {{ sql = \"SELECT 1 AS bad\", thresholds = {{ bad = {{ max = 0 }} }} }}\n"
        )
    };
    let checks: String = names.iter().map(check).collect();
    let sample = Sample::now(None).unwrap();
    sample
        .configure(&format!(
            "timezone = \"UTC\"\n[slack]\ndeliver = \"webhook\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n\
             [state]\nurl_env = \"{VARIABLE}\"\n[grants.canary-sql]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n\
             {checks}{more}\n[web]\nlisten = \"127.0.0.1:0\"\n"
        ))
        .unwrap();
    install_files(&sample, &[plugin("canary-sql")]).unwrap();
    sample
}

/// Where the first host is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Its claim is written, and not committed.
    Claim,
    /// Its run is written, and not committed.
    Record,
    /// The message is recorded, and Slack has not read it.
    Send,
    /// Slack has read it, and has not answered.
    Answer,
    /// Slack has answered, and that is not committed.
    Receipt,
}

#[test]
fn a_host_that_is_killed_at_any_step_loses_nothing() {
    let steps = [Step::Claim, Step::Record, Step::Send, Step::Answer, Step::Receipt];
    std::thread::scope(|scope| steps.iter().for_each(|step| drop(scope.spawn(|| killed_at(*step)))));
}

fn killed_at(step: Step) {
    let server = Postgres::start().unwrap();
    let sample = failing_sample(&["a"], "");
    let first = join(&sample, &server.url());
    let stalled = match step {
        Step::Claim => Some(("claims", "INSERT OR UPDATE", "NEW.key = 'check a'")),
        Step::Record => Some(("runs", "INSERT", "TRUE")),
        Step::Receipt => Some(("receipts", "INSERT", "TRUE")),
        Step::Send | Step::Answer => None,
    };
    match step {
        Step::Send => sample.slack.answer(Reply::Unread),
        Step::Answer => sample.slack.answer(Reply::Hang),
        Step::Claim | Step::Record | Step::Receipt => {}
    }
    if let Some(stalled) = stalled {
        server.stall(stalled).unwrap();
    }
    first.wait_until(&format!("{step:?}"), 150, |_| match step {
        Step::Claim | Step::Record | Step::Receipt => server.has_stalled().unwrap(),
        Step::Send => sample.slack.connections() > 0,
        Step::Answer => !sample.slack.requests().is_empty(),
    });
    first.host.signal("KILL").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    if let Some((table, ..)) = stalled {
        server.go_on(table).unwrap();
    }
    sample.slack.answer(OK);
    assert_eq!(count(&server, RECORDED), i64::from(!matches!(step, Step::Claim | Step::Record)), "{step:?}");
    assert_eq!(count(&server, RECEIPTS), 0, "{step:?}");
    let next = join(&sample, &server.url());
    next.wait_until(&format!("{step:?}: it is told"), TAKEN_OVER + 150, |_| {
        count(&server, RECEIPTS) > 0 && count(&server, WAITING) == 0 && count(&server, RECORDED) > 0
    });
    next.host.end("TERM").unwrap();
    assert_eq!(count(&server, TWICE), 0, "{step:?}");
    let told = sample.slack.requests();
    let taken = told.iter().filter(|request| request.reply == OK).count();
    // Slack took it before the host was killed, and the record does not say so.
    let expected = if step == Step::Receipt { 2 } else { 1 };
    assert_eq!(taken, expected, "{step:?}: {told:#?}");
    assert!(told.iter().all(|request| request.id == told[0].id), "{step:?}: {told:#?}");
}

/// A host was killed in a run that had lasted beyond the next due time, which it had left out: that run is taken over all the same.
#[test]
fn a_long_run_of_a_killed_host_is_taken_over() {
    let server = Postgres::start().unwrap();
    let sample = failing_sample(&["a"], "");
    // Makes the tables.
    let made = ended(sample.command().env(VARIABLE, server.url()).arg("history")).unwrap();
    assert_eq!(made.code, 0, "{made:?}");
    let now = jiff::Timestamp::now().as_millisecond();
    let minute = |back: i64| now - now % 60_000 - back * 60_000;
    let (done, due, skipped) = (minute(3), minute(2), minute(1));
    let left = "INSERT INTO claims (key, due, data_date, done, skipped, attempt, epoch, holder, expires)";
    let values =
        format!("('check a', {due}, '2026-02-05', {done}, {skipped}, 1, 7, 'gone', now() - interval '1 minute')");
    server.sql(&format!("{left} VALUES {values}")).unwrap();
    let host = join(&sample, &server.url());
    let taken_over = format!("{RECORDED} AND due = {due} AND attempt = 2");
    host.wait_until("it is run", 30, |_| count(&server, &taken_over) == 1);
    let kept = format!("SELECT COUNT(*) FROM claims WHERE done = {skipped} AND holder IS NULL");
    host.wait_until("what was left out stays so", 10, |_| count(&server, &kept) == 1);
    host.host.end("TERM").unwrap();
}
