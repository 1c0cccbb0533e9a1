//! A client's connection and its subscriptions, as the broker sees them.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::broker::{BrokerEvent, Delivery, Message, Subscription, Tag};

/// What the names of ephemeral queues begin with.
pub(super) const EPHEMERAL: &str = "ephemeral.";

/// A client.
pub(super) struct Session {
    pub(super) broker_events: mpsc::Sender<BrokerEvent>,
    pub(super) generation: u64,
    pub(super) up: bool,
    pub(super) subscriptions: Vec<Consuming>,
}

/// One subscription of a client.
pub(super) struct Consuming {
    pub(super) subscription: Subscription,
    /// The queue's name.
    pub(super) queue: String,
    pub(super) paused: bool,
    /// Of a queue; at most the subscription's.
    pub(super) prefetch: u16,
    /// It has died silently.
    pub(super) dead: bool,
    /// How many deliveries this generation has seen.
    pub(super) deliveries: u64,
    /// The delivery's number and the message's place in the queue.
    pub(super) unacked: BTreeMap<u64, u64>,
}

impl Session {
    /// What a delivery of this generation came by.
    pub(super) fn consuming(&self, tag: Tag) -> Option<&Consuming> {
        let index = usize::try_from(tag.subscription).ok()?;
        let is_current = self.up && self.generation == tag.generation;
        self.subscriptions.get(index).filter(|_| is_current)
    }

    /// The place of a message that needs no acknowledgement. It is gone then, but for one of a stream.
    pub(super) fn hand_over(&mut self, index: usize, taken: (u64, u32, Message)) -> Option<u64> {
        let (place, redeliveries, message) = taken;
        let generation = self.generation;
        let consuming = &mut self.subscriptions[index];
        consuming.deliveries += 1;
        let number = consuming.deliveries;
        let subscription = u32::try_from(index).unwrap_or(u32::MAX);
        let tag = Tag {
            generation,
            subscription,
            number,
        };
        let queue = consuming.subscription.name().to_owned();
        let is_queue = matches!(consuming.subscription, Subscription::Queue { .. });
        if is_queue {
            consuming.unacked.insert(number, place);
        }
        self.notify(BrokerEvent::Delivery(Delivery {
            tag,
            queue,
            redeliveries,
            flaw: None,
            message,
        }));
        (!is_queue).then_some(place)
    }

    /// Pauses every queue.
    pub(super) fn cancel(&mut self) {
        for consuming in &mut self.subscriptions {
            consuming.paused |= matches!(consuming.subscription, Subscription::Queue { .. });
        }
    }

    pub(super) fn kill_consumers(&mut self, queue: &str) {
        for consuming in self
            .subscriptions
            .iter_mut()
            .filter(|consuming| consuming.queue == queue)
        {
            consuming.dead = true;
        }
    }

    /// There is always room; who dropped the receiver does not want it.
    pub(super) fn notify(&self, broker_event: BrokerEvent) {
        let _ = self.broker_events.try_send(broker_event);
    }
}

impl Consuming {
    pub(super) fn new(client: u64, index: usize, subscription: Subscription) -> Self {
        let (queue, paused, prefetch) = match &subscription {
            Subscription::Queue { name, prefetch, paused } => (name.clone(), *paused, *prefetch),
            Subscription::Ephemeral { .. } => (format!("{EPHEMERAL}{client}.{index}"), false, u16::MAX),
            Subscription::Stream { name } => (name.clone(), false, u16::MAX),
        };
        Self {
            subscription,
            queue,
            paused,
            prefetch,
            dead: false,
            deliveries: 0,
            unacked: BTreeMap::new(),
        }
    }

    pub(super) fn is_free(&self) -> bool {
        let room = match self.subscription {
            Subscription::Queue { prefetch, .. } => {
                self.unacked.len() < usize::from(prefetch.min(self.prefetch).max(1))
            }
            Subscription::Ephemeral { .. } | Subscription::Stream { .. } => true,
        };
        room && !self.paused && !self.dead
    }

    /// Itself with what it had not acknowledged; without, it stays.
    pub(super) fn take(&mut self) -> Self {
        Self {
            subscription: self.subscription.clone(),
            queue: self.queue.clone(),
            paused: self.paused,
            prefetch: self.prefetch,
            dead: self.dead,
            deliveries: self.deliveries,
            unacked: std::mem::take(&mut self.unacked),
        }
    }
}
