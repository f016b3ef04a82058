//! The server: a limited number of connections, each for one request, with time limits for its headers, for reading the
//! answer and in all, so that slow, half-open and silent clients do not block others.

use std::time::Duration;

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    patient::{Limits, Patient},
    seats::{Place, Seats},
};

/// How long a request's headers may take.
const HEADERS: Duration = Duration::from_secs(10);
/// The largest request line with headers, in bytes.
const HEADER_BYTES: usize = 16 << 10;
/// The maximum number of headers of a request.
const HEADER_COUNT: usize = 64;
/// How long a client may read nothing of its answer, and how long it may take for all of it: at most 8 MiB.
const READING: Limits = Limits { stalled: Duration::from_secs(10), slow: Duration::from_secs(60) };
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
    let seats = Seats::default();
    let mut gone = std::pin::pin!(asked_to_go(closing.clone()));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                // Without a place it is closed at once.
                Ok((stream, client)) => {
                    let Some(place) = seats.take(client.ip()) else { continue };
                    let number = place.number();
                    let task = connections.spawn(serve(stream, place, router.clone(), closing.clone()));
                    Place::held_by(number, &seats, task);
                    // Its request can be read before others come: a crowd would take its place as one that sends nothing.
                    tokio::task::yield_now().await;
                }
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

async fn serve(stream: TcpStream, place: Place, router: Router, closing: watch::Receiver<bool>) {
    // Answers are small, and a client waits for each.
    let _ = stream.set_nodelay(true);
    let routed = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(place.clone());
        routed.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_COUNT)
        // One request: what a client sends behind it is not read, so that nothing piles up.
        .keep_alive(false)
        .serve_connection(TokioIo::new(Patient::new(stream, READING)), service);
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
