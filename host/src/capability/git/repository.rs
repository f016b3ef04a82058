//! One repository: opens it, gathers concurrent lookups, and answers them from one history.

use std::{
    collections::HashMap,
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::join_all;
use gix::{ObjectId, objs::Kind};
use tokio::sync::oneshot;

use super::history::{self, History, Stopped, Watch};
use crate::{
    capability::calls::Calls,
    contract::{
        Error,
        git::{Base, Commit, History as Changes},
    },
    lanes::{self, Held, Stop, TooMuch},
    text::quoted_path,
};

/// The maximum number of paths in one lookup.
const PATHS: usize = 100;

/// Bytes of a path component during a lookup: its name and its directory, each in two places.
const COMPONENT: usize = 256;

/// Bytes of the object cache of a walk: trees recur often, and this holds those of a few thousand commits.
const OBJECT_CACHE: usize = 32 << 20;

/// A question about the history.
#[derive(Debug)]
pub(super) enum Lookup {
    Latest { paths: Vec<String> },
    Changes { base: Base, paths: Vec<String>, limit: u32 },
    Missing { paths: Vec<String> },
}

/// The answer to the question of the same name.
#[derive(Debug)]
pub(super) enum Answer {
    Latest(Option<Commit>),
    Changes(Changes),
    Missing(Vec<String>),
}

impl Lookup {
    fn paths(&self) -> &[String] {
        let (Self::Latest { paths } | Self::Changes { paths, .. } | Self::Missing { paths }) = self;
        paths
    }

    /// Its size while it waits and runs, in bytes.
    fn size(&self) -> usize {
        let slashes = |path: &String| path.bytes().filter(|byte| *byte == b'/').count();
        self.paths().iter().map(|path| path.len() + (slashes(path) + 1) * COMPONENT).sum()
    }
}

impl Answer {
    pub(super) fn unexpected(&self) -> Error {
        Error::Unavailable(format!("the repository answered another question: {self:?}"))
    }
}

/// A lookup and the sender for its answer.
struct Asked {
    lookup: Lookup,
    sender: oneshot::Sender<Result<Charged, Error>>,
    /// The lookup's size, charged to the run.
    _held: Held,
}

/// A lookup that has not started, with its run.
pub(super) struct Waiting {
    calls: Arc<Calls>,
    asked: Asked,
    /// Closed when the caller goes away, with or without the answer.
    gone: oneshot::Receiver<Infallible>,
}

/// An answer, charged to its run until the guest takes it.
type Charged = (Answer, Held);

/// A repository for lookups.
#[derive(Clone)]
pub struct Repository(Arc<Inner>);

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Repository").field(&self.0.name).finish()
    }
}

struct Inner {
    name: String,
    path: PathBuf,
    branch: String,
    waiting: Mutex<Vec<Waiting>>,
}

impl Repository {
    /// The repository need not exist before the first lookup.
    pub fn new(name: &str, path: PathBuf, branch: &str) -> Self {
        let (name, branch) = (name.to_owned(), branch.to_owned());
        Self(Arc::new(Inner { name, path, branch, waiting: Mutex::default() }))
    }

    /// Asks, together with the run's other concurrent lookups.
    pub(super) async fn ask(&self, calls: &Arc<Calls>, lookup: Lookup) -> Result<Answer, Error> {
        let held = calls.hold("git", lookup.size())?;
        // Declared before the receiver, so dropped after it.
        let _forgotten = Forgotten(self);
        let (_here, gone) = oneshot::channel();
        let (sender, receiver) = oneshot::channel();
        let asked = Asked { lookup, sender, _held: held };
        self.waiting().push(Waiting { calls: calls.clone(), asked, gone });
        // The guest starts its lookups one after another before it waits for any: let the others join first.
        tokio::task::yield_now().await;
        let gathered: Vec<Waiting> =
            self.waiting().extract_if(.., |waiting| Arc::ptr_eq(&waiting.calls, calls)).collect();
        if !gathered.is_empty() {
            let (this, run) = (self.0.clone(), calls.clone());
            let (gathered, gone): (Vec<_>, Vec<_>) =
                gathered.into_iter().map(|waiting| (waiting.asked, waiting.gone)).unzip();
            // A separate task: the guest may drop this lookup and wait for the others. If the task panics, the waiting
            // lookups see that below; when no lookup waits any more, the task is cancelled.
            tokio::spawn(async move {
                let asked = run.clone();
                let answering = run.permit().blocking(move |stop| this.answer(gathered, &asked, stop));
                tokio::select! {
                    _ = answering => {}
                    _ = join_all(gone) => {}
                }
            });
        }
        let answer = receiver.await.unwrap_or_else(|_| Err(self.0.unavailable("the lookup stopped unexpectedly")));
        answer.map(|(answer, _)| answer)
    }

    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// `branch main of repository pipeline`
    pub(super) fn shown(&self) -> String {
        format!("branch {} of repository {}", self.0.branch, self.0.name)
    }

