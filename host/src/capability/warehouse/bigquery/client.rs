//! BigQuery's methods, through `gcp-bigquery-client`, and what that client cannot do, beside it:
//!
//! - An error keeps neither its status nor `Retry-After`, an error without a list of `errors` and a page of a proxy do not
//!   even keep their text, and `details` are dropped. So the request is sent again by [`Google`], which reads all of these:
//!   at once when nothing was understood, after a short wait when the fault passes. Each request can be repeated.
//! - A type that it does not know, such as RANGE, makes a whole answer unreadable. Its column is found and named.
//! - It reads an answer whole, however large. Pages are kept small, and charged to the run.
//! - It cancels a job without a body and without its length, which Google's servers refuse with status 411. So jobs are
//!   cancelled by [`Google`].
//! - It cannot ask for timestamps as whole numbers: `formatOptions` is nested, which its encoder of queries refuses.
//!   values.rs reads the fractions exactly.

use std::{pin::Pin, sync::Arc, time::Duration};

use gcp_bigquery_client::{
    Client as Api,
    auth::Authenticator,
    client_builder::ClientBuilder,
    error::BQError,
    model::{
        field_type::FieldType, get_query_results_parameters::GetQueryResultsParameters,
        get_query_results_response::GetQueryResultsResponse, job::Job, job_reference::JobReference, table::Table,
        table_row::TableRow,
    },
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};

use crate::{
    google::{FIRST_WAIT, Fault, Google, Kind, QUOTA_PROJECT, Request, connections, in_time, jittered},
    lanes::{Held, Permit},
    text::encoded,
};

/// Values of one page: about 20 MB of memory when they are short. BigQuery itself ends a page at 20 MB of text:
/// <https://cloud.google.com/bigquery/docs/paging-results>
const PAGE: usize = 100_000;
/// The memory of a value without its text: the value, and the allocation of the text.
const VALUE: usize = size_of::<gcp_bigquery_client::model::table_cell::TableCell>() + 16;

/// The methods for one project; clones share it.
#[derive(Clone)]
pub(super) struct Client(Arc<Inner>);

struct Inner {
    google: Google,
    /// `https://bigquery.googleapis.com/bigquery/v2`
    base: String,
    project: String,
    /// Made on first use, since it reads the system's certificates.
    api: OnceCell<Api>,
}

/// A page of an answer, charged to the run while it exists.
pub(super) struct Page {
    pub(super) results: GetQueryResultsResponse,
    _held: Held,
}

/// Why the client has no answer.
enum Unanswered {
    /// It says why.
    Said(Fault),
    /// It does not.
    Unclear,
}

/// Gives the client the tokens of [`Google`].
#[derive(Clone)]
struct Tokens(Google);

#[async_trait::async_trait]
impl Authenticator for Tokens {
    async fn access_token(&self) -> Result<String, BQError> {
        let token = self.0.token().await;
        // The client sends a header even without credentials. The fault travels inside the client's error.
        let token = token.map_err(|fault| BQError::InvalidServiceAccountAuthenticator(std::io::Error::other(fault)))?;
        Ok(token.unwrap_or_default())
    }
}

impl From<Fault> for Unanswered {
    fn from(fault: Fault) -> Self {
        Self::Said(fault)
    }
}

impl From<BQError> for Unanswered {
    fn from(error: BQError) -> Self {
        match error {
            BQError::ResponseError { error } => {
                let error = error.error;
                let reason = error.errors.first().and_then(|first| first.get("reason")).map_or("", String::as_str);
                let kind = Kind::of_words(&error.message).or_else(|| Kind::of_reason(reason, &error.message));
                // Without a known reason, the details say what it is.
                let (Some(kind), Ok(status)) = (kind, u16::try_from(error.code)) else { return Self::Unclear };
                Self::Said(Fault::said(status, kind, &error.message, [reason, &error.status]))
            }
            BQError::RequestError(error) if error.is_decode() => Self::Unclear,
            BQError::RequestError(error) => Self::Said(Fault::unreachable(error)),
            BQError::InvalidServiceAccountAuthenticator(error) => {
                error.downcast::<Fault>().map_or(Self::Unclear, Self::Said)
            }
            _ => Self::Unclear,
        }
    }
}

