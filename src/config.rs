//! The settings: a TOML file, and the environment over it. Parsed once, into final types.
//!
//! `BANKREFRESH__<SECTION>__<KEY>` sets one key, `BANKREFRESH__<SECTION>__<KEY>_FILE` reads it from a file.

mod bounds;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::config::{Environment, File, FileFormat};
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

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
    /// Whether the topology is declared at start. Without it a worker is not ready until what is missing is there.
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