    /// The branch and the commit that it points to.
    pub(crate) async fn tip(&self) -> Result<(String, String), Error> {
        let this = self.0.clone();
        let found = lanes::own(move || {
            let head = this.head(&this.open()?)?;
            Ok((this.branch.clone(), head.to_string()))
        });
        found.await.unwrap_or_else(|| Err(self.0.unavailable("the lookup stopped unexpectedly")))
    }

    /// The lookups that have not started.
    pub(super) fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All paths of the lookups in one walk, without duplicates.
#[derive(Default)]
struct Watches {
    all: Vec<Watch>,
    places: HashMap<Watch, usize>,
}

impl Watches {
    fn place(&mut self, watch: Watch) -> usize {
        let next = self.all.len();
        let place = *self.places.entry(watch.clone()).or_insert(next);
        if place == next {
            self.all.push(watch);
        }
        place
    }
}

/// Removes a lookup that the guest dropped before it was gathered.
struct Forgotten<'r>(&'r Repository);

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.0.waiting().retain(|waiting| !waiting.asked.sender.is_closed());
    }
}

impl Inner {
    /// Answers lookups in order, except those that were dropped.
    fn answer(&self, mut gathered: Vec<Asked>, calls: &Calls, stop: &Stop) {
        gathered.retain(|asked| !asked.sender.is_closed());
        if gathered.is_empty() || stop.reached() {
            return;
        }
        let mut watches = Watches::default();
        let mut places = Vec::new();
        for asked in &gathered {
            if stop.reached() {
                return;
            }
            places.push(self.watch(&asked.lookup, &mut watches));
        }
        let opened = self.open().and_then(|repository| {
            let head = self.head(&repository)?;
            Ok((repository, head))
        });
        let held = calls.hold("git", 0);
        let (repository, head, held) = match (opened, held) {
            (Ok((repository, head)), Ok(held)) => (repository, head, held),
            (Err(error), _) | (_, Err(error)) => {
                for asked in gathered {
                    let _ = asked.sender.send(Err(error.clone()));
                }
                return;
            }
        };
        let mut history = History::new(&repository, &watches.all, held, stop);
        for (Asked { lookup, sender, .. }, places) in gathered.into_iter().zip(places) {
            if !sender.is_closed() {
                let answer = places.and_then(|places| self.one(&mut history, head, &lookup, &places, calls));
                // It may have been dropped meanwhile.
                let _ = sender.send(answer);
            }
        }
    }

    fn one(
        &self,
        history: &mut History<'_>,
        head: ObjectId,
        lookup: &Lookup,
        places: &[usize],
        calls: &Calls,
    ) -> Result<Charged, Error> {
        let broken = |error: anyhow::Error| self.broken(&error, calls);
        let mut held = calls.hold("git", 0)?;
        let answer = match lookup {
            Lookup::Latest { .. } => {
                let latest = history.latest(head, places).map_err(broken)?;
                Answer::Latest(latest.map(|id| history.commit(id)).transpose().map_err(broken)?)
            }
            Lookup::Changes { base, limit, .. } => {
                let ids = match base {
                    Base::Commit(id) => {
                        let base = self.find(history.repository(), id)?;
                        history.since_commit(head, base, places)
                    }
                    Base::Time(seconds) => history.since_time(head, *seconds, places),
                }
                .map_err(broken)?;
                let mut commits = Vec::new();
                let mut bytes = 0;
                for id in ids.iter().take(*limit as usize) {
                    let commit = history.commit(*id).map_err(broken)?;
                    let size = size_of::<Commit>() + history::text_bytes(&commit);
                    bytes += size;
                    held.more(size).map_err(|full| calls.too_much("changes", full))?;
                    calls.within("changes", commits.len() + 1, bytes)?;
                    commits.push(commit);
                }
                let total = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                Answer::Changes(Changes { commits, total })
            }
            Lookup::Missing { paths } => {
                let present = history.present(head, places).map_err(broken)?;
                let missing = paths.iter().zip(present).filter(|(_, present)| !present);
                Answer::Missing(missing.map(|(path, _)| path.clone()).collect())
            }
        };
        Ok((answer, held))
    }

