//! The BigQuery emulator `bqemulator`, on a free port, for as long as a test uses it. `cargo xtask test` installs it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, types::ValueRef};
use serde_json::{Map, Value, json};

use super::super::{command::binary, http::post};

/// A running emulator; it ends with its last user.
pub struct Emulator {
    process: Child,
    port: u16,
}

/// The running one, if any, since it takes seconds to start.
static RUNNING: Mutex<Weak<Emulator>> = Mutex::new(Weak::new());

/// The emulator, started if need be.
pub fn emulator() -> Result<Arc<Emulator>> {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(emulator) = running.upgrade() {
        return Ok(emulator);
    }
    let emulator = Arc::new(Emulator::start()?);
    *running = Arc::downgrade(&emulator);
    Ok(emulator)
}

impl Emulator {
    fn start() -> Result<Self> {
        let home = installed();
        let program = home.join("bin/bqemulator");
        ensure!(program.is_file(), "{} is not there: run `cargo xtask test`", program.display());
        let mut process = Command::new(program)
            .args(["start", "--rest-port", "0", "--grpc-port", "0", "--log-format", "json"])
            .env("HOME", &home)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut err = BufReader::new(process.stderr.take().context("no standard error")?);
        let mut out = BufReader::new(process.stdout.take().context("no standard output")?);
        let (found, port) = std::sync::mpsc::channel();
        let also = found.clone();
        std::thread::spawn(move || listen(&mut out, &found));
        std::thread::spawn(move || listen(&mut err, &also));
        let port = port.recv_timeout(std::time::Duration::from_secs(60)).context("the emulator does not start")?;
        Ok(Self { process, port })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The part of host.toml that uses a project on it.
    pub fn warehouse(&self, project: &str) -> String {
        format!(
            "[google]\ncredentials = \"none\"\n[warehouse]\nkind = \"bigquery\"\nproject = \"{project}\"\nlocation = \"US\"\nendpoint = \"{}\"\n",
            self.url()
        )
    }

    /// Copies every dataset of a directory into a project.
    pub fn load(&self, project: &str, directory: &Path) -> Result<()> {
        for file in std::fs::read_dir(directory)? {
            let path = file?.path();
            let dataset = path.file_stem().and_then(|name| name.to_str()).context("a name")?.to_owned();
            if path.extension().is_none_or(|extension| extension != "db") {
                continue;
            }
            self.post(
                &format!("{project}/datasets"),
                &json!({ "datasetReference": { "projectId": project, "datasetId": dataset } }),
            )?;
            let connection = Connection::open(&path)?;
            let tables: Vec<String> = connection
                .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for table in tables {
                self.load_table(project, &dataset, &table, &connection)?;
            }
        }
        Ok(())
    }

    fn load_table(&self, project: &str, dataset: &str, table: &str, connection: &Connection) -> Result<()> {
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{table}\""))?;
        let fields: Vec<(String, String)> = statement
            .columns()
            .iter()
            .map(|column| {
                let kind = column.decl_type().unwrap_or("TEXT").to_uppercase();
                let kind = if kind == "TEXT" { "STRING".to_owned() } else { kind };
                (column.name().to_owned(), kind)
            })
            .collect();
        let schema: Vec<Value> = fields.iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect();
        let reference = json!({ "projectId": project, "datasetId": dataset, "tableId": table });
        self.post(
            &format!("{project}/datasets/{dataset}/tables"),
            &json!({ "tableReference": reference, "schema": { "fields": schema } }),
        )?;
        let mut rows = Vec::new();
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let mut values = Map::new();
            for (place, (name, kind)) in fields.iter().enumerate() {
                let value = match row.get_ref(place)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) if kind == "BOOL" => (number != 0).into(),
                    ValueRef::Integer(number) => number.into(),
                    ValueRef::Real(number) => number.into(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
                    ValueRef::Blob(_) => anyhow::bail!("{table}.{name} holds bytes"),
                };
                values.insert(name.clone(), value);
            }
            rows.push(json!({ "json": values }));
        }
        for some in rows.chunks(500).filter(|rows| !rows.is_empty()) {
            let path = format!("{project}/datasets/{dataset}/tables/{table}/insertAll");
            let answer = self.post(&path, &json!({ "rows": some }))?;
            let errors = answer["insertErrors"].as_array().map_or(0, Vec::len);
            ensure!(errors == 0, "{table}: {answer}");
        }
        Ok(())
    }

    /// Runs a statement, which may change data.
    pub fn sql(&self, project: &str, sql: &str) -> Result<()> {
        let answer = self.post(&format!("{project}/queries"), &json!({ "query": sql, "useLegacySql": false }))?;
        ensure!(answer["jobComplete"] == true, "{sql}: {answer}");
        Ok(())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = post(self.port, &format!("/bigquery/v2/projects/{path}"), &body.to_string())?;
        let answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        ensure!(answer["error"].is_null(), "{path}: {answer}");
        Ok(answer)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads its output to the end, so that it never blocks, and passes on its port.
fn listen(said: &mut impl BufRead, port: &std::sync::mpsc::Sender<u16>) {
    let mut line = String::new();
    while said.read_line(&mut line).is_ok_and(|read| read > 0) {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if let (Some("rest.listen"), Some(found)) = (event["event"].as_str(), event["port"].as_u64()) {
            let _ = port.send(u16::try_from(found).unwrap_or_default());
        }
        line.clear();
    }
}

/// The directory where `cargo xtask test` installs it.
fn installed() -> PathBuf {
    binary("").parent().map(|target| target.join("bqemulator")).unwrap_or_default()
}
