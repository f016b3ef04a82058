//! The page, the JSON API and the metrics. Reading is open on this machine; other machines, and all actions, need a
//! token.

mod access;
mod api;
mod backtest;
mod badge;
mod board;
mod caller;
mod chart;
mod check;
mod date;
mod fleet;
mod forms;
mod gates;
mod incidents;
mod layout;
mod mark;
mod orders;
mod overview;
mod patient;
mod render;
mod report;
mod runs;
mod seats;
mod server;
mod slack;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, delete, get, post},
};
use tokio::net::TcpListener;

use crate::{host::Host, service::Service};
use access::Access;
pub use backtest::{Tried, backtest};
use render::{Turn, Turns};
pub use report::report_file;
pub use server::Server;

/// The state behind every request.
#[derive(Clone)]
struct Site(Arc<Inner>);

struct Inner {
    service: Arc<Service>,
    access: Access,
    turns: Turns,
}

impl Site {
    fn service(&self) -> &Service {
        &self.0.service
    }

    fn host(&self) -> Arc<Host> {
        self.0.service.host()
    }

    /// Waits for a turn to read and render.
    async fn turn(&self) -> Result<Turn, api::Refused> {
        self.0.turns.wait().await
    }
}

/// An address that the host listens on, without answering yet.
pub struct Listening {
    listener: TcpListener,
    site: Site,
}

/// Listens on the address in `[web]`; `None` if there is none.
pub async fn listen(service: &Arc<Service>) -> Result<Option<Listening>> {
    let host = service.host();
    let web = &host.config.web;
    let Some(listen) = web.listen else { return Ok(None) };
    let token = web.reachable_token(&host.config.directory)?;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!(
            "web.listen: cannot listen on {listen}; another program may use it already, or the port needs more rights"
        )
    })?;
    let address: SocketAddr = listener.local_addr()?;
    let access = Access::new(token, web.is_loopback(), web.hosts.clone());
    let site = Site(Arc::new(Inner { service: service.clone(), access, turns: Turns::default() }));
    tracing::info!("the page is at http://{address}/");
    Ok(Some(Listening { listener, site }))
}

impl Listening {
    /// Answers requests until shutdown.
    pub fn serve(self) -> Server {
        let closing = self.site.service().closing();
        Server::start(self.listener, router(self.site), closing)
    }
}

fn router(site: Site) -> Router {
    let prefix = site.host().config.web.prefix();
    let guarded = Router::new().route("/", get(board::page));
    let guarded = match prefix.as_str() {
        "" => guarded,
        prefix => guarded.route(&format!("{prefix}/"), get(board::page)),
    };
    let guarded = guarded
        .route("/checks", get(overview::page))
        .route("/checks/{name}", get(check::page))
        .route("/checks/{name}/dates/{date}", get(date::page))
        .route("/checks/{name}/dates/{date}/{order}", post(orders::posted))
        .route("/checks/{name}/silences", post(forms::silence))
        .route("/silences/{id}/end", post(forms::end_silence))
        .route("/alerts/{id}/label", post(forms::label))
        .route("/gates", get(gates::page))
        .route("/fleet", get(fleet::page))
        .route("/report", get(report::page))
        .route("/metrics", get(api::metrics))
        .route("/api/v1/checks", get(api::checks))
        .route("/api/v1/checks/{name}", get(api::check))
        .route("/api/v1/checks/{name}/badge.svg", get(badge::badge))
        .route("/api/v1/checks/{name}/dates/{date}/{order}", post(orders::api))
        .route("/api/v1/dates", get(api::dates))
        .route("/api/v1/runs", get(api::runs))
        .route("/api/v1/alerts", get(api::alerts))
        .route("/api/v1/messages", get(api::messages))
        .route("/api/v1/consultations", get(api::consultations))
        .route("/api/v1/gates/{name}", post(api::consult))
        .route("/api/v1/hosts", get(api::hosts))
        .route("/api/v1/silences", get(api::silences).post(api::silence))
        .route("/api/v1/silences/{id}", delete(api::end_silence))
        .route("/api/v1/reload", post(api::reload))
        .route("/api/v1/openapi.json", get(api::openapi))
        .fallback(missing)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn(api::bounded))
        .layer(middleware::from_fn_with_state(site.clone(), access::guard));
    // Requests by load balancers and browsers reveal nothing about the pipeline.
    let open = Router::new()
        .route("/slack/actions", any(slack::actions))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon));
    let pages = open.merge(guarded);
    // A proxy may keep the path of `web.url`, or take it off.
    let pages = match prefix.as_str() {
        "" => pages,
        prefix => pages.clone().nest(prefix, pages),
    };
    // The last layer sees a request first.
    pages
        .layer(middleware::from_fn(seats::seated))
        .layer(middleware::from_fn_with_state(site.clone(), counted))
        .layer(middleware::from_fn(access::secured))
        .with_state(site)
}

async fn ready(site: axum::extract::State<Site>) -> Response {
    match not_ready(&site).await {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// Why this host does not do what is due.
async fn not_ready(site: &Site) -> Option<&'static str> {
    let (service, host) = (site.service(), site.host());
    let recorder = &host.recorder;
    if !recorder.record.takes_part() {
        Some("takes no part: another configuration holds; `host fleet` lists them")
    } else if !service.keeps_up() {
        Some("the record does not answer, or cannot be written; the log says why")
    } else if !recorder.writes() {
        Some("results cannot be recorded; the log says why")
    } else if !service.is_alive() {
        Some("the scheduler loop is stuck")
    } else {
        recorder.record.receivers_waiting().await.err().map(|_| "the record cannot be read")
    }
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], layout::STYLE)
}

async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], include_str!("icon.svg"))
}

async fn missing(site: axum::extract::State<Site>, request: Request) -> Response {
    let path = request.uri().path();
    match path.starts_with("/api/") {
        true => {
            api::refused(StatusCode::NOT_FOUND, format!("there is no {path}; /api/v1/openapi.json lists the paths"))
                .into_response()
        }
        false => layout::problem(&site, StatusCode::NOT_FOUND, "Page not found.").await,
    }
}

async fn not_allowed(request: Request) -> Response {
    let what = format!("{} does not accept {}", request.uri().path(), request.method());
    api::refused(StatusCode::METHOD_NOT_ALLOWED, what).into_response()
}

/// Counts requests by the route that answered.
async fn counted(site: axum::extract::State<Site>, request: Request, next: Next) -> Response {
    let began = std::time::Instant::now();
    let route = request.extensions().get::<axum::extract::MatchedPath>().map(|path| path.as_str().to_owned());
    let answer = next.run(request).await;
    let route = route.as_deref().unwrap_or("other");
    site.host().recorder.metrics.answered(route, answer.status().as_u16(), began.elapsed());
    answer
}
