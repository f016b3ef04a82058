//! A breadth-first search through every state that can be reached, so that what it finds is found the shortest way.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
};

use crate::{
    protocol::{PROGRESS, Protocol, Step},
    state::{Life, State},
};

/// What a search saw.
#[derive(Debug)]
pub(crate) struct Explored {
    pub states: Vec<State>,
    pub steps: usize,
    /// The first violation: the invariant, and the steps that lead to it.
    pub violation: Option<(&'static str, Vec<(Step, State)>)>,
}

/// States, numbered in the order in which they were found.
struct Graph {
    states: Vec<State>,
    numbers: HashMap<State, u32, BuildHasherDefault<Fast>>,
    /// From which state each was found.
    parents: Vec<u32>,
    /// Where steps lead that need no luck, the states one after the other, and where each state's end.
    ways: Vec<u32>,
    ends: Vec<usize>,
    steps: usize,
}

pub(crate) fn explore(protocol: Protocol) -> Explored {
    let start = protocol.merge(State::of(protocol.bounds.hosts));
    let mut graph = Graph {
        states: vec![start],
        numbers: HashMap::from_iter([(start, 0)]),
        parents: vec![0],
        ways: Vec::new(),
        ends: Vec::new(),
        steps: 0,
    };
    let broken = graph.grow(protocol).or_else(|| graph.stuck(protocol).map(|state| (PROGRESS, state)));
    let violation = broken.map(|(name, state)| (name, graph.trace(protocol, state)));
    Explored { states: graph.states, steps: graph.steps, violation }
}

impl Graph {
    /// Finds every state, or stops at the first that violates an invariant.
    fn grow(&mut self, protocol: Protocol) -> Option<(&'static str, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.states.len() {
            let from = self.states[at];
            protocol.steps(&from, &mut found);
            self.steps += found.len();
            for (step, to) in &found {
                let to = protocol.merge(*to);
                let new = u32::try_from(self.states.len()).unwrap();
                let number = match self.numbers.entry(to) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(unknown) => *unknown.insert(new),
                };
                if number == new {
                    self.states.push(to);
                    self.parents.push(u32::try_from(at).unwrap());
                    if let Some(name) = protocol.violated(&to) {
                        return Some((name, self.states.len() - 1));
                    }
                }
                if !protocol.needs_luck(*step) {
                    self.ways.push(number);
                }
            }
            self.ends.push(self.ways.len());
            at += 1;
        }
        None
    }

    /// The first state with a host that runs, from which the work can no longer be finished without luck.
    fn stuck(&self, protocol: Protocol) -> Option<usize> {
        let mut good: Vec<bool> = self.states.iter().map(|state| protocol.finished(state)).collect();
        loop {
            let mut changed = false;
            for state in (0..good.len()).rev().filter(|state| *state < self.ends.len()) {
                let begin = state.checked_sub(1).map_or(0, |before| self.ends[before]);
                if !good[state] && self.ways[begin..self.ends[state]].iter().any(|to| good[*to as usize]) {
                    good[state] = true;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        let runs = |state: &State| state.hosts.iter().any(|host| host.life == Life::Up);
        (0..good.len()).find(|state| !good[*state] && runs(&self.states[*state]))
    }

    /// The steps to a state. Hosts keep their numbers along it, which sorted states do not show.
    fn trace(&self, protocol: Protocol, state: usize) -> Vec<(Step, State)> {
        let mut path = vec![state];
        while let Some(&first) = path.last()
            && first > 0
        {
            path.push(self.parents[first] as usize);
        }
        let mut at = State::of(protocol.bounds.hosts);
        let mut found = Vec::new();
        let steps = path.iter().rev().skip(1).map(|next| {
            protocol.steps(&at, &mut found);
            let step = found.iter().find(|(_, to)| protocol.merge(*to) == self.states[*next]).unwrap();
            at = step.1;
            *step
        });
        steps.collect()
    }
}

/// Faster than the standard library's hasher, which also has to resist chosen keys.
#[derive(Default)]
struct Fast(u64);

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}
