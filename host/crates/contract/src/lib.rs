//! The contract's types as the host sees them, generated from `wit/v0.1`. A separate crate, so that the generated code
//! is compiled once and has its own lint settings.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::restriction)]

wasmtime::component::bindgen!({
    path: "../../../wit/v0.1",
    world: "check",
    imports: { "pipeline:check/expectation.deadline": trappable },
    exports: { default: async },
    additional_derives: [serde::Serialize, serde::Deserialize, PartialEq],
});

pub use exports::pipeline::check::plugin::{
    Descriptor, Failure, Gate, Metric, Need, Report, Request, Schedule, Verdict, Violation,
};
pub use pipeline::check::{deployments, evidence, expectation, git, slack, types, warehouse};
pub use types::{Error, Value};

/// The interface `dates`, which a plugin need not export.
pub const DATES: &str = "pipeline:check/dates@0.1.2";

/// The `subject` of the interface `dates`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    wasmtime::component::ComponentType,
    wasmtime::component::Lift,
    wasmtime::component::Lower,
)]
#[component(enum)]
#[repr(u8)]
pub enum Subject {
    /// The data of one date.
    #[component(name = "dated")]
    Dated,
    /// The present state.
    #[component(name = "now")]
    Now,
}

impl Error {
    /// The message: what failed, where, and what to do.
    pub fn message(&self) -> &str {
        let (Self::Invalid(message)
        | Self::Denied(message)
        | Self::OverBudget(message)
        | Self::NotFound(message)
        | Self::TimedOut(message)
        | Self::Unavailable(message)) = self;
        message
    }

    /// The same kind of error with another message.
    #[must_use]
    pub fn reworded(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Invalid(message) => Self::Invalid(change(message)),
            Self::Denied(message) => Self::Denied(change(message)),
            Self::OverBudget(message) => Self::OverBudget(change(message)),
            Self::NotFound(message) => Self::NotFound(change(message)),
            Self::TimedOut(message) => Self::TimedOut(change(message)),
            Self::Unavailable(message) => Self::Unavailable(change(message)),
        }
    }
}

impl Metric {
    /// Whether a limit is broken; a missing value breaks every limit.
    pub fn is_broken(&self) -> bool {
        match self.value {
            None => [self.min, self.max, self.below].iter().any(Option::is_some),
            Some(value) => {
                self.min.is_some_and(|min| value < min)
                    || self.max.is_some_and(|max| value > max)
                    || self.below.is_some_and(|below| value >= below)
            }
        }
    }
}
