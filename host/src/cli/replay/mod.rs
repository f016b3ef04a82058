//! `host replay`: runs recorded runs again on their recorded answers.

mod shown;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};

use self::shown::{Compare, Compared, Told, code, id_of, json, junit, text};
use super::{
    flags::{CiFormat, FileFlags, setting},
    progress::Progress,
    recorded,
};
use crate::{
    capability::{Backends, Unanswered},
    config::{Config, Time, nearest},
    contract::Error,
    host::stored,
    package::{Digest, File},
    plugin::{self, Cache, Plugin},
    record::{PastTape, Record},
    run::{Again, Replay as Runner, Script},
    sandbox::Sandboxes,
};

/// How many runs are read and run again at a time.
const AT_ONCE: usize = 200;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host replay phase2-raw                       every recorded run, once more
  host replay phase2-raw --plugin new.wasm     what a new version would say
  host replay phase2-raw --set min_records=40  what another setting would say
  host replay phase2-raw --since 7d            only the runs of the last week

Nothing is asked of the warehouse, git or deployments: each call gets its
recorded answer, in the recorded order. Today's grants count. Runs that were
ended by a time limit cannot be run again, and neither can those whose answers
are not recorded: see [record] in host.toml.

Exit codes: 0 all that can be run again say the same, 1 some differ, 3 none can
be, or some asked what was not asked then, 64 the arguments cannot be used.")]
pub(super) struct Replay {
    /// The check
    #[arg(value_name = "CHECK")]
    check: String,
    /// Only this run: DATE@DUE-ATTEMPT, as the log and --output json name it
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only the runs of the last TIME, such as 7d [default: all that are recorded]
    #[arg(long, value_name = "TIME", conflicts_with = "run")]
    since: Option<Time>,
    /// A plugin file that takes the place of what ran then
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// A setting that takes the place of the recorded one; repeat it for several
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, Value)>,
    /// Send calls that were not recorded to the warehouse, git and deployments, which answer with what they hold today
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    files: FileFlags,
    /// The format on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = CiFormat::Table)]
    output: CiFormat,
}

impl Replay {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(self.files.config())?;
        super::runtime()?.block_on(self.replay(&config))
    }

    async fn replay(&self, config: &Config) -> Result<u8> {
        let record = recorded(config).await?;
        let tapes = self.tapes(config, &record).await?;
        let backends = Arc::new(Backends::new(config, &record));
        let runner = Arc::new(Runner {
            config: Arc::new(config.clone()),
            backends: backends.clone(),
            record: record.clone(),
            settings: self.settings.clone(),
            asks: self.live,
        });
        let mut plugins = Plugins::new(self, config);
        self.usable(&runner, &tapes, &mut plugins).await?;
        let progress = Progress::new("running again");
        let mut compared = Vec::new();
        for some in tapes.chunks(AT_ONCE) {
            compared.append(&mut self.some(&runner, some, &mut plugins).await?);
            progress.step(compared.len(), tapes.len());
        }
        drop(progress);
        backends.close().await;
        record.close().await;
        let told = Told::of(config, &mut compared);
        super::print(&match self.output {
            CiFormat::Table => text(&self.check, &compared, self.is_new().then_some(&told), &config.timezone.rules()),
            CiFormat::Json => format!("{:#}\n", json(&self.check, &compared, &told)),
            CiFormat::Junit => junit(&self.check, &compared),
        })?;
        Ok(code(&compared))
    }

    /// Refuses a plugin or settings that no run could use.
    async fn usable(&self, runner: &Runner, tapes: &[PastTape], plugins: &mut Plugins<'_>) -> Result<()> {
        let Some(newest) = tapes.iter().rfind(|tape| tape.script.is_some()).filter(|_| self.is_new()) else {
            return Ok(());
        };
        let plugin = plugins.of(newest).await?;
        if let Some(path) = &self.plugin
            && let Some(own) = runner.config.plugin_of(&self.check)
            && own != plugin.file.name
        {
            bail!("{} runs the plugin {own}; {} is {}", self.check, path.display(), plugin.file.name);
        }
        let Ok(ids) = Script::ids(newest) else { return Ok(()) };
        let contents = runner.record.answers(&ids).await?;
        if let Ok(script) = Script::read(newest, &contents) {
            runner.check_settings(&script, &plugin).await?;
        }
        Ok(())
    }

    /// Whether another version or other settings run.
    fn is_new(&self) -> bool {
        self.plugin.is_some() || !self.settings.is_empty()
    }

    /// The recorded runs, the oldest first.
    async fn tapes(&self, config: &Config, record: &Record) -> Result<Vec<PastTape>> {
        let now = crate::record::now();
        let since = match &self.since {
            Some(Time(since)) => now.checked_sub(SignedDuration::try_from(*since)?).unwrap_or(Timestamp::MIN),
            None => Timestamp::MIN,
        };
        let mut tapes = record.tapes(&self.check, since).await?;
        tapes.reverse();
        if tapes.is_empty() {
            let known = record.checks().await?;
            if !known.contains(&self.check) && !config.names(&self.check) {
                bail!(
                    "no run of {} is recorded{}\nrecorded checks: {}",
                    self.check,
                    nearest(&self.check, &known),
                    known.join(", ")
                );
            }
            match config.record.answers.0 {
                None => bail!("no answers are recorded: [record] answers is off in host.toml"),
                Some(_) if self.since.is_some() => {
                    bail!("no run of {} is recorded with its answers in that time", self.check)
                }
                Some(_) => bail!("no run of {} is recorded with its answers yet; the next run is", self.check),
            }
        }
        let Some(id) = &self.run else { return Ok(tapes) };
        let known: Vec<String> = tapes.iter().map(id_of).collect();
        tapes.retain(|tape| id_of(tape) == *id);
        if tapes.is_empty() {
            bail!("no run {id} of {} is recorded with its answers{}", self.check, nearest(id, &known));
        }
        Ok(tapes)
    }

    /// Runs some runs again.
    async fn some(&self, runner: &Arc<Runner>, tapes: &[PastTape], plugins: &mut Plugins<'_>) -> Result<Vec<Compared>> {
        let record = &runner.record;
        let ids: BTreeSet<String> = tapes.iter().filter_map(|tape| Script::ids(tape).ok()).flatten().collect();
        let mut contents = record.answers(&ids).await?;
        let needs: BTreeSet<String> =
            tapes.iter().filter_map(|tape| Script::needs(tape, &contents).ok()).flatten().collect();
        contents.extend(record.answers(&needs).await?);
        let contents = Arc::new(contents);
        let mut tasks = JoinSet::new();
        let room = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, |cores| cores.get() * 2)));
        for (at, tape) in tapes.iter().enumerate() {
            let plugin = plugins.of(tape).await;
            let (runner, room, contents) = (runner.clone(), room.clone(), contents.clone());
            let (check, tape, is_new) = (self.check.clone(), tape.clone(), self.is_new());
            tasks.spawn(async move {
                // The semaphore is never closed.
                let _room = room.acquire().await;
                (at, compare(&runner, &check, tape, &contents, plugin, is_new).await)
            });
        }
        let mut compared = Vec::with_capacity(tapes.len());
        while let Some(one) = tasks.join_next().await {
            compared.push(one.context("a run stopped unexpectedly")?);
        }
        compared.sort_by_key(|(at, _)| *at);
        Ok(compared.into_iter().map(|(_, compared)| compared).collect())
    }
}

