//! The client: one method per endpoint, behind one door ([`FinApi::ask`]).

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use reqwest::Request;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::breaker::{self, Admitted, Breaker, Host};
use super::credentials::{Credentials, Secret};
use super::error::{self, Surface};
use super::gate::{Calls, Gate, Urgency};
use super::pace::Pace;
use super::request::{self, Dialect, Names};
use super::tokens::{Grant, Granted, Source, Tokens};
use super::transport::{Response, Transport};
use super::wire;
use crate::callbacks::Signer;
use crate::refresh::Refresh;
use crate::refresh::answer::{
    Account, Answer, Answered, Call, Collected, Failure, FailureKind, Span, Task, Transaction,
};
use crate::telemetry::metrics::{Metrics, TokenFrom};
use crate::telemetry::traces;

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
    /// Whether HTTP/2 is spoken with a server that offers it (ALPN); HTTP/1.1 otherwise.
    #[serde(default)]
    pub http2: bool,
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

/// A task that was created so long before a command is over when it comes.
const TASK_LIFE: Duration = Duration::from_secs(3600);

/// The most pages of a user's tasks that are read.
const TASK_PAGES_MAX: u32 = 50;

const TOKEN_ENDPOINT: &str = "POST /oauth/token";
const TASKS_ENDPOINT: &str = "GET /api/tasks";

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// A client of finAPI, shared by all refreshes of a worker.
#[derive(Debug)]
pub struct FinApi {
    transport: Transport,
    settings: Settings,
    credentials: Credentials,
    tokens: Tokens,
    gate: Gate,
    pace: Pace,
    breaker: Breaker,
    /// A user's last request that failed at each host.
    failed: Mutex<[Option<Failed>; Host::ALL.len()]>,
    speaks_reference: AtomicBool,
    signer: Option<Signer>,
    metrics: Metrics,
}

/// For whom finAPI is asked.
#[derive(Clone, Copy)]
struct Asked<'a> {
    refresh: &'a Refresh,
    is_wanted: &'a (dyn Fn() -> bool + Send + Sync),
}

/// One request of a user.
struct UserCall<'a> {
    endpoint: &'static str,
    host: Host,
    method: Method,
    url: Url,
    body: Bytes,
    user_id: &'a str,
    is_wanted: &'a (dyn Fn() -> bool + Send + Sync),
    /// The command's own token, if it has one.
    access_token: Option<SecretString>,
}

/// A user's request that failed.
#[derive(Clone, Debug)]
struct Failed {
    endpoint: &'static str,
    url: Url,
    authorization: HeaderValue,
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
        let metrics = Metrics::default();
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
    /// A classified [`Failure`] for everything that is not a good answer.
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

    async fn background_update(&self, asked: Asked<'_>) -> Answered {
        let endpoint = "POST /api/tasks/backgroundUpdate";
        let names = self.names();
        let response = self.start(asked, names).await?;
        let response = if self.settings.dialect == Dialect::Auto && is_refused_for_names(&response) {
            // A 400 has created no task, so sending again starts nothing twice.
            self.start_otherwise(asked, names.other()).await?
        } else {
            response
        };
        understand::<wire::Task>(endpoint, &response).map(|task| Answer::Task(task.into()))
    }

    async fn start_otherwise(&self, asked: Asked<'_>, names: Names) -> Result<Response, Failure> {
        let response = self.start(asked, names).await?;
        // What neither set of names can say tells nothing of which one finAPI speaks.
        if !is_refused_for_names(&response) {
            let reference = names == Names::Reference;
            if self.speaks_reference.swap(reference, Ordering::Relaxed) != reference {
                tracing::info!(
                    ?names,
                    "finAPI refused the names of a field; from now on it gets the other ones"
                );
            }
        }
        Ok(response)
    }

    fn names(&self) -> Names {
        if self.speaks_reference.load(Ordering::Relaxed) {
            Names::Reference
        } else {
            Names::Guide
        }
    }

    async fn start(&self, asked: Asked<'_>, names: Names) -> Result<Response, Failure> {
        let callbacks = self
            .signer
            .as_ref()
            .map(|signer| signer.callbacks(&asked.refresh.command.command_id));
        let body = request::body(&asked.refresh.command, names, callbacks.as_ref());
        let url = self.at(Host::WebForm, "api/tasks/backgroundUpdate");
        let call = UserCall {
            body: body.into(),
            method: Method::POST,
            ..UserCall::get(asked, "POST /api/tasks/backgroundUpdate", Host::WebForm, url)
        };
        self.user_call(call).await
    }

