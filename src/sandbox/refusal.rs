//! How finAPI says no. Each of its APIs has bodies of its own.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use super::call::{Call, Reply};
use super::clock::{access_time, web_form_time};
use super::endpoint::Surface;
use super::gateway::{Gateway, RetryAfter};

/// Why a call is not done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    /// The connection drops.
    Drop,
    /// Something else answers in finAPI's place.
    Gateway(Gateway),
    /// 400: these fields are wrong.
    Invalid(Vec<FieldError>),
    /// 401: the access token is none, or no longer one.
    DeadToken,
    /// Any other status, with a code in the words of Web Form 2.0 and OAuth.
    Error {
        status: u16,
        code: String,
        message: String,
        retry_after: Option<RetryAfter>,
    },
}

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) message: String,
}

impl FieldError {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: &str) -> Self {
        Self::Error {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            retry_after: None,
        }
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(404, "NOT_FOUND", &format!("{what} does not exist."))
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(403, "FORBIDDEN", message)
    }

    /// finAPI's answer; none when it says nothing.
    pub(super) fn reply(self, call: &Call, now: Timestamp) -> Option<Reply> {
        let written = match self {
            Self::Drop | Self::Gateway(_) => return None,
            Self::Invalid(errors) => invalid(errors, call, now),
            Self::DeadToken => dead_token(call, now),
            Self::Error {
                status,
                code,
                message,
                retry_after,
            } => {
                let mut reply = error(status, &code, &message, call, now);
                let retry_after = retry_after.map(|retry_after| retry_after.text(now));
                if let Some(Ok(retry_after)) = retry_after.as_deref().map(HeaderValue::from_str) {
                    reply.headers.insert(RETRY_AFTER, retry_after);
                }
                reply
            }
        };
        Some(written)
    }
}

/// A code for a status that comes without one.
pub(super) const fn usual_code(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHORIZED",
        403 => "FORBIDDEN",
        404 => "NOT_FOUND",
        422 => "BANK_NOT_SUPPORTED",
        423 => "LOCKED",
        429 => "TOO_MANY_REQUESTS",
        _ => "INTERNAL_SERVER_ERROR",
    }
}

#[derive(Serialize)]
struct OAuthError<'a> {
    error: &'a str,
    error_description: &'a str,
}

#[derive(Serialize)]
struct WebFormError<'a> {
    code: &'a str,
    description: &'a str,
    timestamp: String,
    endpoint: &'a str,
}

#[derive(Serialize)]
struct ValidationError<'a> {
    errors: Vec<FieldError>,
    timestamp: String,
    endpoint: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccessErrors<'a> {
    errors: Vec<AccessError>,
    date: String,
    request_id: Option<&'a str>,
    endpoint: &'a str,
    auth_context: Option<&'a str>,
    bank: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccessError {
    message: String,
    code: String,
    #[serde(rename = "type")]
    kind: &'static str,
    multi_step_authentication: Option<&'static str>,
}

fn dead_token(call: &Call, now: Timestamp) -> Reply {
    match call.endpoint.surface() {
        Surface::Access | Surface::OAuth => Reply::json(
            StatusCode::UNAUTHORIZED,
            &OAuthError {
                error: "invalid_token",
                // finAPI repeats what it was sent.
                error_description: &format!("Invalid access token: {}", call.bearer.as_deref().unwrap_or_default()),
            },
        ),
        Surface::WebForm => web_form_error(401, "UNAUTHORIZED", "The access token is not valid.", call, now),
    }
}

fn invalid(errors: Vec<FieldError>, call: &Call, now: Timestamp) -> Reply {
    match call.endpoint.surface() {
        Surface::OAuth => {
            let all: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
            oauth_error(400, "invalid_request", &all.join(", "))
        }
        Surface::WebForm => Reply::json(
            StatusCode::BAD_REQUEST,
            &ValidationError {
                errors,
                timestamp: web_form_time(now),
                endpoint: &call.endpoint_text(),
            },
        ),
        Surface::Access => {
            let error = |error: FieldError| AccessError {
                message: format!("{}: {}", error.field, error.message),
                code: "ILLEGAL_FIELD_VALUE".to_owned(),
                kind: "BUSINESS",
                multi_step_authentication: None,
            };
            access_errors(400, errors.into_iter().map(error).collect(), call, now)
        }
    }
}

fn error(status: u16, code: &str, message: &str, call: &Call, now: Timestamp) -> Reply {
    match call.endpoint.surface() {
        Surface::OAuth if status == 401 || code.starts_with(|first: char| first.is_ascii_lowercase()) => {
            oauth_error(status, code, message)
        }
        Surface::WebForm => web_form_error(status, code, message, call, now),
        Surface::OAuth | Surface::Access => {
            let error = AccessError {
                message: message.to_owned(),
                code: access_code(code).to_owned(),
                kind: if status < 500 { "BUSINESS" } else { "TECHNICAL" },
                multi_step_authentication: None,
            };
            access_errors(status, vec![error], call, now)
        }
    }
}

/// Access has its own words for some codes.
fn access_code(code: &str) -> &str {
    match code {
        "NOT_FOUND" => "UNKNOWN_ENTITY",
        "INTERNAL_SERVER_ERROR" => "UNEXPECTED_ERROR",
        other => other,
    }
}

fn oauth_error(status: u16, error: &str, error_description: &str) -> Reply {
    Reply::json(
        status_code(status),
        &OAuthError {
            error,
            error_description,
        },
    )
}

fn web_form_error(status: u16, code: &str, description: &str, call: &Call, now: Timestamp) -> Reply {
    Reply::json(
        status_code(status),
        &WebFormError {
            code,
            description,
            timestamp: web_form_time(now),
            endpoint: &call.endpoint_text(),
        },
    )
}

fn access_errors(status: u16, errors: Vec<AccessError>, call: &Call, now: Timestamp) -> Reply {
    Reply::json(
        status_code(status),
        &AccessErrors {
            errors,
            date: access_time(now, call.version),
            request_id: call.request_id.as_ref().and_then(|id| id.to_str().ok()),
            endpoint: &call.endpoint_text(),
            auth_context: Some("1/1"),
            bank: None,
        },
    )
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
