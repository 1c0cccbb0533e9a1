//! Checkpoints: the saved state of a refresh on its way through the delay queues and the steps queue.

use jiff::Timestamp;

use super::Read;
use super::headers::{forwarded, properties, revise, revision, time_of};
use crate::broker::topology::{DELAYS, Topology};
use crate::broker::{Delivery, Header, Message, Outgoing};
use crate::refresh::{Refresh, state};

/// The header of a state that says when it was written, in milliseconds.
const PARKED_AT_HEADER: &str = "bankrefresh_parked_at";

/// The header of a state that says since when it has been deferred, in milliseconds.
pub(super) const DEFERRED_SINCE_HEADER: &str = "bankrefresh_deferred_since";

/// A checkpoint on its way to the steps queue: by the longest delay that fits until it is due, or at once.
#[must_use]
pub fn checkpoint(topology: &Topology, refresh: &Refresh, now: Timestamp) -> Outgoing {
    let wait = refresh.due_at.duration_since(now);
    let delay = DELAYS
        .iter()
        .rev()
        .find(|(_, delay)| wait >= jiff::SignedDuration::try_from(*delay).unwrap_or_default());
    let mut properties = properties(state::MESSAGE_NAME, &refresh.envelope, now);
    properties.message_id = Some(refresh.command.id().to_string());
    let parked_at = Header::Integer(now.as_millisecond());
    properties.headers.insert(PARKED_AT_HEADER.to_owned(), parked_at);
    revise(&mut properties, &refresh.envelope);
    let message = Message {
        body: state::encode(refresh).into(),
        properties,
    };
    match delay {
        Some((delay, _)) => Outgoing {
            exchange: topology.delay(),
            routing_key: (*delay).to_owned(),
            message,
        },
        None => Outgoing {
            exchange: topology.steps(),
            routing_key: topology.steps(),
            message,
        },
    }
}

/// When a state was written.
#[must_use]
pub fn parked_at(message: &Message) -> Option<Timestamp> {
    time_of(message, PARKED_AT_HEADER)
}

pub(super) fn read_checkpoint(message: &Message, now: Timestamp) -> Read {
    match state::decode(&message.body, now) {
        Ok(mut refresh) => {
            refresh.envelope.revision = revision(message);
            Read::Refresh {
                refresh: Box::new(refresh),
                missing_requested_at: false,
            }
        }
        Err(state::Unreadable::Newer(version)) => Read::Newer(version),
        Err(state::Unreadable::Malformed(reason)) => Read::Unreadable(reason),
    }
}

/// A state of a newer release, unread, deferred until a newer worker may be there.
#[must_use]
pub fn defer(topology: &Topology, delivery: &Delivery, now: Timestamp) -> Outgoing {
    let mut message = forwarded(&delivery.message);
    let now = Header::Integer(now.as_millisecond());
    let headers = &mut message.properties.headers;
    headers.entry(DEFERRED_SINCE_HEADER.to_owned()).or_insert(now);
    Outgoing {
        exchange: topology.delay(),
        routing_key: "15s".to_owned(),
        message,
    }
}

/// Since when a state has been deferred.
#[must_use]
pub fn deferred_since(message: &Message) -> Option<Timestamp> {
    time_of(message, DEFERRED_SINCE_HEADER)
}