    /// Reads the connection's tasks from among the user's, back to those that can't run any more. A user of many connections has
    /// many of them, and one that is not found is started again.
    async fn tasks(&self, asked: Asked<'_>) -> Answered {
        let since = asked
            .refresh
            .requested_at
            .saturating_sub(TASK_LIFE)
            .unwrap_or(Timestamp::MIN);
        let endpoint = TASKS_ENDPOINT;
        let id = asked.refresh.command.bank_connection_id;
        let mut url = self.at(Host::WebForm, "api/tasks");
        let mut tasks: Vec<Task> = Vec::new();
        for page in 1..=TASK_PAGES_MAX {
            url.set_query(Some(&format!("order=createdAt,desc&page={page}&perPage=20")));
            let response = self
                .user_call(UserCall::get(asked, endpoint, Host::WebForm, url.clone()))
                .await?;
            let read: wire::Tasks = understand(endpoint, &response)?;
            tasks.extend(
                read.of(id)
                    .map_err(|error| misunderstood(endpoint, &response, &error))?,
            );
            let oldest = read
                .oldest()
                .map_err(|error| misunderstood(endpoint, &response, &error))?;
            if page >= read.paging.page_count || oldest.is_none_or(|oldest| oldest < since) {
                break;
            }
        }
        Ok(Answer::Tasks(tasks))
    }

    async fn task(&self, asked: Asked<'_>, id: &str) -> Answered {
        let url = self.at(Host::WebForm, &format!("api/tasks/{id}"));
        let call = UserCall::get(asked, "GET /api/tasks/{id}", Host::WebForm, url);
        let task: wire::Task = self.read(call).await?;
        Ok(Answer::Task(task.into()))
    }

    async fn web_form(&self, asked: Asked<'_>, id: &str) -> Answered {
        let url = self.at(Host::WebForm, &format!("api/webForms/{id}"));
        let call = UserCall::get(asked, "GET /api/webForms/{id}", Host::WebForm, url);
        let form: wire::WebForm = self.read(call).await?;
        Ok(Answer::WebForm(form.into()))
    }

    async fn connection(&self, asked: Asked<'_>) -> Answered {
        let id = asked.refresh.command.bank_connection_id;
        let url = self.at(Host::Access, &format!("api/v1/bankConnections/{id}"));
        let call = UserCall::get(asked, "GET /api/v1/bankConnections/{id}", Host::Access, url);
        let connection: wire::Connection = self.read(call).await?;
        Ok(Answer::Connection(connection.into()))
    }

    async fn collect(&self, asked: Asked<'_>, accounts: &[i64], span: Option<Span>) -> Answered {
        let (accounts, transactions) =
            futures_util::try_join!(self.accounts(asked), self.transactions(asked, accounts, span))?;
        Ok(Answer::Collected(Collected { accounts, transactions }))
    }

    async fn accounts(&self, asked: Asked<'_>) -> Result<Vec<Account>, Failure> {
        let id = asked.refresh.command.bank_connection_id;
        let mut url = self.at(Host::Access, "api/v1/accounts");
        url.set_query(Some(&format!("bankConnectionIds={id}")));
        let call = UserCall::get(asked, "GET /api/v1/accounts", Host::Access, url);
        let accounts: wire::Accounts = self.read(call).await?;
        Ok(accounts.into())
    }

    async fn transactions(
        &self,
        asked: Asked<'_>,
        accounts: &[i64],
        span: Option<Span>,
    ) -> Result<Vec<Transaction>, Failure> {
        let (Some(span), false) = (span, accounts.is_empty()) else {
            return Ok(Vec::new());
        };
        let endpoint = "GET /api/v1/transactions";
        let ids: Vec<String> = accounts.iter().map(i64::to_string).collect();
        let query = format!(
            "view=bankView&accountIds={}&minImportDate={}&order=id,ASC&perPage={}",
            ids.join(","),
            wire::german_day(span.since),
            self.settings.page_size,
        );
        let mut url = self.at(Host::Access, "api/v1/transactions");
        let mut transactions = Vec::new();
        for page in 1..=self.settings.pages_max {
            url.set_query(Some(&format!("{query}&page={page}")));
            let call = UserCall::get(asked, endpoint, Host::Access, url.clone());
            let read: wire::Transactions = self.read(call).await?;
            let pages = read.paging.page_count;
            transactions.extend(read.imported_in(span));
            if page >= pages {
                return Ok(transactions);
            }
        }
        Err(Failure::unexpected(&format!(
            "{endpoint} has more than finapi.pages_max = {} pages",
            self.settings.pages_max
        )))
    }

    async fn read<T: DeserializeOwned>(&self, call: UserCall<'_>) -> Result<T, Failure> {
        let endpoint = call.endpoint;
        let response = self.user_call(call).await?;
        understand(endpoint, &response)
    }

