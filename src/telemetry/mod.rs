//! What operators see of a process.

pub mod logs;
pub mod metrics;
mod otlp;
mod settings;
pub mod traces;

use std::time::Duration;

use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::worker::Handle;
pub use otlp::NoCollector;
pub use settings::{LogFormat, LogLevel, NotDirectives, OtlpProtocol, Settings};

/// How long the last spans and metrics may take to a collector when a worker stops.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// How often what a worker holds is counted.
const OBSERVE_INTERVAL: Duration = Duration::from_secs(5);

/// Counts what a worker holds, until it ends.
pub async fn observe(worker: Handle) {
    let metrics = metrics::Metrics::default();
    loop {
        tokio::time::sleep(OBSERVE_INTERVAL).await;
        if let Some(status) = worker.status().await {
            metrics.is(&status);
        }
    }
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
