//! An OpenTelemetry collector that keeps what it is sent: OTLP over gRPC and over HTTP on one port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::platform::PATIENCE;

/// Runs until the test ends. Cheap to clone.
#[derive(Clone)]
pub struct Collector {
    pub url: String,
    kept: Arc<Kept>,
}

struct Kept {
    spans: Mutex<Vec<Span>>,
    metrics: Mutex<BTreeMap<String, String>>,
    changed: watch::Sender<usize>,
}

/// A span, as far as tests look at it.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    /// Empty where there is none.
    pub parent: String,
    pub name: String,
    pub kind: i32,
    pub start: u64,
    pub end: u64,
    pub links: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    /// Which worker it comes from.
    pub instance: String,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let kept = Arc::new(Kept {
            spans: Mutex::default(),
            metrics: Mutex::default(),
            changed: watch::channel(0).0,
        });
        let collector = Self { url, kept };
        let http = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(collector.clone());
        let grpc = tonic::service::Routes::new(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .into_axum_router();
        tokio::spawn(async move { axum::serve(listener, http.merge(grpc)).await });
        collector
    }

    pub fn spans(&self) -> Vec<Span> {
        self.kept.spans().clone()
    }

    /// The metrics' names, each with its last export as text.
    pub fn metrics(&self) -> BTreeMap<String, String> {
        self.kept.metrics.lock().expect("the metrics").clone()
    }

    /// Waits until what came is enough.
    pub async fn until(&self, enough: impl Fn(&Self) -> bool) {
        let mut changes = self.kept.changed.subscribe();
        let wait = async { while !enough(self) && changes.changed().await.is_ok() {} };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("not enough: {:#?} {:?}", self.spans(), self.metrics().keys());
        }
    }

    fn take_spans(&self, request: ExportTraceServiceRequest) {
        let mut spans = self.kept.spans();
        for of_resource in request.resource_spans {
            let resource = attributes(
                of_resource
                    .resource
                    .map(|resource| resource.attributes)
                    .unwrap_or_default(),
            );
            let instance = resource.get("service.instance.id").cloned().unwrap_or_default();
            let all = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(all.map(|span| Span {
                trace: hex::encode(&span.trace_id),
                id: hex::encode(&span.span_id),
                parent: hex::encode(&span.parent_span_id),
                name: span.name,
                kind: span.kind,
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                links: span.links.iter().map(|link| hex::encode(&link.span_id)).collect(),
                attributes: attributes(span.attributes),
                instance: instance.clone(),
            }));
        }
        drop(spans);
        self.kept.changed.send_modify(|count| *count += 1);
    }

    fn take_metrics(&self, request: ExportMetricsServiceRequest) {
        let scopes = request.resource_metrics.into_iter().flat_map(|of| of.scope_metrics);
        let mut metrics = self.kept.metrics.lock().expect("the metrics");
        for metric in scopes.flat_map(|scope| scope.metrics) {
            metrics.insert(metric.name.clone(), format!("{metric:?}"));
        }
        drop(metrics);
        self.kept.changed.send_modify(|count| *count += 1);
    }
}

impl Kept {
    fn spans(&self) -> MutexGuard<'_, Vec<Span>> {
        self.spans.lock().expect("the spans")
    }
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(other) => format!("{other:?}"),
            None => String::new(),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}

async fn traces(State(collector): State<Collector>, body: Bytes) -> Vec<u8> {
    collector.take_spans(ExportTraceServiceRequest::decode(body).expect("an export"));
    ExportTraceServiceResponse::default().encode_to_vec()
}

async fn metrics(State(collector): State<Collector>, body: Bytes) -> Vec<u8> {
    collector.take_metrics(ExportMetricsServiceRequest::decode(body).expect("an export"));
    ExportMetricsServiceResponse::default().encode_to_vec()
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take_spans(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take_metrics(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// The URL of one that takes connections and never answers, until the test ends.
pub async fn hanging() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            kept.push(connection);
        }
    });
    url
}
