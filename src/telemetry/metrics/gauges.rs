//! How a worker is: the gauges that its status is shown by.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Gauge;

use super::Maker;

/// What is shown of a worker's status.
#[derive(Clone, Debug)]
pub struct Gauges {
    in_flight: Gauge<u64>,
    backlog_age: Gauge<f64>,
    calls: Gauge<u64>,
    calls_limit: Gauge<u64>,
    finapi_down: Gauge<u64>,
    draining: Gauge<u64>,
    wake_ups_off: Gauge<u64>,
    orders_unknown: Gauge<u64>,
    paused: Gauge<u64>,
}

impl Default for Gauges {
    fn default() -> Self {
        Self::new(&Maker::of(&super::meter()))
    }
}

impl Gauges {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            in_flight: make.gauge(
                "bankrefresh.in_flight",
                "{refresh}",
                "Refreshes in flight, by state: held, runnable, running, awaiting_token, publishing, backlog",
            ),
            backlog_age: make.gauge_of_seconds(
                "bankrefresh.backlog.age",
                "How long ago the oldest command that waits for room here was requested",
            ),
            calls: make.gauge(
                "bankrefresh.finapi.calls",
                "{call}",
                "Calls of finAPI, by state: running, waiting for their turn",
            ),
            calls_limit: make.gauge(
                "bankrefresh.finapi.calls_limit",
                "{call}",
                "How many calls are let through at once now: fewer while finAPI is strained",
            ),
            finapi_down: make.gauge("bankrefresh.finapi.down", "", "1 while finAPI counts as down"),
            draining: make.gauge("bankrefresh.draining", "", "1 while the worker is stopping"),
            wake_ups_off: make.gauge(
                "bankrefresh.wake_ups_off",
                "",
                "1 while the broker has no ephemeral queue for the worker's wake-ups",
            ),
            orders_unknown: make.gauge(
                "bankrefresh.orders_unknown",
                "",
                "1 while the worker can't read orders, so that it may not know what is paused",
            ),
            paused: make.gauge(
                "bankrefresh.paused",
                "",
                "Pauses in force, by what is paused: everything, lane, bank, user",
            ),
        }
    }

    /// How many refreshes are in each state.
    pub(crate) fn in_flight(&self, states: [(&'static str, usize); 6]) {
        record(&self.in_flight, states);
    }

    pub(crate) fn backlog_age(&self, seconds: i64) {
        self.backlog_age.record(seconds as f64, &[]);
    }

    /// How many calls are in each state, and how many may run.
    pub(crate) fn finapi_calls(&self, states: [(&'static str, usize); 2], limit: usize) {
        record(&self.calls, states);
        self.calls_limit.record(limit as u64, &[]);
    }

    pub(crate) fn finapi_down(&self, is_down: bool) {
        self.finapi_down.record(u64::from(is_down), &[]);
    }

    pub(crate) fn draining(&self, is_draining: bool) {
        self.draining.record(u64::from(is_draining), &[]);
    }

    pub(crate) fn wake_ups_off(&self, is_off: bool) {
        self.wake_ups_off.record(u64::from(is_off), &[]);
    }

    pub(crate) fn orders_unknown(&self, are_unknown: bool) {
        self.orders_unknown.record(u64::from(are_unknown), &[]);
    }

    /// How many targets of each kind are paused.
    pub(crate) fn paused(&self, counts: [(&'static str, usize); 4]) {
        for (what, count) in counts {
            self.paused.record(count as u64, &[KeyValue::new("what", what)]);
        }
    }
}

fn record<const N: usize>(gauge: &Gauge<u64>, states: [(&'static str, usize); N]) {
    for (state, count) in states {
        gauge.record(count as u64, &[KeyValue::new("state", state)]);
    }
}
