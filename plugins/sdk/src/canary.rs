//! Canaries: one query about one date, compared with thresholds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    About, Alert, Change, Check, Compared, Failure, Metric, Need, Number, Past, Query, Report, Request, Result, Row,
    Severity, Step, TableName, Verdict, Violation, judge, measured, settings::Settings, step,
};

/// A check with one query for one row, and thresholds for its columns.
pub trait Canary {
    /// Declared with [`settings!`](crate::settings!).
    type Settings: Settings;
    /// Its description.
    const ABOUT: About;
    /// The title of its alerts.
    const TITLE: &'static str;

    /// The query for one row; `@date` is the data date.
    fn query(settings: &Self::Settings) -> String;
    /// The table of the query.
    fn table(settings: &Self::Settings) -> &TableName;
    /// The thresholds for the columns of the row.
    fn thresholds(settings: &Self::Settings) -> Vec<Threshold>;
    /// The maximum changes from earlier good dates, by column; none by default.
    fn changes(_settings: &Self::Settings) -> BTreeMap<String, Change> {
        BTreeMap::new()
    }
    /// The Cloud Run service that writes the table, if any, for the investigation steps.
    fn service(_settings: &Self::Settings) -> Option<&Service> {
        None
    }
}

/// A threshold for a column.
pub struct Threshold(Metric);

impl Threshold {
    /// Fails below this value.
    pub fn min(column: &str, min: f64) -> Self {
        Self(measured(column, None).at_least(min))
    }

    /// Fails above this value.
    pub fn max(column: &str, max: f64) -> Self {
        Self(measured(column, None).at_most(max))
    }
}

impl<C: Canary> Check for C {
    type Settings = C::Settings;
    const ABOUT: About = C::ABOUT;

    fn needs(settings: &Self::Settings) -> Vec<Need> {
        vec![Need::Dataset(C::table(settings).dataset().to_owned())]
    }

    async fn run(request: Request, settings: Self::Settings) -> Result<Report> {
        let sql = C::query(&settings);
        let (thresholds, changes) = (C::thresholds(&settings), C::changes(&settings));
        make_sense(&thresholds, &changes)?;
        let query = |date: &str| Query::new(&sql).date("date", date);
        let row = query(&request.data_date).row().await?;
        let value = |Threshold(metric): Threshold| Metric { value: row.number(&metric.name), ..metric };
        let mut measured = Measured { metrics: thresholds.into_iter().map(value).collect(), ..Measured::default() };
        let limited = changes.iter().map(|(column, change)| (column.as_str(), *change)).collect();
        let past = Past::ask(&request.data_date, &limited, query).await;
        for (column, change) in &changes {
            measured.change(&row, column, change, &past);
        }
        let query_step = step("Run the query yourself", bq_query(&request.data_date, &sql));
        let look = C::service(&settings).map(investigation).transpose()?;
        let steps = look.into_iter().flatten().chain([query_step]).collect();
        reported(&request, C::TITLE, C::ABOUT.summary, measured, steps).await
    }
}

/// Refuses a change of a column that the canary does not measure, or that nothing could break.
fn make_sense(thresholds: &[Threshold], changes: &BTreeMap<String, Change>) -> Result<()> {
    let names: Vec<&str> = thresholds.iter().map(|Threshold(metric)| metric.name.as_str()).collect();
    for (column, change) in changes {
        // As in SQL, upper and lower case are the same.
        let problem = match names.iter().any(|name| name.eq_ignore_ascii_case(column)) {
            true => change.problem(),
            false => Some(format!("it measures no such column; write one of {}", names.join(", "))),
        };
        if let Some(problem) = problem {
            return Err(Failure::Settings(format!("change.{column}: {problem}")));
        }
    }
    Ok(())
}

/// What a canary measured.
#[derive(Default)]
struct Measured {
    metrics: Vec<Metric>,
    /// What a change was compared with, by the metric's name.
    notes: BTreeMap<String, String>,
    /// Changes that could not be determined, each with the reason.
    unknown: Vec<String>,
}

impl Measured {
    /// Adds the change of a column. With too few good dates it has no value, which breaks nothing: the thresholds judge.
    fn change(&mut self, row: &Row, column: &str, change: &Change, past: &Past) {
        let own = self.metrics.iter().find(|metric| metric.name.eq_ignore_ascii_case(column));
        let name = format!("{}_change", own.map_or(column, |metric| metric.name.as_str()));
        // A column without a value breaks its threshold.
        let Some(now) = Number::of(row, column) else { return };
        let (metric, note) = match past.compare(column, now, change) {
            Compared::Changed(percent, note) => {
                (Metric { name: name.clone(), ..change.limits(column, Some(percent)) }, note)
            }
            Compared::Learning(note) => (measured(&name, None).unit("%"), note),
            Compared::Unknown(why) => return self.unknown.push(format!("{name}: {why}")),
        };
        self.metrics.push(metric);
        self.notes.insert(name, note);
    }

