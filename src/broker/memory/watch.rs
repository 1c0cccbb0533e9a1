//! What a simulation sees of the broker, and how it slows its clients down.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::faults::PublishFault;
use crate::broker::{Message, Outgoing, Tag};
use crate::random::Streams;

/// Something that happened in the broker.
#[derive(Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug)]
pub enum What {
    /// A client publishes a message, as it gave it.
    Sent {
        /// The client's number, by the order of connecting.
        client: u64,
        /// The message.
        outgoing: Outgoing,
    },
    /// A queue took a message, from a client or from another queue.
    Taken {
        /// The queue.
        queue: String,
        /// The message.
        message: Message,
    },
    /// A message was handed out.
    Handed {
        /// The client.
        client: u64,
        /// The queue.
        queue: String,
        /// How often it came back before.
        redeliveries: u32,
        /// The message.
        message: Message,
    },
    /// A client acknowledged a delivery of its connection's present generation.
    Acked {
        /// The client.
        client: u64,
        /// The delivery.
        tag: Tag,
        /// The queue and the message; none when there is no such delivery, for which RabbitMQ closes the channel.
        message: Option<(String, Message)>,
    },
    /// A client has its connection, for the first time or again.
    Connected {
        /// The client.
        client: u64,
    },
    /// A client has lost its connection, and was notified.
    Disconnected {
        /// The client.
        client: u64,
    },
    /// A message that was handed out came back, for the connection was lost.
    Returned {
        /// The client that had it.
        client: u64,
        /// The queue.
        queue: String,
        /// The message.
        message: Message,
    },
    /// A message left its queue without having been acknowledged.
    Left {
        /// The queue.
        queue: String,
        /// The message.
        message: Message,
        /// As RabbitMQ names it: `expired`, `delivery_limit` or `maxlen`.
        reason: &'static str,
    },
    /// A publish failed as [`Server::fail_next_publish`](super::Server::fail_next_publish) asked for.
    PublishFailed {
        /// The client that published.
        client: u64,
        /// What it met.
        fault: PublishFault,
        /// What it published, as it gave it.
        messages: Vec<Outgoing>,
    },
}

impl What {
    pub(super) fn left(queue: &str, message: Message, reason: &'static str) -> Self {
        Self::Left {
            queue: queue.to_owned(),
            message,
            reason,
        }
    }
}

/// The longest times on the way between a client and the broker. Each time is drawn from none at all up to its longest, by
/// [a stream](crate::random) of the message's own: by its id, and by where it goes or comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    /// From a publish to the broker. Publishes that are under way together may overtake each other.
    pub publish: Duration,
    /// From the broker back to who waits for the confirm.
    pub confirm: Duration,
    /// From an acknowledgement to the broker. What is under way is lost with the connection.
    pub ack: Duration,
}

/// Who watches, and how slow things are.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: Option<mpsc::UnboundedSender<Seen>>,
    latency: Latency,
    streams: Streams,
}

impl Watch {
    pub(super) fn begin(&mut self) -> mpsc::UnboundedReceiver<Seen> {
        let (seen, receiver) = mpsc::unbounded_channel();
        self.seen = Some(seen);
        receiver
    }

    pub(super) fn slow_down(&mut self, latency: Latency, seed: u64) {
        self.latency = latency;
        self.streams = Streams::new(seed);
    }

    pub(super) fn see(&self, what: impl FnOnce() -> What) {
        if let Some(seen) = &self.seen {
            let at = Instant::now();
            // A receiver that is gone does not want it.
            let _ = seen.send(Seen { at, what: what() });
        }
    }

    /// The times to the broker and back. What is published together goes by its first message.
    pub(super) fn publish_takes(&mut self, client: u64, messages: &[Outgoing]) -> (Duration, Duration) {
        let Latency { publish, confirm, .. } = self.latency;
        let Some(first) = messages.first().filter(|_| !(publish.is_zero() && confirm.is_zero())) else {
            return (Duration::ZERO, Duration::ZERO);
        };
        let id = id(client, &first.message);
        let name = format!("publish/{}/{}/{id}", first.exchange, first.routing_key);
        let mut rng = self.streams.next(&name);
        (publish.mul_f64(rng.f64()), confirm.mul_f64(rng.f64()))
    }

    pub(super) fn ack_takes(&mut self, client: u64, queue: &str, message: &Message) -> Duration {
        let longest = self.latency.ack;
        if longest.is_zero() {
            return Duration::ZERO;
        }
        let name = format!("ack/{queue}/{}", id(client, message));
        longest.mul_f64(self.streams.next(&name).f64())
    }
}

/// What a message is known by; the client, when it has no id.
fn id(client: u64, message: &Message) -> String {
    let id = message.properties.message_id.clone();
    id.unwrap_or_else(|| format!("client {client}"))
}
