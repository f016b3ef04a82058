//! Why a request to Google failed, and whether to retry it.

use std::{error::Error as _, time::Duration};

use serde::Deserialize;

/// Characters of an answer that are quoted.
const QUOTED: usize = 200;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The kind of fault.
    pub kind: Kind,
    /// The message, in Google's words if there are any.
    pub message: String,
    /// The wait that the server asked for.
    pub retry_after: Option<Duration>,
    /// Whether an earlier attempt of the same request may have been carried out.
    pub repeated: bool,
}

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The credentials are missing or were rejected.
    Unauthenticated,
    /// The credentials lack the permission.
    Denied,
    /// A perimeter of VPC Service Controls is in the way.
    Perimeter,
    /// The API is not enabled in the project.
    Disabled,
    /// The project has no billing account.
    Unbilled,
    /// Not found.
    NotFound,
    /// It already exists.
    Duplicate,
    /// The request is invalid.
    Invalid,
    /// It would exceed the limit on bytes billed.
    BytesBilled,
    /// The answer is larger than the API returns.
    TooLarge,
    /// The answer exceeds the memory that the host may hold for the caller.
    TooMuch,
    /// A quota is used up, for longer than a run lasts.
    Quota,
    /// Somebody stopped it.
    Stopped,
    /// The time that we gave the job is over: `jobTimeoutMs`.
    OutOfTime,
    /// It took too long.
    TimedOut,
    /// The server is busy or temporarily failing.
    Busy,
    /// The server was not reached, or the connection broke.
    Unreachable,
    /// The answer is a page of a proxy or a login, not the server's.
    Page,
    /// The answer cannot be parsed.
    Garbled,
}

impl Kind {
    /// Whether to retry the same request.
    pub fn passes(self) -> bool {
        matches!(self, Self::TimedOut | Self::Busy | Self::Unreachable | Self::Page | Self::Garbled)
    }

    /// What to do about a refusal that no role changes.
    pub fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::Perimeter => {
                "a perimeter of VPC Service Controls refused it, and no role changes that: whoever administers it finds the identifier in the audit log, and can add a rule for the host's account"
            }
            Self::Disabled => {
                "the API is not enabled in the project: enable it with `gcloud services enable`, and wait a few minutes"
            }
            Self::Unbilled => "the project has no active billing account: link one",
            Self::Quota => "a quota is used up: https://console.cloud.google.com/iam-admin/quotas",
            _ => return None,
        })
    }

    /// From BigQuery's reason: <https://cloud.google.com/bigquery/docs/error-messages>
    pub fn of_reason(reason: &str, message: &str) -> Option<Self> {
        Some(match reason {
            "accessDenied" | "blocked" | "policyViolation" => Self::Denied,
            "accessNotConfigured" => Self::Disabled,
            "billingNotEnabled" => Self::Unbilled,
            "notFound" => Self::NotFound,
            "duplicate" => Self::Duplicate,
            "invalid" | "invalidQuery" | "invalidUser" | "notImplemented" | "resourcesExceeded" | "attributeError" => {
                Self::Invalid
            }
            "bytesBilledLimitExceeded" => Self::BytesBilled,
            "responseTooLarge" => Self::TooLarge,
            "quotaExceeded" | "dailyLimitExceeded" | "billingTierLimitExceeded" => Self::Quota,
            "stopped" if message.contains("timed out") => Self::OutOfTime,
            "stopped" => Self::Stopped,
            "timeout" => Self::TimedOut,
            "rateLimitExceeded"
            | "userRateLimitExceeded"
            | "backendError"
            | "internalError"
            | "jobBackendError"
            | "jobInternalError"
            | "jobRateLimitExceeded"
            | "resourceInUse"
            | "tableUnavailable" => Self::Busy,
            "authError" => Self::Unauthenticated,
            _ => return None,
        })
    }

    /// From the details of an error: <https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto>
    fn of_detail(detail: &Reason) -> Option<Self> {
        let limit = detail.metadata.get("quota_limit").and_then(serde_json::Value::as_str).unwrap_or_default();
        Some(match detail.reason.as_str() {
            "SECURITY_POLICY_VIOLATED" => Self::Perimeter,
            "SERVICE_DISABLED" => Self::Disabled,
            "BILLING_DISABLED" => Self::Unbilled,
            "RESOURCE_QUOTA_EXCEEDED" => Self::Quota,
            // A limit a minute passes within a run, one a day does not.
            "RATE_LIMIT_EXCEEDED" if limit.contains("PerDay") => Self::Quota,
            "RATE_LIMIT_EXCEEDED" => Self::Busy,
            _ => return None,
        })
    }

    /// From the words, which all services share:
    /// <https://cloud.google.com/vpc-service-controls/docs/retrieve-troubleshoot-errors>
    pub fn of_words(message: &str) -> Option<Self> {
        let perimeter = message.contains("vpcServiceControlsUniqueIdentifier")
            || message.contains("VPC Service Controls: Request is prohibited")
            || message.contains("Request violates VPC Service Controls");
        perimeter.then_some(Self::Perimeter)
    }

    /// From the code of Google's newer APIs: <https://cloud.google.com/apis/design/errors#handling_errors>
    fn of_code(code: &str) -> Option<Self> {
        Some(match code {
            "UNAUTHENTICATED" => Self::Unauthenticated,
            "PERMISSION_DENIED" => Self::Denied,
            "NOT_FOUND" => Self::NotFound,
            "ALREADY_EXISTS" => Self::Duplicate,
            "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" | "UNIMPLEMENTED" => Self::Invalid,
            "DEADLINE_EXCEEDED" => Self::TimedOut,
            "CANCELLED" => Self::Stopped,
            "RESOURCE_EXHAUSTED" | "UNAVAILABLE" | "INTERNAL" | "ABORTED" | "UNKNOWN" => Self::Busy,
            _ => return None,
        })
    }

    fn of_status(status: u16) -> Self {
        match status {
            // Redirects are not followed; they lead to the page of a proxy or a login.
            300..=399 => Self::Page,
            401 => Self::Unauthenticated,
            403 => Self::Denied,
            404 => Self::NotFound,
            408 | 504 => Self::TimedOut,
            409 => Self::Duplicate,
            429 | 500.. => Self::Busy,
            _ => Self::Invalid,
        }
    }
}

