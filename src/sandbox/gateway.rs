//! Whatever stands between finAPI and its caller and answers in finAPI's place: a gateway, a proxy, a firewall.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::Reply;
use super::clock::{earlier, http_time, later};

/// An answer that finAPI never gave. It does not repeat the request's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: GatewayBody,
    /// `Content-Type`; the one that goes with the body when not given.
    pub content_type: Option<String>,
    /// `Location`, for a redirect.
    pub location: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<RetryAfter>,
    /// finAPI has done the work, and its own answer never arrives.
    pub after_work: bool,
}

/// What a gateway's body is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayBody {
    /// A page for a browser.
    #[default]
    Html,
    /// Nothing.
    Empty,
    /// JSON that is not finAPI's: as Spring Boot writes an error that finAPI's code does not know of.
    Json,
    /// This text.
    Text(String),
}

/// What `Retry-After` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RetryAfter {
    /// Seconds: `3`.
    Seconds(u32),
    /// An HTTP date that is so many seconds from now: `{ date_in = 3 }`. It may have passed.
    Date {
        /// Seconds from now.
        date_in: i32,
    },
    /// This text, which need not be one that the header may have: `"-1"`, `"1.5"`, `"soon"`.
    Text(String),
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            status: 502,
            body: GatewayBody::default(),
            content_type: None,
            location: None,
            retry_after: None,
            after_work: false,
        }
    }
}

impl Gateway {
    /// A status with a body.
    #[must_use]
    pub fn new(status: u16, body: GatewayBody) -> Self {
        Self {
            status,
            body,
            ..Self::default()
        }
    }

    pub(super) fn reply(&self, path: &str, now: Timestamp) -> Reply {
        let mut headers = HeaderMap::new();
        let content_type = self.content_type.as_deref().unwrap_or(self.body.content_type());
        insert(&mut headers, CONTENT_TYPE, content_type);
        insert(&mut headers, LOCATION, self.location.as_deref().unwrap_or_default());
        if let Some(retry_after) = &self.retry_after {
            insert(&mut headers, RETRY_AFTER, &retry_after.text(now));
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        Reply {
            status,
            headers,
            body: self.body.text(status, path, now).into_bytes(),
        }
    }
}

impl GatewayBody {
    fn content_type(&self) -> &'static str {
        match self {
            Self::Html => "text/html",
            Self::Empty => "",
            Self::Json => "application/json",
            Self::Text(_) => "text/plain",
        }
    }

    fn text(&self, status: StatusCode, path: &str, now: Timestamp) -> String {
        let (number, reason) = (status.as_u16(), status.canonical_reason().unwrap_or("Unknown"));
        match self {
            Self::Html => {
                let title = format!("{number} {reason}");
                format!("<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\r\n")
            }
            Self::Empty => String::new(),
            Self::Json => {
                let body = serde_json::json!({
                    "timestamp": now.to_string(),
                    "status": number,
                    "error": reason,
                    "path": path,
                });
                body.to_string()
            }
            Self::Text(text) => text.clone(),
        }
    }
}

impl RetryAfter {
    /// As the header has it.
    pub(super) fn text(&self, now: Timestamp) -> String {
        match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Date { date_in } => {
                let by = Duration::from_secs(u64::from(date_in.unsigned_abs()));
                let at = if *date_in < 0 { earlier(now, by) } else { later(now, by) };
                http_time(at)
            }
            Self::Text(text) => text.clone(),
        }
    }
}

impl From<u32> for RetryAfter {
    fn from(seconds: u32) -> Self {
        Self::Seconds(seconds)
    }
}

/// Leaves the header out when there is nothing to say, or when it can't be sent.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Some(value) = HeaderValue::from_str(value).ok().filter(|value| !value.is_empty()) {
        headers.insert(name, value);
    }
}
