//! The data dates of all checks in memory, and what of them is to be written.

use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::civil::Date;

use crate::{
    alert::{Day, Incident, Level, Look, Standing, Standings, State, Subject},
    config::Config,
    record::{self, Batch, DateRow, Record},
};

/// Reads the standings and their dates. What an older host remembered, one state for all dates of a check, becomes the
/// incident of the last date that was bad; nothing is told twice.
pub(super) async fn load(record: &Record, config: &Config) -> Result<Standings> {
    let mut standings = Standings::new();
    for (check, standing) in record.standings().await? {
        let standing = serde_json::from_str(&standing).with_context(|| format!("the remembered state of {check}"))?;
        standings.insert(check, standing);
    }
    for (check, subject, mut day) in days(record).await? {
        // Only this process judges them, and its clock may have been set back since.
        day.began = 0;
        standings.entry(check).or_default().days_mut().insert(subject, day);
    }
    take_over(record, config, &mut standings).await?;
    Ok(standings)
}

/// The recorded dates of all checks.
pub async fn days(record: &Record) -> Result<Vec<(String, Subject, Day)>> {
    record.dates().await?.into_iter().map(read).collect()
}

pub(super) fn read(row: DateRow) -> Result<(String, Subject, Day)> {
    let of = || {
        let date = row.date.map_or_else(String::new, |date| date.to_string());
        format!("the remembered state of {} at {date}", row.check)
    };
    let day = day(&row).with_context(of)?;
    Ok((row.check, row.date, day))
}

/// The state of a date from its row.
fn day(row: &DateRow) -> Result<Day> {
    let incident: Option<Incident> = row.incident.as_deref().map(serde_json::from_str).transpose()?;
    Ok(Day {
        state: State::named(&row.state),
        at: row.at,
        look: row.look.map(|(at, tries, from)| Look { at, tries, from }),
        late: row.late,
        began: row.began.unsigned_abs(),
        incident: incident.map(Arc::new),
    })
}

/// Takes over the states of a record that knew no dates.
async fn take_over(record: &Record, config: &Config, standings: &mut Standings) -> Result<()> {
    let mut batch = Batch { recorded: record::now(), ..Batch::new() };
    for (check, standing) in standings.iter_mut() {
        let Some(side) = standing.data.take() else { continue };
        let waits = standing.waits.take();
        standing.first = record.first_date(check).await?;
        standing.announced = side.announced.map(|(_, last)| last);
        batch.standings.insert(check.clone(), serde_json::to_string(&*standing)?);
        // What a check that is well was told of before is over; the date may not be good, and is judged again.
        let failing = side.failing();
        if !failing && side.told.is_empty() && side.listed.is_empty() {
            continue;
        }
        let bad = if failing { record.last_bad(check).await? } else { None };
        let Some(date) = bad.or(standing.date) else { continue };
        let at = standing.ran.unwrap_or(batch.recorded);
        let mut day = standing.days.get(&Some(date)).cloned().unwrap_or_else(|| Day::new(at));
        if failing {
            day.state = if side.worst() == Some(Level::Critical) { State::Bad } else { State::Warned };
            day.look = Look::first(at, &config.recheck(check));
        }
        day.incident = Some(Arc::new(Incident { side, waits, ..Incident::default() }));
        batch.dates.push(row(check, Some(date), &day)?);
        standing.days_mut().insert(Some(date), day);
    }
    if batch.standings.is_empty() { Ok(()) } else { record.keep(&batch).await }
}

/// Adds to a batch what changed of a check.
pub(super) fn changes(batch: &mut Batch, check: &str, before: Option<&Standing>, now: &Standing) -> Result<()> {
    let days = before.map(|before| before.days.clone()).unwrap_or_default();
    for (date, day) in now.days.iter().filter(|(date, day)| days.get(date) != Some(*day)) {
        batch.dates.push(row(check, *date, day)?);
    }
    let gone = days.keys().filter(|date| !now.days.contains_key(date));
    batch.dates_gone.extend(gone.map(|date| (check.to_owned(), *date)));
    let text = serde_json::to_string(now)?;
    if before.map(serde_json::to_string).transpose()?.as_ref() != Some(&text) {
        batch.standings.insert(check.to_owned(), text);
    }
    Ok(())
}

fn row(check: &str, date: Option<Date>, day: &Day) -> Result<DateRow> {
    let incident = day.incident.as_ref().map(|incident| serde_json::to_string(&**incident)).transpose()?;
    Ok(DateRow {
        check: check.to_owned(),
        date,
        state: day.state.name().to_owned(),
        at: day.at,
        look: day.look.map(|look| (look.at, look.tries, look.from)),
        late: day.late,
        began: i64::try_from(day.began).unwrap_or(i64::MAX),
        incident,
    })
}
#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;
