//! The routes: pages, their three files, and the stream that says when something has changed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use futures_util::stream;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::guard::{Guard, guarded};
use super::memory::{Refresh, Search};
use super::pages::{self, Tab};
use super::{Settings, Shared};
use crate::http_server::{self, PerAddress};

/// The most pages that are kept up to date at once.
const STREAMS_MAX: usize = 64;

/// How often a page changes at most, and at least: ages grow also when nothing comes.
const STREAM_INTERVAL: Duration = Duration::from_secs(1);
const STREAM_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// How many refreshes a page lists.
const LISTED_MAX: usize = 50;

/// The longest text that is searched for, in characters.
const SEARCH_MAX: usize = 200;

/// What the routes share.
#[derive(Debug)]
struct Site {
    shared: Arc<Shared>,
    settings: Settings,
    streams: Arc<Semaphore>,
}

pub(super) async fn serve(listener: TcpListener, settings: Settings, shared: Arc<Shared>) -> Infallible {
    let proxies = settings.trusted_proxies.clone().unwrap_or_default();
    http_server::serve(listener, router(settings, shared), PerAddress::AllBut(proxies)).await
}

fn router(settings: Settings, shared: Arc<Shared>) -> Router {
    let guard = Arc::new(Guard::new(settings.clone()));
    let site = Site {
        shared,
        settings,
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
    };
    Router::new()
        .route("/", get(overview))
        .route("/workers", get(workers))
        .route("/refreshes", get(refreshes))
        .route("/refreshes/{command_id}", get(timeline))
        .route("/live", get(live))
        .route("/assets/{name}", get(asset))
        .fallback(not_found)
        .layer(from_fn_with_state(guard, guarded))
        .with_state(Arc::new(site))
}

async fn overview(State(site): State<Arc<Site>>) -> Html<String> {
    let memory = site.shared.memory();
    let now = Timestamp::now();
    page(Tab::Overview, &pages::overview(&memory, now), &memory, now)
}

async fn workers(State(site): State<Arc<Site>>) -> Html<String> {
    let memory = site.shared.memory();
    let now = Timestamp::now();
    page(Tab::Workers, &pages::workers(&memory.workers, now), &memory, now)
}

fn page(tab: Tab, content: &maud::Markup, memory: &super::memory::Memory, now: Timestamp) -> Html<String> {
    Html(pages::page(tab, content, &memory.feed, now).into_string())
}

/// What is asked of the list of refreshes.
#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    outcome: String,
    before: Option<u64>,
}

async fn refreshes(State(site): State<Arc<Site>>, Query(asked): Query<Asked>) -> Html<String> {
    let search = Search {
        text: asked.q.trim().to_lowercase().chars().take(SEARCH_MAX).collect(),
        outcome: asked.outcome.parse().unwrap_or_default(),
    };
    let memory = site.shared.memory();
    let now = Timestamp::now();
    let before = asked.before.unwrap_or(u64::MAX);
    let found: Vec<(u64, &Refresh)> = memory.refreshes.find(&search, before).take(LISTED_MAX + 1).collect();
    let list = pages::List {
        found: &found[..found.len().min(LISTED_MAX)],
        more: found.len() > LISTED_MAX,
        is_first: asked.before.is_none(),
        known: memory.refreshes.count(),
        since: memory.started_at,
    };
    page(Tab::Refreshes, &pages::refreshes(&list, &search, now), &memory, now)
}

async fn timeline(State(site): State<Arc<Site>>, Path(command_id): Path<String>) -> Response {
    let id = Uuid::parse_str(&command_id).unwrap_or_default();
    let memory = site.shared.memory();
    let now = Timestamp::now();
    let found: Vec<&Refresh> = memory.refreshes.of_command(id).collect();
    let content = match found[..] {
        [] => pages::no_refresh(),
        _ => pages::timeline(&found, site.settings.trace_url.as_deref(), now),
    };
    let status = if found.is_empty() {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    (status, page(Tab::Refreshes, &content, &memory, now)).into_response()
}

async fn not_found(State(site): State<Arc<Site>>) -> Response {
    let memory = site.shared.memory();
    let now = Timestamp::now();
    (StatusCode::NOT_FOUND, page(Tab::None, &pages::no_page(), &memory, now)).into_response()
}

async fn asset(Path(name): Path<String>) -> Response {
    let (kind, text) = match name.as_str() {
        "console.css" => ("text/css; charset=utf-8", include_str!("assets/console.css")),
        "console.js" => ("text/javascript; charset=utf-8", include_str!("assets/console.js")),
        "icon.svg" => ("image/svg+xml", include_str!("assets/icon.svg")),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(CONTENT_TYPE, kind)], text).into_response()
}

/// Says when the page that shows now is out of date; the page itself is fetched again.
async fn live(State(site): State<Arc<Site>>) -> Response {
    let Ok(permit) = Arc::clone(&site.streams).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "Too many pages are open.\n").into_response();
    };
    let stream = Stream {
        changed: site.shared.changed.subscribe(),
        _permit: permit,
    };
    Sse::new(stream::unfold(stream, Stream::next)).into_response()
}

struct Stream {
    changed: watch::Receiver<u64>,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        sleep(STREAM_INTERVAL).await;
        let changed = timeout(STREAM_INTERVAL_MAX - STREAM_INTERVAL, self.changed.changed()).await;
        // Its time is up, or it has changed; else nothing will any more.
        if let Ok(Err(_)) = changed {
            return None;
        }
        let version = *self.changed.borrow_and_update();
        Some((Ok(Event::default().event("changed").data(version.to_string())), self))
    }
}