/// The error body of all Google APIs.
#[derive(Deserialize)]
struct Answer {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    errors: Vec<Reason>,
    #[serde(default)]
    details: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    metadata: serde_json::Value,
}

impl Fault {
    /// A fault with our own message.
    pub fn new(kind: Kind, message: &str) -> Self {
        Self { kind, message: message.to_owned(), retry_after: None, repeated: false }
    }

    /// From an error response.
    pub(super) fn answered(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let Ok(Answer { error }) = serde_json::from_slice(body) else {
            return match is_page(body) {
                true => Self { retry_after, ..Self::page(status, body) },
                false => Self {
                    kind: Kind::of_status(status),
                    message: format!("answered {status}: {}", quoted(body)),
                    retry_after,
                    repeated: false,
                },
            };
        };
        let reason = error.errors.first().map(|error| error.reason.as_str()).unwrap_or_default();
        let kind = Kind::of_words(&error.message).or_else(|| error.details.iter().find_map(Kind::of_detail));
        let kind = kind.or_else(|| Kind::of_reason(reason, &error.message)).or_else(|| Kind::of_code(&error.status));
        let kind = kind.unwrap_or_else(|| Kind::of_status(status));
        Self { retry_after, ..Self::said(status, kind, &error.message, [reason, &error.status]) }
    }

    /// From the words of an error response; the first name that is not empty is the reason that is shown.
    pub fn said(status: u16, kind: Kind, message: &str, names: [&str; 2]) -> Self {
        let named = names.into_iter().find(|name| !name.is_empty()).unwrap_or("no reason");
        // Whatever the reason says, a 401 is about authentication.
        let kind = if status == 401 { Kind::Unauthenticated } else { kind };
        Self::new(kind, &format!("{} ({status} {named})", message.trim_end_matches('.')))
    }

    /// From an HTML page where JSON was expected.
    pub(super) fn page(status: u16, body: &[u8]) -> Self {
        let text = quoted(body);
        Self::new(Kind::Page, &format!("answered {status} with a page, as a proxy or a login does: {text}"))
    }

    /// From an answer that does not have the expected form.
    pub fn garbled(error: &serde_json::Error) -> Self {
        Self::new(Kind::Garbled, &format!("the answer cannot be read: {error}"))
    }

    /// From a failed connection: uses the innermost cause, which says most, and omits the address, which may contain a
    /// secret.
    pub fn unreachable(error: reqwest::Error) -> Self {
        let timed_out = error.is_timeout();
        let error = error.without_url();
        let mut said = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !said.contains(&text) {
                said += &format!(": {text}");
            }
            cause = inner.source();
        }
        Self::new(if timed_out { Kind::TimedOut } else { Kind::Unreachable }, &format!("not reached: {said}"))
    }
}

