//! Where users' credentials come from.

use std::path::PathBuf;
use std::sync::Mutex;

use axum::extract::Request;
use secrecy::ExposeSecret as _;

use super::*;
use crate::finapi::credentials::Secret;

/// A directory of its own, gone with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("bankrefresh-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(path.join("users")).expect("a directory");
        Self(path)
    }

    fn file(&self, name: &str, content: &[u8]) {
        std::fs::write(self.0.join(name), content).expect("a file");
    }

    async fn secret(&self, user_id: &str) -> Result<Secret, Failure> {
        let credentials = Credentials::Directory {
            directory: self.0.join("users"),
        };
        credentials
            .secret(&user(user_id), &Transport::InProcess(Router::new()))
            .await
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left of a test's own directory is no failure of the test.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn password(secret: Result<Secret, Failure>) -> String {
    match secret {
        Ok(Secret::Password(password)) => password.expose_secret().to_owned(),
        other => panic!("no password: {other:?}"),
    }
}

#[tokio::test]
async fn a_file_is_a_users_password_without_its_line_end() {
    let directory = Directory::new();
    for (content, expected) in [
        ("secret-anna", "secret-anna"),
        ("secret-anna\n", "secret-anna"),
        ("secret-anna\r\n", "secret-anna"),
        (" spaces are part of it ", " spaces are part of it "),
    ] {
        directory.file("users/anna", content.as_bytes());
        assert_eq!(password(directory.secret("anna").await), expected);
    }
}

#[tokio::test]
async fn a_user_without_a_file_is_unauthorized() {
    let failure = Directory::new().secret("anna").await.expect_err("no file");
    assert_eq!(failure.class, FailureClass::UserUnauthorized);
}

