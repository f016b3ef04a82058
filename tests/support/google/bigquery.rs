//! A stand-in for BigQuery, for features that the emulator lacks: faults, the bytes and tables of a dry run,
//! cancellation, `__TABLES__`. Methods: jobs.insert, jobs.get, jobs.getQueryResults, jobs.cancel, tables.get, as in
//! <https://cloud.google.com/bigquery/docs/reference/rest/v2>; errors as in
//! <https://cloud.google.com/bigquery/docs/error-messages>.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};

use super::super::http::{Address, Reply, Request, serve};

/// The methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    DryRun,
    Insert,
    Get,
    Results,
    Cancel,
    Table,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub request: Request,
}

/// The stand-in.
#[derive(Clone)]
pub struct BigQueryDouble {
    pub address: Address,
    desk: Arc<Mutex<Desk>>,
}

struct Desk {
    asked: Vec<Asked>,
    /// For the next requests of a method, in this order.
    faults: Vec<(Method, VecDeque<Reply>)>,
    /// Jobs by their id: what was inserted.
    jobs: BTreeMap<String, Value>,
    /// Why jobs fail, in this order; then they succeed.
    failures: VecDeque<Value>,
    statement: String,
    tables: Vec<(String, String)>,
    /// The locations of datasets; any other is in every location.
    locations: BTreeMap<String, String>,
    /// `dataset.view`
    views: Vec<String>,
    routines: Vec<(String, String)>,
    bytes: u64,
    fields: Value,
    rows: Vec<Value>,
    /// The word in queries that get a long answer, and the pages of that answer.
    lengthy: Option<(String, Vec<String>)>,
    cached: bool,
    version: u64,
    kind: String,
    /// Whether jobs never end.
    endless: bool,
    /// The time in its responses.
    date: String,
    page: usize,
    /// The extra delay of every answer, and the total so far.
    delay: Duration,
    busy: Duration,
}

/// An error in BigQuery's words.
pub fn error(code: u16, reason: &str, message: &str) -> Reply {
    let error = json!({ "error": {
        "code": code, "message": message, "errors": [{ "message": message, "domain": "global", "reason": reason }],
    } });
    Reply::Answer(code, error.to_string())
}

/// A row of values.
pub fn row(values: &[Value]) -> Value {
    json!({ "f": values.iter().map(|value| json!({ "v": value })).collect::<Vec<_>>() })
}

impl BigQueryDouble {
    /// Answers the query of the Phase 2 canary with good values.
    pub fn start() -> Result<Self> {
        let desk = Arc::new(Mutex::new(Desk {
            asked: Vec::new(),
            faults: Vec::new(),
            jobs: BTreeMap::new(),
            failures: VecDeque::new(),
            statement: "SELECT".to_owned(),
            tables: vec![("nba_raw".to_owned(), "nbac_player_boxscore".to_owned())],
            locations: BTreeMap::new(),
            views: Vec::new(),
            routines: Vec::new(),
            bytes: 25 << 20,
            fields: ["games", "player_records", "null_player_names", "null_team_abbrs"]
                .map(|name| json!({ "name": name, "type": "INTEGER", "mode": "NULLABLE" }))
                .to_vec()
                .into(),
            rows: vec![row(&["5", "120", "0", "0"].map(Value::from))],
            lengthy: None,
            cached: false,
            version: 1,
            kind: "TABLE".to_owned(),
            endless: false,
            date: String::new(),
            page: usize::MAX,
            delay: Duration::ZERO,
            busy: Duration::ZERO,
        }));
        let shared = desk.clone();
        let address = serve(move |request| {
            let started = Instant::now();
            let (reply, delay) = {
                let mut desk = lock(&shared);
                (desk.answer(request), desk.delay)
            };
            std::thread::sleep(delay);
            lock(&shared).busy += started.elapsed();
            reply
        })?;
        Ok(Self { address, desk })
    }

    /// The part of host.toml that uses it.
    pub fn warehouse(&self) -> String {
        format!(
            "[warehouse]\nkind = \"bigquery\"\nproject = \"nba-props-platform\"\nlocation = \"us-west2\"\nendpoint = \"{}\"\n",
            self.address.url()
        )
    }

