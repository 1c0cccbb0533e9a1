//! The sandbox against the contract, in virtual time and in process.

mod access;
mod by_hand;
mod faults;
mod gateway;
mod notifications;
mod oauth;
mod page;
mod random;
mod tasks;
mod time;
mod update;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

/// A Monday in winter, 09:36:15 in Germany.
const START: &str = "2021-03-08T08:36:15Z";

/// Calls a sandbox as its client would.
struct Probe {
    /// By whose paths it calls.
    version: ApiVersion,
    sandbox: Arc<Sandbox>,
}

/// An answer that arrived.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The fields that a validation error of Web Form 2.0 names.
    fn wrong_fields(&self) -> Vec<String> {
        assert_eq!(self.status, 400, "{}", self.text);
        let body = self.json();
        let errors = body["errors"].as_array().expect("errors");
        let field = |error: &Value| error["field"].as_str().expect("a field").to_owned();
        errors.iter().map(field).collect()
    }
}

impl Probe {
    fn new() -> Self {
        Self::of(SandboxConfig::default())
    }

    fn of(config: SandboxConfig) -> Self {
        Self::speaking(ApiVersion::V1, config)
    }

    fn speaking(version: ApiVersion, config: SandboxConfig) -> Self {
        Self {
            version,
            sandbox: Sandbox::new(SandboxConfig {
                start: Some(START.parse().expect("a timestamp")),
                api_version: version,
                ..config
            }),
        }
    }

    /// With a script for connection 1 of `anna`.
    fn scripted(script: Script) -> Self {
        let probe = Self::new();
        probe.sandbox.script("anna", 1, script);
        probe
    }

    /// None: the connection dropped.
    async fn send(&self, request: Request<Body>) -> Option<Answer> {
        let response = self.sandbox.router().oneshot(request).await.expect("infallible");
        let lost = response.extensions().get::<ConnectionDropped>().is_some();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await;
        assert_eq!(lost, body.is_err(), "a body fails if and only if the connection drops");
        Some(Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(body.ok()?.to_vec()).expect("UTF-8"),
        })
    }

    async fn form(&self, form: &str) -> Answer {
        let request = Request::post(Endpoint::Token.path(self.version))
            .header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(Body::from(form.to_owned())).expect("a request");
        self.send(request).await.expect("an answer")
    }

    async fn token(&self, user: &str) -> String {
        let client = "client_id=sandbox-client&client_secret=sandbox-secret";
        let form = format!("grant_type=password&{client}&username={user}&password=secret-{user}");
        let answer = self.form(&form).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    async fn try_get(&self, user: &str, path: &str) -> Option<Answer> {
        let token = self.token(user).await;
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    /// As `anna`.
    async fn get(&self, path: &str) -> Answer {
        self.try_get("anna", path).await.expect("an answer")
    }

    async fn try_update(&self, user: &str, body: Value) -> Option<Answer> {
        let token = self.token(user).await;
        let request = Request::post("/api/tasks/backgroundUpdate")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).expect("a request"))
            .await
    }

    /// As `anna`.
    async fn update(&self, body: Value) -> Answer {
        self.try_update("anna", body).await.expect("an answer")
    }

    /// Starts an update of a connection and gives the task.
    async fn start(&self, connection: i64) -> Value {
        let answer = self.update(json!({ "bankConnectionIds": [connection] })).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }

    async fn task(&self, task: &Value) -> Value {
        let answer = self.get(&format!("/api/tasks/{}", id(task))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    async fn task_status(&self, task: &Value) -> String {
        text(&self.task(task).await["status"])
    }

    async fn web_form(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/webForms/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    async fn connection(&self, id: i64) -> Value {
        let path = Endpoint::BankConnection.path(self.version);
        self.get(&path.replace("{id}", &id.to_string())).await.json()
    }

    async fn transactions(&self, query: &str) -> Value {
        let path = Endpoint::Transactions.path(self.version);
        let answer = self.get(&format!("{path}?view=bankView&{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }
}

fn id(value: &Value) -> String {
    text(&value["id"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// With tokio's clock paused, this takes no time.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
