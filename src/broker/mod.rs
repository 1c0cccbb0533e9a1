//! What the worker needs of a broker, and nothing more: publish with confirms, consume with a prefetch, acknowledge.
//!
//! Two brokers keep these promises: RabbitMQ ([`rabbit`]) and one in this process ([`memory`]), for the demo and
//! for simulation.

mod connected;
pub mod memory;
pub(crate) mod outgoing;
pub mod rabbit;
pub mod topology;

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use self::connected::{NotConnected, connected};
use crate::lease::Lease;

/// A broker connection. Cheap to clone; every clone is the same connection.
#[derive(Clone, Debug)]
pub enum Broker {
    /// RabbitMQ.
    Rabbit(rabbit::Rabbit),
    /// A broker in this process.
    Memory(memory::Client),
}

/// A message, without where it goes or came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The body.
    pub body: Bytes,
    /// The properties and headers.
    pub properties: Properties,
}

/// The AMQP 0-9-1 basic properties in use here. Messages are always persistent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// `content_type`.
    pub content_type: Option<String>,
    /// `type`: the full protobuf message name.
    pub kind: Option<String>,
    /// `message_id`.
    pub message_id: Option<String>,
    /// `correlation_id`.
    pub correlation_id: Option<String>,
    /// `timestamp`, in seconds since the Unix epoch.
    pub timestamp: Option<u64>,
    /// `app_id`.
    pub app_id: Option<String>,
    /// Scalar headers. Headers of other types are dropped when a message is read.
    pub headers: BTreeMap<String, Header>,
}

/// A scalar header value.
#[derive(Clone, Debug, PartialEq)]
pub enum Header {
    /// Text.
    Text(String),
    /// Any of AMQP's integers.
    Integer(i64),
    /// True or false.
    Boolean(bool),
}

/// A message and where to publish it. Always published as mandatory: a message that no queue takes is an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The exchange's name.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// The message.
    pub message: Message,
}

impl Outgoing {
    /// Where it goes, by the name that traces and metrics have for it.
    #[must_use]
    pub fn destination(&self) -> String {
        match self.routing_key.as_str() {
            "" => self.exchange.clone(),
            key => format!("{}:{key}", self.exchange),
        }
    }
}

/// A message that the broker handed over and that is to be acknowledged once.
#[derive(Debug)]
pub struct Delivery {
    /// Names this delivery to [`Broker::ack`].
    pub tag: Tag,
    /// The queue it came from, as given in [`Subscription`].
    pub queue: String,
    /// How often it was handed out before and came back, as the quorum queue counts (`x-delivery-count`); at least 1
    /// when AMQP's `redelivered` flag is set.
    pub redeliveries: u32,
    /// Why nobody can read the message, when it is AMQP that can't be read, or a body above the limit. The message is then what could be
    /// read of it.
    pub flaw: Option<String>,
    /// The message.
    pub message: Message,
}

/// Names a delivery. Tags of a connection that was lost acknowledge nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Which generation of the connection it belongs to; grows by one with each reconnect.
    pub generation: u64,
    /// Which of the subscriptions, by index.
    pub subscription: u32,
    /// The channel's delivery tag.
    pub number: u64,
}

/// What to consume.
#[derive(Clone, Debug, PartialEq)]
pub enum Subscription {
    /// A queue of the topology; deliveries are to be acknowledged.
    Queue {
        /// Its name.
        name: String,
        /// The most deliveries that may be unacknowledged at a time, at least 1. [`Broker::set_prefetch`] changes it.
        prefetch: u16,
        /// Whether nothing is handed out before [`Broker::pause`] resumes it.
        paused: bool,
    },
    /// An exclusive queue of this connection, bound to an exchange; deliveries need no acknowledgement. What was
    /// published while the connection was down is not seen.
    Ephemeral {
        /// The exchange to bind to.
        exchange: String,
        /// The binding keys.
        keys: Vec<String>,
        /// Whether the connection is of use without it. When the broker refuses the queue then, this is asked for again now and
        /// then, and [`Broker::consumes`] says so.
        optional: bool,
    },
    /// A stream of the topology, from its beginning; deliveries need no acknowledgement, and use nothing up. Then comes
    /// [`BrokerEvent::CaughtUp`], and what is published later. The connection is of use without it, as without an ephemeral one.
    Stream {
        /// Its name.
        name: String,
    },
}

/// After a pause a queue may have room for less than such a part of its prefetch and bring nothing.
pub const ROOM_PARTS: u16 = 8;

impl Subscription {
    /// What it consumes: a queue's name, or the name of the exchange that its queue is bound to.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Queue { name, .. } | Self::Stream { name } => name,
            Self::Ephemeral { exchange, .. } => exchange,
        }
    }
}

/// What a broker reports to its consumer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every broker event is a delivery")]
pub enum BrokerEvent {
    /// Connected, the topology is there and every subscription consumes.
    Connected {
        /// The generation that begins.
        generation: u64,
    },
    /// A message.
    Delivery(Delivery),
    /// All that a stream had when this generation began to read it was delivered.
    CaughtUp {
        /// The stream's name.
        stream: String,
    },
    /// The connection is lost, and with it every unacknowledged delivery of the generation: the broker hands them out again.
    /// The connection is rebuilt without being asked.
    Disconnected {
        /// The generation that ended.
        generation: u64,
        /// Why, for the log. Holds no secret.
        reason: String,
    },
}

/// The broker events of one connection.
pub type BrokerEvents = mpsc::Receiver<BrokerEvent>;

