//! The history of a repository, read once and asked many times.
//!
//! What is read from disk (commits, and the entries of the watched paths in their trees) is kept for all lookups;
//! each lookup then walks the graph in memory, with the rules of `git log BASE..BRANCH -- PATHS`: history is
//! simplified at merges (revision.c: `limit_list`, `process_parents`, `try_to_simplify_commit`), so that
//! the answers are git's own, odd dates and merges included.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    rc::Rc,
};

use anyhow::{Context, Result, bail};
use gix::{ObjectId, bstr::ByteSlice, objs::commit::ref_iter::Token};

use crate::{
    contract::git::Commit,
    lanes::{Held, Stop},
};

/// A path whose changes are looked for, as its components; none of them for the whole tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Watch {
    components: Vec<String>,
    /// Written with a slash at the end: a file of that name is not meant.
    directory: bool,
}

impl Watch {
    /// From a path with `/`; none when it is absolute, empty or has `.` or `..` in it. `.` alone is everything.
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

/// What a tree has under a path: mode and object. None when it has nothing there.
type Entry = Option<(u16, ObjectId)>;

/// The run is over.
#[derive(Debug, thiserror::Error)]
#[error("the run is over")]
pub(super) struct Stopped;

/// Entries of a tree between two looks whether the run is over: a millisecond's.
const LOOK: usize = 4096;
/// What a commit takes besides its entries, in bytes: its node, its place by hash, its tree's place, its place in a queue.
const NODE: usize = size_of::<Node>() + 2 * size_of::<(ObjectId, usize)>() + size_of::<Queued>() + 64;

/// A commit, as far as walking needs it.
#[derive(Debug)]
struct Node {
    id: ObjectId,
    /// Committed at, in seconds.
    date: i64,
    tree: ObjectId,
    parents: Vec<usize>,
    /// The entries of all watched paths, once asked for.
    entries: Option<Rc<[Entry]>>,
}

/// See the module.
pub(super) struct History<'r> {
    repository: &'r gix::Repository,
    /// How many paths are watched.
    watched: usize,
    directories: Vec<Directory>,
    nodes: Vec<Node>,
    places: HashMap<ObjectId, usize>,
    /// Entries of the watches below a directory, by that directory's tree: most trees stay as they are from commit to commit.
    trees: HashMap<(ObjectId, usize), Rc<[Entry]>>,
    /// Entries that are the same are kept once: most commits leave all watched paths as they are.
    distinct: HashSet<Rc<[Entry]>>,
    /// What is kept of the history, charged to the run.
    held: Held,
    stop: &'r Stop,
}

impl<'r> History<'r> {
    /// `watches` are all paths that will be asked about. What is read is charged to `held`; a walk ends with [`Stopped`]
    /// when `stop` says so.
    pub(super) fn new(repository: &'r gix::Repository, watches: &[Watch], held: Held, stop: &'r Stop) -> Self {
        Self {
            distinct: HashSet::new(),
            held,
            stop,
            repository,
            watched: watches.len(),
            directories: directories(watches),
            nodes: Vec::new(),
            places: HashMap::new(),
            trees: HashMap::new(),
        }
    }

