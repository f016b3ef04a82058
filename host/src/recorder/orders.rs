//! Carries out what people order of dates.

use anyhow::{Context, Result};
use jiff::{Timestamp, civil::Date};

use super::{Recorder, dates};
use crate::{
    alert::{self, Notification, Wanted},
    config::Config,
    record::{Batch, Order},
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
        let id = self.record.order(check, date, &json, &wanted.words(), (who, Timestamp::now())).await?;
        self.carry_out(config).await?;
        let answer = self.record.answer(id).await?.context("the order was not carried out")?;
        Ok(Done { id, answer: answered(&answer)? })
    }

    /// Carries out the orders that wait. Returns whether a date is to be looked at now.
    pub async fn carry_out(&self, config: &Config) -> Result<bool> {
        let mut looks = false;
        for order in self.record.orders().await? {
            looks |= self.carry_out_one(config, order).await?;
        }
        Ok(looks)
    }

    async fn carry_out_one(&self, config: &Config, order: Order) -> Result<bool> {
        let mut standings = self.standings.lock().await;
        // Two read the orders at once: the loop, and whoever gave one.
        if self.record.answer(order.id).await?.is_some() {
            return Ok(false);
        }
        let wanted = match serde_json::from_str::<Wanted>(&order.wanted) {
            Ok(wanted) => wanted,
            // A newer host may know more of them; it must not hold up the others.
            Err(error) => {
                let refused: Result<String, String> = Err(format!("this host does not know this order: {error}"));
                let answered = vec![(order.id, serde_json::to_string(&refused)?)];
                let batch = Batch { answered, recorded: Timestamp::now(), ..Batch::default() };
                self.record.keep(&batch).await?;
                return Ok(false);
            }
        };
        let mut next = standings.get(&order.check).cloned().unwrap_or_default();
        let at = Timestamp::now();
        let today = at.to_zoned(config.timezone.rules()).date();
        let done = match order.date.filter(|date| *date > today) {
            Some(date) => Err(format!("{date} is in the future; today is {today} in {}", config.timezone.name())),
            None => alert::order((&order.check, &mut next), order.date, &wanted, &order.who, at),
        };
        let mut batch = Batch { recorded: at, ..Batch::default() };
        let answer = match &done {
            Ok(done) => Ok(done.answer.clone()),
            Err(why) => Err(why.clone()),
        };
        batch.answered.push((order.id, serde_json::to_string(&answer)?));
        let mut messages: Vec<Notification> = Vec::new();
        if let Ok(done) = done {
            batch.episodes = done.episodes;
            for one in &done.acknowledged {
                batch.noted.push((one.id.clone(), serde_json::to_string(one)?));
            }
            messages = done.messages;
            dates::changes(&mut batch, &order.check, standings.get(&order.check), &next)?;
        }
        messages.iter_mut().for_each(|message| message.page = self.page(config));
        let channels: Vec<String> = messages.iter().map(|message| message.channel.clone()).collect();
        self.write(config, batch, messages).await.context("the order is NOT carried out")?;
        // Their first messages say so.
        self.delivery.wake();
        let open = next.open().count();
        standings.insert(order.check.clone(), next);
        self.metrics.dates_open(&order.check, open);
        self.board.stands(&order.check, &standings);
        for channel in channels {
            self.metrics.said(&channel, "given_up");
        }
        Ok(answer.is_ok() && wanted == Wanted::Recheck)
    }
}

/// What came of an order, as it was recorded.
pub fn answered(answer: &str) -> Result<Result<String, String>> {
    Ok(serde_json::from_str(answer)?)
}
