//! What a console remembers and takes in.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge};

use super::Maker;

/// What a console counts.
#[derive(Clone, Debug)]
pub struct ConsoleMetrics {
    messages: Counter<u64>,
    remembered: Gauge<u64>,
    pages: Gauge<u64>,
}

impl Default for ConsoleMetrics {
    fn default() -> Self {
        Self::new(&Maker::of(&super::meter()))
    }
}

impl ConsoleMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            messages: make.counter(
                "bankrefresh.console.messages",
                "{message}",
                "Messages that a console took in: event, report, order, unreadable_event, unreadable_report, unreadable_order",
            ),
            remembered: make.gauge(
                "bankrefresh.console.remembered",
                "{thing}",
                "What a console remembers: refreshes, workers",
            ),
            pages: make.gauge(
                "bankrefresh.console.pages",
                "{page}",
                "Pages that a console keeps up to date",
            ),
        }
    }

    pub(crate) fn taken(&self, what: &'static str) {
        self.messages.add(1, &[KeyValue::new("what", what)]);
    }

    pub(crate) fn remembers(&self, refreshes: usize, workers: usize) {
        for (what, count) in [("refreshes", refreshes), ("workers", workers)] {
            self.remembered.record(count as u64, &[KeyValue::new("what", what)]);
        }
    }

    pub(crate) fn pages(&self, count: usize) {
        self.pages.record(count as u64, &[]);
    }
}
