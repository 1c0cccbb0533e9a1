//! Messages as they go onto the wire, one file for each kind: the way between what a refresh is and what AMQP carries.
//!
//! Nothing here talks to a broker: these are functions from a value to a message and back.

mod checkpoint;
mod command;
mod dead_letter;
mod event;
mod headers;
mod json;
mod order;
mod quarantine;

use jiff::Timestamp;

pub use checkpoint::{checkpoint, defer, deferred_since, parked_at};
pub use command::{COMMAND_NAME, back_to_its_lane, command};
pub use dead_letter::{DIED_AT_HEADER, REASON_HEADER, dead_command, dead_letter, died_at, replay};
pub use event::event;
pub use headers::{APP_ID, CONTENT_TYPE, QUEUE_HEADER, forwarded, keep_redeliveries, redeliveries, revision};
pub use json::{NoJson, descriptor, json};
pub use order::{cancel, order, pause, resume};
pub use quarantine::{quarantine, quarantined_since};

use crate::broker::Delivery;
use crate::broker::topology::Topology;
use crate::limits::{CHECKPOINT_BYTES_MAX, COMMAND_BYTES_MAX};
use crate::refresh::{Refresh, state};
use checkpoint::read_checkpoint;
use command::read_command;

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

/// Reads a delivery. Its queue decides what it may be: lanes have commands only, because every sender may publish there, and the steps queue
/// has checkpoints only. What is quarantined is read as in the queue that it came from.
#[must_use]
pub fn read(delivery: &Delivery, topology: &Topology, now: Timestamp) -> Read {
    let message = &delivery.message;
    let origin = origin(delivery, topology);
    let is_lane = topology.is_lane(origin);
    let (name, bytes_max) = match is_lane {
        true => (COMMAND_NAME, COMMAND_BYTES_MAX),
        false => (state::MESSAGE_NAME, CHECKPOINT_BYTES_MAX),
    };
    let size = message.body.len();
    if size > bytes_max {
        return Read::Unreadable(format!("body: must have at most {bytes_max} bytes, has {size}"));
    }
    match message.properties.kind.as_deref() {
        // Who publishes to a lane without a type means a command.
        None if is_lane => {}
        Some(kind) if kind == name => {}
        kind => {
            let kind = kind.unwrap_or_default();
            return Read::Unreadable(format!("type: must be {name} in this queue, is {kind:?}"));
        }
    }
    let mut read = match is_lane {
        true => read_command(message, origin == topology.interactive(), now),
        false => read_checkpoint(message, now),
    };
    if let Read::Refresh { refresh, .. } = &mut read
        && redeliveries(delivery, topology) > 0
    {
        refresh.came_back(now);
    }
    read
}

#[cfg(test)]
mod tests;
