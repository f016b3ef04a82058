//! The failing checks furthest up the pipeline, under which others are listed. Each check is looked at once for a batch,
//! however many ways lead to it.

use std::collections::{BTreeMap, HashMap};

use super::{
    Level,
    day::{At, Waits},
    policy::Side,
    standing::{Rules, Standing, Standings, holds_until, silenced},
};

/// The failing check that speaks for the checks that depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    /// Its name.
    pub(super) check: String,
    /// How it speaks for them.
    pub(super) how: How,
}

/// How a root speaks for the checks that depend on it, the most informative first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    /// Its own alert was sent.
    Reported,
    /// Its alerts are silenced.
    Silenced,
    /// A check that it depends on has just recovered, and it has one more run to follow.
    Follows,
}

/// What a check's root depends on besides the standings: the level, and the time and data date.
type Conditions = (Option<Level>, At);

/// The roots that are known while a batch is decided, upstream checks first.
pub(super) struct Roots<'c> {
    rules: Rules<'c>,
    /// The root of each check, by its number.
    known: BTreeMap<Conditions, HashMap<usize, Option<(usize, How)>>>,
}

impl<'c> Roots<'c> {
    pub(super) fn new(rules: Rules<'c>) -> Self {
        Self { rules, known: BTreeMap::new() }
    }

    /// The failing check furthest up the pipeline that a failing check depends on, if it is as severe and speaks for it. A
    /// passing check between them breaks the chain; a check that could not be evaluated does not. The checks above this
    /// one must be decided already.
    pub(super) fn of(&mut self, check: &str, at: At, standings: &Standings) -> Option<Root> {
        let rules = self.rules;
        let dependencies = &rules.config.dependencies;
        let number = dependencies.number(check)?;
        let severity = standings.get(check).and_then(|standing| standing.failing_at(at.date)?.worst());
        let known = self.known.entry((severity, at)).or_default();
        // On a stack of its own, since a chain may be long.
        let mut stack = vec![number];
        while let Some(this) = stack.last().copied() {
            if known.contains_key(&this) {
                stack.pop();
                continue;
            }
            let upstream = dependencies.upstream(this);
            let before = stack.len();
            stack.extend(upstream.iter().copied().filter(|above| !known.contains_key(above)));
            if stack.len() > before {
                continue;
            }
            // The one that people can read of, if there is one; else the first.
            let mut found: Option<(usize, How)> = None;
            for above in upstream {
                let name = dependencies.name(*above);
                let Some(standing) = standings.get(name) else { continue };
                let further = known.get(above).copied().flatten();
                let fails = standing.failing_at(at.date).filter(|side| side.worst() >= severity);
                let root = match (standing.stands(name, at.date, rules.config), fails) {
                    (true, Some(side)) => further.or_else(|| Some((*above, speaks(name, standing, side, at, rules)?))),
                    (true, None) => None,
                    (false, _) => further,
                };
                found = [found, root].into_iter().flatten().min_by_key(|(_, how)| *how);
                if found.is_some_and(|(_, how)| how == How::Reported) {
                    break;
                }
            }
            known.insert(this, found);
        }
        let (root, how) = known.get(&number).copied().flatten()?;
        Some(Root { check: dependencies.name(root).to_owned(), how })
    }
}

/// How a failing check speaks for those that depend on it: not at all if nobody was told of it, if it flaps, since its
/// changes are not told then, or if it is no longer run.
fn speaks(check: &str, standing: &Standing, side: &Side, at: At, rules: Rules<'_>) -> Option<How> {
    if holds_until(check, standing, rules.config).is_none_or(|until| until < at.due) {
        return None;
    }
    if silenced(check, at, rules).is_some() {
        return Some(How::Silenced);
    }
    if side.is_flapping() {
        return None;
    }
    let follows = standing.waits_at(at.date).is_some_and(|waits| waits.recovered);
    if side.is_known() { Some(How::Reported) } else { follows.then_some(How::Follows) }
}

/// The check that one waits for at a date, if host.toml still makes it depend on that.
pub(super) fn waits_for<'s>(check: &str, standing: &'s Standing, at: At, rules: Rules<'_>) -> Option<&'s Waits> {
    standing.waits_at(at.date).filter(|waits| rules.config.dependencies.is_above(&waits.root, check))
}
