//! Messages as they go onto the wire, one file for each kind: the way between what a refresh is and what AMQP carries.
//!
//! Nothing here talks to a broker: these are functions from a value to a message and back.

mod checkpoint;
mod command;
mod dead_letter;
mod event;
mod headers;
mod quarantine;

use jiff::Timestamp;

pub use checkpoint::{checkpoint, defer, parked_at};
pub use command::{COMMAND_NAME, back_to_its_lane, command};
pub use dead_letter::{DIED_AT_HEADER, REASON_HEADER, dead_command, dead_letter, died_at, replay};
pub use event::event;
pub use headers::{APP_ID, CONTENT_TYPE, QUEUE_HEADER, forwarded, keep_redeliveries, redeliveries, revision};
pub use quarantine::{quarantine, quarantined_since};

use crate::broker::Delivery;
use crate::broker::topology::Topology;
use crate::refresh::{Refresh, state};
use command::read_command;

/// The most bytes of a command or a checkpoint that a worker takes off the broker. A larger body is left out
/// ([`Delivery::flaw`]), whatever it says, so that many of them at once take no memory.
pub const BODY_MAX: usize = 256 * 1024;
use headers::origin;

/// What a delivery asks for.
#[derive(Debug)]
pub enum Read {
    /// A refresh to continue.
    Refresh {
        /// The refresh.
        refresh: Box<Refresh>,
        /// The command did not say when it was sent, so that moment has to be written down before anything is done
        /// ([`back_to_its_lane`]).
        missing_requested_at: bool,
    },
    /// A state that only a newer release can read.
    Newer(u32),
    /// Nothing that can be understood, and why.
    Unreadable(String),
}

/// Reads a delivery from a command queue or from the steps queue.
#[must_use]
pub fn read(delivery: &Delivery, topology: &Topology, now: Timestamp) -> Read {
    let message = &delivery.message;
    let interactive = origin(delivery, topology) == topology.interactive();
    match message.properties.kind.as_deref() {
        Some(COMMAND_NAME) => read_command(message, interactive, now),
        Some(state::MESSAGE_NAME) => match state::decode(&message.body) {
            Ok(mut refresh) => {
                refresh.envelope.revision = revision(message);
                Read::Refresh {
                    refresh: Box::new(refresh),
                    missing_requested_at: false,
                }
            }
            Err(state::Unreadable::Newer(version)) => Read::Newer(version),
            Err(state::Unreadable::Malformed(reason)) => Read::Unreadable(reason),
        },
        // Who publishes to a command queue without a type means a command.
        None if delivery.queue != topology.steps() => read_command(message, interactive, now),
        kind => Read::Unreadable(format!(
            "type: must be {COMMAND_NAME}, is {:?}",
            kind.unwrap_or_default()
        )),
    }
}
