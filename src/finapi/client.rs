//! The client of finAPI, and its one door ([`FinApi::query`]).

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body_budget::{Bodies, BodyBudget, Room};
use super::breaker::{self, Breaker, Host, Outage};
use super::callback_url::Signer;
use super::client_secret::ClientSecretOffers;
use super::concurrency::{Calls, ConcurrencyLimiter, Permit};
use super::credentials::Credentials;
use super::endpoints;
use super::form_url;
use super::host_clock::HostClocks;
use super::passwords::{Passwords, ToOthers};
use super::request::Names;
use super::settings::Settings;
use super::tokens::Tokens;
use super::transport::Transport;
use super::version::Versions;
use crate::clock::Clock;
use crate::id::UserId;
use crate::lease::Lease;
use crate::rate_limit::RateLimiter;
use crate::refresh::failure::Failure;
use crate::refresh::query::{Query, QueryResult, Response, Wanted};
use crate::refresh::{Clocks, Refresh};
use crate::telemetry::metrics::FinApiMetrics;

/// About what a full page of transactions has: 500 with long texts.
const PAGE_BYTES: usize = 1024 * 1024;

/// What a worker lets a query do.
#[derive(Debug)]
pub struct Control {
    /// Cancelled when the worker stops, or when it has lost the delivery that it works on.
    pub stop: CancellationToken,
    /// Proves that the delivery is still the worker's. Without it nothing is changed at finAPI.
    pub lease: Lease,
    /// How often the user's token was fetched for this query.
    pub renewals: u8,
    /// For what finAPI answers, until what follows from that is published.
    pub room: Room,
}

/// What came of a query.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are responses")]
pub enum Outcome {
    /// finAPI's response, or a classified failure.
    Response(QueryResult),
    /// The user's token is missing, has ended or was refused: fetch one and query again.
    NeedsToken,
    /// There is no room for the response now: query again after this.
    NeedsRoom(Duration),
    /// The request was not sent, because of its [`Control`].
    Stopped,
}

/// Why a query has no response.
pub(super) enum Interrupt {
    Failed(Failure),
    NeedsToken,
    Stopped,
}

impl From<Failure> for Interrupt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// For whom finAPI is asked.
#[derive(Clone, Copy)]
pub(super) struct QueryContext<'a> {
    pub(super) refresh: &'a Refresh,
    pub(super) control: &'a Control,
}

/// A client of finAPI, shared by all refreshes of a worker.
#[derive(Debug)]
pub struct FinApi {
    pub(super) transport: Transport,
    pub(super) settings: Settings,
    pub(super) credentials: Credentials,
    pub(super) tokens: Tokens,
    pub(super) concurrency: ConcurrencyLimiter,
    /// None: as fast as it goes.
    pub(super) rate: Option<RateLimiter>,
    pub(super) bodies: BodyBudget,
    pub(super) breaker: Breaker,
    pub(super) versions: Versions,
    /// Set, or by the first update that finAPI started.
    pub(super) names: OnceLock<Names>,
    pub(super) signer: Option<Signer>,
    /// A secret of the client that is not in use yet.
    pub(super) offers: ClientSecretOffers,
    pub(super) clocks: HostClocks,
    pub(super) metrics: FinApiMetrics,
}

impl FinApi {
    /// A client; nothing is asked yet. With a `signer` updates carry callback URLs.
    #[must_use]
    pub fn new(
        transport: Transport,
        settings: Settings,
        credentials: Credentials,
        breaker: breaker::Settings,
        signer: Option<Signer>,
    ) -> Self {
        let metrics = FinApiMetrics::default();
        let names = settings.dialect.names().map_or_else(OnceLock::new, OnceLock::from);
        metrics.names(
            [Names::Guide, Names::Reference].map(Names::name),
            names.get().map(|names| names.name()),
        );
        Self {
            tokens: Tokens::new(
                settings.users_max,
                Passwords::new(
                    &settings.client_secret,
                    settings.previous_client_secret.as_ref(),
                    settings.password_wait,
                ),
                metrics.clone(),
            ),
            concurrency: ConcurrencyLimiter::new(at_once(&settings)),
            rate: settings.requests_per_second.map(RateLimiter::even),
            bodies: BodyBudget::new(settings.bodies_max),
            breaker: Breaker::new(&breaker),
            versions: Versions::new(settings.api_version, metrics.clone()),
            names,
            transport,
            settings,
            credentials,
            signer,
            offers: ClientSecretOffers::default(),
            clocks: HostClocks::default(),
            metrics,
        }
    }

    /// The same, by another clock than the system's.
    #[must_use]
    pub fn by_clock(self, clock: Clock) -> Self {
        Self {
            clocks: HostClocks::new(clock),
            ..self
        }
    }

    /// How far finAPI's clocks are ahead of ours, as far as its responses say.
    #[must_use]
    pub fn clocks(&self) -> Clocks {
        self.clocks.estimate()
    }

