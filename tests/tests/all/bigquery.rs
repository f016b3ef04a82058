//! Features that the BigQuery emulator lacks: the estimate before a byte is billed, named and cancelled jobs, and every
//! fault of BigQuery and of the network.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    AT,
    command::{Ended, Sample, ended, shipped},
    google::{
        asking,
        bigquery::{BigQueryDouble, Method, error, row},
        identity::IdentityDouble,
    },
    http::Reply,
    watched::Watched,
};

/// A sample that asks the stand-in, with credentials from a metadata server.
pub(super) struct Cloud {
    pub(super) sample: Sample,
    pub(super) bigquery: BigQueryDouble,
    pub(super) identity: IdentityDouble,
}

impl Cloud {
    pub(super) fn new() -> Self {
        let cloud = Self {
            sample: Sample::new(None).unwrap(),
            bigquery: BigQueryDouble::start().unwrap(),
            identity: IdentityDouble::start(3600).unwrap(),
        };
        cloud.configure("");
        cloud
    }

    /// Writes host.toml, with something more.
    pub(super) fn configure(&self, more: &str) {
        self.sample.configure(&format!("{}\n{more}", asking(&self.bigquery.warehouse()))).unwrap();
    }

    /// Writes a file of credentials.
    pub(super) fn write(&self, name: &str, file: &Value) {
        std::fs::write(self.sample.path().join(name), file.to_string()).unwrap();
    }

    /// Runs one check.
    pub(super) fn check(&self, name: &str) -> Ended {
        self.check_with(name, &[])
    }

    /// Runs one check, with variables in its environment.
    pub(super) fn check_with(&self, name: &str, environment: &[(&str, &str)]) -> Ended {
        let mut command = self.sample.command();
        command.env("GCE_METADATA_HOST", self.identity.address.host()).envs(environment.iter().copied());
        command.args(["run", "--once", "--at", AT, "--output", "json", "--check", name]);
        ended(command.args(shipped().unwrap())).unwrap()
    }

