//! The SDK for check plugins. Only this crate sees the generated bindings: a plugin is its settings, its query and its
//! verdict.
//!
//! A canary, a check that is one query and its thresholds, implements [`Canary`]; anything else
//! implements [`Check`]. Both are made into a component by [`export!`].

mod alert;
#[doc(hidden)]
pub mod bindings;
mod calls;
mod canary;
mod change;
mod check;
mod evidence;
mod expectation;
mod metric;
mod number;
mod one_line;
mod query;
mod settings;
mod time;

pub use alert::{Alert, Section, Severity, Step, step};
pub use bindings::exports::pipeline::check::dates::Subject as Dates;
pub use bindings::exports::pipeline::check::plugin::{
    Failure, Gate, Metric, Need, Report, Request, Verdict, Violation,
};
pub use bindings::pipeline::check::deployments::Deployment;
pub use bindings::pipeline::check::git::{Commit, History};
pub use bindings::pipeline::check::types::{Error, Value};
pub use bindings::pipeline::check::warehouse::{Column, Scalar, Table};
pub use calls::{Repository, Since, lookup, tables};
pub use canary::{Canary, Service, Threshold, alert, bq_query, investigation, report};
pub use change::{Change, Compared, Past};
pub use check::{About, Check, Component, Package};
pub use evidence::{evidence, evidence_rows, evidence_total};
pub use expectation::{deadline, good_dates};
pub use metric::{judge, measured, sentence, shown};
pub use number::Number;
pub use one_line::{one_line, uses};
pub use query::{Query, Row, Rows, TableName, literal, only};
pub use time::{hours_between, utc};

/// Waits for several host calls, which run concurrently on the host.
pub use futures_util::future::{join, join_all, try_join, try_join_all, try_join3, try_join4};

#[doc(hidden)]
pub use {bindings::__export_check, schemars, serde, serde_json};

/// `Ok`, or why the check could not be evaluated.
pub type Result<T> = std::result::Result<T, Failure>;

impl Error {
    /// The message: what failed, where, and what to do.
    pub fn reason(&self) -> &str {
        let (Self::Invalid(reason)
        | Self::Denied(reason)
        | Self::OverBudget(reason)
        | Self::NotFound(reason)
        | Self::TimedOut(reason)
        | Self::Unavailable(reason)) = self;
        reason
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}
