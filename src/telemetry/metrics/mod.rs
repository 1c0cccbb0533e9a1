//! Every metric: its name, unit and labels in one place, a struct of instruments for each of their owners. They are OpenTelemetry instruments, shown at `/metrics` in
//! Prometheus' format; label values come from small closed sets.

mod banks;
mod broker;
mod console;
mod finapi;
mod gauges;
mod refresh;
mod secrets;

use std::cell::Cell;
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};
use opentelemetry_sdk::metrics::{MeterProviderBuilder, PeriodicReader, SdkMeterProvider};
use prometheus::{Encoder as _, Registry, TextEncoder};

pub use console::ConsoleMetrics;
pub use finapi::FinApiMetrics;
pub(crate) use finapi::TokenFrom;
pub use gauges::Gauges;
pub use secrets::SecretMetrics;

use super::{NoCollector, Settings, otlp};
use banks::name_banks;

/// Bounds of histograms, in seconds: from a call to finAPI to a user who takes the time a web form allows.
const SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1200.0, 7200.0,
];

/// How often metrics are sent to a collector.
const EXPORT_INTERVAL: Duration = Duration::from_secs(15);

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

/// What a worker counts: what becomes of refreshes, and what goes to the broker and comes from it.
#[derive(Clone, Debug)]
pub struct Metrics {
    refreshes: refresh::Refreshes,
    messages: broker::Messages,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&Maker::of(&meter()))
    }
}

impl Metrics {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            refreshes: refresh::Refreshes::new(make),
            messages: broker::Messages::new(make),
        }
    }
}

fn meter() -> Meter {
    global::meter("bankrefresh")
}

/// Makes instruments, and counts them.
struct Maker<'a> {
    meter: &'a Meter,
    made: Cell<usize>,
}

impl<'a> Maker<'a> {
    fn of(meter: &'a Meter) -> Self {
        let made = Cell::new(0);
        Self { meter, made }
    }

    fn count(&self) {
        self.made.set(self.made.get() + 1);
    }

    fn counter(&self, name: &'static str, unit: &'static str, what: &'static str) -> Counter<u64> {
        self.count();
        let counter = self.meter.u64_counter(name).with_description(what);
        counter.with_unit(unit).build()
    }

    fn gauge(&self, name: &'static str, unit: &'static str, what: &'static str) -> Gauge<u64> {
        self.count();
        let gauge = self.meter.u64_gauge(name).with_description(what);
        gauge.with_unit(unit).build()
    }

    fn gauge_of_seconds(&self, name: &'static str, what: &'static str) -> Gauge<f64> {
        self.count();
        let gauge = self.meter.f64_gauge(name).with_description(what);
        gauge.with_unit("s").build()
    }

    fn seconds(&self, name: &'static str, what: &'static str) -> Histogram<f64> {
        self.count();
        let histogram = self.meter.f64_histogram(name).with_description(what);
        histogram.with_unit("s").with_boundaries(SECONDS.to_vec()).build()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use http::StatusCode;

    use super::*;
    use crate::broker::{Message, Outgoing};
    use crate::id::BankId;
    use crate::proto::{RefreshContext, RefreshFailed};
    use crate::refresh::event::{Event, EventKind};
    use crate::telemetry::Ended;

    /// How many metrics there are, and those that show with their labels after everything was counted once.
    fn shown_after_everything() -> (usize, BTreeMap<String, BTreeSet<String>>) {
        name_banks(1);
        let (registry, provider) = shown();
        let provider = provider.build();
        let meter = opentelemetry::metrics::MeterProvider::meter(&provider, "bankrefresh");
        let make = Maker::of(&meter);
        let (metrics, finapi, gauges) = (Metrics::new(&make), FinApiMetrics::new(&make), Gauges::new(&make));
        let moment = Duration::from_secs(1);
        let failed = Event::new(
            RefreshContext::default(),
            EventKind::RefreshFailed(RefreshFailed::default()),
        );
        for bank in [Some(1), Some(1), Some(2), None] {
            metrics.published(&failed, moment, || bank.map(BankId::from));
        }
        metrics.command_taken(moment, true);
        metrics.resumed(moment);
        metrics.detected(moment);
        metrics.fate("parked", 1);
        metrics.redelivered();
        metrics.connection_lost();
        gauges.in_flight(
            ["held", "runnable", "running", "awaiting_token", "publishing", "backlog"].map(|state| (state, 0)),
        );
        gauges.backlog_age(0);
        gauges.finapi_calls([("running", 0), ("waiting", 0)], 0);
        gauges.finapi_down(false);
        gauges.draining(false);
        gauges.wake_ups_off(false);
        gauges.orders_unknown(false);
        gauges.paused(["everything", "lane", "bank", "user"].map(|what| (what, 0)));
        metrics.order("pause");
        finapi.queried("task", "ok", moment);
        finapi.odd_code("task");
        finapi.unreadable("task", "createdAt");
        finapi.user_left_out();
        finapi.password_kept();
        finapi.api_version(["v1", "v2"], None);
        finapi.names(["guide", "reference"], None);
        finapi.token(TokenFrom::Memory);
        let console = ConsoleMetrics::new(&make);
        console.taken("event");
        console.remembers(1, 1);
        console.pages(1);
        SecretMetrics::new(&make).unused("console.password", false);
        metrics.left("updating", moment);
        metrics.delivered("a:b");
        metrics.processed("a:b", moment);
        let refused = Ended::Response {
            status: StatusCode::LOCKED,
            request_id: None,
        };
        finapi.requested("GET /api/tasks", "finapi.test".to_owned(), &refused, moment);
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
        (make.made.get(), shown)
    }

    #[test]
    fn every_metric_is_documented_with_its_labels_and_nothing_else() {
        let (made, shown) = shown_after_everything();
        assert_eq!(shown.len(), made, "this test counts each: {shown:#?}");
        let docs = include_str!("../../../docs/reference/metrics.md");
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
