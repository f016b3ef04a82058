//! The server: a limited number of connections, each with time limits for its headers and in all, so that slow and
//! half-open clients do not block others.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// Concurrent connections; further ones wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long a request's headers may take, and how long a connection may idle.
const HEADERS: Duration = Duration::from_secs(10);
/// The largest request line with headers, in bytes.
const HEADER_BYTES: usize = 16 << 10;
/// The maximum number of headers of a request.
const HEADER_COUNT: usize = 64;
/// How long a connection may last. A gate can take minutes to evaluate.
const CONNECTION: Duration = Duration::from_secs(15 * 60);
/// The final wait for connections at shutdown, after the grace time.
const FINISH: Duration = Duration::from_secs(1);
/// The wait when no connection can be accepted, for lack of file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// A server that listens.
pub struct Server {
    accepting: JoinHandle<()>,
}

impl Server {
    /// Answers requests until shutdown.
    pub(super) fn start(listener: TcpListener, router: Router, closing: watch::Receiver<bool>) -> Self {
        Self { accepting: tokio::spawn(accept(listener, router, closing)) }
    }

    /// Waits for the running requests.
    pub async fn finish(self) {
        let abort = self.accepting.abort_handle();
        if tokio::time::timeout(FINISH, self.accepting).await.is_err() {
            abort.abort();
        }
    }
}

async fn accept(listener: TcpListener, router: Router, closing: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut gone = std::pin::pin!(asked_to_go(closing.clone()));
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, router.clone(), closing.clone()))),
                Err(_) => tokio::time::sleep(EXHAUSTED).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut gone => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn asked_to_go(mut closing: watch::Receiver<bool>) {
    // The sender only goes away with the host.
    drop(closing.wait_for(|closing| *closing).await);
}

async fn serve(stream: TcpStream, router: Router, closing: watch::Receiver<bool>) {
    // Answers are small, and a client waits for each.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_COUNT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let served = async {
        tokio::select! {
            _ = connection.as_mut() => {}
            // Requests in progress are completed.
            () = asked_to_go(closing) => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.as_mut().await;
            }
        }
    };
    let _ = tokio::time::timeout(CONNECTION, served).await;
}
