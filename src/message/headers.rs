//! The headers and properties that every kind of message shares, and how a message is passed on unread.

use jiff::Timestamp;

use crate::broker::topology::Topology;
use crate::broker::{Delivery, Header, Message, Outgoing, Properties, outgoing};
use crate::refresh::Envelope;

/// `content_type` of everything published here.
pub const CONTENT_TYPE: &str = "application/protobuf";
/// `app_id` of everything published here, and the CloudEvents source.
pub const APP_ID: &str = "bankrefresh";
/// The header of a dead letter, or of a quarantined message, that says which queue it came from.
pub const QUEUE_HEADER: &str = "bankrefresh_queue";

/// The header of a message that was published again before it ran: how often it had come back until then.
pub(super) const REDELIVERIES_HEADER: &str = "bankrefresh_redeliveries";

/// The header of what a worker published in the place of a delivery: how often that happened to the refresh, with this time.
const REVISION_HEADER: &str = "bankrefresh_revision";

/// The largest revision that is believed. Beyond it, one more would make no difference.
const REVISION_MAX: u32 = u32::MAX / 2;

/// Says that a message takes the place of the delivery that brought a refresh.
pub(super) fn revise(properties: &mut Properties, envelope: &Envelope) {
    let revision = envelope.revision.saturating_add(1);
    properties
        .headers
        .insert(REVISION_HEADER.to_owned(), Header::Integer(revision.into()));
}

/// How often the refresh of a message was published in the place of a delivery.
#[must_use]
pub fn revision(message: &Message) -> u32 {
    match message.properties.headers.get(REVISION_HEADER) {
        Some(Header::Integer(revision)) => u32::try_from(*revision).unwrap_or_default().min(REVISION_MAX),
        Some(Header::Text(_) | Header::Boolean(_)) | None => 0,
    }
}

/// Has a message keep count of how often it came back, because the broker counts from zero for what is published again.
pub fn keep_redeliveries(outgoing: &mut Outgoing, redeliveries: u32) {
    if redeliveries > 0 {
        let headers = &mut outgoing.message.properties.headers;
        headers.insert(REDELIVERIES_HEADER.to_owned(), Header::Integer(redeliveries.into()));
    }
}

/// How often a delivery came back, by the broker's count and by its own. In a lane the latter may be a sender's, so it does not count.
#[must_use]
pub fn redeliveries(delivery: &Delivery, topology: &Topology) -> u32 {
    let own = match delivery.message.properties.headers.get(REDELIVERIES_HEADER) {
        Some(Header::Integer(count)) if !topology.is_lane(&delivery.queue) => u32::try_from(*count).unwrap_or_default(),
        Some(Header::Text(_) | Header::Boolean(_) | Header::Integer(_)) | None => 0,
    };
    delivery.redeliveries.saturating_add(own)
}

/// The queue a delivery first came by: a worker that quarantines a message writes down which one that was.
pub(super) fn origin<'a>(delivery: &'a Delivery, topology: &Topology) -> &'a str {
    let headers = &delivery.message.properties.headers;
    match headers.get(QUEUE_HEADER).and_then(Header::as_text) {
        Some(queue) if delivery.queue == topology.quarantine() => queue,
        _ => &delivery.queue,
    }
}

pub(super) fn time_of(message: &Message, header: &str) -> Option<Timestamp> {
    match message.properties.headers.get(header)? {
        Header::Integer(millis) => Timestamp::from_millisecond(*millis).ok(),
        Header::Text(_) | Header::Boolean(_) => None,
    }
}

/// A message as it came, but for what the broker wrote to it, and for headers that are too long to be sent again.
#[must_use]
pub fn forwarded(message: &Message) -> Message {
    let mut message = message.clone();
    let properties = &mut message.properties;
    properties.headers.retain(|name, _| !outgoing::is_trace_of_broker(name));
    outgoing::shorten(properties);
    message
}

pub(super) fn properties(kind: &str, envelope: &Envelope, now: Timestamp) -> Properties {
    let trace = [
        ("traceparent", &envelope.traceparent),
        ("tracestate", &envelope.tracestate),
    ];
    // What can't be written is left out: the message matters more than what it is to be correlated with.
    let given = |text: &String| (1..=outgoing::SHORT_MAX).contains(&text.len()).then(|| text.clone());
    Properties {
        content_type: Some(CONTENT_TYPE.to_owned()),
        kind: Some(kind.to_owned()),
        message_id: None,
        correlation_id: given(&envelope.correlation_id),
        timestamp: u64::try_from(now.as_second()).ok(),
        app_id: Some(APP_ID.to_owned()),
        headers: trace
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Header::Text(given(value)?))))
            .collect(),
    }
}
