//! Several hosts on one record: what this one reads of the others before it decides, and between. A record in a file has no
//! others, and then nothing here does anything.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{sync::MutexGuard, time::Instant};

use super::{FIRST_PAUSE, Recorder, dates};
use crate::{
    alert::{Standing, Standings},
    config::Config,
    record::{Batch, Changes, Known, Lease, NewRun, Record, Turn},
    run::Run,
};

/// How often a host reads what changed before it reads it while the others wait.
const READS: usize = 3;

/// What this process knows of the other hosts.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Up to where it knows everything.
    known: Mutex<Known>,
    stale: Mutex<Stale>,
}

/// What is not on the board.
#[derive(Debug, Default)]
struct Stale {
    /// The checks of which others recorded something.
    checks: BTreeSet<String>,
    /// How many read results for the board: those may be older than what this process records meanwhile.
    readers: usize,
}

/// The right to decide: the standings as they are, and what is written with them.
pub(super) struct Deciding<'r> {
    pub(super) standings: MutexGuard<'r, Standings>,
    pub(super) turn: Turn,
}

/// Reads the standings.
pub(super) async fn load(record: &Record, config: &Config) -> Result<(Standings, Shared)> {
    if record.member().is_none() {
        return Ok((dates::load(record, config).await?, Shared::default()));
    }
    let shared = Shared::default();
    let mut standings = Standings::new();
    shared.take_in(&mut standings, record.changes(&Known::NOTHING).await?)?;
    Ok((standings, shared))
}

impl Shared {
    /// Takes over what other hosts changed.
    fn take_in(&self, standings: &mut Standings, changes: Changes) -> Result<()> {
        if changes.is_all {
            tracing::warn!("the record is not as this host knew it: it is read anew");
            standings.clear();
        }
        for (check, (standing, days)) in &changes.checks {
            let of = || format!("the remembered state of {check}");
            let read = standing.as_deref().map(serde_json::from_str::<Standing>).transpose().with_context(of)?;
            if read.is_none() && days.is_empty() {
                standings.remove(check);
                continue;
            }
            let mut standing = read.unwrap_or_default();
            for row in days {
                let (_, subject, day) = dates::read(row.clone())?;
                standing.days_mut().insert(subject, day);
            }
            standings.insert(check.clone(), standing);
        }
        self.stale().checks.extend(changes.checks.into_keys());
        self.knows(changes.known);
        Ok(())
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn knows(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn stale(&self) -> std::sync::MutexGuard<'_, Stale> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// Takes the right to decide, once whoever has it has written.
    pub(super) async fn decide(&self) -> Result<Deciding<'_>> {
        let mut standings = self.standings.lock().await;
        let mut reads = 0;
        loop {
            let known = self.shared.known();
            if let Some((turn, changes)) = self.record.turn(&known, reads >= READS).await? {
                if turn.number() > 0 {
                    self.shared.take_in(&mut standings, changes)?;
                }
                return Ok(Deciding { standings, turn });
            }
            // Nobody waits for this host while it reads much.
            self.shared.take_in(&mut standings, self.record.changes(&known).await?)?;
            reads += 1;
        }
    }

    /// Writes a batch, and keeps others from deciding until its standings are in memory. In a file it is tried again for a while: a full
    /// disk may be cleared and a lock released.
    pub(super) async fn commit<'r>(
        &'r self,
        batch: &Batch,
        deciding: Deciding<'r>,
        patience: Duration,
    ) -> Result<MutexGuard<'r, Standings>> {
        let Deciding { standings, turn } = deciding;
        let number = turn.number();
        if number > 0 {
            turn.write(batch).await?;
            self.shared.knows(Known { turn: number, batch: Some(batch.id.clone()) });
            let mut stale = self.shared.stale();
            if stale.readers > 0 {
                stale.checks.extend(batch.runs.iter().map(|run| run.check.clone()));
            }
            drop(stale);
            return Ok(standings);
        }
        // What is decided about runs is decided again with each try: see `record_runs`.
        let patience = if batch.runs.is_empty() { patience } else { Duration::ZERO };
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.record.keep(batch).await {
                Err(error) if Instant::now() + pause < deadline => {
                    tracing::warn!("the record cannot be written yet, trying again: {error:#}");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done.map(|()| standings),
            }
        }
    }

    /// Takes out the runs that another host does now, or noted: nothing of them is recorded here.
    pub(super) async fn take_out_lost(
        &self,
        deciding: &mut Deciding<'_>,
        runs: &mut Vec<Run>,
        untold: &mut Vec<Run>,
        kept: &mut Vec<NewRun>,
    ) -> Result<()> {
        // Also of a check that was removed while it ran.
        let leases: Vec<Lease> = runs.iter().chain(&*untold).filter_map(|run| run.lease.clone()).collect();
        let left_out = |run: &&Run| run.is_left_out() && run.lease.is_none();
        let lost: BTreeSet<String> =
            deciding.turn.end(&leases).await?.into_iter().map(|lease| lease.key().to_owned()).collect();
        let mut out = BTreeSet::new();
        for run in untold.iter().filter(left_out) {
            if !deciding.turn.leave_out(&run.check, run.due, run.data_date, run.overlaps()).await? {
                out.insert((run.check.clone(), run.due));
            }
        }
        for run in
            runs.iter().chain(&*untold).filter(|run| run.lease.as_ref().is_some_and(|lease| lost.contains(lease.key())))
        {
            tracing::warn!(
                check = run.check,
                "its run of {} is not recorded: another host took it over, since this one did not renew its claim in time",
                run.due
            );
            out.insert((run.check.clone(), run.due));
            out.extend(run.lease.as_ref().and_then(|lease| Some((run.check.clone(), lease.instead_of?))));
        }
        if !out.is_empty() {
            runs.retain(|run| !out.contains(&(run.check.clone(), run.due)));
            untold.retain(|run| !out.contains(&(run.check.clone(), run.due)));
            kept.retain(|run| !out.contains(&(run.check.clone(), run.due)));
        }
        Ok(())
    }

    /// Reads what other hosts recorded, into the standings and the board. `last` is where the record is, if that is known.
    pub async fn catch_up(&self, last: Option<&Known>) -> Result<()> {
        if last.is_none_or(|last| *last != self.shared.known()) {
            let mut standings = self.standings.lock().await;
            let known = self.shared.known();
            let changes = self.record.changes(&known).await?;
            if changes.known != known || changes.is_all {
                self.shared.take_in(&mut standings, changes)?;
            }
        }
        let stale = {
            let mut stale = self.shared.stale();
            if stale.checks.is_empty() {
                return Ok(());
            }
            stale.readers += 1;
            std::mem::take(&mut stale.checks)
        };
        let shown = self.show(&stale.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let mut later = self.shared.stale();
        later.readers -= 1;
        if shown.is_err() {
            later.checks.extend(stale);
        }
        shown.map(drop)
    }
}
