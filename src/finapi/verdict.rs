//! Who speaks in a refusal, and what it means. Only finAPI's own word can end a refresh: what a gateway, a proxy or a firewall says in
//! its place is trouble on the way.
//!
//! | status | in finAPI's own form | in any other form |
//! | --- | --- | --- |
//! | 2xx that can't be read, 3xx | `Unexpected` | `Unexpected` |
//! | 401 | `TokenRefused` | `Foreign` |
//! | 403 | `ClientUnauthorized`; with the code `USER_NOT_VERIFIED`, `UserUnauthorized` | `Foreign` |
//! | 404 | `NotFound` | `Foreign` |
//! | 408 | `Unavailable` | `Unavailable` |
//! | 422 with a code that names what is not supported | `NotSupported` | `Foreign` |
//! | 423 | `Locked` | `Foreign` |
//! | 429, and 503 with a `Retry-After` | `RateLimited` | `RateLimited` |
//! | any other 4xx | `Rejected` | `Foreign` |
//! | any other 5xx | `Unavailable` | `Unavailable` |
//!
//! The rows of `POST /oauth/token` are in [`grant`](super::grant). How long each class is retried is in `refresh/transition/trouble.rs`.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::refresh::failure::FailureClass;

/// Which of finAPI's APIs is asked; each has forms of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// Connections, accounts and transactions.
    Access,
    /// Web Form 2.0.
    WebForm,
    /// The tokens of Access.
    OAuth,
}

/// A refusal, by the form of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Access: `errors`, of which the first has this code.
    Access(String),
    /// OAuth: this word.
    OAuth(String),
    /// Web Form 2.0: this code.
    WebForm(String),
    /// Web Form 2.0: the fields that it complains of.
    Validation(Vec<String>),
    /// None of finAPI's.
    Foreign,
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

impl Refusal {
    /// The form that a body has.
    pub(super) fn of(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Map<String, Value>>(body) else {
            return Self::Foreign;
        };
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let errors = body.get("errors").and_then(Value::as_array);
        let first = errors.and_then(|errors| errors.first()?.get("code")?.as_str());
        match (first, text("code"), errors, text("endpoint"), text("error")) {
            (Some(code), ..) => Self::Access(code.to_owned()),
            (_, Some(code), _, Some(_), _) => Self::WebForm(code),
            (_, _, Some(errors), Some(_), _) => Self::Validation(fields(errors)),
            (.., Some(word)) if is_oauth(&word) && !body.contains_key("status") && !body.contains_key("path") => {
                Self::OAuth(word)
            }
            _ => Self::Foreign,
        }
    }

    /// Whether it is how this API refuses something with this status.
    pub(super) fn is_of(&self, api: Api, status: u16) -> bool {
        match (self, api) {
            (Self::Access(_), Api::Access | Api::OAuth)
            | (Self::WebForm(_), Api::WebForm)
            | (Self::OAuth(_), Api::OAuth) => true,
            // Both take the same token, and refuse a dead one in the words of whoever checks it.
            (Self::OAuth(_), Api::Access | Api::WebForm) => status == 401,
            (Self::Validation(_), Api::WebForm) => status == 400,
            _ => false,
        }
    }

    /// finAPI's code.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Access(code) | Self::OAuth(code) | Self::WebForm(code) => Some(code),
            Self::Validation(_) | Self::Foreign => None,
        }
    }
}

fn fields(errors: &[Value]) -> Vec<String> {
    let fields = errors.iter().filter_map(|error| error.get("field")?.as_str());
    fields.map(str::to_owned).collect()
}

