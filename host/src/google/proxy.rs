//! The connections on which tokens are fetched: TLS with the system's certificates, and the proxy of `HTTPS_PROXY`, as
//! all other requests of the host have. The library's own connector knows no proxy.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use gcp_bigquery_client::yup_oauth2::{
    CustomHyperClientBuilder,
    hyper_rustls::{HttpsConnector, HttpsConnectorBuilder},
};
use hyper::Uri;
use hyper_util::{
    client::{
        legacy::{
            Client,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpStream;
use tower_service::Service;

/// What tokens are fetched with.
pub(super) type Connector = HttpsConnector<Via>;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, Failure>> + Send>>;

/// Connects directly, or through a proxy.
#[derive(Clone)]
pub(super) struct Via {
    direct: HttpConnector,
    proxies: Arc<Matcher>,
}

/// A client for tokens. Reads the system's certificates.
pub(super) fn client() -> std::io::Result<CustomHyperClientBuilder<Connector>> {
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    let via = Via { direct, proxies: Arc::new(Matcher::from_env()) };
    let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1();
    // A token lasts an hour, so that no connection is worth keeping.
    let mut client = Client::builder(TokioExecutor::new());
    Ok(client.pool_max_idle_per_host(0).build::<_, String>(connector.wrap_connector(via)).into())
}

impl Service<Uri> for Via {
    type Response = TokioIo<TcpStream>;
    type Error = Failure;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Connecting {
        // Only the metadata server is asked without TLS, and it is never behind a proxy.
        let proxy = self.proxies.intercept(&to).filter(|_| to.scheme_str() == Some("https"));
        let mut direct = self.direct.clone();
        match proxy {
            None => Box::pin(async move { Ok(direct.call(to).await?) }),
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), direct);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Box::pin(async move { Ok(tunnel.call(to).await?) })
            }
        }
    }
}
