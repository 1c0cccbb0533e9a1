//! Exporters to an OpenTelemetry collector.

use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::Temporality;

use super::{OtlpProtocol, Settings};
use crate::setting::HttpUrl;

/// The longest an export may take. What does not get through is dropped.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who reports.
pub(super) fn resource() -> Resource {
    Resource::builder()
        .with_service_name("bankrefresh")
        .with_attribute(opentelemetry::KeyValue::new(
            "service.version",
            env!("CARGO_PKG_VERSION"),
        ))
        .with_attribute(opentelemetry::KeyValue::new(
            "service.instance.id",
            uuid::Uuid::new_v4().to_string(),
        ))
        .build()
}

/// An exporter of spans, if an endpoint is set.
///
/// # Errors
///
/// When no exporter can be made for it.
pub(super) fn spans(settings: &Settings) -> Result<Option<SpanExporter>, NoCollector> {
    let Some(endpoint) = &settings.otlp_endpoint else {
        return Ok(None);
    };
    let exporter = match settings.otlp_protocol {
        OtlpProtocol::Grpc => SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.as_str())
            .with_timeout(TIMEOUT)
            .build(),
        OtlpProtocol::Http => SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(path(endpoint, "v1/traces"))
            .with_timeout(TIMEOUT)
            .build(),
    };
    exporter.map(Some).map_err(NoCollector)
}

/// An exporter of metrics, if an endpoint is set.
///
/// # Errors
///
/// When no exporter can be made for it.
pub(super) fn metrics(settings: &Settings) -> Result<Option<MetricExporter>, NoCollector> {
    let Some(endpoint) = &settings.otlp_endpoint else {
        return Ok(None);
    };
    let exporter = match settings.otlp_protocol {
        OtlpProtocol::Grpc => MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.as_str())
            .with_timeout(TIMEOUT)
            .with_temporality(Temporality::Cumulative)
            .build(),
        OtlpProtocol::Http => MetricExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(path(endpoint, "v1/metrics"))
            .with_timeout(TIMEOUT)
            .with_temporality(Temporality::Cumulative)
            .build(),
    };
    exporter.map(Some).map_err(NoCollector)
}

/// A collector that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_endpoint must be a collector's URL, for instance http://127.0.0.1:4317: {0}")]
pub struct NoCollector(ExporterBuildError);

/// Over HTTP each signal has a path of its own.
fn path(endpoint: &HttpUrl, signal: &str) -> String {
    format!("{}/{signal}", endpoint.as_str().trim_end_matches('/'))
}
