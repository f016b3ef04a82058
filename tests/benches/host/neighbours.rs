//! How much honest checks are slowed down by hostile ones of each kind, by busy processes, and after two thousand
//! rounds.

use std::{
    fmt::Write,
    path::PathBuf,
    process::{Child, Command},
    sync::Arc,
    time::{Duration, Instant},
};

use host::{
    check::Check,
    config::Config,
    plugin::{self, Loaded},
    run::validation,
    sandbox::Sandboxes,
};
use jiff::Timestamp;

use super::{
    isolation::{open_files, resident},
    median, millis, row,
    support::{
        AT, CANARIES,
        text::{Text, component},
        watched::Watched,
    },
};

/// The canaries and the gate.
const HONEST: [&str; 7] = {
    let [one, two, three, four, five, six] = CANARIES;
    [one, two, three, four, five, six, "phase2-gate"]
};

/// A query that never ends.
const ENDLESS: &str = "SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore a, nba_raw.nbac_player_boxscore b, nba_raw.nbac_player_boxscore c";

/// The guest's behaviour in each hostile run, with its query.
fn behaviours() -> Vec<(&'static str, &'static str, String)> {
    let same = |behaviour| (behaviour, behaviour, ENDLESS.to_owned());
    let long = (0..4).fold("'0123456789abcdef0123456789abcdef'".to_owned(), |long, _| {
        format!("REPLACE({long}, '0', '0123456789abcdef0123456789abcdef')")
    });
    let costly = format!(
        "SELECT SUM(STRPOS(CONCAT(t.long, CAST(t.games AS STRING)), CONCAT(t.long, 'b'))) AS n FROM (SELECT a.games, {long} AS long FROM (SELECT COUNT(*) AS games FROM nba_raw.nbac_player_boxscore GROUP BY player_name) a) t"
    );
    vec![
        same("spin"),
        same("allocate"),
        same("recurse"),
        same("flood the log"),
        same("ask thousands at once"),
        same("ask everything at once"),
        same("report enormously"),
        ("report 13,000 metrics", "report many metrics", ENDLESS.to_owned()),
        ("ask costly SQL functions", "query", costly),
        ("walk through git without end", "ask for the whole history", ENDLESS.to_owned()),
        ("go on walking after letting go", "drop what was asked", ENDLESS.to_owned()),
    ]
}

/// A check whose validation takes as long as allowed.
const BOMB: &str = "bomb";

fn with_hostile(mut toml: String) -> String {
    toml += "\n[grants.misbehaving]\nwarehouse = ['nba_raw']\ngit = ['pipeline']\ndeployments = ['*']\nslack = ['#canary-alerts']\nbudgets = { timeout = '500ms' }\n";
    let mut check = |name: &str, behaviour: &str, sql: &str| {
        let _ = write!(
            toml,
            "\n[checks.{name}]\nplugin = \"misbehaving\"\nsettings = {{ behaviour = \"{behaviour}\", sql = \"{sql}\" }}\n"
        );
    };
    for (at, (_, behaviour, sql)) in behaviours().iter().enumerate() {
        check(&format!("hostile{at}"), behaviour, sql);
    }
    check(BOMB, "ask and spin", "SELECT 1 AS n");
    toml
}

fn watched() -> Watched {
    Watched::with_guests(&HONEST, &["misbehaving"], with_hostile).unwrap()
}

/// The time until the last of the seven is done.
fn last(watched: &Watched, beside: Option<&str>) -> Duration {
    let checks: Vec<&str> = beside.into_iter().chain(HONEST).collect();
    let at: Timestamp = AT.parse().unwrap();
    let runs = watched.round(&checks, at).unwrap();
    let seven = runs.iter().filter(|run| HONEST.contains(&run.check.as_str()));
    seven.map(|run| run.duration).max().unwrap()
}

/// Seven honest checks, alone and beside each kind of hostile one; the time until the last of the seven is done.
pub(super) fn neighbours() {
    let watched = watched();
    let _: Vec<Duration> = (0..10).map(|_| last(&watched, None)).collect();
    for (place, (what, ..)) in behaviours().iter().enumerate() {
        let check = format!("hostile{place}");
        compare(what, || last(&watched, None), || last(&watched, Some(&check)));
    }
    let bomb = watched.check(BOMB);
    compare(
        "be validated without end",
        || last(&watched, None),
        || {
            let validating = validate(&watched, &bomb);
            let took = last(&watched, None);
            validating.abort();
            took
        },
    );
    let files = vec![compile_bomb(watched.path().join("bomb.wasm"))];
    let sandboxes = Arc::new(Sandboxes::new(&Config::default()));
    compare(
        "be compiled without end",
        || last(&watched, None),
        || {
            let (files, sandboxes) = (files.clone(), sandboxes.clone());
            let compiling = watched.runtime().spawn(async move {
                plugin::load(&files, None, &sandboxes, &Config::default(), &Loaded::default(), |_| {}).await
            });
            let took = last(&watched, None);
            compiling.abort();
            took
        },
    );
}

