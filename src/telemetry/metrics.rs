//! Every metric: its name, unit and labels in one place. They are OpenTelemetry instruments, shown at `/metrics` in
//! Prometheus' format; label values come from small closed sets.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader, SdkMeterProvider};
use prometheus::{Encoder as _, Registry, TextEncoder};

use super::{NoCollector, Settings, otlp};
use crate::broker::Outgoing;
use crate::finapi::transport::{NoAnswer, Response};
use crate::refresh::event::Event;
use crate::worker::Status;

/// Bounds of histograms, in seconds: from a call to finAPI to a user who takes the time a web form allows.
const SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1200.0, 7200.0,
];

/// How often metrics are sent to a collector.
const EXPORT_INTERVAL: Duration = Duration::from_secs(15);

/// The banks that metrics name, where that is asked for.
static BANKS: OnceLock<Banks> = OnceLock::new();

/// Every bank is a series of its own for each outcome, so there is a most.
#[derive(Debug)]
struct Banks {
    max: usize,
    named: Mutex<BTreeSet<i64>>,
}

/// What a worker counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    events: Counter<u64>,
    refreshes: Counter<u64>,
    refresh_duration: Histogram<f64>,
    command_age: Histogram<f64>,
    waiting_age: Gauge<f64>,
    resume_delay: Histogram<f64>,
    notice_delay: Histogram<f64>,
    phase_duration: Histogram<f64>,
    parked: Counter<u64>,
    redeliveries: Counter<u64>,
    dead_letters: Counter<u64>,
    connection_losses: Counter<u64>,
    in_hand: Gauge<u64>,
    processes: Histogram<f64>,
    consumed: Counter<u64>,
    sent: Counter<u64>,
    publishes: Histogram<f64>,
    calls: Histogram<f64>,
    calls_now: Gauge<u64>,
    calls_limit: Gauge<u64>,
    requests: Histogram<f64>,
    tokens: Counter<u64>,
    finapi_down: Gauge<u64>,
    draining: Gauge<u64>,
    drain_duration: Histogram<f64>,
}

/// Where a token came from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TokenFrom {
    /// The command.
    Command,
    /// This worker's memory.
    Memory,
    /// The operator's credential service.
    Service,
    /// finAPI, for a refresh token.
    RefreshToken,
    /// finAPI, for a password.
    Password,
}

/// Starts counting. Metrics made before count nothing.
///
/// # Errors
///
/// When no exporter can be made for the endpoint.
pub fn start(settings: &Settings) -> Result<(Registry, SdkMeterProvider), NoCollector> {
    let (registry, mut provider) = shown();
    if let Some(exporter) = otlp::metrics(settings)? {
        let reader = PeriodicReader::builder(exporter).with_interval(EXPORT_INTERVAL);
        provider = provider.with_reader(reader.build());
    }
    let provider = provider.build();
    global::set_meter_provider(provider.clone());
    name_banks(settings.banks_max);
    Ok((registry, provider))
}

/// A provider that shows its metrics in a registry.
fn shown() -> (Registry, MeterProviderBuilder) {
    let registry = Registry::new();
    let mut provider = SdkMeterProvider::builder().with_resource(otlp::resource());
    // Only fails when the registry has a collector of the same name already.
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
    if let Ok(exporter) = exporter.build() {
        provider = provider.with_reader(exporter);
    }
    (registry, provider)
}

/// All metrics in Prometheus' text format.
#[must_use]
pub fn text(registry: &Registry) -> String {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut text) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("# {error}\n"),
    }
}

fn name_banks(max: usize) {
    if max > 0 {
        // Only whoever starts twice is too late.
        let _ = BANKS.set(Banks {
            max,
            named: Mutex::default(),
        });
    }
}

impl Banks {
    fn label(&self, bank_id: Option<i64>) -> KeyValue {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let name = match bank_id {
            Some(id) if named.contains(&id) || named.len() < self.max => {
                named.insert(id);
                id.to_string()
            }
            Some(_) => "other".to_owned(),
            None => "unknown".to_owned(),
        };
        KeyValue::new("bank", name)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&global::meter("bankrefresh"))
    }
}

