//! Validates the checks of a running host: at its start, on the schedule, and after a reload.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::task::JoinSet;

use super::Service;
use crate::{
    record,
    run::validation::{Kind, Validated},
    text::printable,
};

/// How often to check whether it is due.
const LOOK: Duration = Duration::from_secs(30);

/// Validates the checks now, and then whenever it is due.
pub(super) async fn stay_valid(service: Arc<Service>) {
    let mut due = Some(record::now());
    loop {
        let (host, now) = (service.host(), record::now());
        if host.config.validate_schedule.0.is_some() && due.is_some_and(|due| due <= now) {
            let mut validation = JoinSet::new();
            validation.spawn(async move { host.validate(now).await });
            if let Err(error) = complain(&mut validation).await {
                tracing::error!("the checks cannot be validated: {error:#}");
            }
        }
        tokio::time::sleep(LOOK).await;
        due = match service.host().validation_due(record::now()).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!("the time of the next validation cannot be determined: {error:#}");
                None
            }
        };
    }
}

/// Runs a validation, and logs its findings.
pub(crate) async fn complain(validation: &mut JoinSet<Result<Validated>>) -> Result<()> {
    while let Some(found) = validation.join_next().await {
        for (check, findings) in found?? {
            for finding in findings {
                let shown = printable(&finding.shown());
                match finding.kind {
                    Kind::Remark => tracing::info!(check, "validation: {check}: {shown}"),
                    _ => tracing::warn!(check, "validation: {check}: {shown}"),
                }
            }
        }
    }
    Ok(())
}
