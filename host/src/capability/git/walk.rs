//! One lookup's walk through the history, in memory, with the rules of `git log BASE..BRANCH -- PATHS`: history is
//! simplified at merges (revision.c: `limit_list`, `process_parents`, `try_to_simplify_commit`), so that the answers
//! are git's own, odd dates and merges included.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use anyhow::Result;
use gix::ObjectId;

use super::history::{History, UNREAD};

impl History<'_> {
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

    /// `get_revision_1`, without commits that are excluded as reachable from others: the newest `limit` commits.
    /// Commits up to `time` are not followed further.
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
}

/// revision.c: the number of uninteresting commits to visit after the last interesting one, for skewed clocks.
const SLOP: u32 = 5;

type Flags = u8;
const SEEN: Flags = 1;
const UNINTERESTING: Flags = 1 << 1;
const BOTTOM: Flags = 1 << 2;
const TREESAME: Flags = 1 << 3;
const ADDED: Flags = 1 << 4;
/// The walk has processed the commit's parents.
const PARSED: Flags = 1 << 5;

/// A queued commit: the newest first, and among equals the first that was queued.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Queued {
    date: i64,
    arrival: Reverse<usize>,
    place: usize,
}

/// One lookup's walk through the history.
struct Walk<'p> {
    paths: &'p [usize],
    flags: Vec<Flags>,
    /// Merges that are simplified to one parent.
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

    /// `mark_parents_uninteresting`, as far as this walk has visited the commits.
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