fn is_oauth(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// What a call led to. `own` is finAPI's code, empty where it gave none; none where the body is not finAPI's.
pub(super) fn of_call(status: u16, own: Option<&str>, retry_after: Option<Duration>) -> FailureClass {
    match (status, own) {
        (429, _) => FailureClass::RateLimited(retry_after),
        (503, _) if retry_after.is_some() => FailureClass::RateLimited(retry_after),
        (408 | 500.., _) => FailureClass::Unavailable,
        (..=399, _) => FailureClass::Unexpected,
        (_, None) => FailureClass::Foreign,
        (401, _) => FailureClass::TokenRefused,
        (403, Some("USER_NOT_VERIFIED")) => FailureClass::UserUnauthorized,
        (403, _) => FailureClass::ClientUnauthorized,
        (404, _) => FailureClass::NotFound,
        (422, Some(code)) if NOT_SUPPORTED.contains(&code) => FailureClass::NotSupported,
        (423, _) => FailureClass::Locked,
        _ => FailureClass::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finapi::grant::Denial;

    const ACCESS: &str = r#"{"errors":[{"message":"No","code":"UNKNOWN_ENTITY","type":"BUSINESS"}],"date":"2026-03-09 09:36:15.000",
        "requestId":"r-1","endpoint":"GET /api/v1/accounts","authContext":"1/0","bank":null}"#;
    const OAUTH: &str = r#"{"error":"invalid_token","error_description":"Invalid access token"}"#;
    const WEB_FORM: &str = r#"{"code":"NOT_FOUND","description":"No","timestamp":"2026-03-09T08:36:15.000+0000","endpoint":"GET /api/tasks/1"}"#;
    const VALIDATION: &str = r#"{"errors":[{"field":"profileId","message":"unknown"},{"message":"odd"},7],
        "timestamp":"2026-03-09T08:36:15.000+0000","endpoint":"POST /api/tasks/backgroundUpdate"}"#;
    const SPRING: &str = r#"{"timestamp":"2026-03-09T08:36:15","status":404,"error":"not_found","path":"/api/tasks"}"#;

    #[test]
    fn each_form_is_known_by_what_only_finapi_writes() {
        assert_eq!(Refusal::of(ACCESS.as_bytes()), Refusal::Access("UNKNOWN_ENTITY".into()));
        assert_eq!(Refusal::of(OAUTH.as_bytes()), Refusal::OAuth("invalid_token".into()));
        assert_eq!(Refusal::of(WEB_FORM.as_bytes()), Refusal::WebForm("NOT_FOUND".into()));
        assert_eq!(
            Refusal::of(VALIDATION.as_bytes()),
            Refusal::Validation(vec!["profileId".into()])
        );
        for foreign in [
            SPRING,
            "",
            "<html>",
            "null",
            "[]",
            "{}",
            r#"{"message":"Forbidden"}"#,
            r#"{"error":"Forbidden"}"#,
            r#"{"error":{"code":7}}"#,
            r#"{"code":"NOT_FOUND"}"#,
            r#"{"code":404,"endpoint":"/"}"#,
            r#"{"errors":null,"endpoint":"/"}"#,
            r#"{"errors":[]}"#,
            r#"{"errors":[{"code":7}]}"#,
        ] {
            assert_eq!(Refusal::of(foreign.as_bytes()), Refusal::Foreign, "{foreign}");
        }
    }

    /// Every API, every status and every form: what is not finAPI's word is tried again.
    #[test]
    fn only_finapis_word_is_final() {
        let transient = |class| {
            use FailureClass::{Foreign, RateLimited, Unavailable, Unexpected};
            matches!(class, Foreign | RateLimited(_) | Unavailable | Unexpected)
        };
        let forms =
            [ACCESS, OAUTH, WEB_FORM, VALIDATION, SPRING, "", "<html>", "{}"].map(|body| Refusal::of(body.as_bytes()));
        let own = |api, status, form: &Refusal| match api {
            Api::Access => matches!(form, Refusal::Access(_)) || status == 401 && matches!(form, Refusal::OAuth(_)),
            Api::WebForm => match form {
                Refusal::WebForm(_) => true,
                Refusal::OAuth(_) => status == 401,
                Refusal::Validation(_) => status == 400,
                _ => false,
            },
            Api::OAuth => matches!(form, Refusal::Access(_) | Refusal::OAuth(_)),
        };
        for api in [Api::Access, Api::WebForm, Api::OAuth] {
            for status in (200..600).filter(|status| !(200..300).contains(status)) {
                for form in &forms {
                    let is_own = form.is_of(api, status);
                    assert_eq!(is_own, own(api, status, form), "{api:?} {status} {form:?}");
                    let code = is_own.then(|| form.code().unwrap_or_default());
                    let class = match api {
                        Api::OAuth => Denial::of(status, code).class(status, code, None),
                        Api::Access | Api::WebForm => of_call(status, code, None),
                    };
                    let may_be_final = is_own
                        && match api {
                            // OAuth has no such word for a request that is wrong.
                            Api::OAuth if status == 400 => *form != Refusal::of(OAUTH.as_bytes()),
                            Api::OAuth => [401, 403, 423].contains(&status),
                            Api::Access | Api::WebForm => (400..500).contains(&status) && ![408, 429].contains(&status),
                        };
                    assert_eq!(transient(class), !may_be_final, "{api:?} {status} {form:?}: {class:?}");
                }
            }
        }
    }

    #[test]
    fn finapis_own_word_has_its_class() {
        let class = |status, code| of_call(status, Some(code), None);
        for (status, code, expected) in [
            (400, "BAD_REQUEST", FailureClass::Rejected),
            (401, "UNAUTHORIZED", FailureClass::TokenRefused),
            (403, "FORBIDDEN", FailureClass::ClientUnauthorized),
            (403, "USER_NOT_VERIFIED", FailureClass::UserUnauthorized),
            (404, "UNKNOWN_ENTITY", FailureClass::NotFound),
            (405, "", FailureClass::Rejected),
            (415, "", FailureClass::Rejected),
            (422, "ILLEGAL_FIELD_VALUE", FailureClass::Rejected),
            (422, "BANK_NOT_SUPPORTED", FailureClass::NotSupported),
            (423, "LOCKED", FailureClass::Locked),
            (429, "TOO_MANY_REQUESTS", FailureClass::RateLimited(None)),
            (500, "UNEXPECTED_ERROR", FailureClass::Unavailable),
            (503, "UNEXPECTED_ERROR", FailureClass::Unavailable),
            (302, "", FailureClass::Unexpected),
        ] {
            assert_eq!(class(status, code), expected, "{status} {code}");
        }
        let wait = Some(Duration::from_secs(7));
        assert_eq!(of_call(503, None, wait), FailureClass::RateLimited(wait));
        assert_eq!(of_call(500, None, wait), FailureClass::Unavailable);
    }
}
