//! What is logged, and where traces and metrics go.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::setting::{Declared, HttpUrl, Section, Value};

/// Logs, traces and metrics (section `telemetry`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "`declare` says what each field means")]
pub struct Settings {
    pub log_format: LogFormat,
    pub log_level: LogLevel,
    pub otlp_endpoint: Option<HttpUrl>,
    pub otlp_protocol: OtlpProtocol,
    pub use_proxy: bool,
    pub sample_ratio: f64,
    pub banks_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_level: LogLevel::default(),
            otlp_endpoint: None,
            otlp_protocol: OtlpProtocol::Grpc,
            use_proxy: false,
            sample_ratio: 1.0,
            banks_max: 0,
        }
    }
}

impl Section for Settings {
    const NAME: &'static str = "telemetry";
    const TITLE: &'static str = "logs, traces, metrics";

    fn declare(&self, list: &mut Declared) {
        list.any(
            "log_format",
            &self.log_format,
            "The form of log lines: text for people, JSON for programs.",
        );
        list.any(
            "log_level",
            &self.log_level,
            "What is logged: a level for bankrefresh itself (its libraries log warnings and errors), or filter directives such as \
             `info,hyper=debug`.",
        );
        list.any(
            "otlp_endpoint",
            &self.otlp_endpoint,
            "The OpenTelemetry collector that traces and metrics are sent to. Without it none are sent.",
        );
        list.any(
            "otlp_protocol",
            &self.otlp_protocol,
            "The collector's protocol: `grpc`, usually on port 4317, or `http`, usually on port 4318.",
        );
        list.any(
            "use_proxy",
            &self.use_proxy,
            "Whether the protocol `http` goes through the proxies that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name. `grpc` never uses a proxy.",
        );
        list.within(
            "sample_ratio",
            self.sample_ratio,
            0.0..=1.0,
            "The share of refreshes that are traced, of those whose sender has not decided that (`traceparent`).",
        );
        list.within(
            "banks_max",
            self.banks_max,
            0..=1000,
            "How many banks `bankrefresh_refreshes_total` names by their id, at most. It counts all other banks as `other`. With 0 it names none.",
        );
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

impl Value for OtlpProtocol {
    const KIND: &'static str = "`grpc` or `http`";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
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

impl Value for LogFormat {
    const KIND: &'static str = "`text` or `json`";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// What is logged: `tracing_subscriber`'s filter directives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel(String);

/// A text that is not a [`LogLevel`].
#[derive(Debug, thiserror::Error)]
pub enum NotDirectives {
    /// It can't be read.
    #[error("it must be filter directives, for instance \"info\": {0}")]
    Unreadable(#[from] tracing_subscriber::filter::ParseError),
    /// It names spans or fields, whose values are regular expressions: one of 500 bytes can take a tenth of a second.
    #[error("it must be a level, or targets with a level each: spans and fields are not supported")]
    Spans,
    /// It has more than 1,000 bytes, and takes long to read.
    #[error("it must have at most {LOG_LEVEL_MAX} bytes, and has {0}")]
    TooLong(usize),
}

/// The most bytes of the directives.
const LOG_LEVEL_MAX: usize = 1000;

impl LogLevel {
    /// Only what an operator must act on.
    #[must_use]
    pub fn warnings() -> Self {
        Self("warn".to_owned())
    }

    /// What lets these lines through. A level alone is our own: libraries log warnings, as they do where directives say nothing of them.
    /// lapin logs what the worker logs itself, so it is silent unless an operator asks for it. See also [`may_be_logged`].
    #[must_use]
    pub(super) fn filter(&self) -> EnvFilter {
        let directives = match self.0.parse::<LevelFilter>() {
            Ok(level) => format!("{},bankrefresh={level}", level.min(LevelFilter::WARN)),
            Err(_) => self.0.clone(),
        };
        EnvFilter::new(format!("warn,lapin=off,{directives}"))
    }
}

/// Whether lines may be logged at all, whatever an operator asks for. lapin's detailed lines hold frames, and with them the broker's password
/// and what is in messages; its lines about messages that came back hold their bodies at any level.
pub(super) fn may_be_logged(lines: &Metadata<'_>) -> bool {
    let target = lines.target();
    !target.starts_with("lapin") || (*lines.level() <= Level::INFO && !target.starts_with("lapin::returned_messages"))
}

impl Default for LogLevel {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogLevel {
    type Err = NotDirectives;

    fn from_str(text: &str) -> Result<Self, NotDirectives> {
        if text.len() > LOG_LEVEL_MAX {
            return Err(NotDirectives::TooLong(text.len()));
        }
        if text.contains(['[', '{']) {
            return Err(NotDirectives::Spans);
        }
        EnvFilter::try_new(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for LogLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Value for LogLevel {
    const KIND: &'static str = "filter directives";

    fn show(&self) -> String {
        self.0.clone()
    }
}
