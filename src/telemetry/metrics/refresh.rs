//! What becomes of refreshes.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

use super::banks::BANKS;
use super::{Maker, Metrics};
use crate::id::BankId;
use crate::refresh::event::{Event, EventKind};

/// The instruments.
#[derive(Clone, Debug)]
pub(super) struct Refreshes {
    events: Counter<u64>,
    outcomes: Counter<u64>,
    refresh_duration: Histogram<f64>,
    command_age: Histogram<f64>,
    resume_delay: Histogram<f64>,
    detection_delay: Histogram<f64>,
    phase_duration: Histogram<f64>,
    drain_duration: Histogram<f64>,
}

impl Refreshes {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            events: make.counter("bankrefresh.events", "{event}", "Events published, by type"),
            outcomes: make.counter("bankrefresh.refreshes", "{refresh}", "Outcomes, by outcome and reason"),
            refresh_duration: make.seconds(
                "bankrefresh.refresh.duration",
                "From the command's requested_at to its outcome",
            ),
            command_age: make.seconds(
                "bankrefresh.command.age",
                "From the command's requested_at to its first run",
            ),
            resume_delay: make.seconds(
                "bankrefresh.resume.delay",
                "From when a parked refresh was due to when it was taken up: a delay queue that stands still shows here",
            ),
            detection_delay: make.seconds(
                "bankrefresh.detection.delay",
                "From the end of an update to when it was detected",
            ),
            phase_duration: make.seconds(
                "bankrefresh.phase.duration",
                "How long refreshes were in a phase, by the phase they left",
            ),
            drain_duration: make.seconds("bankrefresh.drain.duration", "How long a worker took to stop"),
        }
    }
}

impl Metrics {
    /// An event is out, so long after the command; `bank_id` is asked where metrics name banks.
    pub(crate) fn published(&self, event: &Event, age: Duration, bank_id: impl FnOnce() -> Option<BankId>) {
        let (outcome, reason) = match event.kind() {
            EventKind::TransactionsUpdated(event) => ("updated", event.origin().as_str_name()),
            EventKind::UserActionRequired(event) => ("user_action", event.reason().as_str_name()),
            EventKind::RefreshFailed(event) => ("failed", event.reason().as_str_name()),
        };
        let labels = [KeyValue::new("type", event.message_name())];
        self.refreshes.events.add(1, &labels);
        if event.is_last() {
            let outcome = KeyValue::new("outcome", outcome);
            self.refreshes
                .refresh_duration
                .record(age.as_secs_f64(), std::slice::from_ref(&outcome));
            let reason = KeyValue::new("reason", reason);
            match BANKS.get() {
                Some(banks) => self
                    .refreshes
                    .outcomes
                    .add(1, &[outcome, reason, banks.label(bank_id())]),
                None => self.refreshes.outcomes.add(1, &[outcome, reason]),
            }
        }
    }

    pub(crate) fn command_taken(&self, age: Duration, interactive: bool) {
        let lane = if interactive { "interactive" } else { "background" };
        self.refreshes
            .command_age
            .record(age.as_secs_f64(), &[KeyValue::new("lane", lane)]);
    }

    pub(crate) fn resumed(&self, late: Duration) {
        self.refreshes.resume_delay.record(late.as_secs_f64(), &[]);
    }

    pub(crate) fn detected(&self, delay: Duration) {
        self.refreshes.detection_delay.record(delay.as_secs_f64(), &[]);
    }

    /// A refresh left a phase.
    pub(crate) fn left(&self, phase: &'static str, after: Duration) {
        let labels = [KeyValue::new("phase", phase)];
        self.refreshes.phase_duration.record(after.as_secs_f64(), &labels);
    }

    pub(crate) fn drained(&self, took: Duration) {
        self.refreshes.drain_duration.record(took.as_secs_f64(), &[]);
    }
}
