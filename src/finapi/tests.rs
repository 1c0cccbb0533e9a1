//! The client against the sandbox, in process and in virtual time; and, in `over_http`, over real connections.

mod client_secret;
mod credentials;
mod dialects;
mod endpoints;
mod failures;
mod foreign;
mod grants;
mod in_time;
mod language;
mod odd;
mod over_http;
mod room;
mod secrets;
mod tokens;
mod transactions;
mod versions;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::breaker::{self, Outage};
use super::credentials::Credentials;
use super::request::Dialect;
use super::transport::Transport;
use super::version::ApiVersion;
use super::{Control, FinApi, Outcome, Proof, Settings};
use crate::id::{AccountId, UserId};
use crate::lease::{Lease, Moment};
use crate::proto::RefreshConnection;
use crate::refresh::failure::{Failure, FailureClass};
use crate::refresh::model::{Account, Collected, Connection, Page, Task, Transaction, WebForm};
use crate::refresh::query::{PageQuery, Query, QueryResult, Response, Wanted};
use crate::refresh::{Command, Envelope, Refresh};
use crate::sandbox::{self, After, Endpoint, Fault, FaultKind, Sandbox, SandboxConfig, Script};
use crate::secret::Secret;
use crate::setting::HttpUrl;

/// A Monday in winter, 09:36:15 in Germany.
const START: &str = "2021-03-08T08:36:15Z";

