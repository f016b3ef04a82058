//! A round: checks that are due together, run side by side, and told of together.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use tokio::task::JoinSet;

use crate::{
    alert::{self, Delivery, Notification, Receipt},
    capability::Backends,
    config::Config,
    plugin::{self, Lock},
    run::{Check, Moment, Run, checks},
    sandbox::Sandboxes,
};

/// A host that is ready: its checks, what they may ask, and where their messages go.
pub struct Host {
    /// From host.toml.
    pub config: Config,
    /// Sorted by name.
    pub checks: Vec<Arc<Check>>,
    backends: Arc<Backends>,
    delivery: Delivery,
    /// Keeps the engines' clocks running.
    _sandboxes: Arc<Sandboxes>,
}

/// What a round came to.
pub struct Round {
    /// In the order of the checks.
    pub runs: Vec<Run>,
    /// What was sent.
    pub notifications: Vec<Notification>,
    /// What became of each, in the same order.
    pub receipts: Vec<Receipt>,
}

/// The clock and date of a round, when they are not the usual ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct When {
    /// The runs' clock.
    pub at: Option<Timestamp>,
    /// The date whose data is asked about.
    pub date: Option<Date>,
}

impl Host {
    /// Loads the plugins and finds everything that the checks need. A plugin that cannot be loaded stops nothing;
    /// its check says why when it is due.
    /// With a lock, only what is pinned runs. `step` is called with the number of plugins that are ready.
    pub async fn start(config: Config, files: &[PathBuf], lock: Option<&Lock>, step: impl Fn(usize)) -> Result<Self> {
        let sandboxes = Arc::new(Sandboxes::new(&config));
        let loaded = plugin::load(files, lock, &sandboxes, &config, step).await;
        let checks = checks(&config, &loaded)?.into_iter().map(Arc::new).collect();
        let backends = Arc::new(Backends::new(&config));
        Ok(Self { delivery: Delivery::Console, config, checks, backends, _sandboxes: sandboxes })
    }

    /// Keeps only the checks that are named.
    pub fn keep(&mut self, names: &[String]) {
        self.checks.retain(|check| names.contains(&check.name));
    }

    /// Finds the webhook of every channel that the checks post to.
    pub fn find_receivers(&mut self) -> Result<()> {
        let own = self.checks.iter().filter_map(|check| Some(check.family.as_ref()?.channel.as_str()));
        let granted = self.checks.iter().filter_map(|check| check.ready.as_ref().ok());
        let channels = own.chain(granted.flat_map(|ready| ready.grants.slack.iter().map(String::as_str)));
        self.delivery = Delivery::new(&self.config, channels)?;
        Ok(())
    }

    /// Runs checks side by side, each in the order of `which`, and sends what there is to say.
    pub async fn round(&self, which: &[usize], now: Timestamp, when: When) -> Result<Round> {
        // A task each, so that a guest that computes takes no time from the others. All end with this round.
        let mut tasks = JoinSet::new();
        let mut started = Vec::new();
        for check in which.iter().filter_map(|at| self.checks.get(*at)) {
            let moment = self.moment(check, now, when)?;
            let (task, backends, at) = (check.clone(), self.backends.clone(), moment.clone());
            let id = tasks.spawn(async move { task.run(&backends, at).await }).id();
            started.push((id, check, moment));
        }
        let mut ended = HashMap::new();
        while let Some(run) = tasks.join_next_with_id().await {
            match run {
                Ok((id, run)) => ended.insert(id, Ok(run)),
                Err(error) => ended.insert(error.id(), Err(error.to_string())),
            };
        }
        let runs: Vec<Run> = started
            .into_iter()
            .map(|(id, check, moment)| match ended.remove(&id) {
                Some(Ok(run)) => run,
                // A panic of the host's own is an error of that check, as everything else is.
                broken => check.broken(&moment, broken.and_then(Result::err)),
            })
            .collect();
        let notifications = alert::notifications(&runs);
        let receipts = notifications.iter().map(|notification| self.delivery.send(notification));
        let receipts = futures_util::future::join_all(receipts).await;
        Ok(Round { runs, notifications, receipts })
    }

    /// A date of the past is asked about as if it were then: at the check's first due time after that date.
    fn moment(&self, check: &Check, now: Timestamp, when: When) -> Result<Moment> {
        let zone = &self.config.timezone;
        let usual = Moment::yesterday(when.at.unwrap_or(now), zone)?;
        let Some(date) = when.date.filter(|date| *date != usual.data_date) else { return Ok(usual) };
        let moment = Moment::new(when.at.unwrap_or(now), date, zone)?;
        let just_before = moment.day_end.checked_sub(jiff::SignedDuration::from_nanos(1))?;
        let replayed = check.schedule.next(just_before, &check.zone.rules());
        match (when.at, replayed) {
            (None, Some(due)) if due < now => Ok(Moment { due, ..moment }),
            _ => Ok(moment),
        }
    }
}

impl Round {
    /// The worst of the runs; 3 too when a message did not get through.
    pub fn exit_code(&self) -> u8 {
        let undelivered = self.receipts.iter().any(|receipt| receipt.problem.is_some());
        let worst = self.runs.iter().map(Run::exit_code).max().unwrap_or_default();
        if undelivered { worst.max(3) } else { worst }
    }
}