impl Metrics {
    fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, unit: &'static str, what: &'static str| {
            let counter = meter.u64_counter(name).with_description(what);
            counter.with_unit(unit).build()
        };
        let gauge = |name: &'static str, unit: &'static str, what: &'static str| {
            let gauge = meter.u64_gauge(name).with_description(what);
            gauge.with_unit(unit).build()
        };
        let seconds = |name: &'static str, what: &'static str| {
            let histogram = meter.f64_histogram(name).with_description(what).with_unit("s");
            histogram.with_boundaries(SECONDS.to_vec()).build()
        };
        let waiting_age = meter.f64_gauge("bankrefresh.waiting.age").with_unit("s");
        let metrics = Self {
            events: counter("bankrefresh.events", "{event}", "Events published, by type"),
            refreshes: counter("bankrefresh.refreshes", "{refresh}", "Outcomes, by outcome and reason"),
            refresh_duration: seconds(
                "bankrefresh.refresh.duration",
                "From the command's requested_at to its outcome",
            ),
            command_age: seconds(
                "bankrefresh.command.age",
                "From the command's requested_at to its first run",
            ),
            waiting_age: waiting_age
                .with_description("How long ago the oldest command that waits for room here was requested")
                .build(),
            resume_delay: seconds(
                "bankrefresh.resume.delay",
                "From when a parked refresh was due to when it was taken up: a delay queue that stands still shows here",
            ),
            notice_delay: seconds(
                "bankrefresh.notice.delay",
                "From the end of an update to when it was noticed",
            ),
            phase_duration: seconds(
                "bankrefresh.phase.duration",
                "How long refreshes were in a phase, by the phase they left",
            ),
            parked: counter("bankrefresh.parked", "{refresh}", "Refreshes parked in a delay queue"),
            redeliveries: counter(
                "bankrefresh.redeliveries",
                "{message}",
                "Deliveries that had come before",
            ),
            dead_letters: counter(
                "bankrefresh.dead_letters",
                "{message}",
                "Messages that could not be understood",
            ),
            connection_losses: counter(
                "bankrefresh.broker.connection_losses",
                "{connection}",
                "Times the broker was lost",
            ),
            in_hand: gauge(
                "bankrefresh.in_hand",
                "{refresh}",
                "Refreshes in hand, by state: held, running, waiting",
            ),
            processes: seconds(
                "messaging.process.duration",
                "How long refreshes ran, by where they came from",
            ),
            consumed: counter(
                "messaging.client.consumed.messages",
                "{message}",
                "Messages taken, by where they came from",
            ),
            sent: counter(
                "messaging.client.sent.messages",
                "{message}",
                "Messages published, by where they went",
            ),
            publishes: seconds("messaging.client.operation.duration", "From a publish to its confirms"),
            calls: seconds(
                "bankrefresh.finapi.call.duration",
                "Calls of finAPI and their wait at the limit, by call and class of the answer",
            ),
            calls_now: gauge(
                "bankrefresh.finapi.calls",
                "{call}",
                "Calls of finAPI, by state: running, waiting for their turn",
            ),
            calls_limit: gauge(
                "bankrefresh.finapi.calls_limit",
                "{call}",
                "How many calls are let through at once now: fewer while finAPI is strained",
            ),
            requests: seconds(
                "http.client.request.duration",
                "HTTP requests to finAPI, tokens included",
            ),
            tokens: counter(
                "bankrefresh.finapi.tokens",
                "{token}",
                "Users' access tokens that were needed, by where they came from",
            ),
            finapi_down: gauge("bankrefresh.finapi.down", "", "1 while finAPI counts as down"),
            draining: gauge("bankrefresh.draining", "", "1 while the worker is stopping"),
            drain_duration: seconds("bankrefresh.drain.duration", "How long a worker took to stop"),
        };
        // What has not happened yet is zero and not unknown.
        for counter in [
            &metrics.parked,
            &metrics.redeliveries,
            &metrics.dead_letters,
            &metrics.connection_losses,
        ] {
            counter.add(0, &[]);
        }
        metrics
    }

    /// An event is out, so long after the command; `bank_id` is asked where metrics name banks.
    pub(crate) fn published(&self, event: &Event, age: Duration, bank_id: impl FnOnce() -> Option<i64>) {
        let (outcome, reason) = match event {
            Event::TransactionsUpdated(event) => ("updated", event.origin().as_str_name()),
            Event::UserActionRequired(event) => ("user_action", event.reason().as_str_name()),
            Event::RefreshFailed(event) => ("failed", event.reason().as_str_name()),
        };
        let labels = [KeyValue::new("type", event.message_name())];
        self.events.add(1, &labels);
        if event.is_last() {
            let outcome = KeyValue::new("outcome", outcome);
            self.refresh_duration
                .record(age.as_secs_f64(), std::slice::from_ref(&outcome));
            let reason = KeyValue::new("reason", reason);
            match BANKS.get() {
                Some(banks) => self.refreshes.add(1, &[outcome, reason, banks.label(bank_id())]),
                None => self.refreshes.add(1, &[outcome, reason]),
            }
        }
    }

    pub(crate) fn command_taken(&self, age: Duration, interactive: bool) {
        let lane = if interactive { "interactive" } else { "background" };
        self.command_age
            .record(age.as_secs_f64(), &[KeyValue::new("lane", lane)]);
    }

    pub(crate) fn resumed(&self, late: Duration) {
        self.resume_delay.record(late.as_secs_f64(), &[]);
    }

    pub(crate) fn noticed(&self, delay: Duration) {
        self.notice_delay.record(delay.as_secs_f64(), &[]);
    }

    pub(crate) fn parked(&self) {
        self.parked.add(1, &[]);
    }

    pub(crate) fn redelivered(&self) {
        self.redeliveries.add(1, &[]);
    }

    pub(crate) fn dead_letter(&self) {
        self.dead_letters.add(1, &[]);
    }

    pub(crate) fn connection_lost(&self) {
        self.connection_losses.add(1, &[]);
    }

    /// How a worker is.
    pub(crate) fn is(&self, status: &Status) {
        let held = status.held.values().map(|held| held.count).sum();
        for (state, count) in [("held", held), ("running", status.running), ("waiting", status.waiting)] {
            self.in_hand.record(count as u64, &[KeyValue::new("state", state)]);
        }
        self.waiting_age.record(status.waiting_oldest_seconds as f64, &[]);
        let calls = &status.finapi_calls;
        for (state, count) in [("running", calls.running), ("waiting", calls.waiting)] {
            self.calls_now.record(count as u64, &[KeyValue::new("state", state)]);
        }
        self.calls_limit.record(calls.limit as u64, &[]);
        self.finapi_down.record(u64::from(status.finapi_down), &[]);
        self.draining.record(u64::from(status.draining), &[]);
    }

    pub(crate) fn called(&self, call: &'static str, class: &'static str, took: Duration) {
        let labels = [KeyValue::new("call", call), KeyValue::new("class", class)];
        self.calls.record(took.as_secs_f64(), &labels);
    }

    pub(crate) fn token(&self, from: TokenFrom) {
        let from = match from {
            TokenFrom::Command => "command",
            TokenFrom::Memory => "memory",
            TokenFrom::Service => "service",
            TokenFrom::RefreshToken => "refresh_token",
            TokenFrom::Password => "password",
        };
        self.tokens.add(1, &[KeyValue::new("from", from)]);
    }

    /// A refresh left a phase.
    pub(crate) fn left(&self, phase: &'static str, after: Duration) {
        let labels = [KeyValue::new("phase", phase)];
        self.phase_duration.record(after.as_secs_f64(), &labels);
    }

    /// A message was taken from a destination.
    pub(crate) fn delivered(&self, destination: &str) {
        self.consumed.add(1, &messaging("process", destination));
    }

    /// A refresh that came from a destination has run.
    pub(crate) fn processed(&self, destination: &str, took: Duration) {
        self.processes
            .record(took.as_secs_f64(), &messaging("process", destination));
    }

    /// One HTTP request to finAPI.
    pub(crate) fn requested(
        &self,
        endpoint: &'static str,
        server: String,
        answer: &Result<Response, NoAnswer>,
        took: Duration,
    ) {
        let (method, template) = endpoint.split_once(' ').unwrap_or((endpoint, ""));
        let mut labels = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.template", template),
            KeyValue::new("server.address", server),
        ];
        match answer {
            Ok(response) => {
                let status = response.status;
                labels.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
                if status.is_client_error() || status.is_server_error() {
                    labels.push(KeyValue::new("error.type", status.as_str().to_owned()));
                }
            }
            Err(no_answer) => labels.push(KeyValue::new("error.type", no_answer.name())),
        }
        self.requests.record(took.as_secs_f64(), &labels);
    }

    /// Messages were published together, or why not.
    pub(crate) fn sent(&self, messages: &[Outgoing], error: Option<&'static str>, took: Duration) {
        let error = error.map(|error| KeyValue::new("error.type", error));
        for message in messages {
            let labels = messaging("send", &message.destination());
            let labels: Vec<KeyValue> = labels.into_iter().chain(error.clone()).collect();
            self.sent.add(1, &labels);
        }
        let labels = [
            KeyValue::new("messaging.system", "rabbitmq"),
            KeyValue::new("messaging.operation.name", "send"),
        ];
        let labels: Vec<KeyValue> = labels.into_iter().chain(error).collect();
        self.publishes.record(took.as_secs_f64(), &labels);
    }

    pub(crate) fn drained(&self, took: Duration) {
        self.drain_duration.record(took.as_secs_f64(), &[]);
    }
}

