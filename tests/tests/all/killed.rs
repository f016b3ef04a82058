//! The host is killed at every step between a verdict and its receipt, against every answer that Slack gives, and
//! started again: each change of state arrives, and what arrives twice carries the same id.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt,
    process::{Child, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rusqlite::Connection;

use crate::support::{
    command::Sample,
    say, sized,
    slack::{OK, Reply, Request, words as text},
    watched::plugin,
};
use host_tests::Fault;

/// Where the host is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The verdict is known, and the transaction that records it is under way.
    BeforeTheCommit,
    /// It is recorded, and Slack has not read a request.
    BeforeTheRequest,
    /// Slack has read the request, and has not answered.
    BeforeTheAnswer,
    /// Slack has answered, and the transaction that records it is under way.
    BeforeTheReceipt,
    /// The receipt is recorded.
    AfterTheReceipt,
}

const STEPS: [Step; 5] = [
    Step::BeforeTheCommit,
    Step::BeforeTheRequest,
    Step::BeforeTheAnswer,
    Step::BeforeTheReceipt,
    Step::AfterTheReceipt,
];

const REPLIES: [Reply; 11] = [
    OK,
    Reply::Answer(400, "", "invalid_blocks"),
    Reply::Answer(403, "", "action_prohibited"),
    Reply::Answer(404, "", "no_service"),
    Reply::Answer(410, "", "channel_is_archived"),
    Reply::Answer(429, "retry-after: 1\r\n", "rate_limited"),
    Reply::Answer(500, "", "rollup_error"),
    Reply::Slow(Duration::from_millis(300)),
    Reply::Hang,
    Reply::Reset,
    Reply::Truncated,
];

/// The result of one case.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    kills: usize,
    changes: usize,
    requests: usize,
    duplicates: usize,
    told_later: usize,
}