    /// Answers the next requests of a method with these.
    pub fn answer_next(&self, method: Method, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.desk).faults.push((method, replies.into_iter().collect()));
    }

    /// The next jobs fail for this reason.
    pub fn fail_jobs(&self, failures: &[(&str, &str)]) {
        let failures = failures.iter().map(|(reason, message)| json!({ "reason": reason, "message": message }));
        lock(&self.desk).failures.extend(failures);
    }

    /// Sets the tables and bytes of the dry run.
    pub fn reads(&self, tables: &[(&str, &str)], bytes: u64) {
        let mut desk = lock(&self.desk);
        desk.tables = tables.iter().map(|(dataset, table)| ((*dataset).to_owned(), (*table).to_owned())).collect();
        desk.bytes = bytes;
    }

    /// Puts a dataset into a location; a query of it in another one does not find it.
    pub fn places(&self, dataset: &str, location: &str) {
        lock(&self.desk).locations.insert(dataset.to_owned(), location.to_owned());
    }

    /// `dataset.view` is a view; everything else is a table.
    pub fn shows(&self, view: &str) {
        lock(&self.desk).views.push(view.to_owned());
    }

    /// Sets the functions that the dry run says are called.
    pub fn calls(&self, routines: &[(&str, &str)]) {
        let routines = routines.iter().map(|(dataset, name)| ((*dataset).to_owned(), (*name).to_owned()));
        lock(&self.desk).routines = routines.collect();
    }

    /// Sets the statement type of the dry run.
    pub fn is_a(&self, statement: &str) {
        lock(&self.desk).statement = statement.to_owned();
    }

    /// Sets the answer of jobs: name and type of each column, the rows, and the rows of a page.
    pub fn holds(&self, fields: &[(&str, &str)], rows: Vec<Value>, page: usize) {
        let mut desk = lock(&self.desk);
        desk.fields = fields.iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect();
        (desk.rows, desk.page) = (rows, page);
    }

    /// Queries with this word get a number of pages, each with a number of rows with a text of a number of bytes.
    pub fn answers_at_length(&self, word: &str, pages: usize, rows: usize, bytes: usize) {
        let row = row(&["x".repeat(bytes).into()]);
        let page = |number: usize| {
            let mut page = json!({
                "jobComplete": true,
                "schema": { "fields": [{ "name": "text", "type": "STRING" }] },
                "totalRows": (pages * rows).to_string(),
                "totalBytesProcessed": "0",
                "rows": vec![&row; rows],
            });
            if number + 1 < pages {
                page["pageToken"] = (number + 1).to_string().into();
            }
            page.to_string()
        };
        lock(&self.desk).lengthy = Some((word.to_owned(), (0..pages).map(page).collect()));
    }

    /// Answers come from the cache.
    pub fn cached(&self) {
        lock(&self.desk).cached = true;
    }

    /// Changes the tables' version or type.
    pub fn change_tables(&self, kind: &str) {
        let mut desk = lock(&self.desk);
        desk.version += 1;
        desk.kind = kind.to_owned();
    }

    /// Delays every answer.
    pub fn delay(&self, delay: Duration) {
        lock(&self.desk).delay = delay;
    }

    /// The time of the answers since the last call.
    pub fn busy(&self) -> Duration {
        std::mem::take(&mut lock(&self.desk).busy)
    }

    /// Sets the time in its responses, in HTTP's format.
    pub fn dated(&self, date: &str) {
        lock(&self.desk).date = format!("date: {date}\r\n");
    }

    /// Jobs run without end.
    pub fn endless(&self) {
        lock(&self.desk).endless = true;
    }

    /// The requests of a method.
    pub fn asked(&self, method: Method) -> Vec<Request> {
        let desk = lock(&self.desk);
        desk.asked.iter().filter(|asked| asked.method == method).map(|asked| asked.request.clone()).collect()
    }

    /// The number of jobs.
    pub fn jobs(&self) -> usize {
        lock(&self.desk).jobs.len()
    }
}