    /// A text about a metric, with what it was compared with.
    fn noted(&self, metric: &str, text: String) -> String {
        match self.notes.get(metric) {
            Some(note) => format!("{text} ({note})"),
            None => text,
        }
    }

    fn violations(&self) -> Vec<Violation> {
        let noted = |violation: Violation| {
            let metric = violation.metric.as_deref().unwrap_or_default();
            Violation { message: self.noted(metric, violation.message.clone()), ..violation }
        };
        judge(&self.metrics).into_iter().map(noted).collect()
    }

    fn sentence(&self) -> String {
        self.metrics.iter().map(|metric| self.noted(&metric.name, metric.brief())).collect::<Vec<_>>().join(", ")
    }
}

/// Judges the metrics of a canary, posts an alert if any breaks its threshold, and returns the report.
pub async fn report(
    request: &Request,
    title: &str,
    about: &str,
    metrics: Vec<Metric>,
    steps: Vec<Step>,
) -> Result<Report> {
    reported(request, title, about, Measured { metrics, ..Measured::default() }, steps).await
}

async fn reported(request: &Request, title: &str, about: &str, measured: Measured, steps: Vec<Step>) -> Result<Report> {
    let violations = measured.violations();
    let words = measured.sentence();
    let Measured { metrics, mut unknown, .. } = measured;
    if !violations.is_empty() {
        let alert = alert(request, Severity::Critical, title, about, &metrics, &violations);
        unknown.extend(alert.steps(steps).told().await);
    }
    let (verdict, summary) = match violations.is_empty() {
        true => (Verdict::Pass, words),
        false => {
            let messages: Vec<_> = violations.iter().map(|violation| violation.message.as_str()).collect();
            (Verdict::Fail, messages.join("; "))
        }
    };
    Ok(Report { verdict, summary, metrics, violations, unknown, gate: None })
}

/// The largest number up to which each whole number has a float of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The alert for broken thresholds, with the violations and all metrics. `about` describes the check in one sentence.
pub fn alert(
    request: &Request,
    severity: Severity,
    title: &str,
    about: &str,
    metrics: &[Metric],
    violations: &[Violation],
) -> Alert {
    let values = metrics.iter().map(|metric| (metric.name.clone(), value(metric, violations)));
    Alert::new(&request.channel, severity, title, about)
        .lines("Violations", violations.iter().map(|violation| violation.message.clone()))
        .fields("Metrics", values)
}

/// A metric's value with the digits that its violation has. A float has not all digits of a large whole number.
fn value(metric: &Metric, violations: &[Violation]) -> String {
    let own = violations.iter().filter(|violation| violation.metric.as_ref() == Some(&metric.name));
    let words = own.filter_map(|violation| violation.message.strip_prefix(metric.name.as_str())?.strip_prefix(" is "));
    let mut said = words.filter_map(|words| {
        let (_, pair) = words.split_once(": ")?;
        [" < ", " > ", " ≥ "].into_iter().find_map(|sign| pair.split_once(sign)).map(|(value, _)| value.to_owned())
    });
    said.next().unwrap_or_else(|| {
        let value = Metric { unit: metric.unit.clone(), ..measured("", metric.value) }.brief();
        let large = metric.value.is_some_and(|value| value.abs() > EXACT);
        format!("{}{}", if large { "about " } else { "" }, value.trim())
    })
}

/// The `bq` command for a query about a date.
pub fn bq_query(date: &str, sql: &str) -> String {
    Query::new(sql).date("date", date).command()
}

/// A Cloud Run service, as `projects/PROJECT/locations/REGION/services/NAME`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Service(
    #[schemars(regex(pattern = r"^projects/[a-z0-9-]+/locations/[a-z0-9-]+/services/[a-z0-9-]+$"))] String,
);

impl From<&str> for Service {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// The first steps when a service's data is wrong: its recent deployments, and its logs.
pub fn investigation(service: &Service) -> Result<Vec<Step>> {
    let plain = |part: &&str| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let parts: Vec<&str> = service.0.split('/').filter(plain).collect();
    let ["projects", project, "locations", region, "services", name] = parts.as_slice() else {
        let Service(given) = service;
        return Err(Failure::Settings(format!(
            "`{given}` is not a service name; write projects/PROJECT/locations/REGION/services/NAME"
        )));
    };
    Ok(vec![
        step(
            "See recent deployments",
            format!("gcloud run revisions list --service={name} --region={region} --project={project} --limit=5"),
        ),
        step(
            "Read the phase's logs",
            format!(
                "gcloud logging read 'resource.labels.service_name=\"{name}\" AND severity>=WARNING' --project={project} --freshness=1d --limit=50"
            ),
        ),
    ])
}
