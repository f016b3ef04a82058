//! Hosts, their record's server, the way to it and Slack fail at random for ten minutes, while data becomes bad and good again. Then
//! the record and what Slack took are held against what was true.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    fleet::number,
    row,
    support::{
        between::Between,
        command::Sample,
        postgres::{Postgres, VARIABLE},
        service::{Service, install_files},
        slack::{OK, Reply, Request, words},
        watched::plugin,
    },
};

/// How long faults happen.
const FAULTS: Duration = Duration::from_secs(600);
/// How long what is left to do then may take: a lease, a round and a message.
const CALM: Duration = Duration::from_secs(240);
/// What is true while the server and one host at least were well for so long is seen: a lease, a minute until the next round, and its
/// jitter.
const SEEN: Duration = Duration::from_secs(120);
const HOSTS: usize = 3;
const CHECKS: usize = 12;
/// The first checks have a channel of their own, the others share one.
const ALONE: usize = 4;
/// A seed that repeats the order of the faults.
const SEED: &str = "CHAOS_SEED";

/// Which data is bad from a moment on; the write was over at the second one.
type Truth = (Timestamp, Timestamp, [bool; CHECKS]);

/// What ends a fault.
enum Mend {
    Start(usize),
    Resume(usize),
    Connect(usize),
    Serve,
    Slack,
}

/// How many faults of a kind there were.
#[derive(Default)]
struct Faults {
    kills: usize,
    pauses: usize,
    cuts: usize,
    servers: usize,
    commits: usize,
    slack: usize,
}

struct Scene {
    sample: Sample,
    server: Postgres,
    ways: Vec<Between>,
    hosts: Vec<Option<Service>>,
    is_paused: [bool; HOSTS],
    bad: [bool; CHECKS],
    truth: Vec<Truth>,
    mends: Vec<(Instant, Mend)>,
    faults: Faults,
    /// What happened when, for whoever has to understand it.
    story: Vec<String>,
    /// When the server and one host at least were well, from and to.
    well: Vec<(i64, i64)>,
}

pub(super) fn chaos() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..1000));
    fastrand::seed(seed);
    eprintln!("{SEED}={seed}: ten minutes of faults");
    let mut scene = Scene::new();
    let started = Instant::now();
    while started.elapsed() < FAULTS {
        scene.mend(false);
        scene.fault();
        std::thread::sleep(Duration::from_millis(fastrand::u64(1000..8000)));
    }
    scene.mend(true);
    let calm = Instant::now();
    let mut problems = scene.judge();
    while !problems.is_empty() && calm.elapsed() < CALM {
        std::thread::sleep(Duration::from_secs(5));
        scene.mend(true);
        problems = scene.judge();
    }
    assert!(problems.is_empty(), "{SEED}={seed}: {problems:#?}\n{}", scene.story.join("\n"));
    scene.report();
}

fn name(check: usize) -> String {
    format!("c{check:02}")
}

fn toml() -> String {
    let check = |at| {
        let (name, channel) = (name(at), if at < ALONE { name(at) } else { "canary-alerts".to_owned() });
        format!(
            "[checks.{name}]\nplugin = \"canary-sql\"\nschedule = \"* * * * *\"\nchannel = \"#{channel}\"\n\
             settings = {{ sql = \"SELECT bad FROM nba_raw.truth WHERE name = '{name}'\", thresholds = {{ bad = {{ max = 0 }} }} }}\n"
        )
    };
    let channels: String = (0..ALONE).map(|at| format!(", \"#{}\"", name(at))).collect();
    let checks: String = (0..CHECKS).map(check).collect();
    format!(
        "timezone = \"UTC\"\n[slack]\ndeliver = \"webhook\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n\
         [state]\nurl_env = \"{VARIABLE}\"\n[scheduler]\njitter = \"20s\"\n[delivery]\ntimeout = \"5s\"\n\
         [alerts]\nflap_changes = 1000\n\
         [grants.canary-sql]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"{channels}]\n{checks}\
         [web]\nlisten = \"127.0.0.1:0\"\n"
    )
}