#[tokio::test]
async fn a_user_id_does_not_lead_out_of_the_directory() {
    let directory = Directory::new();
    directory.file("outside", b"secret");
    directory.file("users/.hidden", b"secret");
    for user_id in [
        "../outside",
        "..",
        ".",
        ".hidden",
        "users/../../outside",
        "a\\b",
        "/etc/hostname",
    ] {
        let failure = directory.secret(user_id).await.expect_err(user_id);
        assert_eq!(failure.class, FailureClass::UserUnauthorized, "{user_id}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_trouble() {
    let directory = Directory::new();
    directory.file("users/anna", &[0xff, 0xfe]);
    std::fs::create_dir(directory.0.join("users/bert")).expect("a directory");
    for user_id in ["anna", "bert"] {
        let failure = directory.secret(user_id).await.expect_err(user_id);
        assert_eq!(failure.class, FailureClass::Unavailable, "{user_id}");
    }
}

#[tokio::test]
async fn an_empty_file_is_no_password_to_be_tried() {
    let directory = Directory::new();
    directory.file("users/anna", b"\n");
    let failure = directory.secret("anna").await.expect_err("empty");
    assert_eq!(failure.class, FailureClass::UserUnauthorized);
}

#[tokio::test(start_paused = true)]
async fn without_a_source_only_the_commands_token_counts() {
    let sandbox = Sandbox::new(SandboxConfig::default());
    let client = client(sandbox.router(), settings(), Credentials::Command);
    let failure = client.result_of(&refresh(command(1)), &Query::FindTask).await;
    assert_eq!(failure.expect_err("no token").class, FailureClass::UserUnauthorized);
    assert!(sandbox.asked().calls.is_empty());
}

/// The URIs and headers that came.
type Asked = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A service that answers in one way and remembers what it was asked.
fn service(status: u16, body: &'static str) -> (Router, Asked) {
    let status = StatusCode::from_u16(status).expect("a status");
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let router = Router::new().fallback(move |request: Request| {
        let uri = request.uri().to_string();
        let headers = request.headers().clone();
        noted.lock().expect("not poisoned").push((uri, headers));
        async move { (status, body) }
    });
    (router, asked)
}

fn at(address: &str) -> Credentials {
    Credentials::Http {
        url: url(address),
        allow_insecure: false,
        bearer: secret("platform-token").try_into().ok(),
        timeout: secs(5),
    }
}

async fn answered(status: u16, body: &'static str) -> Result<Secret, Failure> {
    let (router, _) = service(status, body);
    at("http://credentials.test/users")
        .secret(&user("anna"), &Transport::InProcess(router))
        .await
}

#[tokio::test(start_paused = true)]
async fn a_service_knows_passwords_and_tokens() {
    assert_eq!(password(answered(200, r#"{"password":"p","new":1}"#).await), "p");
    let secret = answered(200, r#"{"access_token":"t","expires_in":60}"#).await;
    let Ok(Secret::Token { value, expires_in }) = secret else {
        panic!("no token: {secret:?}")
    };
    assert_eq!((value.expose_secret(), expires_in), ("t", Some(secs(60))));
    let secret = answered(200, r#"{"access_token":"t","password":null}"#).await;
    assert!(
        matches!(secret, Ok(Secret::Token { expires_in: None, .. })),
        "{secret:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_knows_no_such_user_is_believed_and_any_other_answer_is_trouble() {
    let class = |secret: Result<Secret, Failure>| secret.expect_err("a failure").class;
    assert_eq!(class(answered(404, "").await), FailureClass::UserUnauthorized);
    for status in [204, 302, 400, 401, 403, 429, 500, 503] {
        assert_eq!(class(answered(status, "").await), FailureClass::Unavailable, "{status}");
    }
    for body in ["", "{}", "[]", r#"{"password":7}"#] {
        assert_eq!(class(answered(200, body).await), FailureClass::Unavailable, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_asked_with_its_bearer_for_the_user_as_one_segment() {
    let (router, asked) = service(200, r#"{"password":"p"}"#);
    let transport = Transport::InProcess(router);
    for (address, user_id) in [
        ("http://credentials.test/v1/users", "anna"),
        ("http://credentials.test/v1/users/", "anna"),
        ("http://credentials.test/v1/users?tenant=7", "a/../b c?d#é%"),
    ] {
        password(at(address).secret(&user(user_id), &transport).await);
    }
    let asked = asked.lock().expect("not poisoned");
    let uris: Vec<_> = asked
        .iter()
        .map(|(uri, _)| uri.replace("http://credentials.test", ""))
        .collect();
    assert_eq!(
        uris,
        [
            "/v1/users/anna",
            "/v1/users/anna",
            "/v1/users/a%2F..%2Fb%20c%3Fd%23%C3%A9%25?tenant=7"
        ]
    );
    assert!(
        asked
            .iter()
            .all(|(_, headers)| headers["authorization"] == "Bearer platform-token")
    );
}

#[tokio::test(start_paused = true)]
async fn a_user_id_that_is_no_segment_is_not_asked_for() {
    let (router, asked) = service(200, r#"{"password":"everybodys"}"#);
    let transport = Transport::InProcess(router);
    for user_id in [".", ".."] {
        let failure = at("http://credentials.test/users")
            .secret(&user(user_id), &transport)
            .await;
        assert_eq!(failure.expect_err(user_id).class, FailureClass::UserUnauthorized);
    }
    assert!(asked.lock().expect("not poisoned").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_service_is_trouble() {
    let router = Router::new().fallback(|| async {
        pass(60).await;
        "{}"
    });
    let began = tokio::time::Instant::now();
    let failure = at("http://credentials.test/users")
        .secret(&user("anna"), &Transport::InProcess(router))
        .await;
    assert_eq!(failure.expect_err("too slow").class, FailureClass::Unavailable);
    assert_eq!(began.elapsed(), secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_services_token_is_used_as_long_as_it_says_however_long_that_is() {
    let sandbox = Sandbox::new(SandboxConfig::default());
    let token = r#"{"access_token":"dead","expires_in":18446744073709551615}"#;
    let service = Router::new().route("/users/{user}", get(move || async move { token }));
    let client = client(sandbox.router().merge(service), settings(), from_service());
    let failure = client.result_of(&refresh(command(1)), &Query::FindTask).await;
    assert_eq!(failure.expect_err("a dead token").class, FailureClass::TokenRefused);
    assert_eq!(sandbox.asked().calls[&Endpoint::Tasks], 2);
}

#[tokio::test(start_paused = true)]
async fn trouble_with_the_service_is_no_outage_of_finapi() {
    let sandbox = Sandbox::new(SandboxConfig::default());
    let service = Router::new().route("/users/{user}", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }));
    let client = client(sandbox.router().merge(service), settings(), from_service());
    for _ in 0..50 {
        let failure = client.result_of(&refresh(command(1)), &Query::FindTask).await;
        assert_eq!(failure.expect_err("no password").class, FailureClass::MaybeDown);
    }
    assert_eq!(*client.watch_outage().borrow(), Outage::None);
    assert!(sandbox.asked().calls.is_empty());
    assert_eq!(client.calls().limit, settings().calls_max, "finAPI is not strained");
}