impl Desk {
    fn answer(&mut self, request: &Request) -> Reply {
        let parts: Vec<&str> = request.path.trim_start_matches("/bigquery/v2/projects/").split('/').collect();
        let body = request.json();
        let method = match (request.method.as_str(), parts.as_slice()) {
            ("POST", [_, "jobs"]) if body["configuration"]["dryRun"] == true => Method::DryRun,
            ("POST", [_, "jobs"]) => Method::Insert,
            ("GET", [_, "jobs", _]) => Method::Get,
            ("GET", [_, "queries", _]) => Method::Results,
            ("POST", [_, "jobs", _, "cancel"]) => Method::Cancel,
            ("GET", [_, "datasets", _, "tables", _]) => Method::Table,
            ("GET", ["", ""]) => return Reply::With(404, self.date.clone(), String::new()),
            _ => return error(404, "notFound", &format!("no method {} {}", request.method, request.path)),
        };
        self.asked.push(Asked { method, request: request.clone() });
        let id = parts.get(2).copied().unwrap_or_default();
        // A fault on the way back comes after the work is done.
        let answer = match method {
            Method::DryRun => self.dry_run(&body),
            Method::Insert => self.insert(&body),
            Method::Get => self.get(id, &request.query),
            Method::Results => self.results(id, &request.query),
            Method::Cancel => Reply::ok(&json!({ "kind": "bigquery#jobCancelResponse" })),
            Method::Table => self.table(id, parts.get(4).copied().unwrap_or_default()),
        };
        let fault = self.faults.iter_mut().find(|(of, replies)| *of == method && !replies.is_empty());
        fault.and_then(|(_, replies)| replies.pop_front()).unwrap_or(answer)
    }

    fn table(&self, dataset: &str, table: &str) -> Reply {
        let view = self.views.contains(&format!("{dataset}.{table}"));
        Reply::ok(&json!({
            "kind": "bigquery#table",
            "tableReference": { "projectId": "nba-props-platform", "datasetId": dataset, "tableId": table },
            "schema": { "fields": self.fields },
            "type": if view { "VIEW" } else { &self.kind },
            "etag": "e",
            "lastModifiedTime": (1_770_000_000_000 + self.version).to_string(),
        }))
    }

    /// The error for a query in another location than its datasets.
    fn misplaced(&self, body: &Value) -> Option<Reply> {
        let location = body["jobReference"]["location"].as_str().unwrap_or_default();
        let sql = body["configuration"]["query"]["query"].as_str().unwrap_or_default();
        let elsewhere = |(dataset, place): &(&String, &String)| {
            sql.contains(&format!("`{dataset}`.")) && place.as_str() != location
        };
        let (dataset, _) = self.locations.iter().find(elsewhere)?;
        let words = format!("Not found: Dataset nba-props-platform:{dataset} was not found in location {location}");
        Some(error(404, "notFound", &words))
    }

    /// A job, if the request names its location.
    fn job(&self, id: &str, query: &str) -> Result<&Value, Reply> {
        let job = self.jobs.get(id).filter(|job| {
            let location = job["jobReference"]["location"].as_str().unwrap_or_default();
            query.split('&').any(|part| part == format!("location={location}"))
        });
        job.ok_or_else(|| error(404, "notFound", &format!("Not found: Job nba-props-platform:{id}")))
    }

    fn dry_run(&self, body: &Value) -> Reply {
        if let Some(misplaced) = self.misplaced(body) {
            return misplaced;
        }
        let references = |list: &[(String, String)], key: &str| -> Vec<Value> {
            let reference = |(dataset, name): &(String, String)| {
                let (project, dataset) = dataset.split_once('.').unwrap_or(("nba-props-platform", dataset));
                json!({ "projectId": project, "datasetId": dataset, key: name })
            };
            list.iter().map(reference).collect()
        };
        let mut statistics = json!({
            "totalBytesProcessed": self.bytes.to_string(),
            "statementType": self.statement,
            "referencedTables": references(&self.tables, "tableId"),
            "schema": { "fields": self.fields },
        });
        // Left out when there are none.
        if !self.routines.is_empty() {
            statistics["referencedRoutines"] = references(&self.routines, "routineId").into();
        }
        Reply::ok(&json!({
            "configuration": body["configuration"],
            "status": { "state": "DONE" },
            "statistics": { "totalBytesProcessed": self.bytes.to_string(), "query": statistics },
        }))
    }