fn messaging(operation: &'static str, destination: &str) -> [KeyValue; 3] {
    [
        KeyValue::new("messaging.system", "rabbitmq"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.destination.name", destination.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::StatusCode;

    use super::*;
    use crate::broker::Message;
    use crate::proto::RefreshFailed;
    use crate::worker;

    /// The metrics with their labels, after everything was counted once.
    fn shown_after_everything() -> BTreeMap<String, BTreeSet<String>> {
        name_banks(1);
        let (registry, provider) = shown();
        let provider = provider.build();
        let metrics = Metrics::new(&opentelemetry::metrics::MeterProvider::meter(&provider, "bankrefresh"));
        let moment = Duration::from_secs(1);
        let failed = Event::RefreshFailed(RefreshFailed::default());
        for bank in [Some(1), Some(1), Some(2), None] {
            metrics.published(&failed, moment, || bank);
        }
        metrics.command_taken(moment, true);
        metrics.resumed(moment);
        metrics.noticed(moment);
        metrics.parked();
        metrics.redelivered();
        metrics.dead_letter();
        metrics.connection_lost();
        metrics.is(&worker::Status::default());
        metrics.called("task", "ok", moment);
        metrics.token(TokenFrom::Memory);
        metrics.left("updating", moment);
        metrics.delivered("a:b");
        metrics.processed("a:b", moment);
        let refused = Response {
            status: StatusCode::LOCKED,
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
        };
        metrics.requested("GET /api/tasks", "finapi.test".to_owned(), &Ok(refused), moment);
        let message = Outgoing {
            exchange: "a".to_owned(),
            routing_key: "b".to_owned(),
            message: Message::default(),
        };
        metrics.sent(&[message], Some("down"), moment);
        metrics.drained(moment);
        let text = text(&registry);
        for bank in ["1", "other", "unknown"] {
            assert!(text.contains(&format!("bank=\"{bank}\"")), "{bank}: {text}");
        }
        assert!(!text.contains("bank=\"2\""), "{text}");
        let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut name = String::new();
        for line in text.lines().filter(|line| !line.contains("target_info")) {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                name = family.split(' ').next().unwrap_or_default().to_owned();
                shown.insert(name.clone(), BTreeSet::new());
            } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
                let labels = labels.split("\",").filter_map(|label| label.split("=\"").next());
                let own = labels.filter(|label| !label.starts_with("otel_") && *label != "le");
                shown.entry(name.clone()).or_default().extend(own.map(str::to_owned));
            }
        }
        shown
    }

    #[test]
    fn every_metric_is_documented_with_its_labels_and_nothing_else() {
        let shown = shown_after_everything();
        let code = include_str!("metrics.rs").split("mod tests").next().expect("code");
        let instruments = code.lines().filter(|line| {
            let kinds = [": Counter<", ": Gauge<", ": Histogram<"];
            kinds.iter().any(|kind| line.contains(kind))
        });
        assert_eq!(shown.len(), instruments.count(), "this test counts each: {shown:#?}");
        let docs = include_str!("../../docs/operating.md");
        let table = docs.split("| metric |").nth(1).expect("the table of metrics");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let words =
            |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        let documented: BTreeMap<String, BTreeSet<String>> = rows
            .map(|row| {
                let mut cells = row.split('|').skip(1);
                let name = words(cells.next().expect("a name")).pop_first().expect("a name");
                (name, words(cells.next().expect("labels")))
            })
            .collect();
        assert_eq!(shown, documented);
    }
}
