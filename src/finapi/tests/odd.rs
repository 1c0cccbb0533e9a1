//! Data that no one should send: each member of each body is null, missing, of another type, or beyond what it can hold. A field that
//! can't be read costs that field and never the page.

use serde_json::Value;

use super::*;
use crate::broken::Broken;
use crate::sandbox::{Behaviour, Odd, Transactions, UserDoes};

const NORMAL: &str = "a member that is null or missing is normal";
const ONE_FIELD: &str = "a member that can't be read costs that member alone";
const NEWER: &str = "what a newer version adds is normal";

/// finAPI's endpoints whose answers are data.
const ENDPOINTS: [Endpoint; 8] = [
    Endpoint::Token,
    Endpoint::StartUpdate,
    Endpoint::Tasks,
    Endpoint::Task,
    Endpoint::WebForm,
    Endpoint::BankConnection,
    Endpoint::Accounts,
    Endpoint::Transactions,
];

/// A world in which all that is asked for is there: a task with a web form, a connection, accounts, transactions.
struct Full {
    world: World,
    task: Task,
}

impl Full {
    async fn new() -> Self {
        let world = World::scripted(Script {
            transactions: Transactions {
                older: 0,
                per_update: 4,
            },
            ..Script::of(Behaviour::WebFormDuring {
                after: After::secs(1),
                user: UserDoes::Completes { after: After::secs(1) },
            })
        });
        let task = world.start(1).await;
        pass(60).await;
        let task = world.poll(1, task.id.as_str()).await;
        Self { world, task }
    }

    fn query(&self, endpoint: Endpoint) -> Query {
        let accounts = vec![1001.into(), 1002.into()];
        match endpoint {
            Endpoint::Token | Endpoint::ClientConfiguration | Endpoint::Tasks => Query::FindTask,
            Endpoint::StartUpdate => Query::Start,
            Endpoint::Task => Query::Task(self.task.id.clone()),
            Endpoint::WebForm => Query::WebForm(self.task.web_form.clone().expect("a web form").id),
            Endpoint::BankConnection => Query::Connection,
            Endpoint::Accounts => all_accounts(),
            Endpoint::Transactions => page_of(accounts, start(), 1),
            Endpoint::CancelWebForm | Endpoint::ChangeClient | Endpoint::NotificationRules => {
                unreachable!("no worker asks it")
            }
        }
    }

    /// The answer of an endpoint that has odd data.
    async fn with(endpoint: Endpoint, odd: Odd) -> QueryResult {
        let full = Self::new().await;
        if endpoint == Endpoint::Token {
            full.world.sandbox.revoke_token("anna");
            let token = full.world.client.tokens.get(&user("anna")).expect("a token");
            full.world.client.tokens.on_refused(&user("anna"), &token, 0);
        }
        full.world
            .sandbox
            .add_fault(Fault::at(endpoint, FaultKind::Odd(vec![odd])));
        full.world.query(1, &full.query(endpoint)).await
    }
}

/// The body of each endpoint, as the sandbox writes it.
async fn body(endpoint: Endpoint) -> Value {
    let full = Full::new().await;
    let router = full.world.sandbox.router();
    let form =
        "grant_type=password&client_id=sandbox-client&client_secret=sandbox-secret&username=anna&password=secret-anna";
    let version = match speaks_v1() {
        true => sandbox::ApiVersion::V1,
        false => sandbox::ApiVersion::V2,
    };
    let path = |endpoint: Endpoint| endpoint.path(version).to_owned();
    let token = call(&router, http::Method::POST, &path(Endpoint::Token), form, "").await;
    let bearer = format!("Bearer {}", token["access_token"].as_str().expect("a token"));
    let path = match endpoint {
        Endpoint::Token | Endpoint::ClientConfiguration => return token,
        Endpoint::StartUpdate => {
            let body = r#"{"bankConnectionIds":[1]}"#;
            return call(&router, http::Method::POST, &path(endpoint), body, &bearer).await;
        }
        Endpoint::Tasks => "/api/tasks".to_owned(),
        Endpoint::Task => format!("/api/tasks/{}", full.task.id),
        Endpoint::WebForm => format!("/api/webForms/{}", full.task.web_form.as_ref().expect("a web form").id),
        Endpoint::BankConnection => path(endpoint).replace("{id}", "1"),
        Endpoint::Accounts => path(endpoint),
        Endpoint::Transactions => path(endpoint) + "?view=bankView",
        Endpoint::CancelWebForm | Endpoint::ChangeClient | Endpoint::NotificationRules => {
            unreachable!("no worker asks it")
        }
    };
    call(&router, http::Method::GET, &path, "", &bearer).await
}

async fn call(router: &Router, method: http::Method, path: &str, body: &'static str, bearer: &str) -> Value {
    let url = format!("http://finapi.test{path}").parse().expect("a URL");
    let mut request = reqwest::Request::new(method, url);
    let content_type = if bearer.is_empty() {
        "application/x-www-form-urlencoded"
    } else {
        "application/json"
    };
    let headers = request.headers_mut();
    headers.insert("content-type", content_type.parse().expect("a header value"));
    if !bearer.is_empty() {
        headers.insert("authorization", bearer.parse().expect("a header value"));
    }
    *request.body_mut() = Some(body.into());
    let response = Transport::InProcess(router.clone())
        .send(request, secs(5), 1 << 20)
        .await;
    serde_json::from_slice(&response.expect("an answer").body).expect("JSON")
}

