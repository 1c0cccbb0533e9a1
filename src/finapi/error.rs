//! A call that brought nothing good, as a [`Failure`]. finAPI's free texts stay out: they may repeat what was sent.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::breaker::Host;
use super::grant::Denial;
use super::transport::{HttpResponse, TransportError};
pub(super) use super::verdict::Api;
use super::verdict::{self, Refusal};
use crate::limits::{CODE_CHARACTERS_MAX, FIELDS_MAX};
use crate::refresh::failure::{Failure, FailureClass};

/// The longest wait that is obeyed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

impl From<Host> for Api {
    fn from(host: Host) -> Self {
        match host {
            Host::WebForm => Self::WebForm,
            Host::Access | Host::Credentials => Self::Access,
        }
    }
}

/// Classifies a response that is not a success.
pub(super) fn classify(endpoint: &str, api: Api, response: &HttpResponse) -> Failure {
    let status = response.status.as_u16();
    let form = Refusal::of(&response.body);
    let is_own = form.is_of(api, status);
    let code = form.code().filter(|_| is_own);
    let code = code.map(|code| if is_word(code) { code } else { "" }.to_owned());
    let retry_after = retry_after(&response.headers);
    let own = is_own.then(|| code.as_deref().unwrap_or_default());
    let class = match api {
        Api::OAuth => Denial::of(status, own).class(status, own, retry_after),
        Api::Access | Api::WebForm => verdict::of_call(status, own, retry_after),
    };
    let mut message = format!("{endpoint} answered {status}");
    match (&code, &form) {
        (Some(code), _) if !code.is_empty() => message = format!("{message} {code}"),
        (_, Refusal::Validation(fields)) if is_own && !fields.is_empty() => {
            let fields: Vec<&str> = fields.iter().map(|field| word(field)).take(FIELDS_MAX).collect();
            message = format!("{message} for {}", fields.join(", "));
        }
        _ if class == FailureClass::Foreign => message.push_str(" in a form that is not finAPI's"),
        _ => {}
    }
    if class == FailureClass::Foreign && response.status == StatusCode::FORBIDDEN {
        message.push_str("; if it stays, check whether the client's licence allows this endpoint");
    }
    Failure {
        class,
        code,
        message,
        request_id: response.request_id().map(str::to_owned),
    }
}

/// The names of the fields that a validation error complains of.
pub(super) fn invalid_fields(body: &[u8]) -> Vec<String> {
    match Refusal::of(body) {
        Refusal::Validation(fields) => fields,
        _ => Vec::new(),
    }
}

/// Whether somebody else speaks in finAPI's place: what came is none of finAPI's forms. Server errors need no form.
pub(super) fn is_foreign(response: &HttpResponse) -> bool {
    match response.status.as_u16() {
        200..=299 => !super::wire::is_json_object(&response.body),
        400..=499 => Refusal::of(&response.body) == Refusal::Foreign,
        _ => true,
    }
}

/// Whether a refusal is how Access and its token endpoint write theirs. Whatever else is on the way has other forms.
pub(super) fn is_of_access(response: &HttpResponse) -> bool {
    Refusal::of(&response.body).is_of(Api::OAuth, response.status.as_u16())
}

/// Whether Web Form 2.0 refuses a request as invalid, in its own form.
pub(super) fn is_validation(response: &HttpResponse) -> bool {
    response.status == StatusCode::BAD_REQUEST && matches!(Refusal::of(&response.body), Refusal::Validation(_))
}

/// Classifies a request that got no response. finAPI knows it by the id that it was sent with, if it got it at all.
pub(super) fn no_response(endpoint: &str, error: TransportError, sent_id: Option<&HeaderValue>) -> Failure {
    let class = match error {
        TransportError::Connect | TransportError::Lost | TransportError::TimedOut | TransportError::NoRoom => {
            FailureClass::Unavailable
        }
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

/// Whether it says for how long finAPI is to be left alone.
pub(super) fn asks_for_wait(response: &HttpResponse) -> bool {
    let may_ask = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status);
    may_ask && retry_after(&response.headers).is_some()
}

/// What `Retry-After` asks for: seconds, or a date, which is counted from the response's own date, because clocks differ. At most a day. What is
/// negative, fractional, past or unreadable is absent.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(header::RETRY_AFTER)?;
    let wait = if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a time beyond all others.
        Duration::from_secs(asked.parse().unwrap_or(u64::MAX))
    } else {
        let now = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let until = httpdate::parse_http_date(asked).ok()?;
        until.duration_since(now.unwrap_or_else(SystemTime::now)).ok()?
    };
    Some(wait.min(RETRY_AFTER_MAX))
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
    fn codes_and_fields_are_read_and_prose_is_left_out() {
        let unsupported = classify(
            "POST /x",
            Api::WebForm,
            &response(
                422,
                &[("x-request-id", "r-1")],
                r#"{"code":"BANK_NOT_SUPPORTED","description":"token abc","endpoint":"POST /x"}"#,
            ),
        );
        assert_eq!(unsupported.class, FailureClass::NotSupported);
        assert_eq!(unsupported.message, "POST /x answered 422 BANK_NOT_SUPPORTED");
        assert_eq!(unsupported.request_id.as_deref(), Some("r-1"));
        let invalid = classify(
            "POST /x",
            Api::WebForm,
            &response(
                400,
                &[],
                r#"{"errors":[{"field":"accountTypes","message":"secret"},{"field":"a b"}],"endpoint":"POST /x"}"#,
            ),
        );
        assert_eq!(invalid.message, "POST /x answered 400 for accountTypes, a field");
        let foreign = classify("GET /x", Api::Access, &response(403, &[], r#"{"error":"Forbidden"}"#));
        assert_eq!((foreign.class, foreign.code), (FailureClass::Foreign, None));
        assert!(foreign.message.contains("licence"), "{}", foreign.message);
    }

    #[test]
    fn a_wait_is_read_in_both_forms_and_what_is_no_wait_is_absent() {
        let date = ("date", "Tue, 09 Mar 2021 08:36:15 GMT");
        let wait = |asked: &str| retry_after(&response(429, &[date, ("retry-after", asked)], "").headers);
        for (asked, seconds) in [
            ("0", 0),
            (" 7 ", 7),
            ("86400", 86_400),
            ("99999999999999999999999999", 86_400),
            ("Tue, 09 Mar 2021 08:36:45 GMT", 30),
            ("Tue, 09 Mar 2021 08:36:15 GMT", 0),
            ("Tuesday, 09-Mar-21 08:36:45 GMT", 30),
            ("Tue Mar  9 08:36:45 2021", 30),
            ("Sun, 09 Mar 2031 08:36:45 GMT", 86_400),
        ] {
            assert_eq!(wait(asked), Some(Duration::from_secs(seconds)), "{asked}");
        }
        for absent in [
            "",
            "-1",
            "1.5",
            "+3",
            "soon",
            "Tue, 09 Mar 2021 08:36:14 GMT",
            "Tue, 31 Feb 2021 08:36:45 GMT",
            "2021-03-09T08:36:45Z",
        ] {
            assert_eq!(wait(absent), None, "{absent}");
        }
        let ahead = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let by_our_clock = retry_after(&response(429, &[("retry-after", &ahead)], "").headers);
        assert!(by_our_clock.is_some_and(|wait| (90..=100).contains(&wait.as_secs())));
    }
}
