//! The failing checks furthest up the pipeline, under which others are listed. Each check is looked at once for a batch,
//! however many ways lead to it.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{
    Level,
    spoken::News,
    standing::{Rules, Standing, Standings, silenced},
};

/// What a check's root depends on besides the standings: the level, and the time and date of the news.
type Conditions = (Option<Level>, Timestamp, Date);

/// The roots that are known while a batch is decided, upstream checks first.
pub(super) struct Roots<'c> {
    rules: Rules<'c>,
    /// The root of each check, by its number.
    known: BTreeMap<Conditions, HashMap<usize, Option<usize>>>,
}

impl<'c> Roots<'c> {
    pub(super) fn new(rules: Rules<'c>) -> Self {
        Self { rules, known: BTreeMap::new() }
    }

    /// The failing check furthest up the pipeline that a failing check depends on, if it is as severe and was reported. A
    /// passing check between them breaks the chain; a check that could not be evaluated does not. The checks above this
    /// one must be decided already.
    pub(super) fn of(&mut self, check: &str, news: News<'_>, standings: &Standings) -> Option<String> {
        let rules = self.rules;
        let dependencies = &rules.config.dependencies;
        let number = dependencies.number(check)?;
        let severity = standings.get(check).and_then(|standing| standing.data.worst());
        let known = self.known.entry((severity, news.due(), news.data_date())).or_default();
        // On a stack of its own, since a chain may be long.
        let mut stack = vec![number];
        while let Some(at) = stack.last().copied() {
            if known.contains_key(&at) {
                stack.pop();
                continue;
            }
            let upstream = dependencies.upstream(at);
            let before = stack.len();
            stack.extend(upstream.iter().copied().filter(|above| !known.contains_key(above)));
            if stack.len() > before {
                continue;
            }
            let found = upstream.iter().find_map(|above| {
                let name = dependencies.name(*above);
                let standing = standings.get(name)?;
                let further = known.get(above).copied().flatten();
                let fails = standing.data.failing() && standing.data.worst() >= severity;
                match fails && standing.judged {
                    true => further.or_else(|| speaks(name, standing, news, rules).then_some(*above)),
                    false if standing.judged => None,
                    false => further,
                }
            });
            known.insert(at, found);
        }
        known.get(&number).copied().flatten().map(|root| dependencies.name(root).to_owned())
    }
}

/// Whether a failing check still runs and was reported or silenced, so that dependents can be listed under it.
fn speaks(check: &str, standing: &Standing, news: News<'_>, rules: Rules<'_>) -> bool {
    let repeat = SignedDuration::try_from(rules.config.alerts(check).repeat_interval.0).unwrap_or(SignedDuration::MAX);
    let runs = standing.ran.is_some_and(|ran| news.due().duration_since(ran) <= repeat);
    runs && (standing.data.is_known() || silenced(check, news, rules).is_some())
}
