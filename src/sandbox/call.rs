//! One call of finAPI, read, and its answer before it is sent.

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use super::clock::http_time;
use super::config::ApiVersion;
use super::endpoint::Endpoint;
use super::fault::{FaultKind, Then};
use super::refusal::{FieldError, Refusal};

/// The header that is echoed back.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const REQUEST_ID_LENGTH_MAX: usize = 255;
const BODY_LENGTH_MAX: usize = 1 << 20;

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) endpoint: Endpoint,
    /// The version of Access by whose path it came; the client's own where there is one path.
    pub(super) version: ApiVersion,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) bearer: Option<String>,
    pub(super) content_type: Option<String>,
    /// The path's last segment.
    pub(super) id: String,
    pub(super) query: String,
    pub(super) body: Bytes,
    /// The fault it has met.
    pub(super) met: Option<FaultKind>,
    /// What happens to the answer, once the work is done.
    pub(super) then: Option<Then>,
}

impl Call {
    /// None when the caller went away or sent too much.
    pub(super) async fn read(endpoint: Endpoint, version: ApiVersion, request: Request) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, BODY_LENGTH_MAX).await.ok()?;
        let id = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        Some(Self {
            endpoint,
            version,
            request_id: parts.headers.get(REQUEST_ID).cloned(),
            bearer: bearer(&parts.headers),
            content_type: text(&parts.headers, CONTENT_TYPE),
            id,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body,
            met: None,
            then: None,
        })
    }

    /// As error bodies name it, for instance `GET /api/tasks/1d4…`.
    pub(super) fn endpoint_text(&self) -> String {
        format!("{} {}", self.endpoint.method(), self.path())
    }

    pub(super) fn path(&self) -> String {
        self.endpoint.path(self.version).replace("{id}", &self.id)
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
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let json = HeaderValue::from_static("application/json");
        Self {
            status,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            // These bodies have text keys only, which is all that could fail.
            body: serde_json::to_vec(body).unwrap_or_default(),
        }
    }

    pub(super) fn ok(body: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// As V2 writes a body: without the members that have no value.
    pub(super) fn without_nulls(mut self) -> Self {
        self.body = without_nulls(&self.body);
        self
    }

    /// finAPI repeats the request's id.
    pub(super) fn echoing(mut self, call: &Call) -> Self {
        if let Some(id) = &call.request_id {
            self.headers.insert(REQUEST_ID, id.clone());
        }
        self
    }

    /// By the sandbox's clock, which need not be the machine's.
    pub(super) fn dated(&mut self, now: Timestamp) {
        if let Ok(date) = HeaderValue::from_str(&http_time(now)) {
            self.headers.insert(DATE, date);
        }
    }
}

/// JSON as `serde_json` writes it, in one line and without blanks, less each member that is null.
fn without_nulls(json: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(json.len());
    let mut rest = json;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'"' {
            kept.push(*first);
            rest = after;
            continue;
        }
        let (text, after) = rest.split_at(text_length(rest));
        rest = after;
        match after.strip_prefix(b":null") {
            None => kept.extend_from_slice(text),
            // Its comma goes with it.
            Some([b',', after @ ..]) => rest = after,
            Some(after) => {
                kept.pop_if(|last| *last == b',');
                rest = after;
            }
        }
    }
    kept
}

/// How long the text is that JSON begins with, quotes included.
fn text_length(json: &[u8]) -> usize {
    let mut is_escaped = true;
    let end = json.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_value_is_left_out_and_the_rest_stays() {
        let cases = [
            (r#"{"a":null,"b":1}"#, r#"{"b":1}"#),
            (r#"{"a":1,"b":null}"#, r#"{"a":1}"#),
            (r#"{"a":null}"#, "{}"),
            (
                r#"{"a":null,"b":null,"c":[null,{"d":null}],"e":{"f":null}}"#,
                r#"{"c":[null,{}],"e":{}}"#,
            ),
            (
                r#"{"a":"x\\\":null,","b":"\\\\","c":null}"#,
                r#"{"a":"x\\\":null,","b":"\\\\"}"#,
            ),
            (r#"["null",-0.10]"#, r#"["null",-0.10]"#),
        ];
        for (json, expected) in cases {
            let kept = without_nulls(json.as_bytes());
            assert_eq!(String::from_utf8_lossy(&kept), expected, "{json}");
        }
    }
}