fn compare(what: &str, alone: impl Fn() -> Duration, beside: impl Fn() -> Duration) {
    let (mut quiet, mut crowded) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        quiet.push(alone());
        crowded.push(beside());
        // A cancelled run ends at its next tick; the next round must be alone again.
        std::thread::sleep(Duration::from_millis(30));
    }
    let (alone, beside) = (median(quiet), median(crowded));
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    let shown = format!("{} / {} = {ratio:.2}", millis(beside), millis(alone));
    row(&format!("seven checks beside one that would {what} / alone"), &shown, "≤ 1.2");
}

fn validate(watched: &Watched, check: &Arc<Check>) -> tokio::task::JoinHandle<Vec<validation::Finding>> {
    let (check, backends, moment) = (check.clone(), watched.backends(), watched.moment().unwrap());
    let zone = host::config::Zone::new_york();
    watched.runtime().spawn(async move { validation::validate(&check, &backends, &moment, &zone).await })
}

/// Nested loops over the same values: a few KB that take the compiler a minute.
fn compile_bomb(path: PathBuf) -> PathBuf {
    const VALUES: usize = 50;
    let mut text =
        format!("(func (param i32) (result i32) (local{})\n{}", " i32".repeat(VALUES), "loop\n".repeat(1000));
    for at in 1..=VALUES {
        let _ = writeln!(text, "(local.set {at} (i32.add (local.get {at}) (local.get 0)))");
    }
    for at in 0..1000 {
        let _ = writeln!(text, "(br_if 0 (local.get {})) end", at % VALUES + 1);
    }
    text += "i32.const 0)";
    std::fs::write(&path, component("bomb", Text { items: text.leak(), ..Text::default() })).unwrap();
    path
}

/// Processes that compute until this is dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn start() -> Self {
        let busy = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self(vec![busy(), busy()])
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A round beside two processes of others that compute without end, against an ordinary process that computes as long as the
/// round does alone, both of them beside the same.
pub(super) fn busy_machine() {
    let watched = watched();
    let _: Vec<Duration> = (0..10).map(|_| last(&watched, None)).collect();
    let round = || {
        let (started, computed) = (Instant::now(), cpu());
        last(&watched, None);
        (started.elapsed(), cpu() - computed)
    };
    let (quiet, computed): (Vec<Duration>, Vec<Duration>) = (0..15).map(|_| round()).unzip();
    let (alone, computed) = (median(quiet), median(computed));
    // As many steps as take as much CPU time.
    let steps = |count: u64| {
        let mut sum = 0_u64;
        for step in 0..count {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(step));
        }
        sum
    };
    let started = cpu();
    steps(1_000_000);
    let count = (1e6 * computed.as_secs_f64() / (cpu() - started).as_secs_f64()) as u64;
    let ordinary = || {
        let started = Instant::now();
        std::hint::black_box(steps(count));
        started.elapsed()
    };
    let busy = Busy::start();
    let (mut rounds, mut others) = (Vec::new(), Vec::new());
    for _ in 0..25 {
        rounds.push(round().0);
        others.push(ordinary());
    }
    drop(busy);
    let (rounds, others) = (median(rounds), median(others));
    let ratio = rounds.as_secs_f64() / others.as_secs_f64();
    let shown = format!(
        "{} / {} = {ratio:.2} (alone {}, CPU time {})",
        millis(rounds),
        millis(others),
        millis(alone),
        millis(computed)
    );
    row("a round of seven checks beside two busy processes / a thread of as much CPU time there", &shown, "≤ 1.5");
}

/// CPU time of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// Two thousand rounds, each beside another hostile kind: memory, threads and open files level off.
pub(super) fn endurance() {
    let watched = Watched::on_disk(&HONEST, &["misbehaving"], with_hostile).unwrap();
    let kinds = behaviours().len();
    let mut figures = Vec::new();
    for round in 0..=2000 {
        last(&watched, Some(&format!("hostile{}", round % kinds)));
        if [100, 500, 1000, 1500, 2000].contains(&round) {
            figures.push(format!("{:.1} MB, {} threads, {} files after {round}", resident(), threads(), open_files()));
        }
    }
    row("2,000 rounds of seven checks, each beside another hostile kind", &figures.join("; "), "level");
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