    /// Why a walk ended early.
    fn broken(&self, error: &anyhow::Error, calls: &Calls) -> Error {
        if error.is::<Stopped>() {
            return Error::TimedOut(format!("repository {}: the run ended before the answer was found", self.name));
        }
        match error.downcast_ref::<TooMuch>() {
            Some(full) => calls.too_much("git", *full),
            None => self.unavailable(&format!("{error:#}")),
        }
    }

    /// The index of each of a lookup's paths in the list of all paths.
    fn watch(&self, lookup: &Lookup, watches: &mut Watches) -> Result<Vec<usize>, Error> {
        let paths = lookup.paths();
        if paths.len() > PATHS {
            return Err(Error::Invalid(format!("{} paths in one lookup; the maximum is {PATHS}", paths.len())));
        }
        paths
            .iter()
            .map(|path| {
                let watch = Watch::new(path).ok_or_else(|| {
                    Error::Invalid(format!(
                        "`{path}` is not a valid path; write it from the repository's root, with /, without . and .."
                    ))
                })?;
                Ok(watches.place(watch))
            })
            .collect()
    }

    fn open(&self) -> Result<gix::Repository, Error> {
        let mut repository = gix::open_opts(&self.path, gix::open::Options::isolated()).map_err(|error| {
            let problem = format!("it cannot be opened: {error}");
            match self.path.exists() {
                true => self.unavailable(&problem),
                false => Error::NotFound(self.problem(&problem)),
            }
        })?;
        if repository.is_shallow().map_err(|error| self.unavailable(&format!("{error:#}")))? {
            return Err(self.unavailable(&format!(
                "it is a shallow clone with an incomplete history; run `git -C {} fetch --unshallow`",
                quoted_path(&self.path)
            )));
        }
        repository.object_cache_size_if_unset(OBJECT_CACHE);
        Ok(repository)
    }

    /// The commit that the branch points to.
    fn head(&self, repository: &gix::Repository) -> Result<ObjectId, Error> {
        let branch = &self.branch;
        let local = format!("refs/heads/{branch}");
        let remote = format!("refs/remotes/origin/{branch}");
        for name in [local, remote] {
            let found = repository
                .try_find_reference(name.as_str())
                .map_err(|error| self.unavailable(&format!("branch {branch}: {error:#}")))?;
            if let Some(mut reference) = found {
                let id =
                    reference.peel_to_id().map_err(|error| self.unavailable(&format!("branch {branch}: {error:#}")))?;
                return Ok(id.detach());
            }
        }
        match repository.head_name() {
            Ok(Some(head)) if head.as_bstr() == format!("refs/heads/{branch}").as_str() => {
                Err(self.unavailable(&format!("branch {branch} has no commit yet")))
            }
            _ => {
                let problem = format!("it has no branch {branch}; set git.{}.branch in host.toml", self.name);
                Err(Error::NotFound(self.problem(&problem)))
            }
        }
    }

    /// A commit by its hash or a unique prefix of it.
    fn find(&self, repository: &gix::Repository, id: &str) -> Result<ObjectId, Error> {
        let not_found = || {
            Error::NotFound(format!(
                "repository {} has no commit {id}: fetch it, or deploy from a commit that was pushed",
                self.name
            ))
        };
        let hexadecimal = id.len() >= 4 && id.chars().all(|c| c.is_ascii_hexdigit());
        if !hexadecimal {
            return Err(Error::Invalid(format!("`{id}` is not a commit; write a hash, or at least 4 digits of one")));
        }
        let prefix = gix::hash::Prefix::from_hex(&id.to_ascii_lowercase()).map_err(|_| not_found())?;
        let found =
            repository.objects.lookup_prefix(prefix, None).map_err(|error| self.unavailable(&format!("{error:#}")))?;
        let id = match found {
            Some(Ok(id)) => id,
            Some(Err(())) => {
                return Err(Error::Invalid(format!(
                    "`{id}` is ambiguous: several commits start with it; write more digits"
                )));
            }
            None => return Err(not_found()),
        };
        let object = repository.find_object(id).map_err(|error| self.unavailable(&format!("{error:#}")))?;
        match object.peel_to_kind(Kind::Commit) {
            Ok(commit) => Ok(commit.id),
            Err(_) => Err(not_found()),
        }
    }

    fn unavailable(&self, problem: &str) -> Error {
        Error::Unavailable(self.problem(problem))
    }

    fn problem(&self, problem: &str) -> String {
        format!("repository {} at {}: {problem}", self.name, self.path.display())
    }
}
