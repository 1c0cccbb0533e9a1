//! Whether finAPI calls back, and how it is recognised.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::finapi::callback_url::Signer;
use crate::refresh::schedule::Polling;
use crate::secret::Secret;
use crate::setting::{Declared, HttpUrl, MINUTE, Networks, SECOND, Section};

/// The fewest characters of a key.
const KEY_CHARACTERS_MIN: usize = 16;

/// Callbacks and notifications (section `callbacks`). Without `public_url` finAPI is given no callbacks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Settings {
    pub listen: Option<SocketAddr>,
    pub trusted_proxies: Option<Networks>,
    pub public_url: Option<HttpUrl>,
    pub key: Option<Secret>,
    pub previous_key: Option<Secret>,
    pub notification_secret: Option<Secret>,
    #[serde(with = "humantime_serde")]
    pub poll_initial: Duration,
    #[serde(with = "humantime_serde")]
    pub poll_max: Duration,
    pub calls_per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: None,
            trusted_proxies: None,
            public_url: None,
            key: None,
            previous_key: None,
            notification_secret: None,
            poll_initial: Duration::from_secs(15),
            poll_max: Duration::from_secs(60),
            calls_per_second: 2000,
        }
    }
}

impl Section for Settings {
    const NAME: &'static str = "callbacks";
    const TITLE: &'static str = "what finAPI calls";
    const NOTE: &'static str =
        "See [`finapi.md`](../finapi.md). Without `callbacks.public_url` the worker gives finAPI no callback URLs.";

    fn declare(&self, list: &mut Declared) {
        list.any(
            "listen",
            &self.listen,
            "Where the worker listens for calls from finAPI, behind a proxy that terminates TLS.",
        );
        list.any(
            "trusted_proxies",
            &self.trusted_proxies,
            "The proxies in front of `callbacks.listen`, for instance `10.0.0.0/8, 192.0.2.7`; an empty text if there is none. If this is \
             set, every other address may have at most a quarter of the listener's 256 connections. If not, there is no limit for an \
             address.",
        );
        let is_safe = |url: &HttpUrl| url.scheme() == "https" || url.is_loopback();
        list.any(
            "public_url",
            &self.public_url,
            "The URL by which finAPI reaches `callbacks.listen`.",
        )
        .and(
            self.public_url.as_ref().is_none_or(is_safe),
            "`https`; `http` only on loopback, for the sandbox",
        );
        let is_long = |key: &Secret| key.expose().chars().count() >= KEY_CHARACTERS_MIN;
        let long = format!("{KEY_CHARACTERS_MIN} characters or more");
        list.any("key", &self.key, "The key of the HMAC in callback URLs.")
            .and(self.key.as_ref().is_none_or(is_long), &*long)
            .and(
                self.public_url.is_none() || self.key.is_some(),
                "given with `callbacks.public_url`",
            );
        list.any(
            "previous_key",
            &self.previous_key,
            "While you change the key: the old one, because finAPI still calls back by the old URLs of running updates.",
        )
        .and(self.previous_key.as_ref().is_none_or(is_long), &*long);
        let is_plain = |secret: &Secret| secret.expose().chars().all(|c| c.is_ascii_alphanumeric()) && is_long(secret);
        list.any(
            "notification_secret",
            &self.notification_secret,
            "The secret in the URL of finAPI's notifications, `{public_url}/notifications/{secret}`. Without this setting there is no such URL.",
        )
        .and(
            self.notification_secret.as_ref().is_none_or(is_plain),
            format!("{KEY_CHARACTERS_MIN} letters and digits or more"),
        );
        self.declare_rates(list);
    }
}

impl Settings {
    fn declare_rates(&self, list: &mut Declared) {
        list.within(
            "poll_initial",
            self.poll_initial,
            SECOND..=20 * MINUTE,
            "Callbacks can get lost, so the worker also polls without them. This is the shortest wait before such a poll.",
        );
        list.within(
            "poll_max",
            self.poll_max,
            SECOND..=20 * MINUTE,
            "The longest wait before a poll that no callback has asked for.",
        )
        .and(self.poll_initial <= self.poll_max, "at least `callbacks.poll_initial`");
        list.within(
            "calls_per_second",
            self.calls_per_second,
            1..=1_000_000,
            "The most calls a second with a valid URL that the listener takes. It answers further ones with 429.",
        );
    }

    /// What makes callback URLs, if updates are to carry them.
    #[must_use]
    pub fn signer(&self) -> Option<Signer> {
        let (public_url, key) = (self.public_url.clone()?, self.key.clone()?);
        Some(Signer::new(public_url, key, self.previous_key.clone()))
    }

    /// How tasks and web forms are polled that finAPI calls back about: as a safety net.
    #[must_use]
    pub fn polling(&self, plain: &Polling) -> Polling {
        Polling {
            initial: self.poll_initial,
            // No wait is shorter than the first.
            factor: plain.factor.max(2.0),
            max: self.poll_max,
            web_form_max: self.poll_max,
            ..plain.clone()
        }
    }
}
