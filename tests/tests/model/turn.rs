//! A check's turn: take the claim, run, record. Recording is a transaction that others can come before, so it is three
//! steps: begin (which demands the claim), send COMMIT, commit.

use super::{ATTEMPTS, Next, Safeguard, Step, What};
use crate::state::{CheckRow, Epoch, Kind, Life, Run, Stage, State, Transaction};

impl Next<'_> {
    pub(super) fn turn(&mut self, host: usize, check: u8) {
        let row = usize::from(check);
        let run = self.from.hosts[host].runs[row];
        let CheckRow { done, .. } = self.from.checks[row];
        if self.may_take(row) {
            // Catching up skips to the newest due time; clocks differ, so hosts differ about which that is.
            for due in done + 1..=self.protocol.bounds.dues {
                self.take(host, check, due);
            }
        }
        let Some(run) = run else { return };
        let step = |what| Step { what, host, number: check, due: run.due };
        let locked = self.from.locked(row);
        if run.epoch == Epoch::Old {
            self.add(step(What::LoseTurn), |to| to.hosts[host].runs[row] = None);
        }
        let unfenced = !self.protocol.keeps(Safeguard::ClaimAtGiveBack);
        if !locked && (run.epoch == Epoch::Newest || unfenced) {
            self.add(step(What::GiveBackTurn), |to| {
                to.free(row);
                to.hosts[host].runs[row] = None;
                // It was not the check that ended this attempt.
                to.checks[row].attempt = to.checks[row].attempt.saturating_sub(1);
            });
        }
        if self.protocol.bounds.deadly && check == 0 && run.kind == Kind::Real {
            return self.add(step(What::Die), |to| {
                to.kill(host);
                to.faults.deaths += 1;
            });
        }
        self.begin(host, check, run);
    }

    fn may_take(&self, row: usize) -> bool {
        let held = self.from.checks[row].lost || self.from.holder(row).is_some();
        !self.from.locked(row) && (!held || self.protocol.keeps(Safeguard::LeaseEnds))
    }

    /// One that is heard needs a host that does not run the check already; one that is unheard may be an old statement.
    fn take(&mut self, host: usize, check: u8, due: u8) {
        let row = usize::from(check);
        let before = self.from.checks[row];
        let same = before.due == due || self.protocol.keeps(Safeguard::AttemptOverDues);
        let counted = self.protocol.bounds.deadly && self.protocol.keeps(Safeguard::AttemptBefore);
        let attempt = match (counted, same) {
            (false, _) => 0,
            (true, true) => (before.attempt + 1).min(ATTEMPTS + 1),
            (true, false) => 1,
        };
        let taken = |to: &mut State| {
            to.free(row);
            to.outdate(row);
            to.hosts[host].holds |= 1 << row;
            to.checks[row] = CheckRow { due, attempt, ..to.checks[row] };
        };
        let step = |what| Step { what, host, number: check, due };
        self.add(step(What::TakeUnheard), taken);
        if self.from.hosts[host].runs[row].is_none() {
            self.add(step(What::Take), |to| {
                taken(to);
                let kind = if attempt > ATTEMPTS { Kind::Error } else { Kind::Real };
                to.hosts[host].runs[row] = Some(Run { due, epoch: Epoch::Newest, kind });
            });
        }
    }

    fn begin(&mut self, host: usize, check: u8, run: Run) {
        let row = usize::from(check);
        let from = self.from;
        let holds = from.hosts[host].holds & (1 << row) != 0;
        let accepted = match self.protocol.without {
            Some(Safeguard::ClaimAtRecord) => true,
            Some(Safeguard::EpochAtRecord) => holds,
            _ => run.epoch == Epoch::Newest,
        };
        let waits = match self.protocol.keeps(Safeguard::TurnLock) {
            true => from.hosts.iter().any(|host| host.transaction.is_some()),
            false => from.locked(row) || from.hosts[host].transaction.is_some(),
        };
        if !accepted || waits {
            return;
        }
        let early = !self.protocol.keeps(Safeguard::MessageNotBefore);
        let message = usize::from(self.protocol.bounds.message(check, run.due));
        let position = match from.messages[message].position {
            0 => from.next_position(),
            there => there,
        };
        let done = from.checks[row].due;
        self.add(Step { what: What::Begin, host, number: check, due: run.due }, |to| {
            to.hosts[host].transaction = Some(Transaction { check, due: run.due, done, position, stage: Stage::Open });
            if early {
                to.messages[message].position = position;
            }
        });
    }

    /// What becomes of a transaction: the host's part while it lives, and the database's.
    pub(super) fn transaction(&mut self, host: usize) {
        let Some(open) = self.from.hosts[host].transaction else { return };
        let life = self.from.hosts[host].life;
        let step = |what| Step { what, host, number: open.check, due: open.due };
        let stage = |stage| Some(Transaction { stage, ..open });
        match open.stage {
            Stage::Open if life == Life::Up => {
                self.add(step(What::SendCommit), |to| to.hosts[host].transaction = stage(Stage::Committing));
            }
            Stage::Committing if life == Life::Up => {
                self.add(step(What::LoseAnswer), |to| to.hosts[host].transaction = stage(Stage::Unheard));
            }
            _ => {}
        }
        if open.stage != Stage::Open {
            let protocol = self.protocol;
            let message = usize::from(protocol.bounds.message(open.check, open.due));
            self.add(step(What::Commit), |to| {
                let row = usize::from(open.check);
                to.free(row);
                to.outdate(row);
                let check = &mut to.checks[row];
                (check.done, check.due, check.attempt) = (open.done.max(check.done), 0, 0);
                to.messages[message].recorded += 1;
                if protocol.keeps(Safeguard::MessageNotAfter) {
                    to.messages[message].position = open.position;
                }
                to.hosts[host].transaction = None;
                if open.stage == Stage::Committing {
                    to.hosts[host].runs[row] = None;
                }
            });
        }
        // An error of the database or the connection, or its timeout for transactions that are idle.
        if open.stage != Stage::Open || life == Life::Up || self.protocol.keeps(Safeguard::IdleTimeout) {
            self.add(step(What::Abort), |to| to.hosts[host].transaction = None);
        }
    }
}
