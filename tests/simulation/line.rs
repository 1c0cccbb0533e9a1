//! The line between a worker and finAPI: it takes time, and writes down what was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, DATE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::response::Response;
use bankrefresh::random::Streams;
use bankrefresh::sandbox::{ConnectionDropped, FaultKind, Met, Sandbox};
use jiff::civil::DateTime;
use serde_json::Value;
use tokio::task::{Id, try_id};
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

/// One call, as finAPI saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// When the worker sent it.
    pub(crate) sent: Instant,
    /// When it arrived.
    pub(crate) at: Instant,
    /// Which life of which worker made it.
    pub(crate) life: u64,
    /// The task of the runtime that made it. Every run of a refresh is a task of its own.
    pub(crate) run: Option<Id>,
    pub(crate) endpoint: Endpoint,
    /// What became of it; none while the worker still waits, and when it no longer does.
    pub(crate) answered: Option<(Instant, u16)>,
    /// The updates that the response showed, if the worker could read it.
    pub(crate) shows: Vec<Shown>,
    /// The fault that it met at finAPI.
    pub(crate) met: Option<FaultKind>,
    /// The user whose password came with it.
    pub(crate) password_of: Option<String>,
    /// Which page it asked for; 0 where it asked for none.
    pub(crate) page: i64,
    /// How long it is to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Call {
    fn new(life: u64, sent: Instant, endpoint: Endpoint) -> Self {
        Self {
            sent,
            at: Instant::now(),
            life,
            run: try_id(),
            endpoint,
            answered: None,
            shows: Vec::new(),
            met: None,
            password_of: None,
            page: 0,
            retry_after: None,
        }
    }

    /// Whether another answer than finAPI's arrived, or one that was changed on its way, so that nobody here knows whether it could be read.
    pub(crate) fn is_changed(&self) -> bool {
        use FaultKind::{Body, Gateway, Odd};
        matches!(self.met, Some(Gateway(_) | Body(_) | Odd(_)))
    }

    /// Whether the worker had the response by then.
    pub(crate) fn is_answered_by(&self, at: Instant) -> bool {
        self.answered.is_some_and(|(answered, _)| answered <= at)
    }
}

/// An update, as a response showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) task: String,
    pub(crate) connection: i64,
    /// finAPI has not finished it, and it has not led to a web form yet.
    pub(crate) is_running: bool,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A new task, for a command and a connection; and the task that was made of it.
    Start {
        command: String,
        connection: i64,
        made: Option<String>,
    },
    FindTask,
    Task(String),
    WebForm(String),
    CancelWebForm(String),
    Connection(i64),
    Accounts(i64),
    Transactions(i64),
    Token,
    /// What the client asks for itself, to find out its version of finAPI.
    Client,
    Credentials,
}

/// The line. All workers share it.
pub(crate) struct Line {
    sandbox: Arc<Sandbox>,
    router: Router,
    longest: Duration,
    state: Mutex<State>,
}

struct State {
    streams: Streams,
    /// How long each question of a name was on its way to finAPI, in the order in which they were asked.
    delays: BTreeMap<String, Vec<Duration>>,
    calls: Vec<Call>,
    tasks: BTreeSet<String>,
}

const BODY_MAX: usize = 1 << 20;

impl Line {
    pub(crate) fn new(sandbox: Arc<Sandbox>, longest: Duration, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            router: sandbox.router(),
            sandbox,
            longest,
            state: Mutex::new(State {
                streams: Streams::new(seed),
                delays: BTreeMap::new(),
                calls: Vec::new(),
                tasks: BTreeSet::new(),
            }),
        })
    }

    /// finAPI, as one life of a worker reaches it.
    pub(crate) fn router(self: &Arc<Self>, life: u64) -> Router {
        let line = Arc::clone(self);
        Router::new().fallback(move |request: Request| async move { line.call(life, request).await })
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub(crate) fn delays(&self) -> BTreeMap<String, Vec<Duration>> {
        self.state().delays.clone()
    }

    async fn call(&self, life: u64, request: Request) -> Response {
        let sent = Instant::now();
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, BODY_MAX).await.unwrap_or_default();
        let endpoint = read(parts.uri.path(), parts.uri.query().unwrap_or_default(), &body);
        let name = name(&endpoint, &parts, &body);
        let mut rng = self.state().streams.next(&name);
        let takes = self.longest.mul_f64(rng.f64());
        self.state().delays.entry(name).or_default().push(takes);
        pass(takes).await;
        let page = number(parts.uri.query().unwrap_or_default(), "page");
        let number = self.arrived(Call {
            password_of: password_of(&body),
            page,
            ..Call::new(life, sent, endpoint)
        });
        let request = Request::from_parts(parts, Body::from(body));
        let mut work = pin!(self.router.clone().oneshot(request));
        // finAPI does the work at once; it is the answer that may take a while.
        let at_once = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        self.find_task(number);
        let answer = match at_once {
            Poll::Ready(answer) => answer,
            Poll::Pending => work.await,
        };
        let Ok(answer) = answer;
        let met = answer.extensions().get::<Met>().map(|Met(kind)| kind.clone());
        let retry_after = retry_after(answer.headers());
        self.state().calls[number].met = met;
        pass(self.longest.mul_f64(rng.f64())).await;
        let status = answer.status().as_u16();
        let (answer, shows) = self.read_shown(number, answer).await;
        let call = &mut self.state().calls[number];
        call.retry_after = retry_after;
        call.answered = Some((Instant::now(), status));
        call.shows = shows;
        answer
    }

    /// Which updates a response shows, and the response as it was.
    async fn read_shown(&self, number: usize, answer: Response) -> (Response, Vec<Shown>) {
        let shows_tasks = matches!(
            self.state().calls[number].endpoint,
            Endpoint::Start { .. } | Endpoint::FindTask | Endpoint::Task(_)
        );
        let is_lost = answer.extensions().get::<ConnectionDropped>().is_some();
        let is_changed = self.state().calls[number].is_changed();
        if !shows_tasks || is_lost || is_changed || !answer.status().is_success() {
            return (answer, Vec::new());
        }
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, BODY_MAX).await.unwrap_or_default();
        let shown = shown(&body);
        (Response::from_parts(parts, Body::from(body)), shown)
    }

    fn arrived(&self, call: Call) -> usize {
        let mut state = self.state();
        state.calls.push(call);
        state.calls.len() - 1
    }

    /// A start whose answer gets lost has made a task all the same.
    fn find_task(&self, number: usize) {
        let mut state = self.state();
        let State { calls, tasks, .. } = &mut *state;
        if let Endpoint::Start { connection, made, .. } = &mut calls[number].endpoint {
            let asked = self.sandbox.asked();
            let of_connection = asked.connections.get(connection).map(|asked| asked.tasks.as_slice());
            let newest = of_connection.and_then(|tasks| tasks.last()).map(|task| task.id.clone());
            *made = newest.filter(|id| tasks.insert(id.clone()));
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("the line's state")
    }
}