impl Scene {
    fn new() -> Self {
        let server = Postgres::start().unwrap();
        let sample = Sample::now(None).unwrap();
        sample.configure(&toml()).unwrap();
        install_files(&sample, &[plugin("canary-sql")]).unwrap();
        let rows: Vec<String> = (0..CHECKS).map(|at| format!("('{}', 0)", name(at))).collect();
        let table = format!("CREATE TABLE truth (name TEXT, bad INT64); INSERT INTO truth VALUES {}", rows.join(", "));
        sample.sql("nba_raw", &table).unwrap();
        let ways = (0..HOSTS).map(|_| Between::start(server.port).unwrap()).collect();
        let now = Timestamp::now();
        let mut scene = Self {
            sample,
            server,
            ways,
            hosts: (0..HOSTS).map(|_| None).collect(),
            is_paused: [false; HOSTS],
            bad: [false; CHECKS],
            truth: vec![(now, now, [false; CHECKS])],
            mends: (0..HOSTS).map(|host| (Instant::now(), Mend::Start(host))).collect(),
            faults: Faults::default(),
            story: Vec::new(),
            well: Vec::new(),
        };
        scene.mend(true);
        scene
    }

    fn note(&mut self, what: &str) {
        let now = Timestamp::now();
        self.story.push(format!("{now:.0} {what}"));
        let is_served = !self.mends.iter().any(|(_, mend)| matches!(mend, Mend::Serve));
        let is_cut =
            |host: &usize| self.mends.iter().any(|(_, mend)| matches!(mend, Mend::Connect(other) if other == host));
        let is_well = |host: &usize| self.hosts[*host].is_some() && !self.is_paused[*host] && !is_cut(host);
        let is_well = is_served && (0..HOSTS).any(|host| is_well(&host));
        let last = self.well.last_mut();
        match (is_well, last) {
            (true, Some((_, to))) if *to == i64::MAX => {}
            (true, _) => self.well.push((now.as_millisecond(), i64::MAX)),
            (false, Some((_, to))) if *to == i64::MAX => *to = now.as_millisecond(),
            (false, _) => {}
        }
    }

    /// Ends the faults whose time has come, or all.
    fn mend(&mut self, all: bool) {
        let due = |at: &Instant| all || *at <= Instant::now();
        let (now, later) = std::mem::take(&mut self.mends).into_iter().partition(|(at, _)| due(at));
        self.mends = later;
        // The server first, so that hosts can start.
        let mut now: Vec<(Instant, Mend)> = now;
        now.sort_by_key(|(_, mend)| matches!(mend, Mend::Start(_)));
        for (_, mend) in now {
            let what = match mend {
                Mend::Serve => "the server is back".to_owned(),
                Mend::Slack => "Slack is well".to_owned(),
                Mend::Connect(host) => format!("{host} is connected"),
                Mend::Resume(host) => format!("{host} goes on"),
                Mend::Start(host) => format!("{host} starts"),
            };
            match mend {
                Mend::Serve => self.server.run().unwrap(),
                Mend::Slack => self.sample.slack.answer(OK),
                Mend::Connect(host) => self.ways[host].cut(false),
                Mend::Resume(host) => {
                    self.is_paused[host] = false;
                    if let Some(service) = &self.hosts[host] {
                        service.host.signal("CONT").unwrap();
                    }
                }
                Mend::Start(host) => match self.start(host) {
                    Ok(service) => self.hosts[host] = Some(service),
                    // As systemd does, it starts it again.
                    Err(_) => self.mends.push((Instant::now() + Duration::from_secs(2), Mend::Start(host))),
                },
            }
            self.note(&what);
        }
    }

    fn start(&self, host: usize) -> anyhow::Result<Service> {
        let mut command = self.sample.command();
        for at in 0..ALONE {
            let variable = format!("SLACK_WEBHOOK_URL_{}", name(at).to_uppercase());
            command.env(variable, self.sample.slack.webhook(&name(at)));
        }
        command.env(VARIABLE, self.server.url_at(self.ways[host].port)).args(["run", "plugins"]);
        Service::launch(&self.sample, command)
    }

    /// Something happens.
    fn fault(&mut self) {
        let host = fastrand::usize(..HOSTS);
        let what = self.happens(host);
        self.note(&what);
    }

