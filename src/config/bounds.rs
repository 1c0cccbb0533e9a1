//! What each setting may be. `docs/settings.md` says the same.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use url::{Host, Url};

use super::{Config, ConfigError};
use crate::callbacks;
use crate::finapi::credentials::Credentials;

impl Config {
    pub(super) fn bounded(self) -> Result<Self, ConfigError> {
        let second = Duration::from_secs(1);
        let minute = 60 * second;
        let day = 24 * 60 * minute;
        let bounds = [
            (
                "worker.in_flight",
                (1..=60_000).contains(&self.worker.in_flight),
                "1 to 60000",
            ),
            (
                "worker.hold_wait_max",
                self.worker.hold_wait_max <= 5 * minute,
                "at most 5m",
            ),
            ("worker.hold_max", self.worker.hold_max <= 5 * minute, "at most 5m"),
            (
                "worker.drain_timeout",
                self.worker.drain_timeout <= 5 * minute,
                "at most 5m",
            ),
            (
                "polling.initial",
                (second..=minute).contains(&self.polling.initial),
                "1s to 1m",
            ),
            ("polling.factor", (1.0..=10.0).contains(&self.polling.factor), "1 to 10"),
            (
                "polling.max",
                (self.polling.initial..=day).contains(&self.polling.max),
                "polling.initial to 1d",
            ),
            (
                "polling.web_form_max",
                (self.polling.initial..=20 * minute).contains(&self.polling.web_form_max),
                "polling.initial to 20m",
            ),
            (
                "polling.locked_max",
                (self.polling.initial..=day).contains(&self.polling.locked_max),
                "polling.initial to 1d",
            ),
            (
                "retry.initial",
                (Duration::from_millis(1)..=minute).contains(&self.retry.initial),
                "1ms to 1m",
            ),
            (
                "retry.max",
                (self.retry.initial..=day).contains(&self.retry.max),
                "retry.initial to 1d",
            ),
            ("retry.attempts", (1..=1000).contains(&self.retry.attempts), "1 to 1000"),
            (
                "limits.refresh",
                (minute..=30 * day).contains(&self.limits.refresh),
                "1m to 30d",
            ),
            (
                "limits.updating",
                (second..=day).contains(&self.limits.updating),
                "1s to 1d",
            ),
            (
                "limits.settling",
                (second..=day).contains(&self.limits.settling),
                "1s to 1d",
            ),
            ("limits.web_form_grace", self.limits.web_form_grace <= day, "at most 1d"),
            ("limits.clock_skew", self.limits.clock_skew <= minute, "at most 1m"),
            (
                "breaker.failures",
                (1..=10_000).contains(&self.breaker.failures),
                "1 to 10000",
            ),
            (
                "breaker.initial",
                (second..=60 * minute).contains(&self.breaker.initial),
                "1s to 1h",
            ),
            (
                "breaker.max",
                (self.breaker.initial..=day).contains(&self.breaker.max),
                "breaker.initial to 1d",
            ),
            (
                "telemetry.sample_ratio",
                (0.0..=1.0).contains(&self.telemetry.sample_ratio),
                "0 to 1",
            ),
            ("telemetry.banks_max", self.telemetry.banks_max <= 1000, "at most 1000"),
            (
                "telemetry.otlp_endpoint",
                self.telemetry
                    .otlp_endpoint
                    .as_ref()
                    .is_none_or(|url| ["http", "https"].contains(&url.scheme()) && url.has_host() && is_open(url)),
                "an http:// or https:// URL without a password",
            ),
            (
                "finapi.access_url and finapi.web_form_url",
                self.finapi
                    .as_ref()
                    .is_none_or(|finapi| is_open(&finapi.access_url) && is_open(&finapi.web_form_url)),
                "URLs without a password",
            ),
            (
                "credentials.url",
                !matches!(&self.credentials, Credentials::Http { url, .. } if !is_open(url)),
                "a URL without a password: that is what credentials.bearer is for",
            ),
            (
                "events.size_max",
                (64 * 1024..=8 * 1024 * 1024).contains(&self.events.size_max),
                "65536 to 8388608 (bytes)",
            ),
            (
                "amqp.prefix",
                (1..=100).contains(&self.amqp.prefix.len())
                    && self
                        .amqp
                        .prefix
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
                "1 to 100 letters, digits, '.', '_' and '-'",
            ),
            (
                "amqp.confirm_timeout",
                (second..=5 * minute).contains(&self.amqp.confirm_timeout),
                "1s to 5m",
            ),
            (
                "callbacks.public_url",
                self.callbacks
                    .public_url
                    .as_ref()
                    .is_none_or(|url| (url.scheme() == "https" || is_http_on_loopback(url)) && is_open(url)),
                "an https URL without a password (http only on loopback, for the sandbox)",
            ),
            (
                "callbacks.key",
                (self.callbacks.public_url.is_none() || self.callbacks.key.is_some())
                    && [&self.callbacks.key, &self.callbacks.previous_key]
                        .into_iter()
                        .flatten()
                        .all(|key| key.expose_secret().chars().count() >= callbacks::KEY_CHARACTERS_MIN),
                "given with callbacks.public_url, and 16 characters or more (callbacks.previous_key too)",
            ),
            (
                "callbacks.notification_secret",
                self.callbacks.notification_secret.as_ref().is_none_or(|secret| {
                    let secret = secret.expose_secret();
                    secret.len() >= callbacks::KEY_CHARACTERS_MIN && secret.chars().all(|c| c.is_ascii_alphanumeric())
                }),
                "16 letters and digits or more",
            ),
            (
                "callbacks.poll_initial",
                (second..=20 * minute).contains(&self.callbacks.poll_initial)
                    && self.callbacks.poll_initial <= self.callbacks.poll_max,
                "1s to 20m, and at most callbacks.poll_max",
            ),
            (
                "callbacks.calls_per_second",
                self.callbacks.calls_per_second >= 1,
                "1 or more",
            ),
            (
                "finapi.calls_max",
                self.finapi
                    .as_ref()
                    .is_none_or(|finapi| (1..=10_000).contains(&finapi.calls_max)),
                "1 to 10000",
            ),
            (
                "finapi.requests_per_second",
                self.finapi
                    .as_ref()
                    .and_then(|finapi| finapi.requests_per_second)
                    .is_none_or(|rate| (1..=100_000).contains(&rate)),
                "1 to 100000",
            ),
            (
                "finapi.page_size",
                self.finapi
                    .as_ref()
                    .is_none_or(|finapi| (1..=500).contains(&finapi.page_size)),
                "1 to 500",
            ),
            (
                "finapi.pages_max",
                self.finapi
                    .as_ref()
                    .is_none_or(|finapi| (1..=100_000).contains(&finapi.pages_max)),
                "1 to 100000",
            ),
        ];
        match bounds.into_iter().find(|(_, holds, _)| !holds) {
            Some((name, _, allowed)) => Err(ConfigError::Setting(format!("{name} must be {allowed}"))),
            None => Ok(self),
        }
    }
}

fn is_http_on_loopback(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && is_loopback
}

/// `config check` shows it, so it may hold no secret.
fn is_open(url: &Url) -> bool {
    url.password().is_none()
}