async fn pass(takes: Duration) {
    if !takes.is_zero() {
        sleep(takes).await;
    }
}

fn read(path: &str, query: &str, body: &Bytes) -> Endpoint {
    let last = path.rsplit('/').next().unwrap_or_default();
    // Both versions of Access have the same endpoints.
    match &*path.replace("/api/v2/", "/api/v1/") {
        "/oauth/token" | "/api/v1/oauth/token" if body.starts_with(b"grant_type=client_credentials") => {
            Endpoint::Client
        }
        "/oauth/token" | "/api/v1/oauth/token" => Endpoint::Token,
        "/api/v1/clientConfiguration" => Endpoint::Client,
        "/api/tasks" => Endpoint::FindTask,
        "/api/tasks/backgroundUpdate" => start(body),
        "/api/v1/accounts" => Endpoint::Accounts(number(query, "bankConnectionIds")),
        "/api/v1/transactions" => Endpoint::Transactions(number(query, "accountIds") / 1000),
        _ if path.starts_with("/api/tasks/") => Endpoint::Task(last.to_owned()),
        _ if path.ends_with("/cancel") => {
            Endpoint::CancelWebForm(path.rsplit('/').nth(1).unwrap_or_default().to_owned())
        }
        _ if path.starts_with("/api/webForms/") => Endpoint::WebForm(last.to_owned()),
        _ if path.starts_with("/sandbox/credentials/") => Endpoint::Credentials,
        _ => Endpoint::Connection(last.parse().unwrap_or_default()),
    }
}

/// The name of a question, from which its times are drawn: what it asks for and, where that does not say it, for whom.
fn name(endpoint: &Endpoint, parts: &Parts, body: &Bytes) -> String {
    let whose = match endpoint {
        Endpoint::Start { command, .. } => command.clone(),
        // Each user draws its own tokens.
        Endpoint::FindTask => {
            let bearer = parts.headers.get(AUTHORIZATION);
            bearer
                .and_then(|bearer| bearer.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        }
        Endpoint::Token => {
            let body = String::from_utf8_lossy(body);
            let mut fields = body
                .split('&')
                .filter(|field| field.starts_with("username=") || field.starts_with("refresh_token="));
            fields.next().unwrap_or_default().to_owned()
        }
        _ => String::new(),
    };
    format!("{} {whose}", parts.uri)
}

/// The user of a password grant.
fn password_of(body: &Bytes) -> Option<String> {
    let mut fields = body.split(|byte| *byte == b'&');
    let user = fields.find_map(|field| field.strip_prefix(b"username="))?;
    Some(String::from_utf8_lossy(user).into_owned())
}

/// `Retry-After`, in seconds or as a date by finAPI's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let wait = text(RETRY_AFTER)?;
    if let Ok(seconds) = wait.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = |text: &str| DateTime::strptime("%a, %d %b %Y %H:%M:%S GMT", text).ok();
    let wait = time(wait)?.duration_since(time(text(DATE)?)?);
    Duration::try_from(wait).ok()
}

fn start(body: &Bytes) -> Endpoint {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let connection = body["bankConnectionIds"][0]
        .as_i64()
        .or(body["bankConnectionId"].as_i64());
    Endpoint::Start {
        command: body["profileId"].as_str().unwrap_or_default().to_owned(),
        connection: connection.unwrap_or_default(),
        made: None,
    }
}

/// The updates in the body of a response: one task, or a list of them.
fn shown(body: &Bytes) -> Vec<Shown> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let tasks = match body["items"].as_array() {
        Some(items) => items.iter().collect(),
        None => vec![&body],
    };
    let shown = |task: &&Value| {
        let status = task["status"].as_str()?;
        Some(Shown {
            task: task["id"].as_str()?.to_owned(),
            connection: task["payload"]["bankConnectionId"].as_i64()?,
            is_running: matches!(status, "NOT_YET_STARTED" | "IN_PROGRESS"),
        })
    };
    tasks.iter().filter_map(shown).collect()
}

/// The first number of a list in a query.
fn number(query: &str, name: &str) -> i64 {
    let values = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut found = values.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let digits: String = found
        .next()
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or_default()
}