    fn happens(&mut self, host: usize) -> String {
        let lasts = |from, to| Instant::now() + Duration::from_secs(fastrand::u64(from..to));
        match fastrand::usize(..21) {
            0..12 => self.change(),
            12..14 => {
                let Some(service) = self.hosts[host].take() else { return String::new() };
                self.faults.kills += 1;
                self.is_paused[host] = false;
                service.host.signal("KILL").unwrap();
                self.mends.push((lasts(1, 15), Mend::Start(host)));
                format!("{host} is killed")
            }
            14..16 => {
                if self.is_paused[host] {
                    return String::new();
                }
                let Some(service) = &self.hosts[host] else { return String::new() };
                service.host.signal("STOP").unwrap();
                (self.faults.pauses, self.is_paused[host]) = (self.faults.pauses + 1, true);
                self.mends.push((lasts(2, 45), Mend::Resume(host)));
                format!("{host} is stopped")
            }
            16..18 => {
                self.faults.cuts += 1;
                self.ways[host].cut(true);
                self.mends.push((lasts(2, 45), Mend::Connect(host)));
                format!("{host} is cut off")
            }
            18 => {
                if self.mends.iter().any(|(_, mend)| matches!(mend, Mend::Serve)) {
                    return String::new();
                }
                self.faults.servers += 1;
                self.server.kill();
                self.mends.push((lasts(1, 12), Mend::Serve));
                "the server is killed".to_owned()
            }
            19 => {
                self.faults.commits += 1;
                self.ways[host]
                    .lose_commit_of(fastrand::choice(["INSERT INTO batches", "INSERT INTO receipts"]).unwrap());
                format!("an answer to {host} is lost")
            }
            _ => {
                self.faults.slack += 1;
                let reply = [Reply::Answer(500, "", "rollup_error"), Reply::Hang, Reply::Reset, Reply::Truncated];
                self.sample.slack.answer(fastrand::choice(reply).unwrap());
                self.mends.push((lasts(2, 20), Mend::Slack));
                "Slack fails".to_owned()
            }
        }
    }

    /// Some data becomes bad, or good again.
    fn change(&mut self) -> String {
        let at = fastrand::usize(..CHECKS);
        let bad = u8::from(!self.bad[at]);
        let began = Timestamp::now();
        let write = format!("UPDATE truth SET bad = {bad} WHERE name = '{}'", name(at));
        // A host that was paused in the middle of a query keeps its file.
        if self.sample.sql("nba_raw", &write).is_ok() {
            self.bad[at] = !self.bad[at];
            self.truth.push((began, Timestamp::now(), self.bad));
            return format!("{} is {}", name(at), if bad == 1 { "bad" } else { "good" });
        }
        String::new()
    }

    /// What is not as it has to be.
    fn judge(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let runs = "SELECT check_name || ' ' || due || ' ' || recorded || ' ' || status FROM runs \
            WHERE NOT past AND NOT left_out AND status IN ('pass', 'fail') ORDER BY id";
        let runs = self.server.sql(runs).unwrap();
        let runs: Vec<(&str, i64, i64, bool)> = runs
            .lines()
            .map(|line| {
                let mut words = line.split(' ');
                let mut next = || words.next().unwrap();
                (next(), next().parse().unwrap(), next().parse().unwrap(), next() == "fail")
            })
            .collect();
        let twice = "SELECT COUNT(*) FROM (SELECT check_name, due FROM runs WHERE NOT past GROUP BY 1, 2 HAVING COUNT(*) > 1) AS twice";
        if number(&self.server, twice) > 0.0 {
            problems.push("a due time was recorded twice".to_owned());
        }
        for (check, due, recorded, bad) in &runs {
            let at: usize = check.trim_start_matches('c').parse().unwrap();
            if !self.was(at, *bad, *due, *recorded) {
                problems.push(format!("{check} due {due}, recorded {recorded}: bad is {bad}, which was not so"));
            }
        }
        let told = self.told();
        for at in 0..CHECKS {
            let check = name(at);
            let results = runs.iter().filter(|(of, ..)| *of == check);
            let mut changes: Vec<bool> = std::iter::once(false).chain(results.clone().map(|(.., bad)| *bad)).collect();
            changes.dedup();
            let told = told.get(&check).cloned().unwrap_or_default();
            if changes[1..] != told[..] {
                problems.push(format!("{check}: recorded {:?}, told {told:?}", &changes[1..]));
            }
            if changes.last() != Some(&self.bad[at]) {
                problems.push(format!("{check}: bad is {} at the end, and {changes:?} was recorded", self.bad[at]));
            }
            for (bad, from, to) in self.stretches(at) {
                let is_seen =
                    results.clone().any(|(_, due, recorded, found)| *found == bad && *recorded >= from && *due <= to);
                if self.was_well(from, to) && !is_seen {
                    problems.push(format!("{check}: bad was {bad} from {from} to {to}, and nobody saw it"));
                }
            }
        }
        let waiting = number(&self.server, "SELECT COUNT(*) FROM outbox WHERE state <> 'delivered'");
        if waiting > 0.0 {
            problems.push(format!("{waiting} messages are not delivered"));
        }
        let known = self.server.sql("SELECT id FROM outbox").unwrap();
        let known: BTreeSet<&str> = known.lines().collect();
        problems.extend(
            self.taken()
                .iter()
                .filter(|request| !known.contains(request.id.as_str()))
                .map(|request| format!("{} is in no record", request.id)),
        );
        if self.twice() > self.faults.interruptions() {
            problems.push(format!(
                "{} messages came again after {} interruptions",
                self.twice(),
                self.faults.interruptions()
            ));
        }
        problems
    }