    /// Runs the Phase 2 canary, which must not be evaluated; returns the error.
    pub(super) fn error(&self) -> String {
        let ended = self.check("phase2-raw");
        let run = ended.run("phase2-raw");
        assert_eq!((ended.code, &run["status"], &run["verdict"]), (3, &json!("error"), &Value::Null), "{ended:?}");
        run["error"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_query_is_run_dry_and_then_is_a_job_that_says_whose_it_is() {
    let cloud = Cloud::new();
    let ended = cloud.check("phase2-raw");
    assert_eq!((ended.code, &ended.run("phase2-raw")["status"]), (0, &json!("pass")), "{ended:?}");
    let call = &ended.run("phase2-raw")["calls"][0];
    assert_eq!((&call["name"], &call["bytes"]), (&json!("warehouse.query"), &json!(25 << 20)));

    let [dry] = cloud.bigquery.asked(Method::DryRun).try_into().unwrap();
    assert_eq!(dry.json()["configuration"]["query"]["useQueryCache"], false, "the cache knows no bytes");
    let [insert] = cloud.bigquery.asked(Method::Insert).try_into().unwrap();
    assert_eq!(insert.header("authorization"), "Bearer token-1");
    let job = insert.json();
    let id = job["jobReference"]["jobId"].as_str().unwrap();
    assert!(id.starts_with("host_phase2-raw_"), "{id}");
    assert_eq!(job["jobReference"]["location"], "us-west2");
    let configuration = &job["configuration"];
    assert_eq!(
        configuration["labels"],
        json!({ "check": "phase2-raw", "plugin": "phase2-raw", "run": "2026-02-05-2026-02-06t11-30-00z-1" })
    );
    let timeout: u64 = configuration["jobTimeoutMs"].as_str().unwrap().parse().unwrap();
    assert!((25_000..=30_000).contains(&timeout), "{timeout}");
    let query = &configuration["query"];
    assert_eq!(query["maximumBytesBilled"], (10_u64 << 30).to_string());
    assert_eq!((&query["useLegacySql"], &query["useQueryCache"]), (&json!(false), &json!(true)));
    assert_eq!(
        query["queryParameters"],
        json!([{ "name": "date", "parameterType": { "type": "DATE" }, "parameterValue": { "value": "2026-02-05" } }])
    );
    let [results] = cloud.bigquery.asked(Method::Results).try_into().unwrap();
    // Four columns of 100,000 values.
    assert!(results.query.contains("location=us-west2") && results.query.contains("maxResults=25000"), "{results:?}");
    assert!(cloud.bigquery.asked(Method::Cancel).is_empty(), "a finished job needs no cancelling");
}

/// `__TABLES__` is queried in the project, without the cache.
#[test]
fn a_dataset_is_listed_from_its_metadata() {
    let cloud = Cloud::new();
    let ended = cloud.check("phase1-scrapers");
    assert_eq!(ended.run("phase1-scrapers")["status"], "pass", "{ended:?}");
    let [insert] = cloud.bigquery.asked(Method::Insert).try_into().unwrap();
    let query = &insert.json()["configuration"]["query"];
    assert!(query["query"].as_str().unwrap().contains("FROM `nba-props-platform`.`nba_raw`.__TABLES__"));
    assert_eq!(query["useQueryCache"], false);
    assert!(cloud.bigquery.asked(Method::DryRun).is_empty(), "metadata costs nothing");
}

/// Denied queries never become a job.
#[test]
fn what_the_dry_run_says_is_held_against_grants_and_budgets() {
    for (name, change, expected) in [
        (
            "another statement",
            (|double| double.is_a("DELETE")) as fn(&BigQueryDouble),
            "BigQuery says this is `DELETE`, not a SELECT",
        ),
        ("a script", |double| double.is_a("SCRIPT"), "says this is `SCRIPT`"),
        (
            "a view into a dataset that is not granted",
            |double| double.reads(&[("nba_raw", "v"), ("payroll", "salaries")], 1),
            "dataset payroll is not granted; add \"payroll\" to grants.phase2-raw.warehouse",
        ),
        (
            "a view into another project",
            |double| double.reads(&[("elsewhere.nba_raw", "t")], 1),
            "it reads elsewhere.nba_raw.t, which is in another project",
        ),
        (
            "too many bytes",
            |double| double.reads(&[("nba_raw", "nbac_player_boxscore")], 11 << 30),
            "raise budgets.query_bytes, or grants.phase2-raw.budgets.query_bytes",
        ),
        ("more tables than are named", |double| double.reads(&[("nba_raw", "t"); 50], 1), "does not name them all"),
    ] {
        let cloud = Cloud::new();
        change(&cloud.bigquery);
        let error = cloud.error();
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(cloud.bigquery.jobs(), 0, "{name}");
    }
}

/// A table may ask for a filter on its partitions.
#[test]
fn a_filter_that_is_missing_is_told_with_its_column() {
    let cloud = Cloud::new();
    let words = "Cannot query over table 'nba_raw.nbac_player_boxscore' without a filter over column(s) 'game_date' that can be \
                 used for partition elimination";
    cloud.bigquery.answer_next(Method::DryRun, [error(400, "invalidQuery", words)]);
    let error = cloud.error();
    let advice = "; add a condition on game_date to the query's WHERE, such as `game_date = @date` (canary-sql: the setting \
                  `where`)";
    assert!(error.contains(advice), "{error}");
}

/// The condition of a check is part of every query, so that a table that asks for a filter has one.
#[test]
fn the_columns_are_asked_for_with_the_condition() {
    let cloud = Cloud::new();
    cloud.bigquery.reads(&[("nba_predictions", "t")], 1);
    cloud.bigquery.holds(&[("row_count", "INTEGER")], vec![row(&[json!("5")])], 10);
    cloud.configure(
        "[checks.scores]\nplugin = \"canary-sql\"\n[checks.scores.settings]\ntable = \"nba_predictions.t\"\n\
         where = \"game_date = @date\"\nrow_count = { min = 1 }\nschema = { row_count = \"INT64\" }\n",
    );
    let ended = cloud.check("scores");
    assert_eq!(ended.run("scores")["status"], "pass", "{ended:?}");
    let dry = cloud.bigquery.asked(Method::DryRun);
    let sql = |request: &crate::support::http::Request| request.json()["configuration"]["query"]["query"].to_string();
    let asked: Vec<String> = dry.iter().map(sql).collect();
    assert!(asked.iter().all(|sql| sql.contains("`game_date` = @date")), "{asked:?}");
    assert!(asked.iter().any(|sql| sql.contains("SELECT *") && sql.contains("AND FALSE")), "{asked:?}");
}

/// Each fault of each method: a temporary fault is retried and not reported, a permanent one is an error with its
/// meaning.
#[test]
fn every_fault_means_one_thing() {
    let lasting = |reply: Reply| vec![reply; 1000];
    let cases: Vec<(&str, Method, Vec<Reply>, &str)> = vec![
        (
            "accessDenied",
            Method::DryRun,
            vec![error(403, "accessDenied", "Access Denied: Table t")],
            "need roles/bigquery.jobUser",
        ),
        (
            "notFound",
            Method::DryRun,
            vec![error(404, "notFound", "Not found: Table t")],
            "Not found: Table t (404 notFound)",
        ),
        (
            "invalidQuery",
            Method::DryRun,
            vec![error(400, "invalidQuery", "Unrecognized name: x at [1:8]")],
            "Unrecognized name: x at [1:8]",
        ),
        (
            "quotaExceeded",
            Method::Insert,
            vec![error(403, "quotaExceeded", "Quota exceeded")],
            "a quota is used up: https://console.cloud.google.com",
        ),
        (
            "bytesBilled",
            Method::Insert,
            vec![error(400, "bytesBilledLimitExceeded", "10 billed")],
            "raise budgets.query_bytes",
        ),
        (
            "responseTooLarge",
            Method::Results,
            vec![error(403, "responseTooLarge", "Too large")],
            "select fewer columns or rows",
        ),
        ("rate limit that passes", Method::Insert, vec![error(403, "rateLimitExceeded", "slow down")], ""),
        ("backend that passes", Method::Insert, vec![error(503, "backendError", "later"); 2], ""),
        ("internal that passes", Method::DryRun, vec![error(500, "internalError", "oops")], ""),
        ("a reset", Method::Insert, vec![Reply::Reset], ""),
        ("a cut-off answer", Method::Results, vec![Reply::CutOff("{\"jobComplete\": true, \"ro".to_owned())], ""),
        (
            "half an answer that ends well",
            Method::Results,
            vec![Reply::Answer(200, "{\"jobComplete\": true, \"ro".to_owned())],
            "",
        ),
        ("a page of a proxy", Method::Results, vec![Reply::Answer(200, "<html>Log in</html>".to_owned())], ""),
        (
            "a lasting page",
            Method::Insert,
            lasting(Reply::Answer(502, "<html>Bad gateway</html>".to_owned())),
            "with a page, as a proxy or a login does: <html>Bad gateway</html>",
        ),
        (
            "lasting rate limit",
            Method::DryRun,
            lasting(error(403, "rateLimitExceeded", "slow down")),
            "retried until this run's time was up",
        ),
        ("lasting backend", Method::Results, lasting(error(503, "backendError", "later")), "later (503 backendError)"),
        // What the client of BigQuery cannot read: an error without a list of errors, one that only its details tell apart,
        // one without words, and one that is not an object.
        (
            "an error of the newer kind",
            Method::DryRun,
            lasting(Reply::Answer(
                403,
                json!({ "error": { "code": 403, "message": "Denied", "status": "PERMISSION_DENIED" } }).to_string(),
            )),
            "Denied (403 PERMISSION_DENIED); the host's own credentials need",
        ),
        (
            "an error with details",
            Method::Insert,
            lasting(detailed("BILLING_DISABLED")),
            "the project has no active billing account",
        ),
        ("a bare status", Method::Insert, lasting(Reply::Answer(403, String::new())), "answered 403: "),
        ("a list of errors", Method::DryRun, lasting(Reply::Answer(400, "[]".to_owned())), "answered 400: []"),
        ("an error of the newer kind that passes", Method::Insert, vec![detailed("RATE_LIMIT_EXCEEDED"); 2], ""),
        ("hanging", Method::DryRun, lasting(Reply::Hang), "no answer in time"),
        ("lasting resets", Method::Insert, lasting(Reply::Reset), "not reached"),
    ];
    // Each mostly waits; run a few at a time, so that none waits for the machine.
    let waiting = std::sync::Mutex::new(cases.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
                    let Some((name, method, replies, expected)) = next else { break };
                    fault(name, method, replies, expected);
                }
            });
        }
    });
}

