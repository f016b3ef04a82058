//! Sends the report to its channel, by the clock.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use super::Service;
use crate::{host::Host, proof::Report, record};

/// How long to wait at most until it is looked whether it is due: the clock or host.toml may change.
const LOOK: Duration = Duration::from_secs(30);
/// How long to wait at least.
const LEAST: Duration = Duration::from_secs(1);

/// Sends the report whenever it is due. One that was due while no host ran is sent once, when one runs again.
pub(super) async fn send(service: Arc<Service>) {
    // Since when there is a channel: the first report is due after that.
    let mut began: Option<Timestamp> = None;
    loop {
        let host = service.host();
        began = host.config.report.channel.is_some().then(|| began.unwrap_or_else(record::now));
        if let Some(began) = began
            && host.recorder.record.takes_part()
            && let Err(error) = if_due(&host, began).await
        {
            tracing::error!("the report cannot be sent: {error:#}");
        }
        let next = began.and_then(|_| host.config.report.schedule().next(record::now(), &host.config.timezone.rules()));
        let wait = next.and_then(|next| Duration::try_from(next.duration_since(record::now())).ok());
        tokio::time::sleep(wait.map_or(LOOK, |wait| wait.clamp(LEAST, LOOK))).await;
    }
}

async fn if_due(host: &Host, began: Timestamp) -> Result<()> {
    let record = &host.recorder.record;
    if due(host, began).await?.is_none() {
        return Ok(());
    }
    if record.member().is_none() {
        return tell(host, began).await;
    }
    // Of several hosts one sends it.
    let Some(lease) = record.take_on("report").await? else { return Ok(()) };
    let told = tell(host, began).await;
    record.give_back(&lease, None).await?;
    told
}

/// Until when the report goes that is due now, if one is. The first is due after the host began.
async fn due(host: &Host, began: Timestamp) -> Result<Option<Timestamp>> {
    let now = record::now();
    // One of the future was sent while the clock was ahead.
    let last = host.recorder.record.reported().await?.filter(|last| *last <= now).unwrap_or(began);
    let (schedule, zone) = (host.config.report.schedule(), host.config.timezone.rules());
    let next = schedule.next(last, &zone).filter(|next| *next <= now);
    // Of several that were due, the newest.
    Ok(next.map(|next| schedule.last(now, &zone).map_or(next, |last| last.max(next))))
}

async fn tell(host: &Host, began: Timestamp) -> Result<()> {
    // Another host may have sent it meanwhile.
    let Some(to) = due(host, began).await? else { return Ok(()) };
    let config = &host.config;
    let Some(channel) = &config.report.channel else { return Ok(()) };
    let from = to.checked_sub(SignedDuration::try_from(config.report.length().0)?)?;
    let report = Report::make(&host.recorder.record, config, &host.checks, (from, to), Some(&host.backends)).await?;
    host.recorder.report(config, report.message(channel, config), to).await?;
    tracing::info!("the report until {to} is on its way to {channel}");
    Ok(())
}