impl Client {
    /// The methods for a project, at the address of the API.
    pub(super) fn new(google: Google, endpoint: &str, project: &str) -> Self {
        let (base, project) = (format!("{endpoint}/bigquery/v2"), project.to_owned());
        Self(Arc::new(Inner { google, base, project, api: OnceCell::new() }))
    }

    /// `jobs.insert`: starts a job, or estimates it.
    pub(super) async fn insert(&self, job: Job, deadline: Instant) -> Result<Job, Fault> {
        let body = serde_json::to_value(&job).map_err(|error| Fault::garbled(&error))?;
        let again = Request::post(self.url("jobs"), body);
        let asked = Box::pin(async { Ok(self.api().await?.job().insert(&self.0.project, job).await?) });
        self.ask(asked, again, true, deadline).await
    }

    /// `jobs.get`
    pub(super) async fn job(&self, job: &JobReference, deadline: Instant) -> Result<Job, Fault> {
        let (id, location) = parts(job);
        let again = Request::get(self.url(&format!("jobs/{id}?location={}", encoded(location))));
        let asked = Box::pin(async { Ok(self.api().await?.job().get_job(&self.0.project, id, Some(location)).await?) });
        self.ask(asked, again, true, deadline).await
    }

    /// `jobs.getQueryResults`: one page, asked for once. `token` names it; for the first one the server may hold the
    /// request until `wait` is over.
    pub(super) async fn results(
        &self,
        job: &JobReference,
        token: Option<&str>,
        wait: Duration,
        rows: usize,
        permit: &Permit,
        deadline: Instant,
    ) -> Result<Page, Fault> {
        let (id, location) = parts(job);
        let most = i32::try_from(rows).unwrap_or(i32::MAX);
        let mut url = self.url(&format!("queries/{id}?location={}&maxResults={most}", encoded(location)));
        let mut parameters = GetQueryResultsParameters {
            location: Some(location.to_owned()),
            max_results: Some(most),
            ..GetQueryResultsParameters::default()
        };
        match token {
            Some(token) => {
                url += &format!("&pageToken={}", encoded(token));
                parameters.page_token = Some(token.to_owned());
            }
            None => {
                let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
                url += &format!("&timeoutMs={millis}");
                parameters.timeout_ms = Some(millis);
            }
        }
        let asked = Box::pin(async {
            // One answer of a run arrives at a time: two would need the memory of both.
            let _alone = permit.alone().await;
            Ok(self.api().await?.job().get_query_results(&self.0.project, id, parameters).await?)
        });
        let results: GetQueryResultsResponse =
            self.ask(asked, Request::get(url).charged(permit), false, deadline).await?;
        let size = results.rows.iter().flatten().map(size).sum();
        let held = permit.hold(size).map_err(|full| Fault::new(Kind::TooMuch, &full.to_string()))?;
        Ok(Page { results, _held: held })
    }

    /// `jobs.cancel`, beside the client.
    pub(super) async fn cancel(&self, job: &JobReference, deadline: Instant) -> Result<(), Fault> {
        let (id, location) = parts(job);
        let url = self.url(&format!("jobs/{id}/cancel?location={}", encoded(location)));
        let request = Request::post(url, Json::Object(serde_json::Map::new()));
        self.0.google.call(request, deadline).await.map(drop)
    }

    /// `tables.get`, asked for once.
    pub(super) async fn table(&self, dataset: &str, table: &str, deadline: Instant) -> Result<Table, Fault> {
        let again = Request::get(self.url(&format!("datasets/{}/tables/{}", encoded(dataset), encoded(table))));
        let asked = Box::pin(async { Ok(self.api().await?.table().get(&self.0.project, dataset, table, None).await?) });
        self.ask(asked, again, false, deadline).await
    }

    /// The rows of a page of so many columns.
    pub(super) fn rows(columns: usize) -> usize {
        (PAGE / columns.max(1)).max(1)
    }

