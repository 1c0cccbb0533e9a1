//! Every metric: its name, unit and labels in one place. They are OpenTelemetry instruments, shown at `/metrics` in
//! Prometheus' format; label values come from small closed sets.

use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::{Encoder as _, Registry, TextEncoder};

use super::otlp;
use crate::config::{ConfigError, Telemetry};
use crate::refresh::event::Event;

/// Bounds of histograms, in seconds: from a call to finAPI to a user who takes the time a web form allows.
const SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1200.0, 7200.0,
];

/// How often metrics are sent to a collector.
const EXPORT_INTERVAL: Duration = Duration::from_secs(15);

/// What a worker counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    events: Counter<u64>,
    refreshes: Counter<u64>,
    refresh_duration: Histogram<f64>,
    command_age: Histogram<f64>,
    resume_delay: Histogram<f64>,
    notice_delay: Histogram<f64>,
    parked: Counter<u64>,
    redeliveries: Counter<u64>,
    dead_letters: Counter<u64>,
    connection_losses: Counter<u64>,
    in_hand: Gauge<u64>,
    calls: Histogram<f64>,
    finapi_down: Gauge<u64>,
}

/// Starts counting. Metrics made before count nothing.
///
/// # Errors
///
/// Names the setting that is wrong.
pub fn start(settings: &Telemetry) -> Result<(Registry, SdkMeterProvider), ConfigError> {
    let registry = Registry::new();
    let mut provider = SdkMeterProvider::builder().with_resource(otlp::resource());
    // Only fails when the registry has a collector of the same name already.
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
    if let Ok(exporter) = exporter.build() {
        provider = provider.with_reader(exporter);
    }
    if let Some(exporter) = otlp::metrics(settings)? {
        let reader = PeriodicReader::builder(exporter).with_interval(EXPORT_INTERVAL);
        provider = provider.with_reader(reader.build());
    }
    let provider = provider.build();
    global::set_meter_provider(provider.clone());
    Ok((registry, provider))
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

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&global::meter("bankrefresh"))
    }
}

impl Metrics {
    fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        let gauge = |name: &'static str, what: &'static str| meter.u64_gauge(name).with_description(what).build();
        let seconds = |name: &'static str, what: &'static str| {
            let histogram = meter.f64_histogram(name).with_description(what).with_unit("s");
            histogram.with_boundaries(SECONDS.to_vec()).build()
        };
        Self {
            events: counter("bankrefresh.events", "Events published, by type"),
            refreshes: counter("bankrefresh.refreshes", "Outcomes, by outcome and reason"),
            refresh_duration: seconds(
                "bankrefresh.refresh.duration",
                "From the command's requested_at to its outcome",
            ),
            command_age: seconds(
                "bankrefresh.command.age",
                "From the command's requested_at to its first run",
            ),
            resume_delay: seconds(
                "bankrefresh.resume.delay",
                "From when a parked refresh was due to when it was taken up: a delay queue that stands still shows here",
            ),
            notice_delay: seconds(
                "bankrefresh.notice.delay",
                "From the end of an update to when it was noticed",
            ),
            parked: counter("bankrefresh.parked", "Refreshes parked in a delay queue"),
            redeliveries: counter("bankrefresh.redeliveries", "Deliveries that had come before"),
            dead_letters: counter("bankrefresh.dead_letters", "Messages that could not be understood"),
            connection_losses: counter("bankrefresh.broker.connection_losses", "Times the broker was lost"),
            in_hand: gauge(
                "bankrefresh.in_hand",
                "Refreshes in hand, by state: held, running, waiting",
            ),
            calls: seconds(
                "bankrefresh.finapi.call.duration",
                "Calls of finAPI, by call and class of the answer",
            ),
            finapi_down: gauge("bankrefresh.finapi.down", "1 while finAPI counts as down"),
        }
    }

    pub(crate) fn published(&self, event: &Event, age: Duration) {
        let (outcome, reason) = match event {
            Event::TransactionsUpdated(event) => ("updated", event.origin().as_str_name()),
            Event::UserActionRequired(event) => ("user_action", event.reason().as_str_name()),
            Event::RefreshFailed(event) => ("failed", event.reason().as_str_name()),
        };
        let labels = [KeyValue::new("type", event.message_name())];
        self.events.add(1, &labels);
        if event.is_last() {
            let labels = [KeyValue::new("outcome", outcome), KeyValue::new("reason", reason)];
            self.refreshes.add(1, &labels);
            self.refresh_duration.record(age.as_secs_f64(), &labels[..1]);
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

    pub(crate) fn in_hand(&self, held: usize, running: usize, waiting: usize) {
        for (state, count) in [("held", held), ("running", running), ("waiting", waiting)] {
            self.in_hand.record(count as u64, &[KeyValue::new("state", state)]);
        }
    }

    pub(crate) fn called(&self, call: &'static str, class: &'static str, took: Duration) {
        let labels = [KeyValue::new("call", call), KeyValue::new("class", class)];
        self.calls.record(took.as_secs_f64(), &labels);
    }

    pub(crate) fn finapi_down(&self, down: bool) {
        self.finapi_down.record(u64::from(down), &[]);
    }
}
