//! What goes to the broker and comes from it. The names are those of OpenTelemetry's conventions where there are some.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};

use super::{Maker, Metrics};
use crate::broker::Outgoing;

/// The instruments.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    redeliveries: Counter<u64>,
    deliveries: Counter<u64>,
    connection_losses: Counter<u64>,
    orders: Counter<u64>,
    processes: Histogram<f64>,
    consumed: Counter<u64>,
    sent: Counter<u64>,
    publishes: Histogram<f64>,
}

impl Messages {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        let it = Self {
            redeliveries: make.counter(
                "bankrefresh.redeliveries",
                "{message}",
                "Deliveries that had come before",
            ),
            deliveries: make.counter("bankrefresh.deliveries", "{delivery}", "Fates of deliveries, by fate"),
            connection_losses: make.counter(
                "bankrefresh.broker.connection_losses",
                "{connection}",
                "Times the broker was lost",
            ),
            orders: make.counter(
                "bankrefresh.orders",
                "{order}",
                "Orders that were read, by what they are; those that were skipped are unreadable",
            ),
            processes: make.seconds(
                "messaging.process.duration",
                "How long refreshes ran, by where they came from",
            ),
            consumed: make.counter(
                "messaging.client.consumed.messages",
                "{message}",
                "Messages taken, by where they came from",
            ),
            sent: make.counter(
                "messaging.client.sent.messages",
                "{message}",
                "Messages published, by where they went",
            ),
            publishes: make.seconds("messaging.client.operation.duration", "From a publish to its confirms"),
        };
        // What has not happened yet is zero and not unknown.
        for counter in [&it.redeliveries, &it.connection_losses] {
            counter.add(0, &[]);
        }
        for order in ["pause", "resume", "cancel", "unreadable"] {
            it.orders.add(0, &[KeyValue::new("order", order)]);
        }
        it
    }
}

impl Metrics {
    pub(crate) fn redelivered(&self) {
        self.messages.redeliveries.add(1, &[]);
    }

    /// What became of this many deliveries.
    pub(crate) fn fate(&self, fate: &'static str, count: usize) {
        self.messages
            .deliveries
            .add(count as u64, &[KeyValue::new("fate", fate)]);
    }

    pub(crate) fn connection_lost(&self) {
        self.messages.connection_losses.add(1, &[]);
    }

    /// An order was read, again after each connection.
    pub(crate) fn order(&self, order: &'static str) {
        self.messages.orders.add(1, &[KeyValue::new("order", order)]);
    }

    /// A message was taken from a destination.
    pub(crate) fn delivered(&self, destination: &str) {
        self.messages.consumed.add(1, &messaging("process", destination));
    }

    /// A refresh that came from a destination has run.
    pub(crate) fn processed(&self, destination: &str, took: Duration) {
        self.messages
            .processes
            .record(took.as_secs_f64(), &messaging("process", destination));
    }

    /// Messages were published together, or why not.
    pub(crate) fn sent(&self, messages: &[Outgoing], error: Option<&'static str>, took: Duration) {
        let error = error.map(|error| KeyValue::new("error.type", error));
        for message in messages {
            let labels = messaging("send", &message.destination());
            let labels: Vec<KeyValue> = labels.into_iter().chain(error.clone()).collect();
            self.messages.sent.add(1, &labels);
        }
        let labels = [
            KeyValue::new("messaging.system", "rabbitmq"),
            KeyValue::new("messaging.operation.name", "send"),
        ];
        let labels: Vec<KeyValue> = labels.into_iter().chain(error).collect();
        self.messages.publishes.record(took.as_secs_f64(), &labels);
    }
}

fn messaging(operation: &'static str, destination: &str) -> [KeyValue; 3] {
    [
        KeyValue::new("messaging.system", "rabbitmq"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.destination.name", destination.to_owned()),
    ]
}