/// An error whose list names no reason that is known; its details do.
fn detailed(reason: &str) -> Reply {
    let error = json!({
        "code": 429, "message": "No", "status": "RESOURCE_EXHAUSTED", "errors": [{ "reason": "forbidden", "message": "No" }],
        "details": [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "metadata": {} }],
    });
    Reply::Answer(429, json!({ "error": error }).to_string())
}

/// A server that asks for a pause gets it: one short retry finds out, and the next comes when the server said.
#[test]
fn a_pause_that_the_server_asks_for_is_kept() {
    let cloud = Cloud::new();
    let busy = || {
        let Reply::Answer(status, body) = error(503, "backendError", "later") else { unreachable!() };
        Reply::With(status, "retry-after: 3\r\n".to_owned(), body)
    };
    cloud.bigquery.answer_next(Method::Insert, [busy(), busy()]);
    let began = std::time::Instant::now();
    assert_eq!(cloud.check("phase2-raw").code, 0);
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((cloud.bigquery.asked(Method::Insert).len(), cloud.bigquery.jobs()), (3, 1));
}

/// A pause without end, and one of nothing: neither breaks a clock, and neither is asked without a pause.
#[test]
fn a_pause_that_makes_no_sense_is_bounded() {
    for (seconds, most) in [("18446744073709551615", 3), ("0", 60)] {
        let cloud = Cloud::new();
        cloud.configure("[grants.phase2-raw.budgets]\ntimeout = \"4s\"\n");
        let Reply::Answer(status, body) = error(503, "backendError", "later") else { unreachable!() };
        let busy = Reply::With(status, format!("retry-after: {seconds}\r\n"), body);
        cloud.bigquery.answer_next(Method::DryRun, vec![busy; 1000]);
        let error = cloud.error();
        assert!(error.contains("later (503 backendError)"), "{error}");
        let asked = cloud.bigquery.asked(Method::DryRun).len();
        assert!((2..=most).contains(&asked), "{seconds}: {asked}");
    }
}

