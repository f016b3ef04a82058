//! What changes dates outside of rounds: the orders of people, and a clock that was ahead.

use std::{collections::BTreeSet, sync::PoisonError};

use anyhow::{Context, Result};
use jiff::{Timestamp, civil::Date};

use super::{Recorder, dates, shared::Deciding};
use crate::{
    alert::{self, Ordered, Standing, Subject, Wanted},
    config::Config,
    record::{self, Audited, Batch, Order},
    run::Moment,
};

/// An order that was carried out, or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Its number.
    pub id: i64,
    /// What came of it, or why it was refused.
    pub answer: Result<String, String>,
}

impl Recorder {
    /// Adds an order and carries it out.
    pub async fn order(
        &self,
        config: &Config,
        check: &str,
        date: Option<Date>,
        wanted: &Wanted,
        who: &str,
    ) -> Result<Done> {
        let json = serde_json::to_string(wanted)?;
        let id = self.record.order(check, date, &json, (who, record::now())).await?;
        self.carry_out(config).await?;
        let answer = self.record.answer(id).await?.context("the order was not carried out")?;
        Ok(Done { id, answer: answered(&answer)? })
    }

    /// Carries out the orders that wait.
    pub async fn carry_out(&self, config: &Config) -> Result<()> {
        for order in self.record.orders().await? {
            self.carry_out_one(config, order).await?;
        }
        Ok(())
    }

    /// The dates that somebody ordered to look at since this was last called.
    pub fn asked(&self) -> Vec<(String, Subject)> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        // In the order in which they were asked for; twice is once.
        let mut seen = BTreeSet::new();
        asked.into_iter().filter(|one| seen.insert(one.clone())).collect()
    }

    async fn carry_out_one(&self, config: &Config, order: Order) -> Result<()> {
        let deciding = self.decide().await?;
        // Two read the orders at once: the loop, and whoever gave one, or two hosts.
        if self.record.answer(order.id).await?.is_some() {
            return Ok(());
        }
        let mut next = deciding.standings.get(&order.check).cloned().unwrap_or_default();
        let at = record::now();
        let done = carried_out(&order, &mut next, config, at);
        let answer = done.as_ref().map(|done| done.answer.clone()).map_err(Clone::clone);
        let answered = vec![(order.id, serde_json::to_string(&answer)?)];
        let mut batch = Batch { answered, recorded: at, ..Batch::new() };
        match done {
            Ok(done) => {
                let (who, place) = (order.who.clone(), done.about.clone());
                batch.audited.push(Audited { at, who, place, change: done.words.clone() });
                // The newest first, as always.
                let looks: Vec<_> = done.looks.iter().rev().map(|subject| (order.check.clone(), *subject)).collect();
                self.take_on(config, deciding, (&order.check, next), done, batch).await?;
                self.asked.lock().unwrap_or_else(PoisonError::into_inner).extend(looks);
                Ok(())
            }
            Err(_) => self.commit(&batch, deciding, config.delivery.wait.0).await.map(drop),
        }
    }

    /// Forgets the dates that are to come: they were judged while the clock was ahead. Whoever was told of one hears that it
    /// is given up.
    pub async fn recall(&self, config: &Config, now: Timestamp) -> Result<()> {
        // A time zone can be a day ahead of the one that host.toml had.
        let newest = now.to_zoned(config.timezone.rules()).date().tomorrow()?;
        let to_come = |standing: &Standing| {
            let last = standing.days.keys().next_back().copied().flatten();
            last.max(standing.first) > Some(newest)
        };
        let ahead: Vec<String> = {
            let standings = self.standings.lock().await;
            standings.iter().filter(|(_, standing)| to_come(standing)).map(|(check, _)| check.clone()).collect()
        };
        for check in ahead {
            let deciding = self.decide().await?;
            // Another host may have done it.
            let Some(mut next) = deciding.standings.get(&check).filter(|standing| to_come(standing)).cloned() else {
                continue;
            };
            let done = alert::recall((&check, &mut next), newest, now);
            tracing::warn!(check, "{}", done.answer);
            let batch = Batch { recorded: now, ..Batch::new() };
            self.take_on(config, deciding, (&check, next), done, batch).await?;
        }
        Ok(())
    }

    /// Records what was decided of a check's dates outside of a round, with its messages.
    async fn take_on(
        &self,
        config: &Config,
        deciding: Deciding<'_>,
        (check, next): (&str, Standing),
        done: Ordered,
        mut batch: Batch,
    ) -> Result<()> {
        batch.episodes = done.episodes;
        for one in &done.acknowledged {
            batch.noted.push((one.id.clone(), serde_json::to_string(one)?));
        }
        dates::changes(&mut batch, check, deciding.standings.get(check), &next)?;
        let mut messages = done.messages;
        messages.iter_mut().for_each(|message| message.page = self.page(config));
        let channels: Vec<String> = messages.iter().map(|message| message.channel.clone()).collect();
        let (_, mut standings) = self.write(config, batch, messages, deciding).await.context("this is NOT recorded")?;
        // Their first messages say so.
        self.delivery.wake();
        let open = next.open().count();
        standings.insert(check.to_owned(), next);
        self.metrics.dates_open(check, open);
        self.board.stands(check, &standings);
        for channel in channels {
            self.metrics.said(&channel, "given_up");
        }
        Ok(())
    }
}

/// Decides on an order. An error says why it is refused.
fn carried_out(order: &Order, standing: &mut Standing, config: &Config, at: Timestamp) -> Result<Ordered, String> {
    // A newer host may know more of them; it must not hold up the others.
    let wanted: Wanted =
        serde_json::from_str(&order.wanted).map_err(|error| format!("this host does not know this order: {error}"))?;
    let data_date = config.checks.get(&order.check).map(|own| own.data_date).unwrap_or_default();
    let newest = Moment::usual(at, data_date, &config.timezone).map_err(|error| format!("{error:#}"))?.data_date;
    // Some zones have a date less.
    if let Some(date) = order.date {
        Moment::new(at, date, &config.timezone).map_err(|error| format!("{error:#}"))?;
    }
    // One that is open, since host.toml had another `data_date`, can be given up.
    let is_open = |date: &Date| standing.days.get(&Some(*date)).is_some_and(alert::Day::is_open);
    let may = |date: &Date| wanted != Wanted::Recheck && is_open(date);
    match order.date.filter(|date| *date > newest && !may(date)) {
        Some(date) => {
            let (check, zone) = (&order.check, config.timezone.name());
            Err(format!("{date} is after the newest date of {check}, which is {newest} in {zone}"))
        }
        None => alert::order((&order.check, standing), order.date, &wanted, &order.who, (at, &config.timezone.rules())),
    }
}

/// What came of an order, as it was recorded.
pub fn answered(answer: &str) -> Result<Result<String, String>> {
    Ok(serde_json::from_str(answer)?)
}
