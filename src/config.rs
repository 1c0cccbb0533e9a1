//! The settings: a TOML file, and the environment over it. Parsed once, into final types.
//!
//! `BANKREFRESH__<SECTION>__<KEY>` sets one key, `BANKREFRESH__<SECTION>__<KEY>_FILE` reads it from a file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::config::{Environment, File, FileFormat};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use url::{Host, Url};

use crate::callbacks;
use crate::finapi::{self, breaker, credentials::Credentials};
use crate::refresh::event::Transactions;
use crate::refresh::schedule::{Polling, Retry};
use crate::refresh::{Limits, Policy};
use crate::worker;

/// Every setting. A section that is left out has its defaults; `finapi` has none and is needed by `worker` alone.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The broker.
    pub amqp: Amqp,
    /// finAPI.
    pub finapi: Option<finapi::Settings>,
    /// Where users' credentials come from.
    pub credentials: Credentials,
    /// How much a worker takes on.
    pub worker: worker::Settings,
    /// When to look again.
    pub polling: Polling,
    /// How to retry.
    pub retry: Retry,
    /// How long things may take.
    pub limits: Limits,
    /// When finAPI counts as down.
    pub breaker: breaker::Settings,
    /// What finAPI calls.
    pub callbacks: callbacks::Settings,
    /// What events say.
    pub events: Transactions,
    /// The operators' own listener.
    pub admin: Admin,
    /// Logs, traces and metrics.
    pub telemetry: Telemetry,
}

/// The broker (section `amqp`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Amqp {
    /// `amqp://user:password@host:port/vhost`, or `amqps://`; for a cluster several `host:port` with commas in between.
    #[serde(serialize_with = "hidden")]
    pub url: SecretString,
    /// The certificates (PEM) of the only CAs to trust with `amqps`; without it, the system's are.
    pub ca_file: Option<PathBuf>,
    /// The certificate to show the broker (PEM), with those between it and its CA.
    pub client_certificate_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub client_key_file: Option<PathBuf>,
    /// What the names of all exchanges and queues begin with.
    pub prefix: String,
    /// Whether the topology is declared at start. Without it, what is missing stops the start.
    pub declare: bool,
    /// The longest a connection may take to be made.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// The longest the broker may take to confirm a message.
    #[serde(with = "humantime_serde")]
    pub confirm_timeout: Duration,
    /// How often each side shows that it is there.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
}

impl Default for Amqp {
    fn default() -> Self {
        Self {
            url: SecretString::from("amqp://guest:guest@127.0.0.1:5672/%2f"),
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            prefix: "bankrefresh".to_owned(),
            declare: true,
            connect_timeout: Duration::from_secs(10),
            confirm_timeout: Duration::from_secs(15),
            heartbeat: Duration::from_secs(15),
        }
    }
}

/// The operators' own listener (section `admin`).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where `/livez`, `/readyz`, `/metrics` and `/status` are served; nowhere where it is left out.
    pub listen: Option<SocketAddr>,
}

/// Logs, traces and metrics (section `telemetry`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Text for people or JSON for programs.
    pub log_format: LogFormat,
    /// What is logged, as `tracing_subscriber`'s filter directives, for instance `info` or `info,bankrefresh=debug`.
    pub log_level: String,
    /// The OpenTelemetry collector that traces and metrics are sent to; none are where it is left out.
    pub otlp_endpoint: Option<Url>,
    /// How the collector is spoken to.
    pub otlp_protocol: OtlpProtocol,
    /// The share of refreshes that are traced, from 0 to 1, where their senders have not decided.
    pub sample_ratio: f64,
    /// The most banks that `bankrefresh_refreshes_total` names by their id; none where it is 0. At most 1000.
    pub banks_max: usize,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
            otlp_endpoint: None,
            otlp_protocol: OtlpProtocol::Grpc,
            sample_ratio: 1.0,
            banks_max: 0,
        }
    }
}

/// How an OpenTelemetry collector is spoken to.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OtlpProtocol {
    /// OTLP over gRPC, usually port 4317.
    Grpc,
    /// OTLP over HTTP with protobuf bodies, usually port 4318.
    Http,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Shows that a secret is set, and no more.
pub(crate) fn hidden<S: Serializer>(_: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("(hidden)")
}

/// The same for a secret that may be missing.
pub(crate) fn hidden_option<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => hidden(secret, serializer),
        None => serializer.serialize_none(),
    }
}

