//! A channel's delivery: hold its lease, send what waits in order, write the receipts. Time matters here, because a
//! POST cannot be fenced: the host's clock has to keep it inside the lease.

use super::{CHANNEL, Next, Safeguard, Step, What};
use crate::state::{ChannelRow, Delivery, Epoch, Life, Renewal, Send, State};

impl Next<'_> {
    pub(super) fn delivery(&mut self, host: usize) {
        let Some(delivery) = self.from.hosts[host].delivery else { return self.take_channel(host) };
        self.renewal(host, delivery);
        match delivery.send {
            Send::None => self.idle(host, delivery),
            Send::Chosen(message) => self.chosen(host, message),
            Send::Accepted(message) => self.accepted(host, delivery, message),
            Send::Answered(message) | Send::ReceiptLate(message) => self.receipt(host, delivery, message),
        }
    }

    fn step(what: What, host: usize) -> Step {
        Step { what, host, number: 0, due: 0 }
    }

    fn set(&mut self, what: What, host: usize, message: u8, send: Send) {
        self.add(Step { what, host, number: message, due: 0 }, |to| set(to, host, send));
    }

    fn take_channel(&mut self, host: usize) {
        let ChannelRow { lost, left } = self.from.channel;
        let held = lost || self.from.holder(CHANNEL).is_some();
        let over = match left {
            0 => self.protocol.keeps(Safeguard::LeaseEnds),
            _ => !self.protocol.keeps(Safeguard::LeaseAtTake),
        };
        if held && !over {
            return;
        }
        let lease = self.protocol.clock().lease;
        let taken = |to: &mut State| {
            to.free(CHANNEL);
            to.outdate(CHANNEL);
            to.hosts[host].holds |= 1 << CHANNEL;
            to.channel.left = lease;
        };
        self.add(Self::step(What::TakeChannelUnheard, host), taken);
        self.add(Self::step(What::TakeChannel, host), |to| {
            taken(to);
            to.hosts[host].delivery =
                Some(Delivery { epoch: Epoch::Newest, age: 0, renewal: Renewal::None, send: Send::None });
        });
    }

    fn renewal(&mut self, host: usize, delivery: Delivery) {
        let change =
            |renewal: Renewal| move |to: &mut State| to.hosts[host].delivery = Some(Delivery { renewal, ..delivery });
        let step = |what| Self::step(what, host);
        let lease = self.protocol.clock().lease;
        match delivery.renewal {
            // One at once changes nothing.
            Renewal::None if delivery.age > 0 => self.add(step(What::SendRenewal), change(Renewal::Sent(0))),
            Renewal::None => {}
            Renewal::Sent(ago) => {
                self.add(step(What::RenewalLost), change(Renewal::None));
                if delivery.epoch == Epoch::Newest || !self.protocol.keeps(Safeguard::ClaimAtRenewal) {
                    let executed = |renewal| {
                        move |to: &mut State| {
                            change(renewal)(to);
                            to.channel.left = lease;
                        }
                    };
                    if self.protocol.answers_at_once() {
                        self.add(Step { number: ago, ..step(What::Renew) }, |to| {
                            to.hosts[host].delivery = Some(Delivery { age: ago, renewal: Renewal::None, ..delivery });
                            to.channel.left = lease;
                        });
                        self.add(step(What::RenewUnheard), executed(Renewal::None));
                    } else {
                        self.add(Step { number: ago, ..step(What::Renew) }, executed(Renewal::Executed(ago)));
                    }
                } else {
                    self.add(step(What::RenewalRefused), |to| {
                        change(Renewal::None)(to);
                        if delivery.send == Send::None {
                            to.hosts[host].delivery = None;
                        }
                    });
                }
            }
            Renewal::Executed(ago) => {
                self.add(step(What::RenewalLost), change(Renewal::None));
                let age = if self.protocol.keeps(Safeguard::MeasuredBefore) { ago } else { 0 };
                self.add(Step { number: age, ..step(What::RenewalAnswered) }, |to| {
                    to.hosts[host].delivery = Some(Delivery { age, renewal: Renewal::None, ..delivery });
                });
            }
        }
    }

    fn idle(&mut self, host: usize, delivery: Delivery) {
        if delivery.age < self.protocol.clock().start
            && let Some(message) = self.from.waiting()
        {
            self.set(What::Choose, host, message, Send::Chosen(message));
        }
        if delivery.age >= self.protocol.clock().lease || delivery.epoch == Epoch::Old {
            self.add(Self::step(What::LetGo, host), |to| to.hosts[host].delivery = None);
        }
        if delivery.epoch == Epoch::Newest || !self.protocol.keeps(Safeguard::ClaimAtGiveBack) {
            self.add(Self::step(What::GiveBackChannel, host), |to| {
                to.free(CHANNEL);
                to.hosts[host].delivery = None;
            });
        }
    }

    fn chosen(&mut self, host: usize, message: u8) {
        self.add(Step { number: message, ..Self::step(What::Post, host) }, |to| {
            to.messages[usize::from(message)].accepted += 1;
            set(to, host, Send::Accepted(message));
        });
        self.set(What::PostFails, host, message, Send::None);
        if self.may_cut() && self.from.late_post.is_none() {
            self.add(Step { number: message, ..Self::step(What::PostLate, host) }, |to| {
                set(to, host, Send::None);
                to.late_post = Some(message);
                to.faults.cuts += 1;
            });
        }
    }

    fn accepted(&mut self, host: usize, delivery: Delivery, message: u8) {
        self.set(What::Answer, host, message, Send::Answered(message));
        // A host that was paused can find both, and take the timeout first.
        if delivery.age > self.protocol.clock().end {
            self.set(What::TimeOut, host, message, Send::None);
        }
        if self.may_cut() {
            self.add(Step { number: message, ..Self::step(What::AnswerLost, host) }, |to| {
                set(to, host, Send::None);
                to.faults.cuts += 1;
            });
        }
    }

    fn receipt(&mut self, host: usize, delivery: Delivery, message: u8) {
        let step = |what| Step { number: message, ..Self::step(what, host) };
        let newest = delivery.epoch == Epoch::Newest;
        let (refused, tells) =
            (self.protocol.keeps(Safeguard::ReceiptRefused), self.protocol.keeps(Safeguard::ReceiptTells));
        self.add(step(if newest { What::Receipt } else { What::ReceiptOld }), |to| {
            to.messages[usize::from(message)].receipt |= newest || !refused;
            set(to, host, Send::None);
            if !newest && tells {
                to.hosts[host].delivery = None;
            }
        });
        match delivery.send {
            Send::ReceiptLate(_) => self.set(What::ReceiptLost, host, message, Send::None),
            _ if self.may_cut() => self.add(step(What::ReceiptLate), |to| {
                set(to, host, Send::ReceiptLate(message));
                to.faults.cuts += 1;
            }),
            _ => {}
        }
    }

    fn may_cut(&self) -> bool {
        self.from.faults.cuts < self.protocol.bounds.cuts
    }

    /// What is on its way without a host that waits for it.
    pub(super) fn network(&mut self) {
        if let Some(message) = self.from.late_post {
            let step = |what| Step { what, host: 0, number: message, due: 0 };
            self.add(step(What::PostArrives), |to| {
                to.messages[usize::from(message)].accepted += 1;
                to.late_post = None;
            });
            self.add(step(What::PostVanishes), |to| to.late_post = None);
        }
    }

    /// A tick passes everywhere at once, unless a host that runs has something to do first: its deadline is now.
    pub(super) fn time(&mut self) {
        let deadline = self.protocol.clock().end;
        let is_urgent = |delivery: &Delivery| {
            delivery.age >= deadline && matches!(delivery.send, Send::Chosen(_) | Send::Accepted(_) | Send::Answered(_))
        };
        let busy = self.from.hosts.iter().filter(|host| host.life == Life::Up);
        if !busy.filter_map(|host| host.delivery).any(|delivery| is_urgent(&delivery)) {
            let lease = self.protocol.clock().lease;
            self.add(Self::step(What::Tick, 0), |to| tick(to, lease));
        }
        if self.from.channel.left > 0 && self.may_cut() {
            self.add(Self::step(What::ClockJump, 0), |to| {
                to.channel.left = 0;
                to.faults.cuts += 1;
            });
        }
    }
}

fn set(to: &mut State, host: usize, send: Send) {
    to.hosts[host].delivery.iter_mut().for_each(|delivery| delivery.send = send);
}

fn tick(to: &mut State, lease: u8) {
    to.channel.left = to.channel.left.saturating_sub(1);
    let older = |ticks: u8| (ticks + 1).min(lease);
    for delivery in to.hosts.iter_mut().filter_map(|host| host.delivery.as_mut()) {
        delivery.age = older(delivery.age);
        delivery.renewal = match delivery.renewal {
            Renewal::None => Renewal::None,
            Renewal::Sent(ago) => Renewal::Sent(older(ago)),
            Renewal::Executed(ago) => Renewal::Executed(older(ago)),
        };
    }
}