/// The places of all members, with the first element for every list.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                found.push(format!("{at}/{name}"));
                places(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(elements) => {
            if let Some(first) = elements.first() {
                places(first, &format!("{at}/0"), found);
            }
        }
        _ => {}
    }
}

/// Whether all that can be read is read: of transactions each one, but for one that has no id.
fn is_read(at: &str, result: &QueryResult) -> bool {
    match result {
        Ok(Response::Collected(collected)) if at.starts_with("/transactions/0") => {
            let page = collected.page.as_ref().expect("a page");
            page.transactions.len() == if at == "/transactions/0/id" { 3 } else { 4 }
        }
        Ok(_) => true,
        // Nothing can be said without the id of the one thing that was asked for, or with another token.
        Err(failure) => {
            at == "/access_token" || ["/id", "/items"].contains(&at) && failure.class == FailureClass::Unexpected
        }
    }
}

fn said(endpoint: Endpoint, odd: &Odd, result: &QueryResult) -> String {
    let json = odd.json.as_deref().unwrap_or("missing");
    let said = match result {
        Ok(Response::Collected(Collected { page: Some(page), .. })) => {
            format!("{} transactions", page.transactions.len())
        }
        Ok(_) => "read".to_owned(),
        Err(failure) => format!("{:?}", failure.class),
    };
    format!("{endpoint:?} {} {json}: {said}", odd.at)
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_null_or_missing_is_normal() {
    let mut broken = Broken::default();
    for endpoint in ENDPOINTS {
        let mut found = Vec::new();
        places(&body(endpoint).await, "", &mut found);
        assert!(found.len() > 4, "{endpoint:?}: {found:?}");
        for at in &found {
            for odd in [Odd::missing(at), Odd::new(at, "null")] {
                let result = Full::with(endpoint, odd.clone()).await;
                broken.unless(is_read(at, &result), NORMAL, || said(endpoint, &odd, &result));
            }
        }
    }
    broken.judge("finapi/null or missing");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_cant_be_read_costs_that_member_alone() {
    const VALUES: [&str; 12] = [
        r#""2026-02-30 00:00:00.000""#,
        r#""0000-00-00""#,
        r#""2026-03-09T25:61:61.000+0000""#,
        r#""""#,
        r#""12,50""#,
        r#""12.50""#,
        r#""\ud800""#,
        "1e400",
        "-1",
        "0.1234567890123456789012345678901234567890123456789",
        "[]",
        "{}",
    ];
    let mut broken = Broken::default();
    for endpoint in ENDPOINTS {
        let mut found = Vec::new();
        places(&body(endpoint).await, "", &mut found);
        for at in &found {
            for value in VALUES {
                let odd = Odd::new(at, value);
                let result = Full::with(endpoint, odd.clone()).await;
                broken.unless(is_read(at, &result), ONE_FIELD, || said(endpoint, &odd, &result));
            }
        }
    }
    broken.judge("finapi/one bad field");
}

#[tokio::test(start_paused = true)]
async fn a_list_of_tasks_that_cant_be_read_is_not_one_without_tasks() {
    for json in ["{}", "7", r#""none""#, "true"] {
        let result = Full::with(Endpoint::Tasks, Odd::new("/items", json)).await;
        let class = result.expect_err("no list").class;
        assert_eq!(class, FailureClass::Unexpected, "{json}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_version_adds_is_normal() {
    let mut broken = Broken::default();
    for endpoint in ENDPOINTS {
        let mut found = vec![String::new()];
        places(&body(endpoint).await, "", &mut found);
        let objects = found
            .iter()
            .filter_map(|at| at.rsplit_once('/').map(|(object, _)| object));
        let objects: std::collections::BTreeSet<&str> = objects.collect();
        for object in objects {
            for json in ["1", r#"{"a":[1,{"b":null}]}"#] {
                let odd = Odd::new(&format!("{object}/addedLater"), json);
                let result = Full::with(endpoint, odd.clone()).await;
                broken.unless(is_read(&odd.at, &result), NEWER, || said(endpoint, &odd, &result));
            }
        }
        for at in found.iter().filter(|at| is_enum(at)) {
            let odd = Odd::new(at, r#""ADDED_LATER""#);
            let result = Full::with(endpoint, odd.clone()).await;
            broken.unless(is_read(at, &result), NEWER, || said(endpoint, &odd, &result));
        }
    }
    broken.judge("finapi/newer version");
}

fn is_enum(at: &str) -> bool {
    const ENUMS: [&str; 12] = [
        "status",
        "type",
        "errorCode",
        "updateStatus",
        "categorizationStatus",
        "interface",
        "result",
        "errorType",
        "accountType",
        "accountCurrency",
        "currency",
        "token_type",
    ];
    ENUMS.contains(&at.rsplit('/').next().unwrap_or_default())
}
