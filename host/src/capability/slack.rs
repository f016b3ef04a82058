//! `slack`: alerts are taken here and kept until the round is over; delivery is `alert`'s.

use wasmtime::component::{Accessor, HasSelf};

use super::grant::Wish;
use crate::{
    contract::{
        Error,
        slack::{Alert, Host, HostWithStore, Receipt},
    },
    sandbox::RunState,
};

impl Host for RunState {}

impl HostWithStore<RunState> for HasSelf<RunState> {
    async fn post(accessor: &Accessor<RunState, Self>, alert: Alert) -> Result<Receipt, Error> {
        let session = accessor.with(|mut access| access.get().session());
        let asked = format!("{}: {}", alert.channel, alert.title);
        let answer = async {
            session.allow("post", Wish::Channel(&alert.channel))?;
            Ok(Receipt::Accepted(session.alert(alert)?.to_string()))
        };
        session.call("slack.post", asked, answer).await
    }
}
