//! Who may see the console, and what a browser may do with its pages.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::Settings;
use crate::http_server::Peer;
use crate::limits::OPERATOR_CHARACTERS_MAX;
use crate::plain::is_plain;
use crate::rate_limit::RateLimiter;
use crate::secret::Secret;
use crate::setting::HttpUrl;

/// Nothing but the console's own files; no script, style or image within a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// How many wrong passwords an address may send a second. Beyond that, no password from there is compared.
const WRONG_PER_SECOND: u32 = 5;

/// The most addresses whose wrong passwords are counted at a time. With one more, counting begins again for all.
const ADDRESSES_MAX: usize = 1024;

/// Who a visitor is, as others see it: by a trusted proxy, or by the name that goes with the password, which may be any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visitor(pub(super) String);

/// Lets visitors in.
#[derive(Debug)]
pub(super) struct Guard {
    settings: Settings,
    wrong_passwords: WrongPasswords,
    /// What a form of ours has and one of another site can't know.
    form_token: String,
}

impl Guard {
    pub(super) fn new(settings: Settings) -> Self {
        let form_token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Self {
            settings,
            wrong_passwords: WrongPasswords::default(),
            form_token,
        }
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
        match password {
            _ if self.user_of_proxy(peer, headers).is_some() => Ok(()),
            None if user_header.is_some() && trusted_proxies.is_some() => Err(StatusCode::FORBIDDEN),
            Some(password) => self.check_password(peer, headers, password),
            // Another site may have a name that leads to loopback, so that a browser sends that site's requests here.
            None if is_loopback(headers) => Ok(()),
            None => Err(StatusCode::MISDIRECTED_REQUEST),
        }
    }

    /// The user that a trusted proxy has let in.
    fn user_of_proxy<'a>(&self, peer: Option<IpAddr>, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let (name, proxies) = self
            .settings
            .user_header
            .as_ref()
            .zip(self.settings.trusted_proxies.as_ref())?;
        let comes_from_proxy = peer.is_some_and(|peer| proxies.contain(peer.to_canonical()));
        let user = headers.get(name.as_str()).filter(|user| !user.is_empty());
        user.filter(|_| comes_from_proxy)
    }

    /// Who a visitor that was let in says to be.
    fn visitor(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Visitor {
        let name = match self.user_of_proxy(peer, headers) {
            Some(user) => String::from_utf8_lossy(user.as_bytes()).into_owned(),
            None => login_of(headers).map(|(name, _)| name).unwrap_or_default(),
        };
        let name: String = name
            .chars()
            .filter(|c| is_plain(*c))
            .take(OPERATOR_CHARACTERS_MAX)
            .collect();
        match name.trim() {
            "" => Visitor("a visitor of the console".to_owned()),
            name => Visitor(name.to_owned()),
        }
    }

    fn check_password(&self, peer: Option<IpAddr>, headers: &HeaderMap, password: &Secret) -> Result<(), StatusCode> {
        let Some((_, given)) = login_of(headers) else {
            return Err(StatusCode::UNAUTHORIZED);
        };
        let peer = peer.map(|peer| peer.to_canonical());
        // Before the password is compared: who guesses too often does not learn whether one is right.
        if !self.wrong_passwords.may_try(peer) {
            return Err(StatusCode::TOO_MANY_REQUESTS);
        }
        // After a rotation visitors may know the old one only, until one has used the new one.
        if password.is_known(&given) {
            return Ok(());
        }
        self.wrong_passwords.count(peer);
        Err(StatusCode::UNAUTHORIZED)
    }
}

/// The wrong passwords of each address.
#[derive(Debug, Default)]
struct WrongPasswords(Mutex<BTreeMap<Option<IpAddr>, RateLimiter>>);

impl WrongPasswords {
    /// Whether an address may try another password.
    fn may_try(&self, peer: Option<IpAddr>) -> bool {
        let limiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        limiters.get(&peer).is_none_or(RateLimiter::would_admit)
    }

    fn count(&self, peer: Option<IpAddr>) {
        let mut limiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if limiters.len() >= ADDRESSES_MAX && !limiters.contains_key(&peer) {
            limiters.clear();
        }
        let limiter = limiters
            .entry(peer)
            .or_insert_with(|| RateLimiter::bursting(WRONG_PER_SECOND));
        // When it is used up, the next password is not compared.
        let _ = limiter.try_admit();
    }
}