/// A column of a type that has no value in the contract, and that the client of BigQuery cannot read.
#[test]
fn a_column_of_a_type_that_cannot_be_read_is_named() {
    let cloud = Cloud::new();
    for (fields, named) in [
        (&[("games", "INTEGER"), ("valid", "RANGE")][..], "column valid has the type RANGE"),
        (&[("games", "INTEGER"), ("shape", "SOMETHING_NEW")][..], "column shape has the type SOMETHING_NEW"),
    ] {
        cloud.bigquery.holds(fields, vec![row(&["1".into(), "[2026-02-05, 2026-02-06)".into()])], usize::MAX);
        let error = cloud.error();
        assert!(error.contains(named) && error.contains("convert it in the query"), "{error}");
        assert_eq!(cloud.bigquery.jobs(), 0, "the dry run says it, before a byte is billed");
    }
}

/// The result of a fault: none if `expected` is empty.
fn fault(name: &str, method: Method, replies: Vec<Reply>, expected: &str) {
    let cloud = Cloud::new();
    cloud.configure("[grants.phase2-raw.budgets]\ntimeout = \"4s\"\n");
    cloud.bigquery.answer_next(method, replies);
    if expected.is_empty() {
        let ended = cloud.check("phase2-raw");
        assert_eq!((ended.code, &ended.run("phase2-raw")["status"]), (0, &json!("pass")), "{name}: {ended:?}");
        assert_eq!(cloud.bigquery.jobs(), 1, "{name}: paid once");
    } else {
        let error = cloud.error();
        assert!(error.contains(expected) && error.starts_with("query"), "{name}: {error}");
    }
}

#[test]
fn a_job_is_cancelled_when_its_run_is_over() {
    let cloud = Cloud::new();
    cloud.configure("[grants.phase2-raw.budgets]\ntimeout = \"2s\"\n");
    cloud.bigquery.endless();
    let error = cloud.error();
    // Either timeout may be first, depending on the load.
    assert!(error.contains("no answer in time") || error.contains("timed out after 2 s"), "{error}");
    let [cancelled] = cloud.bigquery.asked(Method::Cancel).try_into().unwrap();
    let id = cloud.bigquery.asked(Method::Insert)[0].json()["jobReference"]["jobId"].as_str().unwrap().to_owned();
    assert!(cancelled.path.ends_with(&format!("/jobs/{id}/cancel")), "{}", cancelled.path);
    assert_eq!(cancelled.query, "location=us-west2");
}

