//! What finAPI calls: callbacks of updates, and notifications of its batch update.
//!
//! finAPI signs neither. A callback's URL carries an HMAC of the command's id, so it can't be guessed, and all it does is to
//! have whoever holds that refresh poll now. A notification's URL carries a secret, and what it says becomes a refresh that
//! asks finAPI itself, or the event that a user is needed.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod listener;
mod notification;
mod settings;

pub use listener::{router, serve};
pub use settings::Settings;

use crate::broker::topology::Topology;
use crate::broker::{Message, Outgoing, Properties};

/// The `type` of a wake-up; its body is the command's id.
const WAKE_UP_NAME: &str = "bankrefresh.wake-up";

/// A wake-up: whoever holds this refresh polls now.
#[must_use]
pub fn wake_up(topology: &Topology, command_id: &str) -> Outgoing {
    Outgoing {
        exchange: topology.wake(),
        routing_key: String::new(),
        message: Message {
            body: command_id.to_owned().into(),
            properties: Properties {
                kind: Some(WAKE_UP_NAME.to_owned()),
                ..Properties::default()
            },
        },
    }
}