/// What happens in a case before and after the kill.
struct Scene {
    toml: &'static str,
    /// Makes an empty sample's data.
    prepare: fn(&Sample) -> Result<()>,
    /// Everything until the host is to be killed; then a change happens that is told.
    before: fn(&Sample) -> Result<()>,
    /// What happens once it runs again, which is told too.
    after: fn(&Sample) -> Result<()>,
    /// The host at a round.
    start: fn(&Sample, u32) -> Result<Child>,
    /// The table that is written when the change is recorded, and which row.
    written: (&'static str, &'static str),
    /// What the two messages say.
    words: [&'static str; 2],
}

#[test]
fn each_change_of_state_arrives_whenever_the_host_is_killed() {
    let scene = Scene {
        toml: host_tests::HOST_TOML,
        prepare: |_| Ok(()),
        before: |sample| {
            // Makes the record, with the check well.
            break_names(sample, false)?;
            ensure!(start(sample, 0)?.wait_with_output()?.status.success());
            ensure!(sample.slack.requests().is_empty(), "nothing to say yet");
            break_names(sample, true)
        },
        after: |sample| break_names(sample, false),
        start,
        written: ("runs", "TRUE"),
        words: ["null_player_names", "recovered"],
    };
    matrix(&scene, &REPLIES);
}

/// Two dates are bad. Each is good again at another time, and the host is killed while it records or tells that of the first,
/// at which it looked again.
#[test]
fn each_date_that_is_good_again_arrives_whenever_the_host_is_killed() {
    let scene = Scene {
        toml: LOADS,
        prepare: |sample| sample.sql("nba_raw", "CREATE TABLE loads (d DATE)"),
        before: |sample| {
            sample.sql("nba_raw", "DELETE FROM loads")?;
            for round in 0..2 {
                let ended = start_loads(sample, round)?.wait_with_output()?;
                ensure!(ended.status.code() == Some(2), "{ended:?}");
            }
            ensure!(sample.slack.requests().len() == 2, "both are told: {:?}", sample.slack.requests());
            sample.slack.clear();
            sample.sql("nba_raw", "INSERT INTO loads VALUES ('2026-02-04')")
        },
        after: |sample| sample.sql("nba_raw", "INSERT INTO loads VALUES ('2026-02-05')"),
        start: |sample, round| start_loads(sample, round + 1),
        written: ("dates", "NEW.data_date = '2026-02-04'"),
        words: ["2026-02-04 is good again", "loads: recovered"],
    };
    matrix(
        &scene,
        &[OK, Reply::Answer(403, "", "action_prohibited"), Reply::Answer(500, "", "rollup_error"), Reply::Reset],
    );
}

/// A check that each date has a row.
const LOADS: &str = "timezone = 'UTC'
[slack]
deliver = 'webhook'
[warehouse]
kind = 'sqlite'
path = 'warehouse'
[state]
keep = '40000d'
[grants.canary-sql]
warehouse = ['nba_raw']
[checks.loads]
plugin = 'canary-sql'
schedule = '0 6 * * *'
channel = '#canary-alerts'
settings = { sql = 'SELECT COUNT(*) AS n FROM nba_raw.loads WHERE d = @date', thresholds = { n = { min = 1 } } }
";

/// A host that judges the 4th, the 5th, and looks at both again.
fn start_loads(sample: &Sample, round: u32) -> Result<Child> {
    let times = ["05T06:00", "06T06:00", "06T09:00", "06T09:10", "06T09:20"];
    let time = times.get(round as usize).context("no such round")?;
    let mut command = sample.command();
    command.args(["run", "--once", "--at", &format!("2026-02-{time}:00Z")]);
    command.arg(plugin("canary-sql"));
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn matrix(scene: &Scene, replies: &[Reply]) {
    let started = Instant::now();
    // Each step with each reply; for every commit each with the first reply, and every other reply once.
    let step = sized(1, STEPS.len());
    let cases = replies.iter().enumerate().flat_map(|(at, reply)| {
        let steps = STEPS.into_iter().skip(at % step).step_by(if at == 0 { 1 } else { step });
        steps.map(|step| (step, *reply))
    });
    let cases: Vec<(Step, Reply)> = cases.collect();
    let waiting = Mutex::new(cases.iter());
    let counts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        // Each case mostly waits; those that stall a write compute.
        for _ in 0..4 {
            scope.spawn(|| {
                let sample = Sample::new(Some(Fault::NullNames)).unwrap();
                let toml =
                    scene.toml.to_owned() + "\n[delivery]\ntimeout = \"1s\"\nbackoff = \"50ms\"\nwait = \"10s\"\n";
                sample.configure(&toml).unwrap();
                (scene.prepare)(&sample).unwrap();
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((step, reply)) = next else { break };
                    let count =
                        case(&sample, scene, *step, *reply).with_context(|| format!("{step:?}, {reply:?}")).unwrap();
                    counts.lock().unwrap_or_else(PoisonError::into_inner).push(count);
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    assert_eq!(counts.len(), cases.len());
    let sum = |of: fn(&Count) -> usize| counts.iter().map(of).sum::<usize>();
    say(&format!(
        "{} cases in {:.0} s: {} kills, {} changes of state, all told; {} requests, {} duplicates, {} set aside and told of later",
        cases.len(),
        started.elapsed().as_secs_f64(),
        sum(|count| count.kills),
        sum(|count| count.changes),
        sum(|count| count.requests),
        sum(|count| count.duplicates),
        sum(|count| count.told_later),
    ));
}

fn case(sample: &Sample, scene: &Scene, step: Step, reply: Reply) -> Result<Count> {
    let state = sample.path().join("state");
    if state.exists() {
        std::fs::remove_dir_all(&state)?;
    }
    sample.slack.answer(OK);
    (scene.before)(sample)?;
    kill_at(sample, scene, step, reply)?;
    // Slack is still as it was when the host comes back, and then takes everything.
    sample.slack.answer_next(&[reply]);
    (scene.start)(sample, 2)?.wait_with_output()?;
    sample.slack.answer(OK);
    (scene.after)(sample)?;
    (scene.start)(sample, 3)?.wait_with_output()?;
    let count = judge(sample, scene)?;
    sample.slack.clear();
    Ok(count)
}

/// A host that runs the Phase 2 canary once, a number of half hours after the usual moment.
fn start(sample: &Sample, round: u32) -> Result<Child> {
    let minutes = 30 * round;
    let at = format!("2026-02-06T{:02}:{:02}:00Z", 12 + minutes / 60, minutes % 60);
    let mut command = sample.command();
    command.args(["run", "--once", "--check", "phase2-raw", "--at", &at]).arg(plugin("phase2-raw"));
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn kill_at(sample: &Sample, scene: &Scene, step: Step, reply: Reply) -> Result<()> {
    let table = match step {
        Step::BeforeTheCommit => Some(scene.written),
        Step::BeforeTheReceipt => Some(("receipts", "TRUE")),
        _ => None,
    };
    let receipts =
        || -> Result<i64> { Ok(record(sample)?.query_row("SELECT COUNT(*) FROM receipts", [], |row| row.get(0))?) };
    let before = receipts()?;
    sample.slack.answer_next(&[match step {
        Step::BeforeTheRequest => Reply::Unread,
        Step::BeforeTheAnswer => Reply::Hang,
        _ => reply,
    }]);
    if let Some(table) = table {
        stall(sample, table)?;
    }
    let mut host = (scene.start)(sample, 1)?;
    match step {
        Step::BeforeTheCommit => wait_until_stalled(sample)?,
        Step::BeforeTheRequest => sample.slack.wait_for_connections(1)?,
        Step::BeforeTheAnswer => sample.slack.wait_for(1)?,
        Step::BeforeTheReceipt => {
            sample.slack.wait_for(1)?;
            wait_until_stalled(sample)?;
        }
        Step::AfterTheReceipt => {
            wait("a receipt", || Ok(receipts()? > before))?;
        }
    }
    host.kill()?;
    let killed = host.wait()?.signal() == Some(9);
    ensure!(killed || step == Step::AfterTheReceipt, "it had ended before");
    if let Some((table, _)) = table {
        record(sample)?.execute_batch(&format!("DROP TRIGGER stall_{table}; DROP TABLE numbers"))?;
    }
    Ok(())
}

/// Makes every write of some rows of a table take for ever.
fn stall(sample: &Sample, (table, rows): (&str, &str)) -> Result<()> {
    Ok(record(sample)?.execute_batch(&format!(
        "CREATE TABLE numbers (n);
         INSERT INTO numbers WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up LIMIT 3000) SELECT n FROM up;
         CREATE TRIGGER stall_{table} BEFORE INSERT ON {table} WHEN {rows} BEGIN
           SELECT COUNT(*) FROM numbers a, numbers b, numbers c, numbers d WHERE a.n + b.n + c.n + d.n < 0;
         END"
    ))?)
}

/// A write that takes longer than any other would.
fn wait_until_stalled(sample: &Sample) -> Result<()> {
    let record = record(sample)?;
    record.busy_timeout(Duration::ZERO)?;
    let mut since = None;
    wait("a write that stalls", || {
        match record.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
            Ok(()) => since = None,
            Err(_) => drop(since.get_or_insert_with(Instant::now)),
        }
        Ok(since.is_some_and(|since: Instant| since.elapsed() > Duration::from_millis(300)))
    })
}

fn wait(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !done()? {
        if started.elapsed() > Duration::from_secs(90) {
            bail!("{what} did not come");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn record(sample: &Sample) -> Result<Connection> {
    let connection = Connection::open(sample.path().join("state/host.db"))?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(connection)
}

/// Removes the names of some players, or restores them.
fn break_names(sample: &Sample, broken: bool) -> Result<()> {
    let name = if broken { "NULL" } else { "'A Player'" };
    let which = "rowid % 40 = 0 OR player_name IS NULL";
    sample.sql("nba_raw", &format!("UPDATE nbac_player_boxscore SET player_name = {name} WHERE {which}"))
}

/// Two changes of state, each told: Slack accepted each message, or one that reports it.
fn judge(sample: &Sample, scene: &Scene) -> Result<Count> {
    let requests = sample.slack.requests();
    let taken = |request: &&Request| matches!(request.reply, Reply::Answer(200, ..) | Reply::Slow(_));
    let mut by_id: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in &requests {
        by_id.entry(&request.id).or_default().push(request);
    }
    ensure!(by_id.len() == 2, "two messages, however often: {requests:#?}");
    for words in scene.words {
        let of: BTreeSet<&str> = requests
            .iter()
            .filter(|request| text(&request.message).contains(words))
            .map(|request| request.id.as_str())
            .collect();
        ensure!(!of.is_empty(), "no message says {words:?}: {requests:#?}");
    }
    let mut count = Count { kills: 1, changes: 2, requests: requests.len(), ..Count::default() };
    for (id, sent) in by_id {
        let arrived = sent.iter().filter(|request| taken(request)).count();
        let named = requests.iter().filter(taken).any(|other| other.id != id && other.message.to_string().contains(id));
        ensure!(arrived > 0 || named, "{id} never arrived: {requests:#?}");
        ensure!(arrived <= 2, "{id} arrived {arrived} times: {requests:#?}");
        count.duplicates += arrived.saturating_sub(1);
        count.told_later += usize::from(arrived == 0);
        let shown = sent.iter().all(|request| request.message.to_string().contains(&format!("Message {id}")));
        ensure!(shown, "the message has its id: {requests:#?}");
    }
    let waiting: i64 =
        record(sample)?.query_row("SELECT COUNT(*) FROM outbox WHERE state = 'waiting'", [], |row| row.get(0))?;
    ensure!(waiting == 0, "{waiting} messages wait");
    Ok(count)
}