/// Ctrl-C, and SIGTERM as Cloud Run sends it.
#[test]
fn jobs_are_cancelled_when_the_host_is_stopped() {
    for signal in ["-INT", "-TERM"] {
        let cloud = Cloud::new();
        cloud.bigquery.endless();
        let mut command = cloud.sample.command();
        command.env("GCE_METADATA_HOST", cloud.identity.address.host());
        command.args(["run", "--once", "--at", AT, "--check", "phase2-raw"]).args(shipped().unwrap());
        let mut host = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        for _ in 0..500 {
            if !cloud.bigquery.asked(Method::Results).is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        std::process::Command::new("kill").args([signal, &host.id().to_string()]).status().unwrap();
        let code = host.wait().unwrap().code();
        assert_eq!(code, Some(if signal == "-INT" { 130 } else { 143 }));
        let [cancel] = cloud.bigquery.asked(Method::Cancel).try_into().unwrap();
        // Google refuses a POST without a length, with 411.
        assert_eq!(cancel.header("content-length"), "2", "{signal}");
    }
}

/// An estimate is valid as long as the query and its tables do not change.
#[test]
fn an_estimate_is_made_again_only_when_a_table_changes() {
    let bigquery = BigQueryDouble::start().unwrap();
    let google = "[google]\ncredentials = \"none\"\n";
    let toml = asking(&format!("{google}{}", bigquery.warehouse()));
    let watched = Watched::new(&["phase2-raw"], |_| toml.clone()).unwrap();
    let run = |minute: i64| {
        let at = AT.parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_mins(minute);
        let run = watched.run_at("phase2-raw", at).unwrap();
        assert_eq!(run.error, None);
        (bigquery.asked(Method::DryRun).len(), bigquery.asked(Method::Table).len(), bigquery.jobs())
    };
    assert_eq!(run(0), (1, 1, 1));
    assert_eq!(run(30), (1, 2, 2), "nobody wrote to the table");
    bigquery.change_tables("TABLE");
    assert_eq!(run(60), (2, 3, 3), "someone did");
    bigquery.change_tables("VIEW");
    run(90);
    assert_eq!(run(120).0, 4, "the tables of a view can change without the view");
    bigquery.change_tables("TABLE");
    assert_eq!(run(150).0, 5);
    assert_eq!(run(180).0, 5);
}

#[test]
fn an_answer_has_the_columns_and_types_that_it_says() {
    let cloud = Cloud::new();
    for (fields, row_given, expected) in [
        (
            vec![("games", "INTEGER")],
            row(&[json!("many")]),
            "column games is INT64 but holds \"many\", which is not a valid INT64",
        ),
        (vec![("games", "INTEGER"), ("x", "STRING")], row(&[json!("1")]), "a row has 1 values for 2 columns"),
        (vec![("games", "FLOAT")], row(&[json!("1.5.2")]), "column games is FLOAT64"),
        (vec![("at", "TIMESTAMP")], row(&[json!("soon")]), "column at is TIMESTAMP"),
    ] {
        cloud.bigquery.holds(&fields, vec![row_given], 10);
        let error = cloud.error();
        assert!(error.contains(expected), "{error}");
    }
}

/// A name that does not exist, and a server without TLS.
#[test]
fn an_address_that_does_not_exist_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let cloud = Cloud::new();
    // RFC 6761 reserves the name for this; some resolvers are slow to answer.
    for (endpoint, expected) in
        [("https://bigquery.invalid", &["not reached", "no answer in time"][..]), (&plain, &["not reached"][..])]
    {
        let warehouse = format!(
            "[warehouse]\nkind = \"bigquery\"\nproject = \"p\"\nlocation = \"US\"\nendpoint = \"{endpoint}\"\n[grants.phase2-raw.budgets]\ntimeout = \"4s\"\n"
        );
        cloud.sample.configure(&asking(&warehouse)).unwrap();
        let error = cloud.error();
        assert!(expected.iter().any(|words| error.contains(words)), "{endpoint}: {error}");
    }
}
