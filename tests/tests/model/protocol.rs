//! The protocol: from a state, every step that a host, the database, the network or bad luck can take next.

#[path = "channel.rs"]
mod channel;
#[path = "merge.rs"]
mod merge;
#[path = "turn.rs"]
mod turn;

use super::state::{CHANNEL, CHECKS, HOSTS, Life, State};

/// The lease of a channel, and by when a send has to start and to end by the host's own clock; all in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub lease: u8,
    pub start: u8,
    /// Includes writing the receipt.
    pub end: u8,
}

/// Thirds of a lease.
pub(crate) const THIRDS: Clock = Clock { lease: 3, start: 2, end: 2 };

/// How often a check is tried until something is recorded; after that many attempts it is an error. Hosts allow 3.
pub(crate) const ATTEMPTS: u8 = 2;

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub hosts: usize,
    pub checks: u8,
    pub dues: u8,
    pub kills: u8,
    pub pauses: u8,
    pub cuts: u8,
    /// Counts states as one that no later step can tell apart.
    pub merged: bool,
    /// The first check takes down each host that runs it.
    pub deadly: bool,
    pub clock: Clock,
}

/// One check, one due time, no faults.
pub(crate) const CALM: Bounds = Bounds {
    hosts: HOSTS,
    checks: 1,
    dues: 1,
    kills: 0,
    pauses: 0,
    cuts: 0,
    merged: true,
    deadly: false,
    clock: THIRDS,
};

impl Bounds {
    pub(crate) fn message(&self, check: u8, due: u8) -> u8 {
        check * self.dues + due - 1
    }
}

/// Parts of the protocol that a search can leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Safeguard {
    /// A claim is taken only when its lease is over, or nobody holds it.
    LeaseAtTake,
    /// A claim whose holder died is taken when its lease is over.
    LeaseEnds,
    /// Recording demands holder and epoch.
    ClaimAtRecord,
    /// Recording demands the epoch besides the holder.
    EpochAtRecord,
    /// Renewing demands holder and epoch.
    ClaimAtRenewal,
    /// Giving back demands holder and epoch.
    ClaimAtGiveBack,
    /// Whoever writes a receipt under an old epoch learns that it lost the channel.
    ReceiptTells,
    /// A receipt under an old epoch is not written.
    ReceiptRefused,
    /// An attempt is counted before the run starts.
    AttemptBefore,
    /// Attempts are counted until the check is recorded, also over due times.
    AttemptOverDues,
    /// A message is written in the transaction of its run, and not in one after it.
    MessageNotAfter,
    /// A message is written in the transaction of its run, and not in one before it.
    MessageNotBefore,
    /// Whoever records holds the lock of the `turn` row.
    TurnLock,
    /// The database rolls back a transaction whose host is silent (`idle_in_transaction_session_timeout`).
    IdleTimeout,
    /// A host looks at its clock before it sends, and bounds the send by it.
    OwnClock,
    /// A send ends before its lease, so that the receipt comes in time.
    TimeForReceipt,
    /// A host measures its lease from before it sent the renewal, and not from the answer.
    MeasuredBefore,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol {
    pub bounds: Bounds,
    pub without: Option<Safeguard>,
}

/// One step: in words, see [`super::words`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub what: What,
    /// The host that takes the step, if one does.
    pub host: usize,
    /// The check, the message, or the age in ticks.
    pub number: u8,
    pub due: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Kill,
    Pause,
    Resume,
    Restart,
    Tick,
    ClockJump,
    // A check's turn.
    Take,
    TakeUnheard,
    LoseTurn,
    GiveBackTurn,
    Die,
    Begin,
    SendCommit,
    LoseAnswer,
    Commit,
    Abort,
    // A channel's delivery.
    TakeChannel,
    TakeChannelUnheard,
    SendRenewal,
    Renew,
    RenewUnheard,
    RenewalRefused,
    RenewalLost,
    RenewalAnswered,
    LetGo,
    GiveBackChannel,
    Choose,
    Post,
    PostFails,
    PostLate,
    PostArrives,
    PostVanishes,
    Answer,
    AnswerLost,
    TimeOut,
    Receipt,
    ReceiptOld,
    ReceiptLate,
    ReceiptLost,
}

impl What {
    /// Steps that progress must not depend on. A deadly check does take its hosts down, and their supervisor starts them again.
    fn is_luck(self, deadly: bool) -> bool {
        use What::{
            AnswerLost, ClockJump, Die, Kill, LoseAnswer, Pause, PostLate, ReceiptLate, RenewUnheard, RenewalLost,
            Restart, Resume, TakeChannelUnheard, TakeUnheard,
        };
        match self {
            Restart | Die => !deadly,
            Kill | Pause | Resume | ClockJump | TakeUnheard | LoseAnswer | TakeChannelUnheard => true,
            RenewUnheard | RenewalLost | PostLate | AnswerLost | ReceiptLate => true,
            _ => false,
        }
    }
}

