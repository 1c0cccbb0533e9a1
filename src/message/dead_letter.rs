//! Dead letters: what a worker cannot read, with the reason, and the way back for an operator who replays one.

use jiff::Timestamp;

use super::checkpoint::DEFERRED_SINCE_HEADER;
use super::command::{COMMAND_NAME, back_to_its_lane};
use super::headers::{QUEUE_HEADER, REDELIVERIES_HEADER, forwarded, origin, time_of};
use super::quarantine::QUARANTINED_SINCE_HEADER;
use crate::broker::topology::{DELAYS, Topology};
use crate::broker::{Delivery, Header, Message, Outgoing};
use crate::refresh::Refresh;

/// The header of a dead letter that says why it is one.
pub const REASON_HEADER: &str = "bankrefresh_reason";
/// The header of a dead letter that says since when it is one, in milliseconds.
pub const DIED_AT_HEADER: &str = "bankrefresh_died_at";

/// A message that can't be understood, with the reason.
#[must_use]
pub fn dead_letter(topology: &Topology, delivery: &Delivery, reason: &str, now: Timestamp) -> Outgoing {
    bury(
        topology,
        forwarded(&delivery.message),
        origin(delivery, topology),
        reason,
        now,
    )
}

fn bury(topology: &Topology, mut message: Message, queue: &str, reason: &str, now: Timestamp) -> Outgoing {
    let headers = &mut message.properties.headers;
    headers.insert(REASON_HEADER.to_owned(), reason.into());
    headers.insert(QUEUE_HEADER.to_owned(), queue.into());
    headers.insert(DIED_AT_HEADER.to_owned(), Header::Integer(now.as_millisecond()));
    Outgoing {
        exchange: topology.dead_letters(),
        routing_key: String::new(),
        message,
    }
}

/// The command of a refresh that was understood and yet can't be served, with the reason.
#[must_use]
pub fn dead_command(topology: &Topology, refresh: &Refresh, reason: &str, now: Timestamp) -> Outgoing {
    let message = back_to_its_lane(topology, refresh, now).message;
    let lane = match refresh.envelope.interactive {
        true => topology.interactive(),
        false => topology.background(),
    };
    bury(topology, message, &lane, reason, now)
}

/// A dead letter on its way back to where it came from. The queue's name decides and not the type, which its sender chose: what came by a lane
/// returns to it, and what only workers write returns to the steps queue. A command whose lane is not known waits among those that nobody waits
/// for. None where nobody can know.
#[must_use]
pub fn replay(topology: &Topology, message: &Message, queue: &str) -> Option<Outgoing> {
    let mut message = forwarded(message);
    for header in [
        REASON_HEADER,
        QUEUE_HEADER,
        DIED_AT_HEADER,
        QUARANTINED_SINCE_HEADER,
        DEFERRED_SINCE_HEADER,
        REDELIVERIES_HEADER,
    ] {
        message.properties.headers.remove(header);
    }
    let is_delay = || DELAYS.iter().any(|(delay, _)| queue == topology.delay_queue(delay));
    let is_command = message.properties.kind.as_deref() == Some(COMMAND_NAME);
    let (exchange, routing_key) = if queue == topology.interactive() {
        (topology.commands(), "interactive".to_owned())
    } else if queue == topology.background() {
        (topology.commands(), "background".to_owned())
    } else if queue == topology.steps() || queue == topology.quarantine() || is_delay() {
        (topology.steps(), topology.steps())
    } else if is_command {
        (topology.commands(), "background".to_owned())
    } else {
        return None;
    };
    Some(Outgoing {
        exchange,
        routing_key,
        message,
    })
}

/// Since when a message has been a dead letter, if a worker said so.
#[must_use]
pub fn died_at(message: &Message) -> Option<Timestamp> {
    time_of(message, DIED_AT_HEADER)
}
