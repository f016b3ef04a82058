//! `slack`: accepts alerts and keeps them until the round is over; `alert` delivers them.

use wasmtime::component::Accessor;

use super::{Imports, Reach, reach};
use crate::{
    capability::grant::Wish,
    contract::{
        Error,
        slack::{Alert, Host, HostWithStore, Receipt},
    },
};

impl Host for Reach {}

impl<T: Send> HostWithStore<T> for Imports {
    async fn post(accessor: &Accessor<T, Self>, alert: Alert) -> Result<Receipt, Error> {
        let (calls, _) = reach(accessor)?;
        let asked = format!("{}: {}", alert.channel, alert.title);
        let answer = async {
            calls.allow("post", Wish::Channel(&alert.channel))?;
            Ok(Receipt::Accepted(calls.alert(alert)?.to_string()))
        };
        calls.call("slack.post", asked, answer).await
    }
}