    /// Sends a request with the user's token. A 401 costs one new token and one more try.
    async fn user_call(&self, call: UserCall<'_>) -> Result<Response, Failure> {
        if let Some(token) = &call.access_token {
            self.metrics.token(TokenFrom::Command);
            return self.send_wanted(&call, token).await;
        }
        let token = self.tokens.get(call.user_id, None, self).await?;
        let response = self.send_wanted(&call, &token).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let token = self.tokens.get(call.user_id, Some(&token), self).await?;
        self.send_wanted(&call, &token).await
    }

    /// Permits, tokens and turns can take their time.
    async fn send_wanted(&self, call: &UserCall<'_>, token: &SecretString) -> Result<Response, Failure> {
        self.turn(call.host).await?;
        if !(call.is_wanted)() {
            let kind = FailureKind::NotAsked(Duration::ZERO);
            return Err(Failure::new(kind, "no longer wanted when its turn had come"));
        }
        self.send(call.host, call.request(token)?, call.endpoint).await
    }

    /// Waits until a request may be sent. None that will not be takes a turn.
    async fn turn(&self, host: Host) -> Result<(), Failure> {
        match self.breaker.closed_for(host, Instant::now()) {
            Some(wait) if !wait.is_zero() => Err(down(wait)),
            _ => {
                self.pace.turn().await;
                Ok(())
            }
        }
    }

    /// Sends one request, unless its host is down. A probe that fails says what was known already, so it is nobody's failure.
    async fn send(&self, host: Host, request: Request, endpoint: &'static str) -> Result<Response, Failure> {
        let admitted = self.breaker.admit(host, Instant::now()).map_err(down)?;
        let span = traces::Request::begin(endpoint, request.url());
        let server = request.url().host_str().unwrap_or_default().to_owned();
        let sent_id = request.headers().get(X_REQUEST_ID).cloned();
        let url = request.url().clone();
        let authorization = request.headers().get(header::AUTHORIZATION).cloned();
        let started = Instant::now();
        let answer = self
            .transport
            .send(request, self.settings.timeout, self.settings.body_max)
            .await;
        span.end(&answer);
        self.metrics.requested(endpoint, server, &answer, started.elapsed());
        match &answer {
            Ok(response) if !is_strained(response.status) => self.gate.succeeded(),
            _ => self.gate.strained(),
        }
        let is_up = answer.as_ref().is_ok_and(|response| !response.status.is_server_error());
        match (is_up, admitted) {
            (true, _) => self.breaker.succeeded(host),
            (false, Admitted::Call) => {
                if let Some(authorization) = authorization {
                    let failed = Failed {
                        endpoint,
                        url,
                        authorization,
                    };
                    self.failed()[host as usize] = Some(failed);
                }
                self.breaker.failed(host, Instant::now());
            }
            (false, Admitted::Probe(wait)) => return Err(down(wait)),
        }
        answer.map_err(|no_answer| error::no_answer(endpoint, no_answer, sent_id.as_ref()))
    }

    /// A path below a host, without a query.
    fn at(&self, host: Host, path: &str) -> Url {
        let base = match host {
            Host::Access => &self.settings.access_url,
            Host::WebForm => &self.settings.web_form_url,
        };
        let mut url = base.clone();
        url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
        url
    }
}

/// Not more than two seconds' worth of requests: who is urgent goes first at the gate, and waits behind all others after it.
fn at_once(settings: &Settings) -> usize {
    match settings.requests_per_second {
        Some(rate) => settings.calls_max.min(2 * rate as usize),
        None => settings.calls_max,
    }
}

fn down(wait: Duration) -> Failure {
    Failure::new(FailureKind::NotAsked(wait), "finAPI is down")
}

fn is_strained(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

impl Source for FinApi {
    async fn secret(&self, user_id: &str) -> Result<Secret, Failure> {
        self.credentials.secret(user_id, &self.transport).await
    }

    async fn grant(&self, user_id: &str, grant: Grant) -> Result<Granted, Failure> {
        let endpoint = TOKEN_ENDPOINT;
        let request = match &grant {
            Grant::Password(password) => self.token_request(&[
                ("grant_type", "password"),
                ("username", user_id),
                ("password", password.expose_secret()),
            ]),
            Grant::RefreshToken(token) => self.token_request(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", token.expose_secret()),
            ]),
        };
        self.turn(Host::Access).await?;
        let response = self.send(Host::Access, request, endpoint).await?;
        if !response.status.is_success() {
            return Err(error::classify(endpoint, Surface::OAuth, &response));
        }
        let token: wire::Token = parse(endpoint, &response)?;
        Ok(token.into())
    }
}

