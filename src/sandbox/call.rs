//! One call of finAPI, read, and its answer before it is sent.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::endpoint::Endpoint;
use super::fault::Then;
use super::refusal::{FieldError, Refusal};

/// The header that is echoed back.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const REQUEST_ID_LENGTH_MAX: usize = 255;
const BODY_LENGTH_MAX: usize = 1 << 20;

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) endpoint: Endpoint,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) bearer: Option<String>,
    pub(super) content_type: Option<String>,
    /// The path's last segment.
    pub(super) id: String,
    pub(super) query: String,
    pub(super) body: Bytes,
    /// What happens to the answer, once the work is done.
    pub(super) then: Option<Then>,
}

impl Call {
    /// None when the caller went away or sent too much.
    pub(super) async fn read(endpoint: Endpoint, request: Request) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, BODY_LENGTH_MAX).await.ok()?;
        let id = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        Some(Self {
            endpoint,
            request_id: parts.headers.get(REQUEST_ID).cloned(),
            bearer: bearer(&parts.headers),
            content_type: text(&parts.headers, CONTENT_TYPE),
            id,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body,
            then: None,
        })
    }

    /// As error bodies name it, for instance `GET /api/tasks/1d4…`.
    pub(super) fn endpoint_text(&self) -> String {
        let method = if self.endpoint.is_post() { "POST" } else { "GET" };
        format!("{method} {}", self.endpoint.path().replace("{id}", &self.id))
    }

    pub(super) fn check_request_id(&self) -> Result<(), Refusal> {
        match &self.request_id {
            Some(id) if id.len() > REQUEST_ID_LENGTH_MAX => Err(Refusal::Invalid(vec![FieldError::new(
                "X-Request-Id",
                "must be at most 255 characters",
            )])),
            _ => Ok(()),
        }
    }

    pub(super) fn check_content_type(&self, wanted: &str) -> Result<(), Refusal> {
        let given = self.content_type.as_deref().unwrap_or_default();
        let essence = given.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        Err(Refusal::Invalid(vec![FieldError::new(
            "Content-Type",
            format!("must be {wanted}"),
        )]))
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.to_owned())
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<u32>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self {
            status,
            retry_after: None,
            // These bodies have text keys only, which is all that could fail.
            body: serde_json::to_vec(body).unwrap_or_default(),
        }
    }

    pub(super) fn ok(body: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub(super) fn into_response(self, request_id: Option<HeaderValue>) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(id) = request_id {
            headers.insert(REQUEST_ID, id);
        }
        response
    }
}