/// Why the settings can't be used. Holds no value of a setting.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting is missing, unknown or out of bounds.
    #[error("{0}")]
    Setting(String),
    /// A file named by the environment can't be read.
    #[error("{variable} names a file that can't be read: {error}")]
    SecretFile {
        /// The environment variable.
        variable: String,
        /// Why.
        error: std::io::Error,
    },
}

const PREFIX: &str = "BANKREFRESH__";
const FILE_SUFFIX: &str = "_FILE";

/// Settings that name a file by themselves: what it holds is not their value.
const FILES: [&str; 3] = [
    "AMQP__CA_FILE",
    "AMQP__CLIENT_CERTIFICATE_FILE",
    "AMQP__CLIENT_KEY_FILE",
];

impl Config {
    /// Reads the settings from a file, if one is given, and from environment variables.
    ///
    /// # Errors
    ///
    /// Names the setting and what is allowed.
    pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut sources = ::config::Config::builder();
        if let Some(file) = file {
            sources = sources.add_source(File::from_str(&text(file)?, FileFormat::Toml));
        }
        let variables = variables(environment)?;
        let environment = Environment::default().separator("__").source(Some(variables));
        let config: Self = sources
            .add_source(environment)
            .build()
            .and_then(::config::Config::try_deserialize)
            .map_err(|error| ConfigError::Setting(error.to_string()))?;
        config.bounded()
    }

    /// The rules a refresh follows.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            polling: self.polling.clone(),
            beside_callbacks: self.callbacks.signer().map(|_| self.callbacks.polling(&self.polling)),
            retry: self.retry.clone(),
            limits: self.limits.clone(),
            events: self.events.clone(),
        }
    }

    fn bounded(self) -> Result<Self, ConfigError> {
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
                    .is_none_or(|url| url.scheme() == "https" || is_http_on_loopback(url)),
                "an https URL (http only on loopback, for the sandbox)",
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

/// What a settings file holds, if it is TOML. The parser's own words would show the line, which may be one with a secret.
fn text(file: &Path) -> Result<String, ConfigError> {
    let wrong = |what: String| ConfigError::Setting(format!("{}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    match text.parse::<toml::Table>() {
        Ok(_) => Ok(text),
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            Err(wrong(format!("line {line}: {}", error.message())))
        }
    }
}

/// `config check` shows it, so it may hold no secret.
fn is_open(url: &Url) -> bool {
    url.password().is_none()
}

/// The variables of ours, without their prefix, those that name files replaced by what the files hold.
fn variables(
    environment: impl Iterator<Item = (String, String)>,
) -> Result<::config::Map<String, String>, ConfigError> {
    let ours: BTreeMap<String, String> = environment
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)))
        .collect();
    let mut variables = ::config::Map::new();
    for (name, value) in ours {
        let from_file = name
            .strip_suffix(FILE_SUFFIX)
            .filter(|_| !FILES.contains(&name.as_str()));
        let (name, value) = match from_file {
            Some(setting) => {
                let variable = format!("{PREFIX}{name}");
                let text =
                    std::fs::read_to_string(&value).map_err(|error| ConfigError::SecretFile { variable, error })?;
                (setting.to_owned(), text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => (name, value),
        };
        variables.insert(name, value);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Config, String> {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(None, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn without_anything_the_defaults_hold() {
        let config = load(&[("PATH", "/")]).expect("the defaults");
        assert_eq!(config.worker, worker::Settings::default());
        assert!(config.finapi.is_none());
    }

    #[test]
    fn the_environment_sets_every_type_and_keeps_digits_as_they_are() {
        let config = load(&[
            ("BANKREFRESH__FINAPI__ACCESS_URL", "https://sandbox.finapi.io"),
            ("BANKREFRESH__FINAPI__WEB_FORM_URL", "https://webform-sandbox.finapi.io"),
            ("BANKREFRESH__FINAPI__CLIENT_ID", "id"),
            ("BANKREFRESH__FINAPI__CLIENT_SECRET", "0123"),
            ("BANKREFRESH__FINAPI__CALLS_MAX", "7"),
            ("BANKREFRESH__POLLING__MAX", "20s"),
            ("BANKREFRESH__EVENTS__TRANSACTIONS", "summary"),
        ])
        .expect("settings");
        let finapi = config.finapi.expect("finapi");
        assert_eq!(finapi.client_secret.expose_secret(), "0123");
        assert_eq!(finapi.calls_max, 7);
        assert_eq!(config.polling.max, Duration::from_secs(20));
    }

    #[test]
    fn a_setting_that_names_a_file_keeps_its_name() {
        let config = load(&[("BANKREFRESH__AMQP__CA_FILE", "/ca.pem")]).expect("settings");
        assert_eq!(config.amqp.ca_file.as_deref(), Some(Path::new("/ca.pem")));
    }

    #[test]
    fn a_bad_setting_is_named_with_what_is_allowed() {
        let cases = [
            (("BANKREFRESH__WORKER__IN_FLIGHT", "0"), "worker.in_flight"),
            (("BANKREFRESH__WORKER__IN_FLIGHT", "many"), "in_flight"),
            (("BANKREFRESH__WORKER__NO_SUCH", "1"), "no_such"),
            (("BANKREFRESH__NO_SUCH__KEY", "1"), "no_such"),
            (("BANKREFRESH__POLLING__INITIAL", "10ms"), "polling.initial"),
            (("BANKREFRESH__CREDENTIALS__SOURCE", "hat"), "hat"),
            (
                ("BANKREFRESH__CALLBACKS__PUBLIC_URL", "http://callbacks.example.org"),
                "callbacks.public_url",
            ),
            (
                ("BANKREFRESH__AMQP__URL_FILE", "/no/such/file"),
                "BANKREFRESH__AMQP__URL_FILE",
            ),
        ];
        for (variable, named) in cases {
            let error = load(&[variable]).expect_err("an error");
            assert!(error.contains(named), "{error:?} does not name {named:?}");
        }
    }

    const REQUIRED: [(&str, &str); 4] = [
        ("BANKREFRESH__FINAPI__ACCESS_URL", "https://finapi.test"),
        ("BANKREFRESH__FINAPI__WEB_FORM_URL", "https://finapi.test"),
        ("BANKREFRESH__FINAPI__CLIENT_ID", "id"),
        ("BANKREFRESH__FINAPI__CLIENT_SECRET", "secret"),
    ];

    /// No error text and no `config check` shows a secret, however wrong the settings around it are.
    #[test]
    fn no_wrong_setting_shows_a_secret() {
        let planted = "planted-8f3a";
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("settings.toml");
        let files = [
            format!("[finapi]\nclient_secret = \"{planted}\naccess_url = 1\n"),
            format!("[finapi]\nclient_secret = [\"{planted}\"]\n"),
            format!("[finapi]\nclient_secret = {planted}\n"),
            format!("client_secret = \"{planted}\"\n"),
            format!("[finapi]\nsecret = \"{planted}\"\n"),
        ];
        for text in files {
            std::fs::write(&file, &text).expect("written");
            let error = Config::load(Some(&file), std::iter::empty()).expect_err("an error");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(planted), "{shown} for {text}");
        }
        let with_password = format!("https://user:{planted}@host.test");
        let variables = [
            ("BANKREFRESH__CALLBACKS__KEY", planted),
            ("BANKREFRESH__CALLBACKS__NOTIFICATION_SECRET", planted),
            ("BANKREFRESH__FINAPI__CLIENT_SECRET", planted),
            ("BANKREFRESH__FINAPI__CLIENT_SECRET__MORE", planted),
            ("BANKREFRESH__TELEMETRY__OTLP_ENDPOINT", &with_password),
            ("BANKREFRESH__FINAPI__ACCESS_URL", &with_password),
            ("BANKREFRESH__CREDENTIALS__BEARER", planted),
        ];
        for variable in variables {
            let error = load(&[variable]).expect_err("an error");
            assert!(!error.contains(planted), "{error}");
        }
        let mut all = REQUIRED.to_vec();
        all.extend([
            ("BANKREFRESH__AMQP__URL", with_password.as_str()),
            ("BANKREFRESH__FINAPI__CLIENT_SECRET", planted),
            ("BANKREFRESH__CREDENTIALS__SOURCE", "http"),
            ("BANKREFRESH__CREDENTIALS__URL", "https://credentials.test"),
            ("BANKREFRESH__CREDENTIALS__BEARER", planted),
            ("BANKREFRESH__CALLBACKS__KEY", "planted-8f3a-and-long-enough"),
            ("BANKREFRESH__CALLBACKS__PREVIOUS_KEY", "planted-8f3a-and-long-enough"),
            (
                "BANKREFRESH__CALLBACKS__NOTIFICATION_SECRET",
                "planted8f3aandlongenough",
            ),
        ]);
        let config = load(&all).expect("settings");
        let shown = format!("{} {config:?}", toml::to_string_pretty(&config).expect("TOML"));
        assert!(!shown.contains("planted"), "{shown}");
        assert_eq!(shown.matches("(hidden)").count(), 6, "{shown}");
    }

    /// Every setting with its value, as `config check` prints them.
    fn printed(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        let text = toml::to_string_pretty(&load(variables).expect("settings")).expect("TOML");
        let mut section = "";
        let mut settings = BTreeMap::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
            } else if let Some((key, value)) = line.split_once(" = ") {
                settings.insert(format!("{section}.{key}"), value.trim_matches('"').to_owned());
            }
        }
        settings
    }

    #[test]
    fn the_docs_have_every_setting_with_its_default_and_nothing_else() {
        let mut directory = REQUIRED.to_vec();
        directory.extend([
            ("BANKREFRESH__CREDENTIALS__SOURCE", "directory"),
            ("BANKREFRESH__CREDENTIALS__DIRECTORY", "/secrets"),
        ]);
        let mut service = REQUIRED.to_vec();
        service.extend([
            ("BANKREFRESH__CREDENTIALS__SOURCE", "http"),
            ("BANKREFRESH__CREDENTIALS__URL", "https://credentials.test"),
        ]);
        let optional = [
            ("BANKREFRESH__CREDENTIALS__BEARER", "bearer"),
            ("BANKREFRESH__CALLBACKS__LISTEN", "127.0.0.1:1"),
            ("BANKREFRESH__CALLBACKS__PUBLIC_URL", "https://callbacks.test"),
            ("BANKREFRESH__CALLBACKS__KEY", "sixteen characters"),
            ("BANKREFRESH__CALLBACKS__PREVIOUS_KEY", "sixteen characters"),
            ("BANKREFRESH__CALLBACKS__NOTIFICATION_SECRET", "sixteencharacters"),
            ("BANKREFRESH__FINAPI__REQUESTS_PER_SECOND", "100"),
            ("BANKREFRESH__AMQP__CA_FILE", "/ca.pem"),
            ("BANKREFRESH__AMQP__CLIENT_CERTIFICATE_FILE", "/client.pem"),
            ("BANKREFRESH__AMQP__CLIENT_KEY_FILE", "/client.key"),
            ("BANKREFRESH__ADMIN__LISTEN", "127.0.0.1:1"),
            ("BANKREFRESH__TELEMETRY__OTLP_ENDPOINT", "https://collector.test"),
        ];
        let setting = |variable: &str| variable[PREFIX.len()..].replace("__", ".").to_lowercase();
        let mut expected = printed(&directory);
        expected.extend(printed(&service));
        for (variable, _) in directory.iter().chain(&service) {
            expected.insert(setting(variable), "required".to_owned());
        }
        expected.extend(
            printed(&REQUIRED)
                .into_iter()
                .filter(|(name, _)| name == "credentials.source"),
        );
        // There is a default to hide, and all may know it.
        let url = Amqp::default().url.expose_secret().to_owned();
        expected.insert("amqp.url".to_owned(), url);
        let everything: Vec<_> = service.iter().chain(&optional).copied().collect();
        for name in printed(&everything).into_keys() {
            expected.entry(name).or_insert("none".to_owned());
        }
        for (variable, _) in optional {
            assert_eq!(expected[&setting(variable)], "none");
        }

        let docs = include_str!("../docs/settings.md");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `"));
        let documented: BTreeMap<String, String> = rows
            .map(|row| {
                let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
                (cells.next().expect("a name"), cells.next().expect("a default"))
            })
            .collect();
        assert_eq!(expected, documented);
        let names: Vec<&String> = expected.keys().collect();
        let known = known_settings();
        assert_eq!(
            names,
            known.iter().collect::<Vec<_>>(),
            "what is not printed has to be named above"
        );
    }

    /// The names of all settings, as an unknown one beside them is told.
    fn known_settings() -> BTreeSet<String> {
        let beside = |variables: &[(&str, &str)]| -> Vec<String> {
            let error = load(variables).expect_err("an error");
            let known = error.split_once("expected").expect("what is known").1;
            known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let mut names = BTreeSet::from(["credentials.source".to_owned()]);
        for section in beside(&[("BANKREFRESH__NO_SUCH__KEY", "1")]) {
            let variable = format!("{PREFIX}{}__NO_SUCH", section.to_uppercase());
            let unknown = (variable.as_str(), "1");
            let keys = if section == "credentials" {
                let source = "BANKREFRESH__CREDENTIALS__SOURCE";
                [
                    beside(&[(source, "directory"), unknown]),
                    beside(&[(source, "http"), unknown]),
                ]
                .concat()
            } else {
                beside(&[unknown])
            };
            // The error names the section too.
            let keys = keys.into_iter().filter(|key| *key != section);
            names.extend(keys.map(|key| format!("{section}.{key}")));
        }
        names
    }
}