impl FinApi {
    /// While finAPI is down, asks now and then whether it is back, for ever: once no refresh is in hand, nobody else does.
    pub async fn probe_while_down(&self) {
        let mut down = self.watch_outage();
        while down.wait_for(|down| *down).await.is_ok() {
            let probes = Host::ALL.map(|host| self.probe(host));
            let waits = join_all(probes).await.into_iter().flatten();
            if let Some(wait) = waits.min() {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Asks a host that is down; when to ask again, if it still is.
    async fn probe(&self, host: Host) -> Option<Duration> {
        self.breaker.closed_for(host, Instant::now())?;
        let (endpoint, request) = self.probe_request(host);
        match self.send(host, request, endpoint).await {
            Err(Failure {
                kind: FailureKind::NotAsked(wait),
                ..
            }) => Some(wait),
            _ => None,
        }
    }

    /// What failed, once more: other endpoints of a host may be well. In place of starting an update, or of looking at a task more often
    /// than its refresh does, the user's tasks are read. A token that has ended meanwhile is refused, and that is an answer, too.
    fn probe_request(&self, host: Host) -> (&'static str, Request) {
        let failed = self.failed()[host as usize].clone();
        let Some(failed) = failed else {
            // Only requests for tokens are made without one.
            let request = self.token_request(&[("grant_type", "client_credentials")]);
            return (TOKEN_ENDPOINT, request);
        };
        let (endpoint, url) = match host {
            Host::Access => (failed.endpoint, failed.url),
            Host::WebForm => (TASKS_ENDPOINT, self.at(host, "api/tasks")),
        };
        let mut request = Request::new(Method::GET, url);
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, failed.authorization);
        headers.insert(header::ACCEPT, JSON);
        headers.insert(X_REQUEST_ID, request_id());
        (endpoint, request)
    }

    fn failed(&self) -> MutexGuard<'_, [Option<Failed>; Host::ALL.len()]> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token_request(&self, own: &[(&str, &str)]) -> Request {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(own)
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("client_secret", self.settings.client_secret.expose_secret())
            .finish();
        let mut request = Request::new(Method::POST, self.at(Host::Access, "oauth/token"));
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, FORM);
        headers.insert(X_REQUEST_ID, request_id());
        *request.body_mut() = Some(form.into());
        request
    }
}

impl<'a> UserCall<'a> {
    fn get(asked: Asked<'a>, endpoint: &'static str, host: Host, url: Url) -> Self {
        let Asked { refresh, is_wanted } = asked;
        let token = &refresh.command.access_token;
        Self {
            endpoint,
            host,
            method: Method::GET,
            url,
            body: Bytes::new(),
            user_id: &refresh.command.user_id,
            is_wanted,
            access_token: (!token.is_empty()).then(|| SecretString::from(token.as_str())),
        }
    }

    fn request(&self, token: &SecretString) -> Result<Request, Failure> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(|_| Failure::new(FailureKind::UserUnauthorized, "the access token is no header value"))?;
        bearer.set_sensitive(true);
        let mut request = Request::new(self.method.clone(), self.url.clone());
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, bearer);
        headers.insert(header::ACCEPT, JSON);
        headers.insert(X_REQUEST_ID, request_id());
        if self.method == Method::POST {
            headers.insert(header::CONTENT_TYPE, JSON);
            *request.body_mut() = Some(self.body.clone().into());
        }
        Ok(request)
    }
}

fn is_refused_for_names(response: &Response) -> bool {
    response.status == StatusCode::BAD_REQUEST && request::is_about_names(&error::invalid_fields(&response.body))
}

fn understand<'a, T: Deserialize<'a>>(endpoint: &str, response: &'a Response) -> Result<T, Failure> {
    if !response.status.is_success() {
        return Err(error::classify(endpoint, Surface::User, response));
    }
    parse(endpoint, response)
}

/// Looks once whether the whole body is UTF-8, which is cheaper than string by string. Where it is not, a string that nobody reads may
/// be to blame.
fn parse<'a, T: Deserialize<'a>>(endpoint: &str, response: &'a Response) -> Result<T, Failure> {
    let parsed = match std::str::from_utf8(&response.body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(&response.body),
    };
    parsed.map_err(|error| misunderstood(endpoint, response, &error))
}

/// serde's message may quote what it read, so only its place is told.
fn misunderstood(endpoint: &str, response: &Response, error: &serde_json::Error) -> Failure {
    let place = format!(
        "a body that can't be understood at line {} column {}",
        error.line(),
        error.column()
    );
    error::malformed(endpoint, response, &place)
}

fn request_id() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let id = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("bankrefresh"))
}
