//! The protocol of several hosts on one record, as a small model: claims, leases, epochs, recording and sending. Every order
//! of steps within stated bounds is searched, with kills, pauses, lost answers and late statements, and each state is
//! checked against the invariants. A search with a part of the protocol left out must fail: that shows what the part is
//! for, and that the search would find such a mistake. A program of its own, since it needs nothing but the standard library.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
// How many states were searched is part of the result.
#![allow(clippy::print_stdout)]

#[path = "model/protocol.rs"]
mod protocol;
#[path = "model/search.rs"]
mod search;
#[path = "model/state.rs"]
mod state;
#[path = "model/words.rs"]
mod words;

use std::{collections::BTreeSet, time::Instant};

use protocol::{Bounds, CALM, Clock, Protocol, Safeguard};
use search::{Explored, explore};

/// A finer clock: sends start before four sixths of the lease are over, and end within five.
const SIXTHS: Clock = Clock { lease: 6, start: 4, end: 5 };

fn search(bounds: Bounds, without: Option<Safeguard>) -> Explored {
    let begin = Instant::now();
    let explored = explore(Protocol { bounds, without });
    let Bounds { hosts, checks, dues, kills, pauses, cuts, .. } = bounds;
    let (states, steps, seconds) = (explored.states.len(), explored.steps, begin.elapsed().as_secs_f64());
    println!(
        "{hosts} hosts, checks: {checks}, due times: {dues}, kills: {kills}, pauses: {pauses}, cuts: {cuts}, {}: \
         {states} states, {steps} steps, {seconds:.1} s",
        without.map_or("the whole protocol".to_owned(), |part| format!("without {part:?}")),
    );
    explored
}

fn holds(bounds: Bounds, without: Option<Safeguard>) -> Explored {
    let explored = search(bounds, without);
    if let Some((invariant, trace)) = &explored.violation {
        panic!("violated: {invariant}\n{}", words::told(bounds, trace));
    }
    explored
}

#[test]
fn one_change_survives_a_kill_a_pause_and_a_cut() {
    let explored = holds(Bounds { kills: 1, pauses: 1, cuts: 1, ..CALM }, None);
    // The bound is reached: each of the three can cost a repeat.
    let accepted = explored.states.iter().map(|state| state.messages[0].accepted);
    assert_eq!(accepted.max(), Some(4));
}

#[test]
fn one_change_survives_two_pauses() {
    holds(Bounds { pauses: 2, ..CALM }, None);
}

#[test]
fn two_due_times_survive_a_pause_and_a_cut() {
    holds(Bounds { dues: 2, pauses: 1, cuts: 1, ..CALM }, None);
}

#[test]
fn two_due_times_survive_a_kill_and_a_pause() {
    holds(Bounds { dues: 2, kills: 1, pauses: 1, ..CALM }, None);
}

#[test]
fn two_due_times_survive_a_kill_and_a_cut() {
    holds(Bounds { dues: 2, kills: 1, cuts: 1, ..CALM }, None);
}

#[test]
fn two_checks_survive_a_pause() {
    holds(Bounds { checks: 2, pauses: 1, ..CALM }, None);
}

#[test]
fn two_checks_survive_a_kill() {
    holds(Bounds { checks: 2, kills: 1, ..CALM }, None);
}

#[test]
fn two_checks_with_two_due_times_each() {
    holds(Bounds { checks: 2, dues: 2, ..CALM }, None);
}

#[test]
fn a_check_that_takes_its_hosts_down_ends_as_an_error() {
    holds(Bounds { deadly: true, ..CALM }, None);
    holds(Bounds { deadly: true, hosts: 2, pauses: 1, ..CALM }, None);
}

#[test]
fn sends_may_use_a_part_of_the_last_third() {
    holds(Bounds { clock: SIXTHS, pauses: 1, ..CALM }, None);
    holds(Bounds { clock: SIXTHS, cuts: 1, ..CALM }, None);
}

/// No invariant needs the database to refuse a receipt under an old epoch: the receipt is true, whoever writes it, and it
/// saves a repeat. Its writer only has to learn that it lost the channel.
#[test]
fn a_receipt_may_be_written_under_an_old_epoch_if_it_tells_of_it() {
    holds(Bounds { kills: 1, pauses: 1, cuts: 1, ..CALM }, Some(Safeguard::ReceiptRefused));
    holds(Bounds { dues: 2, cuts: 1, ..CALM }, Some(Safeguard::ReceiptRefused));
    holds(Bounds { dues: 2, pauses: 1, ..CALM }, Some(Safeguard::ReceiptRefused));
}

#[test]
fn each_safeguard_is_needed() {
    use protocol::{
        DEATHS, DONE, IN_OUTBOX, NOTHING_UNRECORDED, ONE_RUN, ORDER, PROGRESS, REPEATS,
        Safeguard::{
            AttemptBefore, AttemptOverDues, ClaimAtGiveBack, ClaimAtRecord, ClaimAtRenewal, EpochAtRecord, IdleTimeout,
            LeaseAtTake, LeaseEnds, MeasuredBefore, MessageNotAfter, MessageNotBefore, OwnClock, ReceiptTells,
            TimeForReceipt, TurnLock,
        },
    };
    let deadly = Bounds { deadly: true, ..CALM };
    let two_dues = Bounds { dues: 2, ..CALM };
    let cases = [
        (LeaseAtTake, CALM, REPEATS),
        (LeaseEnds, CALM, PROGRESS),
        (ClaimAtRecord, CALM, ONE_RUN),
        (EpochAtRecord, two_dues, DONE),
        (ClaimAtRenewal, CALM, REPEATS),
        (ClaimAtGiveBack, CALM, REPEATS),
        (ReceiptTells, Bounds { cuts: 1, ..two_dues }, REPEATS),
        (AttemptBefore, deadly, DEATHS),
        (AttemptOverDues, Bounds { dues: 2, ..deadly }, DEATHS),
        (MessageNotAfter, CALM, IN_OUTBOX),
        (MessageNotBefore, CALM, NOTHING_UNRECORDED),
        (TurnLock, Bounds { checks: 2, ..CALM }, ORDER),
        (IdleTimeout, Bounds { pauses: 1, ..CALM }, PROGRESS),
        (OwnClock, CALM, REPEATS),
        (TimeForReceipt, CALM, REPEATS),
        (TimeForReceipt, Bounds { clock: SIXTHS, ..CALM }, REPEATS),
        (MeasuredBefore, CALM, REPEATS),
    ];
    for (part, bounds, expected) in cases {
        let Some((invariant, trace)) = search(bounds, Some(part)).violation else {
            panic!("nothing is violated without {part:?}");
        };
        println!("violated: {invariant}\n{}", words::told(bounds, &trace));
        assert_eq!(invariant, expected, "without {part:?}");
    }
}

/// The other searches count states as one that no later step can tell apart. This one searches every state, with two hosts,
/// and reaches the same records, messages and faults.
#[test]
fn merging_hides_nothing() {
    let calm = Bounds { hosts: 2, ..CALM };
    for bounds in [Bounds { pauses: 1, ..calm }, Bounds { kills: 1, ..calm }, Bounds { cuts: 1, ..calm }] {
        let [merged, every] = [true, false].map(|merged| {
            let explored = search(Bounds { merged, ..bounds }, None);
            assert_eq!(explored.violation.map(|(invariant, _)| invariant), None);
            let seen = explored.states.iter().map(|state| (state.messages, state.late_post, state.faults));
            seen.collect::<BTreeSet<_>>()
        });
        assert_eq!(merged, every);
    }
}
