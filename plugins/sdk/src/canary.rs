//! Canaries: one query about one date, compared with thresholds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    About, Alert, Check, Failure, Metric, Need, Query, Report, Request, Result, Severity, Step, TableName, Verdict,
    Violation, judge, measured, sentence, settings::Settings, step,
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
        let row = Query::new(&sql).date("date", &request.data_date).row().await?;
        let metrics = C::thresholds(&settings)
            .into_iter()
            .map(|Threshold(metric)| Metric { value: row.number(&metric.name), ..metric })
            .collect();
        let query_step = step("Run the query yourself", bq_query(&request.data_date, &sql));
        let look = C::service(&settings).map(investigation).transpose()?;
        let steps = look.into_iter().flatten().chain([query_step]).collect();
        report(&request, C::TITLE, C::ABOUT.summary, metrics, steps).await
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
    let violations = judge(&metrics);
    let mut unknown = Vec::new();
    if !violations.is_empty() {
        let alert = alert(request, Severity::Critical, title, about, &metrics, &violations);
        unknown.extend(alert.steps(steps).told().await);
    }
    let (verdict, summary) = match violations.is_empty() {
        true => (Verdict::Pass, sentence(&metrics)),
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