    fn insert(&mut self, body: &Value) -> Reply {
        if let Some(misplaced) = self.misplaced(body) {
            return misplaced;
        }
        let id = body["jobReference"]["jobId"].as_str().unwrap_or_default().to_owned();
        if self.jobs.contains_key(&id) {
            return error(409, "duplicate", &format!("Already Exists: Job nba-props-platform:us-west2.{id}"));
        }
        let mut job = body.clone();
        job["status"] = json!({ "state": "RUNNING" });
        if let Some(failure) = self.failures.pop_front() {
            job["failure"] = failure;
        }
        self.jobs.insert(id, job.clone());
        Reply::ok(&job)
    }

    fn get(&self, id: &str, query: &str) -> Reply {
        let job = match self.job(id, query) {
            Ok(job) => job,
            Err(reply) => return reply,
        };
        let status = match &job["failure"] {
            Value::Null => json!({ "state": "DONE" }),
            failure => json!({ "state": "DONE", "errorResult": failure, "errors": [failure] }),
        };
        Reply::ok(&json!({ "status": status }))
    }

    fn results(&self, id: &str, query: &str) -> Reply {
        let job = match self.job(id, query) {
            Ok(job) => job,
            Err(reply) => return reply,
        };
        if self.endless {
            return Reply::ok(&json!({ "jobComplete": false }));
        }
        // The error of a failed job has the status of its reason.
        if let Some(reason) = job["failure"]["reason"].as_str() {
            let code = match reason {
                "backendError" | "jobBackendError" => 503,
                "internalError" | "jobInternalError" => 500,
                "accessDenied" | "quotaExceeded" | "rateLimitExceeded" | "responseTooLarge" => 403,
                "notFound" => 404,
                _ => 400,
            };
            return error(code, reason, job["failure"]["message"].as_str().unwrap_or_default());
        }
        let value = |name: &str| query.split('&').find_map(|part| part.strip_prefix(&format!("{name}=")));
        let most = value("maxResults").and_then(|most| most.parse().ok()).unwrap_or(usize::MAX).min(self.page);
        let from: usize = value("pageToken").and_then(|token| token.parse().ok()).unwrap_or_default();
        let asked = |word: &str| job["configuration"]["query"]["query"].as_str().is_some_and(|sql| sql.contains(word));
        if let Some((_, pages)) = self.lengthy.as_ref().filter(|(word, _)| asked(word)) {
            return Reply::Answer(200, pages[from].clone());
        }
        let to = from.saturating_add(most).min(self.rows.len());
        let listed = asked("__TABLES__");
        let (fields, rows) = match listed {
            true => (listing_fields(), listing()),
            false => (self.fields.clone(), self.rows[from..to].to_vec()),
        };
        let mut page = json!({
            "jobComplete": true,
            "schema": { "fields": fields },
            "totalRows": rows.len().max(if listed { 0 } else { self.rows.len() }).to_string(),
            "totalBytesProcessed": self.bytes.to_string(),
            "cacheHit": self.cached,
            "rows": rows,
        });
        if !listed && to < self.rows.len() {
            page["pageToken"] = to.to_string().into();
        }
        Reply::ok(&page)
    }
}

/// `__TABLES__`, with one table that was written in the evening of the data date and eleven since.
fn listing() -> Vec<Value> {
    (0..12)
        .map(|number| {
            let written = 1_770_350_400_000_i64 + number * 60_000;
            row(&[format!("table_{number:02}"), "10".to_owned(), "1000".to_owned(), written.to_string()]
                .map(Value::from))
        })
        .collect()
}

fn listing_fields() -> Value {
    [("table_id", "STRING"), ("row_count", "INTEGER"), ("size_bytes", "INTEGER"), ("last_modified_time", "INTEGER")]
        .map(|(name, kind)| json!({ "name": name, "type": kind }))
        .to_vec()
        .into()
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}
