//! The history of a repository, read once for many lookups: commits, and the entries of the watched paths in their
//! trees, are kept for all lookups of a run, and charged to it.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashSet},
    rc::Rc,
};

use anyhow::{Context, Result, bail};
use gix::{ObjectId, bstr::ByteSlice, hashtable::HashMap, objs::commit::ref_iter::Token};

use crate::{
    contract::git::Commit,
    lanes::{Held, Stop},
};

/// A watched path, as its components; empty for the whole tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Watch {
    components: Vec<String>,
    /// Written with a slash at the end: matches only a directory.
    directory: bool,
}

impl Watch {
    /// Parses a path with `/`; `None` if it is absolute, empty or contains `.` or `..`. `.` alone is the whole tree.
    pub(super) fn new(path: &str) -> Option<Self> {
        if path == "." || path == "./" {
            return Some(Self { components: Vec::new(), directory: true });
        }
        let (path, directory) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        let components: Vec<String> = path.split('/').map(str::to_owned).collect();
        let proper = |part: &String| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        components.iter().all(proper).then_some(Self { components, directory })
    }
}

/// The entry of a tree at a path: mode and object. `None` if there is no entry.
pub(super) type Entry = Option<(u16, ObjectId)>;

/// The run is over.
#[derive(Debug, thiserror::Error)]
#[error("the run is over")]
pub(super) struct Stopped;

/// Commits and trees between two checks whether the run is over, which is a system call: about a millisecond.
const STEPS: usize = 8;
/// Entries of a tree between two checks whether the run is over: about a millisecond.
const LOOK: usize = 4096;
/// The most commits that are kept as reports show them: as many as deployment-drift asks for of a service.
const SHOWN: usize = 1000;
/// Bytes of a commit besides its entries: its node, its index by hash, its tree's index, its place in a queue.
const NODE: usize = size_of::<Node>() + 2 * size_of::<(ObjectId, usize)>() + 128;

/// The parts of a commit that a walk needs.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: ObjectId,
    /// The commit time, in seconds.
    pub(super) date: i64,
    tree: ObjectId,
    pub(super) parents: Vec<usize>,
    /// The entries of all watched paths, once asked for.
    entries: Option<Rc<[Entry]>>,
}

/// See the module.
pub(super) struct History<'r> {
    repository: &'r gix::Repository,
    /// The number of watched paths.
    watched: usize,
    directories: Vec<Directory>,
    pub(super) nodes: Vec<Node>,
    places: HashMap<ObjectId, usize>,
    /// Equal entries are kept once: most commits change no watched path. They are long, and hashing them as std does
    /// would take a tenth of a lookup. Entries that were chosen to collide cost their own run its time.
    distinct: HashSet<Rc<[Entry]>, foldhash::fast::RandomState>,
    /// Commits as [`History::commit`] gave them, at most [`SHOWN`]: one that touches several services is asked for by each.
    shown: HashMap<ObjectId, Commit>,
    /// The memory of the history, charged to the run.
    held: Held,
    stop: &'r Stop,
    /// The number of commits and trees read.
    steps: Cell<usize>,
}

impl<'r> History<'r> {
    /// `watches` are all paths of the lookups. The memory is charged to `held`; a walk ends with [`Stopped`] when
    /// `stop` says so.
    pub(super) fn new(repository: &'r gix::Repository, watches: &[Watch], held: Held, stop: &'r Stop) -> Self {
        Self {
            distinct: HashSet::default(),
            held,
            stop,
            steps: Cell::new(0),
            repository,
            watched: watches.len(),
            directories: directories(watches),
            nodes: Vec::new(),
            places: HashMap::default(),
            shown: HashMap::default(),
        }
    }

