//! Exporters to an OpenTelemetry collector.

use std::time::Duration;

use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
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
            .with_http_client(http_client(settings)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(path(endpoint, "v1/traces"))
            .with_timeout(TIMEOUT)
            .build(),
    };
    Ok(Some(exporter?))
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
            .with_http_client(http_client(settings)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(path(endpoint, "v1/metrics"))
            .with_timeout(TIMEOUT)
            .with_temporality(Temporality::Cumulative)
            .build(),
    };
    Ok(Some(exporter?))
}

/// A client that takes the environment's proxies only where a setting says so. It is made in a thread of its own, because it may not be made
/// in one that waits for others.
fn http_client(settings: &Settings) -> Result<reqwest::blocking::Client, NoCollector> {
    let builder = reqwest::blocking::Client::builder().timeout(TIMEOUT);
    let builder = if settings.use_proxy {
        builder
    } else {
        builder.no_proxy()
    };
    match std::thread::spawn(|| builder.build()).join() {
        Ok(client) => client.map_err(NoCollector::Client),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A collector that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum NoCollector {
    /// Its URL is none.
    #[error("telemetry.otlp_endpoint must be a collector's URL, for instance http://127.0.0.1:4317: {0}")]
    Endpoint(#[from] ExporterBuildError),
    /// What calls it can't be made.
    #[error("no HTTP client for telemetry.otlp_endpoint: {0}")]
    Client(reqwest::Error),
}

/// Over HTTP each signal has a path of its own.
fn path(endpoint: &HttpUrl, signal: &str) -> String {
    format!("{}/{signal}", endpoint.as_str().trim_end_matches('/'))
}
