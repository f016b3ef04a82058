//! A plugin that misbehaves as its settings say. The host must handle it.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use sdk::{
    About, Alert, Check, Error, Failure, Need, Query, Report, Repository, Request, Result, Row, Scalar, Severity,
    Since, Value, Verdict, Violation, measured,
};

sdk::settings! {
    /// Settings of the misbehaving plugin.
    pub struct Settings {
        /// The behaviour.
        pub behaviour: String = "pass",
        /// A query to ask, for `query`.
        pub sql: String = "SELECT 1",
        /// How often to ask, for behaviours that ask much.
        pub count: u32 = 100u32,
    }
}

/// Markup that would run if a page did not escape it.
const HOSTILE: &str =
    "<script>document.title='owned'</script>\"'><img src=x onerror=document.title='owned'>&lt;b&gt; \u{202e}\u{1b}[31m";

/// The same as Markdown.
const RUNBOOK: &str = "# Misbehaving <script>document.title='owned'</script>

<img src=x onerror=\"document.title='owned'\">

[click](javascript:document.title='owned') ![p](https://example.com/p.png) [fine](https://example.com/)
";

struct Misbehaving;

impl Check for Misbehaving {
    type Settings = Settings;
    const ABOUT: About = About {
        summary: "Misbehaves as told.",
        group: "misbehaving",
        cron: "*/30 * * * *",
        timezone: None,
        channel: "#canary-alerts",
        runbook: RUNBOOK,
    };

    fn needs(_: &Settings) -> Vec<Need> {
        Vec::new()
    }

    async fn run(request: Request, settings: Settings) -> Result<Report> {
        let pass = report(Verdict::Pass);
        Ok(match settings.behaviour.as_str() {
            "trap" => panic!("out of cheese"), // here: trap
            "expect an answer" => {
                Query::new(&settings.sql).rows().await.expect("an answer"); // here: expect an answer
                pass
            }
            "trap after an answer" => {
                let refused = Query::new("SELECT nothing FROM nba_raw.nbac_player_boxscore").rows().await;
                Query::new(&settings.sql).rows().await?;
                panic!("with {refused:?}") // here: trap after an answer
            }
            "sleep" => {
                std::thread::sleep(std::time::Duration::from_secs(130));
                pass
            }
            "doze" => {
                std::thread::sleep(std::time::Duration::from_secs(2));
                return Err(Failure::Other("I fell asleep".to_owned()));
            }
            "spin" => loop {
                std::hint::black_box(());
            },
            "allocate" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            "recurse" => {
                recurse(0);
                pass
            }
            "flood the log" => loop {
                eprintln!("{}", "x".repeat(1000));
            },
            "fail on its own" => return Err(Failure::Other("I would rather not".to_owned())),
            "pass with a violation" => Report { violations: vec![violation()], ..pass },
            "pass with a broken threshold" => {
                Report { metrics: vec![measured("games", Some(1.0)).at_least(2.0)], ..pass }
            }
            "pass without a value" => Report { metrics: vec![measured("games", None).at_least(2.0)], ..pass },
            "pass without knowing" => Report { unknown: vec!["whether it is so".to_owned()], ..pass },
            "fail without a violation" => report(Verdict::Fail),
            "not a number" => Report { metrics: vec![measured("games", Some(f64::NAN))], ..pass },
            "query" => {
                let row = asked(&request, settings.sql).await?;
                Report { summary: format!("{row:?}"), ..pass }
            }
            "null of a type" => {
                let row = Query::new(settings.sql).null("day", Scalar::Date).row().await?;
                Report { summary: format!("{row:?}"), ..pass }
            }
            "judge" => {
                let row = asked(&request, settings.sql).await?;
                let metrics = vec![measured("games", row.number("games")).at_least(2.0)];
                let violations = sdk::judge(&metrics);
                let verdict = if violations.is_empty() { Verdict::Pass } else { Verdict::Fail };
                Report { metrics, violations, ..report(verdict) }
            }
            "say the order" => {
                let asked = (0..settings.count).map(async |at| {
                    let answer = Query::new(settings.sql.replace("AT", &at.to_string())).rows().await;
                    println!("{at}: {}", answer.is_ok());
                    std::thread::sleep(std::time::Duration::from_millis(3));
                });
                sdk::join_all(asked).await;
                pass
            }
            "count the polls" => {
                let (mut answer, mut polls) = (std::pin::pin!(Query::new(&settings.sql).rows()), 0_u64);
                let polled = std::future::poll_fn(|context| {
                    polls += 1;
                    let polled = answer.as_mut().poll(context);
                    if polled.is_pending() {
                        context.waker().wake_by_ref();
                    }
                    polled
                });
                polled.await?;
                Report { summary: format!("{polls} polls"), ..pass }
            }
            "add up" => {
                let rows = Query::new(settings.sql).rows().await?;
                let sum: f64 = rows.iter().filter_map(|row| row.number("n")).sum();
                Report { summary: format!("{} rows, {sum} in all", rows.len()), ..pass }
            }
            "call without end" => {
                let mut last = None;
                for _ in 0..10_000 {
                    last = Query::new(&settings.sql).rows().await.err().or(last);
                }
                return Err(last.map_or(Failure::Other("never stopped".to_owned()), Failure::from));
            }
            "ask everything at once" => {
                let (services, paths) = (vec!["prediction-worker"; 20], vec!["scrapers".to_owned()]);
                let repository = Repository { name: None };
                let queries = sdk::join_all((0..20).map(|_| Query::new(&settings.sql).rows()));
                let commits = sdk::join_all((0..20).map(|_| repository.latest(&paths)));
                let deployed = sdk::join_all(services.iter().map(|service| sdk::lookup(service)));
                let posted = Alert::new(&request.channel, Severity::Info, "Busy", "with everything").post();
                let ((queries, ..), (_, posted)) =
                    sdk::join(sdk::join(queries, commits), sdk::join(deployed, posted)).await;
                posted?;
                for answer in queries {
                    answer?;
                }
                pass
            }
            "count answers" => {
                let asked = (0..settings.count).map(|at| Query::new(format!("{} -- {at}", settings.sql)).rows());
                // Each is dropped at once.
                let counted = asked.map(async |answer| answer.await.map(|rows| rows.len()));
                let (mut answers, mut errors) = (0, 0);
                for answer in sdk::join_all(counted).await {
                    match answer {
                        Ok(_) => answers += 1,
                        Err(_) => errors += 1,
                    }
                }
                Report { summary: format!("{answers} answers, {errors} errors"), ..pass }
            }
            "ask for the whole history" => {
                let (repository, paths) = (Repository { name: None }, paths());
                let asked = (0..settings.count).map(|_| repository.changes(Since::Time(0), &paths, u32::MAX));
                let counted = asked.map(async |answer| answer.await.map(|history| history.commits.len()));
                let mut commits = 0;
                for answer in sdk::join_all(counted).await {
                    commits += answer?;
                }
                Report { summary: format!("{commits} commits"), ..pass }
            }
            "drop what was asked" => {
                let (repository, paths) = (Repository { name: None }, paths());
                for at in 0..settings.count {
                    let changes = begun(repository.changes(Since::Time(0), &paths, u32::MAX)).await;
                    // Most are dropped before their walk has begun.
                    if at % 8 == 0 {
                        sdk::lookup("prediction-worker").await?;
                    }
                    drop(changes);
                }
                pass
            }
            "roll dice" => {
                let dice = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 6);
                Report { summary: format!("{dice}"), ..pass }
            }
            "list tables" => {
                sdk::tables("nba_raw").await?;
                pass
            }
            "look up git" => {
                Repository { name: None }.latest(&["scrapers".to_owned()]).await?;
                pass
            }
            "look up a deployment" => {
                sdk::lookup("prediction-worker").await?;
                pass
            }
            "post elsewhere" => {
                Alert::new("#deployment-alerts", Severity::Info, "Hello", "from elsewhere").post().await?;
                pass
            }
            "ask thousands at once" => {
                let queries = (0..5000).map(|_| Query::new(&settings.sql).rows());
                let answers = sdk::join_all(queries).await;
                match answers.into_iter().find_map(std::result::Result::err) {
                    Some(error) => return Err(error.into()),
                    None => pass,
                }
            }
            "alert enormously" => {
                Alert::new(&request.channel, Severity::Info, "Much", "and more ".repeat(100_000)).post().await?;
                pass
            }
            "report enormously" => Report { summary: "much, and more ".repeat(10_000), ..pass },
            "report many metrics" => {
                let metric = |at: u32| measured(format!("metric {at} of very many"), Some(f64::from(at))).at_least(0.0);
                Report { metrics: (0..13_000).map(metric).collect(), ..pass }
            }
            "report ever new metrics" => {
                let row = asked(&request, settings.sql).await?;
                let name = format!("{row:?} {}", "n".repeat(700));
                let metric = |at: u32| measured(format!("{at} {name}"), Some(1.0)).at_least(0.0);
                match row.number("games") {
                    Some(games) if games > 0.0 => Report { metrics: (0..1000).map(metric).collect(), ..pass },
                    _ => Report { violations: vec![violation()], ..report(Verdict::Fail) },
                }
            }
            "alert as much as it may" => {
                let row = asked(&request, settings.sql).await?;
                for _ in 0..20 {
                    Alert::new(&request.channel, Severity::Info, "Much", "m".repeat(225 << 10)).post().await?;
                }
                let metrics = vec![measured("games", row.number("games")).at_least(-1e300)];
                let violations = sdk::judge(&metrics);
                let verdict = if violations.is_empty() { Verdict::Pass } else { Verdict::Fail };
                Report { metrics, violations, ..report(verdict) }
            }
            "ask and spin" => {
                asked(&request, settings.sql).await?;
                loop {
                    std::hint::black_box(());
                }
            }
            "report many violations" => Report {
                violations: (0..100_000)
                    .map(|at| Violation { metric: None, message: format!("row {at} is wrong") })
                    .collect(),
                ..report(Verdict::Fail)
            },
            "report long texts" => Report {
                summary: "s".repeat(1 << 20),
                violations: vec![Violation { metric: None, message: "v".repeat(1 << 20) }],
                gate: Some(sdk::Gate {
                    score: 0.0,
                    completeness: None,
                    expected: 1,
                    actual: 0,
                    missing: vec!["m".repeat(1 << 20)],
                    metadata: vec![("n".repeat(1 << 20), "w".repeat(1 << 20))],
                }),
                ..report(Verdict::Fail)
            },
            "alert without end" => loop {
                Alert::new(&request.channel, Severity::Info, "Again", "and again").post().await?;
            },
            "swallow an error" => match Query::new(settings.sql).rows().await {
                Err(Error::Denied(message)) => Report { summary: format!("denied: {message}"), ..pass },
                other => Report { summary: format!("{other:?}"), ..pass },
            },
            "tell the time" => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                Report { summary: format!("{} {}", since.unwrap_or_default().as_secs(), request.due), ..pass }
            }
            "look around" => {
                let tried = [
                    format!("environment {}", std::env::vars().count()),
                    format!("arguments {}", std::env::args().count()),
                    format!("file {}", std::fs::read("/etc/passwd").is_ok()),
                    format!("directory {}", std::fs::read_dir("/").is_ok()),
                    format!("socket {}", std::net::TcpStream::connect("127.0.0.1:80").is_ok()),
                    format!("name {}", std::net::ToSocketAddrs::to_socket_addrs("localhost:80").is_ok()),
                ];
                Report { summary: tried.join(", "), ..pass }
            }
            "say hostile things" => {
                let hostile =
                    format!("{HOSTILE} {}", Query::new(&settings.sql).row().await?.text("name").unwrap_or_default());
                let mut metric = measured(&hostile, Some(1.0)).at_least(2.0);
                metric.unit = Some(hostile.clone());
                eprintln!("{hostile}");
                Alert::new(&request.channel, Severity::Critical, &hostile, &hostile)
                    .lines(&hostile, [hostile.clone()])
                    .steps([sdk::step(&hostile, &hostile)])
                    .post()
                    .await?;
                Report {
                    verdict: Verdict::Fail,
                    summary: hostile.clone(),
                    metrics: vec![metric],
                    violations: vec![Violation { metric: Some(hostile.clone()), message: hostile.clone() }],
                    unknown: vec![hostile.clone()],
                    gate: Some(sdk::Gate {
                        score: 0.5,
                        completeness: Some(50.0),
                        expected: 2,
                        actual: 1,
                        missing: vec![hostile.clone()],
                        metadata: vec![(hostile.clone(), hostile)],
                    }),
                }
            }
            "show rows" => {
                let columns = ["name", "note", "nothing"].map(str::to_owned);
                for at in 0..settings.count {
                    let (name, note) = match at % 2 {
                        0 => ("<!channel> & <@U1>".to_owned(), "long ".repeat(1000)),
                        _ => (HOSTILE.to_owned(), "\u{0}\u{1b}[31m".to_owned()),
                    };
                    sdk::evidence_rows("names", &columns, &[vec![Value::Text(name), Value::Text(note), Value::Null]])?;
                }
                Report { violations: vec![violation()], ..report(Verdict::Fail) }
            }
            "show ever new tables" => {
                for at in 0..settings.count {
                    let column = format!("{at} {}", "c".repeat(1000));
                    sdk::evidence_rows(&column, std::slice::from_ref(&column), &[vec![Value::Integer(at.into())]])?;
                }
                Report { violations: vec![violation()], ..report(Verdict::Fail) }
            }
            "speak" => {
                println!("{}", settings.sql);
                pass
            }
            "skip" => report(Verdict::Skip("nothing to do".to_owned())),
            "warn" => Report { violations: vec![violation()], ..report(Verdict::Warn) },
            _ => pass,
        })
    }
}

