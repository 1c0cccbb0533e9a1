//! What a status and an error body mean. finAPI's free texts stay out: they may repeat what was sent.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use super::transport::{HttpResponse, TransportError};
use crate::limits::{CODE_CHARACTERS_MAX, FIELDS_MAX};
use crate::refresh::failure::{Failure, FailureClass};

/// Which of finAPI's APIs responded; the same status means different things in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
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

/// Classifies a response that is not a success.
pub(super) fn classify(endpoint: &str, api: Api, response: &HttpResponse) -> Failure {
    let body: Body = serde_json::from_slice(&response.body).unwrap_or_default();
    let fields = body.errors.iter().filter_map(|entry| entry.field.as_deref());
    let fields: Vec<&str> = fields.map(word).take(FIELDS_MAX).collect();
    let first = body.errors.iter().find_map(|entry| entry.code.clone());
    let code = body.code.or(first).or(body.error);
    let code = code.map(|code| Some(code).filter(|code| is_word(code)).unwrap_or_default());
    let mut message = format!("{endpoint} answered {}", response.status.as_u16());
    if let Some(code) = code.as_ref().filter(|code| !code.is_empty()) {
        message.push(' ');
        message.push_str(code);
    }
    if !fields.is_empty() {
        message.push_str(" for ");
        message.push_str(&fields.join(", "));
    }
    let request_id = response.request_id().map(str::to_owned);
    Failure {
        class: class(api, response, code.as_deref()),
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

/// Whether a refusal has one of the two forms in which Access and its token endpoint write theirs. Whatever else is on the way has others.
pub(super) fn is_of_access(response: &HttpResponse) -> bool {
    let Ok(body) = serde_json::from_slice::<serde_json::Map<String, Value>>(&response.body) else {
        return false;
    };
    let of_services = body
        .get("errors")
        .and_then(|errors| errors.get(0)?.get("code")?.as_str());
    let is_oauth_word =
        |error: &str| !error.is_empty() && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let of_tokens = body.get("error").and_then(Value::as_str).is_some_and(is_oauth_word)
        && !body.contains_key("status")
        && !body.contains_key("path");
    of_services.is_some() || of_tokens
}

/// Whether Web Form 2.0 refuses a request as invalid, in its own form.
pub(super) fn is_validation(response: &HttpResponse) -> bool {
    let Ok(body) = serde_json::from_slice::<serde_json::Map<String, Value>>(&response.body) else {
        return false;
    };
    let is_own = body.get("errors").is_some_and(Value::is_array) && body.get("endpoint").is_some_and(Value::is_string);
    response.status == StatusCode::BAD_REQUEST && is_own
}

/// Classifies a request that got no response. finAPI knows it by the id that it was sent with, if it got it at all.
pub(super) fn no_response(endpoint: &str, error: TransportError, sent_id: Option<&HeaderValue>) -> Failure {
    let class = match error {
        TransportError::Connect | TransportError::Lost | TransportError::TimedOut => FailureClass::Unavailable,
        TransportError::TooLong => FailureClass::Unexpected,
    };
    Failure {
        request_id: sent_id.and_then(|id| id.to_str().ok()).map(str::to_owned),
        ..Failure::new(class, &format!("{endpoint}: {error}"))
    }
}

/// Classifies a success whose body can't be understood.
pub(super) fn malformed(endpoint: &str, response: &HttpResponse, error: &str) -> Failure {
    Failure {
        request_id: response.request_id().map(str::to_owned),
        ..Failure::unexpected(&format!("{endpoint} answered {}: {error}", response.status.as_u16()))
    }
}

fn class(api: Api, response: &HttpResponse, code: Option<&str>) -> FailureClass {
    match (response.status, api) {
        (StatusCode::TOO_MANY_REQUESTS, _) => FailureClass::RateLimited(retry_after(&response.headers)),
        (StatusCode::REQUEST_TIMEOUT, _) => FailureClass::Unavailable,
        (StatusCode::SERVICE_UNAVAILABLE, _) if retry_after(&response.headers).is_some() => {
            FailureClass::RateLimited(retry_after(&response.headers))
        }
        (status, _) if status.is_server_error() => FailureClass::Unavailable,
        (StatusCode::BAD_REQUEST, Api::OAuth) => FailureClass::UserUnauthorized,
        (StatusCode::UNAUTHORIZED, Api::OAuth) => FailureClass::ClientUnauthorized,
        (StatusCode::FORBIDDEN, Api::OAuth) => FailureClass::UserUnauthorized,
        (StatusCode::LOCKED, Api::OAuth) => FailureClass::UserLocked,
        (StatusCode::BAD_REQUEST, Api::User) => FailureClass::Rejected,
        (StatusCode::UNAUTHORIZED, Api::User) => FailureClass::UserUnauthorized,
        (StatusCode::FORBIDDEN, Api::User) => FailureClass::ClientUnauthorized,
        (StatusCode::NOT_FOUND, _) => FailureClass::NotFound,
        (StatusCode::LOCKED, Api::User) => FailureClass::Locked,
        (StatusCode::UNPROCESSABLE_ENTITY, _) if code.is_some_and(|code| NOT_SUPPORTED.contains(&code)) => {
            FailureClass::NotSupported
        }
        (status, _) if status.is_client_error() => FailureClass::Rejected,
        _ => FailureClass::Unexpected,
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
pub(super) fn is_word(text: &str) -> bool {
    (1..=CODE_CHARACTERS_MAX).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.[]-".contains(c))
}

fn word(text: &str) -> &str {
    if is_word(text) { text } else { "a field" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> HttpResponse {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header value"));
        }
        HttpResponse {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: map,
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn every_status_has_its_class() {
        let class = |status, api| classify("GET /x", api, &response(status, &[], "")).class;
        let user = [
            (400, FailureClass::Rejected),
            (401, FailureClass::UserUnauthorized),
            (403, FailureClass::ClientUnauthorized),
            (404, FailureClass::NotFound),
            (408, FailureClass::Unavailable),
            (418, FailureClass::Rejected),
            (422, FailureClass::Rejected),
            (423, FailureClass::Locked),
            (429, FailureClass::RateLimited(None)),
            (500, FailureClass::Unavailable),
            (503, FailureClass::Unavailable),
            (302, FailureClass::Unexpected),
        ];
        for (status, expected) in user {
            assert_eq!(class(status, Api::User), expected, "{status}");
        }
        let oauth = [
            (400, FailureClass::UserUnauthorized),
            (401, FailureClass::ClientUnauthorized),
            (403, FailureClass::UserUnauthorized),
            (423, FailureClass::UserLocked),
        ];
        for (status, expected) in oauth {
            assert_eq!(class(status, Api::OAuth), expected, "{status}");
        }
    }

    #[test]
    fn codes_fields_and_retry_after_are_read_and_prose_is_left_out() {
        let unsupported = classify(
            "POST /x",
            Api::User,
            &response(
                422,
                &[("x-request-id", "r-1")],
                r#"{"code":"BANK_NOT_SUPPORTED","description":"token abc"}"#,
            ),
        );
        assert_eq!(unsupported.class, FailureClass::NotSupported);
        assert_eq!(unsupported.message, "POST /x answered 422 BANK_NOT_SUPPORTED");
        assert_eq!(unsupported.request_id.as_deref(), Some("r-1"));
        let invalid = classify(
            "POST /x",
            Api::User,
            &response(
                400,
                &[],
                r#"{"errors":[{"field":"accountTypes","message":"secret"},{"field":"a b"}]}"#,
            ),
        );
        assert_eq!(invalid.message, "POST /x answered 400 for accountTypes, a field");
        let limited = classify("GET /x", Api::User, &response(429, &[("retry-after", "7")], ""));
        assert_eq!(limited.class, FailureClass::RateLimited(Some(Duration::from_secs(7))));
    }
}
