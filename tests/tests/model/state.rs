//! What a state of the model holds: the rows of the database, what each host believes, and what is on its way. Every
//! host is like every other, so states that differ only in which host is which are one state.

/// Hosts in every search.
pub(crate) const HOSTS: usize = 3;
/// Work items: the turns of up to two checks, and the delivery of one channel.
pub(crate) const CHECKS: usize = 2;
pub(crate) const CHANNEL: usize = CHECKS;
/// Messages: one for each check and due time.
pub(crate) const MESSAGES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct State {
    pub hosts: [Host; HOSTS],
    pub checks: [CheckRow; CHECKS],
    pub channel: ChannelRow,
    pub messages: [Message; MESSAGES],
    /// A POST that its host has given up, and that may still reach the receiver.
    pub late_post: Option<u8>,
    pub faults: Faults,
}

/// What has gone wrong so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Faults {
    pub kills: u8,
    pub pauses: u8,
    pub cuts: u8,
    /// Hosts that a check took down.
    pub deaths: u8,
}

impl Faults {
    pub(crate) fn all(self) -> u8 {
        self.kills + self.pauses + self.cuts + self.deaths
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Host {
    pub life: Life,
    /// The rows of claims, a bit each, that name this start of the host as their holder.
    pub holds: u8,
    pub runs: [Option<Run>; CHECKS],
    pub transaction: Option<Transaction>,
    pub delivery: Option<Delivery>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Life {
    #[default]
    Up,
    Paused,
    Down,
    /// Not one of the fleet, in searches with fewer hosts.
    Absent,
}

/// A run that a host believes to have a claim for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Run {
    pub due: u8,
    pub epoch: Epoch,
    pub kind: Kind,
}

/// Epochs only rise, so one that is not its row's newest never will be again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Epoch {
    Newest,
    Old,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Real,
    /// The attempts are used up: an error is recorded, and the check is not run.
    Error,
}

/// A transaction that records a run, in the database. It holds the lock of the `turn` row and that of the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Transaction {
    pub check: u8,
    pub due: u8,
    /// The due time that it writes as done: the claim's.
    pub done: u8,
    pub position: u8,
    pub stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    Open,
    /// COMMIT is on its way, and the host waits for the answer.
    Committing,
    /// COMMIT is on its way, and nobody waits for the answer.
    Unheard,
}

/// A host's belief that it holds the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Delivery {
    pub epoch: Epoch,
    /// Ticks by the host's own clock since it sent the newest renewal that was answered.
    pub age: u8,
    pub renewal: Renewal,
    pub send: Send,
}

/// A renewal on its way, with the ticks since it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Renewal {
    None,
    Sent(u8),
    /// The database has executed it; the answer is on its way.
    Executed(u8),
}

/// A send, with its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Send {
    None,
    /// The host has looked at its clock; the POST is not out.
    Chosen(u8),
    /// The receiver has accepted; the answer is on its way.
    Accepted(u8),
    /// The host knows that it was accepted; the receipt is not written.
    Answered(u8),
    /// The statement of the receipt is cut off or slow: it may be executed at any later time, or never.
    ReceiptLate(u8),
}

/// A check's row in `claims`. Its holder is in [`Host::holds`]. Its lease may be over at any moment, and a late renewal
/// may bring it back, because nothing in a check's turn depends on time: so the row has no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct CheckRow {
    /// Held by an id that no host has: its host died, or did not hear that it holds it.
    pub lost: bool,
    pub due: u8,
    pub attempt: u8,
    pub done: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct ChannelRow {
    /// As with [`CheckRow::lost`].
    pub lost: bool,
    /// Ticks of the lease that are left, by the database's clock.
    pub left: u8,
}

/// A run's record and its message: each recorded run of the model is a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Message {
    /// How often the run was recorded.
    pub recorded: u8,
    /// Its position in the outbox; 0: not there.
    pub position: u8,
    /// How often the receiver accepted it.
    pub accepted: u8,
    pub receipt: bool,
}

impl State {
    pub(crate) fn of(hosts: usize) -> Self {
        let mut start = Self::default();
        start.hosts.iter_mut().skip(hosts).for_each(|host| host.life = Life::Absent);
        start
    }

    pub(crate) fn holder(&self, row: usize) -> Option<usize> {
        self.hosts.iter().position(|host| host.holds & (1 << row) != 0)
    }

    /// A transaction holds the lock of this check's claim.
    pub(crate) fn locked(&self, check: usize) -> bool {
        self.hosts.iter().filter_map(|host| host.transaction).any(|open| usize::from(open.check) == check)
    }

    /// The position after the last that is taken or about to be.
    pub(crate) fn next_position(&self) -> u8 {
        let there = self.messages.iter().map(|message| message.position);
        let open = self.hosts.iter().filter_map(|host| host.transaction).map(|open| open.position);
        1 + there.chain(open).max().unwrap_or_default()
    }

    /// The first message without a receipt, in order of position.
    pub(crate) fn waiting(&self) -> Option<u8> {
        let waiting = (0u8..).zip(&self.messages).filter(|(_, message)| message.position > 0 && !message.receipt);
        waiting.min_by_key(|(_, message)| message.position).map(|(number, _)| number)
    }

    pub(crate) fn free(&mut self, row: usize) {
        for host in &mut self.hosts {
            host.holds &= !(1 << row);
        }
        if row == CHANNEL {
            self.channel = ChannelRow::default();
        } else {
            self.checks[row].lost = false;
        }
    }

    /// Every epoch of a row that a host knows is an old one from now on.
    pub(crate) fn outdate(&mut self, row: usize) {
        for host in &mut self.hosts {
            if row == CHANNEL {
                host.delivery.iter_mut().for_each(|delivery| delivery.epoch = Epoch::Old);
            } else {
                host.runs[row].iter_mut().for_each(|run| run.epoch = Epoch::Old);
            }
        }
    }

    /// SIGKILL: the memory is gone, and the id with it. A COMMIT that is on its way stays so.
    pub(crate) fn kill(&mut self, host: usize) {
        let dead = self.hosts[host];
        for row in (0..=CHANNEL).filter(|row| dead.holds & (1 << row) != 0) {
            match row {
                CHANNEL => self.channel.lost = true,
                check => self.checks[check].lost = true,
            }
        }
        let commit = dead.transaction.filter(|open| open.stage != Stage::Open);
        let commit = commit.map(|open| Transaction { stage: Stage::Unheard, ..open });
        self.hosts[host] = Host { life: Life::Down, transaction: commit, ..Host::default() };
    }
}