    /// Asks through the client; what it does not say is asked for `again`, beside it, if `retried` with retries. The future
    /// is boxed, since the stack of a guest's call is small.
    async fn ask<T: DeserializeOwned>(
        &self,
        asked: Pin<Box<dyn Future<Output = Result<T, Unanswered>> + Send + '_>>,
        again: Request<'_>,
        retried: bool,
        deadline: Instant,
    ) -> Result<T, Fault> {
        let google = &self.0.google;
        let first = in_time(deadline, async { Ok(asked.await) }).await;
        let earlier = match first.unwrap_or_else(|late| Err(late.into())) {
            Ok(answer) => return Ok(answer),
            Err(Unanswered::Unclear) => None,
            // The token may have been revoked: one more attempt, with a new one.
            Err(Unanswered::Said(fault)) if fault.kind == Kind::Unauthenticated => {
                google.renew();
                let answer = google.send(&again, deadline).await?;
                return serde_json::from_slice(&answer).map_err(|error| unreadable(&answer, &error));
            }
            Err(Unanswered::Said(fault)) => {
                let wait = jittered(FIRST_WAIT);
                if !fault.kind.passes() || Instant::now() + wait >= deadline {
                    return Err(fault);
                }
                sleep(wait).await;
                Some(fault)
            }
        };
        let answer = match retried {
            true => google.call(again, deadline).await,
            false => google.once(&again, deadline).await,
        };
        match answer {
            Ok(body) => serde_json::from_slice(&body).map_err(|error| unreadable(&body, &error)),
            // Report the earlier fault instead of the timeout.
            Err(fault) if fault.kind == Kind::TimedOut => Err(Fault { repeated: true, ..earlier.unwrap_or(fault) }),
            Err(fault) => Err(Fault { repeated: true, ..fault }),
        }
    }

    async fn api(&self) -> Result<&Api, Unanswered> {
        let Inner { google, base, api, .. } = &*self.0;
        let made = api.get_or_try_init(async || {
            // The token's source says who pays.
            google.token().await?;
            let mut headers = HeaderMap::new();
            if let Some(Ok(project)) = google.quota_project().map(HeaderValue::try_from) {
                headers.insert(HeaderName::from_static(QUOTA_PROJECT), project);
            }
            let client = connections().default_headers(headers).build().map_err(Fault::unreachable)?;
            let mut builder = ClientBuilder::new();
            builder.with_v2_base_url(base.clone()).with_client(client);
            Ok(builder.build_from_authenticator(Arc::new(Tokens(google.clone()))).await?)
        });
        made.await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/projects/{}/{path}", self.0.base, self.0.project)
    }
}

/// The id and the location of a job.
fn parts(job: &JobReference) -> (&str, &str) {
    (job.job_id.as_deref().unwrap_or_default(), job.location.as_deref().unwrap_or_default())
}

/// The memory of a row.
fn size(row: &TableRow) -> usize {
    fn text(value: &Json) -> usize {
        match value {
            Json::String(text) => text.len(),
            Json::Array(list) => list.iter().map(|value| VALUE + text(value)).sum(),
            Json::Object(map) => map.values().map(|value| VALUE + text(value)).sum(),
            _ => 0,
        }
    }
    row.columns.iter().flatten().map(|cell| VALUE + cell.value.as_ref().map_or(0, text)).sum()
}

/// The fault for an answer that the client's types cannot hold.
fn unreadable(body: &[u8], error: &serde_json::Error) -> Fault {
    /// The first column of a type that is not known, and the type.
    fn strange(fields: &Json) -> Option<(&str, &str)> {
        fields.as_array()?.iter().find_map(|field| {
            let kind = field.get("type")?.as_str()?;
            match serde_json::from_value::<FieldType>(kind.into()) {
                Ok(_) => strange(field.get("fields")?),
                Err(_) => Some((field.get("name")?.as_str()?, kind)),
            }
        })
    }
    let answer: Json = serde_json::from_slice(body).unwrap_or_default();
    let fields = ["/schema/fields", "/statistics/query/schema/fields"].into_iter().find_map(|at| answer.pointer(at));
    match fields.and_then(strange) {
        Some((name, kind)) => Fault::new(
            Kind::Invalid,
            &format!("column {name} has the type {kind}, which the host cannot read; convert it in the query"),
        ),
        None => Fault::garbled(error),
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "project {} at {}", self.0.project, self.0.base)
    }
}