    pub(super) fn repository(&self) -> &'r gix::Repository {
        self.repository
    }

    /// Which of the paths exist in a commit's tree.
    pub(super) fn present(&mut self, commit: ObjectId, paths: &[usize]) -> Result<Vec<bool>> {
        let commit = self.read(commit)?;
        let entries = self.entries(commit)?;
        Ok(paths.iter().map(|path| entries.get(*path).is_some_and(Option::is_some)).collect())
    }

    /// A commit's id, time and subject, for reports.
    pub(super) fn commit(&mut self, id: ObjectId) -> Result<Commit> {
        self.go_on()?;
        if let Some(shown) = self.shown.get(&id) {
            return Ok(shown.clone());
        }
        let commit = self.repository.find_commit(id).with_context(|| format!("commit {id}"))?;
        let decoded = commit.decode().with_context(|| format!("commit {id}"))?;
        let time = decoded.committer()?.time()?.seconds;
        let author = decoded.author()?.name.to_string();
        let subject = decoded.message_summary().to_string();
        let commit = Commit { id: id.to_string(), time, author, subject };
        if self.shown.len() < SHOWN {
            self.held.more(NODE + text_bytes(&commit))?;
            self.shown.insert(id, commit.clone());
        }
        Ok(commit)
    }

    pub(super) fn node(&self, place: usize) -> Result<&Node> {
        self.nodes.get(place).context("a commit that was not read")
    }

    /// Reads a commit once, without its parents.
    pub(super) fn read(&mut self, id: ObjectId) -> Result<usize> {
        // Register a commit by its hash before it is read, so that its children can refer to it.
        let place = self.place(id);
        if self.nodes.get(place).is_some_and(|node| node.date == UNREAD) {
            self.go_on()?;
            self.held.more(NODE)?;
            let (tree, date, parents) = self.header(id).with_context(|| format!("commit {id}"))?;
            let parents = parents.into_iter().map(|parent| self.place(parent)).collect();
            if let Some(node) = self.nodes.get_mut(place) {
                (node.tree, node.date, node.parents) = (tree, date, parents);
            }
        }
        Ok(place)
    }

    /// A commit's tree, committer date and parents; the rest is not parsed.
    fn header(&self, id: ObjectId) -> Result<(ObjectId, i64, Vec<ObjectId>)> {
        let commit = self.repository.find_commit(id)?;
        let (mut tree, mut parents) = (None, Vec::new());
        for token in commit.iter() {
            match token? {
                Token::Tree { id } => tree = Some(id),
                Token::Parent { id } => parents.push(id),
                Token::Committer { signature } => {
                    return Ok((tree.context("it has no tree")?, signature.time()?.seconds, parents));
                }
                _ => {}
            }
        }
        bail!("it has no committer")
    }

    fn place(&mut self, id: ObjectId) -> usize {
        *self.places.entry(id).or_insert_with(|| {
            let tree = ObjectId::null(id.kind());
            self.nodes.push(Node { id, date: UNREAD, tree, parents: Vec::new(), entries: None });
            self.nodes.len() - 1
        })
    }

    /// The entry of each watched path in a commit's tree.
    pub(super) fn entries(&mut self, place: usize) -> Result<Rc<[Entry]>> {
        let node = self.node(place)?;
        if let Some(entries) = &node.entries {
            return Ok(entries.clone());
        }
        let entries = self.below(node.tree, 0)?;
        if let Some(node) = self.nodes.get_mut(place) {
            node.entries = Some(entries.clone());
        }
        Ok(entries)
    }

    /// The entries of the watches in and under a directory, in that directory's tree.
    fn below(&mut self, tree: ObjectId, directory: usize) -> Result<Rc<[Entry]>> {
        let whole = self.directories.get(directory).context("not a watched directory")?;
        if let Some(entries) = whole.trees.get(&tree) {
            return Ok(entries.clone());
        }
        self.go_on()?;
        let mut entries: Vec<Entry> = vec![None; self.watched];
        let mut deeper: Vec<(ObjectId, usize)> = Vec::new();
        for (watch, _) in whole.watches.iter().filter(|_| directory == 0) {
            set(&mut entries, *watch, TREE, tree);
        }
        if !whole.children.is_empty() {
            let object = self.repository.find_tree(tree).with_context(|| format!("tree {tree}"))?;
            for (at, found) in object.iter().enumerate() {
                if at % LOOK == LOOK - 1 && self.stop.reached() {
                    return Err(Stopped.into());
                }
                let found = found.with_context(|| format!("tree {tree}"))?;
                let Some(child) = whole.children.get(found.filename().as_bytes()) else { continue };
                let is_tree = found.mode().is_tree();
                let inside = self.directories.get(*child).context("not a watched directory")?;
                for (watch, only_directory) in &inside.watches {
                    if is_tree || !only_directory {
                        set(&mut entries, *watch, found.mode().value(), found.object_id());
                    }
                }
                if is_tree && !inside.children.is_empty() {
                    deeper.push((found.object_id(), *child));
                }
            }
        }
        for (tree, directory) in deeper {
            for (entry, below) in entries.iter_mut().zip(self.below(tree, directory)?.iter()) {
                *entry = entry.or(*below);
            }
        }
        let entries = match self.distinct.get(entries.as_slice()) {
            Some(known) => known.clone(),
            None => {
                self.held.more(size_of_val(entries.as_slice()))?;
                let entries: Rc<[Entry]> = entries.into();
                self.distinct.insert(entries.clone());
                entries
            }
        };
        self.held.more(size_of::<(ObjectId, Rc<[Entry]>)>())?;
        if let Some(directory) = self.directories.get_mut(directory) {
            directory.trees.insert(tree, entries.clone());
        }
        Ok(entries)
    }

    /// An error if the run is over.
    fn go_on(&self) -> Result<()> {
        let step = self.steps.get();
        self.steps.set(step.wrapping_add(1));
        match step.is_multiple_of(STEPS) && self.stop.reached() {
            true => Err(Stopped.into()),
            false => Ok(()),
        }
    }
}

