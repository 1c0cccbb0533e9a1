//! Messages as they go onto the wire: events, bookmarks, commands, and what nobody could read.

use jiff::Timestamp;
use prost::Message as _;
use uuid::Uuid;

use crate::broker::topology::{DELAYS, Topology};
use crate::broker::{Delivery, Header, Message, Outgoing, Properties, outgoing};
use crate::proto::{RefreshConnection, from_timestamp, timestamp};
use crate::refresh::event::Event;
use crate::refresh::{Envelope, Refresh, command, state};

/// `content_type` of everything published here.
pub const CONTENT_TYPE: &str = "application/protobuf";
/// `app_id` of everything published here, and the CloudEvents source.
pub const APP_ID: &str = "bankrefresh";
/// The full name of the command's message.
pub const COMMAND_NAME: &str = "bankrefresh.v1.RefreshConnection";
/// The header of a dead letter that says why it is one.
pub const REASON_HEADER: &str = "bankrefresh_reason";
/// The header of a dead letter, or of a message that is tried alone, that says which queue it came from.
pub const QUEUE_HEADER: &str = "bankrefresh_queue";
/// The header of a dead letter that says since when it is one, in milliseconds.
pub const DIED_AT_HEADER: &str = "bankrefresh_died_at";
/// The header of a message that is tried alone that says since when it is to be, in milliseconds.
const SUSPECT_SINCE_HEADER: &str = "bankrefresh_suspect_since";
/// The header of a state that says when it was written, in milliseconds.
const PARKED_AT_HEADER: &str = "bankrefresh_parked_at";

/// The most bytes of a `traceparent` and of a `tracestate` that are passed on: W3C's form of the one has 55 and asks for 512 of the
/// other.
const TRACE_MAX: usize = 512;

/// What a delivery asks for.
#[derive(Debug)]
pub enum Read {
    /// A refresh to go on with.
    Refresh {
        /// The refresh.
        refresh: Box<Refresh>,
        /// The command did not say when it was sent, so that moment has to be written down before anything is done
        /// ([`back_to_its_lane`]).
        undated: bool,
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
            Ok(refresh) => Read::Refresh {
                refresh: Box::new(refresh),
                undated: false,
            },
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

/// The queue a delivery first came by: what is tried alone says which one that was.
fn origin<'a>(delivery: &'a Delivery, topology: &Topology) -> &'a str {
    let headers = &delivery.message.properties.headers;
    match headers.get(QUEUE_HEADER).and_then(Header::as_text) {
        Some(queue) if delivery.queue == topology.suspects() => queue,
        _ => &delivery.queue,
    }
}

fn read_command(message: &Message, interactive: bool, now: Timestamp) -> Read {
    let command = match RefreshConnection::decode(message.body.clone()) {
        Ok(command) => command,
        Err(error) => return Read::Unreadable(format!("not a {COMMAND_NAME}: {error}")),
    };
    if let Err(invalid) = command::validate(&command) {
        return Read::Unreadable(invalid.to_string());
    }
    let properties = &message.properties;
    let stamp = properties.timestamp.and_then(|seconds| i64::try_from(seconds).ok());
    let said = command
        .requested_at
        .as_ref()
        .and_then(timestamp)
        .or_else(|| Timestamp::from_second(stamp?).ok());
    // Of the command's moments the earliest counts: who publishes it again may stamp it anew.
    let requested_at = [said, made_at(&command.command_id)]
        .into_iter()
        .flatten()
        .min()
        .filter(|requested_at| *requested_at <= now);
    let trace = |name| {
        properties
            .headers
            .get(name)
            .and_then(Header::as_text)
            .filter(|text| text.len() <= TRACE_MAX)
            .unwrap_or_default()
    };
    let envelope = Envelope {
        interactive,
        correlation_id: properties.correlation_id.clone().unwrap_or_default(),
        traceparent: trace("traceparent").to_owned(),
        tracestate: trace("tracestate").to_owned(),
    };
    Read::Refresh {
        undated: requested_at.is_none(),
        refresh: Box::new(Refresh::new(command, requested_at.unwrap_or(now), envelope, now)),
    }
}

/// When a command's id was made, if it is a UUIDv7, which says so.
fn made_at(command_id: &str) -> Option<Timestamp> {
    let (seconds, nanoseconds) = Uuid::parse_str(command_id).ok()?.get_timestamp()?.to_unix();
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
        ..refresh.command.clone()
    };
    self::command(topology, command, &refresh.envelope, now)
}

/// An event, with the attributes of CloudEvents' AMQP binding.
#[must_use]
pub fn event(topology: &Topology, event: &Event, envelope: &Envelope, now: Timestamp) -> Outgoing {
    let mut properties = properties(event.message_name(), envelope, now);
    if let Some(context) = event.context() {
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
    }
    Outgoing {
        exchange: topology.events(),
        routing_key: event.routing_key().to_owned(),
        message: Message {
            body: event.encode().into(),
            properties,
        },
    }
}

