//! A token, as finAPI gives it.

use std::time::Duration;

use secrecy::SecretString;
use serde::de::{Deserializer, Error as _, IgnoredAny};
use serde::{Deserialize, de};

use crate::finapi::grant::is_token;
use crate::finapi::tokens::TokenResponse;

/// The longest a token is taken to be good, in seconds: more than a process lives, and less than a clock can count.
const LIFE_SECONDS_MAX: u64 = 365 * 24 * 3600;

#[derive(Deserialize)]
pub(in crate::finapi) struct Token {
    #[serde(deserialize_with = "access_token")]
    access_token: SecretString,
    #[serde(default, deserialize_with = "refresh_token")]
    refresh_token: Option<SecretString>,
    #[serde(default)]
    expires_in: Life,
}

/// For how long a token is good, in seconds: a number or a text, rounded down. What is none, or not above zero, is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::finapi) struct Life(pub(in crate::finapi) Option<Duration>);

impl From<Token> for TokenResponse {
    fn from(token: Token) -> Self {
        Self {
            access_token: token.access_token,
            refresh_token: token.refresh_token,
            expires_in: token.expires_in.0,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Lenient {
    Integer(u64),
    Decimal(f64),
    Text(String),
    Other(IgnoredAny),
}

impl<'de> Deserialize<'de> for Life {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = match Lenient::deserialize(deserializer)? {
            Lenient::Integer(seconds) => Some(seconds),
            Lenient::Decimal(seconds) => whole(seconds),
            Lenient::Text(text) => text.trim().parse().ok().and_then(whole),
            Lenient::Other(_) => None,
        };
        let seconds = seconds.filter(|seconds| *seconds > 0);
        Ok(Self(
            seconds.map(|seconds| Duration::from_secs(seconds.min(LIFE_SECONDS_MAX))),
        ))
    }
}

/// Rounded down; none where it is no time.
fn whole(seconds: f64) -> Option<u64> {
    let most = Duration::from_secs(LIFE_SECONDS_MAX).as_secs_f64();
    let life = Duration::try_from_secs_f64(seconds.min(most)).ok()?;
    (!seconds.is_nan()).then_some(life.as_secs())
}

fn access_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    let token = SecretString::deserialize(deserializer)?;
    is_token(&token)
        .then_some(token)
        .ok_or_else(|| de::Error::custom("no token"))
}

/// One that can't be used is none.
fn refresh_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Token(SecretString),
        Other(IgnoredAny),
    }
    match Given::deserialize(deserializer).map_err(D::Error::custom)? {
        Given::Token(token) => Ok(Some(token).filter(is_token)),
        Given::Other(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn read(json: &str) -> Option<TokenResponse> {
        serde_json::from_str::<Token>(json).ok().map(Into::into)
    }

    #[test]
    fn a_life_is_rounded_down_or_unknown() {
        let life = |expires_in: &str| {
            let token = read(&format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#));
            token.expect("a token").expires_in.map(|life| life.as_secs())
        };
        for (expires_in, seconds) in [
            ("3600", 3600),
            (r#""3600""#, 3600),
            (r#"" 3599.9 ""#, 3599),
            ("3599.5", 3599),
            ("1", 1),
            ("18446744073709551615", LIFE_SECONDS_MAX),
            ("1e300", LIFE_SECONDS_MAX),
        ] {
            assert_eq!(life(expires_in), Some(seconds), "{expires_in}");
        }
        for unknown in [
            "0", "-1", "-0.5", "0.9", "null", "\"\"", "\"soon\"", "\"NaN\"", "\"-3\"", "[]", "{}", "true",
        ] {
            assert_eq!(life(unknown), None, "{unknown}");
        }
        assert!(read(r#"{"access_token":"t"}"#).expect("a token").expires_in.is_none());
    }

    #[test]
    fn a_token_may_be_long_and_has_to_fit_into_a_header() {
        let token = |token: &str| read(&serde_json::json!({ "access_token": token }).to_string());
        assert!(token(&"t".repeat(8192)).is_some());
        for wrong in ["", &"t".repeat(8193), "a b", "a\nb", "\u{e4}"] {
            assert!(token(wrong).is_none(), "{wrong:.10}");
        }
        for wrong in ["{}", r#"{"access_token":null}"#, r#"{"access_token":7}"#, "[]"] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_refresh_token_that_can_not_be_used_is_none() {
        let refresh = |given: &str| {
            let token = read(&format!(r#"{{"access_token":"t","refresh_token":{given}}}"#));
            token
                .expect("a token")
                .refresh_token
                .map(|token| token.expose_secret().to_owned())
        };
        assert_eq!(refresh("\"r\"").as_deref(), Some("r"));
        for none in ["null", "\"\"", "7", "[]", "\"a b\""] {
            assert_eq!(refresh(none), None, "{none}");
        }
    }
}
