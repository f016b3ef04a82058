//! Reloads host.toml, plugins.lock and plugins when they change, or on SIGHUP. Everything is read, checked and compiled
//! before anything changes; if anything is wrong, the previous configuration keeps running.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Service, heartbeat::Heartbeat, plans};
use crate::{
    config::Trust,
    host::{Begin, Host},
    lanes,
    package::{Keys, today},
    plugin,
    record::{self, Own},
    text::printable,
};

/// How often the files are checked. A change is loaded once the files were the same twice.
const LOOK: Duration = Duration::from_secs(1);

/// Rejected files.
#[derive(Debug, Clone, Serialize)]
pub struct Refused {
    /// When they were read.
    pub at: Timestamp,
    /// The error.
    pub reason: String,
}

/// What a watch begins with. It is made before anybody can hear of the host, so that no change and no signal is missed.
#[derive(Debug)]
pub(super) struct Watch {
    hang_up: Signal,
    taken: u64,
}

impl Watch {
    /// `taken` is the fingerprint of the files before they were read.
    pub(super) fn new(taken: u64) -> Result<Self> {
        Ok(Self { hang_up: signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?, taken })
    }
}

/// Reloads changed files until shutdown.
pub(super) async fn watch(service: Arc<Service>, Watch { mut hang_up, mut taken }: Watch) {
    let mut seen = taken;
    // A key begins or ends with a day, though no file changes.
    let valid = || service.host().config.trust.keys().valid(today());
    let mut trusted = valid();
    loop {
        let asked = tokio::select! {
            _ = hang_up.recv() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let sources = service.sources.clone();
        // Files may be on a network.
        let Some(now) = lanes::own(move || sources.fingerprint()).await else { continue };
        // The files may still be being written.
        let settled = now == seen && now != taken;
        seen = now;
        if asked || settled || trusted != valid() {
            taken = now;
            service.reload().await;
            trusted = valid();
        }
    }
}

/// Adds the checks whose plugins were still being compiled at the start.
pub(super) async fn complete(service: Arc<Service>) {
    let (before, since) = (service.host(), record::now());
    let whole = before.whole().await;
    let _alone = service.replacing.lock().await;
    let taken_on = match whole {
        Ok(None) => return,
        // A reload meanwhile has loaded everything.
        Ok(Some(_)) if !service.host().is_compiling() => return,
        Ok(Some(host)) => service.add(host, since).await,
        Err(error) => Err(error),
    };
    match taken_on {
        Ok(changes) => tracing::info!("compiled: {changes}"),
        Err(error) => {
            tracing::error!("plugins were compiled but cannot be loaded: {}", printable(&format!("{error:#}")))
        }
    }
    for check in service.host().checks.iter().filter(|check| before.check(&check.name).is_some_and(|check| check.waits))
    {
        if let Some(reason) = check.unable() {
            tracing::error!(check = check.name, "cannot run, and will report an error when due: {}", printable(reason));
        }
    }
}

impl Service {
    /// Why the files on disk are not in use; `None` if they are.
    pub fn refused(&self) -> Option<Refused> {
        self.refused.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Reads the files again, and applies the changes.
    pub async fn reload(&self) {
        let taken_on = match self.take_on().await {
            Ok(changes) => Ok(changes),
            Err(error) => Err(printable(&format!("{error:#}{}", self.withdraw().await))),
        };
        let refused = taken_on.as_ref().err().map(|reason| Refused { at: record::now(), reason: reason.clone() });
        *self.refused.write().unwrap_or_else(std::sync::PoisonError::into_inner) = refused;
        self.host().recorder.metrics.reloaded(taken_on.is_ok());
        // After the page and the API say so: whoever reads this looks there.
        match taken_on {
            Ok(changes) => tracing::info!("reloaded: {changes}"),
            Err(reason) => tracing::error!("reload rejected; still running the previous configuration: {reason}"),
        }
    }

    async fn take_on(&self) -> Result<String> {
        let _alone = self.replacing.lock().await;
        let before = self.host();
        let read = self.sources.read()?;
        let own = read.own()?;
        let (recorder, lock) = (before.recorder.clone(), read.lock.as_ref());
        let files = plugin::read(&read.files).await;
        let host = Host::new(read.config, files, lock, recorder, Begin::Instead(&before), |_| {}).await?;
        let changes = self.replace(&before, host, Some(own), record::now()).await?;
        let host = self.host();
        host.recorder.audit(&host.config, &self.sources.config, lock).await;
        if let Err(error) = host.recorder.purge(&host.config).await {
            tracing::error!("recorded answers that host.toml does not keep are NOT removed: {error:#}");
        }
        if let Err(error) = host.store_plugins(&self.sources.lock).await {
            tracing::error!("the plugins are not kept for `host replay`: {error:#}");
        }
        Ok(changes)
    }

    /// Takes on a host whose plugins are compiled, without those that are no longer trusted by now.
    async fn add(&self, host: Host, since: Timestamp) -> Result<String> {
        let before = self.host();
        let trusted = host.distrusting(&self.keys(&before)).await?;
        self.replace(&before, trusted.map_or(host, |(trusted, _)| trusted), None, since).await
    }

    /// Stops the plugins that are no longer trusted, though the files as a whole were rejected. Returns what to say of it.
    async fn withdraw(&self) -> String {
        let _alone = self.replacing.lock().await;
        let stop = async {
            let before = self.host();
            let Some((host, names)) = before.distrusting(&self.keys(&before)).await? else { return Ok(Vec::new()) };
            self.replace(&before, host, None, record::now()).await?;
            Ok::<_, anyhow::Error>(names)
        };
        match stop.await {
            Ok(names) if names.is_empty() => String::new(),
            Ok(names) => format!("; stopped, because they are no longer trusted: {}", names.join(", ")),
            Err(error) => format!("; plugins that are no longer trusted could not be stopped: {error:#}"),
        }
    }

    /// The keys in host.toml, also if something else in it is wrong; else those of the running host.
    fn keys(&self, host: &Host) -> Keys {
        Trust::read(&self.sources.config).unwrap_or_else(|| host.config.trust.clone()).keys()
    }

    /// Replaces the current host; `own` is what the other hosts on the record hear of it, if that is something else now. New checks are
    /// first due after `since`.
    async fn replace(&self, before: &Arc<Host>, mut host: Host, own: Option<Own>, since: Timestamp) -> Result<String> {
        let known = host.names();
        self.sources.choose(&mut host)?;
        let heartbeat = Heartbeat::new(&host.config.heartbeat, host.recorder.metrics.clone())?;
        let receivers = host.receivers().await?;
        let added: Vec<&str> = host.checks.iter().map(|check| check.name.as_str()).collect();
        let added: Vec<&str> = added.into_iter().filter(|name| before.check(name).is_none()).collect();
        host.recorder.show(&added).await.context("the record")?;
        if let Some(own) = own {
            // Before it runs as another: one that does not hold runs nothing.
            if host.recorder.record.member().is_some() {
                let holding = host.recorder.record.stand(&own, record::now()).await?;
                if holding.digest != own.digest {
                    tracing::error!("{}", super::takes_no_part(&own, &holding));
                }
            }
            *self.own.write().unwrap_or_else(std::sync::PoisonError::into_inner) = own;
        }
        // Nothing can fail any more.
        let changes = changes(before, &host);
        host.recorder.delivery.send_to(receivers, &host.config);
        self.agenda().change(plans(&host), since);
        host.recorder.only(host.checks.iter().map(|check| check.name.clone()).collect());
        // An alert of a check that is gone ends later rather than never, if the record cannot be written now.
        if let Err(error) = host.recorder.close(&host.config, &known, true, record::now()).await {
            tracing::error!("{error:#}");
        }
        for gone in before.checks.iter().filter(|check| host.check(&check.name).is_none()) {
            host.recorder.metrics.forget(&gone.name);
        }
        *self.heartbeat.write().unwrap_or_else(std::sync::PoisonError::into_inner) = heartbeat;
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(host);
        Ok(changes)
    }
}

/// The differences, in one line.
fn changes(before: &Host, now: &Host) -> String {
    let mut said = Vec::new();
    for check in &now.checks {
        let version = |host: &Host| {
            let ready = host.check(&check.name)?.plugin()?;
            Some((ready.plugin.file.version.clone(), ready.plugin.file.digest))
        };
        match (before.check(&check.name).is_some(), version(before), version(now)) {
            (false, ..) => said.push(format!("{} is new", check.name)),
            (true, Some((old, digest)), Some((new, other))) if digest != other => {
                said.push(format!("{} is {new}, was {old}", check.name));
            }
            (true, None, Some((new, _))) => said.push(format!("{} is {new}, could not run before", check.name)),
            (true, Some(_), None) => said.push(format!("{} can no longer run", check.name)),
            _ => {}
        }
    }
    let gone = before.checks.iter().filter(|check| now.check(&check.name).is_none());
    said.extend(gone.map(|check| format!("{} is gone", check.name)));
    if before.config != now.config {
        said.push("host.toml changed".to_owned());
    }
    if said.is_empty() { "nothing changed".to_owned() } else { said.join(", ") }
}
