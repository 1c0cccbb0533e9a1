//! Events: what consumers read.

use jiff::Timestamp;

use super::headers::{APP_ID, properties};
use crate::broker::topology::Topology;
use crate::broker::{Header, Message, Outgoing};
use crate::refresh::Envelope;
use crate::refresh::event::Event;

/// An event, with the attributes of CloudEvents' AMQP binding.
#[must_use]
pub fn event(topology: &Topology, event: &Event, envelope: &Envelope, now: Timestamp) -> Outgoing {
    let mut properties = properties(event.message_name(), envelope, now);
    let context = event.context();
    properties.message_id = Some(context.event_id.clone());
    let attributes = [
        ("cloudEvents_specversion", "1.0".to_owned()),
        ("cloudEvents_id", context.event_id.clone()),
        ("cloudEvents_source", format!("/{APP_ID}")),
        ("cloudEvents_type", event.message_name().to_owned()),
        ("cloudEvents_time", now.to_string()),
        (
            "cloudEvents_subject",
            format!("bankConnections/{}", context.bank_connection_id),
        ),
    ];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), Header::Text(value)));
    properties.headers.extend(attributes);
    Outgoing {
        exchange: topology.events(),
        routing_key: event.routing_key().to_owned(),
        message: Message {
            body: event.encode().into(),
            properties,
        },
    }
}
