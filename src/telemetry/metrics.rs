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
use crate::worker::Status;

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
    phase_duration: Histogram<f64>,
    parked: Counter<u64>,
    deliveries: Counter<u64>,
    redeliveries: Counter<u64>,
    dead_letters: Counter<u64>,
    connection_losses: Counter<u64>,
    in_hand: Gauge<u64>,
    calls: Histogram<f64>,
    requests: Histogram<f64>,
    calls_limit: Gauge<u64>,
    finapi_down: Gauge<u64>,
    publishes: Histogram<f64>,
    drain_duration: Histogram<f64>,
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
        let metrics = Self {
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
            phase_duration: seconds(
                "bankrefresh.phase.duration",
                "How long refreshes were in a phase, by the phase they left",
            ),
            deliveries: counter("bankrefresh.deliveries", "Messages taken, by queue"),
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
            requests: seconds(
                "bankrefresh.finapi.request.duration",
                "HTTP requests to finAPI, tokens included, by endpoint and status",
            ),
            calls_limit: gauge(
                "bankrefresh.finapi.calls_limit",
                "How many calls are let through at once now: fewer while finAPI is strained",
            ),
            finapi_down: gauge("bankrefresh.finapi.down", "1 while finAPI counts as down"),
            publishes: seconds(
                "bankrefresh.broker.publish.duration",
                "From a publish to its confirms, by outcome",
            ),
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

    pub(crate) fn holds(&self, status: &Status) {
        let held = status.held.values().map(|held| held.count).sum();
        for (state, count) in [("held", held), ("running", status.running), ("waiting", status.waiting)] {
            self.in_hand.record(count as u64, &[KeyValue::new("state", state)]);
        }
    }

    pub(crate) fn called(&self, call: &'static str, class: &'static str, took: Duration) {
        let labels = [KeyValue::new("call", call), KeyValue::new("class", class)];
        self.calls.record(took.as_secs_f64(), &labels);
    }

    /// A refresh left a phase.
    pub(crate) fn left(&self, phase: &'static str, after: Duration) {
        let labels = [KeyValue::new("phase", phase)];
        self.phase_duration.record(after.as_secs_f64(), &labels);
    }

    pub(crate) fn delivered(&self, queue: &str) {
        self.deliveries.add(1, &[KeyValue::new("queue", queue.to_owned())]);
    }

    pub(crate) fn requested(&self, endpoint: &'static str, status: String, took: Duration) {
        let labels = [KeyValue::new("endpoint", endpoint), KeyValue::new("status", status)];
        self.requests.record(took.as_secs_f64(), &labels);
    }

    pub(crate) fn calls_limit(&self, limit: usize) {
        self.calls_limit.record(limit as u64, &[]);
    }

    pub(crate) fn sent(&self, outcome: &'static str, took: Duration) {
        let labels = [KeyValue::new("outcome", outcome)];
        self.publishes.record(took.as_secs_f64(), &labels);
    }

    pub(crate) fn drained(&self, took: Duration) {
        self.drain_duration.record(took.as_secs_f64(), &[]);
    }

    pub(crate) fn finapi_down(&self, down: bool) {
        self.finapi_down.record(u64::from(down), &[]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// What Prometheus calls a metric of this file.
    fn shown(name: &str) -> String {
        let name = name.replace('.', "_");
        let code = include_str!("metrics.rs");
        let made = |kind: &str| {
            let mut places = code.match_indices(kind).map(|(at, _)| &code[at + kind.len()..]);
            places.any(|rest| {
                rest.trim_start()
                    .starts_with(&format!("\"{}\"", name.replace('_', ".")))
            })
        };
        // Names with an underscore of their own.
        let is_counter =
            made("counter(") || ["bankrefresh_dead_letters", "bankrefresh_broker_connection_losses"].contains(&&*name);
        let is_histogram = name.ends_with("_duration") || name.ends_with("_age") || name.ends_with("_delay");
        match (is_counter, is_histogram) {
            (true, _) => format!("{name}_total"),
            (_, true) => format!("{name}_seconds"),
            _ => name,
        }
    }

    #[test]
    fn every_metric_is_documented_and_nothing_else() {
        let code = include_str!("metrics.rs").split("mod tests").next().expect("code");
        let made: BTreeSet<String> = code
            .split('"')
            .filter(|text| text.starts_with("bankrefresh.") && !text.contains(' '))
            .map(shown)
            .collect();
        let docs = include_str!("../../docs/operating.md");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `bankrefresh_"));
        let documented: BTreeSet<String> = rows
            .map(|row| format!("bankrefresh_{}", row.split('`').next().unwrap_or_default()))
            .collect();
        assert_eq!(made, documented);
    }
}