/// Answers whoever may see the console, with the headers that every page has.
pub(super) async fn guarded(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| *address);
    let mut response = match guard.admits(peer, request.headers()) {
        Ok(()) => {
            let visitor = guard.visitor(peer, request.headers());
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
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
        StatusCode::TOO_MANY_REQUESTS => {
            "Too many wrong passwords came from this address. Try again in some seconds.\n"
        }
        _ => "Without a password the console answers to localhost and loopback addresses only.\n",
    };
    let mut response = (status, why).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let basic = HeaderValue::from_static("Basic realm=\"bankrefresh console\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, basic);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

/// The name and the password that a visitor sent; none where none was sent.
fn login_of(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let decoded = BASE64_STANDARD.decode(value.strip_prefix("Basic ")?.trim()).ok()?;
    // The name may be any; it has no colon.
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8_lossy(&decoded[..colon]).into_owned();
    Some((name, decoded[colon + 1..].to_vec()))
}

/// Whether the browser calls the console by a name of the machine that it runs on.
fn is_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let url = host.and_then(|host| format!("http://{host}/").parse::<HttpUrl>().ok());
    url.is_some_and(|url| url.is_loopback())
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

    #[tokio::test(start_paused = true)]
    async fn wrong_passwords_are_limited_for_each_address() {
        let guard = Guard::new(Settings {
            password: Some("a-password-of-ours".parse().expect("a secret")),
            ..Settings::default()
        });
        // Of anna, the right one and a wrong one.
        let [right, wrong] = [
            "YW5uYTphLXBhc3N3b3JkLW9mLW91cnM=",
            "YW5uYTphLXBhc3N3b3JkLW9mLXRoZWlycw==",
        ];
        let [right, wrong] = [right, wrong].map(|text| headers(&[("authorization", &format!("Basic {text}"))]));
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| Some(text.parse().expect("an address")));
        for _ in 0..100 {
            assert_eq!(guard.admits(one, &right), Ok(()), "a right one is not counted");
            assert_eq!(guard.admits(one, &HeaderMap::new()), Err(StatusCode::UNAUTHORIZED));
        }
        let refused = (0..100).filter(|_| guard.admits(one, &wrong) == Err(StatusCode::UNAUTHORIZED));
        assert_eq!(refused.count(), WRONG_PER_SECOND as usize);
        assert_eq!(guard.admits(one, &right), Err(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(guard.admits(other, &right), Ok(()), "another address");
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        assert_eq!(guard.admits(one, &right), Ok(()));
    }

    #[test]
    fn addresses_without_end_take_no_memory() {
        let wrong = WrongPasswords::default();
        for number in 0..10_000u32 {
            wrong.count(Some(IpAddr::from(number.to_be_bytes())));
        }
        assert!(wrong.0.lock().expect("the addresses").len() <= ADDRESSES_MAX);
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

    #[test]
    fn a_visitor_is_who_the_trusted_proxy_or_the_login_says() {
        let guard = Guard::new(Settings {
            password: Some("pass:wörd-of-ours".parse().expect("a secret")),
            user_header: Some("x-user".to_owned()),
            trusted_proxies: Some("10.0.0.0/8".parse().expect("networks")),
            ..Settings::default()
        });
        let [proxy, other] = ["10.1.2.3", "192.0.2.7"].map(|text| text.parse().ok());
        // anna:pass:wörd-of-ours
        let login = ("authorization", "Basic YW5uYTpwYXNzOnfDtnJkLW9mLW91cnM=");
        let nobody = "a visitor of the console";
        for (peer, sent, expected) in [
            (proxy, vec![("x-user", "bert"), login], "bert"),
            (other, vec![("x-user", "bert"), login], "anna"),
            (other, vec![("x-user", "bert")], nobody),
            (proxy, vec![("x-user", "\t \t")], nobody),
            (None, vec![], nobody),
        ] {
            let Visitor(name) = guard.visitor(peer, &headers(&sent));
            assert_eq!(name, expected, "{sent:?}");
        }
        let long = "b\t".repeat(300);
        let Visitor(name) = guard.visitor(proxy, &headers(&[("x-user", &long)]));
        assert_eq!(name, "b".repeat(OPERATOR_CHARACTERS_MAX));
    }
}