/// Why a message was not taken. None of these say that the message is not there: a confirm can be lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No queue is bound for it.
    #[error("no queue takes messages of exchange {exchange:?} with key {routing_key:?}")]
    Unroutable {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The broker refused it (`basic.nack`), for instance because a queue is full.
    #[error("the broker refused the message")]
    Refused,
    /// Its body is larger than the broker's `max_message_size`.
    #[error("the message is larger than the broker takes")]
    TooLarge,
    /// It can't be written as AMQP, now or ever: a name or a property is longer than a short string's 255 bytes, or the
    /// headers do not fit one frame.
    #[error("the message can't be published: {what} is too long")]
    TooLong {
        /// Which part of it.
        what: &'static str,
    },
    /// No confirm came in time.
    #[error("the broker did not confirm in time")]
    TimedOut,
    /// There is no connection, or it was lost before the confirm.
    #[error("the connection to the broker is down")]
    Down,
}

impl PublishError {
    /// Its name in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unroutable { .. } => "unroutable",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::TooLong { .. } => "too_long",
            Self::TimedOut => "timed_out",
            Self::Down => "down",
        }
    }
}

/// Why messages can't be published and consumed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// There is no connection.
    Disconnected,
    /// The broker lets publishers wait (`connection.blocked`).
    Blocked,
}

impl Broker {
    /// Publishes messages, all at once and in this order, and waits until every one is confirmed.
    ///
    /// # Errors
    ///
    /// The first [`PublishError`] among them; the others may have been taken all the same.
    pub async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        match self {
            Self::Rabbit(rabbit) => rabbit.publish(messages).await,
            Self::Memory(memory) => memory.publish(messages).await,
        }
    }

    /// As [`Self::publish`], for what follows from a delivery: over the connection that brought it, or not at all, for once that is lost
    /// another worker may have the message.
    ///
    /// # Errors
    ///
    /// As there; [`PublishError::Down`] when the delivery's generation is over.
    pub async fn publish_for(&self, tag: Tag, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        match self {
            Self::Rabbit(rabbit) => rabbit.publish_for(tag, messages).await,
            Self::Memory(memory) => memory.publish_for(tag, messages).await,
        }
    }

    /// Acknowledges a delivery. When that gets lost, the message comes again.
    pub fn ack(&self, tag: Tag) {
        match self {
            Self::Rabbit(rabbit) => rabbit.ack(tag),
            Self::Memory(memory) => memory.ack(tag),
        }
    }

    /// Stops or resumes handing out the messages of a subscribed queue. What was handed out stays so.
    pub fn pause(&self, queue: &str, paused: bool) {
        match self {
            Self::Rabbit(rabbit) => rabbit.pause(queue, paused),
            Self::Memory(memory) => memory.pause(queue, paused),
        }
    }

    /// How many messages of a subscribed queue may be unacknowledged from now on, also after a lost connection: at least 1, and no more than
    /// its subscription's prefetch. What was handed out stays so.
    pub fn set_prefetch(&self, queue: &str, prefetch: u16) {
        match self {
            Self::Rabbit(rabbit) => rabbit.set_prefetch(queue, prefetch),
            Self::Memory(memory) => memory.set_prefetch(queue, prefetch),
        }
    }

    /// Stops consuming all queues for good. When this ends, everything that was delivered is among the broker events, and nothing more comes.
    pub async fn cancel(&self) {
        match self {
            Self::Rabbit(rabbit) => rabbit.cancel().await,
            Self::Memory(memory) => memory.cancel(),
        }
    }

    /// Proves for a short time at once that a delivery is still this connection's: the broker has answered lately.
    #[must_use]
    pub fn lease(&self, tag: Tag) -> Lease {
        match self {
            Self::Rabbit(rabbit) => rabbit.lease(tag),
            // It says at once when a connection is lost.
            Self::Memory(_) => Lease::endless(),
        }
    }

    /// How many messages of a queue wait to be handed out; none when nobody can know that now.
    pub async fn ready(&self, queue: &str) -> Option<u32> {
        match self {
            Self::Rabbit(rabbit) => rabbit.ready(queue).await,
            Self::Memory(memory) => memory.ready(queue),
        }
    }

    /// Gives the connection up and builds everything again.
    pub fn reconnect(&self, reason: &str) {
        match self {
            Self::Rabbit(rabbit) => rabbit.reconnect(reason),
            Self::Memory(memory) => memory.reconnect(reason),
        }
    }

    /// Whether messages can be published and consumed now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn is_ready(&self) -> Result<(), NotReady> {
        match self {
            Self::Rabbit(rabbit) => match &*rabbit.status().borrow() {
                rabbit::Status::Up { blocked: None, .. } => Ok(()),
                rabbit::Status::Up { blocked: Some(_), .. } => Err(NotReady::Blocked),
                rabbit::Status::Connecting { .. } | rabbit::Status::Closed => Err(NotReady::Disconnected),
            },
            Self::Memory(_) => Ok(()),
        }
    }

    /// Whether the subscription of this name consumes: the broker may refuse an optional one.
    #[must_use]
    pub fn consumes(&self, name: &str) -> bool {
        match self {
            Self::Rabbit(rabbit) => rabbit.consumes(name),
            Self::Memory(_) => true,
        }
    }

    /// Sends what was acknowledged and closes the connection; unacknowledged deliveries go back to their queues.
    pub async fn close(&self) {
        match self {
            Self::Rabbit(rabbit) => rabbit.close().await,
            Self::Memory(memory) => memory.close().await,
        }
    }
}

impl Header {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Integer(_) | Self::Boolean(_) => None,
        }
    }
}

impl From<&str> for Header {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Header {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
