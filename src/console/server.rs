//! The routes: pages, their three files, and the stream that says when something has changed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Form, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::get;
use futures_util::stream;
use jiff::Timestamp;
use prometheus::Registry;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::guard::{Guard, Visitor, guarded};
use super::letters::{Action, Letters};
use super::memory::{Refresh, Search};
use super::pages::{self, Tab};
use super::pauses::{Failed, OrderForm};
use super::{Actions, Settings, Shared};
use crate::http_server::{self, PerAddress};
use crate::telemetry::metrics;

/// The most pages that are kept up to date at once.
const STREAMS_MAX: usize = 64;

/// How often a page changes at most, and at least: ages grow also when nothing comes.
const STREAM_INTERVAL: Duration = Duration::from_secs(1);
const STREAM_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// How many refreshes a page lists.
const LISTED_MAX: usize = 50;

/// The most bytes of a form.
const FORM_BYTES_MAX: usize = 4096;

/// The longest text that is searched for, in characters.
const SEARCH_MAX: usize = 200;

/// What the routes share.
#[derive(Debug)]
pub(super) struct Site {
    shared: Arc<Shared>,
    settings: Settings,
    streams: Arc<Semaphore>,
    guard: Arc<Guard>,
    /// None where actions are off or there is no RabbitMQ.
    actions: Option<Actions>,
    registry: Option<Registry>,
}

impl Site {
    pub(super) fn new(
        settings: Settings,
        shared: Arc<Shared>,
        actions: Option<Actions>,
        registry: Option<Registry>,
    ) -> Self {
        Self {
            shared,
            guard: Arc::new(Guard::new(settings.clone())),
            settings,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            actions,
            registry,
        }
    }
}

pub(super) async fn serve(listener: TcpListener, site: Site) -> Infallible {
    let proxies = site.settings.trusted_proxies.clone().unwrap_or_default();
    let router = Router::new()
        .route("/", get(overview))
        .route("/workers", get(workers))
        .route("/refreshes", get(refreshes))
        .route("/refreshes/{command_id}", get(timeline))
        .route("/pauses", get(list_pauses).post(order))
        .route("/dead-letters", get(list_letters).post(act_on_letter))
        .route("/dead-letter", get(show_letter))
        .route("/live", get(live))
        .route("/metrics", get(show_metrics))
        .route("/assets/{name}", get(asset))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&site.guard), guarded))
        .with_state(Arc::new(site));
    http_server::serve(listener, router, PerAddress::AllBut(proxies)).await
}

async fn overview(State(site): State<Arc<Site>>) -> Html<String> {
    let memory = site.shared.memory();
    let now = Timestamp::now();
    page(Tab::Overview, &pages::overview(&memory, now), &memory, now)
}