    pub(super) fn repository(&self) -> &'r gix::Repository {
        self.repository
    }

    /// `git log -1 HEAD -- PATHS`
    pub(super) fn latest(&mut self, head: ObjectId, paths: &[usize]) -> Result<Option<ObjectId>> {
        Ok(self.listed(head, None, paths, 1)?.pop())
    }

    /// `git log BASE..HEAD -- PATHS`
    pub(super) fn since_commit(&mut self, head: ObjectId, base: ObjectId, paths: &[usize]) -> Result<Vec<ObjectId>> {
        let (head, base) = (self.read(head)?, self.read(base)?);
        let mut walk = Walk::new(paths);
        walk.set(base, UNINTERESTING | BOTTOM | PARSED);
        walk.set(head, PARSED);
        walk.exclude_parents(self, base)?;
        walk.enter(self, base);
        if head != base {
            walk.enter(self, head);
        }
        walk.limited(self)
    }

    /// `git log --since=TIME+1 HEAD -- PATHS`: committed later than `time`, in seconds.
    pub(super) fn since_time(&mut self, head: ObjectId, time: i64, paths: &[usize]) -> Result<Vec<ObjectId>> {
        self.listed(head, Some(time), paths, usize::MAX)
    }

    /// `get_revision_1`, without commits that are left out because others reach them: the newest `limit` commits.
    /// What was committed up to `time` is not followed further.
    fn listed(&mut self, head: ObjectId, time: Option<i64>, paths: &[usize], limit: usize) -> Result<Vec<ObjectId>> {
        let head = self.read(head)?;
        let mut walk = Walk::new(paths);
        walk.enter(self, head);
        let mut listed = Vec::new();
        while let Some(Queued { date, place, .. }) = walk.queue.pop() {
            if time.is_some_and(|time| date <= time) {
                continue;
            }
            walk.follow(self, place)?;
            if !walk.has(place, TREESAME) {
                listed.push(self.node(place)?.id);
                if listed.len() >= limit {
                    break;
                }
            }
        }
        Ok(listed)
    }

    /// Which of the paths a commit's tree has.
    pub(super) fn present(&mut self, commit: ObjectId, paths: &[usize]) -> Result<Vec<bool>> {
        let commit = self.read(commit)?;
        let entries = self.entries(commit)?;
        Ok(paths.iter().map(|path| entries.get(*path).is_some_and(Option::is_some)).collect())
    }

    /// A commit for people.
    pub(super) fn commit(&self, id: ObjectId) -> Result<Commit> {
        self.go_on()?;
        let commit = self.repository.find_commit(id).with_context(|| format!("commit {id}"))?;
        let decoded = commit.decode().with_context(|| format!("commit {id}"))?;
        let time = decoded.committer()?.time()?.seconds;
        let author = decoded.author()?.name.to_string();
        let subject = decoded.message_summary().to_string();
        Ok(Commit { id: id.to_string(), time, author, subject })
    }

    fn node(&self, place: usize) -> Result<&Node> {
        self.nodes.get(place).context("a commit that was not read")
    }

    /// Reads a commit once, without its parents' contents.
    fn read(&mut self, id: ObjectId) -> Result<usize> {
        // A commit is entered by its hash before it is read, so that its children can name it.
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

    /// A commit's tree, committer date and parents; what follows them is not parsed.
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

    /// What a commit's tree has under each of the watched paths.
    fn entries(&mut self, place: usize) -> Result<Rc<[Entry]>> {
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
        if let Some(entries) = self.trees.get(&(tree, directory)) {
            return Ok(entries.clone());
        }
        self.go_on()?;
        let mut entries: Vec<Entry> = vec![None; self.watched];
        let mut deeper: Vec<(ObjectId, usize)> = Vec::new();
        let whole = self.directories.get(directory).context("a directory that nobody watches")?;
        for (watch, _) in whole.watches.iter().filter(|_| directory == 0) {
            set(&mut entries, *watch, TREE, tree);
        }
        if !whole.children.is_empty() {
            let object = self.repository.find_tree(tree).with_context(|| format!("tree {tree}"))?;
            for (at, found) in object.iter().enumerate() {
                if at % LOOK == LOOK - 1 {
                    self.go_on()?;
                }
                let found = found.with_context(|| format!("tree {tree}"))?;
                let Some(child) = whole.children.get(found.filename().as_bytes()) else { continue };
                let is_tree = found.mode().is_tree();
                let inside = self.directories.get(*child).context("a directory that nobody watches")?;
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
        self.held.more(size_of::<((ObjectId, usize), Rc<[Entry]>)>())?;
        self.trees.insert((tree, directory), entries.clone());
        Ok(entries)
    }

    /// An error when the run is over.
    fn go_on(&self) -> Result<()> {
        if self.stop.reached() { Err(Stopped.into()) } else { Ok(()) }
    }
}

/// A name that is watched or has watched names under it.
#[derive(Debug, Default)]
struct Directory {
    /// By name, places in [`History::directories`].
    children: HashMap<Vec<u8>, usize>,
    /// Watches that end here, and whether they mean a directory only.
    watches: Vec<(usize, bool)>,
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

/// The date of a commit that was named but not read. No commit has it.
const UNREAD: i64 = i64::MIN;
/// The mode of a directory in a tree.
const TREE: u16 = 0o040_000;
/// revision.c: how many uninteresting commits are looked at after the last interesting one, for skewed clocks.
const SLOP: u32 = 5;

type Flags = u8;
const SEEN: Flags = 1;
const UNINTERESTING: Flags = 1 << 1;
const BOTTOM: Flags = 1 << 2;
const TREESAME: Flags = 1 << 3;
const ADDED: Flags = 1 << 4;
/// This walk knows the commit's parents.
const PARSED: Flags = 1 << 5;

/// A commit that waits to be walked: the newest first, and of equals the one that came first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Queued {
    date: i64,
    arrival: Reverse<usize>,
    place: usize,
}

/// One lookup's way through the history.
struct Walk<'p> {
    paths: &'p [usize],
    flags: Vec<Flags>,
    /// Merges of which only one parent is followed.
    simplified: HashMap<usize, usize>,
    queue: BinaryHeap<Queued>,
    arrivals: usize,
}

impl<'p> Walk<'p> {
    fn new(paths: &'p [usize]) -> Self {
        Self { paths, flags: Vec::new(), simplified: HashMap::new(), queue: BinaryHeap::new(), arrivals: 0 }
    }

    fn has(&self, place: usize, flags: Flags) -> bool {
        self.flags.get(place).is_some_and(|set| set & flags == flags)
    }

    fn set(&mut self, place: usize, flags: Flags) {
        if self.flags.len() <= place {
            self.flags.resize(place + 1, 0);
        }
        if let Some(set) = self.flags.get_mut(place) {
            *set |= flags;
        }
    }

    /// Queues a commit that was read.
    fn enter(&mut self, history: &History<'_>, place: usize) {
        self.set(place, SEEN | PARSED);
        let date = history.nodes.get(place).map_or(UNREAD, |node| node.date);
        self.queue.push(Queued { date, arrival: Reverse(self.arrivals), place });
        self.arrivals += 1;
    }

    /// The parents that this walk follows.
    fn parents(&self, history: &History<'_>, place: usize) -> Vec<usize> {
        match self.simplified.get(&place) {
            Some(only) => vec![*only],
            None => history.nodes.get(place).map(|node| node.parents.clone()).unwrap_or_default(),
        }
    }

    /// `limit_list`, and then the commits that are shown, newest first.
    fn limited(mut self, history: &mut History<'_>) -> Result<Vec<ObjectId>> {
        let mut listed = Vec::new();
        let mut date = i64::MAX;
        let mut slop = SLOP;
        while let Some(queued) = self.queue.pop() {
            let commit = queued.place;
            self.follow(history, commit)?;
            if self.has(commit, UNINTERESTING) {
                self.exclude_parents(history, commit)?;
                slop = self.still_interesting(date, slop);
                if slop == 0 {
                    break;
                }
                continue;
            }
            date = queued.date;
            listed.push(commit);
        }
        let shown = |commit: &usize| !self.has(*commit, UNINTERESTING) && !self.has(*commit, TREESAME);
        listed.iter().filter(|commit| shown(commit)).map(|commit| history.node(*commit).map(|node| node.id)).collect()
    }

    /// `still_interesting`
    fn still_interesting(&self, date: i64, slop: u32) -> u32 {
        match self.queue.peek() {
            None => 0,
            Some(newest) if date <= newest.date => SLOP,
            Some(_) if self.queue.iter().any(|queued| !self.has(queued.place, UNINTERESTING)) => SLOP,
            Some(_) => slop - 1,
        }
    }

    /// `process_parents`
    fn follow(&mut self, history: &mut History<'_>, commit: usize) -> Result<()> {
        if self.has(commit, ADDED) {
            return Ok(());
        }
        self.set(commit, ADDED);
        let uninteresting = self.has(commit, UNINTERESTING);
        if !uninteresting {
            self.simplify(history, commit)?;
        }
        for parent in self.parents(history, commit) {
            if uninteresting {
                self.set(parent, UNINTERESTING);
            }
            self.parse(history, parent)?;
            if uninteresting {
                self.exclude_parents(history, parent)?;
            }
            if !self.has(parent, SEEN) {
                self.enter(history, parent);
            }
        }
        Ok(())
    }

    /// `mark_parents_uninteresting`: as far as commits are known to this walk.
    fn exclude_parents(&mut self, history: &History<'_>, commit: usize) -> Result<()> {
        let mut pending = self.parents(history, commit);
        while let Some(commit) = pending.pop() {
            if self.has(commit, UNINTERESTING) {
                continue;
            }
            self.set(commit, UNINTERESTING);
            if self.has(commit, PARSED) {
                pending.extend(self.parents(history, commit));
            }
        }
        Ok(())
    }

    fn parse(&mut self, history: &mut History<'_>, commit: usize) -> Result<()> {
        let id = history.node(commit)?.id;
        history.read(id)?;
        self.set(commit, PARSED);
        Ok(())
    }

    /// `try_to_simplify_commit`
    fn simplify(&mut self, history: &mut History<'_>, commit: usize) -> Result<()> {
        let parents = history.node(commit)?.parents.clone();
        let own = history.entries(commit)?;
        if parents.is_empty() {
            if self.paths.iter().all(|path| own.get(*path).is_none_or(Option::is_none)) {
                self.set(commit, TREESAME);
            }
            return Ok(());
        }
        let (mut relevant_parents, mut relevant_change, mut irrelevant_change) = (false, false, false);
        for parent in parents {
            let relevant = self.relevant(parent);
            relevant_parents |= relevant;
            self.parse(history, parent)?;
            let theirs = history.entries(parent)?;
            if self.paths.iter().all(|path| own.get(*path) == theirs.get(*path)) {
                if relevant {
                    self.simplified.insert(commit, parent);
                    self.set(commit, TREESAME);
                    return Ok(());
                }
            } else if relevant {
                relevant_change = true;
            } else {
                irrelevant_change = true;
            }
        }
        if if relevant_parents { !relevant_change } else { !irrelevant_change } {
            self.set(commit, TREESAME);
        }
        Ok(())
    }

    /// `relevant_commit`
    fn relevant(&self, commit: usize) -> bool {
        !self.has(commit, UNINTERESTING) || self.has(commit, BOTTOM)
    }
}

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
