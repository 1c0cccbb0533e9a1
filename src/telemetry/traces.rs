//! Traces: every name and attribute of a span in one place. A refresh is one trace, from its sender's `traceparent` through
//! every worker that has it to whoever reads its events; without one, the first worker begins it.
//!
//! | span | kind | parent | from, to |
//! | --- | --- | --- | --- |
//! | `process <exchange>:<key>:<queue>` | consumer | what published the message | a refresh is due, it waits or is over |
//! | `<method> <path>` | client | `process` | one HTTP request to finAPI |
//! | `send <exchange>:<key>` | producer | `process` | one message, until it is confirmed |
//! | `parked` | internal | the `send` that parked it | parked, taken up again |
//!
//! Spans are exported as soon as they are over, by a thread of their own: a worker that is killed loses the last ones, and a
//! collector that is slow or away costs spans and nothing else.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use jiff::Timestamp;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{
    FutureExt as _, Link, Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
    WithContext,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider};

use url::Url;

use super::{Ended, NoCollector, Settings, otlp};
use crate::broker::Outgoing;
use crate::id::TaskId;
use crate::refresh::{Envelope, Refresh, TaskRef};

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// How soon spans are exported.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How many spans wait for their export; more are dropped.
const QUEUE_MAX: usize = 8192;

/// Starts tracing if an endpoint is set. To be called once, in a tokio runtime.
///
/// # Errors
///
/// When no exporter can be made for the endpoint.
pub fn start(settings: &Settings) -> Result<Option<SdkTracerProvider>, NoCollector> {
    let Some(exporter) = otlp::spans(settings)? else {
        return Ok(None);
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_MAX)
        .with_scheduled_delay(EXPORT_INTERVAL)
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_sampler(sampler)
        .with_resource(otlp::resource())
        .build();
    // Only whoever starts twice is too late.
    let _ = TRACER.set(provider.tracer("bankrefresh"));
    Ok(Some(provider))
}

/// What a worker does with a refresh that is due, until it waits or is over.
#[derive(Debug, Default)]
pub(crate) struct ProcessSpan(Option<Context>);

impl ProcessSpan {
    /// Begins, as a child of what the envelope names. A refresh that belongs to no trace begins one.
    pub(crate) fn begin(refresh: &mut Refresh, destination: &str) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self::default();
        };
        let parent = context_of(&refresh.envelope);
        let parent_span = parent.span().span_context().clone();
        let command = &refresh.command;
        let attributes = [
            Some(KeyValue::new("messaging.system", "rabbitmq")),
            Some(KeyValue::new("messaging.operation.name", "process")),
            Some(KeyValue::new("messaging.operation.type", "process")),
            Some(KeyValue::new("messaging.destination.name", destination.to_owned())),
            conversation(&refresh.envelope),
            Some(KeyValue::new("bankrefresh.command_id", command.id().to_string())),
            Some(KeyValue::new(
                "bankrefresh.bank_connection_id",
                command.connection_id().get(),
            )),
            refresh.task().map(|task| task_id(&task.id)),
            Some(KeyValue::new("bankrefresh.phase", refresh.phase.name())),
        ];
        let mut builder = tracer
            .span_builder(format!("process {destination}"))
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes.into_iter().flatten());
        if parent_span.is_valid() {
            builder = builder.with_links(vec![Link::with_context(parent_span.clone())]);
        }
        let context = parent.with_span(builder.start_with_context(tracer, &parent));
        if !parent_span.is_valid() {
            write(&context, &mut refresh.envelope);
        }
        Self(Some(context))
    }

    /// Spans of requests made meanwhile belong to it.
    pub(crate) fn instrument<F: Future>(&self, what: F) -> WithContext<F> {
        what.with_context(self.0.clone().unwrap_or_default())
    }

    /// A message that is about to be sent.
    pub(crate) fn send(&self, envelope: &Envelope) -> SendSpan {
        SendSpan(self.0.as_ref().and_then(|parent| sending(parent, envelope)))
    }

    /// The refresh has a task now.
    pub(crate) fn set_task(&self, task: &TaskRef) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(task_id(&task.id));
        }
    }

    /// Where the refresh stands when it waits or is over, and what kept it from that.
    pub(crate) fn end(&self, state: &'static str, error: Option<&'static str>) {
        if let Some(context) = &self.0 {
            let span = context.span();
            span.set_attribute(KeyValue::new("bankrefresh.state", state));
            if let Some(error) = error {
                span.set_attribute(KeyValue::new("error.type", error));
                span.set_status(Status::error("the delivery was lost"));
            }
            span.end();
        }
    }
}

/// A message that is on its way, from before it is made until it is confirmed.
#[derive(Debug, Default)]
pub(crate) struct SendSpan(Option<(Context, Envelope)>);

fn sending(parent: &Context, envelope: &Envelope) -> Option<(Context, Envelope)> {
    let tracer = TRACER.get()?;
    let builder = tracer.span_builder("send").with_kind(SpanKind::Producer);
    let context = parent.with_span(builder.start_with_context(tracer, parent));
    let mut envelope = envelope.clone();
    write(&context, &mut envelope);
    Some((context, envelope))
}

impl SendSpan {
    /// Outside of any run: for a refresh that is parked.
    pub(crate) fn alone(envelope: &Envelope) -> Self {
        Self(TRACER.get().and_then(|_| sending(&context_of(envelope), envelope)))
    }