/// The steps from one state.
pub(crate) struct Next<'a> {
    protocol: Protocol,
    from: &'a State,
    found: &'a mut Vec<(Step, State)>,
}

impl Protocol {
    fn clock(&self) -> Clock {
        let clock = self.bounds.clock;
        match self.without {
            Some(Safeguard::TimeForReceipt) => Clock { end: clock.lease, ..clock },
            Some(Safeguard::OwnClock) => Clock { start: u8::MAX, end: u8::MAX, ..clock },
            _ => clock,
        }
    }

    fn keeps(&self, safeguard: Safeguard) -> bool {
        self.without != Some(safeguard)
    }

    /// Every step from `from` and where it leads. A step that changes nothing may be among them.
    pub(crate) fn steps(self, from: &State, found: &mut Vec<(Step, State)>) {
        found.clear();
        let mut next = Next { protocol: self, from, found };
        for host in (0..HOSTS).filter(|host| from.hosts[*host].life != Life::Absent) {
            next.life(host);
            if from.hosts[host].life == Life::Up {
                for check in 0..self.bounds.checks {
                    next.turn(host, check);
                }
                next.delivery(host);
            }
            next.transaction(host);
        }
        next.network();
        next.time();
    }

    pub(crate) fn needs_luck(&self, step: Step) -> bool {
        step.what.is_luck(self.bounds.deadly)
    }

    /// The name of the invariant that does not hold.
    pub(crate) fn violated(&self, state: &State) -> Option<&'static str> {
        let messages = &state.messages;
        let repeats: u8 = messages.iter().map(|message| message.accepted.saturating_sub(1)).sum();
        let overtaken = |message: &super::state::Message| {
            let later = |other: &super::state::Message| other.position > message.position && other.accepted > 0;
            message.position > 0 && message.accepted == 0 && messages.iter().any(later)
        };
        let skipped = |check: usize, done: u8| {
            done > 0 && messages[usize::from(self.bounds.message(u8::try_from(check).unwrap(), done))].recorded == 0
        };
        let recorded: u8 = messages.iter().take(self.bounds.dues.into()).map(|message| message.recorded).sum();
        let broken = [
            (messages.iter().any(|message| message.recorded > 1), ONE_RUN),
            (messages.iter().any(|message| message.accepted > 0 && message.recorded == 0), NOTHING_UNRECORDED),
            (messages.iter().any(|message| message.recorded > 0 && message.position == 0), IN_OUTBOX),
            (messages.iter().any(|message| message.receipt && message.accepted == 0), RECEIPT),
            (repeats > state.faults.all(), REPEATS),
            (messages.iter().any(overtaken), ORDER),
            ((0..CHECKS).any(|check| skipped(check, state.checks[check].done)), DONE),
            (state.faults.deaths > ATTEMPTS * (1 + recorded), DEATHS),
        ];
        broken.iter().find(|(broken, _)| *broken).map(|(_, name)| *name)
    }

    /// All due times are over and all messages have their receipts.
    pub(crate) fn finished(&self, state: &State) -> bool {
        state.checks.iter().take(self.bounds.checks.into()).all(|check| check.done == self.bounds.dues)
            && state.waiting().is_none()
    }
}

pub(crate) const ONE_RUN: &str = "at most one recorded run for each check and due time";
pub(crate) const NOTHING_UNRECORDED: &str = "no message of an unrecorded run is sent";
pub(crate) const IN_OUTBOX: &str = "every recorded change is in the outbox";
pub(crate) const RECEIPT: &str = "a message with a receipt was sent";
pub(crate) const REPEATS: &str = "a message is repeated at most once for each kill, pause or cut";
pub(crate) const ORDER: &str = "messages leave in order of position";
pub(crate) const DONE: &str = "the newest due time that counts as done was recorded";
pub(crate) const DEATHS: &str = "a check takes down a bounded number of hosts";
pub(crate) const PROGRESS: &str = "while a host runs, everything can still be recorded and sent";

impl Next<'_> {
    fn add(&mut self, step: Step, change: impl FnOnce(&mut State)) {
        let mut to = *self.from;
        change(&mut to);
        self.found.push((step, to));
    }

    fn life(&mut self, host: usize) {
        let Bounds { kills, pauses, .. } = self.protocol.bounds;
        let (life, faults) = (self.from.hosts[host].life, self.from.faults);
        let step = |what| Step { what, host, number: 0, due: 0 };
        if life == Life::Down {
            return self.add(step(What::Restart), |to| to.hosts[host].life = Life::Up);
        }
        if life == Life::Paused {
            self.add(step(What::Resume), |to| to.hosts[host].life = Life::Up);
        } else if faults.pauses < pauses {
            self.add(step(What::Pause), |to| {
                to.hosts[host].life = Life::Paused;
                to.faults.pauses += 1;
            });
        }
        if faults.kills < kills {
            self.add(step(What::Kill), |to| {
                to.kill(host);
                to.faults.kills += 1;
            });
        }
    }
}
