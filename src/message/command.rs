//! Commands: what a sender publishes, and what a worker reads from a lane.

use jiff::Timestamp;
use prost::Message as _;

use super::Read;
use super::headers::{properties, revise, revision};
use crate::broker::topology::Topology;
use crate::broker::{Header, Message, Outgoing, Properties};
use crate::id::CommandId;
use crate::limits::COMMAND_REVISION_MAX;
use crate::proto::{RefreshConnection, from_timestamp};
use crate::refresh::{Command, Envelope, Refresh};

/// The full name of the command's message.
pub const COMMAND_NAME: &str = "bankrefresh.v1.RefreshConnection";

pub(super) fn read_command(message: &Message, interactive: bool, now: Timestamp) -> Read {
    let command = match RefreshConnection::decode(message.body.clone()) {
        Ok(command) => command,
        Err(error) => return Read::Unreadable(format!("not a {COMMAND_NAME}: {error}")),
    };
    let command = match Command::parse(command) {
        Ok(command) => command,
        Err(invalid) => return Read::Unreadable(invalid.to_string()),
    };
    let properties = &message.properties;
    let stamp = properties.timestamp.and_then(|seconds| i64::try_from(seconds).ok());
    let said = command.requested_at().or_else(|| Timestamp::from_second(stamp?).ok());
    // Of the command's moments the earliest counts: who publishes it again may stamp it again.
    let requested_at = [said, made_at(command.id())]
        .into_iter()
        .flatten()
        .min()
        .filter(|requested_at| *requested_at <= now);
    let trace = |name| {
        properties
            .headers
            .get(name)
            .and_then(Header::as_text)
            .unwrap_or_default()
    };
    let envelope = Envelope {
        interactive,
        correlation_id: properties.correlation_id.clone().unwrap_or_default(),
        traceparent: trace("traceparent").to_owned(),
        tracestate: trace("tracestate").to_owned(),
        // A sender may have written it, too.
        revision: Some(revision(message))
            .filter(|revision| *revision <= COMMAND_REVISION_MAX)
            .unwrap_or_default(),
    }
    .with_valid_trace();
    Read::Refresh {
        missing_requested_at: requested_at.is_none(),
        refresh: Box::new(Refresh::new(command, requested_at.unwrap_or(now), envelope, now)),
    }
}

/// When a command's id was made, if it is a UUIDv7, which says so.
fn made_at(command_id: CommandId) -> Option<Timestamp> {
    let (seconds, nanoseconds) = command_id.uuid().get_timestamp()?.to_unix();
    Timestamp::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?).ok()
}

/// A command, for whoever sends one. Its `requested_at` is set to now where it is missing.
#[must_use]
pub fn command(topology: &Topology, mut command: RefreshConnection, envelope: &Envelope, now: Timestamp) -> Outgoing {
    command.requested_at.get_or_insert_with(|| from_timestamp(now));
    let lane = if envelope.interactive {
        "interactive"
    } else {
        "background"
    };
    Outgoing {
        exchange: topology.commands(),
        routing_key: lane.to_owned(),
        message: Message {
            body: command.encode_to_vec().into(),
            properties: Properties {
                message_id: Some(command.command_id),
                ..properties(COMMAND_NAME, envelope, now)
            },
        },
    }
}

/// A command that was taken and not begun, on its way back to the end of its lane. From now on it says when it was requested.
#[must_use]
pub fn back_to_its_lane(topology: &Topology, refresh: &Refresh, now: Timestamp) -> Outgoing {
    let command = RefreshConnection {
        requested_at: Some(from_timestamp(refresh.requested_at)),
        ..RefreshConnection::from(&*refresh.command)
    };
    let mut outgoing = self::command(topology, command, &refresh.envelope, now);
    revise(&mut outgoing.message.properties, &refresh.envelope);
    outgoing
}