    /// What the message goes out with: its own span is the parent of whatever follows from it.
    pub(crate) fn envelope<'a>(&'a self, otherwise: &'a Envelope) -> &'a Envelope {
        self.0.as_ref().map_or(otherwise, |(_, envelope)| envelope)
    }

    /// Has a state continue from here.
    pub(crate) fn continue_from(&self, envelope: &mut Envelope) {
        if let Some((_, own)) = &self.0 {
            envelope.clone_from(own);
        }
    }

    /// Where it goes.
    pub(crate) fn with_destination(self, outgoing: &Outgoing) -> Self {
        let Some((context, envelope)) = &self.0 else {
            return self;
        };
        let key = &outgoing.routing_key;
        let destination = outgoing.destination();
        let message_id = outgoing.message.properties.message_id.clone().unwrap_or_default();
        let span = context.span();
        span.update_name(format!("send {destination}"));
        let attributes = [
            Some(KeyValue::new("messaging.system", "rabbitmq")),
            Some(KeyValue::new("messaging.operation.name", "send")),
            Some(KeyValue::new("messaging.operation.type", "send")),
            Some(KeyValue::new("messaging.destination.name", destination)),
            Some(KeyValue::new("messaging.rabbitmq.destination.routing_key", key.clone())),
            Some(KeyValue::new("messaging.message.id", message_id)),
            conversation(envelope),
        ];
        span.set_attributes(attributes.into_iter().flatten());
        self
    }

    /// Whether it was confirmed.
    pub(crate) fn end(self, is_confirmed: bool) {
        let Some((context, _)) = self.0 else { return };
        let span = context.span();
        if !is_confirmed {
            span.set_attribute(KeyValue::new("error.type", "unconfirmed"));
            span.set_status(Status::error("not confirmed"));
        }
        span.end();
    }
}

/// A refresh that was parked has come back.
pub(crate) fn parked(envelope: &Envelope, since: Timestamp, due: Timestamp) {
    let Some(tracer) = TRACER.get() else { return };
    let now = Timestamp::now();
    let late = now.duration_since(due);
    let builder = tracer
        .span_builder("parked")
        .with_kind(SpanKind::Internal)
        .with_start_time(SystemTime::try_from(since.min(now)).unwrap_or_else(|_| SystemTime::now()))
        .with_attributes([KeyValue::new("bankrefresh.late_seconds", late.as_secs_f64().max(0.0))]);
    builder.start_with_context(tracer, &context_of(envelope)).end();
}

/// One HTTP request to finAPI, of the run around it. There is no `url.full`: a web form's id opens the form.
#[derive(Debug)]
pub(crate) struct HttpSpan(Option<Context>);

impl HttpSpan {
    pub(crate) fn begin(endpoint: &str, url: &Url) -> Self {
        let parent = Context::current();
        let Some(tracer) = TRACER.get().filter(|_| parent.span().span_context().is_valid()) else {
            return Self(None);
        };
        let (method, path) = endpoint.split_once(' ').unwrap_or((endpoint, ""));
        let attributes = [
            Some(KeyValue::new("http.request.method", method.to_owned())),
            Some(KeyValue::new("url.template", path.to_owned())),
            url.host_str()
                .map(|host| KeyValue::new("server.address", host.to_owned())),
            url.port_or_known_default()
                .map(|port| KeyValue::new("server.port", i64::from(port))),
        ];
        let builder = tracer
            .span_builder(endpoint.to_owned())
            .with_kind(SpanKind::Client)
            .with_attributes(attributes.into_iter().flatten());
        Self(Some(parent.with_span(builder.start_with_context(tracer, &parent))))
    }

    pub(crate) fn end(self, ended: &Ended<'_>) {
        let Some(context) = self.0 else { return };
        let span = context.span();
        match ended {
            Ended::Response { status, request_id } => {
                let code = i64::from(status.as_u16());
                span.set_attribute(KeyValue::new("http.response.status_code", code));
                if let Some(id) = request_id {
                    span.set_attribute(KeyValue::new("finapi.request_id", (*id).to_owned()));
                }
                if *status >= StatusCode::BAD_REQUEST {
                    span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
                    span.set_status(Status::error(""));
                }
            }
            Ended::TransportError { error, message } => {
                span.set_attribute(KeyValue::new("error.type", *error));
                span.set_status(Status::error(message.clone()));
            }
        }
        span.end();
    }
}

/// The caller's own name for what belongs together, if there is one.
fn conversation(envelope: &Envelope) -> Option<KeyValue> {
    let id = &envelope.correlation_id;
    (!id.is_empty()).then(|| KeyValue::new("messaging.message.conversation_id", id.clone()))
}

fn task_id(id: &TaskId) -> KeyValue {
    KeyValue::new("bankrefresh.task_id", id.to_string())
}

fn context_of(envelope: &Envelope) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(envelope))
}

fn write(context: &Context, envelope: &mut Envelope) {
    TraceContextPropagator::new().inject_context(context, &mut CarrierMut(envelope));
}

struct Carrier<'a>(&'a Envelope);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(&self.0.traceparent),
            "tracestate" => Some(&self.0.tracestate),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

struct CarrierMut<'a>(&'a mut Envelope);

impl Injector for CarrierMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        match key {
            "traceparent" => self.0.traceparent = value,
            "tracestate" => self.0.tracestate = value,
            _ => {}
        }
    }
}
