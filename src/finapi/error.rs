//! What a status and an error body mean. finAPI's free texts stay out: they may repeat what was sent.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::transport::{NoAnswer, Response};
use crate::refresh::failure::{Failure, FailureKind};

/// Which of finAPI's surfaces answered; the same status means different things on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// Access and Web Form 2.0, on behalf of a user.
    User,
    /// `POST /oauth/token`.
    OAuth,
}

/// Any of finAPI's error bodies.
#[derive(Debug, Default, Deserialize)]
struct Body {
    code: Option<String>,
    error: Option<String>,
    #[serde(default)]
    errors: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    code: Option<String>,
    field: Option<String>,
}

/// Codes that say the bank, or what was asked of it, is not supported.
const NOT_SUPPORTED: [&str; 6] = [
    "BANK_NOT_SUPPORTED",
    "NOT_SUPPORTED",
    "PAYMENT_NOT_SUPPORTED",
    "BANK_NOT_UNIQUE",
    "NOT_ALLOWED",
    "MANDATOR_MISCONFIGURATION",
];

/// Classifies an answer that is not a success.
pub(super) fn classify(endpoint: &str, surface: Surface, response: &Response) -> Failure {
    let body: Body = serde_json::from_slice(&response.body).unwrap_or_default();
    let fields: Vec<&str> = body
        .errors
        .iter()
        .filter_map(|entry| entry.field.as_deref())
        .map(word)
        .collect();
    let first = body.errors.iter().find_map(|entry| entry.code.clone());
    let code = body.code.or(first).or(body.error).filter(|code| is_word(code));
    let mut message = format!("{endpoint} answered {}", response.status.as_u16());
    if let Some(code) = &code {
        message.push(' ');
        message.push_str(code);
    }
    if !fields.is_empty() {
        message.push_str(" for ");
        message.push_str(&fields.join(", "));
    }
    let request_id = response.request_id().map(str::to_owned);
    Failure {
        kind: kind(surface, response, code.as_deref()),
        code,
        message,
        request_id,
    }
}

/// The names of the fields that a validation error complains of.
pub(super) fn invalid_fields(body: &[u8]) -> Vec<String> {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    body.errors.into_iter().filter_map(|entry| entry.field).collect()
}

/// Classifies a call that brought no answer. finAPI knows it by the id that it was sent with, if it got it at all.
pub(super) fn no_answer(endpoint: &str, no_answer: NoAnswer, sent_id: Option<&HeaderValue>) -> Failure {
    let kind = match no_answer {
        NoAnswer::Connect | NoAnswer::Lost | NoAnswer::TimedOut => FailureKind::Unavailable,
        NoAnswer::TooLong => FailureKind::Unexpected,
    };
    Failure {
        request_id: sent_id.and_then(|id| id.to_str().ok()).map(str::to_owned),
        ..Failure::new(kind, &format!("{endpoint}: {no_answer}"))
    }
}

/// Classifies a success whose body can't be understood.
pub(super) fn malformed(endpoint: &str, response: &Response, error: &str) -> Failure {
    Failure {
        request_id: response.request_id().map(str::to_owned),
        ..Failure::unexpected(&format!("{endpoint} answered {}: {error}", response.status.as_u16()))
    }
}

fn kind(surface: Surface, response: &Response, code: Option<&str>) -> FailureKind {
    match (response.status, surface) {
        (StatusCode::TOO_MANY_REQUESTS, _) => FailureKind::RateLimited(retry_after(&response.headers)),
        (StatusCode::REQUEST_TIMEOUT, _) => FailureKind::Unavailable,
        (StatusCode::SERVICE_UNAVAILABLE, _) if retry_after(&response.headers).is_some() => {
            FailureKind::RateLimited(retry_after(&response.headers))
        }
        (status, _) if status.is_server_error() => FailureKind::Unavailable,
        (StatusCode::BAD_REQUEST, Surface::OAuth) => FailureKind::UserUnauthorized,
        (StatusCode::UNAUTHORIZED, Surface::OAuth) => FailureKind::ClientUnauthorized,
        (StatusCode::FORBIDDEN, Surface::OAuth) => FailureKind::UserUnauthorized,
        (StatusCode::LOCKED, Surface::OAuth) => FailureKind::UserLocked,
        (StatusCode::BAD_REQUEST, Surface::User) => FailureKind::Rejected,
        (StatusCode::UNAUTHORIZED, Surface::User) => FailureKind::UserUnauthorized,
        (StatusCode::FORBIDDEN, Surface::User) => FailureKind::ClientUnauthorized,
        (StatusCode::NOT_FOUND, _) => FailureKind::NotFound,
        (StatusCode::LOCKED, Surface::User) => FailureKind::Locked,
        (StatusCode::UNPROCESSABLE_ENTITY, _) if code.is_some_and(|code| NOT_SUPPORTED.contains(&code)) => {
            FailureKind::NotSupported
        }
        (status, _) if status.is_client_error() => FailureKind::Rejected,
        _ => FailureKind::Unexpected,
    }
}

/// `Retry-After` in seconds, at most a day; finAPI gives no dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse::<u64>()
        .ok()?;
    Some(Duration::from_secs(seconds.min(24 * 3600)))
}

/// Whether a text is a code and no prose.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.[]-".contains(c))
}

fn word(text: &str) -> &str {
    if is_word(text) { text } else { "a field" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> Response {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header value"));
        }
        Response {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: map,
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn every_status_has_its_class() {
        let kind = |status, surface| classify("GET /x", surface, &response(status, &[], "")).kind;
        let user = [
            (400, FailureKind::Rejected),
            (401, FailureKind::UserUnauthorized),
            (403, FailureKind::ClientUnauthorized),
            (404, FailureKind::NotFound),
            (408, FailureKind::Unavailable),
            (418, FailureKind::Rejected),
            (422, FailureKind::Rejected),
            (423, FailureKind::Locked),
            (429, FailureKind::RateLimited(None)),
            (500, FailureKind::Unavailable),
            (503, FailureKind::Unavailable),
            (302, FailureKind::Unexpected),
        ];
        for (status, expected) in user {
            assert_eq!(kind(status, Surface::User), expected, "{status}");
        }
        let oauth = [
            (400, FailureKind::UserUnauthorized),
            (401, FailureKind::ClientUnauthorized),
            (403, FailureKind::UserUnauthorized),
            (423, FailureKind::UserLocked),
        ];
        for (status, expected) in oauth {
            assert_eq!(kind(status, Surface::OAuth), expected, "{status}");
        }
    }

    #[test]
    fn codes_fields_and_retry_after_are_read_and_prose_is_left_out() {
        let unsupported = classify(
            "POST /x",
            Surface::User,
            &response(
                422,
                &[("x-request-id", "r-1")],
                r#"{"code":"BANK_NOT_SUPPORTED","description":"token abc"}"#,
            ),
        );
        assert_eq!(unsupported.kind, FailureKind::NotSupported);
        assert_eq!(unsupported.message, "POST /x answered 422 BANK_NOT_SUPPORTED");
        assert_eq!(unsupported.request_id.as_deref(), Some("r-1"));
        let invalid = classify(
            "POST /x",
            Surface::User,
            &response(
                400,
                &[],
                r#"{"errors":[{"field":"accountTypes","message":"secret"},{"field":"a b"}]}"#,
            ),
        );
        assert_eq!(invalid.message, "POST /x answered 400 for accountTypes, a field");
        let limited = classify("GET /x", Surface::User, &response(429, &[("retry-after", "7")], ""));
        assert_eq!(limited.kind, FailureKind::RateLimited(Some(Duration::from_secs(7))));
    }
}
