//! Who may see the console, and what a browser may do with its pages.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::Settings;
use crate::http_server::Peer;

/// Nothing but the console's own files; no script, style or image within a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Lets visitors in.
#[derive(Debug)]
pub(super) struct Guard {
    settings: Settings,
    /// What a form of ours has and one of another site can't know.
    form_token: String,
}

impl Guard {
    pub(super) fn new(settings: Settings) -> Self {
        let form_token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Self { settings, form_token }
    }

    pub(super) fn form_token(&self) -> &str {
        &self.form_token
    }

    /// Whether a form is one of ours.
    pub(super) fn is_own_form(&self, token: &str) -> bool {
        token.as_bytes().ct_eq(self.form_token.as_bytes()).into()
    }

    fn admits(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Result<(), StatusCode> {
        let Settings {
            password,
            user_header,
            trusted_proxies,
            ..
        } = &self.settings;
        if let (Some(name), Some(proxies)) = (user_header, trusted_proxies) {
            let comes_from_proxy = peer.is_some_and(|peer| proxies.contain(peer.to_canonical()));
            let has_user = headers.get(name.as_str()).is_some_and(|user| !user.is_empty());
            if comes_from_proxy && has_user {
                return Ok(());
            }
            if password.is_none() {
                return Err(StatusCode::FORBIDDEN);
            }
        }
        match password {
            Some(password) if is_password(headers, password.expose()) => Ok(()),
            Some(_) => Err(StatusCode::UNAUTHORIZED),
            // A name that leads to loopback is a trick of another site's.
            None if is_loopback(headers) => Ok(()),
            None => Err(StatusCode::MISDIRECTED_REQUEST),
        }
    }
}

/// Answers whoever may see the console, with the headers that every page has.
pub(super) async fn guarded(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| *address);
    let mut response = match guard.admits(peer, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(status) => refusal(status),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn refusal(status: StatusCode) -> Response {
    let why = match status {
        StatusCode::UNAUTHORIZED => "The console needs its password (console.password).\n",
        StatusCode::FORBIDDEN => {
            "The console is reached through its proxy only (console.trusted_proxies, console.user_header).\n"
        }
        _ => "Without a password the console answers to localhost and loopback addresses only.\n",
    };
    let mut response = (status, why).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let basic = HeaderValue::from_static("Basic realm=\"bankrefresh console\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, basic);
    }
    response
}

fn is_password(headers: &HeaderMap, password: &str) -> bool {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let encoded = value.and_then(|value| value.strip_prefix("Basic "));
    let decoded = encoded.and_then(|encoded| decode(encoded.trim()));
    // The name may be any; it has no colon.
    let given = decoded
        .as_deref()
        .and_then(|text| text.splitn(2, |byte| *byte == b':').nth(1));
    given.is_some_and(|given| given.ct_eq(password.as_bytes()).into())
}

/// Base64, as browsers write it.
fn decode(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len()), 0u32, 0u32);
    for digit in text.trim_end_matches('=').bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        held = (held << 6) | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

fn is_loopback(headers: &HeaderMap) -> bool {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let url = url::Url::parse(&format!("http://{host}/"));
    match url.ok().as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let all = all.iter().map(|(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, value.parse().expect("a value"))
        });
        all.collect()
    }

    #[test]
    fn without_a_password_only_loopback_is_a_name_for_it() {
        let guard = Guard::new(Settings::default());
        for (host, expected) in [
            ("127.0.0.1:8532", Ok(())),
            ("localhost", Ok(())),
            ("[::1]:1", Ok(())),
            ("console.example", Err(StatusCode::MISDIRECTED_REQUEST)),
            ("localhost.example:8532", Err(StatusCode::MISDIRECTED_REQUEST)),
            ("127.0.0.1@evil.example", Err(StatusCode::MISDIRECTED_REQUEST)),
            ("", Err(StatusCode::MISDIRECTED_REQUEST)),
        ] {
            assert_eq!(guard.admits(None, &headers(&[("host", host)])), expected, "{host}");
        }
    }

    #[test]
    fn a_password_lets_in_by_any_name() {
        let password = Some("pass:wörd-of-ours".parse().expect("a secret"));
        let guard = Guard::new(Settings {
            password,
            ..Settings::default()
        });
        // anna:pass:wörd-of-ours
        let right = "Basic YW5uYTpwYXNzOnfDtnJkLW9mLW91cnM=";
        let wrong = "Basic YW5uYTpwYXNzOnfDtnJkLW9mLW91cg==";
        for (value, expected) in [
            (right, Ok(())),
            (wrong, Err(StatusCode::UNAUTHORIZED)),
            ("Basic ?", Err(StatusCode::UNAUTHORIZED)),
        ] {
            assert_eq!(
                guard.admits(None, &headers(&[("authorization", value)])),
                expected,
                "{value}"
            );
        }
        assert_eq!(
            guard.admits(None, &headers(&[("host", "localhost")])),
            Err(StatusCode::UNAUTHORIZED)
        );
    }

    #[test]
    fn a_proxys_word_counts_only_from_a_proxy() {
        let guard = Guard::new(Settings {
            user_header: Some("X-User".to_owned()),
            trusted_proxies: Some("10.0.0.0/8".parse().expect("networks")),
            ..Settings::default()
        });
        let named = headers(&[("x-user", "anna")]);
        let [proxy, other] = ["10.1.1.1", "192.0.2.1"].map(|text| Some(text.parse().expect("an address")));
        assert_eq!(guard.admits(proxy, &named), Ok(()));
        assert_eq!(guard.admits(other, &named), Err(StatusCode::FORBIDDEN));
        assert_eq!(guard.admits(None, &named), Err(StatusCode::FORBIDDEN));
        assert_eq!(
            guard.admits(proxy, &headers(&[("x-user", "")])),
            Err(StatusCode::FORBIDDEN)
        );
        assert_eq!(
            guard.admits(proxy, &headers(&[("host", "localhost")])),
            Err(StatusCode::FORBIDDEN)
        );
    }
}
