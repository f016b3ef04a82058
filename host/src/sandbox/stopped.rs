//! Why a run gave no report.

use crate::{
    config::{Budgets, raise},
    contract::Failure,
};

/// Why a run gave no report.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Stopped {
    /// A budget is used up: its key, and what was too much.
    #[error("{what}")]
    Budget {
        /// As host.toml writes it.
        budget: &'static str,
        /// With the limit.
        what: String,
    },
    /// The guest gave up: a panic, an unreachable, a call that the contract forbids.
    #[error("trapped: {0}")]
    Trap(String),
    /// There is no room for such a plugin.
    #[error("does not fit into the sandbox: {0}")]
    Misfit(String),
    /// The guest said so itself.
    #[error("{}", said(.0))]
    Failure(Failure),
}

impl Stopped {
    /// For a budget of a guest's own: time, memory, tables, stack, output.
    pub(super) fn budget(budget: &'static str, budgets: &Budgets) -> Self {
        let what = match budget {
            "timeout" => format!("timed out after {}", budgets.timeout),
            "cpu" => format!("computed for more than {}", budgets.cpu),
            "memory" => format!("needs more memory than {}", budgets.memory),
            "table_elements" => format!("needs a table of more than {} elements", budgets.table_elements),
            "stack" => format!("needs more stack than {}", budgets.stack),
            "log_bytes" => format!("writes more to its output than {}", budgets.log_bytes),
            _ => format!("hands over more than {} at once", budgets.transfer_bytes),
        };
        Self::Budget { budget, what }
    }

    /// The budget that was used up, when one was.
    pub fn exceeded(&self) -> Option<&'static str> {
        match self {
            Self::Budget { budget, .. } => Some(budget),
            Self::Trap(_) | Self::Misfit(_) | Self::Failure(_) => None,
        }
    }

    /// With the key of host.toml that would have allowed more.
    pub fn explained(&self, plugin: &str) -> String {
        match self {
            Self::Budget { budget, .. } => format!("{self}; {}", raise(plugin, budget)),
            Self::Trap(_) | Self::Misfit(_) | Self::Failure(_) => self.to_string(),
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
