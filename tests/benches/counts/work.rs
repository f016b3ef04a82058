//! The pieces of work.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    hint::black_box,
    net::TcpListener,
    sync::Arc,
    time::Duration,
};

use host::{
    alert::{News, Rules, Standings, compose, decide},
    check::Family,
    config::Config,
    contract::{
        Report, Verdict, Violation,
        slack::{Alert, Severity, Step},
    },
    host::Begin,
    record::Record,
    run::Run,
    service::{Service, Sources},
    web,
};
use host_googlesql::{Column, Kind, Schema, read, translate};
use host_tests::{HOST_TOML, Moment, make};
use jiff::tz::TimeZone;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::support::{
    AT, CANARIES, DATE,
    command::{binary, shipped},
    service::Client,
};

/// A piece of work.
pub(crate) struct Piece {
    /// Its name on the command line and in the table.
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Few and many times; the difference counts.
    pub(crate) times: [u32; 2],
    work: fn(u32),
}

pub(crate) const ALL: [Piece; 5] = [
    Piece { name: "configuration", what: "read the sample's host.toml", times: [10, 110], work: configuration },
    Piece { name: "decide", what: "decide a round of six failing canaries", times: [10, 210], work: decide_round },
    Piece { name: "compose", what: "compose the message of six failing canaries", times: [10, 210], work: message },
    Piece {
        name: "translate",
        what: "read and translate the query of phase3-analytics",
        times: [10, 110],
        work: query,
    },
    Piece { name: "page", what: "answer the page of nine checks that did not run yet", times: [5, 45], work: page },
];

/// The work of a name.
pub(crate) fn find(name: &str) -> fn(u32) {
    ALL.iter().find(|piece| piece.name == name).unwrap_or_else(|| panic!("no work is called {name}")).work
}

fn configuration(times: u32) {
    for _ in 0..times {
        black_box(Config::parse(black_box(HOST_TOML)).unwrap());
    }
}

/// Failing runs of the six canaries, made by hand: valgrind has no room for the addresses that guests run in.
fn failing() -> (Config, Vec<Run>) {
    let runs = CANARIES.map(|name| Run {
        check: name.to_owned(),
        plugin: None,
        due: AT.parse().unwrap(),
        clock: AT.parse().unwrap(),
        data_date: DATE.parse().unwrap(),
        attempt: 1,
        past: false,
        dates: Default::default(),
        deadline: AT.parse().unwrap(),
        early: false,
        again: false,
        began: None,
        lease: None,
        off_hours: false,
        report: Some(Report {
            verdict: Verdict::Fail,
            summary: "records 0: fewer than 40".to_owned(),
            metrics: Vec::new(),
            violations: vec![Violation { metric: Some("records".to_owned()), message: "fewer than 40".to_owned() }],
            unknown: Vec::new(),
            gate: None,
        }),
        error: None,
        duration: Duration::from_millis(5),
        evidence: Vec::new(),
        calls: Vec::new(),
        log: String::new(),
        alerts: vec![Alert {
            channel: "#canary-alerts".to_owned(),
            severity: Severity::Critical,
            title: format!("{name} failed"),
            summary: "The table has fewer records than its limit.".to_owned(),
            sections: Vec::new(),
            steps: vec![Step { text: "Look at the log".to_owned(), command: Some("gcloud logging read".to_owned()) }],
        }],
        family: Some(Family { channel: "#canary-alerts".to_owned(), group: "canaries".to_owned() }),
        next: None,
        untold: None,
        exceeded: BTreeSet::new(),
        tapes: Default::default(),
        given: None,
        said: None,
    });
    (Config::parse(HOST_TOML).unwrap(), runs.into())
}

fn decide_round(times: u32) {
    let (config, runs) = failing();
    let batch: Vec<News<'_>> = runs.iter().map(News::Run).collect();
    let rules = Rules { looks: true, config: &config, silences: &[], now: AT.parse().unwrap() };
    for _ in 0..times {
        let decided = decide(&batch, &mut Standings::default(), rules);
        assert!(!black_box(decided).notices.is_empty());
    }
}

fn message(times: u32) {
    let (config, runs) = failing();
    let batch: Vec<News<'_>> = runs.iter().map(News::Run).collect();
    let rules = Rules { looks: true, config: &config, silences: &[], now: AT.parse().unwrap() };
    let decided = decide(&batch, &mut Standings::default(), rules);
    let zone = TimeZone::get("America/New_York").unwrap();
    for _ in 0..times {
        let composed = compose(&decided, &runs, &zone, Some("http://127.0.0.1:8000"));
        assert!(!black_box(composed).is_empty());
    }
}

fn query(times: u32) {
    const SQL: &str = "SELECT COUNT(*) AS records,
        COUNTIF(is_dnp = FALSE AND possessions IS NULL) AS null_possessions,
        COUNTIF(is_dnp = FALSE AND minutes_played IS NULL) AS null_minutes_played,
        COUNTIF(is_dnp = FALSE AND points IS NULL) AS null_points,
        AVG(IF(is_dnp = FALSE, possessions, NULL)) AS average_possessions
        FROM nba_analytics.player_game_summary WHERE game_date = @date";
    let columns = [
        ("game_date", Kind::Date),
        ("is_dnp", Kind::Bool),
        ("possessions", Kind::Int64),
        ("minutes_played", Kind::Float64),
        ("points", Kind::Int64),
    ];
    let columns =
        columns.map(|(name, kind)| Column { name: name.to_owned(), kind, stored: Some("shop.orders".into()) });
    let schema: &Schema<'_> = &|_| Ok(columns.to_vec());
    for _ in 0..times {
        let select = read(black_box(SQL), None).unwrap();
        let parameters = HashMap::from([("date".to_owned(), Kind::Date)]);
        black_box(translate(&select.query, schema, None, parameters).unwrap());
    }
}

/// A service with the nine checks of the sample pipeline, and the address of its page.
struct Served {
    runtime: Runtime,
    service: Arc<Service>,
    address: String,
    _directory: TempDir,
}

impl Served {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        make(directory.path(), &Moment::new(AT.parse().unwrap()).unwrap(), None).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let config = directory.path().join("host.toml");
        fs::write(&config, format!("{HOST_TOML}\n[web]\nlisten = \"{address}\"\n")).unwrap();
        // This program is not `host`, so the confined compiler must be the built one.
        host::confined::use_program(&binary("host"));
        let lock = directory.path().join("plugins.lock");
        let sources = Sources { config, lock, locked: false, plugins: shipped().unwrap(), checks: Vec::new() };
        let runtime = Runtime::new().unwrap();
        let service = runtime.block_on(async {
            let read = sources.read().unwrap();
            let taken = read.fingerprint;
            let host = read.host(async |_| Record::memory().await, Begin::Whole, |_| {}).await.unwrap();
            Service::new(host, sources, host::record::Own::default(), taken).await.unwrap()
        });
        Self { runtime, service, address, _directory: directory }
    }
}

fn page(times: u32) {
    let served = Served::new();
    let listening = served.runtime.block_on(web::listen(&served.service)).unwrap();
    let server = served.runtime.block_on(async { listening.map(web::Listening::serve) });
    let client = Client::at(served.address);
    for _ in 0..times {
        let answer = client.get("/");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    drop(server);
}
