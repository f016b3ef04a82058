//! `expectation`: what is expected of the run's data date. It takes no grant, since it is about the check itself.

use wasmtime::component::Accessor;

use super::{Imports, Reach, reach};
use crate::{
    capability::tape::Question,
    contract::{
        Error,
        expectation::{Host, HostWithStore},
    },
};

impl Host for Reach {
    fn deadline(&mut self) -> wasmtime::Result<i64> {
        match self.own() {
            Ok((calls, _)) => Ok(calls.caller.deadline.as_second()),
            Err(error) => Err(wasmtime::Error::msg(error.message().to_owned())),
        }
    }
}

impl<T: Send> HostWithStore<T> for Imports {
    async fn good_dates(accessor: &Accessor<T, Self>, limit: u32) -> Result<Vec<String>, Error> {
        let (calls, backends) = reach(accessor)?;
        // The future of a database is large, and a guest's stack is small.
        let answer = Box::pin(backends.good_dates.before(&calls, limit));
        let question = Question::words(limit.to_string(), "record");
        calls.ask("expectation.good-dates", limit.to_string(), question, Ok(()), answer).await
    }
}