async fn compare(
    runner: &Runner,
    check: &str,
    tape: PastTape,
    contents: &HashMap<String, Vec<u8>>,
    plugin: Result<Arc<Plugin>>,
    is_new: bool,
) -> Compared {
    let again = async {
        Script::ids(&tape)?;
        let script = Script::read(&tape, contents)?;
        let again = runner.run(check, &script, &plugin?).await?;
        Ok::<_, anyhow::Error>((script.outcome, again))
    };
    match again.await {
        Err(why) => Compared { tape, runs: None, then: None, now: None, result: Compare::Not(format!("{why:#}")) },
        Ok((then, Again { then: before, now, outcome, unrecorded })) => {
            let refused = now.calls.iter().find_map(|call| match &call.error {
                Some(Unanswered::Error(Error::Denied(message))) if !then.called(message) => Some(message.clone()),
                _ => None,
            });
            let result = match then.parts(&outcome) {
                _ if !unrecorded.is_empty() && !runner.asks => Compare::Unrecorded(unrecorded),
                parts if !unrecorded.is_empty() => Compare::Anew(unrecorded, parts.is_some()),
                Some(_) if refused.is_some() => Compare::Denied(refused.unwrap_or_default()),
                // Of the same version and settings it says something about this machine, of others about them.
                Some(_) if !is_new && (now.exceeded.contains("timeout") || now.exceeded.contains("cpu")) => {
                    Compare::Not("this time it took longer than budgets.timeout or budgets.cpu".to_owned())
                }
                None => Compare::Same,
                Some(_) if is_new => match then.says() == outcome.says() {
                    true => Compare::Same,
                    false => Compare::Changed,
                },
                Some(parts) => Compare::Parted(parts),
            };
            Compared { tape, runs: Some((before, now)), then: Some(then), now: Some(outcome), result }
        }
    }
}

/// The plugins of recorded runs, compiled once each.
struct Plugins<'r> {
    replay: &'r Replay,
    config: &'r Config,
    sandboxes: Sandboxes,
    cache: Arc<Cache>,
    ready: BTreeMap<String, std::result::Result<Arc<Plugin>, String>>,
}

impl<'r> Plugins<'r> {
    fn new(replay: &'r Replay, config: &'r Config) -> Self {
        let sandboxes = Sandboxes::new(config);
        Self { replay, config, sandboxes, cache: Arc::new(Cache::open()), ready: BTreeMap::new() }
    }

    /// The plugin of a run: the one that is named, or the one that ran.
    async fn of(&mut self, tape: &PastTape) -> Result<Arc<Plugin>> {
        let key = if self.replay.plugin.is_some() { "" } else { tape.digest.as_str() };
        if !self.ready.contains_key(key) {
            let ready = self.load(key).await.map_err(|error| format!("{error:#}"));
            // One that is named and cannot be used is a mistake of the command line.
            self.ready.insert(key.to_owned(), ready);
        }
        match self.ready.get(key) {
            Some(Ok(plugin)) => Ok(plugin.clone()),
            Some(Err(why)) => Err(anyhow!("{why}")),
            None => bail!("no plugin"),
        }
    }

    async fn load(&self, digest: &str) -> Result<Arc<Plugin>> {
        let file = match &self.replay.plugin {
            Some(path) => File::read(path).map_err(|(_, error)| error)?,
            None => {
                let digest: Digest = digest.parse()?;
                stored(self.config, &self.replay.files.lock(), digest)
                    .with_context(|| format!("its plugin {digest} is not kept any more; name a file with --plugin"))?
            }
        };
        let budgets = self.config.budgets(&file.name);
        Ok(Arc::new(plugin::one(file, &self.sandboxes, self.cache.clone(), &budgets).await?))
    }
}