fn start() -> Timestamp {
    START.parse().expect("a timestamp")
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn url(text: &str) -> HttpUrl {
    text.parse().expect("a URL")
}

fn secret(text: &str) -> Secret {
    text.parse().expect("a secret")
}

fn settings() -> Settings {
    Settings {
        api_version: ApiVersion::V2,
        calls_max: 8,
        users_max: NonZeroUsize::new(100).expect("not zero"),
        ..Settings::new(
            url("http://access.test/"),
            url("http://webform.test"),
            "sandbox-client",
            secret("sandbox-secret"),
        )
    }
}

/// Tests that are about no version speak V2, or V1 where this says so: `scripts/check` runs them in both.
fn speaks_v1() -> bool {
    std::env::var("BANKREFRESH_TEST_API_VERSION").is_ok_and(|version| version == "v1")
}

fn command(connection: i64) -> RefreshConnection {
    RefreshConnection {
        command_id: "6f1d3b0a-6b0e-4b8e-9a55-0d5b7c3c0001".into(),
        user_id: "anna".into(),
        bank_connection_id: connection,
        ..RefreshConnection::default()
    }
}

fn refresh(command: RefreshConnection) -> Refresh {
    let command = Command::parse(command).expect("a command");
    Refresh::new(command, start(), Envelope::default(), start())
}

fn user(id: &str) -> UserId {
    id.parse().expect("a user's id")
}

/// The platform's credential service, at any address in process: knows every user's password.
fn credential_service() -> Router {
    let password = |Path(user): Path<String>| async move { format!(r#"{{"password":"secret-{user}"}}"#) };
    Router::new().route("/users/{user}", get(password))
}

fn from_service() -> Credentials {
    Credentials::Http {
        url: url("http://credentials.test/users"),
        allow_insecure: false,
        bearer: None,
        timeout: secs(5),
    }
}

/// A sandbox and a client of it.
struct World {
    sandbox: Arc<Sandbox>,
    client: FinApi,
}

impl World {
    fn new() -> Self {
        Self::of(SandboxConfig::default(), settings())
    }

    fn of(mut config: SandboxConfig, mut settings: Settings) -> Self {
        let is_usual = (config.api_version, settings.api_version) == (sandbox::ApiVersion::V2, ApiVersion::V2);
        if is_usual && speaks_v1() {
            (config.api_version, settings.api_version) = (sandbox::ApiVersion::V1, ApiVersion::V1);
        }
        let sandbox = Sandbox::new(SandboxConfig {
            start: Some(start()),
            ..config
        });
        let router = sandbox.router().merge(credential_service());
        Self {
            client: client(router, settings, from_service()),
            sandbox,
        }
    }

    /// With a script for connection 1 of `anna`.
    fn scripted(script: Script) -> Self {
        let world = Self::new();
        world.sandbox.script("anna", 1, script);
        world
    }

    /// Where connection 1 of `anna` meets a fault.
    fn with_fault(at: Endpoint, first: Option<u32>, kind: FaultKind) -> Self {
        let fault = Fault {
            first,
            ..Fault::at(at, kind)
        };
        Self::of(
            SandboxConfig {
                faults: vec![fault],
                ..SandboxConfig::default()
            },
            settings(),
        )
    }

    async fn query(&self, connection: i64, query: &Query) -> QueryResult {
        self.client.result_of(&refresh(command(connection)), query).await
    }

    async fn failure(&self, query: &Query) -> Failure {
        self.query(1, query).await.expect_err("a failure")
    }

    /// The same for a user who has a connection 2.
    async fn failure_of(&self, user_id: &str, query: &Query) -> Failure {
        let command = RefreshConnection {
            user_id: user_id.to_owned(),
            ..command(2)
        };
        let result = self.client.result_of(&refresh(command), query).await;
        result.expect_err("a failure")
    }

    async fn start(&self, connection: i64) -> Task {
        task(self.query(connection, &Query::Start).await)
    }

    async fn find(&self, connection: i64) -> Vec<Task> {
        match self.query(connection, &Query::FindTask).await {
            Ok(Response::Tasks(tasks)) => tasks,
            other => panic!("no tasks: {other:?}"),
        }
    }

    async fn poll(&self, connection: i64, id: &str) -> Task {
        task(self.query(connection, &Query::Task(id.into())).await)
    }

    async fn form(&self, connection: i64, id: &str) -> WebForm {
        match self.query(connection, &Query::WebForm(id.into())).await {
            Ok(Response::WebForm(form)) => form,
            other => panic!("no web form: {other:?}"),
        }
    }

    async fn connection(&self, connection: i64) -> Connection {
        match self.query(connection, &Query::Connection).await {
            Ok(Response::Connection(connection)) => connection,
            other => panic!("no connection: {other:?}"),
        }
    }

    async fn collected(&self, connection: i64, query: &Query) -> Collected {
        match self.query(connection, query).await {
            Ok(Response::Collected(collected)) => collected,
            other => panic!("nothing collected: {other:?}"),
        }
    }

    async fn accounts(&self, connection: i64) -> Vec<Account> {
        let collected = self.collected(connection, &all_accounts()).await;
        collected.accounts.expect("accounts")
    }

    async fn page(&self, connection: i64, since: Timestamp, page: u32) -> Page {
        let accounts = self.connection(connection).await.account_ids;
        let collected = self.collected(connection, &page_of(accounts, since, page)).await;
        collected.page.expect("a page")
    }

    /// The transactions of all pages.
    async fn transactions(&self, connection: i64, since: Timestamp) -> Vec<Transaction> {
        let mut transactions = Vec::new();
        for number in 1.. {
            let page = self.page(connection, since, number).await;
            transactions.extend(page.transactions);
            if page.is_last {
                break;
            }
        }
        transactions
    }

    fn calls(&self, endpoint: Endpoint) -> u64 {
        self.sandbox.asked().calls.get(&endpoint).copied().unwrap_or_default()
    }
}

fn all_accounts() -> Query {
    Query::Collect(Wanted {
        accounts: true,
        page: None,
    })
}

fn page_of(accounts: Vec<AccountId>, since: Timestamp, page: u32) -> Query {
    let page = PageQuery { accounts, since, page };
    Query::Collect(Wanted {
        accounts: false,
        page: Some(page),
    })
}

fn client(router: Router, settings: Settings, credentials: Credentials) -> FinApi {
    let transport = Transport::InProcess(router);
    FinApi::new(transport, settings, credentials, breaker::Settings::default(), None)
}

/// Queries as a worker does: fetches tokens when they are needed.
impl FinApi {
    async fn keep_version_until_proven(&self) {
        let mut proof = self.watch_version();
        tokio::select! {
            () = self.keep_version() => {}
            _ = proof.wait_for(|proof| matches!(proof, Proof::Proven(_))) => {}
        }
    }

    async fn result_of(&self, refresh: &Refresh, query: &Query) -> QueryResult {
        match self.query_within(refresh, query, CancellationToken::new()).await {
            Outcome::Response(result) => result,
            other => panic!("not answered: {other:?}"),
        }
    }

    async fn query_within(&self, refresh: &Refresh, query: &Query, stop: CancellationToken) -> Outcome {
        let mut control = Control {
            stop,
            lease: Lease::endless(),
            renewals: 0,
            room: self.room(refresh),
        };
        if !self.has_token(refresh)
            && let Err(failure) = self.fetch_token(refresh.command.user_id()).await
        {
            return Outcome::Response(Err(failure));
        }
        loop {
            let outcome = self.query(refresh, query, &control).await;
            let Outcome::NeedsToken = outcome else { return outcome };
            control.renewals += 1;
            if let Err(failure) = self.fetch_token(refresh.command.user_id()).await {
                return Outcome::Response(Err(failure));
            }
        }
    }
}

fn task(result: QueryResult) -> Task {
    match result {
        Ok(Response::Task(task)) => task,
        other => panic!("no task: {other:?}"),
    }
}

/// A finAPI that gives out tokens and answers everything else in the same way.
fn always(status: u16, body: impl Into<Bytes>) -> FinApi {
    let body = body.into();
    let status = StatusCode::from_u16(status).expect("a status");
    let token = r#"{"access_token":"t","token_type":"bearer","expires_in":3600,"scope":"all"}"#;
    let router = Router::new()
        .route("/api/v2/oauth/token", axum::routing::post(move || async move { token }))
        .merge(credential_service())
        .fallback(move || async move { (status, body) });
    client(router, settings(), from_service())
}

fn status(status: u16) -> FaultKind {
    FaultKind::status(status)
}

/// With tokio's clock paused, this takes no time.
async fn pass(seconds: u64) {
    tokio::time::sleep(secs(seconds)).await;
}