    /// Whether data was bad, or good, at some moment between two.
    fn was(&self, at: usize, bad: bool, from: i64, to: i64) -> bool {
        let ends = self.truth.iter().skip(1).map(|(_, ended, _)| ended.as_millisecond()).chain([i64::MAX]);
        self.truth
            .iter()
            .zip(ends)
            .any(|((began, _, truth), ended)| truth[at] == bad && began.as_millisecond() <= to && ended >= from)
    }

    /// Whether the server and a host were well for long enough between two moments.
    fn was_well(&self, from: i64, to: i64) -> bool {
        let seen = i64::try_from(SEEN.as_millis()).unwrap();
        self.well.iter().any(|(began, ended)| (*ended).min(to) - (*began).max(from) >= seen)
    }

    /// How long data was bad, or good.
    fn stretches(&self, at: usize) -> Vec<(bool, i64, i64)> {
        let mut stretches: Vec<(bool, i64, i64)> = Vec::new();
        for (began, ended, truth) in &self.truth {
            match stretches.last_mut() {
                Some((bad, ..)) if *bad == truth[at] => {}
                last => {
                    if let Some((_, _, to)) = last {
                        *to = began.as_millisecond();
                    }
                    stretches.push((truth[at], ended.as_millisecond(), i64::MAX));
                }
            }
        }
        stretches.retain(|(.., to)| *to != i64::MAX);
        stretches
    }

    /// The messages that Slack took.
    fn taken(&self) -> Vec<Request> {
        self.sample.slack.requests().into_iter().filter(|request| request.reply == OK).collect()
    }

    /// What people were told of each check, in order: that it is bad, or good again.
    fn told(&self) -> BTreeMap<String, Vec<bool>> {
        let (mut told, mut ids) = (BTreeMap::<String, Vec<bool>>::new(), BTreeSet::new());
        for request in self.taken() {
            if !ids.insert(request.id) {
                continue;
            }
            let text = words(&request.message);
            for check in (0..CHECKS).map(name) {
                let of = told.entry(check.clone()).or_default();
                of.extend(text.contains(&format!("name = '\\''{check}'\\''")).then_some(true));
                of.extend(
                    (text.contains(&format!("{check}: recovered")) || text.contains(&format!("{check} recovered")))
                        .then_some(false),
                );
            }
        }
        told
    }

    /// How many messages came again.
    fn twice(&self) -> usize {
        let taken = self.taken();
        taken.len() - taken.iter().map(|request| &request.id).collect::<BTreeSet<_>>().len()
    }

    fn report(self) {
        let Faults { kills, pauses, cuts, servers, commits, slack } = self.faults;
        let changes: usize = self.told().values().map(Vec::len).sum();
        let shown = format!(
            "{kills} kills, {pauses} pauses and {cuts} cuts of 3 hosts, {servers} of the server, {commits} lost answers to a commit, {slack} faults of Slack: \
             {} runs, {} changes of the data, {changes} changes told, 0 lost, {} messages came again, with the same id",
            number(&self.server, "SELECT COUNT(*) FROM runs WHERE NOT left_out"),
            self.truth.len() - 1,
            self.twice(),
        );
        row(
            "ten minutes of faults at random, three hosts, twelve checks a minute",
            &shown,
            "0 lost; one repetition a fault",
        );
        for host in self.hosts.into_iter().flatten() {
            host.host.end("TERM").unwrap();
        }
    }
}

impl Faults {
    /// How many of them can make a message come twice.
    fn interruptions(&self) -> usize {
        self.kills + self.pauses + self.cuts + self.servers + self.commits
    }
}
