//! What a simulation sees of the broker, and how it slows its clients down.

use std::time::Duration;

use fastrand::Rng;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::broker::{Message, Outgoing, Tag};

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
    /// A client acknowledged a delivery of its connection's present life.
    Acked {
        /// The client.
        client: u64,
        /// The delivery.
        tag: Tag,
        /// The queue and the message; none when there is no such delivery, for which RabbitMQ closes the channel.
        settled: Option<(String, Message)>,
    },
    /// A client has its connection, for the first time or again.
    Connected {
        /// The client.
        client: u64,
    },
    /// A client has lost its connection, and has been told so.
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
}

/// The longest times on the way between a client and the broker. Each time is drawn from none at all up to its longest.
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
    rng: Rng,
}

impl Watch {
    pub(super) fn begin(&mut self) -> mpsc::UnboundedReceiver<Seen> {
        let (seen, receiver) = mpsc::unbounded_channel();
        self.seen = Some(seen);
        receiver
    }

    pub(super) fn slow_down(&mut self, latency: Latency, seed: u64) {
        self.latency = latency;
        self.rng = Rng::with_seed(seed);
    }

    pub(super) fn see(&self, what: impl FnOnce() -> What) {
        if let Some(seen) = &self.seen {
            let at = Instant::now();
            // Who no longer looks does not want it.
            let _ = seen.send(Seen { at, what: what() });
        }
    }

    /// The times to the broker and back.
    pub(super) fn publish_takes(&mut self) -> (Duration, Duration) {
        (self.draw(self.latency.publish), self.draw(self.latency.confirm))
    }

    pub(super) fn ack_takes(&mut self) -> Duration {
        self.draw(self.latency.ack)
    }

    fn draw(&mut self, longest: Duration) -> Duration {
        if longest.is_zero() {
            return Duration::ZERO;
        }
        longest.mul_f64(self.rng.f64())
    }
}
