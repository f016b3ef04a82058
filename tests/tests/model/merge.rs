//! States that no later step can tell apart are one state: hosts have no names, what an old epoch is refused is as good
//! as forgotten, and a claim that anybody may take is free. Where a safeguard is left out, only what still holds is used.
//! That nothing is lost by it is itself tested: see `merging_hides_nothing`.

use super::{
    CHANNEL, CHECKS, Protocol,
    Safeguard::{
        AttemptOverDues, ClaimAtGiveBack, ClaimAtRecord, ClaimAtRenewal, EpochAtRecord, LeaseAtTake, LeaseEnds,
        MeasuredBefore, TurnLock,
    },
};
use crate::state::{Epoch, Host, Renewal, Send, Stage, State};

impl Protocol {
    pub(crate) fn merge(&self, mut state: State) -> State {
        if self.bounds.merged {
            let fenced = [ClaimAtRecord, EpochAtRecord, ClaimAtGiveBack, ClaimAtRenewal];
            if fenced.iter().all(|safeguard| self.keeps(*safeguard)) {
                state.hosts.iter_mut().for_each(|host| self.forget(host));
                if self.keeps(LeaseAtTake) && self.keeps(LeaseEnds) {
                    self.release(&mut state);
                }
            }
        }
        state.hosts.sort_unstable();
        state
    }

    /// A host measures from before it sent a renewal, so an answer that comes later says the same: only its loss differs.
    pub(super) fn answers_at_once(&self) -> bool {
        self.bounds.merged && self.keeps(MeasuredBefore) && self.keeps(ClaimAtRenewal)
    }

    /// What a host with an old epoch can only be refused.
    fn forget(&self, host: &mut Host) {
        // A deadly check takes its host down all the same.
        for run in host.runs.iter_mut().skip(usize::from(self.bounds.deadly)) {
            *run = run.filter(|run| run.epoch == Epoch::Newest);
        }
        // Whoever did not hear of a commit begins again, is refused, and knows as much as if it had heard.
        if let Some(open) = &mut host.transaction
            && open.stage == Stage::Unheard
            && self.keeps(TurnLock)
        {
            open.stage = Stage::Committing;
        }
        if let Some(delivery) = &mut host.delivery
            && delivery.epoch == Epoch::Old
        {
            if let Renewal::Sent(_) = delivery.renewal {
                delivery.renewal = Renewal::None;
            }
            let idle = (delivery.send, delivery.renewal) == (Send::None, Renewal::None);
            if idle && delivery.age >= self.clock().end {
                host.delivery = None;
            }
        }
    }

    /// A claim that nobody knows to hold.
    fn release(&self, state: &mut State) {
        for row in 0..CHECKS {
            if !state.hosts.iter().filter_map(|host| host.runs[row]).any(|run| run.epoch == Epoch::Newest) {
                state.free(row);
                if self.keeps(AttemptOverDues) {
                    state.checks[row].due = 0;
                }
            }
        }
        let newest = |host: &Host| host.delivery.is_some_and(|delivery| delivery.epoch == Epoch::Newest);
        if let Some(host) = state.holder(CHANNEL)
            && !newest(&state.hosts[host])
        {
            state.hosts[host].holds &= !(1 << CHANNEL);
            state.channel.lost = true;
        }
        if state.channel.left == 0 && state.channel.lost {
            state.free(CHANNEL);
        }
    }
}