/// A bookmark on its way to the steps queue: by the longest delay that fits until it is due, or at once.
#[must_use]
pub fn bookmark(topology: &Topology, refresh: &Refresh, now: Timestamp) -> Outgoing {
    let wait = refresh.due_at.duration_since(now);
    let delay = DELAYS
        .iter()
        .rev()
        .find(|(_, delay)| wait >= jiff::SignedDuration::try_from(*delay).unwrap_or_default());
    let mut properties = properties(state::MESSAGE_NAME, &refresh.envelope, now);
    properties.message_id = Some(refresh.command.command_id.clone());
    let parked_at = Header::Integer(now.as_millisecond());
    properties.headers.insert(PARKED_AT_HEADER.to_owned(), parked_at);
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

/// A message that can't be understood, with the reason.
#[must_use]
pub fn dead_letter(topology: &Topology, delivery: &Delivery, reason: &str, now: Timestamp) -> Outgoing {
    let mut message = forwarded(&delivery.message);
    let headers = &mut message.properties.headers;
    headers.insert(REASON_HEADER.to_owned(), reason.into());
    headers.insert(QUEUE_HEADER.to_owned(), origin(delivery, topology).into());
    headers.insert(DIED_AT_HEADER.to_owned(), Header::Integer(now.as_millisecond()));
    Outgoing {
        exchange: topology.dead_letters(),
        routing_key: String::new(),
        message,
    }
}

/// A dead letter on its way back to where it came from: the queue's name decides, but a state always goes on in the steps queue, and
/// a command whose lane is not known waits among those that nobody waits for. None where there is no telling.
#[must_use]
pub fn replay(topology: &Topology, message: &Message, queue: &str) -> Option<Outgoing> {
    let mut message = forwarded(message);
    for header in [REASON_HEADER, QUEUE_HEADER, DIED_AT_HEADER, SUSPECT_SINCE_HEADER] {
        message.properties.headers.remove(header);
    }
    let is_tried_alone = queue == topology.suspects();
    let kind = message.properties.kind.as_deref();
    let (exchange, routing_key) = match kind {
        Some(state::MESSAGE_NAME) => (topology.steps(), topology.steps()),
        _ if queue == topology.interactive() => (topology.commands(), "interactive".to_owned()),
        _ if queue == topology.background() => (topology.commands(), "background".to_owned()),
        Some(COMMAND_NAME) => (topology.commands(), "background".to_owned()),
        None if is_tried_alone => (topology.commands(), "background".to_owned()),
        _ if is_tried_alone || queue == topology.steps() => (topology.steps(), topology.steps()),
        _ => return None,
    };
    Some(Outgoing {
        exchange,
        routing_key,
        message,
    })
}

/// A message that came back too often, unread, on its way to be tried one at a time.
#[must_use]
pub fn suspect(topology: &Topology, delivery: &Delivery, now: Timestamp) -> Outgoing {
    let mut message = forwarded(&delivery.message);
    let headers = &mut message.properties.headers;
    headers.insert(SUSPECT_SINCE_HEADER.to_owned(), Header::Integer(now.as_millisecond()));
    headers.insert(QUEUE_HEADER.to_owned(), delivery.queue.as_str().into());
    Outgoing {
        exchange: topology.steps(),
        routing_key: topology.suspects(),
        message,
    }
}

/// Since when a message has been a suspect; it was in a worker's hands until then.
#[must_use]
pub fn suspect_since(message: &Message) -> Option<Timestamp> {
    moment(message, SUSPECT_SINCE_HEADER)
}

/// Since when a message has been a dead letter, if a worker said so.
#[must_use]
pub fn died_at(message: &Message) -> Option<Timestamp> {
    moment(message, DIED_AT_HEADER)
}

/// When a state was written.
#[must_use]
pub fn parked_at(message: &Message) -> Option<Timestamp> {
    moment(message, PARKED_AT_HEADER)
}

fn moment(message: &Message, header: &str) -> Option<Timestamp> {
    match message.properties.headers.get(header)? {
        Header::Integer(millis) => Timestamp::from_millisecond(*millis).ok(),
        Header::Text(_) | Header::Boolean(_) => None,
    }
}

/// A state of a newer release, unread, put aside until a newer worker may be there.
#[must_use]
pub fn put_aside(topology: &Topology, delivery: &Delivery) -> Outgoing {
    Outgoing {
        exchange: topology.delay(),
        routing_key: "15s".to_owned(),
        message: forwarded(&delivery.message),
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

fn properties(kind: &str, envelope: &Envelope, now: Timestamp) -> Properties {
    let trace = [
        ("traceparent", &envelope.traceparent),
        ("tracestate", &envelope.tracestate),
    ];
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
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
