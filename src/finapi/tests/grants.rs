//! Every row of finAPI's answers to a request for a token, and how often a password is sent after it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::Form;
use axum::response::IntoResponse;
use axum::routing::post;

use super::*;

const TOKEN: &str = r#"{"access_token":"t","token_type":"bearer","refresh_token":"r","expires_in":3600}"#;
const ERRORS: &str = r#"{"errors":[{"message":"No","code":"BAD_REQUEST","type":"TECHNICAL"}],"date":"2026-03-09T09:36:15.000+01:00",
    "requestId":"r-1","endpoint":"POST /api/v2/oauth/token","authContext":"1/0"}"#;
const SPRING: &str = r#"{"timestamp":"2026-03-09T08:36:15","status":400,"error":"Bad Request","path":"/oauth/token"}"#;

fn oauth(word: &str) -> String {
    format!(r#"{{"error":"{word}","error_description":"Invalid token: s3cret"}}"#)
}

/// What finAPI answers to each kind of grant, and how often it was asked.
#[derive(Clone)]
struct Tokens {
    answers: Arc<Mutex<BTreeMap<&'static str, (u16, String)>>>,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Tokens {
    fn new(password: (u16, &str)) -> Self {
        let tokens = Self {
            answers: Arc::default(),
            asked: Arc::default(),
        };
        tokens.answer("password", password.0, password.1);
        tokens.answer("refresh_token", 200, TOKEN);
        tokens.answer("client_credentials", 200, TOKEN);
        tokens
    }

    fn answer(&self, grant: &'static str, status: u16, body: &str) {
        let mut answers = self.answers.lock().expect("not poisoned");
        answers.insert(grant, (status, body.to_owned()));
    }

    fn asked(&self, grant: &str) -> usize {
        self.asked
            .lock()
            .expect("not poisoned")
            .get(grant)
            .copied()
            .unwrap_or_default()
    }

    fn client(&self) -> FinApi {
        let tokens = self.clone();
        let answer = async move |Form(form): Form<BTreeMap<String, String>>| {
            let grant = form["grant_type"].clone();
            let (status, body) = tokens.answers.lock().expect("not poisoned")[&*grant].clone();
            *tokens.asked.lock().expect("not poisoned").entry(grant).or_default() += 1;
            (StatusCode::from_u16(status).expect("a status"), body).into_response()
        };
        let router = Router::new().route("/api/v2/oauth/token", post(answer));
        client(router.merge(credential_service()), settings(), from_service())
    }
}

async fn fetch(client: &FinApi) -> Option<Failure> {
    client.fetch_token(&user("anna")).await.err()
}

/// Five needs for a token within a minute: how each ends, and how often the password is sent.
async fn five(tokens: &Tokens) -> (Vec<FailureClass>, usize) {
    let client = tokens.client();
    let mut classes = Vec::new();
    for _ in 0..5 {
        let failure = fetch(&client).await.expect("no token");
        assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
        classes.push(failure.class);
        pass(5).await;
    }
    (classes, tokens.asked("password"))
}

#[tokio::test(start_paused = true)]
async fn a_password_is_sent_once_for_each_row_about_the_user_and_twice_for_a_foreign_4xx() {
    use FailureClass::{ClientUnauthorized, UserLocked, UserUnauthorized};
    let about = [
        (400, ERRORS.to_owned(), UserUnauthorized, 1),
        (400, oauth("invalid_grant"), UserUnauthorized, 1),
        (403, ERRORS.to_owned(), UserUnauthorized, 1),
        (403, oauth("unauthorized_user"), UserUnauthorized, 1),
        (423, ERRORS.to_owned(), UserLocked, 1),
        (423, oauth("user_locked"), UserLocked, 1),
        // Once a minute.
        (401, oauth("invalid_client"), ClientUnauthorized, 1),
        (401, ERRORS.to_owned(), ClientUnauthorized, 1),
        // The request is wrong, which locks nobody.
        (400, oauth("invalid_request"), ClientUnauthorized, 5),
        (400, oauth("unsupported_grant_type"), ClientUnauthorized, 5),
    ];
    for (status, body, class, sent) in about {
        let tokens = Tokens::new((status, &body));
        assert_eq!(five(&tokens).await, (vec![class; 5], sent), "{status} {body}");
    }
    for status in (400..500).filter(|status| *status != 429) {
        for body in ["", "<html>No</html>", SPRING, "null", r#"{"message":"Forbidden"}"#] {
            let (classes, sent) = five(&Tokens::new((status, body))).await;
            assert_eq!(sent, 2, "{status} {body}");
            let is_final = |class| matches!(class, ClientUnauthorized | UserLocked | UserUnauthorized);
            assert!(
                !classes.iter().any(|class| is_final(*class)),
                "{status} {body}: {classes:?}"
            );
            let FailureClass::RateLimited(Some(wait)) = classes[4] else {
                panic!("{status} {body}: it does not wait: {classes:?}")
            };
            assert!(wait > secs(14 * 60) && wait <= secs(15 * 60), "{wait:?}");
        }
    }
    for (status, body) in [
        (500, ERRORS.to_owned()),
        (500, oauth("server_error")),
        (502, "<html>".to_owned()),
        (503, String::new()),
        (429, "<html>".to_owned()),
        (302, String::new()),
        (200, "<html>".to_owned()),
        (200, "{}".to_owned()),
    ] {
        let (classes, sent) = five(&Tokens::new((status, &body))).await;
        assert_eq!(sent, 5, "{status} {body}");
        use FailureClass::{Foreign, MaybeDown, RateLimited, Unexpected};
        let is_transient = |class: &FailureClass| matches!(class, Foreign | MaybeDown | RateLimited(_) | Unexpected);
        assert!(classes.iter().all(is_transient), "{status} {body}: {classes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_403_is_the_clients_if_the_client_itself_gets_no_token() {
    let tokens = Tokens::new((403, ERRORS));
    tokens.answer("client_credentials", 403, ERRORS);
    let (classes, sent) = five(&tokens).await;
    assert_eq!((classes, sent), (vec![FailureClass::ClientUnauthorized; 5], 1));
    assert_eq!(tokens.asked("client_credentials"), 1);
    // What does not show is waited for, and the password is not sent again meanwhile.
    let tokens = Tokens::new((403, ERRORS));
    tokens.answer("client_credentials", 502, "");
    let client = tokens.client();
    assert!(
        tokio::time::timeout(secs(45), fetch(&client)).await.is_err(),
        "it waits"
    );
    assert_eq!((tokens.asked("password"), tokens.asked("client_credentials")), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_client_is_tried_again_after_a_minute() {
    let tokens = Tokens::new((401, &oauth("invalid_client")));
    let client = tokens.client();
    for name in ["anna", "bert", "cleo"] {
        let failure = client.fetch_token(&user(name)).await.expect_err("no token");
        assert_eq!(failure.class, FailureClass::ClientUnauthorized);
    }
    assert_eq!(tokens.asked("password"), 1);
    tokens.answer("password", 200, TOKEN);
    pass(61).await;
    assert!(fetch(&client).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_falls_back_to_the_password_and_the_way_to_finapi_does_not() {
    for (status, body) in [
        (400, ERRORS.to_owned()),
        (400, oauth("invalid_grant")),
        (401, oauth("invalid_token")),
        (401, oauth("invalid_client")),
        (403, ERRORS.to_owned()),
        (423, ERRORS.to_owned()),
        (500, ERRORS.to_owned()),
    ] {
        let tokens = Tokens::new((200, TOKEN));
        let client = tokens.client();
        assert!(fetch(&client).await.is_none());
        tokens.answer("refresh_token", status, &body);
        pass(3600).await;
        let failure = fetch(&client).await;
        assert!(failure.is_none(), "{status} {body}: {failure:?}");
        assert_eq!(
            (tokens.asked("password"), tokens.asked("refresh_token")),
            (2, 1),
            "{status} {body}"
        );
    }
    for (status, body) in [(401, "<html>"), (403, ""), (404, SPRING), (502, ""), (503, "<html>")] {
        let tokens = Tokens::new((200, TOKEN));
        let client = tokens.client();
        assert!(fetch(&client).await.is_none());
        tokens.answer("refresh_token", status, body);
        pass(3600).await;
        assert!(fetch(&client).await.is_some(), "{status}");
        assert_eq!(tokens.asked("password"), 1, "{status}");
        // The token may be what is in the way.
        assert!(fetch(&client).await.is_none(), "{status}");
        assert_eq!(
            (tokens.asked("password"), tokens.asked("refresh_token")),
            (2, 1),
            "{status}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_kept_until_another_one_comes() {
    let tokens = Tokens::new((200, TOKEN));
    tokens.answer(
        "refresh_token",
        200,
        r#"{"access_token":"t2","refresh_token":null,"expires_in":"3600"}"#,
    );
    let client = tokens.client();
    for _ in 0..4 {
        assert!(fetch(&client).await.is_none());
        pass(3600).await;
    }
    assert_eq!((tokens.asked("password"), tokens.asked("refresh_token")), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_unknown_life_is_used_until_it_is_refused() {
    for expires_in in ["-1", "0", "null", r#""soon""#] {
        let tokens = Tokens::new((200, &format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#)));
        let client = tokens.client();
        assert!(fetch(&client).await.is_none());
        pass(365 * 24 * 3600).await;
        assert!(client.has_token(&refresh(command(1))), "{expires_in}");
    }
}

/// Workers that hear each other at once, as soon as they have said something.
fn join(clients: &[Arc<FinApi>]) {
    for (number, client) in (1..).zip(clients) {
        let mut to_others = client.join_workers(number);
        let others = clients.to_vec();
        tokio::spawn(async move {
            while let Some(said) = to_others.recv().await {
                for (body, other) in said
                    .bodies
                    .iter()
                    .flat_map(|body| others.iter().map(move |other| (body, other)))
                {
                    other.on_worker_message(body);
                }
                if let Some(done) = said.done {
                    let _ = done.send(true);
                }
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_sent_once_by_all_workers_together() {
    for (status, body, sent) in [(400, ERRORS, 1), (423, ERRORS, 1), (403, ERRORS, 1), (403, "<html>", 2)] {
        let tokens = Tokens::new((status, body));
        let clients: Vec<Arc<FinApi>> = (0..4).map(|_| Arc::new(tokens.client())).collect();
        join(&clients);
        for _ in 0..3 {
            let fetched = futures_util::future::join_all(clients.iter().map(|client| fetch(client))).await;
            assert!(fetched.iter().all(Option::is_some), "{status}");
            pass(1).await;
        }
        assert_eq!(tokens.asked("password"), sent, "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_granted_password_costs_a_moment_once_and_one_whose_token_died_is_announced_again() {
    let tokens = Tokens::new((200, r#"{"access_token":"t","expires_in":60}"#));
    let clients: Vec<Arc<FinApi>> = (0..4).map(|_| Arc::new(tokens.client())).collect();
    join(&clients);
    let took = async |client: &FinApi| {
        let began = tokio::time::Instant::now();
        assert!(fetch(client).await.is_none());
        began.elapsed()
    };
    assert_eq!(took(&clients[0]).await, settings().password_wait);
    for client in &clients[1..] {
        assert_eq!(took(client).await, Duration::ZERO);
    }
    // A new password, and four workers that know the old one as granted.
    for client in &clients {
        let name = user("anna");
        let token = client.tokens.get(&name).expect("a token");
        client.tokens.on_refused(&name, &token, 0);
    }
    tokens.answer("password", 400, ERRORS);
    let before = tokens.asked("password");
    futures_util::future::join_all(clients.iter().map(|client| fetch(client))).await;
    assert_eq!(tokens.asked("password"), before + 1);
}