/// Whether a body is HTML.
pub(super) fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..4 * QUOTED).unwrap_or(body)).into_owned();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|character| !character.is_control()).take(QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_means_one_thing() {
        let bigquery =
            |reason: &str| format!(r#"{{"error":{{"code":1,"message":"M.","errors":[{{"reason":"{reason}"}}]}}}}"#);
        let newer = |status: &str| format!(r#"{{"error":{{"code":1,"message":"M","status":"{status}"}}}}"#);
        for (status, body, kind, message) in [
            (403, bigquery("accessDenied"), Kind::Denied, "M (403 accessDenied)"),
            (404, bigquery("notFound"), Kind::NotFound, "M (404 notFound)"),
            (400, bigquery("invalidQuery"), Kind::Invalid, "M (400 invalidQuery)"),
            (403, bigquery("quotaExceeded"), Kind::Quota, "M (403 quotaExceeded)"),
            (403, bigquery("rateLimitExceeded"), Kind::Busy, "M (403 rateLimitExceeded)"),
            (503, bigquery("backendError"), Kind::Busy, "M (503 backendError)"),
            (500, bigquery("internalError"), Kind::Busy, "M (500 internalError)"),
            (400, bigquery("bytesBilledLimitExceeded"), Kind::BytesBilled, "M (400 bytesBilledLimitExceeded)"),
            (403, bigquery("responseTooLarge"), Kind::TooLarge, "M (403 responseTooLarge)"),
            (200, bigquery("stopped"), Kind::Stopped, "M (200 stopped)"),
            (401, bigquery("authError"), Kind::Unauthenticated, "M (401 authError)"),
            (401, bigquery("accessDenied"), Kind::Unauthenticated, "M (401 accessDenied)"),
            (418, bigquery("unheardOf"), Kind::Invalid, "M (418 unheardOf)"),
            (403, newer("PERMISSION_DENIED"), Kind::Denied, "M (403 PERMISSION_DENIED)"),
            (429, newer("RESOURCE_EXHAUSTED"), Kind::Busy, "M (429 RESOURCE_EXHAUSTED)"),
            (504, newer("DEADLINE_EXCEEDED"), Kind::TimedOut, "M (504 DEADLINE_EXCEEDED)"),
            (
                502,
                "<html>Bad\n gateway".to_owned(),
                Kind::Page,
                "answered 502 with a page, as a proxy or a login does: <html>Bad gateway",
            ),
            (503, "busy\u{1b}[31m".to_owned(), Kind::Busy, "answered 503: busy[31m"),
            (400, String::new(), Kind::Invalid, "answered 400: "),
        ] {
            let fault = Fault::answered(status, body.as_bytes(), None);
            assert_eq!((fault.kind, fault.message.as_str()), (kind, message), "{status} {body}");
        }
    }

    /// The bodies as Google's documents and the clients' issues show them.
    #[test]
    fn a_refusal_that_is_not_about_roles_is_told_apart() {
        let detailed = |status: &str, message: &str, reason: &str, metadata: serde_json::Value| {
            serde_json::json!({ "error": { "code": 403, "message": message, "status": status, "details": [
                { "@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": [{ "type": "X" }] },
                { "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com",
                  "metadata": metadata },
            ] } })
        };
        let bigquery = |reason: &str, message: &str| {
            serde_json::json!({ "error": { "code": 403, "message": message,
                "errors": [{ "domain": "global", "reason": reason, "message": message }] } })
        };
        let prohibited = "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: eYhD";
        let limit = |limit: &str| serde_json::json!({ "quota_limit": limit, "service": "run.googleapis.com" });
        let none = || serde_json::json!({});
        let (denied, exhausted) = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED");
        for (status, body, kind) in [
            (403, bigquery("policyViolation", &format!("VPC Service Controls: {prohibited}.")), Kind::Perimeter),
            (403, detailed(denied, prohibited, "SECURITY_POLICY_VIOLATED", none()), Kind::Perimeter),
            (403, bigquery("policyViolation", "An organization policy forbids the location"), Kind::Denied),
            (403, detailed(denied, "API has not been used", "SERVICE_DISABLED", none()), Kind::Disabled),
            (403, bigquery("accessNotConfigured", "BigQuery API has not been used"), Kind::Disabled),
            (403, detailed(denied, "M", "BILLING_DISABLED", none()), Kind::Unbilled),
            (403, detailed(denied, "M", "IAM_PERMISSION_DENIED", none()), Kind::Denied),
            (403, bigquery("quotaExceeded", "Custom quota exceeded: QueryUsagePerDay"), Kind::Quota),
            (429, detailed(exhausted, "M", "RATE_LIMIT_EXCEEDED", limit("ReadPerMinutePerProjectRegion")), Kind::Busy),
            (429, detailed(exhausted, "M", "RATE_LIMIT_EXCEEDED", limit("ReadsPerDayPerProject")), Kind::Quota),
        ] {
            let fault = Fault::answered(status, body.to_string().as_bytes(), None);
            assert_eq!(fault.kind, kind, "{body}");
            let told = matches!(kind, Kind::Perimeter | Kind::Disabled | Kind::Unbilled | Kind::Quota);
            assert_eq!(kind.remedy().is_some(), told, "{body}");
        }
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        for kind in [Kind::TimedOut, Kind::Busy, Kind::Unreachable, Kind::Page, Kind::Garbled] {
            assert!(kind.passes(), "{kind:?}");
        }
        for kind in [Kind::Denied, Kind::NotFound, Kind::Invalid, Kind::Quota, Kind::BytesBilled, Kind::Stopped] {
            assert!(!kind.passes(), "{kind:?}");
        }
    }
}