fn report(verdict: Verdict) -> Report {
    Report {
        verdict,
        summary: "fine".to_owned(),
        metrics: Vec::new(),
        violations: Vec::new(),
        unknown: Vec::new(),
        gate: None,
    }
}

fn violation() -> Violation {
    Violation { metric: None, message: "it is not so".to_owned() }
}

/// One row, for the run's date.
async fn asked(request: &Request, sql: String) -> Result<Row> {
    Ok(Query::new(sql).date("date", &request.data_date).row().await?)
}

/// As many paths as one lookup may have: those of the sample that change, and some that never were.
fn paths() -> Vec<String> {
    let directories = ["scrapers", "shared", "predictions/worker", "services/admin_dashboard", "data_processors/raw"];
    let files = directories.iter().flat_map(|directory| (0..20).map(move |at| format!("{directory}/module_{at}.py")));
    files.collect()
}

/// Begins a call and does not wait for it.
async fn begun<F: Future>(call: F) -> std::pin::Pin<Box<F>> {
    let mut call = Box::pin(call);
    std::future::poll_fn(|context| {
        // Whether it is answered already does not matter.
        let _ = call.as_mut().poll(context);
        std::task::Poll::Ready(())
    })
    .await;
    call
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(recurse(std::hint::black_box(depth + 1)) + 1)
}

sdk::export!(Misbehaving);
