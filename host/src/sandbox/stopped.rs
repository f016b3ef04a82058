//! Why a run gave no report.

use crate::{
    config::{Budgets, raise},
    contract::Failure,
};

/// Why a run gave no report.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Stopped {
    /// A budget was exceeded: its key, and the amount.
    #[error("{what}")]
    Budget {
        /// The key in host.toml.
        budget: &'static str,
        /// The amount, with the limit.
        what: String,
    },
    /// The guest trapped: a panic, an unreachable, a call that violates the contract.
    #[error("trapped: {0}")]
    Trap(String),
    /// The plugin does not fit into the sandbox.
    #[error("does not fit into the sandbox: {0}")]
    Misfit(String),
    /// It is replayed, and waits for what the recorded run did not get.
    #[error("waits for an answer or a timer that the recorded run did not get")]
    Parted,
    /// The guest returned an error.
    #[error("{}", said(.0))]
    Failure(Failure),
}

impl Stopped {
    /// For a budget of the guest itself: time, memory, tables, stack, output.
    pub(super) fn budget(budget: &'static str, budgets: &Budgets) -> Self {
        let what = match budget {
            "timeout" => format!("timed out after {}", budgets.timeout),
            "cpu" => format!("computed for more than {}", budgets.cpu),
            "memory" => format!("needs more memory than {}", budgets.memory),
            "table_elements" => format!("needs a table of more than {} elements", budgets.table_elements),
            "stack" => format!("needs more stack than {}", budgets.stack),
            "log_bytes" => format!("writes more to its output than {}", budgets.log_bytes),
            _ => format!("passes more than {} to the host in one call", budgets.transfer_bytes),
        };
        Self::Budget { budget, what }
    }

    /// The budget that was exceeded, if any.
    pub fn exceeded(&self) -> Option<&'static str> {
        match self {
            Self::Budget { budget, .. } => Some(budget),
            Self::Trap(_) | Self::Misfit(_) | Self::Parted | Self::Failure(_) => None,
        }
    }

    /// The message, with the keys of host.toml that raise the budget.
    pub fn explained(&self, plugin: &str) -> String {
        match self {
            Self::Budget { budget, .. } => format!("{self}; {}", raise(plugin, budget)),
            Self::Trap(_) | Self::Misfit(_) | Self::Parted | Self::Failure(_) => self.to_string(),
        }
    }
}

fn said(failure: &Failure) -> String {
    match failure {
        Failure::Settings(message) => format!("settings: {message}"),
        Failure::Call(error) => error.message().to_owned(),
        Failure::Other(message) => message.clone(),
    }
}
