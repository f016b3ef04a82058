//! The host's metrics, in the format of Prometheus: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use crate::{
    lanes::{self, Usage},
    record::{self, LastRuns},
    run::{Run, Status},
};

/// A run handed out later than this after its due time catches up.
const LATE: SignedDuration = SignedDuration::from_secs(60);
/// Buckets in seconds, from milliseconds to half a minute.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

macro_rules! labels {
    ($($(#[doc = $doc:literal])+ $name:ident { $($field:ident),+ })+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
            struct $name { $($field: String),+ }
        )+
    };
}

labels! {
    /// Labels: a check.
    OfCheck { check }
    /// Labels: a check and the status of its runs.
    OfRun { check, status }
    /// Labels: a plugin.
    OfPlugin { plugin }
    /// Labels: a plugin's host calls.
    OfCall { plugin, call, outcome }
    /// Labels: a plugin's budgets.
    OfBudget { plugin, budget }
    /// Labels: notifications.
    OfNotification { receiver, reason }
    /// Labels: deliveries.
    OfDelivery { receiver, outcome }
    /// Labels: an outcome, `ok` or `error`.
    OfOutcome { outcome }
    /// Labels: questions to a gate.
    OfGate { gate, decision }
    /// Labels: requests to the page and API.
    OfRequest { route, code }
}

/// All metrics, since the process started.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    began: Instant,
    started: Timestamp,
    runs: Family<OfRun, Counter>,
    seconds: Family<OfPlugin, Histogram>,
    status: Family<OfCheck, Gauge>,
    last_run: Family<OfCheck, Gauge>,
    last_success: Family<OfCheck, Gauge>,
    next_due: Family<OfCheck, Gauge>,
    calls: Family<OfCall, Counter>,
    call_bytes: Family<OfPlugin, Counter>,
    budgets: Family<OfBudget, Counter>,
    notifications: Family<OfNotification, Counter>,
    deliveries: Family<OfDelivery, Counter>,
    undelivered: Gauge,
    hosts: Gauge,
    takes_part: Gauge,
    lag: Histogram,
    left_out: Family<OfCheck, Counter>,
    dates_open: Family<OfCheck, Gauge>,
    dates_unjudged: Family<OfCheck, Gauge>,
    reloads: Family<OfOutcome, Counter>,
    configuration: Gauge,
    reloaded: Gauge,
    heartbeats: Family<OfOutcome, Counter>,
    consultations: Family<OfGate, Counter>,
    requests: Family<OfRequest, Counter>,
    request_seconds: Histogram,
    uptime: Gauge<f64, AtomicU64>,
    memory: Gauge,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("host"),
            began: Instant::now(),
            started: record::now(),
            runs: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            status: Family::default(),
            last_run: Family::default(),
            last_success: Family::default(),
            next_due: Family::default(),
            calls: Family::default(),
            call_bytes: Family::default(),
            budgets: Family::default(),
            notifications: Family::default(),
            deliveries: Family::default(),
            undelivered: Gauge::default(),
            hosts: Gauge::default(),
            takes_part: Gauge::default(),
            lag: histogram(),
            left_out: Family::default(),
            dates_open: Family::default(),
            dates_unjudged: Family::default(),
            reloads: Family::default(),
            configuration: Gauge::default(),
            reloaded: Gauge::default(),
            heartbeats: Family::default(),
            consultations: Family::default(),
            requests: Family::default(),
            request_seconds: histogram(),
            uptime: Gauge::default(),
            memory: Gauge::default(),
        };
        metrics.configuration.set(1);
        metrics.shares(true, 1);
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("build", "Version of the running host", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("runs", "Finished runs, by status", self.runs.clone());
        let seconds = |name: &str| format!("{name}, in seconds");
        registry.register_with_unit("run_duration", seconds("Duration of runs"), Unit::Seconds, self.seconds.clone());
        let status = "Status of the last run: 0 pass, 1 warn, 2 fail, 3 error, 4 skip";
        registry.register("check_status", status, self.status.clone());
        let moment = |what: &str| format!("{what}, in seconds since the Unix epoch");
        registry.register_with_unit(
            "check_last_run_timestamp",
            moment("Time of the last run"),
            Unit::Seconds,
            self.last_run.clone(),
        );
        let passed = moment("Time of the last run that passed");
        registry.register_with_unit("check_last_success_timestamp", passed, Unit::Seconds, self.last_success.clone());
        let next = moment("Due time that has no finished run yet: past while the check runs or is late");
        registry.register_with_unit("check_next_due_timestamp", next, Unit::Seconds, self.next_due.clone());
        registry.register("calls", "Host calls, by outcome", self.calls.clone());
        let bytes = "Bytes that backends counted for host calls";
        registry.register_with_unit("call", bytes, Unit::Bytes, self.call_bytes.clone());
        registry.register("budgets_exceeded", "Runs that exceeded a budget, by budget", self.budgets.clone());
        registry.register("notifications", "Notifications, by reason", self.notifications.clone());
        registry.register("delivery_attempts", "Delivery attempts, by outcome", self.deliveries.clone());
        let undelivered = "Messages that are waiting or were given up";
        registry.register("messages_undelivered", undelivered, self.undelivered.clone());
        let part = "1 while this host does what is due: its record answers, and its configuration holds";
        registry.register("takes_part", part, self.takes_part.clone());
        registry.register(
            "hosts",
            "Hosts on this host's record that were heard of in the last 30 s",
            self.hosts.clone(),
        );
        let lag = "Delay of runs after their due time, without jitter, in seconds";
        registry.register_with_unit("schedule_lag", lag, Unit::Seconds, self.lag.clone());
        registry.register("due_times_left_out", "Due times that were missed or skipped", self.left_out.clone());
        let open = "Data dates that are bad, and not given up";
        registry.register("check_dates_open", open, self.dates_open.clone());
        let unjudged = "Expected data dates that were never judged";
        registry.register("check_dates_unjudged", unjudged, self.dates_unjudged.clone());
        registry.register("reloads", "Reloads of the configuration, by outcome", self.reloads.clone());
        let good = "1 if the files on disk are in use, 0 if they were rejected";
        registry.register("configuration_ok", good, self.configuration.clone());
        let reloaded = moment("Time of the last successful reload");
        registry.register_with_unit("configuration_timestamp", reloaded, Unit::Seconds, self.reloaded.clone());
        registry.register("heartbeats", "Heartbeats, by outcome", self.heartbeats.clone());
        let consulted = "Questions to gates, by decision";
        registry.register("gate_consultations", consulted, self.consultations.clone());
        registry.register("http_requests", "HTTP requests, by route and status code", self.requests.clone());
        let took = seconds("Duration of HTTP requests");
        registry.register_with_unit("http_request_duration", took, Unit::Seconds, self.request_seconds.clone());
        registry.register_with_unit("uptime", seconds("Uptime of the process"), Unit::Seconds, self.uptime.clone());
        let memory = "Resident memory, in bytes";
        registry.register_with_unit("resident_memory", memory, Unit::Bytes, self.memory.clone());
        registry.register_collector(Box::new(InUse(lanes::usage)));
    }

    /// The text for Prometheus. `undelivered` counts messages that are waiting or were set aside; `owed` has the due time
    /// that each check's next finished run is for.
    pub fn text(&self, undelivered: u64, owed: Vec<(String, Timestamp)>) -> String {
        self.undelivered.set(i64::try_from(undelivered).unwrap_or(i64::MAX));
        self.next_due.clear();
        for (check, due) in owed {
            self.next_due.get_or_create(&OfCheck { check }).set(due.as_second());
        }
        self.uptime.set(self.began.elapsed().as_secs_f64());
        self.memory.set(resident().unwrap_or_default());
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Sets how many dates of a check are bad, and how many were never judged.
    pub fn dates(&self, check: &str, open: usize, unjudged: usize) {
        self.dates_open(check, open);
        let unjudged = i64::try_from(unjudged).unwrap_or(i64::MAX);
        self.dates_unjudged.get_or_create(&OfCheck { check: check.to_owned() }).set(unjudged);
    }

    /// Sets how many dates of a check are bad.
    pub fn dates_open(&self, check: &str, open: usize) {
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.dates_open.get_or_create(&OfCheck { check: check.to_owned() }).set(open);
    }

    /// Counts a run that ended and was recorded.
    pub fn ran(&self, run: &Run) {
        let check = || OfCheck { check: run.check.clone() };
        let status = run.status();
        self.runs.get_or_create(&OfRun { check: run.check.clone(), status: status.name().to_owned() }).inc();
        if run.untold.is_some() || run.past {
            return;
        }
        if status == Status::Pass {
            let last = self.last_success.get_or_create(&check());
            last.set(last.get().max(run.due.as_second()));
        }
        self.last_run.get_or_create(&check()).set(record::now().as_second());
        let Some(plugin) = run.plugin.as_ref().map(|plugin| plugin.name.clone()) else { return };
        let of_plugin = OfPlugin { plugin: plugin.clone() };
        self.seconds.get_or_create(&of_plugin).observe(run.duration.as_secs_f64());
        for call in &run.calls {
            let outcome = if call.error.is_some() { "error" } else { "ok" };
            let label = OfCall { plugin: plugin.clone(), call: call.name.to_owned(), outcome: outcome.to_owned() };
            self.calls.get_or_create(&label).inc();
            self.call_bytes.get_or_create(&of_plugin).inc_by(call.bytes);
        }
        for budget in &run.exceeded {
            self.budgets.get_or_create(&OfBudget { plugin: plugin.clone(), budget: (*budget).to_owned() }).inc();
        }
    }

    /// Sets what is recorded of a check, so that a restart is not a gap.
    pub fn recall(&self, check: &str, recorded: &LastRuns) {
        let label = || OfCheck { check: check.to_owned() };
        for (family, moment) in [(&self.last_run, recorded.ended), (&self.last_success, recorded.passed)] {
            if let Some(moment) = moment {
                family.get_or_create(&label()).set(moment.as_second());
            }
        }
    }

    /// Sets the status of the last run of a check, by due time.
    pub fn stands(&self, check: &str, status: Status) {
        self.status.get_or_create(&OfCheck { check: check.to_owned() }).set(number(status));
    }

    /// Removes a check that no longer exists.
    pub fn forget(&self, check: &str) {
        let label = OfCheck { check: check.to_owned() };
        let gauges = [&self.status, &self.last_run, &self.last_success, &self.dates_open, &self.dates_unjudged];
        for family in gauges {
            family.remove(&label);
        }
    }

    /// Counts a notification for a receiver, by reason.
    pub fn said(&self, receiver: &str, reason: &str) {
        let label = OfNotification { receiver: receiver.to_owned(), reason: reason.to_owned() };
        self.notifications.get_or_create(&label).inc();
    }

    /// Counts a delivery attempt: `taken`, `again` or `set_aside`.
    pub fn sent(&self, receiver: &str, outcome: &str) {
        let label = OfDelivery { receiver: receiver.to_owned(), outcome: outcome.to_owned() };
        self.deliveries.get_or_create(&label).inc();
    }

    /// Records the delay of a run that begins now, and returns it. `given` is when the scheduler handed it out. A run that catches up is late
    /// because the host was down or the machine asleep, not because the host is overloaded.
    pub fn began(&self, due: Timestamp, given: Timestamp) -> Duration {
        let catches_up = due < self.started || given.duration_since(due) > LATE;
        let expected = if catches_up { given } else { due };
        let lag = Duration::try_from(record::now().duration_since(expected)).unwrap_or_default();
        self.lag.observe(lag.as_secs_f64());
        lag
    }

    /// Sets whether this host does what is due, and how many hosts on its record were heard of.
    pub fn shares(&self, takes_part: bool, hosts: i64) {
        self.takes_part.set(i64::from(takes_part));
        self.hosts.set(hosts);
    }

    /// Counts a due time without a run.
    pub fn left_out(&self, check: &str) {
        self.left_out.get_or_create(&OfCheck { check: check.to_owned() }).inc();
    }

    /// Counts a reload, successful or rejected.
    pub fn reloaded(&self, well: bool) {
        self.reloads.get_or_create(&outcome(well)).inc();
        self.configuration.set(i64::from(well));
        if well {
            self.reloaded.set(record::now().as_second());
        }
    }

    /// Counts a heartbeat.
    pub fn beat(&self, well: bool) {
        self.heartbeats.get_or_create(&outcome(well)).inc();
    }

    /// Counts a question to a gate.
    pub fn consulted(&self, gate: &str, decision: &str) {
        let label = OfGate { gate: gate.to_owned(), decision: decision.to_owned() };
        self.consultations.get_or_create(&label).inc();
    }

    /// Counts an answered request.
    pub fn answered(&self, route: &str, code: u16, took: Duration) {
        let label = OfRequest { route: route.to_owned(), code: code.to_string() };
        self.requests.get_or_create(&label).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }
}

