//! No secret leaves the client but to where it belongs.

use std::io;
use std::sync::Mutex;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;

use super::*;
use crate::finapi::transport::HttpResponse;

const TOKEN: &str = "planted-access-token";
const PASSWORD: &str = "planted-password";
const CLIENT_SECRET: &str = "planted-client-secret";
const BEARER: &str = "planted-platform-token";
const FORM_URL: &str = "https://webform.test/webForm/planted-web-form";

/// A log that is kept.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned()
    }
}

/// Says back, wherever an error has room for words, all that it was sent.
async fn echo(status: StatusCode, request: Request) -> (StatusCode, String) {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let header = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value: &axum::http::HeaderValue| value.to_str().ok())
    };
    let sent = format!(
        "{} {} {}",
        parts.uri,
        header("authorization").unwrap_or_default(),
        String::from_utf8_lossy(&body)
    );
    let answer = serde_json::json!({
        "error": sent, "error_description": sent, "code": sent, "description": sent, "message": sent,
        "errors": [{ "field": sent, "message": sent, "code": sent }],
        "id": sent, "createdAt": sent, "status": sent, "access_token": [sent], "items": sent, "password": [sent],
    });
    (status, answer.to_string())
}

/// A finAPI and a credential service that echo at one path and work at all others.
fn world(broken: &'static str, status: StatusCode) -> FinApi {
    let answer = move |path: &'static str, body: String| {
        move |request: Request| {
            let body = body.clone();
            async move {
                if broken == path {
                    echo(status, request).await
                } else {
                    (StatusCode::OK, body)
                }
            }
        }
    };
    let token = format!(r#"{{"access_token":"{TOKEN}","refresh_token":"{TOKEN}","expires_in":3600}}"#);
    let result = format!(r#"{{"password":"{PASSWORD}"}}"#);
    let task = format!(
        r#"{{"id":"t","createdAt":"2021-03-09T08:36:15.000+0000","status":"WEB_FORM_REQUIRED",
            "payload":{{"webForm":{{"id":"f","url":"{FORM_URL}"}}}}}}"#
    );
    let router = Router::new()
        .route("/api/v2/oauth/token", axum::routing::post(answer("token", token)))
        .route("/users/{user}", get(answer("secret", result)))
        .fallback(answer("finapi", task));
    let settings = Settings {
        client_secret: secret(CLIENT_SECRET),
        ..settings()
    };
    let credentials = Credentials::Http {
        url: url("http://credentials.test/users"),
        allow_insecure: false,
        bearer: secret(BEARER).try_into().ok(),
        timeout: secs(5),
    };
    client(router, settings, credentials)
}

fn check(text: &str) {
    for secret in [TOKEN, PASSWORD, CLIENT_SECRET, BEARER, FORM_URL] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn neither_failures_nor_logs_repeat_what_was_sent() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _kept = tracing::subscriber::set_default(subscriber);
    for broken in ["token", "secret", "finapi"] {
        for status in [200, 302, 400, 401, 403, 404, 422, 423, 429, 500] {
            let client = world(broken, StatusCode::from_u16(status).expect("a status"));
            for query in [
                Query::Start,
                Query::FindTask,
                Query::Connection,
                Query::WebForm("f".into()),
            ] {
                let result = client.result_of(&refresh(command(1)), &query).await;
                check(&format!("{result:?} {result:#?}"));
            }
        }
    }
    tracing::info!("the log is kept");
    assert!(log.text().contains("the log is kept"));
    check(&log.text());
}

#[tokio::test(start_paused = true)]
async fn what_can_be_printed_shows_no_secret() {
    let client = world("nothing", StatusCode::OK);
    let with_token = RefreshConnection {
        access_token: TOKEN.into(),
        ..command(1)
    };
    let refresh = refresh(with_token);
    let result = client.result_of(&refresh, &Query::Start).await;
    task(client.result_of(&self::refresh(command(1)), &Query::Start).await);
    check(&format!("{client:?} {refresh:?} {result:?}"));
    let response = HttpResponse {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Bytes::from(format!(r#"{{"access_token":"{TOKEN}"}}"#)),
    };
    check(&format!("{response:?}"));
}
