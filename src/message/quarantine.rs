//! Messages that came back too often, on their way to be tried apart from the others.

use jiff::Timestamp;

use super::headers::{QUEUE_HEADER, REDELIVERIES_HEADER, forwarded, time_of};
use crate::broker::topology::Topology;
use crate::broker::{Delivery, Header, Outgoing};

/// The header of a quarantined message that says since when it is one, in milliseconds.
pub(super) const QUARANTINED_SINCE_HEADER: &str = "bankrefresh_quarantined_since";

/// A message that came back too often, unread, on its way to be tried apart from the others.
#[must_use]
pub fn quarantine(topology: &Topology, delivery: &Delivery, now: Timestamp) -> Outgoing {
    let mut message = forwarded(&delivery.message);
    let headers = &mut message.properties.headers;
    headers.insert(
        QUARANTINED_SINCE_HEADER.to_owned(),
        Header::Integer(now.as_millisecond()),
    );
    headers.insert(QUEUE_HEADER.to_owned(), delivery.queue.as_str().into());
    // In the quarantine it counts from zero.
    headers.remove(REDELIVERIES_HEADER);
    Outgoing {
        exchange: topology.steps(),
        routing_key: topology.quarantine(),
        message,
    }
}

/// Since when a delivery of the quarantine has been there; it was in a worker's hands until then. None of other queues, where a sender may
/// say so.
#[must_use]
pub fn quarantined_since(delivery: &Delivery, topology: &Topology) -> Option<Timestamp> {
    let is_there = delivery.queue == topology.quarantine();
    is_there.then(|| time_of(&delivery.message, QUARANTINED_SINCE_HEADER))?
}