/// The current usage of plugins; idle plugins are omitted. The source is a parameter, for tests.
#[derive(Debug)]
struct InUse(fn() -> Vec<Usage>);

impl Collector for InUse {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (held, threads) = (Family::<OfPlugin, Gauge>::default(), Family::<OfPlugin, Gauge>::default());
        for Usage { plugin, bytes, threads: working } in (self.0)() {
            // Usage without a name belongs to no plugin.
            if plugin.is_empty() || (bytes, working) == (0, 0) {
                continue;
            }
            let label = OfPlugin { plugin };
            held.get_or_create(&label).set(i64::try_from(bytes).unwrap_or(i64::MAX));
            threads.get_or_create(&label).set(i64::try_from(working).unwrap_or(i64::MAX));
        }
        let bytes = "Host memory held for a plugin now, in bytes";
        let unit = Some(&Unit::Bytes);
        held.encode(encoder.encode_descriptor("plugin_held", bytes, unit, held.metric_type())?)?;
        let working = "Threads working for a plugin now";
        threads.encode(encoder.encode_descriptor("plugin_threads", working, None, threads.metric_type())?)
    }
}

fn number(status: Status) -> i64 {
    match status {
        Status::Pass => 0,
        Status::Warn => 1,
        Status::Fail => 2,
        Status::Error => 3,
        Status::Skip => 4,
    }
}

fn outcome(well: bool) -> OfOutcome {
    OfOutcome { outcome: if well { "ok" } else { "error" }.to_owned() }
}

/// Resident memory of this process, in bytes: the second number of <https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html>
fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * i64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plugins_use_is_exported_while_they_use_it() {
        let shown = |source| {
            let mut registry = Registry::with_prefix("host");
            registry.register_collector(Box::new(InUse(source)));
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let lines = shown(|| {
            let used = |plugin: &str, bytes, threads| Usage { plugin: plugin.to_owned(), bytes, threads };
            vec![used("", 9, 1), used("idle", 0, 0), used("reads", 4096, 0), used("walks", 7, 4)]
        });
        let expected = [
            "host_plugin_held_bytes{plugin=\"reads\"} 4096",
            "host_plugin_held_bytes{plugin=\"walks\"} 7",
            "host_plugin_threads{plugin=\"reads\"} 0",
            "host_plugin_threads{plugin=\"walks\"} 4",
        ];
        assert_eq!(lines, expected);
        assert_eq!(shown(Vec::new), Vec::<String>::new());
    }
}
