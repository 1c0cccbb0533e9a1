//! The same HTTP calls by a bare client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::options::{HttpPlan, Options};
use crate::process::Used;
use crate::run::Run;
use crate::verdict;

/// `finapi.calls_max`.
const CALLS_MAX: usize = 64;

/// Connections that no worker has updated.
const FRESH_CONNECTIONS: usize = 10_000_000;

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

#[derive(Deserialize)]
struct Task {
    id: String,
}

#[derive(Deserialize)]
struct Accounts {
    accounts: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    id: i64,
}

/// What is called, in the order of [`HttpPlan::calls`].
const CALLS: [&str; 6] = [
    "tasks",
    "start_update",
    "task",
    "bank_connection",
    "accounts",
    "transactions",
];

/// As many calls of each kind as the run has made, to the same simulator.
pub async fn measure(options: &Options, run: &Run) -> Used {
    let calls = CALLS.map(|endpoint| run.heard.calls.get(endpoint).copied().unwrap_or_default().to_string());
    let simulator = &run.simulator;
    let arguments = [
        "http".to_owned(),
        simulator.protocol.argument(),
        format!("--url={}", simulator.url),
        format!("--refreshes={}", run.refreshes),
        format!("--users={}", options.users),
        format!("--calls-max={CALLS_MAX}"),
        format!("--calls={}", calls.join(",")),
    ];
    let before = simulator.heard().await;
    let used = super::measured(&arguments, &simulator.roots).await;
    verdict::http_floor(run, &CALLS, &simulator.heard().await.since(&before));
    used
}

/// The calls of all refreshes, few at once.
pub async fn run(plan: &HttpPlan) {
    let client = plan.protocol.client();
    let mut tokens = Vec::new();
    for user in 0..plan.users {
        tokens.push(token(&client, plan, user).await);
    }
    let shared = Arc::new((client, tokens, plan.clone(), AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..plan.calls_max {
        let shared = Arc::clone(&shared);
        callers.spawn(async move {
            let (client, tokens, plan, next) = &*shared;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= plan.refreshes {
                    return;
                }
                refresh(client, tokens, plan, number).await;
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("a caller ends well");
    }
    super::done();
}

async fn token(client: &reqwest::Client, plan: &HttpPlan, user: usize) -> String {
    let form = format!(
        "grant_type=password&username=user-{user}&password=secret-user-{user}&client_id=sandbox-client&client_secret=sandbox-secret"
    );
    let request = client
        .post(format!("{}/api/v2/oauth/token", plan.url))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form);
    parsed::<Token>(&answer(request).await).access_token
}

async fn refresh(client: &reqwest::Client, tokens: &[String], plan: &HttpPlan, number: usize) {
    let connection = number + 1;
    let token = &tokens[connection % tokens.len()];
    let url = &plan.url;
    // Spreads as many calls as were made evenly over all refreshes.
    let times =
        |kind: usize| plan.calls[kind] * (number + 1) / plan.refreshes - plan.calls[kind] * number / plan.refreshes;
    let get = |path: String| {
        client
            .get(format!("{url}/{path}"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(ACCEPT, "application/json")
            .header("x-request-id", uuid::Uuid::now_v7().to_string())
    };
    for _ in 0..times(0) {
        answer(get("api/tasks?order=createdAt,desc&page=1&perPage=20".to_owned())).await;
    }
    let mut task = String::new();
    for _ in 0..times(1) {
        let request = client
            .post(format!("{url}/api/tasks/backgroundUpdate"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .header("x-request-id", uuid::Uuid::now_v7().to_string())
            .body(format!(
                "{{\"bankConnectionIds\":[{}]}}",
                connection + FRESH_CONNECTIONS
            ));
        task = parsed::<Task>(&answer(request).await).id;
    }
    for _ in 0..times(2) {
        answer(get(format!("api/tasks/{task}"))).await;
    }
    for _ in 0..times(3) {
        answer(get(format!("api/v2/bankConnections/{connection}"))).await;
    }
    let mut accounts = Vec::new();
    for _ in 0..times(4) {
        let read = answer(get(format!("api/v2/accounts?bankConnectionIds={connection}"))).await;
        accounts = parsed::<Accounts>(&read)
            .accounts
            .iter()
            .map(|account| account.id.to_string())
            .collect();
    }
    for _ in 0..times(5) {
        let ids = accounts.join(",");
        let today = jiff::Timestamp::now()
            .to_zoned_datetime(jiff::tz::TimeZone::UTC)
            .strftime("%Y-%m-%d");
        answer(get(format!(
            "api/v2/transactions?view=bankView&accountIds={ids}&minImportDate={today}&order=id,ASC&perPage=500&page=1"
        )))
        .await;
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Vec<u8> {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let body = response.bytes().await.expect("a body");
    assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    body.into()
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> T {
    serde_json::from_slice(body).expect("what was asked for")
}
