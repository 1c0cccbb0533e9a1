//! What operators see of a process.

pub mod logs;
pub mod metrics;
mod otlp;
mod settings;
pub mod traces;

use std::time::Duration;

use http::StatusCode;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

pub use otlp::NoCollector;
pub use settings::{LogFormat, LogLevel, NotDirectives, OtlpProtocol, Settings};

/// How long the last spans and metrics may take to a collector when a worker stops.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// How an HTTP request ended, in plain values: telemetry knows nothing of who sends it.
#[derive(Clone, Debug)]
pub(crate) enum Ended<'a> {
    /// The response's status, and the other side's name for the request.
    Response {
        status: StatusCode,
        request_id: Option<&'a str>,
    },
    /// A word from a small closed set, and a text that holds no secret.
    TransportError { error: &'static str, message: String },
}

/// Sends what is left. Whether that works is nobody's concern any more.
pub async fn end(traces: Option<SdkTracerProvider>, metrics: SdkMeterProvider) {
    let ending = tokio::task::spawn_blocking(move || {
        if let Some(traces) = traces {
            drop(traces.shutdown_with_timeout(END_TIMEOUT));
        }
        drop(metrics.shutdown_with_timeout(END_TIMEOUT));
    });
    drop(tokio::time::timeout(2 * END_TIMEOUT, ending).await);
}