async fn workers(State(site): State<Arc<Site>>) -> Html<String> {
    let memory = site.shared.memory();
    let now = Timestamp::now();
    page(Tab::Workers, &pages::workers(&memory, now), &memory, now)
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

/// The number of the action that brought the visitor here.
#[derive(Debug, Deserialize)]
struct Brought {
    #[serde(default)]
    acted: String,
}

async fn list_letters(State(site): State<Arc<Site>>, Query(by): Query<Brought>) -> Html<String> {
    let actions = site.actions.as_ref().zip(Uuid::parse_str(&by.acted).ok());
    let acted = actions.and_then(|(actions, number)| actions.letters.acted(number));
    let list = site.read_letters(Letters::list).await;
    site.letters_page(|now| pages::letters(&list, acted.as_ref(), now))
}

/// Which dead letter. Not in the path: an id may be `..`.
#[derive(Debug, Deserialize)]
struct OfLetter {
    #[serde(default)]
    id: String,
}

async fn show_letter(State(site): State<Arc<Site>>, Query(of): Query<OfLetter>) -> Response {
    let letter = site.read_letters(|letters| letters.show(of.id)).await;
    let status = match letter {
        pages::Letters::Read(None, _) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    (status, site.letters_page(|now| pages::letter(&letter, now))).into_response()
}

/// A form of ours.
#[derive(Debug, Deserialize)]
struct Act {
    token: String,
    id: String,
    action: String,
}

async fn act_on_letter(State(site): State<Arc<Site>>, Form(form): Form<Act>) -> Response {
    let (Some(actions), Some(action)) = (&site.actions, action(&form.action)) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    if !site.guard.is_own_form(&form.token) {
        return foreign_form();
    }
    let number = Arc::clone(&actions.letters).act(form.id, action).await;
    Redirect::to(&format!("/dead-letters?acted={number}")).into_response()
}

fn foreign_form() -> Response {
    (
        StatusCode::FORBIDDEN,
        "The form is not of this console, or of an earlier run. Load the page again.\n",
    )
        .into_response()
}

fn action(name: &str) -> Option<Action> {
    match name {
        "replay" => Some(Action::Replay),
        "discard" => Some(Action::Discard),
        _ => None,
    }
}

impl Site {
    async fn read_letters<T, F>(&self, read: impl FnOnce(Arc<Letters>) -> F) -> pages::Letters<T>
    where
        F: Future<Output = Result<T, String>>,
    {
        match &self.actions {
            None if self.settings.actions => {
                pages::Letters::Off("There is no RabbitMQ, and so no dead letters to go through.")
            }
            None => pages::Letters::Off(
                "Actions are off. Set console.actions to list, show, replay and discard dead letters here, or use `bankrefresh dead-letters`.",
            ),
            Some(actions) => match read(Arc::clone(&actions.letters)).await {
                Ok(read) => pages::Letters::Read(read, self.guard.form_token().to_owned()),
                Err(why) => pages::Letters::Failed(why),
            },
        }
    }

    fn letters_page(&self, content: impl FnOnce(Timestamp) -> maud::Markup) -> Html<String> {
        let memory = self.shared.memory();
        let now = Timestamp::now();
        page(Tab::DeadLetters, &content(now), &memory, now)
    }
}

async fn list_pauses(State(site): State<Arc<Site>>) -> Html<String> {
    site.pauses_page(None)
}

async fn order(
    State(site): State<Arc<Site>>,
    Extension(Visitor(by)): Extension<Visitor>,
    Form(asked): Form<OrderForm>,
) -> Response {
    let Some(actions) = &site.actions else {
        return StatusCode::FORBIDDEN.into_response();
    };
    if !site.guard.is_own_form(&asked.token) {
        return foreign_form();
    }
    let given = match actions.pauses.check(asked, by, Timestamp::now()) {
        Ok(checked) => {
            let order = checked.order.clone();
            actions.pauses.give(checked).await.map(|()| order)
        }
        Err(failed) => Err(failed),
    };
    match given {
        Ok(order) => {
            site.shared.until_shown(&order).await;
            Redirect::to("/pauses").into_response()
        }
        Err(failed) => {
            let status = match failed {
                Failed::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
                Failed::MayBeGiven(_) => StatusCode::BAD_GATEWAY,
            };
            (status, site.pauses_page(Some(&failed))).into_response()
        }
    }
}

impl Site {
    fn pauses_page(&self, failed: Option<&Failed>) -> Html<String> {
        let allowed = match &self.actions {
            Some(_) => pages::Allowed::Yes(self.guard.form_token()),
            None if self.settings.actions => {
                pages::Allowed::No("There is no RabbitMQ, and so nothing that could be paused from here.")
            }
            None => pages::Allowed::No(
                "Actions are off. Set console.actions to pause and resume here, or use `bankrefresh pause` and `bankrefresh resume`.",
            ),
        };
        let memory = self.shared.memory();
        let now = Timestamp::now();
        page(
            Tab::Pauses,
            &pages::pauses(&memory.orders, &allowed, failed, now),
            &memory,
            now,
        )
    }
}

async fn not_found(State(site): State<Arc<Site>>) -> Response {
    let memory = site.shared.memory();
    let now = Timestamp::now();
    (StatusCode::NOT_FOUND, page(Tab::None, &pages::no_page(), &memory, now)).into_response()
}

async fn show_metrics(State(site): State<Arc<Site>>) -> Result<String, StatusCode> {
    let registry = site.registry.as_ref().ok_or(StatusCode::NOT_FOUND)?;
    let (refreshes, workers) = {
        let memory = site.shared.memory();
        (memory.refreshes.count(), memory.workers.all().count())
    };
    site.shared.metrics.remembers(refreshes, workers);
    site.shared
        .metrics
        .pages(STREAMS_MAX - site.streams.available_permits());
    Ok(metrics::text(registry))
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