    /// From now on there are other workers, who know this one by this number and speak with it of passwords. What is to be published to them.
    pub fn join_workers(&self, number: u64) -> mpsc::Receiver<ToOthers> {
        self.tokens.passwords().join(number)
    }

    /// Another worker published this about a password.
    pub fn on_worker_message(&self, body: &[u8]) {
        self.tokens.passwords().on_message(body);
    }

    /// The most calls at once.
    #[must_use]
    pub fn calls_max(&self) -> usize {
        at_once(&self.settings)
    }

    /// How busy it is now.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.concurrency.calls()
    }

    /// How many bytes its responses have in memory.
    #[must_use]
    pub fn bodies(&self) -> Bodies {
        self.bodies.bodies()
    }

    /// For what finAPI answers about a refresh.
    #[must_use]
    pub fn room(&self, refresh: &Refresh) -> Room {
        self.bodies.room(Some(refresh.command.connection_id()))
    }

    /// Reports whenever a host goes down and comes back.
    #[must_use]
    pub fn watch_outage(&self) -> watch::Receiver<Outage> {
        self.breaker.watch()
    }

    /// Lets time pass for hosts that are down, for ever.
    pub async fn keep_time(&self) {
        self.breaker.keep_time().await;
    }

    /// A permit for a query, if one is free.
    #[must_use]
    pub fn try_permit(&self) -> Option<Permit> {
        self.concurrency.try_acquire()
    }

    /// Whether a refresh can be queried for without fetching a token first.
    #[must_use]
    pub fn has_token(&self, refresh: &Refresh) -> bool {
        refresh.command.access_token().is_some() || self.tokens.has(refresh.command.user_id())
    }

    /// Fetches a token of a user. Whoever calls it makes sure that no two run at once for one user.
    ///
    /// # Errors
    ///
    /// A classified [`Failure`].
    pub async fn fetch_token(&self, user_id: &UserId) -> Result<(), Failure> {
        self.tokens.fetch(user_id, self).await
    }

    /// Asks what the workflow wants to know. The caller holds a permit.
    pub async fn query(&self, refresh: &Refresh, query: &Query, control: &Control) -> Outcome {
        let started = Instant::now();
        // A start that is broken off has happened.
        let is_repeatable = *query != Query::Start;
        if is_repeatable && let Err(wait) = control.room.begin(expected(query)) {
            return Outcome::NeedsRoom(wait);
        }
        let result = self.send_query(QueryContext { refresh, control }, query).await;
        // Who is asked for a wait does not ask again as soon as there may be room.
        if is_repeatable
            && endpoints::asked_wait(&result).is_none()
            && let Some(wait) = control.room.take_shortage()
        {
            return Outcome::NeedsRoom(wait);
        }
        let result = match result {
            Ok(response) => Ok(form_url::check(response, self.settings.allow_insecure)),
            Err(Interrupt::Failed(failure)) => Err(self.judged(host_of(query), failure)),
            Err(Interrupt::NeedsToken) => return Outcome::NeedsToken,
            Err(Interrupt::Stopped) => return Outcome::Stopped,
        };
        let class = result.as_ref().map_or_else(|failure| failure.class.name(), |_| "ok");
        self.metrics.queried(query.name(), class, started.elapsed());
        let has_odd_code = match &result {
            Ok(response) => response.has_odd_code(),
            Err(failure) => failure.code.as_deref() == Some(""),
        };
        if has_odd_code {
            self.metrics.odd_code(query.name());
        }
        if let Ok(response) = &result {
            response.each_unreadable(|name| self.metrics.unreadable(query.name(), name));
        }
        Outcome::Response(result)
    }

    async fn send_query(&self, context: QueryContext<'_>, query: &Query) -> Result<Response, Interrupt> {
        match query {
            Query::Connection => self.connection(context).await,
            Query::FindTask => self.tasks(context).await,
            Query::Start => self.background_update(context).await,
            Query::Task(id) => self.task(context, id).await,
            Query::WebForm(id) => self.web_form(context, id).await,
            // Twice as large as the others, so it takes its room only when it is needed.
            Query::Collect(wanted) => Box::pin(self.collect(context, wanted)).await,
        }
    }
}

/// How many bytes its response will have, where that is known. Who comes to a second page had a first one that was full.
fn expected(query: &Query) -> usize {
    match query {
        Query::Collect(Wanted { page: Some(page), .. }) if page.page > 1 => PAGE_BYTES,
        _ => 0,
    }
}

fn host_of(query: &Query) -> Host {
    match query {
        Query::FindTask | Query::Start | Query::Task(_) | Query::WebForm(_) => Host::WebForm,
        Query::Connection | Query::Collect(_) => Host::Access,
    }
}

/// Not more than two seconds' worth of requests: who is urgent goes first at the gate, and waits behind all others after it.
fn at_once(settings: &Settings) -> usize {
    match settings.requests_per_second {
        Some(rate) => settings.calls_max.min(2 * rate as usize),
        None => settings.calls_max,
    }
}
