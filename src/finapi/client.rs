//! The client of finAPI, and its one door ([`FinApi::ask`]).

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use super::breaker::{self, Breaker, Host};
use super::callback_url::Signer;
use super::credentials::Credentials;
use super::gate::{Calls, Gate, Urgency};
use super::pace::Pace;
use super::probe::Failed;
use super::request::Dialect;
use super::tokens::Tokens;
use super::transport::Transport;
use crate::refresh::Refresh;
use crate::refresh::query::{Answered, Call};
use crate::telemetry::metrics::FinApiMetrics;

/// How finAPI is reached (section `finapi`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The Access host, for tokens, connections, accounts and transactions.
    pub access_url: Url,
    /// The Web Form 2.0 host, for tasks and web forms.
    pub web_form_url: Url,
    /// The platform's client id.
    pub client_id: String,
    /// The platform's client secret.
    #[serde(serialize_with = "crate::config::hidden")]
    pub client_secret: SecretString,
    /// Which names the start of an update is written with.
    #[serde(default)]
    pub dialect: Dialect,
    /// The longest one call may take, its answer's body included.
    #[serde(with = "humantime_serde", default = "timeout")]
    pub timeout: Duration,
    /// The longest a connection may take to be made.
    #[serde(with = "humantime_serde", default = "connect_timeout")]
    pub connect_timeout: Duration,
    /// The most calls at once, over all refreshes.
    #[serde(default = "calls_max")]
    pub calls_max: usize,
    /// The most requests a second, those for tokens included; no such limit where it is left out.
    #[serde(default)]
    pub requests_per_second: Option<u32>,
    /// The most bytes of one answer.
    #[serde(default = "body_max")]
    pub body_max: usize,
    /// The most transactions of one page, up to finAPI's own limit of 500.
    #[serde(default = "page_size")]
    pub page_size: u32,
    /// The most pages of one refresh.
    #[serde(default = "pages_max")]
    pub pages_max: u32,
    /// The most users whose tokens are remembered.
    #[serde(default = "users_max")]
    pub users_max: NonZeroUsize,
}

fn timeout() -> Duration {
    Duration::from_secs(20)
}
fn connect_timeout() -> Duration {
    Duration::from_secs(5)
}
fn calls_max() -> usize {
    64
}
fn body_max() -> usize {
    8 * 1024 * 1024
}
fn page_size() -> u32 {
    500
}
fn pages_max() -> u32 {
    200
}
fn users_max() -> NonZeroUsize {
    NonZeroUsize::new(100_000).unwrap_or(NonZeroUsize::MIN)
}

/// For whom finAPI is asked.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) refresh: &'a Refresh,
    pub(super) is_wanted: &'a (dyn Fn() -> bool + Send + Sync),
}

/// A client of finAPI, shared by all refreshes of a worker.
#[derive(Debug)]
pub struct FinApi {
    pub(super) transport: Transport,
    pub(super) settings: Settings,
    pub(super) credentials: Credentials,
    pub(super) tokens: Tokens,
    pub(super) gate: Gate,
    pub(super) pace: Pace,
    pub(super) breaker: Breaker,
    /// A user's last request that failed at each host.
    pub(super) failed: Mutex<[Option<Failed>; Host::ALL.len()]>,
    pub(super) speaks_reference: AtomicBool,
    pub(super) signer: Option<Signer>,
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
        Self {
            tokens: Tokens::new(settings.users_max, metrics.clone()),
            gate: Gate::new(at_once(&settings)),
            pace: Pace::new(settings.requests_per_second),
            breaker: Breaker::new(breaker),
            failed: Mutex::default(),
            speaks_reference: AtomicBool::new(settings.dialect == Dialect::Reference),
            transport,
            settings,
            credentials,
            signer,
            metrics,
        }
    }

    /// The most calls at once.
    #[must_use]
    pub fn calls_max(&self) -> usize {
        at_once(&self.settings)
    }

    /// How busy it is now.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.gate.calls()
    }

    /// Tells whenever finAPI goes down (`true`) and comes back.
    #[must_use]
    pub fn watch_outage(&self) -> watch::Receiver<bool> {
        self.breaker.watch()
    }

    /// Asks what the workflow wants to know, if it still does when its turn has come: others may have gone on with the
    /// refresh meanwhile.
    ///
    /// # Errors
    ///
    /// A classified [`Failure`](crate::refresh::failure::Failure) for everything that is not a good answer.
    pub async fn ask(&self, refresh: &Refresh, call: &Call, is_wanted: impl Fn() -> bool + Send + Sync) -> Answered {
        // A permit is for the whole of what the workflow asks, token included, so that it can't wait for itself.
        let started = Instant::now();
        let permit = self.gate.enter(Urgency::of(refresh, call)).await;
        let asked = Asked {
            refresh,
            is_wanted: &is_wanted,
        };
        let answered = self.call(asked, call).await;
        let class = answered.as_ref().map_or_else(|failure| failure.kind.name(), |_| "ok");
        self.metrics.called(call.name(), class, started.elapsed());
        drop(permit);
        answered
    }

    async fn call(&self, asked: Asked<'_>, call: &Call) -> Answered {
        match call {
            Call::Connection => self.connection(asked).await,
            Call::FindTask => self.tasks(asked).await,
            Call::Start => self.background_update(asked).await,
            Call::Task(id) => self.task(asked, id).await,
            Call::WebForm(id) => self.web_form(asked, id).await,
            // Twice as large as the others, so it takes its room only when it is needed.
            Call::Collect(accounts, span) => Box::pin(self.collect(asked, accounts, *span)).await,
        }
    }
}

/// Not more than two seconds' worth of requests: who is urgent goes first at the gate, and waits behind all others after it.
fn at_once(settings: &Settings) -> usize {
    match settings.requests_per_second {
        Some(rate) => settings.calls_max.min(2 * rate as usize),
        None => settings.calls_max,
    }
}
