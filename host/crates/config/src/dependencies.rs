//! Who depends on whom: the `depends_on` of all checks as a graph, made once for a configuration, so that a round walks
//! each dependency once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Result, bail};

use super::Check;

/// The dependencies of all checks. Each check has a number, which is higher than those of the checks it depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependencies {
    numbers: BTreeMap<String, usize>,
    nodes: Vec<Node>,
}

/// One check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    name: String,
    /// The numbers of the checks that it depends on, in the order of host.toml.
    upstream: Vec<usize>,
    /// The length of the longest chain above it.
    depth: usize,
}

impl Dependencies {
    /// Numbers the checks; a circle is an error.
    pub(super) fn new(checks: &BTreeMap<String, Check>) -> Result<Self> {
        let named = || checks.iter().flat_map(|(name, check)| check.depends_on.iter().map(move |other| (other, name)));
        let all: BTreeSet<&String> = checks.keys().chain(named().map(|(other, _)| other)).collect();
        let mut downstream: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
        let mut waits: BTreeMap<&String, usize> = all.iter().map(|name| (*name, 0)).collect();
        for (other, name) in named() {
            downstream.entry(other).or_default().push(name);
            *waits.entry(name).or_default() += 1;
        }
        let mut made = Self::default();
        let mut free: VecDeque<&String> = all.iter().copied().filter(|name| waits.get(name) == Some(&0)).collect();
        while let Some(name) = free.pop_front() {
            made.add(name, checks.get(name));
            for next in downstream.get(name).into_iter().flatten() {
                let left = waits.entry(next).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    free.push_back(next);
                }
            }
        }
        match all.iter().find(|name| !made.numbers.contains_key(**name)) {
            None => Ok(made),
            Some(stuck) => {
                bail!("checks depend on each other in a circle: {}", made.circle(stuck, checks).join(" → "))
            }
        }
    }

    fn add(&mut self, name: &str, check: Option<&Check>) {
        let above = check.into_iter().flat_map(|check| &check.depends_on);
        let upstream: Vec<usize> = above.filter_map(|other| self.numbers.get(other).copied()).collect();
        let depth = upstream.iter().filter_map(|above| Some(self.nodes.get(*above)?.depth + 1)).max();
        self.numbers.insert(name.to_owned(), self.nodes.len());
        self.nodes.push(Node { name: name.to_owned(), upstream, depth: depth.unwrap_or_default() });
    }

    /// The circle that is reached from a check without a number: each of those depends on another one.
    fn circle<'c>(&self, stuck: &'c str, checks: &'c BTreeMap<String, Check>) -> Vec<&'c str> {
        let mut path: Vec<&str> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut at = stuck;
        loop {
            path.push(at);
            if let Some(start) = places.insert(at, path.len() - 1) {
                return path.split_off(start);
            }
            let upstream = checks.get(at).map(|check| check.depends_on.as_slice()).unwrap_or_default();
            match upstream.iter().find(|other| !self.numbers.contains_key(*other)) {
                Some(next) => at = next,
                None => return path,
            }
        }
    }

    /// The length of the longest chain of checks above this one.
    pub fn depth(&self, check: &str) -> usize {
        self.number(check).and_then(|number| self.nodes.get(number)).map(|node| node.depth).unwrap_or_default()
    }

    /// The number of a check; `None` if it neither depends on a check nor is one that another depends on.
    pub fn number(&self, check: &str) -> Option<usize> {
        self.numbers.get(check).copied()
    }

    /// The name of a check.
    pub fn name(&self, number: usize) -> &str {
        self.nodes.get(number).map(|node| node.name.as_str()).unwrap_or_default()
    }

    /// The checks that this one depends on directly, in the order of host.toml.
    pub fn upstream(&self, number: usize) -> &[usize] {
        self.nodes.get(number).map(|node| node.upstream.as_slice()).unwrap_or_default()
    }

    /// Whether a check depends on another one, directly or not.
    pub fn is_above(&self, upstream: &str, check: &str) -> bool {
        let (Some(wanted), Some(start)) = (self.number(upstream), self.number(check)) else { return false };
        let (mut seen, mut left) = (BTreeSet::new(), vec![start]);
        while let Some(at) = left.pop() {
            // The checks above one have lower numbers.
            left.extend(self.upstream(at).iter().filter(|above| **above >= wanted && seen.insert(**above)));
        }
        seen.contains(&wanted)
    }

    /// All checks that depend on one of these, directly or not.
    pub fn below(&self, names: &BTreeSet<&str>) -> BTreeSet<&str> {
        if names.is_empty() {
            return BTreeSet::new();
        }
        let mut below = vec![false; self.nodes.len()];
        let mut found = BTreeSet::new();
        // Upstream checks have lower numbers, so each is decided before those that depend on it.
        for (number, node) in self.nodes.iter().enumerate() {
            let depends =
                |above: &usize| below.get(*above).copied().unwrap_or_default() || names.contains(self.name(*above));
            if node.upstream.iter().any(depends) {
                if let Some(it) = below.get_mut(number) {
                    *it = true;
                }
                found.insert(node.name.as_str());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn made(text: &str) -> Result<Dependencies> {
        Ok(Config::parse(text)?.dependencies)
    }

    #[test]
    fn the_depth_is_that_of_the_longest_chain() {
        let made =
            made("[checks.c]\ndepends_on = ['a', 'b']\n[checks.b]\ndepends_on = ['a']\n[checks.d]").expect("no circle");
        let depths: Vec<usize> = ["a", "b", "c", "d", "none"].iter().map(|name| made.depth(name)).collect();
        assert_eq!(depths, [0, 1, 2, 0, 0]);
        for (upstream, check, above) in
            [("a", "c", true), ("a", "b", true), ("c", "a", false), ("b", "b", false), ("d", "c", false)]
        {
            assert_eq!(made.is_above(upstream, check), above, "{upstream} {check}");
        }
        let below = |names: &[&str]| made.below(&names.iter().copied().collect()).into_iter().collect::<Vec<_>>();
        assert_eq!((below(&["a"]), below(&["b"]), below(&["c"])), (vec!["b", "c"], vec!["c"], vec![]));
        assert!(below(&[]).is_empty());
    }

    #[test]
    fn a_circle_is_named_without_those_who_only_depend_on_it() {
        let error =
            made("[checks.a]\ndepends_on = ['c']\n[checks.b]\ndepends_on = ['c']\n[checks.c]\ndepends_on = ['b']")
                .expect_err("a circle");
        assert!(error.to_string().ends_with("in a circle: c → b → c"), "{error}");
    }

    /// Every check of a layer depends on every check of the layer above: there are 2^200 ways through them.
    #[test]
    fn many_layers_and_a_long_chain_are_walked_once() {
        let mut text = String::new();
        for layer in 1..200 {
            let above = layer - 1;
            for side in ["a", "b"] {
                text += &format!("[checks.{side}{layer}]\ndepends_on = ['a{above}', 'b{above}']\n");
            }
        }
        let layers = made(&text).expect("no circle");
        assert_eq!((layers.depth("a199"), layers.below(&BTreeSet::from(["b0"])).len()), (199, 398));
        let chain: String = (1..20_000).map(|at| format!("[checks.c{at}]\ndepends_on = ['c{}']\n", at - 1)).collect();
        assert_eq!(made(&chain).expect("no circle").depth("c19999"), 19_999);
    }
}
