//! A real Postgres server on a free port of this machine.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::{
        fs::{DirBuilderExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Row as _, ValueRef as _,
    postgres::{PgConnectOptions, PgRow, PgSslMode},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::command::binary;

/// The user, and a password for these tests only.
const USER: &str = "host";
pub const PASSWORD: &str = "not-a-secret-4711";
/// How a server asks for a password. `initdb` keeps it in the form of the method that it is given.
const SCRAM: &str = "scram-sha-256";
/// The variable that host.toml names for the address.
pub const VARIABLE: &str = "HOST_STATE_URL";
/// If it has the address of a server, each sample has its record in a database of its own there.
pub const SHARED: &str = "HOST_TESTS_POSTGRES";
/// The user of the server's process if the tests run as root, as which it refuses to run: `nobody`.
const NOBODY: u32 = 65534;
/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// The user who owns the database, for tests in which that is not a superuser.
const OWNER: &str = "owner";

/// A running server with an empty database, `watch`; it ends with this.
pub struct Postgres {
    process: Option<Child>,
    directory: TempDir,
    /// Where it listens.
    pub port: u16,
    settings: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// The connections of the tests themselves, by database. They ask often while they wait for something.
    clients: Mutex<BTreeMap<String, PgConnection>>,
    runtime: Runtime,
}

impl Postgres {
    /// Starts one.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one with more settings, such as `max_connections=10`.
    pub fn start_with(settings: &[&str]) -> Result<Self> {
        Self::start_in(settings, &[])
    }

    /// The same with variables in its environment.
    pub fn start_in(settings: &[&str], environment: &[(&'static str, String)]) -> Result<Self> {
        Self::make("trust", settings, environment)
    }

    /// One that asks for the password. The others do not, since a host of the development build takes long to hash it, at each
    /// connection.
    pub fn start_with_password(settings: &[&str]) -> Result<Self> {
        Self::make(SCRAM, settings, &[])
    }

    fn make(auth: &str, settings: &[&str], environment: &[(&'static str, String)]) -> Result<Self> {
        let (directory, data) = directory_of_server()?;
        copy(&template()?, &data)?;
        let who = data.join("pg_hba.conf");
        fs::write(&who, fs::read_to_string(&who)?.replace(SCRAM, auth))?;
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self::of(directory, settings, environment.to_vec())?;
        server.run()?;
        server.sql_in("postgres", "CREATE DATABASE watch")?;
        Ok(server)
    }

    fn of(directory: TempDir, settings: Vec<String>, environment: Vec<(&'static str, String)>) -> Result<Self> {
        let (port, clients, runtime) = (free_port()?, Mutex::default(), runtime()?);
        Ok(Self { process: None, directory, port, settings, environment, clients, runtime })
    }

    /// Starts its process again, after [`Postgres::kill`] or [`Postgres::stop`].
    pub fn run(&mut self) -> Result<()> {
        let data = self.directory.path().join("data");
        let mut command = program("postgres")?;
        command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        // No socket: it would need a directory of its own. The disk is not waited for; the tests end processes, not machines.
        command.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "shared_buffers=32MB"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.envs(self.environment.iter().cloned());
        let log = fs::File::options().create(true).append(true).open(self.directory.path().join("log"))?;
        self.process = Some(command.stdout(Stdio::null()).stderr(log).spawn()?);
        let started = Instant::now();
        while self.sql_in("postgres", "SELECT 1").is_err() {
            if started.elapsed() > PATIENCE {
                bail!("the server does not start: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Ends it without a word to its clients, as a power failure does.
    pub fn kill(&mut self) {
        self.end("-QUIT");
    }

    /// Ends it in order; its clients are cut off.
    pub fn stop(&mut self) {
        self.end("-INT");
    }

    fn end(&mut self, signal: &str) {
        if let Some(mut process) = self.process.take() {
            let _ = Command::new("kill").args([signal, &process.id().to_string()]).status();
            let _ = process.wait();
        }
    }

    /// Starts a second server that has all that this one has, and without which this one commits nothing any more.
    pub fn standby(&self) -> Result<Self> {
        let (directory, data) = directory_of_server()?;
        let mut copy = program("pg_basebackup")?;
        copy.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, "-R", "-c", "fast", "--no-sync", "-D"]);
        let copied = copy.arg(&data).env("PGPASSWORD", PASSWORD).output()?;
        if !copied.status.success() {
            bail!("pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        }
        let mut standby = Self::of(directory, Vec::new(), Vec::new())?;
        standby.run()?;
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")?;
        self.sql("SELECT pg_reload_conf()")?;
        let started = Instant::now();
        while self.sql("SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'")? != "1" {
            if started.elapsed() > PATIENCE {
                bail!("the standby does not follow: {}", standby.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(standby)
    }

    /// Makes a standby the server.
    pub fn promote(&self) -> Result<()> {
        self.sql("SELECT pg_promote()").map(drop)
    }

    /// The address of its database for an ordinary user, who owns it. Hosts need no more.
    pub fn url_of_owner(&self) -> Result<String> {
        self.sql(&format!("CREATE ROLE {OWNER} LOGIN PASSWORD '{PASSWORD}'; ALTER DATABASE watch OWNER TO {OWNER}"))?;
        Ok(self.url().replace(&format!("//{USER}:"), &format!("//{OWNER}:")))
    }

    /// Ends the owner's connections, and lets it have no others; or lets it again.
    pub fn let_owner_in(&self, is_let: bool) -> Result<()> {
        self.sql(&format!("ALTER ROLE {OWNER} CONNECTION LIMIT {}", if is_let { -1 } else { 0 }))?;
        self.sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{OWNER}'")).map(drop)
    }

    /// Starts statements on a connection of their own, and does not wait for them.
    pub fn background(&self, sql: &str) -> Result<()> {
        let (port, sql) = (self.port, sql.to_owned());
        std::thread::spawn(move || {
            runtime()?.block_on(async { answers(&mut connect(port, "watch").await?, &sql).await })
        });
        Ok(())
    }

    /// Another empty database; gives its address.
    pub fn database(&self, name: &str) -> Result<String> {
        self.sql(&format!("CREATE DATABASE {name}"))?;
        Ok(self.url().replace("/watch?", &format!("/{name}?")))
    }

    /// The address of its database.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same through a proxy.
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/watch?sslmode=disable")
    }

    /// What a statement answers, one row a line, its columns separated by `|`.
    pub fn sql(&self, sql: &str) -> Result<String> {
        self.sql_in("watch", sql)
    }

    /// A backup of the database, as SQL that replaces what is there.
    pub fn backup(&self) -> Result<String> {
        let mut dump = program("pg_dump")?;
        dump.args(["--clean", "--if-exists", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, "watch"]);
        let done = dump.env("PGPASSWORD", PASSWORD).output()?;
        if !done.status.success() {
            bail!("pg_dump: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Replaces what is there, in one transaction.
    pub fn restore(&self, backup: &str) -> Result<()> {
        let file = self.directory.path().join("backup.sql");
        fs::write(&file, backup)?;
        let mut psql = program("psql")?;
        psql.args(["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        psql.args(["-U", USER, "-d", "watch", "-f"]).arg(file).env("PGPASSWORD", PASSWORD);
        let done = psql.output()?;
        if !done.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    /// Writes of some rows of a table take for ever: `("runs", "INSERT", "TRUE")`.
    pub fn stall(&self, (table, writes, rows): (&str, &str, &str)) -> Result<()> {
        self.sql(&format!(
            "CREATE OR REPLACE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END';
             CREATE TRIGGER stall BEFORE {writes} ON {table} FOR EACH ROW WHEN ({rows}) EXECUTE FUNCTION stall()"
        ))
        .map(drop)
    }

    /// Refuses writes of a table with one of the server's errors: `53100` is a full disk.
    pub fn refuse(&self, table: &str, code: &str, why: &str) -> Result<()> {
        self.sql(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN RAISE EXCEPTION USING ERRCODE = ''{code}'', MESSAGE = ''{why}''; END';
             CREATE TRIGGER refuse BEFORE INSERT ON {table} EXECUTE FUNCTION refuse()"
        ))
        .map(drop)
    }

    /// Refuses them no more.
    pub fn accept(&self, table: &str) -> Result<()> {
        self.sql(&format!("DROP TRIGGER refuse ON {table}")).map(drop)
    }

    /// Whether such a write is under way.
    pub fn has_stalled(&self) -> Result<bool> {
        Ok(self.sql("SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")? != "0")
    }

    /// Ends those that wait, as a server does that sees that their client is gone, and stalls no more.
    pub fn go_on(&self, table: &str) -> Result<()> {
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")?;
        self.sql(&format!("DROP TRIGGER stall ON {table}")).map(drop)
    }

    /// The same in another database.
    pub fn sql_in(&self, database: &str, sql: &str) -> Result<String> {
        let kept = self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(database);
        let answered = self.runtime.block_on(async {
            // The server may have ended since.
            let mut client = match kept {
                Some(mut kept) => match kept.ping().await {
                    Ok(()) => kept,
                    Err(_) => connect(self.port, database).await?,
                },
                None => connect(self.port, database).await?,
            };
            let answer = answers(&mut client, sql).await?;
            anyhow::Ok((client, answer))
        });
        let (client, answer) = answered.with_context(|| sql.to_owned())?;
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).insert(database.to_owned(), client);
        Ok(answer)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("-QUIT");
    }
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn connect(port: u16, database: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).database(database);
    Ok(options.username(USER).password(PASSWORD).ssl_mode(PgSslMode::Disable).connect().await?)
}

/// What statements answer, all in one transaction, as texts of the server: one row a line, its columns separated by `|`.
async fn answers(client: &mut PgConnection, sql: &str) -> Result<String> {
    let rows: Vec<PgRow> = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(client).await?;
    let mut lines = Vec::new();
    for row in rows {
        let mut cells = Vec::new();
        for at in 0..row.len() {
            let value = row.try_get_raw(at)?;
            cells
                .push(if value.is_null() { "" } else { value.as_str().map_err(anyhow::Error::from_boxed)? }.to_owned());
        }
        lines.push(cells.join("|"));
    }
    Ok(lines.join("\n").trim().to_owned())
}

/// The address of a new database on the server that [`SHARED`] names.
pub fn shared_database() -> Result<Option<String>> {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let Ok(url) = std::env::var(SHARED) else { return Ok(None) };
    let name = format!("sample_{}", LAST.fetch_add(1, Ordering::SeqCst));
    let mut psql = program("psql")?;
    psql.args(["-X", "-q", &url, "-c", &format!("CREATE DATABASE {name}")]);
    let made = psql.output().context("psql is not there: run `cargo xtask test`")?;
    if !made.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(Some(url.replace("/watch?", &format!("/{name}?"))))
}

/// The data directory of a server that never ran, beside the build output. Each server begins with a copy of it, which takes a sixth of
/// what `initdb` does.
fn template() -> Result<PathBuf> {
    static MAKING: Mutex<()> = Mutex::new(());
    let version = program("initdb")?.arg("--version").output()?;
    let version = String::from_utf8(version.stdout)?.replace(|character: char| !character.is_ascii_alphanumeric(), "-");
    let templates = binary("test-postgres");
    let place = templates.join(format!("{}-{USER}-{PASSWORD}", version.trim_matches('-')));
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if place.is_dir() {
        return Ok(place);
    }
    let (directory, data) = directory_of_server()?;
    let password = directory.path().join("password");
    fs::write(&password, PASSWORD)?;
    give(&password)?;
    let mut initdb = program("initdb")?;
    initdb.arg("--pgdata").arg(&data).args(["--username", USER, "--auth", SCRAM, "--no-sync", "--no-instructions"]);
    let made = initdb.args(["--encoding=UTF8", "--locale=C.UTF-8"]).arg("--pwfile").arg(&password).output()?;
    if !made.status.success() {
        bail!("initdb: {}", String::from_utf8_lossy(&made.stderr));
    }
    fs::create_dir_all(&templates)?;
    let whole = TempDir::new_in(&templates)?;
    copy(&data, &whole.path().join("data"))?;
    // Another process may have been faster.
    match fs::rename(whole.path().join("data"), &place) {
        Err(error) if !place.is_dir() => Err(error).context("the data directory of the tests' servers"),
        _ => Ok(place),
    }
}

/// Copies a directory with its owners and rights.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).output()?;
    match copied.status.success() {
        true => Ok(()),
        false => bail!("cp: {}", String::from_utf8_lossy(&copied.stderr)),
    }
}

/// Gives a file to the user of the server's process.
pub fn give(path: &Path) -> Result<()> {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A temporary directory, and an empty one in it for the data of a server, which its user may write.
fn directory_of_server() -> Result<(TempDir, PathBuf)> {
    let directory = TempDir::new()?;
    let data = directory.path().join("data");
    fs::DirBuilder::new().mode(0o700).create(&data)?;
    give(directory.path())?;
    give(&data)?;
    Ok((directory, data))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// One of the server's programs. Debian keeps them outside of the path.
fn program(name: &str) -> Result<Command> {
    let path = find(name).with_context(|| format!("{name} is not there: run `cargo xtask test`"))?;
    let mut command = Command::new(path);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    Ok(command)
}

fn find(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path).map(|directory| directory.join(name)));
    found.into_iter().find(|path| Path::new(path).is_file())
}