/// Bytes of a commit's texts.
pub(super) fn text_bytes(commit: &Commit) -> usize {
    commit.id.len() + commit.author.len() + commit.subject.len()
}

/// A watched name, or one with watched names below it.
#[derive(Debug, Default)]
struct Directory {
    /// By name, indices in [`History::directories`].
    children: BTreeMap<Vec<u8>, usize>,
    /// Watches that end here, and whether they match only a directory.
    watches: Vec<(usize, bool)>,
    /// Entries of the watches below it, by its tree: most trees do not change from commit to commit.
    trees: HashMap<ObjectId, Rc<[Entry]>>,
}

/// All watched paths as one tree of names; the root comes first.
fn directories(watches: &[Watch]) -> Vec<Directory> {
    let mut all = vec![Directory::default()];
    for (place, watch) in watches.iter().enumerate() {
        let mut at = 0;
        for component in &watch.components {
            let next = all.len();
            let Some(directory) = all.get_mut(at) else { break };
            at = *directory.children.entry(component.clone().into_bytes()).or_insert(next);
            if at == next {
                all.push(Directory::default());
            }
        }
        if let Some(directory) = all.get_mut(at) {
            directory.watches.push((place, watch.directory));
        }
    }
    all
}

fn set(entries: &mut [Entry], watch: usize, mode: u16, id: ObjectId) {
    if let Some(entry) = entries.get_mut(watch) {
        *entry = Some((mode, id));
    }
}

/// The date of a commit that is registered but not read. No real commit has it.
pub(super) const UNREAD: i64 = i64::MIN;
/// The mode of a directory in a tree.
const TREE: u16 = 0o040_000;
#[cfg(test)]
mod tests {
    use super::Watch;

    #[test]
    fn paths_that_leave_the_repository_are_refused() {
        for path in ["", "/", "/etc", "a//b", "../a", "a/..", "a/./b", "a\0b"] {
            assert_eq!(Watch::new(path), None, "{path:?}");
        }
        for path in ["a", "a/b", "a/", ".", "a b/ü"] {
            assert!(Watch::new(path).is_some(), "{path:?}");
        }
    }
}
